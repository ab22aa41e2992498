"""Regression of the SOI's waveform by mean squared error."""

import math
from collections.abc import Iterable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from rfsep.iq import db, to_channels
from rfsep.separators.neural import network_input
from rfsep.types import MixtureBatch, Separator


def warmup_cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Learning-rate factor: linear over ``warmup_steps``, then half a cosine down to zero at ``max_steps``.

    >>> [round(warmup_cosine(s, 10, 110), 3) for s in (0, 9, 60, 110)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))))


class Regression(pl.LightningModule):
    """Minimises the mean of |estimate - soi|^2, the challenge's error, over mixtures of all levels.

    Validation logs the error in dB for every SINR of the fixed validation set (``val/mse_db/<sinr>``) and their mean
    (``val/mse_db``), by which the best checkpoint is chosen.

    Args:
        model: float32 [B, 2, T], or [B, 4, T] with a guide, to float32 [B, 2, T].
        guide: separator whose estimate the network sees beside the mixture, see `rfsep.separators.neural`.
        learning_rate: peak of AdamW's.
        warmup_steps: steps to reach it.
        max_steps: steps after which the cosine has brought it to zero.
        weight_decay: of AdamW.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        warmup_steps: int,
        max_steps: int,
        weight_decay: float = 0.0,
        guide: Separator | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.max_steps = max_steps
        self.weight_decay = weight_decay
        self._errors: dict[float, list[Tensor]] = {}

    def row_errors(self, batch: MixtureBatch) -> Tensor:
        """Mean of |estimate - soi|^2 of every mixture: float32 [B]."""
        estimate = self.model(network_input(batch.mixture, self.guide))  # [B, 2, T]
        errors: Tensor = (estimate.float() - to_channels(batch.soi)).square().sum(1).mean(-1)
        return errors

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Mean squared error of a batch."""
        loss = self.row_errors(batch).mean()
        self.log("train/mse", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collect the errors of a batch by level."""
        errors = self.row_errors(batch)
        for level in sorted(set(batch.sinr_db.tolist())):
            self._errors.setdefault(level, []).append(errors[batch.sinr_db == level])

    def on_validation_epoch_end(self) -> None:
        """Log dB a level and their mean."""
        levels = {level: db(float(torch.cat(errors).mean())) for level, errors in sorted(self._errors.items())}
        self._errors.clear()
        self.log_dict({f"val/mse_db/{level:g}": value for level, value in levels.items()}, sync_dist=True)
        self.log("val/mse_db", sum(levels.values()) / len(levels), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with linear warm-up and cosine decay, a step at a time."""
        parameters: Iterable[Tensor] = self.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.warmup_steps, self.max_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
