"""Finds the OFDM symbols of a 5G NR uplink in windows, by their cyclic prefixes beside the SOI's band."""

import cmath
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from rfsep.iq import power, squared
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS

# Physics: prefixes in samples at 30.72 Msps; a slot's first symbol has the long one (TS 38.211 clause 5.3.1).
PREFIX, LONG_PREFIX = 72, 88
SYMBOL = FFT_SIZE + PREFIX

# Tuned; split not recorded. The interference is taken to have at least this share of the SOI's power.
LEAST_LEVEL = 0.1

# Physics: band edges in cycles per sample of the filter for the timing. It stops the QPSK SOI, which ends at
# 0.75 / 16 = 0.047, and everything beyond the uplink, which ends at 306 / 1024 = 0.30.
_PASS, _STOP, _EDGE = 0.09, 0.05, 0.33

# Tuned; split not recorded. Likeness is averaged over this many samples, and two samples of a prefix differ by at least
# this share of the mean power.
_SMOOTHED = 5
_FLOOR = 0.02

# Tuned; split not recorded. Each sample of a prefix must gain UNLIKE nats, or else a long prefix would win by its
# additional samples. A long prefix must gain _UNLIKELY nats besides, because one symbol in fourteen has it. A timing
# loses _LATE nats per sample, so that the earliest of equal timings wins.
UNLIKE = 1.0
_UNLIKELY = 4.0
_LATE = 0.002

# A carrier offset counts if it turns a body by this many standard deviations and by this angle in radians, below which
# it harms little. Samples of a prefix next to the body are left out, for the timing may be early.
_SURE = 4.0
_LEAST_ANGLE = 0.02
_AHEAD = 4

# A rough carrier offset is tried if it gains this many nats.
_TURNED = 10.0


class Symbol(NamedTuple):
    """An OFDM symbol: the first sample after its prefix, and the length of the prefix in samples."""

    body: int
    prefix: int


@lru_cache(maxsize=4)
def _filter(size: int) -> Tensor:
    """Returns the gain over frequency, float64 [size], with a raised cosine between the bands."""
    frequency = torch.fft.fftfreq(size, dtype=torch.float64).abs()
    rise = ((frequency - _STOP) / (_PASS - _STOP)).clamp(0, 1)
    gain: Tensor = (1 - torch.cos(torch.pi * rise)) / 2 * (frequency < _EDGE)
    return gain


class Heard(NamedTuple):
    """Samples of a window beside the SOI's band, and those an FFT later: complex128 [T - FFT_SIZE] each."""

    first: Tensor
    second: Tensor

    def turned(self, carrier: float) -> "Heard":
        """Returns the samples of a window without a carrier offset, in cycles per sample."""
        return self._replace(second=self.second * cmath.exp(-2j * cmath.pi * carrier * FFT_SIZE))

    def coarse_carrier(self) -> float:
        """Returns a rough carrier offset in cycles per sample, modulo a carrier spacing, at no known timing."""
        return float(torch.angle((self.first.conj() * self.second).sum())) / (2 * torch.pi * FFT_SIZE)


def heard_beside(window: Tensor) -> Heard:
    """Returns what is heard of a window complex128 [T] beside the SOI's band."""
    size = 2 * len(window)
    high = torch.fft.ifft(torch.fft.fft(window, size) * _filter(size))[: len(window)]
    return Heard(high[:-FFT_SIZE], high[FFT_SIZE:])


