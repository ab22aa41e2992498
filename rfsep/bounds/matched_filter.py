"""The bound of the SOI's own receiver, on a mixture without its interference."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rfsep.signals.constellations import posterior_mean
from rfsep.signals.statistics import modem_waveforms, solve_positive
from rfsep.types import MixtureBatch, Modem, Separated, SignalSource

_CONTEXT = 8  # symbol periods on each side of a window whose pulses reach into it
_RIDGE = 1e-10  # A symbol is lost if its pulse has less energy inside the window.
_LEAST_NOISE = 1e-9  # power assumed without noise, so that posteriors stay defined


class _Pulses(NamedTuple):
    """All symbols that reach into a window.

    Attributes:
        response: complex128 [T, S], waveform of each symbol.
        inverse: complex128 [S, T], which finds the symbols of a clean SOI.
        energy: float64 [S], energy of each waveform in the window.
    """

    response: Tensor
    inverse: Tensor
    energy: Tensor


class MatchedFilterBound:
    """The matched filter on SOI and noise alone, the interference-free limit.

    Symbols are estimated from ``mixture - interference`` and modulated again at their posterior mean. If symbols start
    at sample 0, that is the matched filter itself. At any other offset the window cuts pulses at its ends and holds
    tails of symbols outside, which disturb each other. Every symbol is then estimated with all others known: the
    textbooks' matched-filter bound.

    Args:
        modem: the SOI's modem; its symbols are points of the constellation, equally likely.
        source: the interference's source; not used.
        noise_power: of the white noise in the mixtures.
    """

    def __init__(self, modem: Modem, source: SignalSource, noise_power: float) -> None:
        self.modem = modem
        self.noise_power = max(noise_power, _LEAST_NOISE)
        self._pulses = cache(self._make_pulses)
        # The response of one output to single samples gives the noise power after the matched filter.
        period = modem.symbol_period
        outputs = modem.analyse(torch.eye((2 * _CONTEXT + 1) * period, dtype=torch.complex64))  # [samples, S]
        self._filter_gain = float(outputs[:, outputs.shape[1] // 2].abs().square().sum())

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Returns the estimate complex64 [B, T] and bits uint8 [B, N] of symbols with their centre in the window."""
        clean = batch.mixture - batch.interference
        if not (batch.soi_offset > 0).any():
            symbols = self.modem.analyse(clean)
            mean = posterior_mean(symbols, self.modem.constellation, self.noise_power * self._filter_gain)
            return Separated(self.modem.synthesise(mean, clean.shape[1]), self._bits(clean, 0))
        soi = torch.empty_like(clean)
        bits = torch.zeros((len(clean), self.modem.num_bits(clean.shape[1])), dtype=torch.uint8)
        for offset in set(batch.soi_offset.tolist()):
            rows = batch.soi_offset == offset
            soi[rows] = self._alone(batch.soi[rows], clean[rows] - batch.soi[rows], offset)
            bits[rows] = self._bits(soi[rows], offset)
        return Separated(soi, bits)

    def _alone(self, soi: Tensor, noise: Tensor, offset: int) -> Tensor:
        """Estimates windows complex64 [B, T] that start ``offset`` samples into a symbol, each symbol alone."""
        pulses = self._pulses(soi.shape[1], offset)
        sent = soi.to(torch.complex128) @ pulses.inverse.T  # [B, S]
        disturbed = sent + noise.to(torch.complex128) @ pulses.response.conj() / pulses.energy  # [B, S]
        points = self.modem.constellation.to(torch.complex128)
        mean = posterior_mean(disturbed, points, self.noise_power / pulses.energy)
        return (mean @ pulses.response.T).to(torch.complex64)

    def _make_pulses(self, num_samples: int, offset: int) -> _Pulses:
        waveforms = modem_waveforms(self.modem, num_samples + offset, _CONTEXT)[:, offset:]  # [S, T]
        response = waveforms.T.to(torch.complex128)
        gram = response.mH @ response
        inverse = solve_positive(gram + _RIDGE * torch.eye(len(gram)), response.mH)
        return _Pulses(response, inverse, gram.diagonal().real.clamp_min(_RIDGE))

    def _bits(self, waveform: Tensor, offset: int) -> Tensor:
        """Returns bits uint8 [B, N] of symbols with their centre in windows that start ``offset`` into a symbol."""
        width, period = self.modem.num_bits(waveform.shape[1]), self.modem.symbol_period
        decided = self.modem.decide(pad(waveform, (offset, 0)))
        per_period = self.modem.num_bits(period)
        found = decided[:, per_period * (offset > period // 2) :][:, :width]
        return pad(found, (0, width - found.shape[1]))
