"""The objective for the SOI's tokens: cross-entropy, each given the true ones before it."""

from typing import Literal, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from rfsep.iq import to_channels
from rfsep.models.rf_transformer import RfTransformer, Sight
from rfsep.separators.tokens.rf_transformer import RfTransformerSeparator
from rfsep.signals.constellations import bits_per_symbol
from rfsep.training.guided import guidance_of, looked_at, validate
from rfsep.training.levels import LevelScores, log_levels
from rfsep.training.losses import row_errors
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.training.views import Views
from rfsep.types import InputError, MixtureBatch, Modem


class Truth(NamedTuple):
    """A SOI's tokens int64 [B, K, D], which are known bool [B, K], and its waveform complex64 [B, K * stride]."""

    codes: Tensor
    known: Tensor
    waveform: Tensor


def token_truth(model: RfTransformer, modem: Modem, batch: MixtureBatch) -> Truth:
    """Returns the tokens of a batch: of its bits, modulated from a token's start on, or of the SOI without known bits.

    Raises:
        InputError: a window is no whole number of tokens.
    """
    length = batch.soi.shape[1]
    if length % model.stride:
        raise InputError(f"data.num_samples is {length}, expected a multiple of a token's {model.stride} samples")
    count = length // model.stride
    if batch.bits.shape[1]:
        waveform = torch.nn.functional.pad(modem.modulate(batch.bits), (0, length))[:, :length]
        width = bits_per_symbol(modem.constellation)
        symbols = modem.num_bits(10 * modem.symbol_period) // width // 10  # symbols per period
        bits = width * symbols * model.stride / modem.symbol_period  # bits per token
        known = torch.arange(1, count + 1) * bits <= batch.num_bits[:, None]
    else:
        waveform, known = batch.soi, torch.ones((len(batch.soi), count), dtype=torch.bool)
    device = model.start.device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        return Truth(model.tokenizer.codes(to_channels(waveform).to(device)), known.to(device), waveform.to(device))


class SoiTokens(pl.LightningModule):
    """Trains a transformer to write the SOI's tokens.

    Args:
        model: see `rfsep.models.rf_transformer.RfTransformer`.
        modem: the SOI's modem.
        separator: holds the model and builds its input; validation runs the separator itself, blind.
        views: keeps the guides' estimates for repeated batches; None to compute them every time.
        optimisation: optimiser and learning rate.
        loss: ``cross_entropy`` of the tokens in nats, or ``waveform_mse`` of the mean waveform over the transformer's
            probabilities, through the tokenizer's decoder.

    Raises:
        InputError: the loss is unknown.
    """

    def __init__(
        self,
        model: RfTransformer,
        modem: Modem,
        separator: RfTransformerSeparator,
        optimisation: Optimisation,
        loss: Literal["cross_entropy", "waveform_mse"] = "cross_entropy",
        views: Views | None = None,
    ) -> None:
        super().__init__()
        if loss not in ("cross_entropy", "waveform_mse"):
            raise InputError(f"unknown loss '{loss}'; choose one of cross_entropy, waveform_mse")
        if model.prior_head is not None and not model.prior_head.weight.any():
            model.trust(separator.bits_of_class)
        self.model = model
        self.modem = modem
        self.separator = separator
        self.loss = loss
        self.views = views
        self.optimisation = optimisation
        self.scores = LevelScores()

    def see(self, batch: MixtureBatch) -> Sight:
        """Returns the transformer's input for a batch."""
        if not torch.isfinite(torch.view_as_real(batch.mixture)).all():
            raise InputError("a training mixture holds NaN or infinity")
        batch = MixtureBatch(*(field.cpu() for field in batch))
        guidance = guidance_of(self.separator, self.views, batch.mixture)
        seen = looked_at(self.separator.training_sight, batch, guidance)
        return Sight(*(field.to(self.device) for field in seen))

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch."""
        truth = token_truth(self.model, self.modem, batch)
        logits = self.model(self.see(batch), truth.codes)
        cross_entropy = (self.model.cross_entropy(logits, truth.codes) * truth.known).sum() / truth.known.sum()
        self.log("train/cross_entropy", cross_entropy, prog_bar=True)
        loss = cross_entropy
        if self.loss == "waveform_mse":
            with torch.autocast(self.device.type, enabled=False):
                estimate = self.model.expected(self.model.log_probability(logits))
                loss = row_errors(estimate, truth.waveform).mean()
        self.log("train/loss", loss)
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
