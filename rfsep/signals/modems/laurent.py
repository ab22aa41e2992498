"""Continuous-phase modulation of index 1/2 as a sum of linear ones (Laurent, IEEE Trans. Commun. 34, 1986)."""

import math

import torch
from torch import Tensor


def phase_pulse(times: Tensor, bandwidth_time: float | None, length: int) -> Tensor:
    """Returns the phase pulse q(t), from 0 to 1/2, of a Gaussian-filtered rectangle cut to ``length`` symbols.

    Args:
        times: float64, in symbols; the frequency pulse lies between 0 and ``length``.
        bandwidth_time: 3-dB bandwidth of the Gaussian filter times the symbol period (3GPP TS 45.004, 2.5); None: no
            filter, the rectangle of minimum-shift keying.
        length: symbols.
    """
    if bandwidth_time is None:
        return times.clamp(0, 1) / 2
    spread = math.sqrt(math.log(2)) / (2 * math.pi * bandwidth_time)  # standard deviation in symbols

    def integral(place: Tensor) -> Tensor:
        """Integral of the normal distribution function with that deviation."""
        scaled = place / spread
        density = torch.exp(-scaled.square() / 2) / math.sqrt(2 * math.pi)
        below: Tensor = torch.special.ndtr(scaled)
        return spread * (scaled * below + density)

    def grown(place: Tensor) -> Tensor:
        return integral(place + 0.5) - integral(place - 0.5)

    middle = (times - length / 2).clamp(-length / 2, length / 2)
    ends = grown(torch.tensor([-length / 2, length / 2], dtype=torch.float64))
    return (grown(middle) - ends[0]) / (ends[1] - ends[0]) / 2


def laurent_pulses(bandwidth_time: float | None, length: int, samples_per_symbol: int) -> Tensor:
    """Returns Laurent's pulses C_K, K = 0 ... 2^(length - 1) - 1: float64 [2^(length - 1), taps].

    Equations 10 to 13 of the paper, for modulation index 1/2, sampled from 0 to ``length`` + 1 symbols, ends included.
    """
    samples = torch.arange(2 * length * samples_per_symbol + 1, dtype=torch.float64)
    times = samples / samples_per_symbol
    rising = torch.sin(math.pi * phase_pulse(times, bandwidth_time, length))
    falling = torch.sin(math.pi / 2 - math.pi * phase_pulse(times - length, bandwidth_time, length))
    whole = torch.where(times <= length, rising, falling)  # S_0, with sin(pi h) = 1
    taps = (length + 1) * samples_per_symbol + 1

    def later(symbols: int) -> Tensor:
        """S_n(t) = S_0(t + n T)."""
        part = whole[symbols * samples_per_symbol :][:taps]
        return torch.nn.functional.pad(part, (0, taps - len(part)))

    pulses = []
    for number in range(2 ** (length - 1)):
        pulse = later(0)
        for place in range(1, length):
            pulse = pulse * later(place + length * (number >> (place - 1) & 1))
        pulses.append(pulse)
    return torch.stack(pulses)


def turned_back(number: int, length: int) -> list[int]:
    """Returns the places i of the symbols alpha_(n - i) whose turn pulse C_K lacks: the ones in K's binary digits."""
    return [place for place in range(1, length) if number >> (place - 1) & 1]
