"""The synchronisation signal block of 5G NR: PSS, SSS, and the broadcast channel (PBCH) with its pilots.

3GPP TS 38.211 clauses 7.4.2 and 7.4.3. A block has four OFDM symbols and 240 carriers. The cell's number determines all
of it but the broadcast channel's data.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.signals.lte.pilots import gold_bits
from rfsep.signals.nr.numerology import NUM_CELLS
from rfsep.types import InputError

BLOCK_CARRIERS = 240
BLOCK_SYMBOLS = 4
_SEQUENCE = slice(56, 183)  # carriers of PSS and SSS, table 7.4.3.1-1
_PILOTS = 144  # pilots of the broadcast channel in a block, clause 7.4.1.4.1


class Block(NamedTuple):
    """A synchronisation signal block.

    Attributes:
        values: what is known of its resource elements, complex64 [4, 240]; 0 at data and at empty elements.
        data: elements of the broadcast channel's data, bool [4, 240].
    """

    values: Tensor
    data: Tensor


def _shift_register(start: list[int], taps: tuple[int, ...]) -> NDArray[np.int64]:
    """Returns an m-sequence of 127 bits: x(i + 7) is the sum of x(i + tap) modulo 2."""
    bits = list(start)
    for place in range(127 - 7):
        bits.append(sum(bits[place + tap] for tap in taps) % 2)
    return np.array(bits)


@lru_cache(maxsize=1)
def pss_values() -> Tensor:
    """Returns the primary synchronisation signals of N_ID2 = 0, 1, 2: float32 [3, 127], clause 7.4.2.2.1."""
    register = _shift_register([0, 1, 1, 0, 1, 1, 1], (4, 0))
    place = (np.arange(127) + 43 * np.arange(3)[:, None]) % 127
    return torch.from_numpy(1 - 2 * register[place]).float()


@lru_cache(maxsize=1)
def sss_values() -> Tensor:
    """Returns the secondary synchronisation signals of all cells: float32 [1008, 127], clause 7.4.2.3.1."""
    first, second = _shift_register([1, *[0] * 6], (4, 0)), _shift_register([1, *[0] * 6], (1, 0))
    cell = np.arange(NUM_CELLS)[:, None]
    one = 15 * (cell // 3 // 112) + 5 * (cell % 3)  # m_0
    other = cell // 3 % 112  # m_1
    place = np.arange(127)
    signs = (1 - 2 * first[(place + one) % 127]) * (1 - 2 * second[(place + other) % 127])
    return torch.from_numpy(signs).float()


def pbch_pilots(cell_id: int, index: int) -> Tensor:
    """Returns the broadcast channel's pilots complex64 [144] in the order of their elements, clause 7.4.1.4.1.

    Args:
        cell_id: 0..1007.
        index: the three least bits of the block's index, or with four blocks in a half-frame its two bits and four
            times the number of the half-frame.
    """
    seed = 2**11 * (index + 1) * (cell_id // 4 + 1) + 2**6 * (index + 1) + cell_id % 4
    signs = 1 - 2 * gold_bits(np.array([seed]), 2 * _PILOTS)[0].astype(np.float32)
    return torch.complex(torch.from_numpy(signs[::2]), torch.from_numpy(signs[1::2])) / 2**0.5


@lru_cache(maxsize=32)
def block(cell_id: int, index: int) -> Block:
    """Returns a cell's block, with the arguments of `pbch_pilots`; places are those of table 7.4.3.1-1."""
    values = torch.zeros((BLOCK_SYMBOLS, BLOCK_CARRIERS), dtype=torch.complex64)
    values[0, _SEQUENCE] = pss_values()[cell_id % 3].to(values.dtype)
    values[2, _SEQUENCE] = sss_values()[cell_id].to(values.dtype)
    broadcast = torch.zeros(values.shape, dtype=torch.bool)
    broadcast[1::2] = True
    broadcast[2, :48] = broadcast[2, 192:] = True
    pilots = broadcast & (torch.arange(BLOCK_CARRIERS) % 4 == cell_id % 4)
    values[pilots] = pbch_pilots(cell_id, index)
    return Block(values, broadcast & ~pilots)


def block_starts(count: int) -> list[int]:
    """Returns the first symbols of a half-frame's blocks, counted from its beginning: case C at 30 kHz.

    TS 38.213 clause 4.1: {2, 8} + 14 n, with two slots for at most four blocks and four slots for at most eight.

    Raises:
        InputError: there are fewer than one or more than eight.
    """
    if not 1 <= count <= 8:
        raise InputError(f"num_blocks: {count} must lie in 1..8")
    return [14 * slot + symbol for slot in range(4) for symbol in (2, 8)][:count]
