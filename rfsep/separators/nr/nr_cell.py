"""Which cell a 5G NR uplink belongs to, from the pilots in example frames.

The pilots' values follow from the cell's number (3GPP TS 38.211 clause 6.4.1.1.1.1), and nothing else that detection
uses does: data are scrambled by it too, but are unknown anyway.
"""

import torch
from torch import Tensor

from rfsep.separators.nr.nr_bodies import cut, holds_body, is_comb, whole_carriers
from rfsep.separators.nr.nr_timing import SYMBOL, find_symbols, turning
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_CELLS
from rfsep.signals.nr.pilots import pilot_values

_PIECE = 4096  # samples in which one prefix at most is long
_MAX_PIECES = 48
_ENOUGH = 8  # symbols of pilots
_AT_ONCE = 336  # cells
_CERTAIN = 25.0  # squared correlation over that of chance; the largest of all 40,320 sequences reaches 11 by chance


def find_cell(examples: Tensor) -> int | None:
    """The cell whose pilots example frames complex64 [F, T] of an uplink carry; None where none stands out.

    Symbols of pilots leave every second carrier empty. The products of neighbouring pilots, which the channel hardly
    turns, are compared with those of all cells, slots and symbols.
    """
    heard = _pilot_symbols(examples)
    if heard is None:
        return None
    steps = _steps(heard)
    steps = steps / steps.abs().square().sum(1, keepdim=True).sqrt()  # [n, 305]
    scores = []
    for first in range(0, NUM_CELLS, _AT_ONCE):
        known = (
            _steps(pilot_values(torch.arange(first, first + _AT_ONCE)).flatten(1, 2)) / 2
        )  # [C, 40, 305], of unit power
        scores.append((known @ steps.mH).abs().square().amax(1))  # [C, n]
    every = torch.cat(scores)
    best = int(every.mean(1).argmax())
    return best if float(every[best].median()) > _CERTAIN else None


def _steps(pilots: Tensor) -> Tensor:
    """Products of neighbours: complex [..., 306] to complex [..., 305]."""
    return pilots[..., 1:] * pilots[..., :-1].conj()


def _pilot_symbols(examples: Tensor) -> Tensor | None:
    """Pilots as they were received: complex64 [n, 306]; None where there are none."""
    length = min(_PIECE, examples.shape[1])
    if length <= 2 * SYMBOL:
        return None
    pieces = examples.unfold(1, length, max(1, length - SYMBOL)).flatten(0, 1)[:_MAX_PIECES].to(torch.complex128)
    found = list[Tensor]()
    for piece in pieces:
        at = find_symbols(piece)
        piece = piece * turning(-at.carrier - whole_carriers(piece, at) / FFT_SIZE, length)
        for symbol in at.symbols:
            if holds_body(symbol, length) and is_comb(carriers := cut(piece, symbol)):
                found.append(carriers[::2])
        if len(found) >= _ENOUGH:
            break
    return torch.stack(found).to(torch.complex64) if found else None
