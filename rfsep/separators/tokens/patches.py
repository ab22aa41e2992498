"""Cuts a mixture into patches on the SOI's own grid, for a network without a model of the interference."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from rfsep.iq import power
from rfsep.separators.tokens.views import Look, real_columns
from rfsep.signals.constellations import bits_per_symbol, demap
from rfsep.types import InputError, MixtureBatch, Modem

INPUTS = ("time", "symbols")
_SILENCE = 1e-12
_LEAST_NOISE = 1e-2  # least noise power beside unit-power symbols, so that every bit stays uncertain


class Patches:
    """Returns for every patch its level, the matched filter's log-likelihood ratios, and the chosen ``inputs``.

    ``time`` stands for its samples with context on both sides, at unit power of the window. ``symbols`` stands for the
    demodulator's output at the data symbols in the patch and its context.

    Args:
        modem: the SOI's modem; the SOI begins at sample 0 of the mixture.
        examples: not used.
        period: samples per patch, a multiple of the SOI's symbol period.
        context: samples of context on either side.
        inputs: names of the inputs.

    Raises:
        InputError: an input is unknown, or the period is no multiple of the SOI's.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        period: int = 80,
        context: int = 32,
        inputs: Sequence[str] = ("time", "symbols"),
    ) -> None:
        if unknown := sorted(set(inputs) - set(INPUTS)):
            raise InputError(f"unknown inputs {', '.join(unknown)}; choose from {', '.join(INPUTS)}")
        if period % modem.symbol_period:
            raise InputError(f"period is {period}, expected a multiple of the SOI's {modem.symbol_period} samples")
        self.modem = modem
        self.period = period
        self.context = context
        self.inputs = tuple(inputs)
        lone = torch.zeros((1, modem.symbol_period), dtype=torch.complex64)
        self._density = modem.analyse(lone).shape[1]  # data symbols per period

    @property
    def num_inputs(self) -> int:
        """Size of the network's input per patch."""
        periods = self.period // self.modem.symbol_period + 2 * self._reach
        sizes = {"time": 2 * (self.period + 2 * self.context), "symbols": 2 * self._density * periods}
        return 1 + sum(sizes[name] for name in self.inputs)

    @property
    def _reach(self) -> int:
        return self.context // self.modem.symbol_period

    def guidance(self, mixture: Tensor) -> Tensor:
        """Returns complex64 [B, T, 0]: the network sees no other estimate."""
        return mixture.new_zeros((*mixture.shape, 0))

    def training_look(self, batch: MixtureBatch, guidance: Tensor) -> Look:
        """Returns the network's input for training mixtures, built as for any other mixture.

        Raises:
            InputError: the SOI does not begin with the mixture.
        """
        if bool((batch.soi_offset != 0).any()):
            raise InputError("patches lie on the SOI's own grid; it must begin at sample 0 of every mixture")
        return self.look(batch.mixture, guidance, True, True)

    def look(self, mixture: Tensor, guidance: Tensor, begins: bool, ends: bool) -> Look:
        """Returns the network's input for windows complex64 [B, T]."""
        batch_size, length = mixture.shape
        step, count = self.modem.symbol_period, -(-length // self.period)
        missing = count * self.period - length
        rms = power(mixture).clamp_min(_SILENCE).sqrt()[:, None]
        columns = [rms.log()[:, :, None].expand(-1, count, 1)]
        symbols, density = self.modem.analyse(mixture), self._density  # [B, S]
        own = self.period // step * density
        missing_symbols = count * own - symbols.shape[1]
        if "time" in self.inputs:
            samples = pad(mixture / rms, (self.context, self.context + missing))
            columns += [real_columns(samples.unfold(1, self.period + 2 * self.context, self.period))]
        if "symbols" in self.inputs:
            around = self._reach * density
            near = pad(symbols / rms, (around, missing_symbols + around))
            columns += [real_columns(near.unfold(1, own + 2 * around, own))]
        prior = pad(self._ratios(symbols), (0, 0, 0, missing_symbols)).reshape(batch_size, count, -1)
        zero = torch.zeros((batch_size, count), dtype=torch.int64)
        edge = zero.clone()
        if missing:
            edge[:, -1] = 2 * self.period - missing
        begin = self.period * torch.arange(count).expand(batch_size, -1)
        return Look(torch.cat(columns, 2), zero, edge, prior, begin, zero[:, 0])

    def _ratios(self, symbols: Tensor) -> Tensor:
        """Returns log-likelihood ratios float32 [B, S, bits] of symbols [B, S]; all power beyond the SOI's is noise."""
        points = self.modem.constellation
        noise = (power(symbols) - power(points)).clamp_min(_LEAST_NOISE)
        bits = demap(symbols, points, noise[:, None])
        return bits.view(*symbols.shape, bits_per_symbol(points)).clamp(-40, 40)
