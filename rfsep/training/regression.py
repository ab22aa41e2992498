"""The objective for the SOI's waveform, by mean squared error or by the challenge's score."""

from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from rfsep.separators.neural import network_input
from rfsep.training.levels import LevelScores, log_levels
from rfsep.training.losses import row_errors
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.training.soi_bits import demodulated_error_rates
from rfsep.types import MixtureBatch, Modem, Separator


class Regression(pl.LightningModule):
    """Minimises the mean of |estimate - soi|^2, the challenge's error, over mixtures of all levels.

    Validation logs the metrics of `LevelScores`; ``val/mse_db`` selects the best checkpoint.

    Args:
        model: float32 [B, 2, T], or [B, 4, T] with a guide, to float32 [B, 2, T].
        optimisation: optimiser and learning rate.
        guide: separator whose estimate the network sees beside the mixture, see `rfsep.separators.neural`.
        modem: the SOI's modem, to count wrong bits in validation; without it none are counted.
        loss: maps the errors float32 [B] of a batch to the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        optimisation: Optimisation,
        guide: Separator | None = None,
        modem: Modem | None = None,
        loss: Callable[[Tensor], Tensor] = torch.mean,
    ) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.modem = modem
        self.loss = loss
        self.optimisation = optimisation
        self.scores = LevelScores()

    def estimate(self, batch: MixtureBatch) -> Tensor:
        """Returns the network's waveforms float [B, 2, T]."""
        estimate: Tensor = self.model(network_input(batch.mixture, self.guide))
        return estimate

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch."""
        errors = row_errors(self.estimate(batch), batch.soi)  # [B]
        loss = self.loss(errors)
        self.log("train/mse", errors.mean(), prog_bar=True)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collects the errors of a batch by level."""
        estimate = self.estimate(batch)
        rates = {} if self.modem is None else {"ber": demodulated_error_rates(self.modem, estimate, batch)}
        self.scores.add(batch.sinr_db, row_errors(estimate, batch.soi), rates)

    def on_validation_epoch_end(self) -> None:
        """Logs the levels and their mean."""
        log_levels(self, self.scores)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the optimiser and its learning rate."""
        return adamw(self.parameters(), self.optimisation)
