"""Cell-specific reference signals of LTE, the pilots that every base station always sends.

3GPP TS 36.211 clause 6.10.1. Ports 0 and 1 send in symbols 0 and 4 of every slot, on every sixth carrier and three
apart. The cell's number selects one of six positions. Cell number and slot number determine the values.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_CELLS = 504
NUM_SLOTS = 20  # slots per frame
SYMBOLS = (0, 4)  # symbols of a slot with pilots of ports 0 and 1
SPACING = 6  # carriers from one pilot of a port to its next
NUM_PILOTS = 200  # pilots of a port in a symbol of 100 resource blocks

_CARRIERS = NUM_PILOTS * SPACING
_WIDEST = 220  # pilots in a symbol of 110 resource blocks; narrower cells use the middle of them
_SKIPPED = 1600  # bits of a Gold sequence that are skipped, clause 7.2
_REGISTER = 31


def gold_bits(seeds: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """Returns pseudo-random sequences of TS 36.211 clause 7.2: uint8 [S, count] for seeds [S] below 2^31."""
    length = _SKIPPED + count
    first = np.zeros(length + _REGISTER, dtype=np.uint8)
    second = np.zeros((length + _REGISTER, len(seeds)), dtype=np.uint8)
    first[0] = 1
    second[:_REGISTER] = (seeds >> np.arange(_REGISTER)[:, None]) & 1
    for bit in range(length):
        first[bit + _REGISTER] = first[bit + 3] ^ first[bit]
        second[bit + _REGISTER] = second[bit + 3] ^ second[bit + 2] ^ second[bit + 1] ^ second[bit]
    return (first[_SKIPPED:length, None] ^ second[_SKIPPED:length]).T


@cache
def pilot_values() -> Tensor:
    """Pilots of all cells, slots and `SYMBOLS` of a slot, from low carriers to high: complex64 [504, 20, 2, 200]."""
    cell = np.arange(NUM_CELLS)[:, None, None]
    slot = np.arange(NUM_SLOTS)[:, None]
    symbol = np.array(SYMBOLS)
    seeds = 2**10 * (7 * (slot + 1) + symbol + 1) * (2 * cell + 1) + 2 * cell + 1  # normal prefix
    signs = 1 - 2 * gold_bits(seeds.ravel(), 2 * _WIDEST).astype(np.float32)
    values = torch.complex(torch.from_numpy(signs[:, ::2]), torch.from_numpy(signs[:, 1::2])) / 2**0.5
    begin = (_WIDEST - NUM_PILOTS) // 2
    return values[:, begin : begin + NUM_PILOTS].reshape(*seeds.shape, NUM_PILOTS).contiguous()


def pilot_carriers(shift: int) -> Tensor:
    """Returns carriers int64 [200] of pilots from carrier ``shift`` of the band on: -600 .. 600 without 0."""
    number = SPACING * torch.arange(NUM_PILOTS) + shift - _CARRIERS // 2
    return number + (number >= 0).long()


def pilot_shift(cell: int, symbol: int, port: int) -> int:
    """Returns the first carrier of a port's pilots; ``symbol`` is an index into `SYMBOLS`."""
    return (SPACING // 2 * (port ^ symbol) + cell) % SPACING
