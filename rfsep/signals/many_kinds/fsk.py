"""Frequency-shift keying of any rate, deviation and smoothing: FSK, GFSK, MSK, 4-FSK."""

import math

import torch

from rfsep.signals.bursts import Range, check_range, uniform
from rfsep.signals.many_kinds.draws import frequencies, held, log_uniform, of_frequency
from rfsep.types import Sampled, synthetic

_EDGE = 1.0  # symbols on each side whose smoothed transitions reach into the window


class RandomFsk:
    """Constant-envelope keying of two or four frequencies, at a random rate and timing, of unit power.

    The frequency is ``deviation * level``, levels lying in -1..1, through a Gaussian filter of time-bandwidth product
    BT (GMSK, Murota & Hirade, IEEE Trans. Commun. 29, 1981: |H(f)|^2 halves at f = B). A modulation index h means a
    deviation of h / 2 symbol rates; 0.5 is MSK.

    Args:
        samples_per_symbol: (low, high), log-uniform.
        index: (low, high) of h, log-uniform.
        smoothing: (low, high) of BT, log-uniform; 3 is nearly unfiltered.
        most: largest deviation in cycles per sample.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    def __init__(
        self,
        samples_per_symbol: Range = (2.0, 200.0),
        index: Range = (0.4, 8.0),
        smoothing: Range = (0.3, 3.0),
        most: float = 0.2,
    ) -> None:
        self.samples_per_symbol = check_range("samples_per_symbol", samples_per_symbol, 1.0)
        self.index = check_range("index", index, 1e-3)
        self.smoothing = check_range("smoothing", smoothing, 1e-2)
        self.most = check_range("most", (most, most), 0.0, 0.5)[0]

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        one = (batch_size, 1)
        period = log_uniform(self.samples_per_symbol, one, generator)
        margin = math.ceil(_EDGE * self.samples_per_symbol[1])  # samples; the filter's wrap-around stays outside
        size = num_samples + 2 * margin
        count = math.ceil(size / self.samples_per_symbol[0]) + 2
        draws = torch.randint(0, 4, (batch_size, count), generator=generator)
        two = torch.rand(one, generator=generator) < 0.75
        levels = torch.where(two, draws % 2 * 2 - 1, (2 * draws - 3) / 3).double()
        keyed = held(levels, period, size, uniform((0.0, 1.0), one, generator))  # [B, T']
        bandwidth = log_uniform(self.smoothing, one, generator) / period
        gaussian = torch.exp(-math.log(2) / 2 * (frequencies(size) / bandwidth).square())
        smooth = torch.fft.ifft(torch.fft.fft(keyed) * gaussian).real[:, margin : margin + num_samples]
        deviation = (log_uniform(self.index, one, generator) / (2 * period)).clamp(max=self.most)
        return synthetic(of_frequency(deviation * smooth))
