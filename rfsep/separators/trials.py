"""Trial mixtures whose SOI is known, and the errors of a separator on them."""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.types import InputError, Separator


class Trials(NamedTuple):
    """Mixtures whose SOI is known, n at each of L levels.

    Attributes:
        mixture: complex64 [L, n, T].
        soi: complex64 [L, n, T].
        bits: uint8 [L, n, N]; N = 0 where the SOI carries no known bits.
        sinr_db: the levels, rising.
    """

    mixture: Tensor
    soi: Tensor
    bits: Tensor
    sinr_db: tuple[float, ...]

    def part(self, first: int, end: int) -> "Trials":
        """Returns mixtures ``first`` to ``end`` of each level."""
        return Trials(self.mixture[:, first:end], self.soi[:, first:end], self.bits[:, first:end], self.sinr_db)


class Errors(NamedTuple):
    """The errors of one separator, mixture by mixture.

    Attributes:
        wrong: share of wrong bits, float64 [L, n]; zero where the SOI carries no known bits.
        squared: mean of |estimate - SOI|^2, float64 [L, n].
        num_bits: bits per mixture.
        seconds: processor time per mixture.
    """

    wrong: Tensor
    squared: Tensor
    num_bits: int
    seconds: float

    def joined(self, later: "Errors") -> "Errors":
        """Returns the errors on these mixtures and on later ones of the same levels."""
        own, other = self.wrong.shape[1], later.wrong.shape[1]
        seconds = (own * self.seconds + other * later.seconds) / (own + other)
        wrong, squared = (torch.cat(pair, 1) for pair in ((self.wrong, later.wrong), (self.squared, later.squared)))
        return Errors(wrong, squared, self.num_bits, seconds)


def measure(separator: Separator, trials: Trials) -> Errors:
    """Measures a separator on trial mixtures, level by level.

    Raises:
        InputError: an estimate holds NaN or infinity.
    """
    wrong, squared, started = [], [], time.process_time()
    for mixture, soi, bits in zip(trials.mixture, trials.soi, trials.bits, strict=True):
        found = separator.separate(mixture)
        if not bool(torch.isfinite(torch.view_as_real(found.soi)).all()):
            raise InputError("an estimate holds NaN or infinity")
        wrong.append((found.bits != bits).double().mean(1) if bits.shape[1] else torch.zeros(len(bits)).double())
        squared.append(power(found.soi - soi).double())
    seconds = (time.process_time() - started) / trials.mixture.shape[:2].numel()
    return Errors(torch.stack(wrong), torch.stack(squared), trials.bits.shape[2], seconds)
