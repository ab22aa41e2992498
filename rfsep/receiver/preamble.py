"""Finds a known preamble in received bits: where frames begin, and by which symmetry the constellation is turned.

A receiver that does not know the phase of a carrier receives a constellation turned by any of its symmetries, and
after a cycle slip by another one. A preamble tells them apart. Places are counted in bits, so that frames need not
begin with a symbol.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.signal import oaconvolve
from scipy.stats import binom

from rfsep.types import InputError

SHORTEST = 32  # bits; a shorter preamble occurs by chance in a capture of ordinary length
_SAME = 1e-3  # Points closer than this are the same.
_BLOCK = 1 << 18  # symbols that are looked at at once
_SLIP_SYMBOLS = 16  # length of the average that shows where a phase slips
Bits = npt.NDArray[np.uint8]
Points = npt.NDArray[np.complex64]
Symbols = npt.NDArray[np.complex64]


class Turn(NamedTuple):
    """A symmetry of a constellation: received = sent * exp(2j * pi * degrees / 360), of the conjugate if so.

    Attributes:
        degrees: the turn, from 0 on and below 360.
        conjugate: the spectrum is inverted: the conjugate of what was sent is turned.
        sent: number of the point that was sent for each number of a received one, int64 [P].
    """

    degrees: float
    conjugate: bool
    sent: npt.NDArray[np.int64]


class Find(NamedTuple):
    """A preamble in received bits.

    Attributes:
        start: the preamble's first bit.
        turn: number of the turn under which it was found.
        errors: how many of its bits are wrong.
    """

    start: int
    turn: int
    errors: int


class Preambles(NamedTuple):
    """All finds of a preamble.

    Attributes:
        finds: in the order of their places; they do not overlap.
        turns: the turns that were tried.
        num_bits: length of the preamble.
        most_errors: a find at any place has at most so many errors.
        false_alarm: probability that fair random bits give any such find, at most 1; see `with_expected` for others.
    """

    finds: tuple[Find, ...]
    turns: tuple[Turn, ...]
    num_bits: int
    most_errors: int
    false_alarm: float


class Piece(NamedTuple):
    """Received bits from ``begin`` to ``end``, a whole number of symbols, all under one turn."""

    begin: int
    end: int
    turn: int


def preamble_bits(text: str) -> Bits:
    """Returns the bits uint8 [n] of a preamble written with 0 and 1, or in hexadecimal behind 0x.

    Raises:
        InputError: something else, or fewer than 32 bits.

    >>> "".join(map(str, preamble_bits("0x1ACFFC1D")))
    '00011010110011111111110000011101'
    """
    digits = text.strip().replace("_", "").lower()
    kind, allowed = ("hexadecimal", "0123456789abcdef") if digits.startswith("0x") else ("binary", "01")
    digits = digits.removeprefix("0x")
    if not digits or set(digits) - set(allowed):
        raise InputError(f"preamble '{text[:40]}': expected 0s and 1s, or 0x and hexadecimal digits")
    written = digits if kind == "binary" else "".join(f"{int(digit, 16):04b}" for digit in digits)
    bits = np.array(list(written), np.uint8)
    _check_length(bits)
    return bits


def symmetries(points: Points, conjugate: bool = False) -> tuple[Turn, ...]:
    """Returns the turns that map a constellation onto itself; the first one changes nothing.

    Args:
        points: complex64 [P].
        conjugate: also those behind a conjugation, which an inverted spectrum causes.

    >>> [turn.degrees for turn in symmetries(np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], np.complex64))]
    [0.0, 90.0, 180.0, 270.0]
    """
    outer = points[np.abs(points).argmax()]
    found = []
    for mirrored, seen in ((False, points), (True, points.conj()))[: 2 if conjugate else 1]:
        start = outer.conj() if mirrored else outer
        ring = points[np.abs(np.abs(points) - np.abs(outer)) < _SAME]
        angles = np.unique(np.round(np.angle(ring / start, deg=True) % 360, 3) % 360)
        for degrees in angles:
            distances = np.abs(points[:, None] - seen * np.exp(1j * np.deg2rad(degrees)))
            if distances.min(1).max() < _SAME:
                found.append(Turn(float(degrees), mirrored, distances.argmin(1)))
    return tuple(found)


def find_preamble(
    received: Bits, preamble: Bits, turns: tuple[Turn, ...], labels: Bits, false_alarm: float = 1e-3
) -> Preambles:
    """Finds every occurrence of a preamble under every turn of a constellation.

    Fair random bits agree with the preamble at a place under a turn in all but k bits or fewer with the probability
    of a binomial tail. The most errors that a find may have are the most at which the sum of these probabilities over
    all places and turns is no larger than ``false_alarm``. Of finds that overlap the one with the fewest errors stays.
    If no number of errors is that improbable, only finds without an error count, and the probability comes out larger.

    Args:
        received: hard bits uint8 [N] of received symbols in the modem's own labels, see
            `rfsep.signals.constellations.hard_bits`; may be a memory map, and is read in pieces.
        preamble: uint8 [n], from 32 bits on, as sent.
        turns: those to try, see `symmetries`; a single one behind differential decoding.
        labels: bits uint8 [P, width] that the sender gives to each point.
        false_alarm: largest probability of any find in fair random bits.

    Raises:
        InputError: a preamble of fewer than 32 bits.
    """
    _check_length(preamble)
    length, places = len(preamble), max(len(received) - len(preamble) + 1, 0)
    chances = binom.cdf(np.arange(length + 1), length, 0.5) * places * len(turns)
    most = max(int(np.count_nonzero(chances <= false_alarm)) - 1, 0)
    candidates = []
    for number, turn in enumerate(turns):
        for begin, errors in _errors(received, preamble, labels[turn.sent]):
            near = np.flatnonzero(errors <= most)
            candidates += [Find(begin + int(at), number, int(errors[at])) for at in near]
    return Preambles(_apart(candidates, length), turns, length, most, min(float(chances[most]), 1.0))


def with_expected(
    found: Preambles, received: Bits, preamble: Bits, labels: Bits, false_alarm: float = 1e-3
) -> Preambles:
    """Adds preambles with more errors, which stand where a repeating one is due.

    Where at least two distances of successive finds are equal, frames have that length, and preambles are due at its
    multiples before, between and after the finds, under the turn of the find before or after. These are few places,
    so that more errors are as improbable there as few errors are anywhere: again the probability of any false find is
    no larger than ``false_alarm``.

    Args:
        found: finds of `find_preamble` in ``received``.
        received: hard bits uint8 [N] in the modem's own labels; may be a memory map.
        preamble: uint8 [n], as sent.
        labels: bits uint8 [P, width] that the sender gives to each point.
        false_alarm: largest probability of any further find in fair random bits.
    """
    due = _due(found, len(received))
    chances = binom.cdf(np.arange(len(preamble) + 1), len(preamble), 0.5) * len(due)
    most = int(np.count_nonzero(chances <= false_alarm)) - 1
    width = labels.shape[1]
    further = []
    for start, number in due if most >= 0 else ():
        low = start // width * width
        part = received[low : -(-(start + len(preamble)) // width) * width]
        sent = turned_bits(part, labels[found.turns[number].sent])[start - low :][: len(preamble)]
        errors = int(np.count_nonzero(sent != preamble))
        further += [Find(start, number, errors)] if errors <= most else []
    return found._replace(finds=_apart([*found.finds, *further], len(preamble)))


def _due(found: Preambles, num_bits: int) -> list[tuple[int, int]]:
    """Returns starts and turns at which preambles are due beside those found."""
    starts = [find.start for find in found.finds]
    counted = Counter(np.diff(starts).tolist())
    length = max(counted, key=lambda one: (counted[one], -one), default=0)
    if counted[length] < 2:
        return []
    due = set()
    for before, after in zip_longest([None, *found.finds], found.finds):
        low, high = (-length if before is None else before.start), (num_bits if after is None else after.start)
        if before is not None:
            due |= {(start, before.turn) for start in range(low + length, high - length + 1, length)}
        if after is not None:
            due |= {(start, after.turn) for start in range(high - length, max(low + length, 0) - 1, -length)}
    return sorted(one for one in due if one[0] + found.num_bits <= num_bits)


def _check_length(preamble: Bits) -> None:
    if len(preamble) < SHORTEST:
        raise InputError(f"the preamble has {len(preamble)} bits, expected {SHORTEST} or more: fewer occur by chance")


def _errors(received: Bits, preamble: Bits, labels: Bits) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yields the first place of a block, and the errors int64 [places] of a preamble at each of its places."""
    width, length = labels.shape[1], len(preamble)
    weights = 1 - 2 * preamble[::-1].astype(np.float32)
    for begin in range(0, len(received) - length + 1, _BLOCK * width):
        part = turned_bits(received[begin : begin + _BLOCK * width + -(-(length - 1) // width) * width], labels)
        agreement = oaconvolve(1 - 2 * part.astype(np.float32), weights, "valid")[: _BLOCK * width]
        yield begin, np.rint((length - agreement) / 2).astype(np.int64)


def turned_bits(received: Bits, labels: Bits) -> Bits:
    """Returns bits uint8 [N] of symbols in other labels uint8 [P, width] than the own ones they came with."""
    width = labels.shape[1]
    numbers = np.zeros(len(received) // width, np.intp)
    for place in range(width):
        numbers = 2 * numbers + received[place : len(numbers) * width : width]
    return labels[numbers].reshape(-1)


def _apart(candidates: list[Find], length: int) -> tuple[Find, ...]:
    """Returns finds that do not overlap, those with the fewest errors."""
    kept: list[Find] = []
    starts: list[int] = []
    for find in sorted(candidates, key=lambda one: (one.errors, one.start)):
        at = bisect(starts, find.start)
        if all(abs(find.start - near) >= length for near in starts[max(at - 1, 0) : at + 1]):
            kept.insert(at, find)
            starts.insert(at, find.start)
    return tuple(kept)


def one_turn_pieces(found: Preambles, received: Bits, symbols: Symbols | None, points: Points) -> tuple[Piece, ...]:
    """Cuts received bits into pieces that each have one turn; none without any find.

    Between two finds under different turns the phase slipped. It turns within some symbols, which are then far from all
    points: the cut is put at the largest average distance, or in the middle where no symbols are given.

    Args:
        found: finds of a preamble.
        received: the bits uint8 [N] it was found in; only their number counts.
        symbols: matched-filter outputs complex64 [S] behind those bits, of any gain; may be a memory map.
        points: complex64 [P].
    """
    width = (len(points) - 1).bit_length()
    pieces: list[Piece] = []
    begin = 0
    for find, after in zip_longest(found.finds, found.finds[1:]):
        if after is not None and after.turn == find.turn:
            continue
        end = len(received)
        if after is not None:
            low, high = -(-(find.start + found.num_bits) // width), after.start // width
            end = width * (low + _slip(None if symbols is None else symbols[low:high], high - low, points))
        pieces.append(Piece(begin, end, find.turn))
        begin = end
    return tuple(pieces)


def _slip(symbols: Symbols | None, count: int, points: Points) -> int:
    """Returns the symbol at which the phase slips, of ``count``."""
    if symbols is None or count <= _SLIP_SYMBOLS:
        return count // 2
    scale = np.sqrt(np.mean(np.abs(points) ** 2) / max(np.mean(np.abs(symbols) ** 2), 1e-30))
    distance = np.full(count, np.inf)
    for point in points:
        distance = np.minimum(distance, np.abs(scale * symbols - point) ** 2)
    window = np.hanning(_SLIP_SYMBOLS + 2)[1:-1]
    return int(np.convolve(distance, window, "same").argmax())


def sent_bits(received: Bits, pieces: tuple[Piece, ...], turns: tuple[Turn, ...], labels: Bits) -> Iterator[Bits]:
    """Yields the bits that were sent, block by block, from received ones and their pieces; see `find_preamble`."""
    for piece in pieces:
        step = _BLOCK * labels.shape[1]
        for begin in range(piece.begin, piece.end, step):
            part = received[begin : min(begin + step, piece.end)]
            yield turned_bits(part, labels[turns[piece.turn].sent])


def frame_starts(found: Preambles, num_bits: int) -> tuple[int, tuple[int, ...]]:
    """Returns the most common distance of successive finds in bits, and the starts of the frames of that length.

    A frame ends where the next preamble begins. The last one counts if it is whole. Without two finds the length is 0.

    >>> finds = tuple(Find(start, 0, 0) for start in (5, 105, 205, 290, 390))
    >>> frame_starts(Preambles(finds, (), 32, 0, 0.0), 489)
    (100, (5, 105, 290))
    """
    starts = [find.start for find in found.finds]
    if len(starts) < 2:
        return 0, ()
    lengths = np.diff(starts)
    counted = Counter(lengths.tolist())
    length = min(counted, key=lambda one: (-counted[one], one))
    ends = [*starts[1:], starts[-1] + length]
    whole = [start for start, end in zip(starts, ends, strict=True) if end - start == length and end <= num_bits]
    return length, tuple(whole)
