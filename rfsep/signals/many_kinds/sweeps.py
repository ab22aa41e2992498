"""Frequency modulation without symbols: by band-limited noise, like voice and video, and the sweeps of radars."""

import torch

from rfsep.signals.bursts import Range, check_range, uniform
from rfsep.signals.many_kinds.draws import frequencies, log_uniform, of_frequency
from rfsep.types import Sampled, synthetic


class NoiseFm:
    """A carrier of unit power whose frequency is Gaussian noise of Gaussian spectrum.

    Args:
        bandwidth: (low, high) of the message's bandwidth in cycles per sample, log-uniform.
        deviation: (low, high) of the frequency's standard deviation in cycles per sample, log-uniform.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    def __init__(self, bandwidth: Range = (0.002, 0.1), deviation: Range = (0.002, 0.12)) -> None:
        self.bandwidth = check_range("bandwidth", bandwidth, 1e-4, 0.5)
        self.deviation = check_range("deviation", deviation, 1e-5, 0.5)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        bandwidth = log_uniform(self.bandwidth, (batch_size, 1), generator)
        shape = torch.exp(-(frequencies(num_samples) / bandwidth).square() / 2)  # [B, T]
        shape = shape / shape.square().mean(1, keepdim=True).sqrt()
        white = torch.randn((batch_size, num_samples), dtype=torch.float64, generator=generator)
        message = torch.fft.ifft(torch.fft.fft(white) * shape).real
        return synthetic(of_frequency(log_uniform(self.deviation, (batch_size, 1), generator) * message))


class Sweeps:
    """Linear sweeps of frequency, again and again, of unit power: upwards, downwards, or both in turn.

    Half of the windows begin every sweep at a random frequency inside the band, as LoRa's symbols do.

    Args:
        period: (low, high) samples per sweep, log-uniform.
        bandwidth: (low, high) of the swept band in cycles per sample, log-uniform.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    def __init__(self, period: Range = (50.0, 5000.0), bandwidth: Range = (0.02, 0.7)) -> None:
        self.period = check_range("period", period, 2.0)
        self.bandwidth = check_range("bandwidth", bandwidth, 1e-4, 1.0)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        one = (batch_size, 1)
        period = log_uniform(self.period, one, generator)
        time = uniform((0.0, 1.0), one, generator) + torch.arange(num_samples) / period  # [B, T], in sweeps
        count = int(num_samples / self.period[0]) + 2
        shifts = uniform((0.0, 1.0), (batch_size, count), generator) * (torch.rand(one, generator=generator) < 0.5)
        place = (time + shifts.gather(1, time.long())).frac()
        triangle = 1 - (2 * time.frac() - 1).abs()
        both = torch.rand(one, generator=generator) < 0.25
        direction = torch.where(torch.rand(one, generator=generator) < 0.5, 1.0, -1.0)
        frequency = direction * (torch.where(both, triangle, place) - 0.5)
        return synthetic(of_frequency(log_uniform(self.bandwidth, one, generator) * frequency))
