"""Which samples of example frames are distinct: frames that were cropped from one recording may overlap.

Crops of one stream hold the same numbers, bit for bit. Samples that several frames hold are one observation, whatever
the number of frames; counted as many, they make chance look like a rule.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_STRETCH = 32  # consecutive samples that chance does not repeat, not even in recordings of 8 bits
_FACTOR = 6364136223846793005  # D. E. Knuth, The Art of Computer Programming 2, section 3.3.4: a multiplier mod 2**64
_MIXER = -7046029254386353131  # 2**64 over the golden ratio, odd
_TABLE = 1 << 16  # places of a table that tells at a glance which stretches are not looked for


class _Stretches(NamedTuple):
    """Stretches of `_STRETCH` samples of frames, by the place of their first sample.

    Attributes:
        flat: bool [F, W], of one value alone, such as silence: they say nothing.
        repeated: bool [F, W], an earlier frame holds the same.
        ends: bool [F, W], behind the place where an earlier frame first holds it, that frame is flat.
        begins: bool [F, W], before that place, that frame is flat.
    """

    flat: Tensor
    repeated: Tensor
    ends: Tensor
    begins: Tensor


def _keys(frames: Tensor) -> tuple[Tensor, Tensor]:
    """A hash of every stretch of frames complex64 [F, T], int64 [F, W], and whether it is flat, bool [F, W]."""
    words = torch.view_as_real(frames).contiguous().view(torch.int64)[..., 0]  # [F, T], the bits of I and Q
    keys = words * _MIXER
    keys = (keys ^ (keys >> 29)) * _MIXER
    flat, factor, length = torch.ones_like(keys, dtype=torch.bool), _FACTOR, 1
    while length < _STRETCH:  # A stretch is two of half its length.
        count = words.shape[1] - 2 * length + 1
        flat = flat[:, :-length] & flat[:, length:] & (words[:, :count] == words[:, length : length + count])
        keys = keys[:, :-length] * _signed(factor) + keys[:, length:]
        factor, length = factor * factor, 2 * length
    return keys, flat


def _signed(factor: int) -> int:
    """A factor modulo 2**64, as int64 holds it."""
    return (factor + 2**63) % 2**64 - 2**63


def _may_overlap(keys: Tensor, flat: Tensor) -> bool:
    """Tells whether the first or the last stretch of a frame that is not flat appears in an earlier frame.

    Every overlap begins or ends with a frame, so that without such a stretch no frame overlaps an earlier one.
    """
    number, count = keys.shape
    row, sounding = torch.arange(number), (~flat).byte()
    ends = torch.stack((sounding.argmax(1), count - 1 - sounding.flip(1).argmax(1)), 1)  # [F, 2]
    asked, which = torch.unique(keys.gather(1, ends), return_inverse=True)
    latest = torch.full_like(asked, -1)  # frame that asks for a stretch; none asks for a flat one
    latest.scatter_reduce_(0, which.flatten(), torch.where(flat.all(1), -1, row).repeat_interleave(2), "amax")
    table = torch.zeros(_TABLE, dtype=torch.bool)
    table[asked & (_TABLE - 1)] = True
    place = table[keys & (_TABLE - 1)].flatten().nonzero()[:, 0]  # all that may be asked for, and few others
    found = keys.flatten()[place]
    nearest = torch.searchsorted(asked, found).clamp_max(len(asked) - 1)
    return bool(((asked[nearest] == found) & (place // count < latest[nearest])).any())


def _sources(keys: Tensor) -> Tensor:
    """Places where stretches with hashes int64 [F, W] first appear, counted through all frames: int64 [F, W]."""
    flattened = keys.flatten().numpy()
    order = flattened.argsort()
    ordered = flattened[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    source = np.empty_like(order)
    source[order] = np.repeat(np.minimum.reduceat(order, starts), np.diff(starts, append=len(order)))
    return torch.from_numpy(source).view_as(keys)


def _stretches(keys: Tensor, flat: Tensor) -> _Stretches:
    number, count = keys.shape
    source = _sources(keys)  # [F, W]
    frame, column = source // count, source % count
    repeated = (frame < torch.arange(number)[:, None]) & ~flat
    telling = torch.where(flat, -1, torch.arange(count))
    last = telling.amax(1)
    beginning = torch.where(flat, count, torch.arange(count)).amin(1)
    return _Stretches(flat, repeated, column >= last[frame], column <= beginning[frame])


def _overlap(repeated: Tensor, flat: Tensor, at_edge: Tensor) -> Tensor:
    """Samples int64 [F] at the beginning of each frame that earlier frames hold.

    The repeated stretches must lead to the end of an earlier frame, or through the whole frame: a preamble that is the
    same in every packet is no overlap.
    """
    count = repeated.shape[1]
    run = (repeated | flat).long().cumprod(1).bool()
    place = torch.arange(count)
    last = torch.where(run & repeated, place, -1).amax(1)  # [F]
    whole = run.all(1) & (last >= 0)
    edge = at_edge.gather(1, last.clamp_min(0)[:, None])[:, 0] & (last >= 0)
    length = torch.where(edge, last + _STRETCH, 0)
    return torch.where(whole, count + _STRETCH - 1, length)


def distinct_samples(frames: Tensor) -> Tensor:
    """Which samples no earlier frame holds, found from the numbers themselves.

    An overlap begins or ends with a frame. Frames that were turned, scaled or resampled one by one are not recognised.

    Args:
        frames: complex64 [F, T].

    Returns:
        bool [F, T]. Overlaps shorter than 32 samples stay undetected.

    >>> stream = torch.randn(1000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    >>> distinct_samples(torch.stack((stream[:600], stream[400:]))).sum(1).tolist()
    [600, 400]
    """
    length = frames.shape[1]
    if length < _STRETCH or len(frames) < 2:
        return torch.ones(frames.shape, dtype=torch.bool)
    keys, flat = _keys(frames)
    if not _may_overlap(keys, flat):
        return torch.ones(frames.shape, dtype=torch.bool)
    found = _stretches(keys, flat)
    before = _overlap(found.repeated, found.flat, found.ends)
    behind = _overlap(found.repeated.flip(1), found.flat.flip(1), found.begins.flip(1))
    place = torch.arange(length)
    return (place >= before[:, None]) & (place < length - behind[:, None])
