"""Finds the synchronisation signals of an LTE cell beneath a SOI, and tells whether a known symbol is there at all.

The evidence for a symbol is the share r of the window's energy, in its band and at its time, that it explains at the
best of a few delays. White Gaussian noise of n dimensions exceeds r with probability (1 - r)^(n - 1), whose negative
logarithm is the symbol's score. A long gap between pilots can fill a window. There the primary signal shows timing and
carrier offset, and the secondary one the cell and the half frame.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.lte.cell_symbols import Pilots
from rfsep.separators.lte.known_symbols import KnownSymbol, make_body, waveforms
from rfsep.separators.lte.resource_blocks import FFT_SIZE, PREFIX, SYMBOL
from rfsep.signals.lte.synchronisation import (
    HALF_FRAME,
    NUM_CARRIERS,
    NUM_IDENTITIES,
    primary_values,
    secondary_values,
    synchronisation_carriers,
)

# Physics: negative logarithms of the probability of a false alarm. A symbol expected at its place is one hypothesis at
# a few delays; the primary signal is the best of some ten thousand, and the secondary one of a thousand.
LEAST_EXPECTED, _LEAST_PRIMARY, _LEAST_SECONDARY = 8.0, 25.0, 14.0

# Physics: carriers on either side of the middle one that hold the signals.
_HALF_BAND = NUM_CARRIERS // 2 + 1

# Physics: receiver and base station differ by whole carriers and a fraction of one. A body keeps its likeness within a
# tenth of a carrier.
_SHIFTS, _FRACTIONS = (-4, -3, -2, -1, 0, 1, 2, 3, 4), (-0.4, -0.2, 0.0, 0.2, 0.4)
_FINE = (-0.1, -0.05, 0.0, 0.05, 0.1)

# Physics: delays, in samples, at which an expected symbol is looked for; 62 carriers tell 20 samples apart.
_MOST_DELAY = 12

# The least samples of a signal that is searched for.
_LEAST_SEEN = 640

_SILENCE = 1e-12


def _in_band(spectrum: Tensor, shift: int) -> Tensor:
    """Keeps the synchronisation signals' band of a spectrum complex64 [F]."""
    offset = torch.fft.fftfreq(len(spectrum)) * FFT_SIZE - shift
    kept: Tensor = spectrum * (offset.abs() < _HALF_BAND)
    return kept


def _energy_before(window: Tensor) -> Tensor:
    """Returns the energy before each sample of a window complex64 [T], float64 [T + 1]."""
    return torch.nn.functional.pad(squared(window).double().cumsum(0), (1, 0))


def score(window: Tensor, symbol: KnownSymbol, size: int, shift: int) -> float:
    """Returns the evidence for a symbol of one port in the synchronisation signals' band of a window complex64 [T].

    Args:
        window: what other symbols have left.
        symbol: expected there.
        size: of a transform that holds window and symbol.
        shift: whole part of the carrier offset.
    """
    num_samples = len(window)
    spectrum = _in_band(torch.fft.fft(window, size), shift)
    sent = waveforms(symbol, num_samples)[0, 0]
    low, high = max(symbol.start - PREFIX, 0), min(symbol.start + FFT_SIZE, num_samples)
    energy = float(squared(torch.fft.ifft(spectrum)[low:high]).sum()) * float(squared(sent).sum())
    likeness = squared(torch.fft.ifft(torch.fft.fft(sent, size).conj() * spectrum))
    best = max(float(likeness[:_MOST_DELAY].max()), float(likeness[-_MOST_DELAY:].max()))
    return _surprise(torch.tensor(best / max(energy, _SILENCE)), torch.tensor(high - low)).item()


def _surprise(share: Tensor, seen: Tensor) -> Tensor:
    """Returns scores of explained shares of the energy, where some samples of a symbol are seen."""
    dimensions = (2 * _HALF_BAND - 1) * seen / FFT_SIZE
    found: Tensor = -(dimensions - 1).clamp_min(0) * torch.log1p(-share.clamp(max=0.999))
    return found


