"""The common parts of 802.11 OFDM packets at 20 MHz: carriers, training sequences, lengths (IEEE Std 802.11-2020).

Times are in samples at 20 MHz, where a carrier spacing of 312.5 kHz is 1/64 cycle per sample (table 17-5).
"""

import torch
from torch import Tensor

FFT_SIZE = 64
PREFIX = 16  # guard interval of a symbol, T_GI in table 17-5
SYMBOL = FFT_SIZE + PREFIX
LONG_PREFIX = 32  # guard interval of the long training field, T_GI2
LONG_FIELD = LONG_PREFIX + 2 * FFT_SIZE  # L-LTF, 17.3.3
SHORT_PERIOD = 16  # period of both short training fields
SHORT_FIELD = 10 * SHORT_PERIOD  # L-STF, 17.3.3
HT_SHORT_FIELD = 5 * SHORT_PERIOD  # HT-STF, 19.3.9.4.5
LAST_LEGACY = 26  # carriers -26..26 without 0, 17.3.5.10
LAST_HT = 28  # carriers -28..28 without 0, 19.3.7
SHORT_SPACING, LAST_SHORT = 4, 24  # short training fields use every fourth carrier, equation 17-6
PILOTS = (-21, -7, 7, 21)  # 17.3.5.9

_LONG_LOW = "++--++-+-++++++--++-+-++++"  # L_-26..-1, equation 17-8
_LONG_HIGH = "+--++-+-+-----++--+-+-++++"  # L_1..26


def carriers() -> Tensor:
    """Returns the numbers of the 56 carriers that a packet may use, lowest frequency first: int64 [56].

    >>> carriers()[[0, 27, 28, 55]].tolist()
    [-28, -1, 1, 28]
    """
    every = torch.arange(-LAST_HT, LAST_HT + 1)
    return every[every != 0]


def long_training(outer: tuple[float, float, float, float] = (0, 0, 0, 0)) -> Tensor:
    """Returns values of the long training field on `carriers`: float64 [56].

    Args:
        outer: values of carriers -28, -27, 27 and 28: zeros in L-LTF, ``(1, 1, -1, -1)`` in HT-LTF (equation 19-23).
    """
    legacy = [1.0 if sign == "+" else -1.0 for sign in _LONG_LOW + _LONG_HIGH]
    return torch.tensor([*outer[:2], *legacy, *outer[2:]], dtype=torch.float64)
