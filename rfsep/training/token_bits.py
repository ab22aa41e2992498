"""The objective for the SOI's bits in tokens: cross-entropy."""

from typing import Literal, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from rfsep.iq import squared
from rfsep.separators.tokens.tokens import TokenGrid
from rfsep.separators.tokens.views import View
from rfsep.signals.constellations import bit_means, bits_per_symbol, map_bits
from rfsep.training.guided import guidance_of, looked_at, validate
from rfsep.training.levels import LevelScores, log_levels
from rfsep.training.losses import bit_cross_entropy
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.training.views import Views
from rfsep.types import InputError, MixtureBatch, Modem, Separated


class TokenSeparator(Protocol):
    """A separator of tokens, such as `rfsep.separators.tokens.aligned.Aligned`."""

    modem: Modem
    grid: TokenGrid

    def guidance(self, mixture: Tensor) -> Tensor:
        """Returns slow estimates complex64 [B, T, G] that do not depend on the network."""
        ...

    def training_view(self, batch: MixtureBatch, guidance: Tensor) -> View:
        """Returns the network's input for training mixtures."""
        ...

    def separate_guided(self, mixture: Tensor, guidance: Tensor) -> Separated:
        """Estimates mixtures complex64 [B, T] blindly, given guidance computed from them before."""
        ...


class TokenTruth(NamedTuple):
    """Bits of the tokens' own symbols, uint8 [B, K, slots * bits], and which are known, bool of that shape."""

    bits: Tensor
    known: Tensor


class Sight(NamedTuple):
    """A reduced view of a batch that can be assembled from parts."""

    inputs: Tensor
    phase: Tensor
    edge: Tensor
    prior: Tensor
    bits: Tensor
    known: Tensor


def token_truth(separator: TokenSeparator, view: View, batch: MixtureBatch) -> TokenTruth:
    """Returns the bits of a batch in the order of its tokens."""
    width = bits_per_symbol(separator.modem.constellation)
    late = batch.soi_offset > separator.modem.symbol_period // 2  # Symbol 0 has its centre before the window.
    symbol = view.tokens.symbol - late.long()[:, None]  # [B, K], counted from the first of the window's bits
    number = symbol[:, :, None] + torch.arange(separator.grid.slots)  # [B, K, slots]
    column = (number * width)[..., None] + torch.arange(width)  # [B, K, slots, bits]
    known = (
        separator.grid.owned(view.tokens)[..., None] & (column >= 0) & (column < batch.num_bits[:, None, None, None])
    )
    held = column.clamp(0, batch.bits.shape[1] - 1).flatten(1)
    return TokenTruth(batch.bits.gather(1, held).view(column.shape).flatten(2), known.flatten(2))


class TokenBits(pl.LightningModule):
    """Minimises the cross-entropy of the SOI's bits that a separator of tokens decides.

    Training may cut its tokens at the true timing of either signal; validation is the separator itself, blind.

    Args:
        model: see `rfsep.models.token_transformer.TokenTransformer`.
        modem: the SOI's modem, whose bits must be known.
        separator: holds the model and builds its input.
        views: keeps the separator's guidance for repeated batches; None to compute it every time.
        optimisation: optimiser and learning rate.
        loss: ``cross_entropy`` of the bits in nats, or ``symbol_mse``, the mean of |E[symbol] - symbol|^2.

    Raises:
        InputError: the loss is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        modem: Modem,
        separator: TokenSeparator,
        optimisation: Optimisation,
        loss: Literal["cross_entropy", "symbol_mse"] = "cross_entropy",
        views: Views | None = None,
    ) -> None:
        super().__init__()
        if loss not in ("cross_entropy", "symbol_mse"):
            raise InputError(f"unknown loss '{loss}'; choose one of cross_entropy, symbol_mse")
        self.model = model
        self.modem = modem
        self.separator = separator
        self.loss = loss
        self.views = views
        self.optimisation = optimisation
        self.scores = LevelScores()

    def see(self, batch: MixtureBatch) -> Sight:
        """Returns the network's input for a batch, and the bits it should find."""
        _check(batch)
        batch = MixtureBatch(*(field.cpu() for field in batch))
        guidance = guidance_of(self.separator, self.views, batch.mixture)
        seen = looked_at(self._see, batch, guidance)
        return Sight(*(field.to(self.device) for field in seen))

    def _see(self, batch: MixtureBatch, guidance: Tensor) -> Sight:
        view = self.separator.training_view(batch, guidance)
        return Sight(view.inputs, view.phase, view.edge, view.prior, *token_truth(self.separator, view, batch))

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch."""
        seen = self.see(batch)
        logits = self.model(seen.inputs, seen.phase, seen.edge, seen.prior).flatten(1)
        bits, known = seen.bits.flatten(1), seen.known.flatten(1)
        if self.loss == "cross_entropy":
            loss = bit_cross_entropy(logits, bits, known)
        else:
            loss = symbol_error(logits, bits, known, self.modem.constellation)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collects the errors of a batch by level."""
        batch = MixtureBatch(*(field.cpu() for field in batch))
        validate(self.scores, self.separator, self.views, self.modem, batch, self.device.type)

    def on_validation_epoch_end(self) -> None:
        """Logs the levels and their mean."""
        log_levels(self, self.scores)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns AdamW and its learning rate."""
        return adamw(self.parameters(), self.optimisation)


def _check(batch: MixtureBatch) -> None:
    """Refuses a batch that cannot be cut into tokens, or has no bits to learn."""
    if batch.bits.shape[1] == 0:
        raise InputError("the SOI carries no known bits; choose an objective of the waveform: mse, score")
    if not torch.isfinite(torch.view_as_real(batch.mixture)).all():
        raise InputError("a training mixture holds NaN or infinity")


def symbol_error(logits: Tensor, bits: Tensor, known: Tensor, points: Tensor) -> Tensor:
    """Mean of |E[symbol] - symbol|^2 over the known symbols; arguments as `rfsep.training.losses.bit_cross_entropy`."""
    errors = squared(bit_means(logits.float(), points) - map_bits(bits, points))  # [B, S]
    counted = known.view(*errors.shape, -1).all(2)
    mean: Tensor = (errors * counted).sum() / counted.sum().clamp_min(1)
    return mean
