"""Evidence for and against a structured separator, from what linear estimators say of the same SOI.

A structured separator fails where the interference lacks its structure, and often fails surely. A linear estimator
needs no structure, and its error is known: a symbol comes out as z = a + e, and the power of z tells that of e. So do
its error rates and its soft bits, which show how many and which of its bits should be wrong. If the structured bits are
right, they contradict the linear ones exactly there; where they contradict sure linear bits too, they are wrong.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.lmmse import Lmmse, block_for
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.constellations import bits_per_symbol, demap, hard_bits, posterior_mean_and_variance
from rfsep.types import Modem

_REFITS = 10  # iterations of expectation maximisation for an error's variance
_NEARBY = 15  # symbols over which the variance of errors is a mean; odd
_FREEDOM = 4.0  # degrees of freedom of an error about it
_STEPS = 40  # iterations for shares of wrong bits
_LEAST_VARIANCE = 1e-3
_FEWEST_BITS = 32  # Fewer bits are no evidence.
# Shares of wrong bits to start from, in windows that leave a doubt and in others; weak evidence hardly changes them.
_DOUBT, _TRUST = 0.01, 1e-3
_HARDLY = 5e-3  # share of right bits that even a good separator spoils
_STRONG = 12.0  # tuned on val: evidence in nats that counts; where structure holds there were up to 6
_TOO_FEW = 2  # wrong bits more than linear ones have, in a window, that are no evidence
_COST = 0.5  # by which a higher temperature has to be likelier, in nats
_TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 40.0)


class Heard(NamedTuple):
    """Symbols as a linear estimator gives them.

    Attributes:
        symbols: complex64 [B, S], each the symbol sent plus an error.
        variance: of each error, float32 [B, S].
    """

    symbols: Tensor
    variance: Tensor


class Standing(NamedTuple):
    """What the evidence tells of each window, float32 [B] each.

    Attributes:
        structured: error rate of a structured separator's bits.
        linear: of the linear estimator's own.
        evidence: that structured bits are wrong where linear ones are right at all, in nats of likelihood.
    """

    structured: Tensor
    linear: Tensor
    evidence: Tensor


def heard(symbols: Tensor, points: Tensor) -> Heard:
    """Finds the variance of each error of symbols complex64 [B, S], with equally likely points of complex64 [P].

    Expectation maximisation starts from E|z|^2 = E|a|^2 + E|e|^2. Interference comes and goes, so that the variance is
    that of a neighbourhood; and it has strong samples, so that errors have the heavy tails of Student's t (Liu & Rubin,
    Statistica Sinica 5, 1995): a symbol far from all points is not a sure one.
    """
    excess = symbols.abs().square().mean(1, True) - points.abs().square().mean()
    variance = excess.clamp_min(_LEAST_VARIANCE).expand(symbols.shape)
    for _ in range(_REFITS):
        mean, spread = posterior_mean_and_variance(symbols, points, variance)
        error = (symbols - mean).abs().square() + spread
        near = _local_mean(error).clamp_min(_LEAST_VARIANCE)
        variance = (_FREEDOM * near + 2 * error) / (_FREEDOM + 2)
    return Heard(symbols, variance)


def _local_mean(values: Tensor) -> Tensor:
    """Returns the mean of each value's neighbourhood, float32 [B, S]."""
    padded = torch.nn.functional.pad(values[:, None], (_NEARBY // 2, _NEARBY // 2))
    there = torch.nn.functional.pad(torch.ones_like(values[:1, None]), (_NEARBY // 2, _NEARBY // 2))
    kernel = torch.ones((1, 1, _NEARBY), dtype=values.dtype)
    found = torch.nn.functional.conv1d(padded, kernel) / torch.nn.functional.conv1d(there, kernel)
    return found[:, 0]


def _cautious(linear: Heard) -> Heard:
    """Returns the symbols with variances two standard errors larger.

    The power of N symbols of unit power plus errors of variance v tells v within sqrt(2 v / N), by the cross term.
    """
    mean = linear.variance.mean(1, True)
    return linear._replace(variance=linear.variance * (1 + 2 * (2 / (mean * linear.symbols.shape[1])).sqrt()))


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
    ratio = demap(linear.symbols, points, linear.variance)  # [B, N]
    right = ratio.abs().sigmoid().double()
    wrong = (-ratio.abs()).sigmoid().double().clamp_min(1e-12)
    differs = (ratio > 0) != bits.bool()
    spoilt, kept = _shares(right, wrong, differs, None)
    unspoilt = _shares(right, wrong, differs, _HARDLY)
    evidence = _likelihood(right, wrong, differs, spoilt, kept) - _likelihood(right, wrong, differs, *unspoilt)
    structured = (spoilt * right + kept * wrong).mean(1)
    return Standing(structured.float(), wrong.mean(1).float(), evidence.float())


def _shares(right: Tensor, wrong: Tensor, differs: Tensor, known: float | None) -> tuple[Tensor, Tensor]:
    """Returns the shares w, ``known`` or the likeliest, and u of `standing`, float64 [B, 1] each."""
    spoilt, kept = torch.full_like(right[:, :1], 0.1 if known is None else known), torch.full_like(right[:, :1], 0.5)
    for _ in range(_STEPS):
        of_wrong = torch.where(differs, (1 - kept) * wrong, kept * wrong)
        of_right = torch.where(differs, spoilt * right, (1 - spoilt) * right)
        share = of_wrong / (of_wrong + of_right).clamp_min(1e-300)  # probability that the linear bit is wrong
        if known is None:
            spoilt = ((1 - share) * differs).sum(1, True) / (1 - share).sum(1, True).clamp_min(1e-12)
        kept = ((share * ~differs).sum(1, True) + 0.5) / (share.sum(1, True) + 1)
    return spoilt, kept


def _likelihood(right: Tensor, wrong: Tensor, differs: Tensor, spoilt: Tensor, kept: Tensor) -> Tensor:
    """Returns the logarithm of the likelihood of the contradictions, float64 [B]."""
    chance = spoilt * right + (1 - kept) * wrong
    return torch.where(differs, chance, 1 - chance).clamp_min(1e-300).log().sum(1)


def tempered(ratio: Tensor, linear: Heard, points: Tensor, doubted: Tensor | None = None) -> Tensor:
    """Returns log-likelihood ratios float32 [B, N] that are as sure as linear symbols allow.

    The ratios are divided by a temperature (Guo et al., ICML 2017), and a share of the bits is taken to be wrong
    whatever they say. Neither is learned from the truth: the linear symbols of the window are likeliest with them,
    which takes the structured errors as independent of the linear ones. Independent bits contradict the linear ones
    where those are wrong. As many contradictions as are missing, as large is the share of bits that merely repeat the
    linear ones, errors and all; these are as sure as the linear ones.

    Args:
        ratio: of a structured separator, float32 [B, N], positive for 1.
        linear: what a linear estimator says of the same symbols.
        points: constellation complex64 [P].
        doubted: bool [B], windows in which the structure's own model leaves a doubt; None for all. Elsewhere the
            linear symbols have to bring stronger evidence.
    """
    seen = demap(linear.symbols, points, linear.variance).double()[:, None]  # [B, 1, N]
    told = ratio.double()[:, None] / torch.tensor(_TEMPERATURES, dtype=torch.float64)[:, None]  # [B, H, N]
    one, seen_one = told.sigmoid(), seen.sigmoid()
    kept = one * seen_one + (1 - one) * (1 - seen_one)  # likelihood of what is seen if a bit is as told, up to a factor
    share = torch.full_like(kept[:, :, :1], _DOUBT)
    if doubted is not None:
        share[~doubted] = _TRUST
    for _ in range(_STEPS):
        random = 0.5 * share
        share = (random / (random + (1 - share) * kept)).mean(2, True)
    share = share.clamp_min(0.5 / kept.shape[2])
    fits = ((1 - share) * kept + 0.5 * share).log().sum(2)  # [B, H]
    best = (fits - _COST * torch.arange(fits.shape[1])).argmax(1)[:, None, None]
    told, share = one.gather(1, best.expand_as(one[:, :1]))[:, 0], share.gather(1, best)[:, 0]
    right = (1 - share) * torch.maximum(told, 1 - told) + 0.5 * share
    # The probability of the same bit by the linear symbols alone.
    as_told = torch.where(ratio > 0, seen_one[:, 0], 1 - seen_one[:, 0])
    sure = torch.maximum(as_told, 1 - as_told)
    expected = right * (1 - sure) + (1 - right) * sure
    repeated = (1 - (as_told < 0.5).sum(1, True) / expected.sum(1, True)).clamp(0, 1)  # [B, 1]
    right = ((1 - repeated) * right + repeated * as_told).clamp_min(0.5 + 1e-6)
    sign = torch.where(ratio > 0, 1.0, -1.0)
    return (right.logit() * sign).float()


def error_rate(linear: Heard, points: Tensor) -> Tensor:
    """Returns the share of wrong bits that linear symbols tell of themselves, float32 [B]."""
    return (-demap(linear.symbols, points, linear.variance).abs()).sigmoid().mean(1)


class Fallback:
    """LMMSE and the matched filter, as evidence on a structured separator and in its place.

    In each window counts the one that tells the smaller error rate of itself.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T]; without any the matched filter is the only linear one.
    """

    def __init__(self, modem: Modem, examples: Tensor) -> None:
        self.modem = modem
        self._matched = MatchedFilter(modem, examples)
        self._lmmse = Lmmse(modem, examples, block=block_for(modem)) if examples.numel() else None

    def honest(self, windows: Tensor, soi: Tensor, misfit: Tensor | None = None) -> Tensor:
        """Returns estimates complex64 [B, T], those of ``soi`` where no evidence is against them.

        Args:
            windows: mixtures complex64 [B, T].
            soi: structured estimates complex64 [B, T].
            misfit: bool [B], windows that the structure's own model does not explain; they are replaced anyway.
        """
        if self._bits(soi).shape[1] < _FEWEST_BITS:
            return soi
        failed, by_lmmse = self.contradicted(windows, soi)
        if misfit is not None:
            failed = failed | misfit
        found = soi.clone()
        for separator, rows in ((self._matched, failed & ~by_lmmse), (self._lmmse, failed & by_lmmse)):
            if separator is not None and rows.any():
                found[rows] = separator.separate(windows[rows]).soi
        return found

    def contradicted(self, windows: Tensor, soi: Tensor) -> tuple[Tensor, Tensor]:
        """Returns whether sure linear bits contradict structured ones, and whether LMMSE says so, bool [B] each.

        Args:
            windows: mixtures complex64 [B, T].
            soi: structured estimates complex64 [B, T].
        """
        bits = self._bits(soi)
        if bits.shape[1] < _FEWEST_BITS:
            neither = torch.zeros(len(windows), dtype=torch.bool)
            return neither, neither
        linear, by_lmmse = self._linear(windows)
        told = standing(_cautious(linear), self.modem.constellation, bits)
        return (told.structured > told.linear + _TOO_FEW / bits.shape[1]) & (told.evidence > _STRONG), by_lmmse

    def _bits(self, soi: Tensor) -> Tensor:
        """Returns hard bits uint8 [B, N]. Pilots count as symbols, and differences between symbols are not undone."""
        return hard_bits(self.modem.analyse(soi), self.modem.constellation)

    def tempered(self, windows: Tensor, ratio: Tensor, start: Tensor, doubted: Tensor | None = None) -> Tensor:
        """Returns log-likelihood ratios float32 [B, N] as sure as they may be, see `tempered`; few stay as they are.

        Args:
            windows: mixtures complex64 [B, T].
            ratio: float32 [B, N], of all bits from the first symbol on, or of the first of them.
            start: int64 [B], sample at which the first symbol begins, at most half a symbol before the window.
            doubted: see `tempered`.
        """
        points, length = self.modem.constellation, windows.shape[1]
        if ratio.shape[1] < _FEWEST_BITS:
            return ratio
        place = torch.arange(length) + start[:, None]
        there = (place >= 0) & (place < length)
        linear, _ = self._linear(torch.where(there, windows.gather(1, place.clamp(0, length - 1)), 0))
        count = ratio.shape[1] // bits_per_symbol(points)
        return tempered(ratio, Heard(linear.symbols[:, :count], linear.variance[:, :count]), points, doubted)

    def estimates(self, windows: Tensor) -> list[Tensor]:
        """Returns the estimates complex64 [B, T] of each linear estimator."""
        found = [self._matched.separate(windows).soi]
        return found if self._lmmse is None else [*found, self._lmmse.separate(windows).soi]

    def _linear(self, windows: Tensor) -> tuple[Heard, Tensor]:
        """Returns what the better linear estimator says, and whether it is LMMSE, bool [B]."""
        points = self.modem.constellation
        matched = heard(self.modem.analyse(windows), points)
        if self._lmmse is None:
            return matched, torch.zeros(len(windows), dtype=torch.bool)
        other = heard(self._lmmse.symbols(windows), points)
        better = error_rate(other, points) < error_rate(matched, points)
        chosen = (torch.where(better[:, None], one, two) for one, two in zip(other, matched, strict=True))
        return Heard(*chosen), better
