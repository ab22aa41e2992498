"""Orthogonal frequency-division multiplexing with cyclic prefix, guard carriers and a DC null."""

import torch
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, constellation, demap, hard_bits, map_bits, random_bits
from rfsep.types import InputError, Sampled, synthetic


class OfdmModem:
    """OFDM with data on every carrier between the guards except DC, unitary transforms.

    Carriers are filled from the lowest frequency to the highest, one OFDM symbol after the other (the order of
    Sionna's resource grid). Mean power is data carriers / fft_size: 56/64 for the RF Challenge's layout.

    Args:
        constellation_name: see `rfsep.signals.constellations.constellation`.
        fft_size: carriers F.
        cyclic_prefix_length: samples repeated in front of each symbol.
        num_guard_carriers: unused carriers at the lowest and at the highest frequencies.
        dc_null: leave the carrier at 0 Hz empty.
    """

    def __init__(
        self,
        constellation_name: str = "qpsk",
        fft_size: int = 64,
        cyclic_prefix_length: int = 16,
        num_guard_carriers: tuple[int, int] = (4, 3),
        dc_null: bool = True,
    ) -> None:
        low, high = num_guard_carriers
        frequencies = torch.arange(low, fft_size - high) - fft_size // 2
        if dc_null:
            frequencies = frequencies[frequencies != 0]
        if len(frequencies) == 0:
            raise InputError(f"num_guard_carriers {tuple(num_guard_carriers)} leave no carrier of fft_size {fft_size}")
        self.fft_size = fft_size
        self.cyclic_prefix_length = cyclic_prefix_length
        self.symbol_period = fft_size + cyclic_prefix_length
        self.constellation = constellation(constellation_name)
        self.carriers = frequencies % fft_size  # int64 [D], FFT bins in order of frequency
        self.power = len(frequencies) / fft_size

    def num_symbols(self, num_samples: int) -> int:
        """Returns the number of OFDM symbols with their centre in a window of ``num_samples`` samples."""
        return (num_samples + self.symbol_period - self.symbol_period // 2 - 1) // self.symbol_period

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples.

        >>> OfdmModem().num_bits(40960)
        57344
        """
        return self.num_symbols(num_samples) * len(self.carriers) * bits_per_symbol(self.constellation)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of data symbols complex64 [B, OFDM symbols * D]."""
        if symbols.shape[1] == 0:  # The FFT refuses the empty batches of very short windows.
            return symbols.new_zeros((len(symbols), num_samples))
        data = symbols.reshape(len(symbols), -1, len(self.carriers))  # [B, K, D]
        grid = symbols.new_zeros((*data.shape[:2], self.fft_size))
        grid[:, :, self.carriers] = data
        body = torch.fft.ifft(grid, norm="ortho")  # [B, K, F]
        prefix = body[:, :, self.fft_size - self.cyclic_prefix_length :]
        waveform = torch.cat((prefix, body), 2).flatten(1)  # [B, K * period]
        missing = num_samples - waveform.shape[1]
        return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform[:, :num_samples]

    def analyse(self, waveform: Tensor) -> Tensor:
        """Carrier values complex64 [B, OFDM symbols * D] of a waveform complex64 [B, T] that starts on a symbol."""
        num_symbols = self.num_symbols(waveform.shape[1])
        if num_symbols == 0:
            return waveform[:, :0]
        length = num_symbols * self.symbol_period
        padded = torch.nn.functional.pad(waveform, (0, max(0, length - waveform.shape[1])))[:, :length]
        blocks = padded.reshape(len(waveform), num_symbols, self.symbol_period)  # [B, K, period]
        carriers: Tensor = torch.fft.fft(blocks[:, :, self.cyclic_prefix_length :], norm="ortho")  # [B, K, F]
        return carriers[:, :, self.carriers].flatten(1)  # [B, K * D]

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], which depend on none before them."""
        return map_bits(bits, self.constellation)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, OFDM symbols * symbol_period] of bits uint8 [B, N]."""
        symbols = map_bits(bits, self.constellation)
        return self.synthesise(symbols, symbols.shape[1] // len(self.carriers) * self.symbol_period)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N], see `demap`; ``noise_variance`` is that of the outputs of `analyse`."""
        return demap(self.analyse(waveform), self.constellation, noise_variance)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of the points nearest to the outputs of `analyse` over ``gain``, see `hard_bits`."""
        return hard_bits(self.analyse(waveform) / gain, self.constellation)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows of random bits that start on an OFDM symbol."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        waveform = self.synthesise(map_bits(bits, self.constellation), num_samples)
        return synthetic(waveform, bits, torch.zeros(batch_size, dtype=torch.int64))
