"""A mixture cut into tokens, one a symbol of the interference: where each lies, and which SOI symbols it carries.

Networks that see a mixture at an unknown place of the interference's grid spend nearly all of their training on finding
it (Lancho et al., GLOBECOM 2022, show that a trained U-Net has learned to synchronise). Cut on the grid, every token
looks alike, and what is left to learn is small.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.signals.statistics import modem_waveforms
from rfsep.types import InputError, Modem

_CONTEXT = 12  # symbol periods of the SOI on each side of a token that its waveforms are made from


class Tokens(NamedTuple):
    """Windows cut into K tokens of P samples; the first and the last one may lie partly outside.

    Attributes:
        samples: complex64 [B, K, P], zero outside the window.
        inside: bool [B, K, P].
        phase: int64 [B, K], samples of a token in front of the centre of its first SOI symbol.
        symbol: int64 [B, K], that symbol's number; number 0 has its centre in the SOI period that holds sample 0.
    """

    samples: Tensor
    inside: Tensor
    phase: Tensor
    symbol: Tensor


class TokenGrid:
    """SOI symbols against tokens of ``period`` samples, for any timing of either.

    A token owns the ``slots`` SOI symbols from its first centre on (those beyond its end count for the next token) and
    sees ``reach`` more on each side, whose pulses reach into it.

    Args:
        modem: of the SOI: one data symbol a period, on a real pulse.
        period: samples P in a token.
        reach: SOI symbols seen beside a token's own.

    Raises:
        InputError: the SOI carries several data symbols a period, as OFDM does.
    """

    def __init__(self, modem: Modem, period: int, reach: int = 4) -> None:
        self.modem = modem
        self.period = period
        self.step = modem.symbol_period
        self.reach = reach
        self.slots = -(-period // self.step)
        self.num_seen = self.slots + 2 * reach
        self.pulses = self._pulses()

    def _pulses(self) -> Tensor:
        """Waveforms complex64 [step, P, n] of the symbols seen, by the place of the first centre in the token."""
        step, half = self.step, self.step // 2
        total = -(-self.period // step) + 1
        rows = modem_waveforms(self.modem, total * step, _CONTEXT)  # [S, total * step]
        if len(rows) != total + 2 * _CONTEXT:
            density = len(rows) // (total + 2 * _CONTEXT)
            raise InputError(f"aligned tokens need a SOI of one data symbol a period; this has {density}")
        pulses = []
        for phase in range(step):
            late = phase > half  # the token begins in the period in front of its first centre's
            start = half - phase + step * late
            first = _CONTEXT - self.reach + late
            pulses.append(rows[first : first + self.num_seen, start : start + self.period].T)
        return torch.stack(pulses)

    def num_tokens(self, num_samples: int) -> int:
        """Tokens that any window of ``num_samples`` samples fits into, whatever its timing."""
        return (num_samples + 2 * self.period - 2) // self.period

    def cut(self, mixture: Tensor, soi_offset: Tensor, interference_offset: Tensor) -> Tokens:
        """Tokens of windows complex64 [B, T] at the timing int64 [B] of both, see `rfsep.types.MixtureBatch`."""
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
        """Which slots hold a SOI symbol whose centre lies in the token and in the window: bool [B, K, slots]."""
        centre = tokens.phase[:, :, None] + self.step * torch.arange(self.slots)  # [B, K, slots]
        here = centre < self.period
        return here & tokens.inside.gather(2, centre.clamp_max(self.period - 1))

    def seen_symbols(self, tokens: Tokens) -> Tensor:
        """Numbers int64 [B, K, n] of the symbols that each token sees."""
        return tokens.symbol[:, :, None] + torch.arange(self.num_seen) - self.reach
