"""OFDM with pilots, which tell its receiver the channel."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, demap, hard_bits, map_bits, random_bits
from rfsep.signals.modems.pilot_channel import pilot_channel, polarity_start
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError, Sampled, synthetic

_LEAST_CHANNEL = 1e-6


def scrambler_polarity() -> list[float]:
    """Returns the polarity of the pilots of IEEE Std 802.11-2016, equation 17-25: 127 numbers +-1.

    They are the output of the scrambler x^7 + x^4 + 1 that begins with ones (17.3.5.5), 1 for 0 and -1 for 1.
    """
    state, found = [1] * 7, []
    for _ in range(127):
        bit = state[3] ^ state[6]
        state = [bit, *state[:-1]]
        found.append(1.0 - 2.0 * bit)
    return found


class PilotOfdm:
    """OFDM whose carriers between the guards are data and pilots, at unit mean power.

    The symbols of `analyse` and `synthesise` are all those carriers, in order of frequency, so that separators see the
    pilots' power; bits are on the others alone. A pilot's symbol is a point of the constellation, the anchor, or its
    negative, and the carrier turns it to the pilot's value, so that separators may decide it like data. `decide` and
    `demodulate` find the channel by the pilots: phase, carrier offset, delay and frequency response may be unknown, as
    far as neighbouring pilots tell them.

    Args:
        pilot_carriers: numbers of the pilot carriers, rising, 0 for the middle.
        pilot_values: what they send, of unit magnitude; numbers or words like ``1j``.
        polarity: signs of all pilots of an OFDM symbol, one symbol after the other, repeated. ``802.11``: see
            `scrambler_polarity`.
        first_polarity: place in ``polarity`` of the first OFDM symbol that is modulated. A receiver finds it.
        constellation_name: see `rfsep.signals.constellations.constellation`.
        fft_size: carriers.
        cyclic_prefix_length: samples repeated in front of each symbol.
        num_guard_carriers: unused carriers at the lowest and at the highest frequencies.
        dc_null: leave the carrier at 0 Hz empty.

    Raises:
        InputError: pilots are not on different carriers between the guards, or leave none, or have no values.
    """

    def __init__(
        self,
        pilot_carriers: Sequence[int],
        pilot_values: Sequence[complex | str],
        polarity: Sequence[float] | str = (1.0,),
        first_polarity: int = 0,
        constellation_name: str = "qpsk",
        fft_size: int = 64,
        cyclic_prefix_length: int = 16,
        num_guard_carriers: tuple[int, int] = (6, 5),
        dc_null: bool = True,
    ) -> None:
        self.grid = OfdmModem(constellation_name, fft_size, cyclic_prefix_length, num_guard_carriers, dc_null)
        self.symbol_period = self.grid.symbol_period
        self.constellation = self.grid.constellation
        self.scale = math.sqrt(1 / self.grid.power)
        half = fft_size // 2
        self.numbers = (self.grid.carriers + half) % fft_size - half  # int64 [D], in order of frequency
        self.pilots = torch.tensor(list(pilot_carriers), dtype=torch.int64)
        self.values = torch.tensor([complex(value) for value in pilot_values], dtype=torch.complex64)
        self.is_data = ~torch.isin(self.numbers, self.pilots)  # bool [D]
        rising = bool((self.pilots[1:] > self.pilots[:-1]).all())
        places = int((~self.is_data).sum())
        if not 0 < len(self.pilots) == len(self.values) == places < len(self.numbers) or not rising:
            raise InputError(
                f"{len(self.values)} pilot_values on pilot_carriers {self.pilots.tolist()}: expected a value for each,"
                f" and rising numbers between {self.numbers[0]} and {self.numbers[-1]}, not all of them"
                f"{', not 0' if dc_null else ''}"
            )
        if isinstance(polarity, str) and polarity != "802.11":
            raise InputError(f"unknown polarity '{polarity}'; choose 802.11 or give a list of signs")
        signs = scrambler_polarity() if isinstance(polarity, str) else list(polarity)
        self.polarity = torch.tensor(signs, dtype=torch.float32)
        self.first_polarity = first_polarity
        # Of points of QAM, the one nearest to the power of a pilot; of PSK, the first one.
        self.anchor = self.constellation[int((self.constellation.abs() - 1).abs().round(decimals=4).argmin())]
        self._turns = torch.ones(len(self.numbers), dtype=torch.complex64)
        self._turns[~self.is_data] = self.values / self.anchor

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples."""
        return self.grid.num_symbols(num_samples) * int(self.is_data.sum()) * bits_per_symbol(self.constellation)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Waveform complex64 [B, num_samples] of the symbols complex64 [B, K * D] of all carriers, pilots too."""
        turned = symbols.reshape(len(symbols), -1, len(self.numbers)) * (self.scale * self._turns.to(symbols.device))
        return self.grid.synthesise(turned.flatten(1), num_samples)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Values complex64 [B, K * D] of all carriers, pilots among them, through whatever channel there is."""
        carriers = self.grid.analyse(waveform).reshape(len(waveform), -1, len(self.numbers))
        return (carriers / (self.scale * self._turns.to(waveform.device))).flatten(1)

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, K * D] of all carriers for bits uint8 [B, N].

        ``periods`` OFDM symbols were sent before, which the pilots' polarity counts.
        """
        width = int(self.is_data.sum())
        data = map_bits(bits, self.constellation)
        data = data.reshape(len(bits), data.shape[1] // width, width)
        place = (self.first_polarity + periods + torch.arange(data.shape[1])) % len(self.polarity)
        every = torch.zeros((*data.shape[:2], len(self.numbers)), dtype=torch.complex64)
        every[:, :, self.is_data] = data
        every[:, :, ~self.is_data] = self.polarity[place][:, None] * self.anchor
        return every.flatten(1)

    def channel(self, carriers: Tensor) -> Tensor:
        """Returns the channel complex64 [B, K, D] that pilots show in values complex64 [B, K, D] of all carriers."""
        pilots = carriers[:, :, ~self.is_data] / self.anchor.to(carriers.device)
        start = polarity_start(pilots, self.polarity, self.first_polarity)
        place = (start[:, None] + torch.arange(carriers.shape[1], device=start.device)) % len(self.polarity)
        sent = self.polarity.to(carriers.device)[place][:, :, None]
        return pilot_channel(pilots * sent, self.pilots, self.numbers, self.grid.fft_size)

    def _equalised(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns data symbols [B, K * data carriers] behind the channel, and the channel's power on each."""
        carriers = outputs.reshape(len(outputs), -1, len(self.numbers))
        channel = self.channel(carriers)
        gain = channel.abs().square().clamp_min(_LEAST_CHANNEL)
        equal = carriers * channel.conj() / gain
        return equal[:, :, self.is_data].flatten(1), gain[:, :, self.is_data].flatten(1)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, OFDM symbols * symbol_period] of bits uint8 [B, N]."""
        symbols = self.symbols(bits)
        return self.synthesise(symbols, symbols.shape[1] // len(self.numbers) * self.symbol_period)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N] behind the pilots' channel; ``noise_variance`` is that of `analyse`'s outputs."""
        outputs = self.analyse(waveform)
        if outputs.shape[1] == 0:
            return torch.zeros((len(outputs), 0))
        symbols, gain = self._equalised(outputs)
        variance = torch.as_tensor(noise_variance, device=outputs.device).expand(outputs.shape)
        variance = variance.reshape(len(outputs), -1, len(self.numbers))[:, :, self.is_data].flatten(1)
        return demap(symbols, self.constellation, variance / gain)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] behind the pilots' channel, where ``gain`` is undone first."""
        outputs = self.analyse(waveform) / gain
        if outputs.shape[1] == 0:
            return torch.zeros((len(outputs), 0), dtype=torch.uint8)
        return hard_bits(self._equalised(outputs)[0], self.constellation)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows of random bits that start on an OFDM symbol."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        waveform = self.synthesise(self.symbols(bits), num_samples)
        return synthetic(waveform, bits, torch.zeros(batch_size, dtype=torch.int64))
