"""The objective for waveform and bits of a network with a bit head."""

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
    """A network with a bit head."""

    def estimate_and_logits(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Waveform float [B, 2, T] and logits float [B, N] of the modem's bits in their order, positive for 1."""
        ...


class BitHead(pl.LightningModule):
    """Minimises ``mse_weight * MSE + cross-entropy`` of a network's waveform and of its own bit logits.

    This is the loss of the SOI-matched autoencoder (Henneke, ICASSP 2024). The model defines its stages: parameters
    with ``requires_grad = False`` stay fixed. Only their own cross-entropy calibrates the logits. ``val/ber`` is the
    rate of the logits, ``val/ber_demodulated`` that of the waveform.

    Args:
        model: see `BitModel`; an nn.Module for windows that start on a SOI symbol.
        modem: the SOI's modem, whose bits must be known.
        mse_weight: weight of the waveform's error beside the bits.
        optimisation: optimiser and learning rate.
        guide: separator whose estimate the network sees beside the mixture, see `rfsep.separators.neural`.

    Raises:
        InputError: the model has no bit head.
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
        """Returns the loss of a batch."""
        estimate, logits = self.model.estimate_and_logits(network_input(batch.mixture, self.guide))
        error = row_errors(estimate, batch.soi).mean()
        bits = bit_cross_entropy(logits, batch.bits, known_bits(batch))
        loss = bits + self.mse_weight * error
        self.log_dict({"train/mse": error, "train/bits": bits}, prog_bar=True)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collects the errors of a batch by level."""
        estimate, logits = self.model.estimate_and_logits(network_input(batch.mixture, self.guide))
        rates = {
            "ber": bit_error_rates(logits > 0, batch.bits, known_bits(batch)),
            "ber_demodulated": demodulated_error_rates(self.modem, estimate, batch),
        }
        self.scores.add(batch.sinr_db, row_errors(estimate, batch.soi), rates)

    def on_validation_epoch_end(self) -> None:
        """Logs the levels and their mean."""
        log_levels(self, self.scores)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over what learns, and its learning rate."""
        return adamw(self.parameters(), self.optimisation)


def known_bits(batch: MixtureBatch) -> Tensor:
    """Returns which of a batch's bits count: bool [B, N]."""
    return torch.arange(batch.bits.shape[1], device=batch.bits.device) < batch.num_bits[:, None]
