"""Orthogonal frequency-division multiplexing with cyclic prefix, guard carriers and a DC null."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, constellation, demap, hard_bits, map_bits, random_bits
from rfsep.types import InputError, Sampled, synthetic

_REACH = 512  # samples that a channel may reach
_TABLE_BYTES = 1 << 22  # A larger table of waveforms leaves a core's cache, and the transform is faster then.
_GATHER = 0x0102040810204080  # The product with it brings the lowest bits of eight bytes into the highest byte.


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
        carrier: cycles per sample by which the waveform is turned, phase 0 at its first sample.
        channel: taps, one sample apart, that the waveform passes before it is turned; complex, or pairs of real and
            imaginary part as YAML has them.
        channel_lead: number of taps ahead of the one at delay 0.
        delay: samples by which the waveform is late beyond the taps, band-limited to the sample rate.

    Raises:
        InputError: no carrier is left, the channel is empty, or carrier or delay are out of range.
    """

    def __init__(
        self,
        constellation_name: str = "qpsk",
        fft_size: int = 64,
        cyclic_prefix_length: int = 16,
        num_guard_carriers: tuple[int, int] = (4, 3),
        dc_null: bool = True,
        carrier: float = 0.0,
        channel: Sequence[complex | Sequence[float]] = (1.0,),
        channel_lead: int = 0,
        delay: float = 0.0,
    ) -> None:
        low, high = num_guard_carriers
        self._layout = (constellation_name, fft_size, cyclic_prefix_length, (low, high), dc_null)
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
        self.carrier = carrier
        if not (abs(carrier) <= 0.5 and abs(delay) < math.inf):
            raise InputError(
                f"carrier {carrier} and delay {delay}: expected at most 0.5 cycles per sample, and a number"
            )
        taps = [complex(*tap) if isinstance(tap, Sequence) else complex(tap) for tap in channel]
        if not 0 <= channel_lead < len(taps):
            raise InputError(f"channel_lead {channel_lead} is not among the {len(taps)} taps of the channel")
        self.channel = torch.tensor(taps, dtype=torch.complex128)
        self.channel_lead = channel_lead
        self.delay = delay

    def received(
        self,
        carrier: float,
        channel: Sequence[complex | Sequence[float]] = (1.0,),
        channel_lead: int = 0,
        delay: float = 0.0,
    ) -> "OfdmModem":
        """Returns the same modem at another carrier and behind another channel."""
        return OfdmModem(*self._layout, carrier, channel, channel_lead, delay)

    @property
    def flat(self) -> bool:
        """Whether the channel leaves the waveform as it is."""
        return len(self.channel) == 1 and bool(self.channel[0] == 1) and self.delay == 0

    def response(self, frequency: Tensor) -> Tensor:
        """Returns the channel complex128 [n] at frequencies float64 [n] from the carrier, within -1/2 and 1/2."""
        lag = torch.arange(len(self.channel)) - self.channel_lead
        turns = -2 * math.pi * frequency[:, None] * lag
        late = -2 * math.pi * frequency * self.delay
        taps: Tensor = torch.polar(torch.ones_like(turns), turns) @ self.channel
        return taps * torch.polar(torch.ones_like(late), late)

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
        waveform = _fitted(torch.cat((prefix, body), 2).flatten(1), num_samples)  # [B, T]
        return turned(self._through_channel(waveform), self.carrier)

    def _through_channel(self, waveform: Tensor) -> Tensor:
        """Passes a waveform complex [B, T] through the channel: complex [B, T], zero before and after."""
        return waveform if self.flat else filtered(waveform, self.response, _REACH)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Carrier values complex64 [B, OFDM symbols * D] of a waveform complex64 [B, T] that starts on a symbol.

        The channel is taken from them, but not what it brings of neighbouring symbols.
        """
        waveform = turned(waveform, -self.carrier)
        num_symbols = self.num_symbols(waveform.shape[1])
        if num_symbols == 0:
            return waveform[:, :0]
        length = num_symbols * self.symbol_period
        padded = torch.nn.functional.pad(waveform, (0, max(0, length - waveform.shape[1])))[:, :length]
        blocks = padded.reshape(len(waveform), num_symbols, self.symbol_period)  # [B, K, period]
        carriers: Tensor = torch.fft.fft(blocks[:, :, self.cyclic_prefix_length :], norm="ortho")  # [B, K, F]
        found = carriers[:, :, self.carriers]  # [B, K, D]
        if not self.flat:
            frequency = self.carriers.double() / self.fft_size
            found = found / self.response(frequency - frequency.round()).to(found.dtype)
        return found.flatten(1)  # [B, K * D]

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], which depend on none before them."""
        return map_bits(bits, self.constellation)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, OFDM symbols * symbol_period] of bits uint8 [B, N]."""
        width = len(self.carriers) * bits_per_symbol(self.constellation)
        return self._modulated(bits, bits.shape[1] // width * self.symbol_period)

    def _modulated(self, bits: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of bits uint8 [B, N].

        An OFDM symbol is the sum of what every eight of its bits contribute, which a table holds for all their values.
        """
        per_carrier = bits_per_symbol(self.constellation)
        width = len(self.carriers) * per_carrier  # bits of an OFDM symbol
        whole = width % 8 == 0 and 8 % per_carrier == 0 and bits.shape[1] % width == 0
        small = width // 8 * 256 * self.symbol_period * 8 <= _TABLE_BYTES
        if not (whole and small and bits.numel() and bits.device.type == "cpu"):
            return self.synthesise(map_bits(bits, self.constellation), num_samples)
        products = bits.contiguous().view(torch.int64) * _GATHER  # [B, N / 8]
        octets = products.view(torch.uint8)[:, 7::8].reshape(-1, width // 8)  # the first bit is the least significant
        rows = octets.int() + torch.arange(0, 32 * width, 256, dtype=torch.int32)  # [B * OFDM symbols, width / 8]
        sums = torch.nn.functional.embedding_bag(rows, _table(*self._layout), mode="sum")  # [..., 2 * period]
        waveform = _fitted(torch.view_as_complex(sums.view(len(bits), -1, 2)), num_samples)  # [B, T]
        return turned(self._through_channel(waveform), self.carrier)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N], see `demap`; ``noise_variance`` is that of the outputs of `analyse`."""
        return demap(self.analyse(waveform), self.constellation, noise_variance)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of the points nearest to the outputs of `analyse` over ``gain``, see `hard_bits`."""
        return hard_bits(self.analyse(waveform) / gain, self.constellation)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows of random bits that start on an OFDM symbol."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        waveform = self._modulated(bits, num_samples)
        return synthetic(waveform, bits, torch.zeros(batch_size, dtype=torch.int64))


