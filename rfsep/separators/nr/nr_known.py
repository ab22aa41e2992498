"""Finds synchronisation blocks and tracking signals of 5G NR, in example frames and in mixtures."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.elements import EMPTY, KNOWN, QPSK
from rfsep.separators.nr.nr_bodies import cut, holds_body, whole_carriers
from rfsep.separators.nr.nr_channel import clear_carriers
from rfsep.separators.nr.nr_timing import SYMBOL, find_symbols, turning
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS
from rfsep.signals.nr.pilots import NUM_SLOTS
from rfsep.signals.nr.ssb import BLOCK_CARRIERS, BLOCK_SYMBOLS, block, pss_values, sss_values
from rfsep.signals.nr.tracking import SPACING, SYMBOLS, tracking_values

_FIRST = 56  # carrier of a block on which PSS and SSS begin, TS 38.211 table 7.4.3.1-1
_STARTS = (2, 8)  # symbols of a slot in which blocks begin, TS 38.213 clause 4.1, case C

# Tuned on synthetic downlinks. Squared correlations over that of a perfect match. Chance reaches 0.1 among all places
# of a PSS in a symbol, and 0.02 in the others.
_LIKE_PSS, _LIKE_SSS = 0.3, 0.3
_LIKE_BLOCK, _LIKE_TRACKING = 0.1, 0.3

_PIECE = 8192  # samples in which one prefix at most is long
_MAX_PIECES = 120


class Synchronised(NamedTuple):
    """Synchronisation blocks: the cell that sends them, and their lowest carrier."""

    cell_id: int
    carrier: int


def find_synchronisation(examples: Tensor) -> Synchronised | None:
    """Searches example frames complex64 [F, T] for a cell's PSS and SSS; None where none stands out."""
    length = min(_PIECE, examples.shape[1])
    if length <= 4 * SYMBOL:
        return None
    best, found = 0.0, None
    for piece in examples.unfold(1, length, max(1, length - 4 * SYMBOL)).flatten(0, 1)[:_MAX_PIECES]:
        window = piece.to(torch.complex128)
        at = find_symbols(window)
        window = window * turning(-at.carrier - whole_carriers(window, at) / FFT_SIZE, length)
        bodies = [cut(window, symbol) for symbol in at.symbols if holds_body(symbol, length)]
        for first, third in zip(bodies, bodies[2:], strict=False):
            likeness, one = _synchronised(first, third)
            if one is not None and likeness > best:
                best, found = likeness, one
    return found


def _synchronised(first: Tensor, third: Tensor) -> tuple[float, Synchronised | None]:
    """Compares two symbols complex128 [612], of which the first may hold a PSS and the other its SSS."""
    steps = (first[1:] * first[:-1].conj()).unfold(0, 126, 1)  # [places, 126]
    known = pss_values().double()
    signs = (known[:, 1:] * known[:, :-1]).to(steps.dtype)  # [3, 126]
    likeness = squared(steps @ signs.T) / (126 * squared(steps).sum(1, keepdim=True)).clamp_min(1e-30)
    place, sector = divmod(int(likeness.argmax()), 3)
    if float(likeness[place, sector]) < _LIKE_PSS or not 0 <= place - _FIRST <= NUM_SUBCARRIERS - BLOCK_CARRIERS:
        return 0.0, None
    here = slice(place, place + 127)
    turned = third[here] * (first[here] * known[sector]).conj()
    cells = sss_values()[sector::3].to(turned.dtype)
    like = squared(cells @ turned) / (127 * squared(turned).sum()).clamp_min(1e-30)
    group = int(like.argmax())
    if float(like[group]) < _LIKE_SSS:
        return 0.0, None
    return float(like[group]), Synchronised(3 * group + sector, place - _FIRST)


def _correlation(heard: Tensor, expected: Tensor) -> float:
    """Returns the squared correlation of elements complex128 [N] over that of a perfect match."""
    energy = float(squared(heard).sum() * squared(expected).sum())
    return float(squared((heard * expected.conj()).sum())) / max(energy, 1e-30)


@lru_cache(maxsize=8)
def _blocks(cell_id: int) -> tuple[Tensor, Tensor]:
    """Returns a cell's blocks complex128 [8, 4, 240] by index, and where their data lie, bool [4, 240]."""
    every = [block(cell_id, index) for index in range(8)]
    return torch.stack([one.values for one in every]).to(torch.complex128), every[0].data


def placed(
    bodies: dict[int, Tensor], numbers: list[int], sync: Synchronised, response: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields the symbols that hold a synchronisation block: place, values complex128 [612], kinds int64 [612].

    Args:
        bodies: received carriers complex128 [612] by place.
        numbers: of symbols in their slots, by place.
        sync: the blocks.
        response: of the channel, complex128 [612].
    """
    here = slice(sync.carrier, sync.carrier + BLOCK_CARRIERS)
    values, data = _blocks(sync.cell_id)
    for place, number in enumerate(numbers):
        rows = [row for row in range(BLOCK_SYMBOLS) if place + row in bodies]
        if number not in _STARTS or not rows:
            continue
        heard = torch.stack([bodies[place + row][here] for row in rows])
        expected = values[:, rows] * response[here]
        like = [_correlation(heard[one != 0], one[one != 0]) for one in expected]
        index = max(range(len(like)), key=like.__getitem__)
        if like[index] < _LIKE_BLOCK:
            continue
        for row in range(min(BLOCK_SYMBOLS, len(numbers) - place)):
            grid = torch.zeros(NUM_SUBCARRIERS, dtype=torch.complex128)
            kinds = torch.full((NUM_SUBCARRIERS,), EMPTY)
            grid[here], kinds[here] = values[index, row], torch.where(data[row], QPSK, KNOWN)
            yield place + row, grid, kinds


def tracking_grids(
    bodies: dict[int, Tensor], slots: list[int], numbers: list[int], pilot_id: int, response: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Yields the symbols that hold tracking signals: place, and their values complex128 [612], 0 elsewhere."""
    clear = clear_carriers()
    for place, heard in bodies.items():
        if numbers[place] not in SYMBOLS:
            continue
        values = tracking_values(pilot_id, slots[place] % NUM_SLOTS)[SYMBOLS.index(numbers[place])]
        for shift in range(SPACING):
            grid = torch.zeros(NUM_SUBCARRIERS, dtype=torch.complex128)
            grid[shift::SPACING] = values.to(grid.dtype)
            used = clear & (grid != 0)
            if _correlation(heard[used], (response * grid)[used]) > _LIKE_TRACKING:
                yield place, grid
                break
