"""Detection in ringing pulses: whitened, they are single samples.

A circuit that rings after every edge is an autoregressive filter that is shocked now and then. The filter's inverse,

    e_t = r_t + a_1 r_{t-1} + ... + a_p r_{t-p},

leaves a few strong samples e and silence between, through which the SOI is seen. The filter differs from window to
window, so it is estimated with the SOI's symbols and the variances of the innovations e.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.varying.learning import Model, learn_without_line, pieces_of, without_line
from rfsep.separators.varying.misfit import Misfit, changing_evidence, gaussian_evidence
from rfsep.separators.varying.states import Seen, gain_step, posterior, spread_of
from rfsep.separators.varying.symbols import Detected, Information, SymbolField, cavity, detected
from rfsep.separators.varying.varying_lmmse import VaryingLmmse
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.statistics import modem_autocorrelation, solve_positive
from rfsep.types import Modem, Separated

_BATCH_SAMPLES = 20 * 2560
_RIDGE = 1e-8  # share of the power added to the normal equations
_WHITENED = 6  # reweighted fits
_FAINT = 1e-4  # variance of innovations that all count alike, over the power
_FLOOR = 1e-6  # least variance of the innovations in units of the interference's power
_LEAST_VARIANCE = 1e-7
_STEADY, _STEADY_FITS = 65, 3  # samples over which Gaussian innovations have one power, and reweighted fits of them
_LEVELS = 5  # levels of power in the states, see `rfsep.separators.varying.learning.learn`
_UPDATES = 2  # updates of the symbols' sites per round


class Fit(NamedTuple):
    """What an autoregressive fit sees.

    Attributes:
        residual: estimate of the interference, complex128 [B, T].
        variance: its error, float64 [B, T].
        weight: inverse variance of the innovations, float64 [B, T].
    """

    residual: Tensor
    variance: Tensor
    weight: Tensor


def filtered(waveform: Tensor, taps: Tensor) -> Tensor:
    """Applies causal filters complex [B, n] to waveforms complex [B, T], zero before their first sample."""
    late = torch.nn.functional.pad(waveform, (taps.shape[1] - 1, 0)).unfold(1, taps.shape[1], 1)  # [B, T, n]
    found: Tensor = (late @ taps.flip(1)[..., None])[..., 0]
    return found


def whitening(fit: Fit, order: int, correlation: Tensor) -> Tensor:
    """Returns the taps complex128 [B, order + 1] that leave the least weighted power, the first of which is one.

    The normal equations hold expectations over the estimate's error, as the M step of expectation maximisation has.

    Args:
        fit: see `Fit`.
        order: of the filter.
        correlation: of the error, complex128 [order + 1, order + 1], one on its diagonal.
    """
    late = torch.nn.functional.pad(fit.residual, (order, 0)).unfold(1, order + 1, 1).flip(2)[:, order:]  # [B, n, p+1]
    weight = fit.weight[:, order:]
    gram = (late * weight[..., None]).mH @ late
    gram = gram + (weight * fit.variance[:, order:]).sum(1)[:, None, None] * correlation
    inner = gram[:, 1:, 1:]
    ridge = _RIDGE * inner.diagonal(dim1=1, dim2=2).real.mean(1) + torch.finfo(torch.float64).tiny
    inner = inner + ridge[:, None, None] * torch.eye(order)
    taps = -solve_positive(inner, gram[:, 1:, :1])[..., 0]
    return torch.cat((torch.ones_like(taps[:, :1]), taps), 1)


def reweighted(fit: Fit, order: int, correlation: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Fits with weights 1 / (|e|^2 + least), which make the innovations sparse (Chartrand & Yin, ICASSP 2008).

    Returns:
        taps complex128 [B, order + 1] and weights float64 [B, T].
    """
    for _ in range(_WHITENED):
        taps = whitening(fit, order, correlation)
        fit = fit._replace(weight=1 / (filtered(fit.residual, taps).abs().square() + least[:, None]))
    return taps, fit.weight


