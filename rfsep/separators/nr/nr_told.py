"""What a window holds of a mixture whose slots have been read."""

from typing import NamedTuple

import torch

from rfsep.separators.inference.elements import KNOWN
from rfsep.separators.nr.nr_channel import GAP, carrier_numbers
from rfsep.separators.nr.nr_propagation import Share
from rfsep.separators.nr.nr_slots import Layout
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.separators.nr.nr_waves import NEAR
from rfsep.separators.nr.nr_windows import Piece, reaches


class Held(NamedTuple):
    """The symbols that reach into a window, counted from its first sample, and what is known of each."""

    symbols: list[Symbol]
    shares: list[Share]


def held(layout: Layout, piece: Piece) -> Held:
    """Lists the symbols of a piece. Carriers beside the SOI are decided wherever the mixture holds the whole symbol."""
    symbols, shares = list[Symbol](), list[Share]()
    for place, symbol in enumerate(layout.symbols):
        if reaches(symbol, piece):
            symbols.append(Symbol(symbol.body - piece.start, symbol.prefix))
            shares.append(_share(layout, place))
    return Held(symbols, shares)


def _share(layout: Layout, place: int) -> Share:
    number, kinds = carrier_numbers(), layout.kinds[place]
    if bool((kinds == KNOWN).all()):
        return Share(layout.known[place], number[:0], kinds[:0])
    near = (number.abs() <= NEAR) & (kinds != KNOWN)
    if place not in layout.bodies:
        far = bool((kinds[number.abs() > NEAR] != KNOWN).any())
        return Share(layout.known[place], number[near], kinds[near], far)
    clear = layout.sounded & (number.abs() >= GAP) | (kinds == KNOWN)
    near &= ~clear
    return Share(torch.where(clear, layout.sent(place), 0), number[near], kinds[near])
