"""Detection in pulses, bursts and keyed carriers: a covariance for every sample, estimated with the symbols."""

from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.varying.learning import LEVELS, Model, learn, line_evidence, turned
from rfsep.separators.varying.line import Line, track
from rfsep.separators.varying.misfit import Misfit, changing_evidence
from rfsep.separators.varying.states import Seen, Spread, gain_step, posterior, spread_of
from rfsep.separators.varying.symbols import Detected, Information, Moments, SymbolField, cavity, detected
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated

_BATCH_SAMPLES = 20 * 2560
_LEAST_GAIN = 1e-2  # power of the interference, at least
_LEAST_VARIANCE = 1e-6
_COHERENT = 4.0  # tuned on val of adsb: 1 and 4 times the SOI's coherence lower the error rate steadily
_LAGS = 256
_INNER, _LAST = 1, 3  # updates of the symbols' sites per round after the first, and in the last one


class Belief(NamedTuple):
    """What is believed of the interference in windows.

    Attributes:
        line: its line, in the frame that turns with the common offset.
        weights: posterior probabilities of its states, [B, T, M].
        gain: its power, [B].
    """

    line: Line
    weights: Tensor
    gain: Tensor


class Residual(NamedTuple):
    """Mixtures minus the SOI as the other samples tell it: complex64 [B, T], and variance per part float32 [B, T]."""

    waveform: Tensor
    variance: Tensor


