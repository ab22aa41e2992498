"""Which carriers OFDM symbols load: some symbols of a packet leave carriers empty, and some carriers are pilots.

Preambles load every second carrier at twice the power. The last symbol of a packet may be filled in part. Both recur
from packet to packet, which tells them from data. Pilots are BPSK among carriers of larger constellations.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.identification.channel import data_symbols
from rfsep.iq import squared
from rfsep.signals.ofdm_modem import OfdmModem

_EMPTY = 0.05  # A carrier is empty below this share of the power of a full symbol's; 64-QAM has points of 0.048.
_FEWEST = 3  # symbols that have a pattern in common
_RARE = 0.01  # A pattern is absent below this share of the symbols.
_LEAST_EMPTY = 0.125  # share of the carriers that a pattern leaves empty; fewer may be points near zero
_PILOT = 0.5  # least second moment of the steps of a pilot; other symbols of a packet take from it, QPSK has none


class Pattern(NamedTuple):
    """Symbols that load the same carriers.

    Attributes:
        amplitude: float64 [D], on each carrier, relative to full symbols; 0 where it is empty.
        share: of all symbols.
    """

    amplitude: Tensor
    share: float


def loading_patterns(frames: Tensor, modem: OfdmModem) -> list[Pattern]:
    """Returns the patterns of symbols that leave carriers empty, the most frequent first.

    Args:
        frames: complex64 [F, T], at least two OFDM symbols each.
        modem: the interference's, with carrier and channel.
    """
    power = squared(_flattened(frames, modem))  # [F, K, D]
    if power.shape[1] < 2:
        return []
    power = (power / power.mean(2).median(1).values[:, None, None]).flatten(0, 1)
    empty = power < _EMPTY
    patterns, which, counts = torch.unique(empty, dim=0, return_inverse=True, return_counts=True)
    found = list[Pattern]()
    for index in counts.argsort(descending=True).tolist():
        share, pattern = int(counts[index]) / len(power), patterns[index]
        recurs = int(counts[index]) >= _FEWEST and share >= _RARE
        if recurs and bool(pattern.any()) and _LEAST_EMPTY <= float(pattern.double().mean()) < 1:
            level = power[which == index][:, ~pattern].mean().sqrt()
            found.append(Pattern(torch.where(pattern, 0.0, level).double(), share))
    return found


def pilot_carriers(frames: Tensor, modem: OfdmModem) -> Tensor:
    """Returns which carriers hold BPSK while others do not, bool [D]. Arguments as above."""
    values = _flattened(frames, modem)
    steps = values[:, 1:] * values[:, :-1].conj()
    unit = steps / steps.abs().clamp_min(1e-12)
    found = (unit**2).mean((0, 1)).abs() > _PILOT
    return found if 2 * int(found.sum()) < len(found) else torch.zeros_like(found)


def _flattened(frames: Tensor, modem: OfdmModem) -> Tensor:
    """Carriers complex128 [F, K, D] of whole symbols, the channel's gain undone."""
    frequency = modem.carriers.double() / modem.fft_size
    gain = modem.response(frequency - frequency.round()).abs()
    return data_symbols(frames, modem, modem.carrier) / gain.clamp_min(1e-6)
