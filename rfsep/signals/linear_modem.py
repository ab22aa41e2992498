"""Linear single-carrier modulation: QPSK, QAM and BPSK on a root-raised-cosine pulse."""

import math

import torch
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, constellation, demap, hard_bits, map_bits, random_bits
from rfsep.signals.pulses import root_raised_cosine
from rfsep.types import Sampled, synthetic

_SYMBOLS_PER_BLOCK = 4  # output symbols per matrix product, the measured optimum between unfolding and zeros


class LinearModem:
    """Symbols on a root-raised-cosine pulse, as a polyphase matrix product.

    Symbol k has its centre at sample ``samples_per_symbol // 2 + k * samples_per_symbol`` and the waveform has unit
    mean power away from its ends. This is the RF Challenge's convention (RRC of unit energy times sqrt(16)). A
    zero-stuffed convolution multiplies mostly zeros. Here every block of output samples is one small matrix times the
    symbols that reach it (129 taps reach 9 symbols).

    Args:
        constellation_name: see `rfsep.signals.constellations.constellation`.
        samples_per_symbol: 16 for the challenge's QPSK, 4 for QPSK2.
        roll_off: roll-off of the pulse.
        span: pulse length in symbols; there are span * samples_per_symbol + 1 taps.
        num_taps: number of taps if it does not follow from a span (CommPy: 127).
        unit_energy: scale the pulse to energy samples_per_symbol exactly (Sionna); False keeps the sampled pulse
            (CommPy: energy 15.9978 instead of 16).
    """

    def __init__(
        self,
        constellation_name: str = "qpsk",
        samples_per_symbol: int = 16,
        roll_off: float = 0.5,
        span: int = 8,
        num_taps: int | None = None,
        unit_energy: bool = True,
    ) -> None:
        self.symbol_period = samples_per_symbol
        self.constellation = constellation(constellation_name)
        taps = span * samples_per_symbol + 1 if num_taps is None else num_taps
        pulse = root_raised_cosine(samples_per_symbol, roll_off, taps, unit_energy=unit_energy)
        self.pulse = pulse * math.sqrt(samples_per_symbol) if unit_energy else pulse  # float64 [num_taps]
        # Symbol k puts tap t on sample k * samples_per_symbol + t - lead.
        self._lead = (taps - 1) // 2 - samples_per_symbol // 2
        self._first_symbol, self._synthesis = self._synthesis_matrix()
        self._analysis = self._analysis_matrix()

    def _synthesis_matrix(self) -> tuple[int, Tensor]:
        """First symbol that reaches block 0, and float32 [2 * reach, 2 * block samples], I and Q interleaved."""
        period, taps = self.symbol_period, len(self.pulse)
        samples = torch.arange(_SYMBOLS_PER_BLOCK * period)
        first = -((taps - 1 - self._lead) // period)
        last = (self._lead + len(samples) - 1) // period
        tap = samples + self._lead - period * torch.arange(first, last + 1)[:, None]  # [reach, samples]
        inside = (tap >= 0) & (tap < taps)
        weights = torch.where(inside, self.pulse[tap.clamp(0, taps - 1)], 0.0)
        return first, torch.kron(weights, torch.eye(2, dtype=weights.dtype)).float()

    def _analysis_matrix(self) -> Tensor:
        """Pulse cut into symbol periods, over its energy: float32 [2 * period, 2 * reach], I and Q interleaved."""
        period = self.symbol_period
        reach = -(-len(self.pulse) // period)
        padded = torch.nn.functional.pad(self.pulse, (0, reach * period - len(self.pulse)))
        phases = padded.reshape(reach, period).T / self.pulse.square().sum()  # [period, reach]
        return torch.kron(phases.contiguous(), torch.eye(2, dtype=phases.dtype)).float()

    def num_symbols(self, num_samples: int) -> int:
        """Returns the number of symbols with their centre in a window of ``num_samples`` samples.

        >>> LinearModem().num_symbols(40960)
        2560
        """
        return (num_samples + self.symbol_period - self.symbol_period // 2 - 1) // self.symbol_period

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples.

        >>> LinearModem().num_bits(40960)
        5120
        """
        return self.num_symbols(num_samples) * bits_per_symbol(self.constellation)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of the window's first S symbols complex64 [B, S]."""
        period, block = self.symbol_period, _SYMBOLS_PER_BLOCK
        num_blocks = -(-num_samples // (block * period))
        reach = self._synthesis.shape[0] // 2
        length = (num_blocks - 1) * block + reach
        before, kept = -self._first_symbol, min(symbols.shape[1], length + self._first_symbol)
        padded = symbols.new_zeros((len(symbols), length))  # [B, length]
        padded[:, before : before + kept] = symbols[:, :kept]
        # Windows hold `reach` symbols, `block` apart, with I and Q interleaved.
        windows = torch.view_as_real(padded).flatten(1).unfold(1, 2 * reach, 2 * block)  # [B, blocks, 2 * reach]
        samples = windows @ self._synthesis.to(symbols.device)  # [B, blocks, 2 * block * period]
        return torch.view_as_complex(samples.view(len(symbols), -1, 2))[:, :num_samples]  # [B, T]

    def analyse(self, waveform: Tensor) -> Tensor:
        """Returns matched-filter outputs complex64 [B, S] of a waveform complex64 [B, T], zero beyond its ends."""
        period = self.symbol_period
        num_symbols, reach = self.num_symbols(waveform.shape[1]), self._analysis.shape[1] // 2
        length = (num_symbols + reach - 1) * period
        padded = torch.nn.functional.pad(waveform, (self._lead, max(0, length - self._lead - waveform.shape[1])))
        blocks = torch.view_as_real(padded[:, :length].contiguous()).reshape(len(waveform), -1, 2 * period)
        partial = blocks @ self._analysis.to(waveform.device)  # [B, S + reach - 1, 2 * reach]
        partial = partial.reshape(*partial.shape[:2], reach, 2)
        symbols = sum((partial[:, j : j + num_symbols, j] for j in range(1, reach)), partial[:, :num_symbols, 0])
        return torch.view_as_complex(symbols.contiguous())  # [B, S]

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], which depend on none before them."""
        return map_bits(bits, self.constellation)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, S * samples_per_symbol] of bits uint8 [B, N]."""
        symbols = map_bits(bits, self.constellation)
        return self.synthesise(symbols, symbols.shape[1] * self.symbol_period)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N], see `demap`; ``noise_variance`` is that of the outputs of `analyse`."""
        return demap(self.analyse(waveform), self.constellation, noise_variance)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of the points nearest to the outputs of `analyse` over ``gain``, see `hard_bits`."""
        return hard_bits(self.analyse(waveform) / gain, self.constellation)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws synchronised windows of random bits: a symbol starts at sample 0, none before or after the window."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        waveform = self.synthesise(map_bits(bits, self.constellation), num_samples)
        return synthetic(waveform, bits, torch.zeros(batch_size, dtype=torch.int64))
