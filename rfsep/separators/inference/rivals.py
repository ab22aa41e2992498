"""Simpler models of an interference, which a structured model has to beat window by window.

A structured model that does not hold is worse than none. Stationary interference with the spectrum that the examples
show, and white interference, explain any mixture to some extent. Where the evidence of one of them is larger, its
estimate is taken: that of `rfsep.separators.lmmse`, or of `rfsep.separators.matched_filter`.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import cached_property, lru_cache, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.gaussian import Bases, GaussianModel, Reduced, Unbiased
from rfsep.separators.inference.grid import SoiGrid
from rfsep.separators.inference.synchronise import Synchronised, Synchroniser
from rfsep.separators.lmmse import Lmmse, block_for
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.windows import overlapped_ends
from rfsep.signals.periodic_covariance import PeriodicCovariance
from rfsep.signals.statistics import frames_autocorrelation, modem_autocorrelation
from rfsep.types import Modem, Separator

_FREQUENCIES = 2048
_MODELS = 16  # models kept: one per length and delay
_NOISE_POWERS = (1e-3, 1e-2, 1e-1, 1.0)  # tried beside the one found with the structured model
_GAINS = (0.7, 1.4)  # tried beside the first guess
_NO_GAIN = 1e-9  # interference that is all noise
_LEAST = 1e-3  # least power of white interference


class Rank(IntEnum):
    """Models from the most structured one to the simplest."""

    DETECTED = 0
    CYCLIC = 1
    STATIONARY = 2
    WHITE = 3


class Ranked(NamedTuple):
    """Estimates in windows, one or several waveforms complex64 [W, n, L], and the `Rank` int64 [W] of their model."""

    waveforms: Tensor
    rank: Tensor


class Verdict(NamedTuple):
    """The likeliest model of each window.

    Attributes:
        rank: `Rank` int64 [B].
        gain: power of its interference, float64 [B].
        noise_power: float64 [B].
        log_likelihood: float64 [B].
    """

    rank: Tensor
    gain: Tensor
    noise_power: Tensor
    log_likelihood: Tensor


class _Tried(NamedTuple):
    """A model at given powers of interference and noise, all float64 [B]."""

    log_likelihood: Tensor
    gain: Tensor
    noise_power: Tensor


class Rivals:
    """The stationary and the white model of one interference.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T].
        interference: its modem, whose spectrum counts where the examples are too few.
        period: samples per block of the structured model.
    """

    def __init__(self, modem: Modem, examples: Tensor, interference: Modem | None, period: int) -> None:
        self.modem = modem
        self.period = period
        self._examples = examples
        self._interference = interference
        self.model = lru_cache(maxsize=_MODELS)(self._make_model)
        self._bases = lru_cache(maxsize=_MODELS)(self._make_bases)

    @cached_property
    def _lags(self) -> Tensor:
        """Autocorrelation complex128 [L] of unit power."""
        most = block_for(self.modem) + self.modem.symbol_period  # the longest block has fewer samples
        if self._examples.numel() >= most or self._interference is None:
            lags = frames_autocorrelation(self._examples, min(most, self._examples.numel()))
        else:
            lags = modem_autocorrelation(self._interference, most)
        return torch.nn.functional.pad(lags, (0, most - len(lags))) / lags[0].real

    def _make_model(self, grid: SoiGrid) -> GaussianModel:
        """The stationary model on the blocks of a grid, whose pulses may have passed a filter."""
        two_sided, known = torch.zeros(_FREQUENCIES, dtype=torch.complex128), self._lags[: _FREQUENCIES // 2]
        two_sided[: len(known)] = known
        two_sided[len(two_sided) - len(known) + 1 :] = known[1:].flip(0).conj()
        lags = torch.fft.ifft(torch.fft.fft(two_sided).real.clamp_min(0) * grid.gain(_FREQUENCIES))
        lags = lags[: min(grid.period, _FREQUENCIES // 2)]
        lags = (lags / lags[0].real).expand(self.period, -1)
        independent = grid.period == self.period
        if independent:
            lags = lags * (torch.arange(self.period)[:, None] + torch.arange(lags.shape[1]) < self.period)
        bases = self._bases(tuple(lags.flatten().tolist()), independent)
        return GaussianModel(grid, bases.covariance, bases)

    def _make_bases(self, lags: tuple[complex, ...], independent: bool) -> Bases:
        """Eigenvectors for all windows whose stationary model has these lags, [P, L] in one row."""
        found = torch.tensor(lags, dtype=torch.complex128).view(self.period, -1)
        return Bases(PeriodicCovariance(found, independent))

    def __call__(
        self, synchroniser: Synchroniser, windows: Tensor, at: Synchronised, own: Rank, evidence: Tensor
    ) -> Verdict:
        """Returns the likeliest model of each window.

        Args:
            synchroniser: of the structured model.
            windows: complex64 [B, T].
            at: what it found.
            own: the structured model's rank.
            evidence: float64 [B], its log likelihood.
        """
        rank, best = torch.full((len(windows),), int(own)), evidence.clone()
        found = Verdict(rank, at.gain.clone(), at.noise_power.clone(), best)
        if self.period == 1:  # The structured model is the stationary one.
            return found
        model, power = self.model(synchroniser.model.grid), synchroniser.first_gain(windows).clamp_min(_LEAST)
        # Most windows need no likelihood, as no rival can be as likely as their own model.
        rows = (_bound(model, at, power) > best).nonzero()[:, 0]
        if not len(rows):
            return found
        held, power = Synchronised(*(value[rows] for value in at)), power[rows]
        reduced = self.reduced(synchroniser, windows[rows], held)
        for rival, likeliest in ((Rank.STATIONARY, _stationary), (Rank.WHITE, _white)):
            tried = likeliest(model, reduced, power, held.noise_power)
            wins = tried.log_likelihood > best[rows]
            here = rows[wins]
            best[here], rank[here] = tried.log_likelihood[wins], int(rival)
            found.gain[here], found.noise_power[here] = tried.gain[wins], tried.noise_power[wins]
        return found

    def reduced(self, synchroniser: Synchroniser, windows: Tensor, at: Synchronised) -> Reduced:
        """Returns windows complex64 [B, T] in the eigenbasis of the stationary model."""
        model = self.model(synchroniser.model.grid)
        place = at.interference_offset if model.covariance.independent else torch.zeros_like(at.interference_offset)
        return model.reduce(windows, at.soi_offset, place)

    def unbiased(
        self, synchroniser: Synchroniser, windows: Tensor, at: Synchronised, verdict: Verdict, rows: Tensor
    ) -> Unbiased:
        """Returns what the likeliest of these models knows of the SOI's symbols in the windows int64 [n]."""
        held = Synchronised(*(value[rows] for value in at))
        reduced = self.reduced(synchroniser, windows[rows], held)
        model = self.model(synchroniser.model.grid)
        return model.unbiased(reduced, verdict.gain[rows], verdict.noise_power[rows])

    @cached_property
    def _lmmse(self) -> Lmmse:
        return Lmmse(self.modem, self._examples, interference_autocorrelation=self._lags, block=block_for(self.modem))

    def chosen(
        self,
        estimate: Callable[[Tensor, bool, bool], Ranked],
        sent: Tensor,
        mixture: Tensor,
        place: tuple[int, int, int],
    ) -> Tensor:
        """Returns estimates complex64 [B, n, T], of simpler models in the windows that these explain better.

        Args:
            estimate: as `overlapped_ends` has it, for windows of ``sent``.
            sent: mixtures complex64 [B, T] whose interference is as it was sent.
            mixture: the same as received, which the simpler models take.
            place: block, margin and period of `overlapped_ends`.
        """
        found = list[Ranked]()

        def keep(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            found.append(estimate(windows, begins, ends))
            return windows

        overlapped_ends(keep, sent, *place)
        simpler: dict[Rank, Separator] = {
            Rank.STATIONARY: self._lmmse,
            Rank.WHITE: MatchedFilter(self.modem, self._examples),
        }
        for rank, separator in simpler.items():
            if any((one.rank == rank).any() for one in found):
                others = _windows(separator.separate(mixture).soi, place)
                kept = zip(found, others, strict=True)
                found = [one._replace(waveforms=_where(one.rank == rank, other, one.waveforms)) for one, other in kept]
        each = zip(*(one.waveforms.unbind(1) for one in found), strict=True)
        return torch.stack([_whole(list(windows), sent, place) for windows in each], 1)


def _where(rows: Tensor, windows: Tensor, waveforms: Tensor) -> Tensor:
    """Puts windows complex64 [W, L] in the place of all waveforms complex64 [W, n, L] of the rows bool [W]."""
    return torch.where(rows[:, None, None], windows[:, None], waveforms)


def _whole(windows: list[Tensor], sent: Tensor, place: tuple[int, int, int]) -> Tensor:
    """Returns the waveforms complex64 [B, T] whose windows are given in the order of `overlapped_ends`."""
    order = iter(windows)
    return overlapped_ends(lambda _, begins, ends: next(order), sent, *place)


def _windows(waveform: Tensor, place: tuple[int, int, int]) -> list[Tensor]:
    """Returns the windows of waveforms complex64 [B, T] in the order in which `overlapped_ends` asks for them."""
    found = list[Tensor]()

    def keep(windows: Tensor, begins: bool, ends: bool) -> Tensor:
        found.append(windows)
        return windows

    overlapped_ends(keep, waveform, *place)
    return found


def _bound(model: GaussianModel, at: Synchronised, power: Tensor) -> Tensor:
    """Returns what the likelihood of neither rival exceeds, float64 [B], at powers float64 [B] of the interference."""
    factors = (1.0, *_GAINS)
    noises = (at.noise_power, *(torch.full_like(power, one) for one in _NOISE_POWERS))
    tried = [(power * factor, noise) for factor in factors for noise in noises]
    tried += [(torch.zeros_like(power), power * factor + at.noise_power) for factor in factors]
    bounds = [model.log_likelihood_bound(at.interference_offset, gain, noise) for gain, noise in tried]
    return torch.stack(bounds).amax(0)


def _stationary(model: GaussianModel, reduced: Reduced, power: Tensor, noise: Tensor) -> _Tried:
    """Returns the likeliest of a few noise powers, then of gains."""
    noises = [noise, *(torch.full_like(noise, one) for one in _NOISE_POWERS)]
    best = reduce(_likelier, _tried(model, reduced, [power] * len(noises), noises))
    gains = [power * factor for factor in _GAINS]
    return reduce(_likelier, _tried(model, reduced, gains, [best.noise_power] * len(gains)), best)


def _white(model: GaussianModel, reduced: Reduced, power: Tensor, noise: Tensor) -> _Tried:
    """Returns the likeliest of a few powers of white interference beside the noise."""
    noises = [power * factor + noise for factor in (1.0, *_GAINS)]
    return reduce(_likelier, _tried(model, reduced, [torch.full_like(power, _NO_GAIN)] * len(noises), noises))


def _tried(model: GaussianModel, reduced: Reduced, gains: list[Tensor], noises: list[Tensor]) -> list[_Tried]:
    found = model.log_likelihoods(reduced, torch.stack(gains), torch.stack(noises))
    return [_Tried(*each) for each in zip(found, gains, noises, strict=True)]


def _likelier(old: _Tried, new: _Tried) -> _Tried:
    wins = new.log_likelihood > old.log_likelihood
    return _Tried(*(torch.where(wins, one, other) for one, other in zip(new, old, strict=True)))
