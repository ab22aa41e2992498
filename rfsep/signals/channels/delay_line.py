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
    lowest = min(math.floor(delay) for delay, _ in rays) + 1 - HALF_WIDTH
    highest = max(math.ceil(delay) for delay, _ in rays) + HALF_WIDTH - 1
    taps = np.zeros(highest - lowest + 1, np.complex128)
    lags = torch.arange(lowest, highest + 1, dtype=torch.float64)
    for delay, gain in rays:
        if delay == int(delay):  # the sinc's zeros, without their rounding errors
            taps[int(delay) - lowest] += gain
        else:
            taps += gain * windowed_sinc(lags - delay, HALF_WIDTH, _KAISER_BETA).numpy()
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
    low = start - first_lag - len(taps) + 1
    known = _stretch(waveform, low, start - first_lag + count)
    turned = 1j * known
    total = np.zeros((len(waveform), count), np.complex128)
    for lag in np.flatnonzero(taps):
        tap, behind = taps[lag], len(taps) - 1 - lag
        if tap.real:
            total += known[:, behind : behind + count] * tap.real
        if tap.imag:
            total += turned[:, behind : behind + count] * tap.imag
    return total


def _stretch(waveform: Waveform, low: int, high: int) -> Waveform:
    """Returns samples ``low`` to ``high`` complex128 [B, high - low], with zeros outside the waveform."""
    length = waveform.shape[1]
    left, right = min(max(low, 0), length), min(max(high, 0), length)
    if low >= high or right <= left:
        return np.zeros((len(waveform), max(high - low, 0)), np.complex128)
    return np.pad(waveform[:, left:right], ((0, 0), (left - low, high - right)))