@cache
def _primary_bodies() -> Tensor:
    """Returns the primary signals' prefixes and bodies at all offsets: complex64 [3, 9, 5, SYMBOL]."""
    since = torch.arange(-PREFIX, FFT_SIZE)
    bodies = torch.stack(
        [
            torch.stack([make_body(synchronisation_carriers() + shift, values) for shift in _SHIFTS])
            for values in primary_values()
        ]
    )
    phase = 2 * torch.pi / FFT_SIZE * torch.tensor(_FRACTIONS)[:, None] * since
    turned: Tensor = bodies[:, :, None, since % FFT_SIZE] * torch.polar(torch.ones_like(phase), phase)
    return turned


class Primary(NamedTuple):
    """A primary signal: its identity, whole and fractional carrier offset, and sample at which its body begins."""

    identity: int
    shift: int
    fraction: float
    start: int

    def symbol(self) -> KnownSymbol:
        """Returns it as a symbol."""
        carriers = synchronisation_carriers() + self.shift
        return KnownSymbol(make_body(carriers, primary_values()[self.identity])[None], self.start, self.fraction)


def find_primary(window: Tensor, size: int) -> Primary | None:
    """Finds the likeliest primary signal in a window complex64 [T], or None."""
    spectrum, num_samples = torch.fft.fft(window, size), len(window)
    lag = torch.arange(_LEAST_SEEN - SYMBOL, num_samples - _LEAST_SEEN + 1)
    low, high = lag.clamp_min(0), (lag + SYMBOL).clamp_max(num_samples)
    bodies = torch.fft.fft(_primary_bodies(), size).conj()  # [3, 9, 5, F]
    best, found = _LEAST_PRIMARY, None
    for row, shift in enumerate(_SHIFTS):
        heard = _in_band(spectrum, shift)
        before = _energy_before(torch.fft.ifft(heard)[:num_samples])
        energy = (before[high] - before[low]) * (high - low)
        likeness = squared(torch.fft.ifft(bodies[:, row] * heard))[..., lag % size]  # [3, 5, lags]
        scores = _surprise(likeness / (energy * NUM_CARRIERS / FFT_SIZE).clamp_min(_SILENCE), high - low)
        if float(scores.max()) > best:
            best = float(scores.max())
            identity, place, at = (int(one) for one in torch.unravel_index(scores.argmax(), scores.shape))
            found = Primary(identity, shift, _FRACTIONS[place], int(lag[at]) + PREFIX)
    if found is None:
        return None
    tried = [found._replace(fraction=found.fraction + fine) for fine in _FINE]
    return max(tried, key=lambda one: score(window, one.symbol(), size, one.shift))


def find_cell(window: Tensor, primary: Primary) -> Pilots | None:
    """Finds the cell whose secondary signal comes before its primary one, with frequency division duplex, or None.

    Returns:
        The pilots two symbols before the primary signal, whether or not the window complex64 [T] holds them.
    """
    identity, shift, fraction, _ = primary
    begin, num_samples = primary.start - SYMBOL, len(window)
    low, high = max(begin, 0), min(begin + FFT_SIZE, num_samples)
    if high - low < _LEAST_SEEN:
        return None
    time = torch.arange(low, high)
    turned = window[low:high] * torch.polar(torch.ones(()), -2 * torch.pi / FFT_SIZE * fraction * (time - begin))
    body = torch.nn.functional.pad(turned, (low - begin, begin + FFT_SIZE - high))
    heard = torch.fft.fft(body, norm="ortho")[(synchronisation_carriers() + shift) % FFT_SIZE]
    delay = torch.arange(-_MOST_DELAY, _MOST_DELAY + 1, 4)
    phase = 2 * torch.pi / FFT_SIZE * synchronisation_carriers()[:, None] * delay
    values = secondary_values()[identity::NUM_IDENTITIES]  # [168, 2, 62]
    likeness = squared((values * heard) @ torch.polar(torch.ones_like(phase), phase))  # [168, 2, delays]
    share = likeness / (squared(heard).sum() * NUM_CARRIERS).clamp_min(_SILENCE)
    scores = _surprise(share, torch.tensor(high - low))
    if scores.max() < _LEAST_SECONDARY:
        return None
    group, half, _ = (int(one) for one in torch.unravel_index(scores.argmax(), scores.shape))
    cell, slot = NUM_IDENTITIES * group + identity, HALF_FRAME * half
    return Pilots(cell, slot, 1, shift, fraction, begin - SYMBOL, 100, float(scores.max()))
