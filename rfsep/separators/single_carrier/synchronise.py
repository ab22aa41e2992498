"""Finds carrier and timing of a single carrier of known pulse, beneath a SOI.

The timing comes from the correlation between a signal's spectra one symbol rate apart, weighted as in the likelihood of
a weak cyclostationary signal (Gardner, IEEE Trans. Commun. 36(8), 1988). The carrier is a line in the M-th power of
the symbols after linear equalisation.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.single_carrier.pulses import spectrum

_ZOOM = 4  # finer than a window's resolution


class Locked(NamedTuple):
    """Synchronisation of windows.

    Attributes:
        carrier: float64 [B], cycles per sample.
        delay: float64 [B], symbols.
        phase: float64 [B], radians at sample 0, up to the constellation's symmetry.
        score: float64 [B], strength of the line that the carrier was found by, at most 1.
        symbols: complex128 [B, N], filtered at the instants n T, at this carrier and phase.
    """

    carrier: Tensor
    delay: Tensor
    phase: Tensor
    score: Tensor
    symbols: Tensor


def density(autocorrelation: Tensor, frequency: Tensor) -> Tensor:
    """Returns the power density float64 [F] of an autocorrelation complex128 [lags] at frequencies float64 [F]."""
    lag = torch.arange(1, len(autocorrelation), dtype=torch.float64)
    turns = torch.exp(-2j * math.pi * frequency[:, None] * lag)
    found = autocorrelation[0].real + 2 * (turns @ autocorrelation[1:]).real
    return found.clamp_min(0)


class Lock:
    """Finds carrier and timing in windows of one length.

    Args:
        period: samples per symbol.
        order: M of the power that takes the data away.
        reference: phase of the M-th moment of the constellation.
        num_samples: samples per window.
        soi: autocorrelation of the SOI, complex128 [lags].
    """

    def __init__(self, period: float, order: int, reference: float, num_samples: int, soi: Tensor) -> None:
        self.period, self.order, self.reference = period, order, reference
        self.num_samples = num_samples
        self.frequency = torch.fft.fftfreq(num_samples, dtype=torch.float64)
        self.soi = density(soi, self.frequency)
        self.soi_above = density(soi, self.frequency + 1 / period)
        self.soi_below = density(soi, self.frequency - 1 / period)
        self.number = torch.arange(math.ceil(num_samples / period), dtype=torch.float64)
        self.turns = torch.exp(2j * math.pi * self.period * self.frequency[:, None] * self.number)  # [F, N]

    def __call__(self, mixture: Tensor, pulse: Tensor, noise_power: Tensor, carriers: Tensor) -> Locked:
        """Returns the best of several carriers.

        Args:
            mixture: complex128 [B, T].
            pulse: complex128 [B, M], of the interference at its gain.
            noise_power: float64 [B].
            carriers: candidates, float64 [n].
        """
        best: Locked | None = None
        for carrier in carriers.tolist():
            start = torch.full((len(mixture),), carrier, dtype=torch.float64)
            found = self.at(mixture, pulse, noise_power, start)
            if best is None:
                best = found
                continue
            wins = found.score > best.score
            best = Locked(
                *(
                    torch.where(wins.view(-1, *(1,) * (new.dim() - 1)), new, old)
                    for new, old in zip(found, best, strict=True)
                )
            )
        assert best is not None
        return self.at(mixture, pulse, noise_power, best.carrier)

    def at(self, mixture: Tensor, pulse: Tensor, noise_power: Tensor, carrier: Tensor, exact: bool = False) -> Locked:
        """Locks near carriers float64 [B], or at these very ones."""
        rate = 1 / self.period
        time = torch.arange(self.num_samples, dtype=torch.float64)
        seen = torch.fft.fft(mixture)
        above = torch.fft.fft(mixture * torch.exp(-2j * math.pi * rate * time))  # Y(f + 1 / T)
        place = self.frequency - carrier[:, None]
        wave, wave_above, wave_below = (
            spectrum(pulse, _wrapped(place + shift), self.period) for shift in (0.0, rate, -rate)
        )
        beside, beside_above = self.soi + noise_power[:, None], self.soi_above + noise_power[:, None]
        share, share_above = squared(wave) * rate / beside, squared(wave_above) * rate / beside_above
        share_below = squared(wave_below) * rate / (self.soi_below + noise_power[:, None])
        total = beside * (1 + share) * beside_above * (1 + share_above)
        statistic = (above * seen.conj() * wave_above.conj() * wave / total).sum(1)
        delay = -statistic.angle() / (2 * math.pi)  # symbols
        # The linear equaliser of least squared error at the symbol rate, whose spectra overlap.
        equaliser = wave.conj() / (beside * (1 + share + share_above + share_below))
        filtered = seen * equaliser / self.num_samples
        instants = self.number * self.period  # [N]
        shifted = filtered * torch.exp(2j * math.pi * delay[:, None] * self.period * self.frequency)
        symbols = shifted @ self.turns
        symbols = symbols * torch.exp(-2j * math.pi * carrier[:, None] * (instants + delay[:, None] * self.period))
        return self._line(symbols, carrier, delay, exact)

    def _line(self, symbols: Tensor, carrier: Tensor, delay: Tensor, exact: bool) -> Locked:
        """Finds rest of carrier and phase by the M-th power."""
        order, count = self.order, symbols.shape[1]
        power = symbols**order / symbols.abs().clamp_min(1e-30) ** (order - 1)
        size = 1 << (_ZOOM * count - 1).bit_length()
        line = torch.fft.fft(power, size)
        strength, place = line.abs().max(1)
        turns = refined(line.abs(), place) / size
        turns = (turns - turns.round()) / order * (not exact)  # per symbol
        carrier = carrier + turns / self.period
        power_there = (power * torch.exp(-2j * math.pi * order * turns[:, None] * self.number)).sum(1)
        phase = (power_there.angle() - self.reference) / order - 2 * math.pi * turns * delay
        back = torch.exp(-1j * (2 * math.pi * turns[:, None] * (self.number + delay[:, None]) + phase[:, None]))
        score = strength / symbols.abs().sum(1).clamp_min(1e-30)
        return Locked(carrier, delay, phase, score, symbols * back)


def refined(amplitude: Tensor, place: Tensor) -> Tensor:
    """Returns the place of peaks between cells by a parabola, cyclic: real [B, n], int64 [B] to float64 [B]."""
    cells = (place[:, None] + torch.arange(-1, 2)) % amplitude.shape[1]
    left, middle, right = amplitude.gather(1, cells).double().unbind(1)
    bend = (left - 2 * middle + right).clamp_max(-1e-30)
    return place + (0.5 * (left - right) / bend).clamp(-0.5, 0.5)


def _wrapped(frequency: Tensor) -> Tensor:
    return frequency - frequency.round()