def likeness(heard: Heard) -> Tensor:
    """Returns the log ratio of power to difference, of samples an FFT apart: float64 [T - FFT_SIZE]."""
    first, second = heard
    both = torch.stack((squared(first) + squared(second), squared(first - second))) / 2  # [2, T - FFT_SIZE]
    kernel = torch.full((1, 1, _SMOOTHED), 1 / _SMOOTHED, dtype=torch.float64)
    both = conv1d(both[:, None], kernel, padding=_SMOOTHED // 2)[:, 0]
    floor = _FLOOR * both[0].mean() + 1e-12
    power_, difference = (both + floor).unbind()
    return (power_ / difference).log()


def carrier_offset(heard: Heard, symbols: list[Symbol]) -> float:
    """Returns the carrier offset in cycles per sample that prefixes show, modulo a carrier spacing.

    The first half of a prefix is left out, for echoes of the symbol before reach into it. An offset too small to be
    told from none is 0.
    """
    time = torch.arange(len(heard.first))
    late = torch.zeros(len(time), dtype=torch.bool)
    for symbol in symbols:
        end = symbol.body
        late |= (time >= end - PREFIX // 2) & (time < end - _AHEAD)
    first, second = heard.first[late], heard.second[late]
    product = (first.conj() * second).sum()
    if not bool(late.any()) or float(product.abs()) == 0:
        return 0.0
    angle = float(torch.angle(product))
    unlike = float(squared(second - first * cmath.exp(1j * angle)).sum() / squared(first).sum())
    unsure = (unlike / 2 / int(late.sum())) ** 0.5
    return angle / (2 * torch.pi * FFT_SIZE) if abs(angle) > max(_SURE * unsure, _LEAST_ANGLE) else 0.0


def _hypotheses(length: int) -> tuple[Tensor, Tensor]:
    """Lists first samples of bodies and prefixes, int64 [hypotheses, symbols]; at most one prefix is long."""
    count = length // SYMBOL + 3
    first = torch.arange(SYMBOL)[:, None, None] - SYMBOL
    number, long = torch.arange(count), torch.arange(count + 1)[:, None]  # long == count stands for no long prefix.
    bodies = first + SYMBOL * number + (LONG_PREFIX - PREFIX) * (number >= long)
    prefixes = torch.where(number == long, LONG_PREFIX, PREFIX).expand_as(bodies)
    return bodies.flatten(0, 1), prefixes.flatten(0, 1)


class Acquired(NamedTuple):
    """Symbols of a window, and the carrier offset in cycles per sample."""

    symbols: list[Symbol]
    carrier: float


def acquired(window: Tensor, search: Callable[[Tensor], tuple[list[Symbol], float]]) -> Acquired:
    """Finds symbols and carrier offset of a window complex128 [T] whose SOI has been weakened.

    Args:
        window: samples.
        search: returns symbols and their score, given `likeness` less `UNLIKE`, summed from 0 on.
    """
    heard = heard_beside(window)
    coarse = heard.coarse_carrier()
    symbols, score = search(_summed(heard))
    turned, other = search(_summed(heard.turned(coarse)))
    if other > score + _TURNED:
        symbols = turned
    carrier = carrier_offset(heard, symbols)
    if carrier:
        symbols, _ = search(_summed(heard.turned(carrier)))
    return Acquired(symbols, carrier)


def _summed(heard: Heard) -> Tensor:
    return pad((likeness(heard) - UNLIKE).cumsum(0), (1, 0))  # [T - FFT_SIZE + 1]


def find_symbols(window: Tensor) -> Acquired:
    """Finds the symbols that reach into a window complex128 [T] of few symbols, whose SOI has been weakened."""
    length = len(window)
    bodies, prefixes = _hypotheses(length)
    unlikely = (prefixes > PREFIX).any(1) * _UNLIKELY + bodies[:, 0] * _LATE

    def search(total: Tensor) -> tuple[list[Symbol], float]:
        last = len(total) - 1
        score = total[bodies.clamp(0, last)] - total[(bodies - prefixes).clamp(0, last)]  # [hypotheses, symbols]
        best, row = (score.sum(1) - unlikely).max(0)
        pairs = zip(bodies[row].tolist(), prefixes[row].tolist(), strict=True)
        return [Symbol(*pair) for pair in pairs if -FFT_SIZE < pair[0] < length + pair[1]], float(best)

    return acquired(window, search)


def otherwise(symbols: list[Symbol], length: int) -> list[list[Symbol]]:
    """Lists the possible readings of a window of ``length`` samples, ``symbols`` first.

    A last symbol that the window cuts off does not show whether its prefix is long: the repetition lies outside.
    """
    last = symbols[-1]
    if last.body + FFT_SIZE <= length:
        return [symbols]
    prefix = PREFIX + LONG_PREFIX - last.prefix
    return [symbols, [*symbols[:-1], Symbol(last.body + prefix - last.prefix, prefix)]]


def interference_density(windows: Tensor, soi_power: float) -> Tensor:
    """Returns the interference's power density in its band, float64 [B], as a power over all frequencies."""
    level = (power(windows).double() - soi_power).clamp_min(LEAST_LEVEL)
    return level * FFT_SIZE / NUM_SUBCARRIERS


def turning(carrier: float, num_samples: int) -> Tensor:
    """Returns the rotation complex128 [T] by a carrier in cycles per sample."""
    phase = 2 * torch.pi * carrier * torch.arange(num_samples, dtype=torch.float64)
    return torch.polar(torch.ones_like(phase), phase)
