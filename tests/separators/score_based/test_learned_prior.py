"""What stands between a diffusion network and a separator: the grid, the phase, scales and Tweedie's formula."""

import pytest
import torch
from torch import Tensor, nn

from rfsep.separators.score_based.learned_prior import LearnedPrior, off_grid, on_grid
from rfsep.signals.diffusion_schedule import linear_schedule
from rfsep.types import InputError


class Ramp(nn.Module):
    """Multiplies each sample by its place in the period, and adds the step to the imaginary part."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.place = torch.arange(period, dtype=torch.float32)

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        places = self.place.repeat(noisy.shape[-1] // len(self.place))
        return noisy * places + torch.tensor([[0.0], [1.0]]) * step.float()[:, None, None]


class Gaussian(nn.Module):
    """The exact network of a white Gaussian signal of unit power and noise of power 2."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = linear_schedule()

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        low = step.long()
        root = torch.lerp(
            self.schedule.alpha_bar.sqrt()[low], self.schedule.alpha_bar.sqrt()[(low + 1).clamp(max=49)], step - low
        )
        power = root.square()
        return ((1 - power).sqrt() * 2 / (power + 2 * (1 - power)))[:, None, None] * noisy


def test_grid_moves_windows_and_back() -> None:
    torch.manual_seed(0)
    windows, offset = torch.randn(3, 2, 21), torch.tensor([0, 3, 7])
    grid = on_grid(windows, offset, 8)
    assert grid.windows.shape == (3, 2, 32)
    assert torch.equal(off_grid(grid.windows, grid.place), windows)
    assert torch.equal(grid.windows[1, :, 3:24], windows[1])
    assert float(grid.windows.abs().sum()) == pytest.approx(float(windows.abs().sum()), rel=1e-6)


def test_windows_are_seen_on_their_grid_and_at_their_phase() -> None:
    prior = LearnedPrior(Ramp(8), linear_schedule(), period=8).at(torch.tensor([2, 7]), torch.tensor([0.5, -2.0]))
    x = torch.randn(2, 19, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    found = prior.noise(x, torch.tensor([4, 9]))
    places = (torch.arange(19) + torch.tensor([[2], [7]])) % 8
    turn = torch.polar(torch.ones(2), torch.tensor([0.5, -2.0]))[:, None]
    expected = x * places + 1j * torch.tensor([[4.0], [9.0]]) * turn
    assert torch.allclose(found, expected, atol=1e-5)


def test_more_windows_than_fit_at_once_keep_their_own_offsets() -> None:
    x = torch.ones(150, 8, dtype=torch.complex64)
    offset = torch.arange(150) % 8
    found = LearnedPrior(Ramp(8), linear_schedule(), period=8).at(offset).noise(x, torch.zeros(150).long())
    assert torch.equal(found[:, 0].real, offset.float())


def test_unknown_offsets_are_refused() -> None:
    prior = LearnedPrior(Ramp(8), linear_schedule(), period=8).at(torch.tensor([-1]))
    with pytest.raises(InputError, match="whole periods of 8 samples, and not every window's offset is known"):
        prior.noise(torch.ones(1, 8, dtype=torch.complex64), torch.tensor([0]))


@pytest.mark.parametrize("alpha_bar", [0.9999, 0.81, 0.3])
def test_posterior_mean_is_the_wiener_filter_of_a_gaussian_signal(alpha_bar: float) -> None:
    """E[s | x] = sqrt(abar) / (abar + 2 (1 - abar)) x, at whole steps and between them."""
    x = torch.randn(2, 50, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    mean = LearnedPrior(Gaussian(), linear_schedule()).posterior_mean(x, alpha_bar)
    expected = alpha_bar**0.5 / (alpha_bar + 2 * (1 - alpha_bar)) * x
    assert torch.allclose(mean, expected, rtol=2e-3, atol=1e-4)
