"""A carrier that is switched on and off: on-off keying, and pulse-position modulation as in ADS-B."""

import math

import torch

from rfsep.signals.bursts import Range, check_range, uniform
from rfsep.signals.many_kinds.draws import frequencies, held, log_uniform
from rfsep.types import Sampled, synthetic


class KeyedPulses:
    """Chips that are on or off, smoothed by a filter, at a random rate and timing.

    The expected power is 1 before the smoothing, which takes up to a third of it.

    Half of the windows key pairs of chips, exactly one of each pair being on (pulse position). In the others every chip
    is on with the same probability.

    Args:
        chip: (low, high) samples per chip, log-uniform.
        on: (low, high) of the probability of an independent chip.
        smoothing: (low, high) standard deviation of the Gaussian edge in chips, log-uniform.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    def __init__(self, chip: Range = (1.5, 60.0), on: Range = (0.1, 0.7), smoothing: Range = (0.03, 0.4)) -> None:
        self.chip = check_range("chip", chip, 1.0)
        self.on = check_range("on", on, 1e-3, 1.0)
        self.smoothing = check_range("smoothing", smoothing, 1e-3, 1.0)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        one = (batch_size, 1)
        chip = log_uniform(self.chip, one, generator)
        margin = math.ceil(2 * self.chip[1])
        size = num_samples + 2 * margin
        count = math.ceil(size / self.chip[0] / 2) + 2
        probability = uniform(self.on, one, generator)
        alone = (torch.rand((batch_size, 2 * count), generator=generator) < probability).double()
        first = torch.randint(0, 2, (batch_size, count), generator=generator).double()
        paired = torch.stack((first, 1 - first), 2).flatten(1)
        pairs = torch.rand(one, generator=generator) < 0.5
        keyed = held(torch.where(pairs, paired, alone), chip, size, uniform((0.0, 2.0), one, generator))
        width = log_uniform(self.smoothing, one, generator) * chip  # samples
        gaussian = torch.exp(-(2 * math.pi * width * frequencies(size)).square() / 2)
        smooth = torch.fft.ifft(torch.fft.fft(keyed) * gaussian).real[:, margin : margin + num_samples]
        level = torch.where(pairs, 0.5, probability).rsqrt()
        return synthetic((level * smooth).to(torch.complex64))
