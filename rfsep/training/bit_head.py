"""Waveform and bits of a network that has a head for the bits."""

from typing import Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from rfsep.separators.neural import network_input
from rfsep.training.levels import LevelScores, log_levels
from rfsep.training.losses import bit_cross_entropy, row_errors
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.training.soi_bits import bit_error_rates, demodulated_error_rates
from rfsep.types import InputError, MixtureBatch, Modem, Separator


@runtime_checkable
class BitModel(Protocol):
    """A network with a head for bits."""

    def estimate_and_logits(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Waveform float [B, 2, T] and logits float [B, N] of the modem's bits in their order, positive for 1."""
        ...


class BitHead(pl.LightningModule):
    """Minimises ``mse_weight * MSE + cross-entropy`` of a network's waveform and of its own bit logits.

    The loss of the SOI-matched autoencoder (Henneke, ICASSP 2024), whose stages the model knows: what it has set to
    ``requires_grad = False`` stays as it is. Nothing calibrates the logits but their own cross-entropy. ``val/ber`` is
    that of the logits, ``val/ber_demodulated`` that of the waveform.

    Args:
        model: see `BitModel`; an nn.Module that reads windows which start on an SOI symbol.
        modem: the SOI's modem, whose bits must be known.
        mse_weight: of the waveform's error beside the bits.
        optimisation: how it is minimised.
        guide: separator whose estimate the network sees beside the mixture, see `rfsep.separators.neural`.

    Raises:
        InputError: the model has no head for bits.
    """

    def __init__(
        self,
        model: BitModel,
        modem: Modem,
        mse_weight: float,
        optimisation: Optimisation,
        guide: Separator | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, BitModel):
            raise InputError(f"model {type(model).__name__} has no head for bits; the objective bits needs none")
        self.model = model
        self.modem = modem
        self.mse_weight = mse_weight
        self.guide = guide
        self.optimisation = optimisation
        self.scores = LevelScores()

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        estimate, logits = self.model.estimate_and_logits(network_input(batch.mixture, self.guide))
        error = row_errors(estimate, batch.soi).mean()
        bits = bit_cross_entropy(logits, batch.bits, known_bits(batch))
        loss = bits + self.mse_weight * error
        self.log_dict({"train/mse": error, "train/bits": bits}, prog_bar=True)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collect the errors of a batch by level."""
        estimate, logits = self.model.estimate_and_logits(network_input(batch.mixture, self.guide))
        rates = {
            "ber": bit_error_rates(logits > 0, batch.bits, known_bits(batch)),
            "ber_demodulated": demodulated_error_rates(self.modem, estimate, batch),
        }
        self.scores.add(batch.sinr_db, row_errors(estimate, batch.soi), rates)

    def on_validation_epoch_end(self) -> None:
        """Log the levels and their mean."""
        log_levels(self, self.scores)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over what learns, and its learning rate."""
        return adamw(self.parameters(), self.optimisation)


def known_bits(batch: MixtureBatch) -> Tensor:
    """Which of a batch's bits count: bool [B, N]."""
    return torch.arange(batch.bits.shape[1], device=batch.bits.device) < batch.num_bits[:, None]
