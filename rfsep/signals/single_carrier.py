"""Bursts of single-carrier QAM at a random symbol rate."""

import math
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rfsep.signals.bursts import Bursts, Range, check_range, gate, uniform
from rfsep.signals.constellations import constellation
from rfsep.types import InputError, Sampled, synthetic

_MARGIN_SYMBOLS = 16  # symbols between the end of a window and its periodic continuation
_CHUNK_SAMPLES = 2**19  # samples whose windows are made at a time: few calls, and small temporary memory
_STEP = 64  # samples between those whose sine and cosine are computed


class _Block(NamedTuple):
    """A periodic block: the DFT complex64 [S] of its symbols, and its timing phase, float64 [] in symbols."""

    symbols: Tensor
    timing: Tensor


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

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        size = int(next_fast_len(num_samples + math.ceil(_MARGIN_SYMBOLS * self.samples_per_symbol[1])))
        lowest, highest = math.ceil(size / self.samples_per_symbol[1]), math.floor(size / self.samples_per_symbol[0])
        periods = uniform(self.samples_per_symbol, (batch_size,), generator)
        num_symbols = (size / periods).round().long().clamp(min(lowest, highest), highest)
        roll_offs = uniform(self.roll_off, (batch_size,), generator)
        blocks = [self._block(count, generator) for count in num_symbols.tolist()]
        edges = self.bursts.edges(batch_size, num_samples, generator)
        carrier = uniform(self.carrier_offset, (batch_size, 1), generator)[:, 0]
        phase = torch.rand((batch_size, 1), dtype=torch.float64, generator=generator)[:, 0]
        level = 1 / math.sqrt(self.bursts.duty(self.ramp))
        waveform = torch.empty((batch_size, num_samples), dtype=torch.complex64)
        rows = max(1, _CHUNK_SAMPLES // size)
        for begin in range(0, batch_size, rows):
            some = slice(begin, begin + rows)
            windows = torch.fft.ifft(_spectra(blocks[some], roll_offs[some], size))[:, :num_samples]
            turned = turning(phase[some], carrier[some], num_samples)
            turned.mul_(level * gate(edges[some], num_samples, self.ramp))
            torch.mul(windows, turned, out=waveform[some])
        return synthetic(waveform)

    def _block(self, num_symbols: int, generator: torch.Generator) -> _Block:
        index = torch.randint(0, len(self.constellation), (num_symbols,), generator=generator)
        timing = torch.rand((), dtype=torch.float64, generator=generator)
        return _Block(torch.fft.fft(self.constellation[index]), timing)


def _spectra(blocks: list[_Block], roll_off: Tensor, size: int) -> Tensor:
    """Returns the DFT complex64 [B, size] of blocks with roll-offs float64 [B], at unit power."""
    timing = torch.stack([block.timing for block in blocks])  # [B]
    symbols = pad_sequence([block.symbols for block in blocks], batch_first=True)  # [B, S]
    count = torch.tensor([len(block.symbols) for block in blocks])  # [B]
    edge = (1 + roll_off) * count / 2  # bins up to the end of the band
    half = min(math.ceil(float(edge.max())), (size - 1) // 2, symbols.shape[1] - 1)
    flat = min(math.floor(float(((1 - roll_off) * count / 2).min())), half)
    # A raised cosine falls from 1 at (1 - roll_off) / 2 to 0 at (1 + roll_off) / 2; its root is the pulse's spectrum.
    frequency = torch.arange(flat, half + 1) / count[:, None].double()  # cycles per symbol
    slope = (0.5 + (frequency - 0.5) / roll_off.clamp(min=1e-6)[:, None]).clamp(0, 1)
    pulse = turning(torch.zeros_like(timing), -timing / count, half + 1)  # [B, half + 1]
    pulse[:, flat:] *= torch.cos(slope * (math.pi / 2)).float()
    pulse *= (size / count)[:, None]
    mirrored = symbols.gather(1, (count[:, None] - torch.arange(half, 0, -1)).clamp(min=0))  # bins -half ... -1
    spectra = torch.zeros((len(blocks), size), dtype=torch.complex64)
    torch.mul(symbols[:, : half + 1], pulse, out=spectra[:, : half + 1])
    torch.mul(mirrored, pulse[:, 1:].flip(1).conj_physical_(), out=spectra[:, size - half :])
    return spectra


def turning(phase: Tensor, frequency: Tensor, num_samples: int) -> Tensor:
    """Returns exp(2 pi j (phase + frequency n)), n = 0 ... T - 1: complex64 [B, T].

    Sine and cosine are taken of every 64th sample and of 64 neighbours alone, in float64; the rest are products.

    Args:
        phase: cycles, float64 [B].
        frequency: cycles per sample, float64 [B].
        num_samples: T.
    """
    coarse = phase[:, None] + frequency[:, None] * torch.arange(0, num_samples, _STEP)  # [B, T / 64]
    fine = frequency[:, None] * torch.arange(_STEP)  # [B, 64]
    turned = [
        torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles.frac()).to(torch.complex64)
        for cycles in (coarse.double(), fine.double())
    ]
    return (turned[0][:, :, None] * turned[1][:, None]).flatten(1)[:, :num_samples]