@lru_cache(maxsize=4)
def _table(name: str, fft_size: int, prefix: int, guards: tuple[int, int], dc_null: bool) -> Tensor:
    """Returns the waveforms of every eight bits of an OFDM symbol: float32 [octets * 256, 2 * period].

    Row 256 k + v is the part of the k-th eight bits with value v, the first bit the least significant, I and Q
    interleaved. The arguments are the first ones of `OfdmModem`.
    """
    modem = OfdmModem(name, fft_size, prefix, guards, dc_null)
    waves = modem.synthesise(torch.eye(len(modem.carriers), dtype=torch.complex128), modem.symbol_period)  # [D, period]
    octets = ((torch.arange(256)[:, None] >> torch.arange(8)) & 1).byte()  # [256, 8]
    symbols = map_bits(octets, modem.constellation.to(waves.dtype))  # [256, carriers of an octet]
    parts = symbols @ waves.view(-1, symbols.shape[1], modem.symbol_period)  # [octets, 256, period]
    return torch.view_as_real(parts).flatten(2).flatten(0, 1).float()


def _fitted(waveform: Tensor, num_samples: int) -> Tensor:
    """Cuts a waveform [B, T] to ``num_samples``, or continues it by silence."""
    missing = num_samples - waveform.shape[1]
    return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform[:, :num_samples]


def turned(waveform: Tensor, carrier: float) -> Tensor:
    """Shifts waveforms complex [B, T] up by ``carrier`` cycles per sample, with phase 0 at the first sample."""
    if carrier == 0:
        return waveform
    cycles = (carrier * torch.arange(waveform.shape[-1], dtype=torch.float64)).frac()
    return waveform * torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles).to(waveform)


def filtered(waveform: Tensor, response: Callable[[Tensor], Tensor], reach: int) -> Tensor:
    """Filters waveforms complex [B, T], which are silent beyond their ends.

    Args:
        waveform: complex [B, T].
        response: gives the complex128 [n] response at frequencies float64 [n] in cycles per sample, of -1/2 ... 1/2.
        reach: samples that the response reaches on each side; weak tails beyond it wrap around.
    """
    length = waveform.shape[1]
    size = int(next_fast_len(length + 2 * reach))
    spectrum = torch.fft.fft(waveform.to(torch.complex128), size) * response(
        torch.fft.fftfreq(size, dtype=torch.float64)
    )
    result: Tensor = torch.fft.ifft(spectrum)[:, :length]
    return result.to(waveform.dtype)