class Ringing:
    """Expectation propagation behind a filter that whitens each window's interference, with sparse innovations.

    It starts from `VaryingLmmse`. Then the filter, the states of the innovations, and the SOI's symbols behind the
    filter are estimated in turn. Windows whose bits contradict sure linear ones
    (`rfsep.separators.inference.evidence.Fallback`), or that Gaussian interference explains better
    (`rfsep.separators.varying.misfit`), are left to linear estimators.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T].
        order: of the autoregressive filter: one per decaying oscillation, and one to spare.
        rounds: estimates of filter and states.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.

    Raises:
        InputError: the examples do not suit, see `rfsep.separators.varying.learning.learn`.
    """

    def __init__(
        self, modem: Modem, examples: Tensor, order: int = 5, rounds: int = 3, block: int = 2560, margin: int = 160
    ) -> None:
        self.modem, self.order, self.rounds = modem, order, rounds
        self.block, self.margin = block, margin
        self._start = VaryingLmmse(modem, examples, rounds=1, levels=_LEVELS)
        self.model: Model = _innovation_model(examples, order, block)
        self._fallback = Fallback(modem, examples)
        self._misfit = Misfit(self._fallback, examples)
        lags = modem_autocorrelation(modem, order + 1)
        apart = torch.arange(order + 1)[:, None] - torch.arange(order + 1)
        both = torch.cat((lags, lags[1:].flip(0).conj()))
        # Rows and columns are lags of one signal, so that the entry (k, l) is E conj(x[t - k]) x[t - l].
        self._correlation = both[apart % len(both)] / lags[0].real
        self._field = lru_cache(maxsize=8)(self._make_field)

    def _make_field(self, length: int, begins: bool, ends: bool) -> SymbolField:
        return SymbolField(self.modem, length, begins=begins, ends=ends, lengthened=self.order)

    def separate(self, mixture: Tensor) -> Separated:
        """Posterior mean of the SOI complex64 [B, T], and its bits uint8 [B, N]."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            field = self._field(windows.shape[1], begins, ends)
            return in_parallel(partial(self._honest, field), windows, max(1, _BATCH_SAMPLES // windows.shape[1]))

        soi = overlapped_ends(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _honest(self, field: SymbolField, windows: Tensor) -> Tensor:
        soi = self._estimate(field, windows)
        return self._fallback.honest(windows, soi, self._misfit(windows, soi, self._evidence, self._steady_evidence))

    def _evidence(self, interference: Tensor) -> Tensor:
        """Returns the log-likelihood of interference complex64 [B, T]: float64 [B]."""
        waveform = interference.to(torch.complex128)
        known = torch.zeros(waveform.shape, dtype=torch.float64)
        power = waveform.abs().square().mean(1)
        fit = Fit(waveform, known, torch.ones_like(known))
        taps, _ = reweighted(fit, self.order, self._correlation, _FAINT * power + _FLOOR)
        innovations = filtered(waveform, taps)[:, self.order :].to(torch.complex64)
        nothing = torch.zeros(innovations.shape)
        gain = innovations.abs().square().mean(1) / self.model.power
        seen = Seen(innovations.real, innovations.imag, nothing, nothing)
        return changing_evidence(seen, self.model.states, gain, without_line(innovations))

    def _estimate(self, field: SymbolField, windows: Tensor) -> Tensor:
        found = self._start.detect(field, windows)
        if windows.shape[1] <= 2 * self.order:
            return field.waveform(field.tilted(found.evidence).mean)
        mixture = windows.to(torch.complex128)
        fit = _rest(field, mixture, found, torch.zeros(windows.shape, dtype=torch.float64))
        gain = fit.residual.abs().square().mean(1)
        taps, weight = reweighted(fit, self.order, self._correlation, _FAINT * gain + fit.variance.mean(1) + _FLOOR)
        scale = gain.float().clamp_min(_FLOOR)
        for index in range(self.rounds):
            if index > 0:
                taps = whitening(fit, self.order, self._correlation)
            behind = field.filtered(taps)
            seen = _innovations(behind, filtered(mixture, taps), found, weight)
            weight, scale = self._weights(seen, scale)
            found = detected(behind, _information(filtered(mixture, taps), weight), found.sites, _UPDATES)
            fit = _rest(field, mixture, found, weight)
        return field.waveform(field.tilted(found.evidence).mean)

    def _weights(self, seen: Seen, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Expected inverse variances of the innovations float64 [B, T], and their new gain [B]."""
        line = without_line(torch.zeros_like(seen.along))
        spread = spread_of(self.model.states, gain, line)
        weights = posterior(seen, self.model.states, spread).posterior
        gain = gain * gain_step(seen, spread, weights)
        spread = spread_of(self.model.states, gain, line)
        weight = (weights / (spread.along + _LEAST_VARIANCE)).sum(2).double()
        weight[:, : self.order] = 0  # The filter would reach samples before the window.
        return weight, gain

    def _steady_evidence(self, interference: Tensor) -> Tensor:
        """Returns the log-likelihood of interference complex64 [B, T] if its innovations are Gaussian: float64 [B]."""
        waveform = interference.to(torch.complex128)
        fit = Fit(waveform, torch.zeros(waveform.shape, dtype=torch.float64), torch.ones(waveform.shape).double())
        for _ in range(_STEADY_FITS):
            innovations = filtered(waveform, whitening(fit, self.order, self._correlation))
            power = avg_pool1d(innovations.abs().square()[:, None], _STEADY, 1, _STEADY // 2)[:, 0]
            fit = fit._replace(weight=1 / (power + _FLOOR))
        return gaussian_evidence(innovations[:, self.order :])


def _innovation_model(examples: Tensor, order: int, block: int) -> Model:
    """States of the innovations of frames, each whitened by its own filter."""
    frames = pieces_of(examples)
    length = min(block, frames.shape[1])
    frames = frames[:, : frames.shape[1] // length * length].reshape(-1, length).to(torch.complex128)
    frames = frames[frames.abs().square().mean(1) > _FAINT]
    nothing = torch.zeros(frames.shape, dtype=torch.float64)
    fit = Fit(frames, nothing, torch.ones_like(nothing))
    least = _FAINT * frames.abs().square().mean(1)
    taps, _ = reweighted(fit, order, torch.eye(order + 1, dtype=torch.complex128), least)
    innovations = filtered(frames, taps)
    innovations[:, :order] = 0
    return learn_without_line(innovations.to(torch.complex64), _LEVELS, _FLOOR)


def _rest(field: SymbolField, mixture: Tensor, found: Detected, weight: Tensor) -> Fit:
    """The interference that is left when the SOI is taken out of mixtures complex128 [B, T]."""
    soi = field.sample_moments(found.posterior)
    variance = soi.covariance.diagonal(dim1=2, dim2=3).sum(2)
    return Fit(mixture - torch.view_as_complex(soi.mean.contiguous()), variance, weight)


def _innovations(behind: SymbolField, whitened: Tensor, found: Detected, weight: Tensor) -> Seen:
    """Innovations, as all samples but one tell the SOI at that one.

    Args:
        behind: the symbols behind the filter.
        whitened: mixtures behind the filter, complex128 [B, T].
        found: the symbols so far.
        weight: inverse variances so far, float64 [B, T].
    """
    samples = _information(whitened, weight)
    others = cavity(behind.sample_moments(behind.solve(samples, found.sites)), samples)
    rest = (whitened - torch.view_as_complex(others.mean.contiguous())).to(torch.complex64)
    variance = others.covariance.diagonal(dim1=2, dim2=3).mean(2).float()
    return Seen(rest.real, rest.imag, variance, variance)


def _information(whitened: Tensor, weight: Tensor) -> Information:
    """Information on the SOI behind the filter, from mixtures behind it complex128 [B, T]."""
    precision = weight[..., None, None] * torch.eye(2, dtype=torch.float64)
    return Information(precision, weight[..., None] * torch.view_as_real(whitened))
