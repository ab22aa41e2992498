"""Corrects the bits of slower separators by a network, where the interference's modem is only partly known."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from rfsep.iq import power, squared
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.tokens.tokens import TokenGrid, Tokens
from rfsep.separators.tokens.views import (
    Look,
    TokenModel,
    View,
    answered,
    check_model,
    looked,
    real_columns,
    shortened,
)
from rfsep.separators.windows import in_parallel, overlapped
from rfsep.signals.constellations import bit_means, bits_per_symbol, demap
from rfsep.types import InputError, MixtureBatch, Modem, Separated, Separator

_BATCH = 16  # mixtures per call of a guide
_BATCH_SAMPLES = 64 * 2560  # samples per call of the network
_SILENCE = 1e-12
_LEAST_REST = 1e-3  # The power that a guide leaves is shown to the network down to this.


class Guide(Protocol):
    """Makes a separator: a class of rfsep.separators with all other arguments bound (hydra's ``_partial_: true``)."""

    def __call__(self, *, modem: Modem, examples: Tensor) -> Separator:
        """The separator of a SOI and an interference."""
        ...


class Corrected:
    """Shows a network what other separators make of a mixture, token by token, and lets it decide the SOI's bits.

    Tokens lie on the SOI's own grid, because the interference's is not known. For each symbol of a token the network
    sees the matched filter's output on the mixture and on each guide's estimate. It also sees the power that each guide
    leaves of the mixture during the symbol, which shows where interference is strong and where the guide failed. It
    corrects the first guide's log-likelihood ratios. They assume the same error variance for all symbols; the network
    learns which symbols deserve more trust.

    Args:
        modem: the SOI's modem, one data symbol per period; a symbol starts at sample 0 and the signal begins and ends
            with the mixture.
        examples: frames of the interference, complex64 [F, T], for the guides.
        model: see `rfsep.models.token_transformer.TokenTransformer`; None: bits as the first guide finds them.
        guides: the other separators, best first.
        period: samples in a token, a multiple of the SOI's symbol period.
        noise_variance: of the first guide's symbols, on constellation points of unit power.
        block: samples per window of a longer mixture; guides see it whole.
        margin: samples at a window's inner edge that its neighbour estimates instead.

    Raises:
        InputError: no guides, a period that is no multiple of the SOI's, or a model of other tokens.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        model: TokenModel | None,
        guides: Sequence[Guide],
        period: int = 80,
        noise_variance: float = 0.5,
        block: int = 2560,
        margin: int = 160,
    ) -> None:
        if not guides:
            raise InputError("guides is empty; there are no bits to correct")
        if period % modem.symbol_period:
            raise InputError(f"period is {period}, expected a multiple of the SOI's {modem.symbol_period} samples")
        self.modem = modem
        self.model = model
        self.guides = [guide(modem=modem, examples=examples) for guide in guides]
        self._linear = Fallback(modem, examples)
        self.noise_variance = noise_variance
        self.block = block
        self.margin = margin
        self.grid = TokenGrid(modem, period)
        needed = {"num_inputs": self.num_inputs, "num_phases": 1, "period": period}
        needed["num_bits"] = self.grid.slots * bits_per_symbol(modem.constellation)
        if model is not None:
            check_model(model, needed, f"the estimates of {len(guides)} guides and the mixture")

    @property
    def num_inputs(self) -> int:
        """Size of the network's input per token."""
        return 1 + (2 + 3 * len(self.guides)) * self.grid.num_seen

    def guidance(self, mixture: Tensor) -> Tensor:
        """The guides' estimates complex64 [B, T, G]."""
        with torch.no_grad():
            return torch.stack([_estimates(guide, mixture) for guide in self.guides], 2)

    def training_view(self, batch: MixtureBatch, guidance: Tensor) -> View:
        """Returns the network's input for training mixtures, built as for any other mixture.

        Raises:
            InputError: the SOI does not begin with the mixture.
        """
        if bool((batch.soi_offset != 0).any()):
            raise InputError("guides are corrected on the SOI's own grid; it must begin at sample 0 of every mixture")
        return self.view(batch.mixture, guidance)

    def training_look(self, batch: MixtureBatch, guidance: Tensor) -> Look:
        """Returns `training_view` for a network with tokens of its own."""
        return looked(self.training_view(batch, guidance), batch.soi_offset, self.grid.step)

    def look(self, mixture: Tensor, guidance: Tensor, begins: bool, ends: bool) -> Look:
        """Returns the input of a network with tokens of its own, for windows complex64 [B, T]."""
        zero = torch.zeros(len(mixture), dtype=torch.int64)
        return looked(self.view(mixture, guidance), zero, self.grid.step)

    def view(self, mixture: Tensor, guidance: Tensor) -> View:
        """Returns the network's input for windows complex64 [B, T] and their estimates complex64 [B, T, G]."""
        zero = torch.zeros(len(mixture), dtype=torch.int64)
        tokens = self.grid.cut(mixture, zero, zero)
        rms = power(mixture).clamp_min(_SILENCE).sqrt()
        scale = power(self.modem.constellation).sqrt()
        heard = [self.modem.analyse(estimate) for estimate in guidance.unbind(2)]  # G of [B, S]
        count = tokens.phase.shape[1]
        columns = [rms.log()[:, None, None].expand(-1, count, 1)]
        columns += [real_columns(self._seen(self.modem.analyse(mixture) / rms[:, None], count))]
        for symbols, estimate in zip(heard, guidance.unbind(2), strict=True):
            columns += [real_columns(self._seen(shortened(symbols / scale), count))]
            columns += [self._seen(self._rest(mixture - estimate), count)]
        prior = self._prior(heard[0], count)
        return View(torch.cat(columns, 2), 0 * tokens.phase, self._edge(tokens), prior, tokens, None)

    def _seen(self, values: Tensor, count: int) -> Tensor:
        """Gathers per-symbol values [B, S] by the K tokens that see them: [B, K, n]; 0 beyond the window."""
        reach, slots = self.grid.reach, self.grid.slots
        padded = pad(values, (reach, count * slots - values.shape[1] + reach))
        return padded.unfold(1, self.grid.num_seen, slots)

    def _rest(self, rest: Tensor) -> Tensor:
        """Returns the log power of a residual complex64 [B, T] during each symbol: float32 [B, S], near one."""
        step = self.grid.step
        whole = pad(squared(rest), (0, -rest.shape[1] % step)).view(len(rest), -1, step).mean(2)
        return whole.clamp_min(_LEAST_REST).log() / 4

    def _edge(self, tokens: Tokens) -> Tensor:
        """Returns ``edge`` of `rfsep.separators.tokens.views.View`; only the last tokens are incomplete."""
        count, period = tokens.inside.sum(2), self.grid.period
        cut = torch.where(count == 0, 2 * period, period + count)
        return torch.where(count == period, 0, cut)

    def _prior(self, symbols: Tensor, count: int) -> Tensor:
        """Log-likelihood ratios float32 [B, K, slots * bits] of a guide's symbols [B, S]; 0 where there is none."""
        own = self._seen(symbols, count)[:, :, self.grid.reach : self.grid.reach + self.grid.slots]
        return demap(own, self.modem.constellation, self.noise_variance).clamp(-40, 40)

    def separate(self, mixture: Tensor) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        return self.separate_guided(mixture, self.guidance(mixture))

    def soft_bits(self, mixture: Tensor, calibrated: bool = True) -> Tensor:
        """Log-likelihood ratios float32 [B, N] of mixtures of at most ``block`` samples; positive means bit 1.

        ``calibrated``: as sure as linear estimates allow (`rfsep.separators.inference.evidence.tempered`).

        Raises:
            InputError: the mixture is longer than a window.
        """
        if (length := mixture.shape[1]) > self.block:
            raise InputError(f"corrected: soft bits are of one window, {self.block} samples; got {length}")
        with torch.inference_mode():
            ratio = self._logits(self.view(mixture, self.guidance(mixture)))[:, : self.modem.num_bits(length)]
            start = torch.zeros(len(mixture), dtype=torch.int64)
            return self._linear.tempered(mixture, ratio, start) if calibrated else ratio

    def _logits(self, view: View) -> Tensor:
        """Returns log-likelihood ratios float32 [B, N] of the network, or of the first guide without one."""
        return (view.prior if self.model is None else answered(self.model, view)).flatten(1)

    def separate_guided(self, mixture: Tensor, guidance: Tensor) -> Separated:
        """Runs `separate` with the guides' estimates complex64 [B, T, G] from `guidance`."""
        signals = torch.cat((mixture[:, :, None], guidance), 2)  # [B, T, 1 + G]
        every = signals.shape[2]  # Interleaved signals are all cut alike.
        sizes = (self.block * every, self.margin * every, self.grid.step * every)
        soi = overlapped(self._estimate, signals.flatten(1), *sizes)[:, ::every]
        return Separated(soi, self.modem.decide(soi))

    def _estimate(self, windows: Tensor) -> Tensor:
        """Estimates the SOI in interleaved windows complex64 [W, L * (1 + G)]; each sample is repeated 1 + G times."""
        every = 1 + len(self.guides)

        def estimate(part: Tensor) -> Tensor:
            with torch.inference_mode():
                signals = part.reshape(len(part), -1, every)  # [w, L, 1 + G]
                view = self.view(signals[:, :, 0], signals[:, :, 1:])
                logits = self._logits(view)
                length, points = signals.shape[1], self.modem.constellation
                num_symbols = self.modem.num_bits(length) // bits_per_symbol(points)
                soi = self.modem.synthesise(bit_means(logits, points)[:, :num_symbols], length)
                return soi.repeat_interleave(every, 1)

        return in_parallel(estimate, windows, max(1, _BATCH_SAMPLES * every // windows.shape[1]))


def _estimates(guide: Separator, mixture: Tensor) -> Tensor:
    """A guide's estimates complex64 [B, T]."""

    def estimate(part: Tensor) -> Tensor:
        with torch.no_grad():  # This setting is local to a thread.
            return guide.separate(part).soi

    return in_parallel(estimate, mixture, _BATCH)
