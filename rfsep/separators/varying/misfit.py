"""Whether changing interference explains a window better than Gaussian interference of slowly varying power does.

Separators decide the same symbols, and each one's model of the interference judges what its decisions leave of the
mixture. The symbols have the same prior on either side, so that the likelihoods compare as they are. Where interference
changes as the examples do, the changing model gains thousands of nats; where it does not, it loses hundreds.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import solve_toeplitz
from torch import Tensor

from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.varying.line import Line
from rfsep.separators.varying.states import Seen, States, gain_step, posterior, spread_of
from rfsep.signals.constellations import decide
from rfsep.signals.statistics import frames_autocorrelation

_STEADY = 64  # samples over which Gaussian interference has the same power
_LAGS = 32  # of the filter that whitens the examples; fewer where these are short
_RIDGE = 1e-3  # share of white noise in what it whitens
_EDGE = 64  # samples at either end that symbols outside of a window reach
_FEWEST = 8 * _EDGE  # Shorter windows hold too little for a verdict.
_LEAST_POWER = 1e-6
_GAIN_STEPS = 3
# Tuned on val of emi_bursts and wifi20: nats per sample. Sparse innovations gain more than this by their states.
_HARDLY = 0.12


def gaussian_evidence(waveform: Tensor) -> Tensor:
    """Returns the log-likelihood of white Gaussian waveforms complex [B, T] of piecewise steady power: float64 [B].

    Each piece has its likeliest power, whose price is that of one more parameter, log(n) / 2 for n samples (Schwarz,
    Annals of Statistics 6(2), 1978). Samples after the last whole piece do not count.
    """
    pieces = waveform.shape[1] // _STEADY
    power = waveform[:, : pieces * _STEADY].reshape(len(waveform), pieces, _STEADY).abs().square().double().mean(2)
    each = -_STEADY * ((math.pi * power.clamp_min(_LEAST_POWER)).log() + 1)
    return (each - 0.5 * math.log(_STEADY)).sum(1)


def changing_evidence(seen: Seen, states: States, gain: Tensor, line: Line) -> Tensor:
    """Returns the log-likelihood of interference by its hidden states, at its likeliest gain: float64 [B].

    Args:
        seen: the interference, of which samples after the last whole piece of `gaussian_evidence` do not count.
        states: of the interference.
        gain: its power [B], roughly.
        line: its line.
    """
    length = seen.along.shape[1] // _STEADY * _STEADY
    seen = Seen(*(part[:, :length] for part in seen))
    line = Line(line.angle[:, :length], line.once[:, :length], line.twice[:, :length], line.log_likelihood)
    gain = gain.float().clamp_min(_LEAST_POWER)
    best = torch.full((len(gain),), -math.inf, dtype=torch.float64)
    for _ in range(_GAIN_STEPS):
        spread = spread_of(states, gain, line)
        found = posterior(seen, states, spread)
        best = torch.maximum(best, found.log_likelihood.double())
        gain = (gain * gain_step(seen, spread, found.posterior)).clamp_min(_LEAST_POWER)
    return best - length * math.log(2 * math.pi)  # which the evidence of states leaves out


class Misfit:
    """Tells windows in which Gaussian interference explains more than a separator of changing interference does.

    Args:
        fallback: the linear estimators, each of which decides the symbols.
        examples: frames of the interference, complex64 [F, T]; their spectrum is one of those tried, white the other.
    """

    def __init__(self, fallback: Fallback, examples: Tensor) -> None:
        self._fallback = fallback
        lags = frames_autocorrelation(examples, min(_LAGS + 1, examples.numel())).numpy()
        column = lags[:-1] + _RIDGE * lags[0] * (np.arange(len(lags) - 1) == 0)
        self._whitening = torch.from_numpy(np.concatenate(([1.0], -solve_toeplitz(column, lags[1:]))))

    def __call__(
        self,
        windows: Tensor,
        soi: Tensor,
        evidence: Callable[[Tensor], Tensor],
        fitted: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Returns whether Gaussian interference explains a window better, bool [B]; short windows get no verdict.

        A model that fits a spectrum to each window may owe its evidence to that alone. Then it has to gain by its
        states as well, or its decisions have to leave what Gaussian interference of a fitted spectrum explains better.

        Args:
            windows: mixtures complex64 [B, T].
            soi: the separator's estimates complex64 [B, T].
            evidence: log-likelihood float64 [B] of interference complex64 [B, T] by the separator's own model.
            fitted: the same of Gaussian interference with a spectrum that is fitted as the separator's model fits it.
        """
        if windows.shape[1] < _FEWEST:
            return torch.zeros(len(windows), dtype=torch.bool)
        own, others = self._rest(windows, soi), [self._rest(windows, one) for one in self._fallback.estimates(windows)]
        held = evidence(own)
        failed = torch.stack([self._gaussian(other) for other in others]).amax(0) > held
        if fitted is None:
            return failed
        rival = torch.stack([fitted(other) for other in others]).amax(0)
        return failed | ((held < rival + _HARDLY * own.shape[1]) & (fitted(own) < rival))

    def _rest(self, windows: Tensor, soi: Tensor) -> Tensor:
        """Returns what symbols decided from estimates complex64 [B, T] leave of mixtures, without the ends."""
        modem = self._fallback.modem
        symbols = decide(modem.analyse(soi), modem.constellation)
        return (windows - modem.synthesise(symbols, windows.shape[1]))[:, _EDGE:-_EDGE]

    def _gaussian(self, rest: Tensor) -> Tensor:
        """Returns the evidence of the likelier of two spectra for interference complex64 [B, T]: float64 [B]."""
        taps = self._whitening.to(torch.complex128)
        padded = torch.nn.functional.pad(rest.to(torch.complex128), (len(taps) - 1, 0))
        whitened = padded.unfold(1, len(taps), 1) @ taps.flip(0)
        return torch.maximum(gaussian_evidence(rest), gaussian_evidence(whitened))
