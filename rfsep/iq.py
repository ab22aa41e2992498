"""Complex samples: channels, power, decibels and the mixture formula, each written once."""

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.types import InputError

Empirical = Literal["interference"]
_SILENCE = 1e-20  # A window of less power holds no interference, so no gain gives it a ratio.


def to_channels(waveform: Tensor) -> Tensor:
    """Returns real and imaginary parts as two channels: complex64 [B, T] to float32 [B, 2, T]."""
    return torch.view_as_real(waveform).transpose(-1, -2).contiguous()  # [B, 2, T]


def from_channels(channels: Tensor) -> Tensor:
    """Inverts `to_channels`: float32 [B, 2, T] to complex64 [B, T].

    >>> x = torch.tensor([[1 + 2j, 3 - 4j]])
    >>> bool((from_channels(to_channels(x)) == x).all())
    True
    """
    return torch.view_as_complex(channels.float().transpose(-1, -2).contiguous())  # [B, T]


def squared(values: Tensor) -> Tensor:
    """Returns |x|^2, without the square root of abs(): complex [...] to real [...].

    >>> squared(torch.tensor([3 + 4j]))
    tensor([25.])
    """
    return values.real.square() + values.imag.square()  # a sum over pairs takes seven times as long


def power(waveform: Tensor) -> Tensor:
    """Returns the mean of |x|^2 over the last axis: complex [..., T] to real [...].

    >>> power(torch.tensor([3 + 4j, 0j]))
    tensor(12.5000)
    """
    return squared(waveform).mean(-1)


def db(ratio: float) -> float:
    """Converts a ratio of powers to decibels; 0 gives minus infinity.

    >>> db(100.0)
    20.0
    """
    return 10.0 * math.log10(ratio) if ratio > 0 else -math.inf


def from_db(level_db: float) -> float:
    """Converts decibels to a ratio of powers.

    >>> from_db(-30.0)
    0.001
    """
    return float(10.0 ** (level_db / 10.0))


class Mixed(NamedTuple):
    """A mixture and its interference.

    Attributes:
        mixture: complex64 [B, T].
        interference: complex64 [B, T], at the level and phase it has in the mixture.
    """

    mixture: Tensor
    interference: Tensor


def mix(
    soi: Tensor, interference: Tensor, sinr_db: Tensor, phase: Tensor, *, empirical: bool | Empirical = False
) -> Mixed:
    """Returns ``mixture = soi + gain * exp(j phase) * interference`` with ``gain = 10 ** (-sinr_db / 20)``.

    The gain is nominal, as in the ICASSP 2024 RF Challenge: sources of unit power on average give the stated SINR on
    average. With ``empirical`` it is scaled by the measured powers of the two windows, as in the 2021 challenge and the
    studies built on it. Every window then has the stated ratio exactly. ``empirical="interference"`` assumes unit power
    of the SOI and divides by the interference's power alone (GLOBECOM 2022).

    Args:
        soi: complex64 [B, T].
        interference: complex64 [B, T].
        sinr_db: float32 [B].
        phase: float32 [B], radians.
        empirical: match powers window by window.

    Raises:
        InputError: ``empirical`` is another word.
    """
    if empirical not in (True, False, "interference"):
        raise InputError(f"empirical is {empirical!r}, choose one of true, false, interference")
    gain = 10 ** (-sinr_db / 20)  # [B]
    if empirical:
        reference = 1.0 if empirical == "interference" else power(soi)
        gain = gain * (reference / power(interference).clamp_min(_SILENCE)).sqrt()
    scaled = torch.polar(gain, phase)[:, None] * interference  # [B, T]
    return Mixed(soi + scaled, scaled)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute by one thread in the block, so that the bits of a sum do not depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forget_pages(array: NDArray[Any]) -> None:
    """Releases the read pages of a memory-mapped file, which would count as memory of the process."""
    mapping = getattr(array, "_mmap", None) if isinstance(array, np.memmap) else None
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
