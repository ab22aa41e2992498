"""A modem as it is received: its waveform through a short channel."""

import torch
from torch import Tensor

from rfsep.signals.constellations import random_bits
from rfsep.types import Modem, Sampled, synthetic

_CONTEXT = 8  # symbol periods that a pulse and its channel may reach, each way
_EQUALISED = 4  # symbols on each side whose interference an equaliser removes
_ASSUMED_NOISE = 0.03  # noise per symbol that the equaliser assumes; less would let it amplify noise


class ReceivedModem:
    """A modem whose waveform has passed through a short channel.

    `synthesise` gives what is received, and `analyse` the symbols: the filter matched to pulse and channel, and an
    LMMSE equaliser over a few symbols (Proakis and Salehi, Digital Communications, 5th ed., section 9.4).

    Args:
        modem: the modem as it sends, with one symbol per symbol period.
        taps: channel complex64 [n], in samples; its middle tap is at delay 0.
    """

    def __init__(self, modem: Modem, taps: Tensor) -> None:
        self.modem = modem
        self.taps = taps.to(torch.complex64)
        self.symbol_period = modem.symbol_period
        self.constellation = modem.constellation
        self._equaliser = self._make_equaliser()

    def _make_equaliser(self) -> Tensor:
        """Returns the taps complex64 [n] that follow the matched filter; the middle symbol's gain is 1."""
        reach, period = _EQUALISED, self.symbol_period
        total = 2 * (_CONTEXT + reach) + 1
        alone = torch.zeros((1, total), dtype=torch.complex64)
        alone[0, total // 2] = 1
        response = self._matched(self.synthesise(alone, total * period))[0]  # a Nyquist pulse and its echoes
        middle = total // 2
        lag = torch.arange(2 * reach + 1)
        # Output k of the equaliser sees symbol j by response[k - j].
        seen = response[middle + lag[:, None] - lag]  # [outputs, symbols]
        gram = seen @ seen.mH + _ASSUMED_NOISE * response[middle].abs() * seen
        target = seen[:, reach]
        taps: Tensor = torch.linalg.solve(gram.mH.to(torch.complex128), target.to(torch.complex128)).conj()
        gain = taps @ target.to(torch.complex128)
        return (taps / gain).to(torch.complex64).flip(0)

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples."""
        return self.modem.num_bits(num_samples)

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], as the modem sends them."""
        return self.modem.symbols(bits, periods, last)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the received waveform complex64 [B, T] of bits uint8 [B, N]."""
        return self._through(self.modem.modulate(bits), self.taps)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the received waveform complex64 [B, num_samples] of symbols complex64 [B, S]."""
        margin = len(self.taps) // 2
        return self._through(self.modem.synthesise(symbols, num_samples + margin), self.taps)[:, :num_samples]

    def analyse(self, waveform: Tensor) -> Tensor:
        """Returns equalised symbols complex64 [B, S] of a received waveform complex64 [B, T]."""
        return self._through(self._matched(waveform), self._equaliser)

    def _matched(self, waveform: Tensor) -> Tensor:
        energy = float(self.taps.abs().square().sum())
        padded = torch.nn.functional.pad(waveform, (0, len(self.taps) // 2))
        back = self._through(padded, self.taps.conj().flip(0))
        symbols = self.modem.analyse(back)[:, : self.modem.analyse(waveform[:1]).shape[1]]
        return symbols / energy

    @staticmethod
    def _through(waveform: Tensor, taps: Tensor) -> Tensor:
        """Returns a waveform complex64 [B, T] filtered by taps complex64 [n], odd, about their middle."""
        size = waveform.shape[1] + len(taps)
        spectrum = torch.fft.fft(waveform, size) * torch.fft.fft(taps, size)
        filtered: Tensor = torch.fft.ifft(spectrum)[:, len(taps) // 2 :][:, : waveform.shape[1]]
        return filtered

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N], see `rfsep.types.Modem.demodulate`."""
        return self.modem.demodulate(self._unchanged(waveform), noise_variance)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N], see `rfsep.types.Modem.decide`."""
        return self.modem.decide(self._unchanged(waveform), gain)

    def _unchanged(self, waveform: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, T] that the channel would not have changed: that of the symbols."""
        return self.modem.synthesise(self.analyse(waveform), waveform.shape[1])

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws synchronised windows of random bits."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        return synthetic(self.modulate(bits)[:, :num_samples], bits, torch.zeros(batch_size, dtype=torch.int64))