class VaryingLmmse:
    """LMMSE and expectation propagation with a covariance for every sample, on a line where the interference has one.

    The interference of each sample is Gaussian given a hidden state (`rfsep.separators.varying.states`) and the angle
    of a line (`rfsep.separators.varying.line`); both are learned from examples. In turn, the states and the line are
    estimated from the mixture less the SOI, and the SOI's symbols from the samples weighted by the states' inverse
    variances: structured variational inference (Ghahramani & Jordan, Machine Learning 29, 1997), except that each
    sample is judged by the SOI that the others tell. The symbols' discrete prior enters by expectation propagation, as
    in `rfsep.separators.inference.expectation_propagation`. Windows whose bits contradict sure linear ones
    (`rfsep.separators.inference.evidence.Fallback`), or that Gaussian interference explains better
    (`rfsep.separators.varying.misfit`), are left to linear estimators.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T].
        rounds: estimates of states and line.
        levels: see `rfsep.separators.varying.learning.learn`.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.

    Raises:
        InputError: the examples do not suit, see `rfsep.separators.varying.learning.learn`.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        rounds: int = 3,
        levels: int = LEVELS,
        block: int = 2560,
        margin: int = 160,
    ) -> None:
        self.modem = modem
        self.rounds = rounds
        self.block = block
        self.margin = margin
        self.model: Model = learn(examples, levels)
        self._fallback = Fallback(modem, examples)
        self._misfit = Misfit(self._fallback, examples)
        lags = modem_autocorrelation(modem, _LAGS)
        self._soi_power = float(lags[0].real)
        alike = (lags / self._soi_power).abs().square()  # their sum is the SOI's coherence in samples
        self._coherence = _COHERENT * float(2 * alike.sum() - 1)
        self._field = lru_cache(maxsize=8)(self._make_field)

    def _make_field(self, length: int, begins: bool, ends: bool) -> SymbolField:
        return SymbolField(self.modem, length, begins=begins, ends=ends)

    def separate(self, mixture: Tensor) -> Separated:
        """Posterior mean of the SOI complex64 [B, T], and its bits uint8 [B, N]."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            field = self._field(windows.shape[1], begins, ends)
            return in_parallel(partial(self._estimate, field), windows, max(1, _BATCH_SAMPLES // windows.shape[1]))

        soi = overlapped_ends(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    @property
    def _offset(self) -> float:
        return 0.0 if self.model.turning is None else self.model.turning.offset

    def _estimate(self, field: SymbolField, windows: Tensor) -> Tensor:
        soi = field.waveform(field.tilted(self.detect(field, windows).evidence).mean)
        return self._fallback.honest(windows, soi, self._misfit(windows, soi, self._evidence))

    def _evidence(self, interference: Tensor) -> Tensor:
        """Returns the log-likelihood of interference complex64 [B, T]: float64 [B]."""
        known = torch.zeros(interference.shape)
        residual = Residual(turned(interference, self._offset), known)
        belief = self._first_belief(residual, interference.abs().square().mean(1) / self.model.power)
        for _ in range(self.rounds):
            belief = self._updated(residual, belief)
        along = residual.waveform * torch.polar(torch.ones_like(belief.line.angle), -belief.line.angle)
        seen = Seen(along.real, along.imag, known, known)
        return changing_evidence(seen, self.model.states, belief.gain, belief.line)

    def detect(self, field: SymbolField, windows: Tensor) -> Detected:
        """Detects the symbols in windows complex64 [B, T]."""
        sites = field.prior(len(windows))
        power = (windows.abs().square().mean(1) - self._soi_power).clamp_min(_LEAST_GAIN) / self.model.power
        residual = Residual(turned(windows, self._offset), torch.full(windows.shape, self._soi_power / 2))
        belief = self._first_belief(residual, power)
        for index in range(self.rounds):
            belief = self._updated(residual, belief)
            samples = self._information(windows, belief, cautious=index == 0)
            updates = _LAST if index == self.rounds - 1 else min(index, _INNER)
            found = detected(field, samples, sites, updates)
            sites = found.sites
            residual = self._residual(windows, field.sample_moments(found.posterior), samples)
        return found

    def _residual(self, windows: Tensor, soi: Moments, samples: Information) -> Residual:
        others = cavity(soi, samples)
        rest = windows - torch.view_as_complex(others.mean.contiguous())
        variance = others.covariance.diagonal(dim1=2, dim2=3).mean(2)
        return Residual(turned(rest, self._offset).to(torch.complex64), variance.float())

    def _first_belief(self, residual: Residual, gain: Tensor) -> Belief:
        """The states by power alone, before the line is known."""
        nothing = torch.zeros_like(residual.variance)
        line = Line(nothing, nothing, nothing, gain)
        seen = Seen(residual.waveform.real, residual.waveform.imag, residual.variance, residual.variance)
        found = posterior(seen, self.model.states, spread_of(self.model.states, gain, line))
        return Belief(line, found.posterior, gain)

    def _updated(self, residual: Residual, belief: Belief) -> Belief:
        """Updates line, states and gain, in this order."""
        states, line = self.model.states, belief.line
        if self.model.turning is not None:
            # Errors of neighbouring samples are alike, so that they tell less of the angle than independent ones.
            variance = self._coherence * residual.variance
            evidence = line_evidence(residual.waveform, variance, belief.weights, states, belief.gain)
            line = track(evidence, self.model.turning)
        along = residual.waveform * torch.polar(torch.ones_like(line.angle), -line.angle)
        seen = Seen(along.real, along.imag, residual.variance, residual.variance)
        spread = spread_of(states, belief.gain, line)
        weights = posterior(seen, states, spread).posterior
        return Belief(line, weights, belief.gain * gain_step(seen, spread, weights))

    def _information(self, windows: Tensor, belief: Belief, cautious: bool) -> Information:
        """Returns what each sample of mixtures complex64 [B, T] tells of the SOI.

        Precisions are the expected inverse variances. ``cautious``: the inverse of the expected variances, for states
        that are little more than guessed.
        """
        spread = spread_of(self.model.states, belief.gain, belief.line)
        mean, along, across = _expected(spread, belief.weights) if cautious else _weighted(spread, belief.weights)
        time = torch.arange(windows.shape[1], dtype=torch.float64)
        angle = belief.line.angle.double() + self._offset * time
        cos, sin = angle.cos(), angle.sin()
        mixed = (along - across) * cos * sin
        parts = (along * cos * cos + across * sin * sin, mixed, mixed, along * sin * sin + across * cos * cos)
        precision = torch.stack(parts, -1).reshape(*angle.shape, 2, 2)
        rest = torch.view_as_real(windows.to(torch.complex128) - torch.polar(mean, angle))
        return Information(precision, (precision @ rest[..., None])[..., 0])


def _expected(spread: Spread, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean along the line and inverse variances along and across it, [B, T]: those of the mixture of the states."""
    mean = (weights * spread.mean).sum(2).double()
    along = (weights * (spread.along + spread.mean.square())).sum(2).double() - mean.square()
    across = (weights * spread.across).sum(2).double()
    return mean, 1 / (along + _LEAST_VARIANCE), 1 / (across + _LEAST_VARIANCE)


def _weighted(spread: Spread, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean along the line, weighted by precision, and expected inverse variances along and across it, [B, T]."""
    inverse = weights / (spread.along + _LEAST_VARIANCE)
    along = inverse.sum(2).double()
    across = (weights / (spread.across + _LEAST_VARIANCE)).sum(2).double()
    return (inverse * spread.mean).sum(2).double() / along, along, across
