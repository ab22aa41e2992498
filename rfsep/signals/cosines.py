"""Sums of cosines with random amplitudes, the real-valued OFDM of the ICASSP 2023 architecture study."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from rfsep.types import InputError, Sampled, synthetic

Amplitudes = Literal["gaussian", "bpsk", "pam4"]
_POINTS: dict[str, list[float]] = {"gaussian": [], "bpsk": [1.0, -1.0], "pam4": [-3.0, -1.0, 1.0, 3.0]}


class Cosines:
    """One endless OFDM symbol: D cosines in phase at sample 0, periodic because there is no prefix.

    ``x[n] = sqrt(2 / D) * sum_k a_k cos(2 pi k n / period)`` over the D ``bins`` k with independent amplitudes of mean
    0 and power 1 has unit power (arXiv 2303.06438, section 3: 1/sqrt(56) sum_k 2 a_k cos(2 pi k n / 64), k = 1..28).
    As a source it gives synchronised windows, complex64 with a zero imaginary part. No bits are counted, because none
    were published.

    Args:
        amplitudes: ``gaussian`` of unit variance, ``bpsk`` (-1, 1) or ``pam4`` (-3, -1, 1, 3, over sqrt(5)).
        bins: occupied multiples of the base frequency.
        period: samples per period of the base frequency.

    Raises:
        InputError: ``amplitudes`` is another word, or bins are not distinct frequencies between 0 and half a period.
    """

    def __init__(self, amplitudes: Amplitudes, bins: Sequence[int] = range(1, 29), period: int = 64) -> None:
        if amplitudes not in _POINTS:
            raise InputError(f"unknown amplitudes '{amplitudes}'; choose one of {', '.join(get_args(Amplitudes))}")
        if not bins or len(set(bins)) < len(bins) or min(bins) < 1 or max(bins) >= period / 2:
            raise InputError(f"bins {list(bins)}: expected distinct numbers from 1 to {(period - 1) // 2}")
        self.amplitudes = amplitudes
        self.bins = list(bins)
        self.symbol_period = period
        points = torch.tensor(_POINTS[amplitudes], dtype=torch.float64)
        self.constellation = (points / points.square().mean().sqrt()).to(torch.complex64)  # [P], none if Gaussian
        turns = torch.outer(torch.tensor(self.bins), torch.arange(period)) % period  # [D, period], exact in integers
        waves = torch.cos(2 * math.pi / period * turns.double())
        self._waves = (math.sqrt(2 / len(self.bins)) * waves).float()  # [D, period]

    def num_bits(self, num_samples: int) -> int:
        """Returns 0 bits for every window."""
        return 0

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns no symbols complex64 [B, 0], because there are no bits to send."""
        return torch.zeros((len(bits), 0), dtype=torch.complex64)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns an empty waveform complex64 [B, 0], because there are no bits to send."""
        return torch.zeros((len(bits), 0), dtype=torch.complex64)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """No soft bits: float32 [B, 0]."""
        return torch.zeros((len(waveform), 0))

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """No hard bits: uint8 [B, 0]."""
        return torch.zeros((len(waveform), 0), dtype=torch.uint8)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of amplitudes [B, D]; only their real part counts."""
        period = symbols.real.float() @ self._waves  # [B, period]
        waveform = period.repeat(1, -(-num_samples // self.symbol_period))[:, :num_samples]
        return torch.complex(waveform, torch.zeros_like(waveform))  # [B, T]

    def analyse(self, waveform: Tensor) -> Tensor:
        """Returns amplitudes complex64 [B, D] by DFT bins of a waveform complex64 [B, T], averaged over whole periods.

        Raises:
            InputError: the waveform is shorter than a period.
        """
        count = waveform.shape[1] // self.symbol_period
        if count == 0:
            raise InputError(f"a window of {waveform.shape[1]} samples is shorter than a period, {self.symbol_period}")
        whole = waveform[:, : count * self.symbol_period].real
        blocks = whole.reshape(len(waveform), count, self.symbol_period)  # [B, count, P]
        amplitudes = blocks.mean(1) @ self._waves.T * (len(self.bins) / self.symbol_period)  # [B, D]
        return torch.complex(amplitudes, torch.zeros_like(amplitudes))

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, num_samples] that start at sample 0 of the cosines."""
        shape = (batch_size, len(self.bins))
        if self.amplitudes == "gaussian":
            drawn = torch.randn(shape, generator=generator)
        else:
            points = self.constellation.real
            drawn = points[torch.randint(len(points), shape, generator=generator)]  # [B, D]
        waveform = self.synthesise(drawn, num_samples)
        return synthetic(waveform, offset=torch.zeros(batch_size, dtype=torch.int64))
