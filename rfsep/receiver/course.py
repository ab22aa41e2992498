"""Reads a capture along the course of a SOI: its carrier, phase and clock, as they were followed.

Interference stays as it was received wherever the SOI allows it: the carrier is turned by one constant rate, and phase
and time move in steps between segments, in the middle of the overlap of two windows of a separator. Every window
thus sees one constant turn and one constant shift by whole samples, except near its ends. A shift by up to half a sample
hardly matters to a SOI of many samples per symbol; where it does, the capture is resampled instead.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.signals.resampling import INTERPOLATION_REACH, interpolated

Samples = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float64]
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
        found: Floats = self.origin + (np.arange(begin, begin + count) - self.begin) * self.pace
        return found


def _taken(
    course: Course, layout: Layout, begin: int, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns segment and place in the capture of each sample, both int64 [count], for shifts by whole samples."""
    own = np.arange(begin, begin + count)
    segment = layout.segment_of(own)
    middle = segment * layout.hop + layout.lead + layout.hop // 2
    shift = np.rint(course.origin + (middle - course.begin) * course.pace - middle).astype(np.int64)
    return segment, own + shift


def read_along(raw: Raw, course: Course, layout: Layout, begin: int, count: int) -> Samples:
    """Returns samples complex64 [count] of the SOI's own time, from ``begin`` on, without its carrier and phase."""
    segment, taken = _taken(course, layout, begin, count)
    if layout.whole:
        low = int(taken.min())
        samples = raw(low, int(taken.max()) + 1 - low)[taken - low]
        places = taken.astype(np.float64)
    else:
        places = course.places(begin, count)
        low = int(places[0]) - INTERPOLATION_REACH
        held = raw(low, int(places[-1]) + INTERPOLATION_REACH + 2 - low)
        samples = interpolated(held, places, low)
    turn = course.carrier * places + course.phase[segment - course.first] / (2 * np.pi)
    turned: Samples = samples * np.exp(-2j * np.pi * (turn % 1.0)).astype(np.complex64)
    return turned


def put_in_time(estimate: Samples, course: Course, layout: Layout, begin: int) -> Samples:
    """Returns an estimate complex64 [n] without the steps of `read_along`: evenly in the SOI's own time."""
    if not layout.whole:
        return estimate
    count = len(estimate)
    _, taken = _taken(course, layout, begin, count)
    low = int(taken.min())
    held = np.zeros(int(taken.max()) + 1 - low, np.complex64)
    held[taken - low] = estimate
    seen = np.zeros(len(held), bool)
    seen[taken - low] = True
    gaps = np.flatnonzero(~seen)
    if len(gaps):  # where a step has left out a sample
        own = np.flatnonzero(seen)
        held[gaps] = np.interp(gaps, own, held[own].real) + 1j * np.interp(gaps, own, held[own].imag)
    places = course.places(begin, count)
    return estimate if np.array_equal(places, taken) else interpolated(held, places, low)
