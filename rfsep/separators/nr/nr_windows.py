"""Cuts long mixtures of a 5G NR uplink or downlink where its OFDM symbols begin.

A symbol that a window cuts off has more unknown carriers than samples, so that the SOI beneath it is lost. A long
mixture shows where symbols begin, and every window inside it starts with one and holds three.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.nr.nr_timing import SYMBOL, Acquired, Symbol, acquired
from rfsep.signals.nr.numerology import CYCLIC_PREFIX_LENGTHS, FFT_SIZE, SAMPLES_PER_SLOT

# Physics: three symbols, one of them with the long prefix, and the samples before them on the SOI's grid.
_SYMBOLS = 3


class Piece(NamedTuple):
    """A window of a mixture.

    Attributes:
        start: its first sample in the mixture.
        stop: one beyond its last.
        first: first sample of the mixture that is taken from it.
        last: one beyond the last of them.
    """

    start: int
    stop: int
    first: int
    last: int


def slot_symbols(offset: int, num_samples: int) -> list[Symbol]:
    """Lists the OFDM symbols that reach into a window which begins ``offset`` samples into a slot."""
    found, start = list[Symbol](), -SAMPLES_PER_SLOT - offset
    while start < num_samples:
        for prefix in CYCLIC_PREFIX_LENGTHS:
            if start + prefix + FFT_SIZE > 0 and start < num_samples:
                found.append(Symbol(start + prefix, prefix))
            start += prefix + FFT_SIZE
    return found


def find_slots(mixture: Tensor) -> Acquired:
    """Finds symbols and carrier offset of a mixture complex128 [T], by the prefixes of all its symbols."""
    length = len(mixture)
    within = torch.tensor([(symbol.body, symbol.prefix) for symbol in slot_symbols(0, length + SAMPLES_PER_SLOT)])
    bodies = within[:, 0] - torch.arange(SAMPLES_PER_SLOT)[:, None]  # [offsets, symbols]

    def search(total: Tensor) -> tuple[list[Symbol], float]:
        last = len(total) - 1
        score = total[bodies.clamp(0, last)] - total[(bodies - within[:, 1]).clamp(0, last)]
        best, offset = score.sum(1).max(0)
        return slot_symbols(int(offset), length), float(best)

    return acquired(mixture, search)


def window_samples(period: int) -> int:
    """Returns the number of samples of a window that starts on a grid of ``period`` samples and holds three symbols."""
    return -(-(_SYMBOLS * SYMBOL + 16 + period - 1) // period) * period


def pieces(symbols: list[Symbol], num_samples: int, period: int) -> list[Piece]:
    """Cuts a mixture, longer than a window, so that every sample is taken from a window with whole symbols around it.

    Neighbours meet in the middle of a symbol that both hold. Windows at the mixture's ends may hold a part of a symbol
    besides.

    Args:
        symbols: of the mixture.
        num_samples: of the mixture.
        period: windows start at multiples of this.
    """
    length = window_samples(period)
    starts = [symbol.body - symbol.prefix for symbol in symbols]
    cut, start, first = list[Piece](), 0, 0
    while start + length < num_samples:
        shared = max(place for place, end in enumerate(starts[1:]) if end <= start + length)
        middle = starts[shared] + SYMBOL // 2
        cut.append(Piece(start, start + length, first, middle))
        start, first = starts[shared] // period * period, middle
    start = (num_samples - length) // period * period
    return [*cut, Piece(start, num_samples, first, num_samples)]


def moved(symbols: list[Symbol], piece: Piece) -> list[Symbol]:
    """Returns those symbols of a mixture that reach into a piece, counted from its first sample."""
    return [Symbol(one.body - piece.start, one.prefix) for one in symbols if reaches(one, piece)]


def reaches(symbol: Symbol, piece: Piece) -> bool:
    """Tells whether a symbol of a mixture reaches into a piece."""
    return piece.start - FFT_SIZE < symbol.body < piece.stop + symbol.prefix
