"""Finds timings of SOI and interference, interference gain and noise blindly, by Gaussian likelihood.

The search goes from coarse to fine. The stationary Wiener filter first extracts the interference from the mixture.
Every timing of it gets a score: the less of the result falls where its covariance has no power, the better. The best
few go, with every timing of the SOI, to the exact likelihood of `rfsep.separators.inference.gaussian`. A network can
give the interference's timing instead (`rfsep.separators.inference.timing`); everything else is found in the same way.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import power, squared
from rfsep.separators.inference.gaussian import GaussianModel, Reduced
from rfsep.separators.inference.rows import joined_rows
from rfsep.separators.inference.timing import TimingNetwork
from rfsep.signals.statistics import modem_autocorrelation

_TOGETHER = 2**18  # samples of which hypotheses are compared together; few cost little more than a call
_SHORTLIST = 3  # interference timings that reach the exact likelihood
_SOI_STRIDE = 2  # samples between the SOI timings of the first look; a pulse is many samples wide
_LEAST_GAIN = 1e-3  # an SINR of +30 dB
# candidates for an unknown noise power; what a model does not explain counts as noise, and may exceed the SOI
_NOISE_POWERS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_NOISE_STEPS = (10**0.5, 10**0.25)  # finer steps
_UNKNOWN_NOISE = 3e-3  # the noise power assumed before timing is known
_GAIN_STEPS_DB = (1.5, 0.4)  # step sizes in the search for the gain


class Synchronised(NamedTuple):
    """The result of synchronisation for each window.

    Attributes:
        soi_offset: int64 [B], samples into a SOI symbol at sample 0.
        interference_offset: int64 [B], samples into a period at sample 0.
        gain: float64 [B], power of the interference.
        noise_power: float64 [B].
        log_likelihood: float64 [B].
    """

    soi_offset: Tensor
    interference_offset: Tensor
    gain: Tensor
    noise_power: Tensor
    log_likelihood: Tensor


def _better(old: Synchronised, new: Synchronised) -> Synchronised:
    """Returns the likelier of two results, row by row."""
    wins = new.log_likelihood > old.log_likelihood
    return Synchronised(*(torch.where(wins, b, a) for a, b in zip(old, new, strict=True)))


class Synchroniser:
    """Finds timings, gain and noise of windows.

    Args:
        model: SOI and interference.
        soi_timing_known: whether the SOI's symbols start with the window.
        noise_power: power of the white noise in the mixture; None to estimate it.
        timing_network: gives the interference's timing, for the model's period; None to find it by likelihood.
    """

    def __init__(
        self,
        model: GaussianModel,
        *,
        soi_timing_known: bool,
        noise_power: float | None,
        timing_network: TimingNetwork | None = None,
    ) -> None:
        self.model = model
        self.timing_network = timing_network
        self.soi_timing_known = soi_timing_known
        self.noise_power = noise_power
        self._soi_spectrum, self._interference_spectrum = self._spectra()

    def _spectra(self) -> tuple[Tensor, Tensor]:
        """Time-averaged power spectra float64 [2 T] of SOI and unit-power interference."""
        length = self.model.grid.num_samples
        soi = modem_autocorrelation(self.model.grid.modem, length)
        lags = self.model.covariance.lags.mean(0)[:length]
        return _spectrum(soi, 2 * length) * self.model.grid.gain(2 * length), _spectrum(lags, 2 * length)

    def soi_power(self) -> float:
        """Mean power of the SOI."""
        return float(self._soi_spectrum.mean())

    def extracted(self, mixture: Tensor, gain: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        """Returns the interference complex128 [B, T] behind the stationary Wiener filter, and its error float64 [B]."""
        interference = gain[:, None] * self._interference_spectrum
        total = interference + self._soi_spectrum + noise
        error = (interference * (self._soi_spectrum + noise) / total).mean(1)
        length = mixture.shape[1]
        spectrum = torch.fft.fft(mixture.to(torch.complex128), 2 * length)
        filtered: Tensor = torch.fft.ifft(spectrum * (interference / total))[:, :length]
        return filtered, error

    def _coarse(self, mixture: Tensor, gain: Tensor, noise: float) -> Tensor:
        """Returns costs float64 [B, P] of the interference's timings."""
        filtered, error = self.extracted(mixture, gain, noise)
        if self.model.covariance.independent:
            return self.block_costs(filtered, gain, error)
        period = self.model.covariance.period
        costs = []
        for phase in range(period):
            values, vectors = self.model.basis(phase, 0, mixture.shape[1])
            seen = (filtered @ vectors.conj()).abs().square()
            variance = gain[:, None] * values + error[:, None]
            costs.append((seen / variance + variance.log()).sum(1))
        return torch.stack(costs, 1)

    def block_costs(
        self, filtered: Tensor, gain: Tensor, error: Tensor, offsets: Iterable[int] | None = None
    ) -> Tensor:
        """Returns the mean cost [B, n] of whole blocks at offsets, all by default, of `extracted` [B, T]."""
        period = self.model.grid.period
        values, vectors = self.model.basis(0, 0, period)
        weight = (1 / (gain[:, None] * values + error[:, None])).float()  # [B, P]
        basis, filtered = vectors.conj().to(torch.complex64), filtered.to(torch.complex64)
        costs = []
        for offset in range(period) if offsets is None else offsets:
            rest = filtered[:, -offset % period :]
            count = rest.shape[1] // period
            blocks = rest[:, : count * period].reshape(len(rest), count, period)
            seen = squared(blocks @ basis).mean(1)  # [B, P]
            costs.append((seen * weight).sum(1))
        return torch.stack(costs, 1)

    def _evaluate(self, mixture: Tensor, tried: Sequence[Synchronised]) -> list[Synchronised]:
        """Returns hypotheses about mixtures complex64 [B, T] with their exact likelihoods."""
        found = list[Synchronised]()
        most = max(1, _TOGETHER // mixture.numel())
        for start in range(0, len(tried), most):
            part = tried[start : start + most]
            every: Synchronised = joined_rows(part)
            reduced = self.model.reduce(mixture.repeat(len(part), 1), every.soi_offset, every.interference_offset)
            likelihoods = self.model.solve(reduced, every.gain, every.noise_power).log_likelihood.chunk(len(part))
            found += [one._replace(log_likelihood=own) for one, own in zip(part, likelihoods, strict=True)]
        return found

    def _soi_timings(self, mixture: Tensor, at: Synchronised) -> list[Synchronised]:
        """Returns likely SOI timings, the best of a coarse look and its two neighbours, with the rest as in ``at``."""
        step = self.model.grid.modem.symbol_period
        coarse = range(0, step, _SOI_STRIDE if step > 2 * _SOI_STRIDE else 1)
        tried = [at._replace(soi_offset=torch.full_like(at.soi_offset, one)) for one in coarse]
        best = reduce(_better, self._evaluate(mixture, tried))
        beside = [(best.soi_offset + move) % step for move in (-1, 1)]
        return [best, *self._evaluate(mixture, [at._replace(soi_offset=offset) for offset in beside])]

    def _shortlist(self, mixture: Tensor, gain: Tensor, noise: float) -> Tensor:
        """Returns timings int64 [B, n] of the interference for the exact likelihood, the best guess first."""
        if self.timing_network is not None:
            return self.timing_network.log_probability(mixture).argmax(1, keepdim=True)
        costs = self._coarse(mixture, gain, noise)
        return costs.topk(min(_SHORTLIST, costs.shape[1]), 1, largest=False).indices

    @property
    def assumed_noise(self) -> float:
        """Noise power before timing is known."""
        return _UNKNOWN_NOISE if self.noise_power is None else self.noise_power

    def first_gain(self, mixture: Tensor) -> Tensor:
        """Returns a first guess float64 [B] of the interference's power."""
        return (power(mixture).double() - self.soi_power() - self.assumed_noise).clamp_min(_LEAST_GAIN)

    def start(self, mixture: Tensor) -> tuple[Synchronised, Tensor]:
        """Returns a first guess for each window, and the shortlist int64 [B, n] of its interference timings."""
        noise = self.assumed_noise
        gain = self.first_gain(mixture)
        shortlist = self._shortlist(mixture, gain, noise)
        zero = torch.zeros(len(mixture), dtype=torch.int64)
        least = torch.full_like(gain, -torch.inf)
        return Synchronised(zero, shortlist[:, 0], gain, torch.full_like(gain, noise), least), shortlist

    def candidates(self, mixture: Tensor, guess: Synchronised | None = None) -> list[Synchronised]:
        """Returns likely timings of all rows, with exact likelihoods at a guess of gain and noise."""
        start, shortlist = self.start(mixture)
        if guess is not None:
            start = start._replace(gain=guess.gain, noise_power=guess.noise_power)
        if self.soi_timing_known:
            return self._evaluate(mixture, [start._replace(interference_offset=one) for one in shortlist.T])
        found = self._soi_timings(mixture, start)
        best = reduce(_better, found)
        others = [best._replace(interference_offset=one) for one in shortlist.T[1:]]
        return found + self._evaluate(mixture, others)

    def timings(self, mixture: Tensor) -> Synchronised:
        """Returns the timings of each window by exact likelihood, at the first guess of the gain."""
        return reduce(_better, self.candidates(mixture))

    def refine(self, reduced: Reduced, at: Synchronised) -> Synchronised:
        """Refines the gain, and an unknown noise power, at fixed timing by exact likelihood."""

        def likelihoods(tried: Sequence[Synchronised]) -> list[Synchronised]:
            gain, noise = (torch.stack([one[place] for one in tried]) for place in (2, 3))
            found = self.model.log_likelihoods(reduced, gain, noise)
            return [one._replace(log_likelihood=own) for one, own in zip(tried, found, strict=True)]

        noises = () if self.noise_power is not None else _NOISE_POWERS
        best = reduce(
            _better, likelihoods([at, *(at._replace(noise_power=torch.full_like(at.gain, one)) for one in noises)])
        )
        for factor in () if self.noise_power is not None else _NOISE_STEPS:
            both = (best.noise_power * factor, best.noise_power / factor)
            best = reduce(_better, likelihoods([best._replace(noise_power=one) for one in both]), best)
        for step_db in _GAIN_STEPS_DB:
            factor = 10 ** (step_db / 10)
            low, high = likelihoods([best._replace(gain=best.gain * scale) for scale in (1 / factor, factor)])
            bend = low.log_likelihood + high.log_likelihood - 2 * best.log_likelihood
            move = 0.5 * (low.log_likelihood - high.log_likelihood) / bend.clamp_max(-1e-9)
            (vertex,) = likelihoods([best._replace(gain=best.gain * factor ** move.clamp(-1, 1))])
            best = _better(_better(_better(best, low), high), vertex)
        return best

    def runner_up(self, mixture: Tensor, at: Synchronised) -> Synchronised:
        """Returns the likelier of the two SOI timings next to the one found, with its likelihood."""
        step = self.model.grid.modem.symbol_period
        beside = ((at.soi_offset + move) % step for move in (-1, 1))
        first, second = self._evaluate(mixture, [at._replace(soi_offset=offset) for offset in beside])
        return _better(first, second)

    def __call__(self, mixture: Tensor) -> Synchronised:
        """Returns timings, gain and noise of mixtures complex64 [B, T]."""
        at = self.timings(mixture)
        return self.refine(self.model.reduce(mixture, at.soi_offset, at.interference_offset), at)


def _spectrum(lags: Tensor, size: int) -> Tensor:
    """Returns the power spectrum float64 [size] of an autocorrelation complex128 [L], never negative."""
    two_sided = lags.new_zeros(size)
    two_sided[: len(lags)] = lags
    two_sided[size - len(lags) + 1 :] = lags[1:].flip(0).conj()
    spectrum: Tensor = torch.fft.fft(two_sided).real
    return spectrum.clamp_min(0)
