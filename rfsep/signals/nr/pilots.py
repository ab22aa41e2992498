"""Demodulation reference signals of a shared channel of 5G NR: pilots on every second carrier of two symbols of a slot.

3GPP TS 38.211 clauses 6.4.1.1 (PUSCH) and 7.4.1.1 (PDSCH), which give both the same values: configuration type 1, one
front-loaded symbol and one more, one layer, no group hopping, no data beside the pilots. The numbers of cell, slot and
symbol determine their values.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rfsep.signals.lte.pilots import gold_bits

PILOT_SYMBOLS = (2, 11)  # pilot symbols among the 14 of a slot
NUM_SLOTS = 20  # slots per frame at 30 kHz
_CARRIERS = 612  # 51 resource blocks


def pilot_values(cell_ids: Tensor) -> Tensor:
    """Returns pilots of cells int64 [C] in `PILOT_SYMBOLS` of every slot: complex64 [C, 20, 2, 306], of power 2.

    They lie on every second carrier from the lowest one on. Pilots are 3 dB above the data, because no data lie beside
    them (TS 38.214 table 6.2.2-1).
    """
    cell = cell_ids.numpy()[:, None, None]
    slot, symbol = np.arange(NUM_SLOTS)[:, None], np.array(PILOT_SYMBOLS)
    seeds = (2**17 * (14 * slot + symbol + 1) * (2 * cell + 1) + 2 * cell) % 2**31  # clause 6.4.1.1.1.1
    signs = 1 - 2 * gold_bits(seeds.ravel(), _CARRIERS).astype(np.float32)
    values = torch.complex(torch.from_numpy(signs[:, ::2]), torch.from_numpy(signs[:, 1::2]))
    return values.view(len(cell), NUM_SLOTS, len(PILOT_SYMBOLS), -1)


@lru_cache(maxsize=8)
def pilot_grids(cell_id: int) -> Tensor:
    """Carriers of `PILOT_SYMBOLS` in every slot of a frame: complex64 [20, 2, 612], of power 2 and 0 in turn."""
    grids = torch.zeros((NUM_SLOTS, len(PILOT_SYMBOLS), _CARRIERS), dtype=torch.complex64)
    grids[..., ::2] = pilot_values(torch.tensor([cell_id]))[0]
    return grids
