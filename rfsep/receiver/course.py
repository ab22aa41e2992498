"""Reads a capture along the course of a SOI: its carrier, phase and clock, as they were followed.

Interference stays as it was received wherever the SOI allows it: the carrier is turned by one constant rate, and phase
and time move in steps between segments, in the middle of the overlap of two windows of a separator. Every window
thus sees one constant turn and one constant shift by whole samples, except near its ends. A shift by half a sample
hardly matters to a SOI of many samples per symbol; where it does, the capture is resampled instead.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.signals.resampling import INTERPOLATION_REACH, interpolated

Samples = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float64]
_NODES = range(-2, 4)  # samples around a place between 0 and 1
_BLOCK = 1 << 13  # samples that are interpolated at once
Raw = Callable[[int, int], Samples]  # samples of the capture from a place on, zero beyond its ends


class Layout(NamedTuple):
    """Segments of the SOI's own time, in samples of its nominal rate.

    Attributes:
        hop: samples from one window to the next.
        lead: samples from a window's begin to that of its segment, half of the overlap.
        whole: shifts are by whole samples.
    """

    hop: int
    lead: int
    whole: bool

    def segment_of(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the segment of each sample, int64 [n]."""
        found: npt.NDArray[np.int64] = np.maximum(places - self.lead, 0) // self.hop
        return found


class Course(NamedTuple):
    """Where a SOI is in a capture, over a stretch.

    Attributes:
        carrier: cycles per sample, of the whole capture.
        begin: first sample of the stretch, counted from the first symbol in the SOI's own time.
        origin: place of that sample in the capture, in samples.
        pace: samples of the capture per sample of the SOI's own time.
        first: number of the first segment of ``phase``.
        phase: phase of the SOI beside the carrier's turn in each segment, in rad, float64 [W].
    """

    carrier: float
    begin: int
    origin: float
    pace: float
    first: int
    phase: Floats

    def places(self, begin: int, count: int) -> Floats:
        """Returns places in the capture, float64 [count], of samples from ``begin`` on."""
        found: Floats = self.origin + (np.arange(begin, begin + count, dtype=np.float64) - self.begin) * self.pace
        return found


def _runs(course: Course, layout: Layout, begin: int, count: int) -> Iterator[tuple[int, slice, int]]:
    """Yields the segments of a stretch: number, samples of the stretch, and shift by whole samples into the capture."""
    first, last = layout.segment_of(np.array([begin, begin + count - 1])).tolist()
    for segment in range(first, last + 1):
        low = begin if segment == first else segment * layout.hop + layout.lead
        high = begin + count if segment == last else (segment + 1) * layout.hop + layout.lead
        middle = segment * layout.hop + layout.lead + layout.hop // 2
        place = course.origin + (middle - course.begin) * course.pace
        yield segment, slice(low - begin, high - begin), round(place - middle)


def read_along(raw: Raw, course: Course, layout: Layout, begin: int, count: int) -> Samples:
    """Returns samples complex64 [count] of the SOI's own time, from ``begin`` on, without its carrier and phase."""
    runs = list(_runs(course, layout, begin, count))
    pace = 1.0 if layout.whole else course.pace
    if layout.whole:
        low = begin + min(shift for _, _, shift in runs)
        held = raw(low, count + max(shift for _, _, shift in runs) + begin - low)
    else:
        places = course.places(begin, count)
        low = int(places[0]) - INTERPOLATION_REACH
        held = interpolated(raw(low, int(places[-1]) + INTERPOLATION_REACH + 2 - low), places, low)
    longest = max(part.stop - part.start for _, part, _ in runs)
    turning = np.exp(-2j * np.pi * ((np.arange(longest) * (course.carrier * pace)) % 1.0)).astype(np.complex64)
    turned = np.empty(count, np.complex64)
    for segment, part, shift in runs:
        place = float(begin + part.start + shift) if layout.whole else float(places[part.start])
        turn = (course.carrier * place) % 1.0 + course.phase[segment - course.first] / (2 * np.pi)
        taken = held[part.start + begin + shift - low :] if layout.whole else held[part.start :]
        size = part.stop - part.start
        factor = np.complex64(np.exp(-2j * np.pi * turn))
        np.multiply(taken[:size], factor * turning[:size], out=turned[part])
    return turned


def missed(course: Course, layout: Layout, begin: int, count: int) -> Floats:
    """Returns the delays float64 [count], in samples, that `read_along` leaves because it shifts by whole samples."""
    left = np.zeros(count)
    if layout.whole:
        places = course.places(begin, count) - np.arange(begin, begin + count)
        for _, part, shift in _runs(course, layout, begin, count):
            left[part] = places[part] - shift
    return left


def put_in_time(estimate: Samples, course: Course, layout: Layout, begin: int) -> Samples:
    """Returns an estimate complex64 [n] without the steps of `read_along`: evenly in the SOI's own time."""
    if not layout.whole:
        return estimate
    count = len(estimate)
    runs = list(_runs(course, layout, begin, count))
    low = begin + min(shift for _, _, shift in runs)
    held = np.zeros(begin + count + max(shift for _, _, shift in runs) - low, np.complex64)
    seen = np.zeros(len(held), bool)
    for _, part, shift in runs:
        place = slice(part.start + begin + shift - low, part.stop + begin + shift - low)
        held[place] = estimate[part]
        seen[place] = True
    gaps = np.flatnonzero(~seen)
    if len(gaps):  # where a step has left out a sample
        own = np.flatnonzero(seen)
        held[gaps] = np.interp(gaps, own, held[own].real) + 1j * np.interp(gaps, own, held[own].imag)
    return _between(held, course.places(begin, count) - low)


def _between(held: Samples, places: Floats) -> Samples:
    """Returns values at slowly drifting places, by polynomials of degree five through the six samples around each.

    Right to -70 dB up to .09 cycles per sample, far beyond the band of a SOI that shifts by whole samples do for.
    """
    whole = np.floor(places).astype(np.int64)
    fraction = (places - whole).astype(np.float32)
    offset = whole - np.arange(len(places))
    edges = [0, *(np.flatnonzero(np.diff(offset)) + 1).tolist(), len(places)]
    reach = int(max(0, -offset[0], -offset[-1])) + len(_NODES)
    beyond = int(max(0, offset[0], offset[-1], len(places) + offset[-1] - len(held))) + len(_NODES)
    parts = [np.pad(part, (reach, beyond)) for part in (held.real, held.imag)]
    found = np.empty((len(places), 2), np.float32)
    for low, high in pairwise(edges):
        for begin in range(low, high, _BLOCK):
            end = min(begin + _BLOCK, high)
            first = int(whole[begin]) + reach + _NODES[0]
            weights = _weights(fraction[begin:end])
            for axis, part in enumerate(parts):
                taken = (part[first + step : first + step + end - begin] for step in range(len(_NODES)))
                found[begin:end, axis] = sum(weight * samples for weight, samples in zip(weights, taken, strict=True))
    return found.view(np.complex64)[:, 0]


def _weights(fraction: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Returns Lagrange's weights of the six samples around places, each float32 [n]."""
    away = [fraction - np.float32(node) for node in _NODES]
    before, behind = [np.ones_like(fraction)], [np.ones_like(fraction)]
    for step in range(len(_NODES) - 1):
        before.append(before[-1] * away[step])
        behind.append(behind[-1] * away[-1 - step])
    scales = [math.prod(node - other for other in _NODES if other != node) for node in _NODES]
    return [one * other * np.float32(1 / scale) for one, other, scale in zip(before, behind[::-1], scales, strict=True)]
