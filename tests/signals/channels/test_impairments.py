"""Impairments against plain numpy: signals that are sums of tones have exact values at any time."""

import math

import numpy as np
import pytest
import torch

from rfsep.signals.channels.impairments import (
    Impairments,
    PhaseWalk,
    impaired,
    impaired_stretch,
    needed,
)
from rfsep.types import InputError

_LENGTH = 6000
_RAYS = ((0.0, 1.0 + 0.0j), (2.0, 0.5j), (20.4, -0.3 + 0.1j))
_EVERYTHING = Impairments(1e-3, 0.5, 35.0, 0.37, _RAYS, 3e-3)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def _tones(time: np.ndarray) -> np.ndarray:
    """200 tones within 0.4 cycles/sample, of unit power, at any time in samples."""
    random = np.random.default_rng(1)
    frequency, phase = random.uniform(-0.4, 0.4, (200, 1)), random.uniform(0, 2 * np.pi, (200, 1))
    total = np.zeros(len(time), complex)
    for f, p in zip(frequency, phase, strict=True):
        total += np.exp(1j * (2 * np.pi * f * time + p)) / math.sqrt(200)
    return total


def _sent() -> torch.Tensor:
    return torch.from_numpy(_tones(np.arange(_LENGTH)).astype(np.complex64))[None]


def _error_db(found: torch.Tensor, expected: np.ndarray, margin: int = 40) -> float:
    inside = slice(margin, len(expected) - margin)
    return 10 * math.log10(np.mean(np.abs(found[0].numpy() - expected)[inside] ** 2))


@pytest.mark.parametrize(("ppm", "delay"), [(0, 0.5), (0, 0.3721), (0, -3.2), (200, 0.0), (-50, 7.77), (5000, 0.0)])
def test_clock_and_delay_are_exact_in_the_band(ppm: float, delay: float) -> None:
    found = impaired(_sent(), Impairments(clock_ppm=ppm, delay=delay), _generator())
    time = np.arange(_LENGTH) * (1 + ppm * 1e-6) - delay
    assert _error_db(found, _tones(time), 80) < (-80 if ppm else -90)


@pytest.mark.parametrize("ppm", [0.0, 35.0])
def test_rays_follow_the_clock(ppm: float) -> None:
    found = impaired(_sent(), Impairments(clock_ppm=ppm, delay=0.25, rays=_RAYS), _generator())
    time = np.arange(_LENGTH)
    expected = sum(gain * _tones((time - delay) * (1 + ppm * 1e-6) - 0.25) for delay, gain in _RAYS)
    assert _error_db(found, expected, 80) < (-80 if ppm else -90)


def test_a_delay_equals_a_linear_phase_of_the_spectrum() -> None:
    spectrum = np.zeros(4096, complex)
    random = np.random.default_rng(2)
    used = np.abs(np.fft.fftfreq(4096)) < 0.4
    spectrum[used] = random.normal(size=used.sum()) + 1j * random.normal(size=used.sum())
    scale = math.sqrt(4096 / 2 / used.sum()) * math.sqrt(4096)
    periodic = scale * np.fft.ifft(spectrum)
    expected = scale * np.fft.ifft(spectrum * np.exp(-2j * np.pi * np.fft.fftfreq(4096) * 0.37))
    found = impaired(torch.from_numpy(periodic.astype(np.complex64))[None], Impairments(delay=0.37), _generator())
    assert abs(np.mean(np.abs(expected) ** 2) - 1) < 0.1
    assert _error_db(found, expected) < -90


def test_rays_far_apart_and_without_power() -> None:
    found = impaired(_sent(), Impairments(rays=((0.0, 0.5), (3000.25, 1j), (4000.0, 0.0))), _generator())
    time = np.arange(_LENGTH)
    second = _tones(time - 3000.25) * (time > 3000)
    expected = 0.5 * _tones(time) + 1j * second
    clear = np.abs(time - 3000) > 40  # where the second ray does not begin
    assert 10 * math.log10(np.mean(np.abs(found[0].numpy() - expected)[clear] ** 2)) < -90
    assert not impaired(_sent(), Impairments(rays=((1.0, 0.0),)), _generator()).any()


def test_carrier_and_phase() -> None:
    found = impaired(_sent(), Impairments(carrier=1e-3, phase_rad=0.7), _generator())
    expected = _sent()[0].numpy() * np.exp(1j * (2 * np.pi * 1e-3 * np.arange(_LENGTH) + 0.7))
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-6)


def test_nothing_changes_nothing_and_draws_nothing() -> None:
    generator = _generator()
    assert torch.equal(impaired(_sent(), Impairments(), generator), _sent())
    assert torch.equal(generator.get_state(), _generator().get_state())


def test_the_walk_has_independent_steps_and_starts_at_zero() -> None:
    ones = torch.ones((8, 50_000), dtype=torch.complex64)
    found = impaired(ones, Impairments(phase_noise=3e-3), _generator()).to(torch.complex128)
    steps = (found[:, 1:] * found[:, :-1].conj()).angle()
    assert torch.equal(found[:, 0], torch.ones(8, dtype=torch.complex128))
    assert abs(steps.std().item() / 3e-3 - 1) < 0.01  # 400,000 steps: 0.1 % is one standard error
    assert abs((steps[:, 1:] * steps[:, :-1]).mean().item()) < 5 * 9e-6 / math.sqrt(400_000)
    assert (steps[0] * steps[1]).mean().abs().item() < 5 * 9e-6 / math.sqrt(50_000)


@pytest.mark.parametrize("cuts", [[1, 2, 3, 700, 5294], [4096, 1904], [100] * 60])
def test_the_same_samples_however_the_signal_is_cut(cuts: list[int]) -> None:
    whole = impaired(_sent(), _EVERYTHING, _generator())
    sent, walk, start, pieces = _sent().numpy().astype(complex), PhaseWalk(3e-3, _generator()), 0, []
    for count in cuts:
        low, high = needed(_EVERYTHING, start, count)
        first = max(low, 0)
        pieces.append(impaired_stretch(sent[:, first : max(high, first)], first, _EVERYTHING, start, count, walk))
        start += count
    assert start == _LENGTH
    assert torch.equal(torch.cat(pieces, 1), whole)


def test_late_samples_are_as_exact_as_early_ones() -> None:
    start = 100_000_000
    wanted = Impairments(carrier=1e-3, clock_ppm=20.0, delay=0.4)
    low, high = needed(wanted, start, 500)
    random = np.random.default_rng(3)
    frequency = random.uniform(-0.4, 0.4)
    sent = np.exp(2j * np.pi * (frequency * np.arange(high - low)))[None]
    found = impaired_stretch(sent, low, wanted, start, 500, PhaseWalk(0.0, _generator()))
    number = np.arange(500)
    since = (start - low) + number + (start + number) * 20e-6 - 0.4
    carrier = (start * 1e-3) % 1 + number * 1e-3
    assert _error_db(found, np.exp(2j * np.pi * (frequency * since + carrier)), 0) < -80


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Impairments(carrier=math.nan), "carrier is nan, expected -0.5 to 0.5 cycles/sample"),
        (Impairments(clock_ppm=2e4), "clock_ppm is 20000.0"),
        (Impairments(phase_noise=-1.0), "phase_noise is -1.0"),
        (Impairments(rays=((math.inf, 1.0),)), "a delay of inf samples"),
    ],
)
def test_values_out_of_bounds_are_named(wrong: Impairments, words: str) -> None:
    with pytest.raises(InputError, match=words):
        impaired(_sent(), wrong, _generator())
