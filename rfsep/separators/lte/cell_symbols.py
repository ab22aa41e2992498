"""The symbols that an LTE cell sends whatever its load, told from one of them (3GPP TS 36.211)."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from rfsep.separators.lte.known_symbols import KnownSymbol, make_body
from rfsep.separators.lte.resource_blocks import FFT_SIZE, PREFIX, SYMBOL
from rfsep.signals.lte.pilots import NUM_PILOTS, NUM_SLOTS, SYMBOLS, pilot_carriers, pilot_shift, pilot_values
from rfsep.signals.lte.synchronisation import (
    HALF_FRAME,
    NUM_IDENTITIES,
    primary_values,
    secondary_values,
    synchronisation_carriers,
)

# Physics: samples of a slot at 19.2 Msps, and its symbols (clauses 4 and 6.12).
SLOT_SAMPLES, SLOT_SYMBOLS = 9600, 7

# Physics: slots of the first half frame and symbols of the primary and the secondary signal, with frequency and with
# time division duplex (clauses 6.11.1.2 and 6.11.2.2).
PRIMARY_PLACES = ((0, 6), (2, 2))
_SECONDARY_PLACES = ((0, 5), (1, 6))


class Pilots(NamedTuple):
    """A symbol that holds a cell's pilots.

    Attributes:
        cell: 0 .. 503.
        slot: 0 .. 19.
        symbol: place in `rfsep.signals.lte.pilots.SYMBOLS`.
        shift: whole part of the carrier offset, in carriers.
        fraction: fractional part of the carrier offset, in carriers.
        start: sample at which the symbol's body begins.
        blocks: resource blocks of the cell.
        score: likeness of its pilots, in standard deviations of noise.
    """

    cell: int
    slot: int
    symbol: int
    shift: int
    fraction: float
    start: int
    blocks: int
    score: float


class Place(NamedTuple):
    """A symbol in a window: its slot, its number in the slot, and the sample at which its body begins."""

    slot: int
    symbol: int
    start: int


def known_pilots(found: Pilots) -> KnownSymbol:
    """Returns the pilots of ports 0 and 1."""
    sent = slice(NUM_PILOTS // 2 - found.blocks, NUM_PILOTS // 2 + found.blocks)
    values = pilot_values()[found.cell, found.slot, found.symbol, sent]
    carriers = (pilot_carriers(pilot_shift(found.cell, found.symbol, port))[sent] + found.shift for port in (0, 1))
    return KnownSymbol(torch.stack([make_body(one, values) for one in carriers]), found.start, found.fraction)


def places(found: Pilots, num_samples: int, least: int) -> Iterator[Place]:
    """Yields the symbols of the cell's grid of which at least ``least`` samples are in the window."""
    origin = found.start - SYMBOL * SYMBOLS[found.symbol]  # the first body of the slot begins there
    first = -((origin + SLOT_SAMPLES) // SLOT_SAMPLES)
    for further in range(first, first + num_samples // SLOT_SAMPLES + 3):
        for symbol in range(SLOT_SYMBOLS):
            start = origin + further * SLOT_SAMPLES + symbol * SYMBOL
            if min(start + FFT_SIZE, num_samples) - max(start - PREFIX, 0) >= least:
                yield Place((found.slot + further) % NUM_SLOTS, symbol, start)


def further_pilots(found: Pilots, num_samples: int, least: int) -> list[Pilots]:
    """Lists the other symbols in a window that hold pilots of a cell."""
    return [
        found._replace(slot=place.slot, symbol=SYMBOLS.index(place.symbol), start=place.start)
        for place in places(found, num_samples, least)
        if place.symbol in SYMBOLS and place.start != found.start
    ]


def synchronisation_symbols(found: Pilots, num_samples: int, least: int) -> list[KnownSymbol]:
    """Lists the symbols in a window that hold synchronisation signals of a cell, with either kind of duplex."""
    carriers, symbols = synchronisation_carriers() + found.shift, []
    for place in places(found, num_samples, least):
        half, slot = divmod(place.slot, HALF_FRAME)
        if (slot, place.symbol) in PRIMARY_PLACES:
            values = primary_values()[found.cell % NUM_IDENTITIES]
        elif (slot, place.symbol) in _SECONDARY_PLACES:
            values = secondary_values()[found.cell, half]
        else:
            continue
        symbols.append(KnownSymbol(make_body(carriers, values)[None], place.start, found.fraction))
    return symbols
