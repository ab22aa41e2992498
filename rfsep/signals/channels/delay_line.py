"""Delays by any fraction of a sample and tapped delay lines, as filters: a sinc in a Kaiser window."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

HALF_WIDTH = 16  # samples on each side of a delay that its filter has
# Kaiser's formula for a transition from 0.4 to 0.6 cycles/sample over these 32 samples: 8 + 2.285 * 32 * 0.4 pi = 100
# dB, and beta = 0.1102 (100 - 8.7) = 10. The error is below -94 dB for tones up to 0.4 cycles/sample.
_KAISER_BETA = 10.0
Waveform = npt.NDArray[np.complex128]


def windowed_sinc(distance: Tensor, half_width: int, kaiser_beta: float) -> Tensor:
    """Returns the interpolating kernel float64 [...] at distances in samples, 0 beyond ``half_width``."""
    inside = (1 - (distance / half_width).square()).clamp(min=0).sqrt()
    kaiser = torch.special.i0(kaiser_beta * inside) * (distance.abs() <= half_width)
    kernel: Tensor = torch.sinc(distance) * kaiser / float(np.i0(kaiser_beta))
    return kernel


def ray_taps(rays: Sequence[tuple[float, complex]]) -> tuple[int, Waveform]:
    """Returns a tapped delay line as a filter: its first lag in samples, and its taps complex128 [L].

    Args:
        rays: delay in samples and complex gain of each. A ray at a whole number of samples is one tap.
    """
    delays = torch.tensor([delay for delay, _ in rays], dtype=torch.float64)
    lowest = math.floor(float(delays.min())) + 1 - HALF_WIDTH
    taps = np.zeros(math.ceil(float(delays.max())) + HALF_WIDTH - lowest, np.complex128)
    whole = delays.floor()
    lags = torch.arange(1 - HALF_WIDTH, HALF_WIDTH + 1, dtype=torch.float64)  # counted from the whole part of a delay
    kernels = windowed_sinc(lags - (delays - whole)[:, None], HALF_WIDTH, _KAISER_BETA)
    # At whole delays the kernel is one tap, without the rounding errors of the sinc's zeros.
    kernels = torch.where((delays == whole)[:, None], (lags == 0).double(), kernels)
    for (_, gain), first, kernel in zip(rays, (whole - lowest).long().tolist(), kernels.numpy(), strict=True):
        place = first + 1 - HALF_WIDTH
        taps[place : place + 2 * HALF_WIDTH] += gain * kernel[: len(taps) - place]
    used = np.flatnonzero(taps)
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    return lowest + first, taps[first : last + 1]


def filtered(waveform: Waveform, first_lag: int, taps: Waveform, start: int, count: int) -> Waveform:
    """Returns samples ``start`` to ``start + count`` complex128 [B, count] of a filtered signal.

    Args:
        waveform: complex128 [B, T], zero wherever it is not given.
        first_lag: lag of the first tap in samples.
        taps: complex128 [L].
        start: first sample wanted.
        count: how many.
    """
    known = _stretch(waveform, start - first_lag - len(taps) + 1, start - first_lag + count)
    total = np.zeros((len(waveform), count), np.complex128)
    used = np.flatnonzero(taps)
    # Rays far apart leave long gaps, over which nothing is summed.
    runs = np.split(used, np.flatnonzero(np.diff(used) > HALF_WIDTH) + 1) if len(used) else []
    for run in runs:
        first, end = int(run[0]), int(run[-1]) + 1
        behind = len(taps) - end
        for row, piece in zip(total, known[:, behind : behind + count + end - first - 1], strict=True):
            row += np.convolve(piece, taps[first:end], "valid")
    return total


def _stretch(waveform: Waveform, low: int, high: int) -> Waveform:
    """Returns samples ``low`` to ``high`` complex128 [B, high - low], with zeros outside the waveform."""
    length = waveform.shape[1]
    left, right = min(max(low, 0), length), min(max(high, 0), length)
    if low >= high or right <= left:
        return np.zeros((len(waveform), max(high - low, 0)), np.complex128)
    return np.pad(waveform[:, left:right], ((0, 0), (left - low, high - right)))
