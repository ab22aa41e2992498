"""Finds the OFDM symbols of a 5G NR uplink in windows, by their cyclic prefixes beside the SOI's band."""

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

# Tuned; split not recorded. Each sample of a prefix must gain _UNLIKE nats, or else a long prefix would win by its
# additional samples. A long prefix must gain _UNLIKELY nats besides, because one symbol in fourteen has it. A timing
# loses _LATE nats per sample, so that the earliest of equal timings wins.
_UNLIKE = 1.0
_UNLIKELY = 4.0
_LATE = 0.002


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


def _likeness(windows: Tensor) -> Tensor:
    """Returns the log ratio of power to difference, of samples an FFT apart: float64 [B, T - FFT_SIZE]."""
    length = windows.shape[1]
    size = 2 * length
    high = torch.fft.ifft(torch.fft.fft(windows, size) * _filter(size))[:, :length]
    first, second = high[:, :-FFT_SIZE], high[:, FFT_SIZE:]
    both = torch.stack((squared(first) + squared(second), squared(first - second)), 1) / 2  # [B, 2, T - FFT_SIZE]
    kernel = torch.full((1, 1, _SMOOTHED), 1 / _SMOOTHED, dtype=torch.float64)
    both = conv1d(both.flatten(0, 1)[:, None], kernel, padding=_SMOOTHED // 2).view(both.shape)
    floor = _FLOOR * both[:, :1].mean(2, keepdim=True) + 1e-12
    power_, difference = (both + floor).unbind(1)
    return (power_ / difference).log()


def _hypotheses(length: int) -> tuple[Tensor, Tensor]:
    """Lists first samples of bodies and prefixes, int64 [hypotheses, symbols]; at most one prefix is long."""
    count = length // SYMBOL + 3
    first = torch.arange(SYMBOL)[:, None, None] - SYMBOL
    number, long = torch.arange(count), torch.arange(count + 1)[:, None]  # long == count stands for no long prefix.
    bodies = first + SYMBOL * number + (LONG_PREFIX - PREFIX) * (number >= long)
    prefixes = torch.where(number == long, LONG_PREFIX, PREFIX).expand_as(bodies)
    return bodies.flatten(0, 1), prefixes.flatten(0, 1)


def find_symbols(windows: Tensor) -> list[list[Symbol]]:
    """Finds the symbols that reach into windows complex128 [B, T] whose SOI has been weakened."""
    length = windows.shape[1]
    total = pad((_likeness(windows) - _UNLIKE).cumsum(1), (1, 0))  # [B, T - FFT_SIZE + 1]
    bodies, prefixes = _hypotheses(length)
    last = total.shape[1] - 1
    score = total[:, bodies.clamp(0, last)] - total[:, (bodies - prefixes).clamp(0, last)]  # [B, hypotheses, symbols]
    unlikely = (prefixes > PREFIX).any(1) * _UNLIKELY + bodies[:, 0] * _LATE
    best = (score.sum(2) - unlikely).argmax(1)
    return [
        [
            Symbol(body, prefix)
            for body, prefix in zip(bodies[row].tolist(), prefixes[row].tolist(), strict=True)
            if -FFT_SIZE < body < length + prefix
        ]
        for row in best.tolist()
    ]


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
