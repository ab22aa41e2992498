"""Bursts of single-carrier QAM at a random symbol rate."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from rfsep.signals.bursts import Bursts, Range, check_range, uniform
from rfsep.signals.constellations import constellation
from rfsep.types import InputError, Sampled, synthetic

_MARGIN_SYMBOLS = 16  # symbols between the end of a window and its periodic continuation


class BurstyQam:
    """Bursts of root-raised-cosine QAM with rate, roll-off, carrier and timing drawn per window.

    A window is cut from a periodic block of N samples that carries S symbols, N / S samples each (not an integer).
    The block's DFT is the symbols' DFT, repeated over frequency, times the pulse's spectrum. The pulse is not
    truncated, so the band is exactly (1 + roll_off) / (samples per symbol) wide. The expected power is exactly 1, by
    the closed form of the gate's duty cycle. A single window has more or less, depending on its bursts.

    Args:
        constellation_name: see `rfsep.signals.constellations.constellation`.
        samples_per_symbol: (low, high); rounded so that a block holds a whole number of symbols.
        roll_off: (low, high).
        carrier_offset: (low, high), cycles per sample.
        burst_on: (low, high), samples that a burst lasts.
        burst_off: (low, high), samples between bursts.
        ramp: samples of the raised-cosine ramp at both ends of a burst.

    Raises:
        InputError: a range is empty or out of bounds, the band does not fit the sample rate, or ramps do not fit a
            burst.
    """

    def __init__(
        self,
        constellation_name: str = "qam16",
        samples_per_symbol: Range = (4.0, 12.0),
        roll_off: Range = (0.15, 0.35),
        carrier_offset: Range = (-0.05, 0.05),
        burst_on: Range = (2000.0, 10000.0),
        burst_off: Range = (1000.0, 5000.0),
        ramp: float = 32.0,
    ) -> None:
        self.constellation = constellation(constellation_name)
        self.samples_per_symbol = check_range("samples_per_symbol", samples_per_symbol, 1.0)
        self.roll_off = check_range("roll_off", roll_off, 0.0, 1.0)
        self.carrier_offset = check_range("carrier_offset", carrier_offset, -0.5, 0.5)
        self.ramp = check_range("ramp", (ramp, ramp), 1.0)[0]
        self.bursts = Bursts(check_range("burst_on", burst_on, 2 * self.ramp), check_range("burst_off", burst_off, 0.0))
        edge = (1 + self.roll_off[1]) / (2 * self.samples_per_symbol[0])
        if edge > 0.5:
            raise InputError(f"samples_per_symbol: {self.samples_per_symbol[0]:g} is less than 1 + roll_off")

    def _block(self, size: int, num_symbols: int, roll_off: float, generator: torch.Generator) -> Tensor:
        """Periodic block complex64 [size] of ``num_symbols`` random symbols at a uniform timing phase, unit power."""
        index = torch.randint(0, len(self.constellation), (num_symbols,), generator=generator)
        timing = torch.rand((), dtype=torch.float64, generator=generator)  # symbols
        symbols = torch.fft.fft(self.constellation[index])  # [S]
        half = min(math.ceil((1 + roll_off) * num_symbols / 2), (size - 1) // 2)
        bins = torch.arange(-half, half + 1)
        frequency = bins.double() / num_symbols  # cycles per symbol
        # A raised cosine falls from 1 at (1 - roll_off) / 2 to 0 at (1 + roll_off) / 2; its root is the pulse's
        # spectrum.
        slope = (0.5 + (frequency.abs() - 0.5) / max(roll_off, 1e-6)).clamp(0, 1)
        pulse = torch.polar(torch.cos(slope * (math.pi / 2)), -2 * math.pi * frequency * timing)
        spectrum = torch.zeros(size, dtype=torch.complex64)
        spectrum[bins % size] = symbols[bins % num_symbols] * pulse.to(torch.complex64)
        block: Tensor = torch.fft.ifft(spectrum) * (size / num_symbols)
        return block

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        size = int(next_fast_len(num_samples + math.ceil(_MARGIN_SYMBOLS * self.samples_per_symbol[1])))
        lowest, highest = math.ceil(size / self.samples_per_symbol[1]), math.floor(size / self.samples_per_symbol[0])
        periods = uniform(self.samples_per_symbol, (batch_size,), generator)
        num_symbols = (size / periods).round().long().clamp(min(lowest, highest), highest)
        roll_offs = uniform(self.roll_off, (batch_size,), generator)
        rows = [
            self._block(size, symbols, roll_off, generator)[:num_samples]
            for symbols, roll_off in zip(num_symbols.tolist(), roll_offs.tolist(), strict=True)
        ]
        gate = self.bursts.gate(batch_size, num_samples, self.ramp, generator) / math.sqrt(self.bursts.duty(self.ramp))
        carrier = uniform(self.carrier_offset, (batch_size, 1), generator)
        phase = torch.rand((batch_size, 1), dtype=torch.float64, generator=generator)
        cycles = (carrier * torch.arange(num_samples) + phase).frac()  # [B, T]; reduced before float32 loses it
        return synthetic(torch.stack(rows) * torch.polar(gate, 2 * math.pi * cycles.float()))
