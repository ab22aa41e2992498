"""Diffusion networks as priors of a signal."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, to_channels
from rfsep.signals.diffusion_schedule import LEARNED_NOISE_VARIANCE, Schedule
from rfsep.types import InputError

_BATCH = 64  # windows per batch


class OnGrid(NamedTuple):
    """Windows moved onto the grid of their symbols.

    Attributes:
        windows: [B, ..., whole periods], zero outside the given samples.
        place: position of each given sample in the windows, int64 [B, T].
    """

    windows: Tensor
    place: Tensor


def on_grid(windows: Tensor, offset: Tensor, period: int) -> OnGrid:
    """Moves windows [B, ..., T] into whole periods, each ``offset`` int64 [B] samples later, below ``period``.

    >>> on_grid(torch.ones(1, 5), torch.tensor([2]), 4).windows
    tensor([[0., 0., 1., 1., 1., 1., 1., 0.]])
    """
    length = windows.shape[-1]
    whole = -(-(length + period - 1) // period) * period if bool(offset.any()) else -(-length // period) * period
    place = offset[:, None] + torch.arange(length, device=windows.device)  # [B, T]
    moved = windows.new_zeros((*windows.shape[:-1], whole))
    return OnGrid(moved.scatter(-1, _spread(place, windows), windows), place)


def off_grid(moved: Tensor, place: Tensor) -> Tensor:
    """Inverts `on_grid`: [B, ..., whole periods] to [B, ..., T]."""
    return moved.gather(-1, _spread(place, moved))


def _spread(place: Tensor, windows: Tensor) -> Tensor:
    """Expands ``place`` [B, T] to every axis of windows [B, ..., .]."""
    inner = windows.shape[1:-1]
    return place.view(len(place), *(1,) * len(inner), -1).expand(-1, *inner, -1)


def estimated_noise(model: nn.Module, noisy: Tensor, step: Tensor, period: int | None, offset: Tensor) -> Tensor:
    """Returns the noise float32 [B, 2, T] that a network estimates.

    Args:
        model: float32 [B, 2, T] and steps [B] to float32 [B, 2, T].
        noisy: float32 [B, 2, T].
        step: float32 or int64 [B].
        period: period of the grid on which the network sees windows; None if it needs no grid.
        offset: int64 [B], samples into a period at sample 0.

    Raises:
        InputError: an offset is outside the period, as unknown ones are (-1).
    """
    if period is None:
        found: Tensor = model(noisy, step)
        return found
    if bool(((offset < 0) | (offset >= period)).any()):
        raise InputError(f"this prior sees whole periods of {period} samples, and not every window's offset is known")
    grid = on_grid(noisy, offset, period)
    return off_grid(model(grid.windows, step), grid.place)


class LearnedPrior:
    """A prior of a unit-power signal, by a network that estimates the noise in x = sqrt(alpha_bar) s + sigma z.

    z has power 2 per complex sample, unit variance per real component. The score of x, by its real components, is
    -noise / sigma. Tweedie's formula turns it into the posterior mean of s.

    Args:
        model: float32 [B, 2, T] and steps [B] to float32 [B, 2, T], as `rfsep.training.ddpm.Ddpm` trains it.
        schedule: noise levels that it was trained on.
        period: period of the grid on which it sees windows; None for a network that slides over samples.
        bfloat16: whether to run it in bfloat16, as it may have been trained. The rounding of its input is then of the
            size of the noise at the first steps (sigma 0.01 ... 0.05).
    """

    noise_variance = LEARNED_NOISE_VARIANCE

    def __init__(self, model: nn.Module, schedule: Schedule, period: int | None = None, bfloat16: bool = False) -> None:
        self.model = model.eval()
        self.schedule = schedule
        self.period = period
        self.bfloat16 = bfloat16
        self.offset: Tensor | None = None
        self.phase: Tensor | None = None

    def at(self, offset: Tensor, phase: Tensor | None = None) -> "LearnedPrior":
        """Returns the same prior for windows at a timing and phase that a synchroniser found.

        Args:
            offset: int64 [B], samples into a period at sample 0; 0 by default.
            phase: float32 [B], radians by which the windows lead those of the training; 0 by default.
        """
        moved = LearnedPrior(self.model, self.schedule, self.period, self.bfloat16)
        moved.offset, moved.phase = offset, phase
        return moved

    def noise(self, x: Tensor, step: Tensor) -> Tensor:
        """Estimates z complex64 [B, T] in x complex64 [B, T] at steps int64 or, between two steps, float32 [B]."""
        offset = torch.zeros(len(x), dtype=torch.int64) if self.offset is None else self.offset
        turn = None if self.phase is None else torch.polar(torch.ones_like(self.phase), self.phase)[:, None]
        x = x if turn is None else x * turn.conj()
        rows = zip(*(torch.split(part, _BATCH) for part in (x, step, offset)), strict=True)
        with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            parts = [estimated_noise(self.model, to_channels(w), n, self.period, o) for w, n, o in rows]
        found = torch.cat([from_channels(part) for part in parts])
        return found if turn is None else found * turn

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws white noise; see `rfsep.separators.score_based.priors.Prior`."""
        white = torch.randn((1, num_samples), dtype=torch.complex64, generator=generator)
        return math.sqrt(self.noise_variance) * white

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """Returns the score; see `rfsep.separators.score_based.priors.Prior`."""
        step = torch.full((len(noisy),), self.schedule.step_of(alpha_bar))
        return -self.noise(noisy, step) / math.sqrt(1 - alpha_bar)

    def posterior_mean(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """Returns the mean of s complex64 [B, T] given x complex64 [B, T] at any noise level within the schedule."""
        step = torch.full((len(noisy),), self.schedule.step_of(alpha_bar))
        found: Tensor = (noisy - math.sqrt(1 - alpha_bar) * self.noise(noisy, step)) / math.sqrt(alpha_bar)
        return found
