"""A modem's signal at an unknown time: unsynchronised interference, or a SOI at any offset."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, random_bits
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Sampled, synthetic

_CONTEXT = 4  # symbol periods before and after the window, whose pulses reach into it


class _WindowBits(NamedTuple):
    """Bits uint8 [B, N] of the symbols in each window, and how many of them count, int64 [B]."""

    bits: Tensor
    num_bits: Tensor


class RandomCrop:
    """Random symbols of a modem, cut at a uniform offset into its symbol, at unit mean power.

    Args:
        modem: the modulation.
        power: mean power of the modem's waveform, which is divided out (56/64 for the RF Challenge's OFDM layout).
        random_phase: rotate each window by a uniform phase and return no bits; without it the source can be a SOI.
        symbols: ``discrete``: points of the modem's constellation. ``gaussian``: circular Gaussian data symbols of
            unit power, as the MLSP 2022 study of cyclostationary Gaussian sources has them; no bits are known.
    """

    def __init__(
        self,
        modem: Modem,
        power: float = 1.0,
        random_phase: bool = True,
        symbols: Literal["discrete", "gaussian"] = "discrete",
    ) -> None:
        if symbols not in ("discrete", "gaussian"):
            raise InputError(f"unknown symbols '{symbols}'; choose one of discrete, gaussian")
        self.modem = modem
        self.scale = power**-0.5
        self.random_phase = random_phase
        self.symbols = symbols

    def _draw(self, batch_size: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws bits uint8 [B, N], N = 0 for Gaussian symbols, and their waveform complex64 [B, length]."""
        num_bits = self.modem.num_bits(length)
        if self.symbols == "discrete":
            bits = random_bits(batch_size, num_bits, generator)
            return bits, self.modem.modulate(bits)
        num_symbols = num_bits // bits_per_symbol(self.modem.constellation)
        symbols = torch.randn((batch_size, num_symbols), dtype=torch.complex64, generator=generator)
        return torch.zeros((batch_size, 0), dtype=torch.uint8), self.modem.synthesise(symbols, length)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]; ``offset`` is the number of samples into a symbol at sample 0.

        ``bits`` are those of the symbols with their centre in the window: as many as in a synchronised window, or
        fewer. ``num_bits`` gives their number.
        """
        period = self.modem.symbol_period
        length = (-(-num_samples // period) + 2 * _CONTEXT + 1) * period
        bits, waveform = self._draw(batch_size, length, generator)
        offset = torch.randint(0, period, (batch_size,), generator=generator)
        start = _CONTEXT * period + offset
        window = waveform.unfold(1, num_samples, 1)[torch.arange(batch_size), start]  # [B, T]
        turn = torch.rand(batch_size, generator=generator) * (2 * torch.pi if self.random_phase else 0.0)
        window.mul_(torch.polar(torch.full_like(turn, self.scale), turn)[:, None])
        if self.random_phase or self.symbols == "gaussian":
            return synthetic(window, offset=offset)
        found = self._window_bits(bits, offset, num_samples, length)
        return synthetic(window, found.bits, offset, found.num_bits)

    def _window_bits(self, bits: Tensor, offset: Tensor, num_samples: int, length: int) -> _WindowBits:
        """Returns bits of the symbols with their centre in windows that start ``offset`` samples into a symbol."""
        period = self.modem.symbol_period
        per_symbol = bits.shape[1] * period // length  # bits per period
        late = offset > period // 2  # The symbol at sample 0 has its centre before the window.
        first_centre = period // 2 - offset + period * late  # [B], samples
        held = (num_samples - first_centre + period - 1).div(period, rounding_mode="floor")  # [B], periods
        width = self.modem.num_bits(num_samples)
        column = (_CONTEXT + late.long())[:, None] * per_symbol + torch.arange(width)  # [B, N]
        num_bits = (held * per_symbol).clamp(0, width)
        kept = torch.arange(width) < num_bits[:, None]
        return _WindowBits(bits.gather(1, column) * kept, num_bits)

    def autocorrelation(self, num_lags: int) -> Tensor:
        """Returns the true autocorrelation complex128 [num_lags], averaged over the offset, in closed form."""
        return modem_autocorrelation(self.modem, num_lags) * float(self.scale**2)
