"""Several separators, each for a range of SINR that is estimated from the mixture's power."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.separators.race import Range, places
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated, Separator

_LEAST = 1e-3  # least power of the interference, in parts of the SOI's: an estimated SINR of 30 dB


def estimated_sinr_db(mixture: Tensor, modem: Modem) -> Tensor:
    """Returns the SINR in dB of mixtures complex64 [..., T], float32 [...]: the SOI's power is known, the rest is not.

    It is the ratio within the window, which differs from the nominal one where the interference comes in bursts.

    >>> from rfsep.signals.linear_modem import LinearModem
    >>> estimated_sinr_db(torch.full((1, 320), 11**0.5, dtype=torch.complex64), LinearModem()).round()
    tensor([-10.])
    """
    own = float(modem_autocorrelation(modem, 1).real)
    return -10 * ((power(mixture) - own) / own).clamp_min(_LEAST).log10()


class ByLevel:
    """Separates each mixture by the separator of its range of SINR.

    Args:
        modem: the SOI's modem.
        separators: one per range.
        chosen: the ranges, rising; see `rfsep.separators.race.ranges`.
    """

    def __init__(self, modem: Modem, separators: Sequence[Separator], chosen: Sequence[Range]) -> None:
        self.modem = modem
        self.separators = tuple(separators)
        self.chosen = tuple(chosen)

    def separate(self, mixture: Tensor) -> Separated:
        """Estimate complex64 [B, T] and bits uint8 [B, N] of mixtures complex64 [B, T]."""
        if len(self.separators) == 1:
            return self.separators[0].separate(mixture)
        index = places(self.chosen, estimated_sinr_db(mixture, self.modem))
        soi = torch.zeros_like(mixture)
        bits = torch.zeros((len(mixture), self.modem.num_bits(mixture.shape[1])), dtype=torch.uint8)
        for place, separator in enumerate(self.separators):
            if len(rows := (index == place).nonzero()[:, 0]):
                found = separator.separate(mixture[rows])
                soi[rows], bits[rows] = found.soi, found.bits
        return Separated(soi, bits)
