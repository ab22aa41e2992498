"""The published noise levels, and sampling with exact priors."""

import math

import pytest
import torch
from torch import Tensor

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.diffusion_schedule import ancestral_samples, gaussian_like, linear_schedule


def test_levels_are_the_published_ones() -> None:
    schedule = linear_schedule()
    assert schedule.alpha_bar.dtype == schedule.sigma.dtype == torch.float32
    assert len(schedule.alpha_bar) == 50
    assert schedule.alpha_bar[[0, 1, 49]].tolist() == pytest.approx([0.9999, 0.99878, 0.27967], abs=5e-6)
    assert schedule.sigma[[0, 1, 49]].tolist() == pytest.approx([0.010, 0.0349, 0.8487], abs=5e-5)
    assert float(schedule.sigma[0]) == pytest.approx(0.01, rel=1e-6)  # 1 - 0.9999 in float32 has three digits


def test_noisy_signals_mix_as_the_levels_say() -> None:
    schedule = linear_schedule()
    signal, noise = torch.ones(2, 2, 3), 10 * torch.ones(2, 2, 3)
    seen = schedule.noisy(signal, noise, torch.tensor([0, 49]))
    assert seen[:, 1, 2].tolist() == pytest.approx(
        [math.sqrt(0.9999) + 0.1, math.sqrt(0.279671) + 10 * math.sqrt(1 - 0.279671)], abs=1e-4
    )


def test_fractional_steps() -> None:
    schedule = linear_schedule()
    roots = schedule.alpha_bar.sqrt()
    between = float(0.7 * roots[10] + 0.3 * roots[11]) ** 2
    assert schedule.step_of(between) == pytest.approx(10.3, abs=1e-3)
    assert schedule.step_of(1.0) == 0.0
    assert schedule.step_of(0.1) == 49.0
    steps = [
        schedule.step_of(float(level)) for level in linear_schedule(10, 1e-4, 1e-3).alpha_bar
    ]  # reverse diffusion's
    assert steps == sorted(steps)
    assert steps[0] == pytest.approx(0.0, abs=1e-4)
    assert 2.0 < steps[-1] < 3.0  # alpha_bar 0.99451 lies between 0.99675 and 0.99371


@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_samples_of_an_exact_gaussian_prior_have_its_power(variance: float) -> None:
    """White Gaussian signal of power 0.3: E[z | x] is linear, and sampling with it gives that power again."""
    schedule, power, generator = linear_schedule(), 0.3, batch_generator(Purpose.TEST, 0)

    def noise(x: Tensor, step: Tensor) -> Tensor:
        level = schedule.alpha_bar[step][:, None] * power + schedule.sigma[step].square()[:, None] * variance
        return schedule.sigma[step][:, None] * variance / level * x

    start = torch.randn((20, 2000), dtype=torch.complex64, generator=generator)
    start = start * math.sqrt(0.27967 * power + 0.72033 * variance)

    def fresh() -> Tensor:
        return math.sqrt(variance) * torch.randn(start.shape, dtype=start.dtype, generator=generator)

    samples = ancestral_samples(noise, schedule, start, fresh)
    # the smaller of the two variances is exact for a signal of one point, and too small else: a tenth here
    assert float(samples.abs().square().mean()) == pytest.approx(power, rel=0.15)


def test_samples_of_a_two_point_prior_are_its_points() -> None:
    schedule, generator = linear_schedule(), batch_generator(Purpose.TEST, 1)

    def noise(x: Tensor, step: Tensor) -> Tensor:
        root, sigma = schedule.alpha_bar[step].sqrt()[:, None], schedule.sigma[step][:, None]
        mean = torch.tanh(2 * root * x.real / sigma.square() / 1.0)  # noise of power 1: 1/2 in the real part
        return (x - root * mean) / sigma

    start = torch.randn((4, 500), dtype=torch.complex64, generator=generator) * 0.85

    def fresh() -> Tensor:
        return torch.randn(start.shape, dtype=start.dtype, generator=generator)

    samples = ancestral_samples(noise, schedule, start, fresh)
    assert float((samples.real.abs() - 1).abs().max()) < 0.05
    assert float(samples.imag.abs().max()) < 0.05
    assert 0.4 < float((samples.real > 0).float().mean()) < 0.6


def test_gaussian_windows_keep_the_spectrum() -> None:
    generator = batch_generator(Purpose.TEST, 2)
    tone = torch.polar(torch.full((400, 64), 2.0), 2 * math.pi * 5 / 64 * torch.arange(64.0).expand(400, 64))
    drawn = gaussian_like(tone, generator)
    assert float(drawn.abs().square().mean()) == pytest.approx(4.0, rel=0.2)
    spectrum = torch.fft.fft(drawn).abs().square().mean(0)
    assert float(spectrum[5] / spectrum.sum()) > 0.999
