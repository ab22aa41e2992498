"""Cell-specific reference signals of LTE: pilots that every base station sends whether or not it has anything to say.

3GPP TS 36.211 clause 6.10.1. Ports 0 and 1 send in symbols 0 and 4 of every slot, on every sixth carrier and three
apart; which of the six, and their values, follow from the cell's number, the values from the slot's number too.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_CELLS = 504
NUM_SLOTS = 20  # in a frame
SYMBOLS = (0, 4)  # of a slot, that ports 0 and 1 have pilots in
SPACING = 6  # carriers from one pilot of a port to its next
NUM_PILOTS = 200  # of a port in a symbol of 100 resource blocks

_CARRIERS = NUM_PILOTS * SPACING
_WIDEST = 220  # pilots in a symbol of 110 resource blocks, whose middle all others use
_SKIPPED = 1600  # bits of a Gold sequence in front of its first, clause 7.2
_REGISTER = 31


def gold_bits(seeds: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """Pseudo-random sequences of TS 36.211 clause 7.2: uint8 [S, count] of seeds [S] below 2^31."""
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
    """Carriers int64 [200] of pilots that begin with carrier ``shift`` of the band: -600 .. 600 without 0."""
    number = SPACING * torch.arange(NUM_PILOTS) + shift - _CARRIERS // 2
    return number + (number >= 0).long()


def pilot_shift(cell: int, symbol: int, port: int) -> int:
    """First carrier of a port's pilots; ``symbol`` counts in `SYMBOLS`."""
    return (SPACING // 2 * (port ^ symbol) + cell) % SPACING
