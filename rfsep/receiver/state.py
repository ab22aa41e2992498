"""Where a SOI is in a capture, and what was heard of it in a stretch."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.receiver.course import Course, Samples
from rfsep.receiver.phase import Followed

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]


class State(NamedTuple):
    """Where the SOI is at a place in the capture, and how it moves.

    Attributes:
        carrier: cycles per sample that are turned back in the whole capture.
        place: sample of the SOI's own time.
        origin: its place in the capture, in samples.
        pace: samples of the capture per sample of the SOI's own time.
        phase: of the SOI there, in rad.
        rate: rad per sample by which its phase goes on.
        taps: channel complex128 [7], see `rfsep.receiver.channel.Channel`.
        locked: the SOI was beyond doubt.
        pace_error: standard error of the pace.
    """

    carrier: float
    place: int
    origin: float
    pace: float
    phase: float
    rate: float
    taps: Complexes
    locked: bool
    pace_error: float


class Heard(NamedTuple):
    """A stretch that was followed.

    Attributes:
        soi: estimate complex64 [n], without carrier, phase and the clock's drift.
        bits: its decided bits uint8 [N].
        symbols: complex128 [S], derotated, at the amplitude that the separator left.
        phase: of each symbol beside the carrier's turn, in rad, float64 [S].
        seen: phase and agreement of the linear separator's symbols.
        linear: those symbols, complex128 [S], without that phase.
        course: along which the capture was read.
        mixture: complex64 [n], along the course.
    """

    soi: Samples
    bits: npt.NDArray[np.uint8]
    symbols: Complexes
    phase: Floats
    seen: Followed
    linear: Complexes
    course: Course
    mixture: Samples


def same_course(one: State, other: State) -> bool:
    """Tells whether two states have the same clock and channel."""
    clock = one.pace == other.pace and one.origin == other.origin
    return clock and np.array_equal(one.taps, other.taps)
