"""Where the OFDM symbols of a 5G NR uplink lie in windows, from their cyclic prefixes beside the SOI's band."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from rfsep.iq import power, squared
from rfsep.signals.nr import FFT_SIZE, NUM_SUBCARRIERS

PREFIX, LONG_PREFIX = 72, 88  # samples; the long one is that of a slot's first symbol
SYMBOL = FFT_SIZE + PREFIX
LEAST_LEVEL = 0.1  # of the interference, of the SOI's power

_PASS, _STOP, _EDGE = 0.09, 0.05, 0.33  # cycles a sample, of the filter that leaves out the SOI and what lies beyond
_SMOOTHED = 5  # samples
_FLOOR = 0.02  # of the mean power, that two samples of a prefix differ by at least
_UNLIKE = 1.0  # nats that each sample must gain; without, a long prefix wins by what lies beside a short one
_UNLIKELY = 4.0  # nats that a long prefix must gain besides: one of fourteen is long
_LATE = 0.002  # nats a sample, so that of equal timings the earliest wins


class Symbol(NamedTuple):
    """An OFDM symbol: first sample behind its prefix, and samples of the prefix."""

    body: int
    prefix: int


@lru_cache(maxsize=4)
def _filter(size: int) -> Tensor:
    """Gain float64 [size] over frequency, raised cosine between its bands."""
    frequency = torch.fft.fftfreq(size, dtype=torch.float64).abs()
    rise = ((frequency - _STOP) / (_PASS - _STOP)).clamp(0, 1)
    gain: Tensor = (1 - torch.cos(torch.pi * rise)) / 2 * (frequency < _EDGE)
    return gain


def _likeness(windows: Tensor) -> Tensor:
    """Log-ratio float64 [B, T - FFT_SIZE] of power to difference of samples that lie an FFT apart."""
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
    """Bodies' first samples and prefixes, int64 [hypotheses, symbols]: any start, at most one of the prefixes long."""
    count = length // SYMBOL + 3
    first = torch.arange(SYMBOL)[:, None, None] - SYMBOL
    number, long = torch.arange(count), torch.arange(count + 1)[:, None]  # long == count: none is
    bodies = first + SYMBOL * number + (LONG_PREFIX - PREFIX) * (number >= long)
    prefixes = torch.where(number == long, LONG_PREFIX, PREFIX).expand_as(bodies)
    return bodies.flatten(0, 1), prefixes.flatten(0, 1)


def find_symbols(windows: Tensor) -> list[list[Symbol]]:
    """Symbols that reach into windows complex128 [B, T] in which the SOI has been weakened."""
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
    """Symbols of a window of ``length`` samples, and what they may be as well.

    A last symbol that the window cuts off does not show whether its prefix is long: what is repeated lies outside.
    """
    last = symbols[-1]
    if last.body + FFT_SIZE <= length:
        return [symbols]
    prefix = PREFIX + LONG_PREFIX - last.prefix
    return [symbols, [*symbols[:-1], Symbol(last.body + prefix - last.prefix, prefix)]]


def interference_density(windows: Tensor, soi_power: float) -> Tensor:
    """Power float64 [B] of the interference in its band, as if it filled all frequencies."""
    level = (power(windows).double() - soi_power).clamp_min(LEAST_LEVEL)
    return level * FFT_SIZE / NUM_SUBCARRIERS
