"""A modem's signal heard at an unknown time: interference whose symbols nobody synchronised."""

import torch
from torch import Tensor

from rfsep.signals.constellations import random_bits
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Sampled, synthetic


class RandomCrop:
    """Random bits of a modem, cut at a uniform offset into its symbol, rotated at random, at unit mean power.

    Args:
        modem: the modulation.
        power: mean power of the modem's waveform, divided out (56/64 for the RF Challenge's OFDM layout).
        random_phase: rotate each window by a uniform phase.
    """

    def __init__(self, modem: Modem, power: float = 1.0, random_phase: bool = True) -> None:
        self.modem = modem
        self.scale = power**-0.5
        self.random_phase = random_phase

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Windows complex64 [B, T]; ``offset`` is the number of samples into a symbol at sample 0."""
        period = self.modem.symbol_period
        # four symbols in front and four behind, so that pulses from outside the window reach into it
        length = (-(-num_samples // period) + 9) * period
        bits = random_bits(batch_size, self.modem.num_bits(length), generator)
        waveform = self.modem.modulate(bits)  # [B, length]
        offset = torch.randint(0, period, (batch_size,), generator=generator)
        start = 4 * period + offset
        window = waveform.gather(1, start[:, None] + torch.arange(num_samples))  # [B, T]
        turn = torch.rand(batch_size, generator=generator) * (2 * torch.pi if self.random_phase else 0.0)
        window = window * torch.polar(torch.full_like(turn, self.scale), turn)[:, None]
        return synthetic(window, offset=offset)

    def autocorrelation(self, num_lags: int) -> Tensor:
        """True autocorrelation complex128 [num_lags], averaged over the offset, in closed form."""
        return modem_autocorrelation(self.modem, num_lags) * float(self.scale**2)
