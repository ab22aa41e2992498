"""Gaussian noise in random bands, and OFDM of random numerology."""

import math

import torch
from torch import Tensor

from rfsep.signals.bursts import Range, check_range, uniform
from rfsep.signals.many_kinds.draws import frequencies, log_uniform
from rfsep.types import Sampled, synthetic

_LOBES = 3
_FFT_SIZES = (64, 128, 256, 512)
_PREFIXES = (4, 8, 14, 16)  # FFT sizes per cyclic prefix


class NoiseBands:
    """Circular Gaussian noise of unit power whose spectrum is a sum of three Gaussian lobes, new in every window.

    Args:
        width: (low, high) standard deviation of a lobe in cycles per sample, log-uniform.
        centre: (low, high) of its centre in cycles per sample.
        weight_db: (low, high) of its power.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    def __init__(
        self, width: Range = (0.002, 0.3), centre: Range = (-0.3, 0.3), weight_db: Range = (-30.0, 0.0)
    ) -> None:
        self.width = check_range("width", width, 1e-4, 1.0)
        self.centre = check_range("centre", centre, -0.5, 0.5)
        self.weight_db = check_range("weight_db", weight_db, -200.0)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        shape = (batch_size, _LOBES, 1)
        width, centre = log_uniform(self.width, shape, generator), uniform(self.centre, shape, generator)
        power = 10 ** (uniform(self.weight_db, shape, generator) / 10) / width
        away = (frequencies(num_samples) - centre + 0.5) % 1.0 - 0.5  # [B, 3, T]
        density = (power * torch.exp(-(away / width).square() / 2)).sum(1)  # [B, T]
        density = density / density.mean(1, keepdim=True)
        white = torch.randn((batch_size, num_samples), dtype=torch.complex64, generator=generator)
        return synthetic(torch.fft.ifft(white * density.sqrt().float(), norm="ortho"))


class RandomOfdm:
    """QPSK-OFDM of random FFT size, prefix, occupied share and timing, of unit power.

    Args:
        occupied: (low, high) share of the FFT's carriers that send.

    Raises:
        InputError: the range is empty or out of bounds.
    """

    def __init__(self, occupied: Range = (0.15, 0.95)) -> None:
        self.occupied = check_range("occupied", occupied, 1e-2, 1.0)

    def _row(self, num_samples: int, size: int, prefix: int, share: float, generator: torch.Generator) -> Tensor:
        """Returns complex64 [T] of symbols of ``size`` samples and a prefix of ``prefix`` samples."""
        num_symbols = num_samples // (size + prefix) + 2
        carriers = max(2, round(share * size)) // 2
        quarter = torch.randint(0, 4, (num_symbols, 2 * carriers), generator=generator).float()
        sent = torch.zeros((num_symbols, size), dtype=torch.complex64)
        sent[:, -carriers:] = torch.polar(torch.ones(()), math.pi / 2 * quarter[:, :carriers])
        sent[:, :carriers] = torch.polar(torch.ones(()), math.pi / 2 * quarter[:, carriers:])
        symbols = torch.fft.ifft(sent, norm="ortho") * math.sqrt(size / (2 * carriers))
        start = int(torch.randint(0, size + prefix, (), generator=generator))
        return torch.cat((symbols[:, size - prefix :], symbols), 1).flatten()[start : start + num_samples]

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        sizes = torch.randint(0, len(_FFT_SIZES), (batch_size,), generator=generator).tolist()
        prefixes = torch.randint(0, len(_PREFIXES), (batch_size,), generator=generator).tolist()
        shares = uniform(self.occupied, (batch_size,), generator).tolist()
        rows = [
            self._row(num_samples, _FFT_SIZES[size], _FFT_SIZES[size] // _PREFIXES[prefix], share, generator)
            for size, prefix, share in zip(sizes, prefixes, shares, strict=True)
        ]
        return synthetic(torch.stack(rows))
