"""Regression of the SOI's waveform by mean squared error."""

import math
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from rfsep.iq import db, from_db, to_channels
from rfsep.separators.neural import network_input
from rfsep.types import InputError, MixtureBatch, Separator


def warmup_cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Learning-rate factor: linear over ``warmup_steps``, then half a cosine down to zero at ``max_steps``.

    >>> [round(warmup_cosine(s, 10, 110), 3) for s in (0, 9, 60, 110)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))))


class Regression(pl.LightningModule):
    """Minimises |estimate - soi|^2, the challenge's error, over mixtures of all levels.

    Validation logs the error in dB for every SINR of the fixed validation set (``val/mse_db/<sinr>``) and their mean
    (``val/mse_db``), by which the best checkpoint is chosen.

    Args:
        model: float32 [B, 2, T], or [B, 4, T] with a guide, to float32 [B, 2, T].
        guide: separator whose estimate the network sees beside the mixture, see `rfsep.separators.neural`.
        loss: ``mse``: the mean over mixtures, in which the lowest SINR weighs most, as published. ``log``: the mean of
            log(error + floor), in which a dB counts the same at every level.
        log_floor_db: errors below it hardly count in ``log``: windows that happen to hold no interference would
            otherwise take over.
        learning_rate: peak of Adam's.
        warmup_steps: steps to reach it.
        max_steps: steps after which the cosine has brought it to zero.
        weight_decay: of AdamW.
        gradient_clip: largest norm of a gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        warmup_steps: int,
        max_steps: int,
        weight_decay: float = 0.0,
        guide: Separator | None = None,
        loss: str = "mse",
        log_floor_db: float = -20.0,
    ) -> None:
        super().__init__()
        if loss not in ("mse", "log"):
            raise InputError(f"unknown loss '{loss}'; choose mse or log")
        self.model = model
        self.guide = guide
        self.loss = loss
        self.log_floor = from_db(log_floor_db)
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.max_steps = max_steps
        self.weight_decay = weight_decay
        self._errors: dict[float, list[Tensor]] = {}

    def row_errors(self, batch: MixtureBatch) -> Tensor:
        """Mean of |estimate - soi|^2 of every mixture: float32 [B]."""
        estimate = self.model(network_input(batch.mixture, self.guide))  # [B, 2, T]
        return (estimate.float() - to_channels(batch.soi)).square().sum(1).mean(-1)

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        errors = self.row_errors(batch)
        self.log("train/mse", errors.mean(), prog_bar=True)
        return errors.mean() if self.loss == "mse" else (errors + self.log_floor).log().mean()

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collect the errors of a batch by level."""
        errors = self.row_errors(batch)
        for level in batch.sinr_db.unique().tolist():
            self._errors.setdefault(level, []).append(errors[batch.sinr_db == level])

    def on_validation_epoch_end(self) -> None:
        """Log dB a level and their mean."""
        levels = {level: db(float(torch.cat(errors).mean())) for level, errors in sorted(self._errors.items())}
        self._errors.clear()
        self.log_dict({f"val/mse_db/{level:g}": value for level, value in levels.items()}, sync_dist=True)
        self.log("val/mse_db", sum(levels.values()) / len(levels), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with linear warm-up and cosine decay, a step at a time."""
        parameters: Iterable[Tensor] = self.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.warmup_steps, self.max_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
