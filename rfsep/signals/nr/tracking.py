"""Tracking reference signals of 5G NR: CSI-RS of one port on every fourth carrier, TS 38.211 clause 7.4.1.5."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rfsep.signals.lte.pilots import gold_bits
from rfsep.signals.nr.numerology import NUM_SUBCARRIERS

SYMBOLS = (4, 8)  # symbols per slot that hold it: a pair that TS 38.214 clause 5.1.6.1.1 allows below 6 GHz
SPACING = 4  # carriers; row 1 of table 7.4.1.5.3-1 has density 3


@lru_cache(maxsize=64)
def tracking_values(cell_id: int, slot: int) -> Tensor:
    """Returns the values in `SYMBOLS` of a slot of the frame, scrambled by the cell: complex64 [2, 153].

    Clause 7.4.1.5.2: c_init = 2^10 (14 n_s + l + 1) (2 n_ID + 1) + n_ID modulo 2^31. By clause 7.4.1.5.3 an element on
    carrier 12 n + k' takes value m' = 3 n + floor(k' / 4).
    """
    symbol = np.array(SYMBOLS)
    seeds = (2**10 * (14 * slot + symbol + 1) * (2 * cell_id + 1) + cell_id) % 2**31
    signs = 1 - 2 * gold_bits(seeds, 2 * NUM_SUBCARRIERS // SPACING).astype(np.float32)
    return torch.complex(torch.from_numpy(signs[:, ::2]), torch.from_numpy(signs[:, 1::2])) / 2**0.5
