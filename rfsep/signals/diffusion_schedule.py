"""The noise levels of diffusion priors, and ancestral sampling along them.

J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020 (arXiv 2006.11239), with the levels
of T. Jayashankar et al., "Score-based source separation with applications to digital communication signals", NeurIPS
2023 (arXiv 2306.14411). A signal s becomes ``sqrt(alpha_bar) s + sigma z`` with sigma^2 = 1 - alpha_bar. The power of z
per complex sample is `LEARNED_NOISE_VARIANCE` or `ANALYTIC_NOISE_VARIANCE`, because the published learned and analytic
priors smooth with noises that differ by 3 dB.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared

LEARNED_NOISE_VARIANCE = 2.0  # unit variance per real component
ANALYTIC_NOISE_VARIANCE = 1.0  # unit variance per complex sample


class Schedule(NamedTuple):
    """Noise levels, the least noise first.

    Attributes:
        alpha_bar: remaining power of the signal, falling, float32 [N].
        sigma: amplitude sqrt(1 - alpha_bar) of the noise, computed in float64, float32 [N].
    """

    alpha_bar: Tensor
    sigma: Tensor

    def noisy(self, signal: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Returns sqrt(alpha_bar) s + sigma z (eq. 4): signal and noise [B, ...], step int64 [B]."""
        shape = (-1, *(1,) * (signal.dim() - 1))
        return self.alpha_bar[step].sqrt().view(shape) * signal + self.sigma[step].view(shape) * noise

    def step_of(self, alpha_bar: float) -> float:
        """Returns the fractional step of a noise level, by linear interpolation of sqrt(alpha_bar) between two steps.

        Reverse diffusion with a few steps of its own thereby uses a network that was trained on this schedule (Z. Kong
        et al., "DiffWave", ICLR 2021, appendix B). Levels beyond either end are clamped.

        >>> schedule = linear_schedule()
        >>> [round(schedule.step_of(float(schedule.alpha_bar[step])), 3) for step in (0, 1, 49)]
        [0.0, 1.0, 49.0]
        """
        amplitudes = self.alpha_bar.sqrt()
        wanted = math.sqrt(alpha_bar)
        above = int((amplitudes > wanted).sum())  # number of steps with less noise
        if above == 0 or above == len(amplitudes):
            return float(max(0, above - 1))
        high, low = float(amplitudes[above - 1]), float(amplitudes[above])
        return above - 1 + (high - wanted) / (high - low)


def betas(num_steps: int = 50, first: float = 1e-4, last: float = 0.05) -> Tensor:
    """The share of the power that each step of `linear_schedule` turns into noise: float64 [num_steps]."""
    return torch.linspace(first, last, num_steps, dtype=torch.float64)


def linear_schedule(num_steps: int = 50, first: float = 1e-4, last: float = 0.05) -> Schedule:
    """Returns levels of evenly spaced beta = ``first`` ... ``last``; alpha_bar_n is the product of 1 - beta up to n.

    The defaults are those of the published priors; ``linear_schedule(10, 1e-4, 1e-3)`` is their reverse diffusion's.

    >>> schedule = linear_schedule()
    >>> [round(float(schedule.alpha_bar[step]), 5) for step in (0, 1, 49)]
    [0.9999, 0.99878, 0.27967]
    """
    alpha_bar = (1 - betas(num_steps, first, last)).cumprod(0)
    return Schedule(alpha_bar.float(), (1 - alpha_bar).sqrt().float())


def ancestral_samples(
    noise: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    start: Tensor,
    fresh: Callable[[], Tensor],
) -> Tensor:
    """Draws windows from a prior by algorithm 2, with the smaller of its two variances (eq. 7).

    Args:
        noise: estimator of z complex64 [B, T] from noisy windows complex64 [B, T] and steps int64 [B].
        schedule: the prior's.
        start: complex64 [B, T] at the noise of the last level. That level keeps 28 % of the signal for the published
            priors. White noise of the same power cannot replace it if the band is narrow; see `gaussian_like`.
        fresh: draws the added noise z complex64 [B or 1, T].

    Returns:
        complex64 [B, T].
    """
    x = start
    levels = [1.0, *schedule.alpha_bar.double().tolist()]  # level n + 1 belongs to step n; level 0 has no noise
    for step in reversed(range(len(schedule.alpha_bar))):
        before, now = levels[step], levels[step + 1]
        beta = 1 - now / before
        estimated = noise(x, torch.full((len(x),), step))
        x = (x - beta / math.sqrt(1 - now) * estimated) / math.sqrt(1 - beta)
        x = x + math.sqrt(beta * (1 - before) / (1 - now)) * fresh()
    return x


def gaussian_like(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Draws circular Gaussian windows complex64 [B, T] with the mean power spectrum of ``windows``."""
    spectrum = squared(torch.fft.fft(windows, norm="ortho")).mean(0)  # [T]
    white = torch.randn(windows.shape, dtype=windows.dtype, generator=generator)
    coloured: Tensor = torch.fft.ifft(spectrum.sqrt() * white, norm="ortho")
    return coloured
