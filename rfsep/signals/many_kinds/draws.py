"""Random numbers and spectra that the sources of this folder share; every row has its own."""

import math

import torch
from torch import Tensor

from rfsep.signals.bursts import Range, uniform


def log_uniform(values: Range, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws independent float64 values between two positive limits, uniform in their logarithm."""
    return uniform((math.log(values[0]), math.log(values[1])), shape, generator).exp()


def held(symbols: Tensor, samples_per_symbol: Tensor, num_samples: int, start: Tensor) -> Tensor:
    """Holds symbols [B, S] for ``samples_per_symbol`` float64 [B, 1] each: [B, T], from ``start`` symbols [B, 1] on."""
    place: Tensor = (start + torch.arange(num_samples) / samples_per_symbol).long()  # [B, T]
    return symbols.gather(1, place.clamp(max=symbols.shape[1] - 1))


def frequencies(num_samples: int) -> Tensor:
    """Returns the frequencies of a discrete Fourier transform in cycles per sample: float64 [T]."""
    found: Tensor = torch.fft.fftfreq(num_samples, dtype=torch.float64)
    return found


def of_frequency(frequency: Tensor) -> Tensor:
    """Returns waveforms complex64 [B, T] of unit amplitude and of a frequency float64 [B, T] in cycles per sample."""
    turns: Tensor = frequency.cumsum(1).frac().float()  # reduced in float64, because float32 would blur long windows
    return torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
