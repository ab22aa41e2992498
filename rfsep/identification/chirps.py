"""Finds chirps, whose frequency rises or falls linearly.

x[n + d] conj(x[n]) of a chirp is a tone of slope times d cycles per sample: the lag product that C. E. Cook and M.
Bernfeld, Radar Signals (1967), chapter 6, mix with an echo to stretch it. Modulations leave a line at 0, or lines of
equal strength on both sides of it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared

_WINDOWS = (256, 1024, 4096)  # samples per look: short ones for fast chirps, long ones for slow ones
_LAG_SHARE = 16  # windows per lag
_MIDDLE = 4  # cells beside 0 that tones and slow changes fill


class Chirp(NamedTuple):
    """How much frames look like chirps.

    Attributes:
        strength: float32 [F], share of the power that lies in chirps of one slope, by amount: 1 without noise.
        slope: float32 [F], absolute slope in cycles per sample per sample.
    """

    strength: Tensor
    slope: Tensor


def find_chirp(frames: Tensor) -> Chirp:
    """Measures chirps in frames complex64 [F, T] behind `rfsep.identification.envelope.occupied_band`."""
    strength, slope = torch.zeros(len(frames)), torch.zeros(len(frames))
    longest = frames.shape[1] * _LAG_SHARE // (_LAG_SHARE + 1)
    for window in sorted({min(window, longest) for window in _WINDOWS}):
        lag = window // _LAG_SHARE
        count = (frames.shape[1] - lag) // window
        end = count * window
        product = frames[:, lag : end + lag] * frames[:, :end].conj()
        looks = product.reshape(len(frames), count, window)
        squares = squared(torch.fft.fft(looks))
        squares = squares + squares.roll(1, 2)  # Cell k holds k - 1 and k, for tones between two cells.
        mirrored = squares.flip(2).roll(2, 2)
        uneven = (squares - mirrored)[:, :, : window // 2].abs().sum(1)  # [F, window / 2]
        total = squared(looks).sum((1, 2)) * window
        uneven[:, :_MIDDLE] = 0
        best = uneven.max(1)
        value = best.values / total.clamp(min=1e-30)
        slope = torch.where(value > strength, (best.indices - 0.5) / (window * lag), slope)
        strength = torch.maximum(strength, value)
    return Chirp(strength, slope)
