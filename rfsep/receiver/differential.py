"""Bits of differentially encoded PSK, which are in the phase steps between successive symbols."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.types import InputError

_SAME = 1e-3  # Points closer than this are the same.
Bits = npt.NDArray[np.uint8]
Points = npt.NDArray[np.complex64]
Symbols = npt.NDArray[np.complex64]
# Labels of the phase steps 0, 1, .. of 2 pi / M, as tests/reference/make_phase_steps.py measured them. liquid's modems
# DPSK2, DPSK4 and DPSK8 are in Gray order, GNU Radio's psk_constellation is too for M of 2 and 4. For 8 GNU Radio looks
# the steps up in the Gray code where its inverse is meant, and two neighbours differ in two bits.
STEPS: dict[str, dict[int, tuple[int, ...]]] = {
    "gray": {2: (0, 1), 4: (0, 1, 3, 2), 8: (0, 1, 3, 2, 6, 7, 5, 4)},
    "gnuradio": {2: (0, 1), 4: (0, 1, 3, 2), 8: (0, 1, 3, 2, 7, 6, 4, 5)},
    "natural": {2: (0, 1), 4: (0, 1, 2, 3), 8: (0, 1, 2, 3, 4, 5, 6, 7)},
}
STEPS["liquid"] = STEPS["gray"]


class Ring(NamedTuple):
    """The points of an M-PSK in the order of their angles.

    Attributes:
        place: int64 [M], place on the ring of each point, counterclockwise.
        labels: uint8 [M, width], bits of each phase step.
    """

    place: npt.NDArray[np.int64]
    labels: Bits


def phase_steps(name: str, points: Points) -> Ring:
    """Returns the ring of a PSK constellation with a sender's labels of its phase steps.

    Args:
        name: ``gray``, ``gnuradio``, ``liquid`` or ``natural``.
        points: complex64 [M], the constellation.

    Raises:
        InputError: the constellation is no PSK, or the name is unknown.

    >>> phase_steps("gray", np.array([1, -1], np.complex64)).labels.tolist()
    [[0], [1]]
    """
    size = len(points)
    place = np.empty(size, np.int64)
    place[np.argsort(np.angle(points, deg=True).round(3) % 360)] = np.arange(size)
    even = points * np.exp(-2j * np.pi * place / size)
    if size not in STEPS["gray"] or np.abs(even - even[0]).max() > _SAME:
        raise InputError(f"differential decoding is of PSK with 2, 4 or 8 points, and these {size} points are no such")
    if name not in STEPS:
        raise InputError(f"unknown differential labels '{name}'; choose one of {', '.join(STEPS)}")
    steps, width = np.array(STEPS[name][size]), (size - 1).bit_length()
    return Ring(place, ((steps[:, None] >> np.arange(width)[::-1]) & 1).astype(np.uint8))


def differential_bits(received: Bits, ring: Ring) -> Bits:
    """Returns the bits of the phase steps between decided symbols; neither the phase nor a constant turn matters.

    The first symbol is only a reference: both GNU Radio and liquid encode its bits against an angle that no receiver
    knows. A wrong decision makes two wrong steps, and a cycle slip one.

    Args:
        received: hard bits uint8 [N] of symbols in the modem's own labels.
        ring: see `phase_steps`.

    Returns:
        uint8 [N - width].

    >>> ring = phase_steps("gray", np.array([1, -1], np.complex64))
    >>> differential_bits(np.array([0, 1, 1, 0, 0], np.uint8), ring).tolist()
    [1, 0, 1, 0]
    """
    size, width = ring.labels.shape
    numbers = np.zeros(len(received) // width, np.int64)
    for place in range(width):
        numbers = 2 * numbers + received[place : len(numbers) * width : width]
    bits: Bits = ring.labels[np.diff(ring.place[numbers]) % size].reshape(-1)
    return bits


def step_bits(symbols: Symbols, ring: Ring) -> Bits:
    """Returns the bits of the phase steps between matched-filter outputs that no carrier recovery has turned.

    For a carrier that is known to a small part of 1 / (M T) only. In white noise this costs up to 2.3 dB against
    `differential_bits` of coherent decisions for M = 4 (Proakis and Salehi, Digital Communications, 5th ed., section
    4.5-5).

    Args:
        symbols: complex64 [S], of any gain and phase.
        ring: see `phase_steps`.

    Returns:
        uint8 [(S - 1) * width].
    """
    size = len(ring.labels)
    steps = np.angle(symbols[1:] * symbols[:-1].conj()) * size / (2 * np.pi)
    bits: Bits = ring.labels[np.rint(steps).astype(np.int64) % size].reshape(-1)
    return bits
