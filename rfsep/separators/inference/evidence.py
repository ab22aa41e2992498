"""Evidence for and against a structured separator, from what linear estimators say of the same SOI.

A structured separator fails where the interference lacks its structure, and often fails surely. A linear estimator
needs no structure, and its error is known: a symbol comes out as z = a + e, and the power of z tells that of e. So do
its error rates and its soft bits, which show how many and which of its bits should be wrong. If the structured bits are
right, they contradict the linear ones exactly there; where they contradict sure linear bits too, they are wrong.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.constellations import demap, posterior_mean_and_variance
from rfsep.types import Modem

_REFITS = 10  # iterations of expectation maximisation for an error's variance
_STEPS = 40  # iterations for shares of wrong bits
_LEAST_VARIANCE = 1e-3
_FEWEST_BITS = 32  # Fewer bits are no evidence.


class Heard(NamedTuple):
    """Symbols as a linear estimator gives them.

    Attributes:
        symbols: complex64 [B, S], each the symbol sent plus an error.
        variance: of the errors, float32 [B].
    """

    symbols: Tensor
    variance: Tensor


class Standing(NamedTuple):
    """Error rates that the evidence tells of each window, float32 [B] each.

    Attributes:
        structured: of a structured separator's bits.
        linear: of the linear estimator's own.
    """

    structured: Tensor
    linear: Tensor


def heard(symbols: Tensor, points: Tensor) -> Heard:
    """Finds the variance of the errors of symbols complex64 [B, S], by maximum likelihood with equally likely points.

    Expectation maximisation starts from E|z|^2 = E|a|^2 + E|e|^2.
    """
    excess = symbols.abs().square().mean(1) - points.abs().square().mean()
    variance = excess.clamp_min(_LEAST_VARIANCE)
    for _ in range(_REFITS):
        mean, spread = posterior_mean_and_variance(symbols, points, variance[:, None])
        variance = ((symbols - mean).abs().square() + spread).mean(1).clamp_min(_LEAST_VARIANCE)
    return Heard(symbols, variance)


def standing(linear: Heard, points: Tensor, bits: Tensor) -> Standing:
    """Returns the error rates of structured bits and of linear ones, told from where they contradict each other.

    A linear bit is right with the probability q that its soft bit tells. Structured bits are wrong with a share w of
    those that are right and a share u of those that are wrong, so that a contradiction has the probability
    w q + (1 - u) (1 - q). Expectation maximisation finds both shares. Errors of the same cause as the linear ones,
    which nothing here can tell from right bits, count as the latter.

    Args:
        linear: what a linear estimator says.
        points: constellation complex64 [P].
        bits: structured bits uint8 [B, N] of the same symbols.
    """
    ratio = demap(linear.symbols, points, linear.variance[:, None])  # [B, N]
    right = ratio.abs().sigmoid().double()
    wrong = (-ratio.abs()).sigmoid().double().clamp_min(1e-12)
    differs = (ratio > 0) != bits.bool()
    spoilt, kept = torch.full_like(right[:, :1], 0.1), torch.full_like(right[:, :1], 0.5)  # w and u
    for _ in range(_STEPS):
        of_wrong = torch.where(differs, (1 - kept) * wrong, kept * wrong)
        of_right = torch.where(differs, spoilt * right, (1 - spoilt) * right)
        share = of_wrong / (of_wrong + of_right).clamp_min(1e-300)  # probability that the linear bit is wrong
        spoilt = ((1 - share) * differs).sum(1, True) / (1 - share).sum(1, True).clamp_min(1e-12)
        kept = ((share * ~differs).sum(1, True) + 0.5) / (share.sum(1, True) + 1)
    return Standing((spoilt * right + kept * wrong).mean(1).float(), wrong.mean(1).float())


class Fallback:
    """Puts a linear estimate in the place of a structured one that is likely worse, window by window.

    It is that of LMMSE or of the matched filter, whichever has the smaller error.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T]; without any the matched filter is the only linear one.
    """

    def __init__(self, modem: Modem, examples: Tensor) -> None:
        self.modem = modem
        self._matched = MatchedFilter(modem, examples)
        self._lmmse = Lmmse(modem, examples) if examples.numel() else None

    def honest(self, windows: Tensor, soi: Tensor, misfit: Tensor | None = None) -> Tensor:
        """Returns estimates complex64 [B, T], those of ``soi`` where no evidence is against them.

        Args:
            windows: mixtures complex64 [B, T].
            soi: structured estimates complex64 [B, T].
            misfit: bool [B], windows that the structure's own model does not explain; they are replaced anyway.
        """
        points, bits = self.modem.constellation, self.modem.decide(soi)
        if bits.shape[1] < _FEWEST_BITS:
            return soi
        best, estimate = heard(self.modem.analyse(windows), points), self._matched.separate(windows).soi
        if self._lmmse is not None:
            other = heard(self._lmmse.symbols(windows), points)
            better = (other.variance < best.variance)[:, None]
            symbols = torch.where(better, other.symbols, best.symbols)
            best = Heard(symbols, torch.minimum(other.variance, best.variance))
            estimate = torch.where(better, self._lmmse.separate(windows).soi, estimate)
        told = standing(best, points, bits)
        failed = told.structured > told.linear
        if misfit is not None:
            failed = failed | misfit
        return torch.where(failed[:, None], estimate, soi)
