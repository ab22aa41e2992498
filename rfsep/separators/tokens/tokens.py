"""Cuts a mixture into tokens, one per symbol of the interference, and lists the SOI symbols in each.

Networks that see a mixture at an unknown place of the interference's grid spend most of their training on finding that
place (Lancho et al., GLOBECOM 2022, show that a trained U-Net has learned to synchronise). On the grid every token
looks alike, and little is left to learn.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.grid import Filter
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import InputError, Modem

_CONTEXT = 12  # symbol periods of the SOI on each side of a token that its waveforms are made from


class Tokens(NamedTuple):
    """Windows cut into K tokens of P samples. The first and the last one may lie partly outside.

    Attributes:
        samples: complex64 [B, K, P], zero outside the window.
        inside: bool [B, K, P].
        phase: samples of a token before the centre of its first SOI symbol, int64 [B, K].
        symbol: that symbol's number, int64 [B, K]; number 0 has its centre in the SOI period that holds sample 0.
    """

    samples: Tensor
    inside: Tensor
    phase: Tensor
    symbol: Tensor


class TokenGrid:
    """SOI symbols against tokens of ``period`` samples, for any timing of either.

    A token owns the ``slots`` SOI symbols from its first centre on; those beyond its end belong to the next token. It
    sees ``reach`` more on each side, whose pulses reach into it.

    Args:
        modem: the SOI's modem: one data symbol per period, on a real pulse.
        period: samples P per token.
        reach: visible SOI symbols on each side of a token's own.
        passed: filter that the mixture has passed, and the SOI's pulses with it; None for none.

    Raises:
        InputError: the SOI carries several data symbols per period, as OFDM does.
    """

    def __init__(self, modem: Modem, period: int, reach: int = 4, passed: Filter | None = None) -> None:
        self.modem = modem
        self._passed = passed
        self.period = period
        self.step = modem.symbol_period
        self.reach = reach
        self.slots = -(-period // self.step)
        self.num_seen = self.slots + 2 * reach
        self.pulses = self._pulses()

    def _pulses(self) -> Tensor:
        """Returns waveforms complex64 [step, P, n] of visible symbols, by the place of a token's first centre."""
        step, half = self.step, self.step // 2
        total = -(-self.period // step) + 1
        rows = self._waveforms(total)  # [S, total * step]
        if len(rows) != total + 2 * _CONTEXT:
            density = len(rows) // (total + 2 * _CONTEXT)
            raise InputError(f"aligned tokens need a SOI of one data symbol per period; this has {density}")
        pulses = []
        for phase in range(step):
            late = phase > half  # The token begins in the period before its first centre's.
            start = half - phase + step * late
            first = _CONTEXT - self.reach + late
            pulses.append(rows[first : first + self.num_seen, start : start + self.period].T)
        return torch.stack(pulses)

    def _waveforms(self, periods: int) -> Tensor:
        """Returns waveforms complex64 [S, T] of the SOI's symbols in a number of its periods, and around them."""
        if self._passed is None:
            return modem_waveforms(self.modem, periods * self.step, _CONTEXT)
        beyond = -(-self._passed.lead // self.step)  # periods that the filter reaches
        wide = modem_waveforms(self.modem, (periods + 2 * beyond) * self.step, _CONTEXT)
        heard = self._passed(wide)[beyond : len(wide) - beyond]
        return heard[:, beyond * self.step : (beyond + periods) * self.step]

    def num_tokens(self, num_samples: int) -> int:
        """Returns the number of tokens that hold any window of ``num_samples`` samples, at any timing."""
        return (num_samples + 2 * self.period - 2) // self.period

    def cut(self, mixture: Tensor, soi_offset: Tensor, interference_offset: Tensor) -> Tokens:
        """Cuts windows complex64 [B, T] at the timing int64 [B] of both signals; see `rfsep.types.MixtureBatch`."""
        batch_size, length = mixture.shape
        count = self.num_tokens(length)
        place = torch.arange(count * self.period) - interference_offset[:, None]  # [B, K * P]
        inside = (place >= 0) & (place < length)
        samples = torch.where(inside, mixture.gather(1, place.clamp(0, length - 1)), 0)
        begin = place[:, :: self.period]  # [B, K], samples into the window
        phase = (self.step // 2 - soi_offset[:, None] - begin) % self.step
        symbol = (begin + phase + soi_offset[:, None] - self.step // 2) // self.step
        shape = batch_size, count, self.period
        return Tokens(samples.view(shape), inside.view(shape), phase, symbol)

    def owned(self, tokens: Tokens) -> Tensor:
        """Tells which slots hold a SOI symbol with its centre in token and window: bool [B, K, slots]."""
        centre = tokens.phase[:, :, None] + self.step * torch.arange(self.slots)  # [B, K, slots]
        here = centre < self.period
        return here & tokens.inside.gather(2, centre.clamp_max(self.period - 1))

    def seen_symbols(self, tokens: Tokens) -> Tensor:
        """Returns the numbers int64 [B, K, n] of the symbols that each token sees."""
        return tokens.symbol[:, :, None] + torch.arange(self.num_seen) - self.reach
