"""Measures each packet's carrier offset, level and repetition error from its segments."""

import cmath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.separators.wifi.packet_segments import PIECE, PREFIX_START, Features, Kind, Segment
from rfsep.signals import wifi

# Physics: a training field has 160 samples, so that pieces of 12 samples that begin here, and their repetitions 64
# samples later, lie inside it. The first ones overlap threefold and count a third each; the others do not overlap.
_TRAINING_STARTS = np.arange(12, 84, 4)
_TRAINING_WEIGHT = 1 / 3
_APART = np.arange(16, 80, 12)

# Tuned; split not recorded. The least power of an interference beside a SOI of unit power.
_LEAST_LEVEL = 3e-4

# Tuned; split not recorded. This many unknown samples end a packet.
_LONG_BREAK = 60

# Tuned; split not recorded. The share of the power that does not repeat: where no repetition is seen, and its limits.
_USUAL_ERROR = 1e-3
_ERROR_RANGE = (2e-4, 0.1)


class Run(NamedTuple):
    """A packet, or the part of it in the window.

    Attributes:
        offset: carrier offset in carrier spacings, less than half a spacing either way.
        level: power.
        error: share of the power that does not repeat, from the transmitter's error vector, phase noise and noise.
    """

    offset: float
    level: float
    error: float


class Runs(NamedTuple):
    """Packets of one window.

    Attributes:
        of_segment: index of each segment's packet; -1 in gaps and in long unknown segments.
        known: the packets that are seen, by index.
    """

    of_segment: list[int]
    known: dict[int, Run]


def _grouped(segments: list[Segment]) -> list[int]:
    run, inside, found = -1, False, list[int]()
    for one in segments:
        if one.kind == Kind.GAP or (one.kind == Kind.UNKNOWN and one.stop - one.start >= _LONG_BREAK):
            inside = False
            found.append(-1)
            continue
        if one.kind == Kind.SHORT or not inside:
            run, inside = run + 1, True
        found.append(run)
    return found


def _pieces(one: Segment, count: int) -> NDArray[np.int64]:
    """Returns where the pieces of a segment that repeat 64 samples later begin, below ``count``."""
    if one.kind == Kind.SYMBOL:
        place = np.array([one.start + PREFIX_START])
    else:
        place = one.start + _TRAINING_STARTS if one.kind in (Kind.LONG, Kind.SHORT) else np.zeros(0, dtype=np.int64)
    begins = PREFIX_START if one.kind == Kind.SYMBOL else 0  # A prefix counts only if all of it is seen.
    return place[(place >= begins) & (place < count)]


def _offset(segments: list[Segment], found: Features, row: int) -> float | None:
    """Returns the carrier offset from the phase between repetitions at lag 64, or None without any."""
    correlation, total = found.prefix_correlation[row], 0j
    for one in segments:
        weight = 1.0 if one.kind == Kind.SYMBOL else _TRAINING_WEIGHT
        total += weight * complex(correlation[_pieces(one, len(correlation))].sum())
    return cmath.phase(total) / (2 * cmath.pi) if total else None


def _level(segments: list[Segment], found: Features, row: int) -> float | None:
    seen = [one for one in segments if one.kind != Kind.UNKNOWN]
    parts = [found.energy[row, max(one.start, 0) : max(one.stop, 0)] for one in seen]
    energy = np.concatenate(parts) if parts else np.zeros(0)
    return max(float(energy.mean()), _LEAST_LEVEL) if len(energy) else None


def _error(segments: list[Segment], found: Features, row: int, offset: float) -> float:
    """Returns the share of the power that differs between repetitions after the carrier offset is removed."""
    correlation, energy = found.prefix_correlation[row], found.prefix_energy[row]
    turn = cmath.exp(-2j * cmath.pi * offset)
    differing = total = 0.0
    for one in segments:
        place = one.start + (_APART if one.kind == Kind.LONG else np.array([PREFIX_START]))
        place = place[(place >= (0 if one.kind == Kind.LONG else PREFIX_START)) & (place < len(correlation))]
        if one.kind in (Kind.SYMBOL, Kind.LONG):
            both = energy[place] + energy[place + wifi.FFT_SIZE]
            differing += float((both - 2 * (correlation[place] * turn).real).sum()) / 2
            total += float(both.sum()) / 2
    return min(max(differing / total, _ERROR_RANGE[0]), _ERROR_RANGE[1]) if total > 0 else _USUAL_ERROR


def runs_of(segments: list[Segment], found: Features, row: int) -> Runs:
    """Finds the packets among the segments of a window, the ``row``-th of ``found``."""
    index = _grouped(segments)
    members = {run: [one for one, other in zip(segments, index, strict=True) if other == run] for run in set(index)}
    members.pop(-1, None)
    offsets = {run: _offset(group, found, row) for run, group in members.items()}
    seen = [offset for offset in offsets.values() if offset is not None]
    known = {}
    for run, group in members.items():
        level = _level(group, found, row)
        if level is None:
            continue
        own = offsets[run]
        error = _USUAL_ERROR if own is None else _error(group, found, row, own)
        offset = own if own is not None else seen[0] if seen else 0.0
        known[run] = Run(offset, level, error)
    return Runs(index, known)


def power_between(found: Features, row: int, start: int, stop: int) -> float:
    """Returns the interference power in samples ``start`` to ``stop``, from pieces that lie mostly inside."""
    energy = found.energy[row]
    if start >= len(energy):
        return max(float(np.median(energy)), _LEAST_LEVEL)
    return max(float(energy[start : max(min(stop - PIECE // 2, len(energy)), start + 1)].mean()), _LEAST_LEVEL)


def power_of_gap(found: Features, row: int, start: int, stop: int) -> float:
    """Returns the power in a gap: the median, because packets ring on into it."""
    piece = found.energy[row, start : max(stop - PIECE + 1, start + 1)]
    return max(float(np.median(piece)), _LEAST_LEVEL) if len(piece) else power_between(found, row, start, stop)
