"""Trains a network to tell the interference's delay: blind synchronisation as a classification."""

from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from rfsep.models.timing_cnn import TimingCnn
from rfsep.separators.inference.timing import timing_input
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.types import InputError, MixtureBatch


class Told(NamedTuple):
    """The delays that a network tells: whether each is wrong, bool [B], and its cross-entropy float32 [B]."""

    wrong: Tensor
    cost: Tensor


class Timing(pl.LightningModule):
    """Minimises the cross-entropy, in nats, of the interference's delay in mixtures of all levels.

    The objective of Lancho et al. (GLOBECOM 2022): samples into a symbol of the interference at sample 0. Validation
    logs the share of wrong delays, ``val/timing_error/<SINR>`` and their mean over levels ``val/timing_error``, by
    which the best checkpoint is chosen, and ``val/cross_entropy``.

    Args:
        model: float32 [B, 2, T] to logits float32 [B, P] of P delays.
        optimisation: how it is minimised.
    """

    def __init__(self, model: TimingCnn, optimisation: Optimisation) -> None:
        super().__init__()
        self.model = model
        self.optimisation = optimisation
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []

    def told(self, batch: MixtureBatch) -> Told:
        """Compares the network's delays of a batch with the true ones.

        Raises:
            InputError: delays that the network does not know, or that nobody does.
        """
        offset, delays = batch.interference_offset, self.model.delays
        if bool(((offset < 0) | (offset >= delays)).any()):
            raise InputError(
                f"this network tells {delays} delays apart, and the interference of this mixture is at"
                f" {int(offset.max())}; it needs OFDM with symbols of {delays} samples at known times"
            )
        logits = self.model(timing_input(batch.mixture))  # [B, P]
        return Told(logits.argmax(1) != offset, cross_entropy(logits, offset, reduction="none"))

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        loss = self.told(batch).cost.mean()
        self.log("train/cross_entropy", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collect the wrong delays of a batch and their cross-entropy, by level."""
        told = self.told(batch)
        self._found.append((batch.sinr_db, told.wrong.float(), told.cost))

    def on_validation_epoch_end(self) -> None:
        """Log the levels and their mean."""
        sinr_db, wrong, cost = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        self._found.clear()
        levels = {level: wrong[sinr_db == level].mean() for level in sorted(set(sinr_db.tolist()))}
        for level, rate in levels.items():
            self.log(f"val/timing_error/{level:g}", rate, sync_dist=True)
        mean = torch.stack([*levels.values()]).mean()
        self.log("val/timing_error", mean, prog_bar=True, sync_dist=True)
        self.log("val/cross_entropy", cost.mean(), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW and its learning rate."""
        return adamw(self.parameters(), self.optimisation)
