"""Callbacks of a run: durable checkpoints, seeds, costs, time limits, and a stop at NaN."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint, RichProgressBar, Timer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from rfsep.storage.weights import write_checkpoint, write_weights
from rfsep.types import InputError, MixtureBatch


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints to a temporary file that is synced and renamed, so a killed process keeps the old one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint."""
        write_checkpoint(Path(path), checkpoint)


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt`` after every validation, and ``best.ckpt`` after every best one.

    Lightning's own ModelCheckpoint writes its last checkpoint only together with a best one, and forgets the best score
    of a folder that was moved.

    Args:
        folder: folder of the checkpoints.
        monitor: metric whose lowest value is the best.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self.folder = folder
        self.monitor = monitor
        self.best_score = float("inf")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the best one first: a run killed in between resumes from the old last one and finds it anew."""
        score = float(trainer.callback_metrics[self.monitor])
        if score < self.best_score:
            self.best_score = score
            trainer.save_checkpoint(self.folder / "best.ckpt")
        trainer.save_checkpoint(self.folder / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """Returns the best score."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best score."""
        self.best_score = state_dict["best_score"]


class BatchSeeds(Callback):
    """Seeds torch's own generators, which dropout uses, by (seed, rank, batch number) before every batch.

    A resumed run therefore has the same dropout as an uninterrupted one, on every rank and device. Ranks differ.

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds the generators."""
        key = np.random.SeedSequence((self.seed, trainer.global_rank, batch_idx))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))


class PlateauSteps(Callback):
    """Steps the schedules that follow validation, before the checkpoint of that validation is written.

    Lightning itself steps them after the checkpoint, so a resumed run would lack one step.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Steps the schedules; the last callback writes the checkpoints."""
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau:
                cast(ReduceLROnPlateau, config.scheduler).step(trainer.callback_metrics[str(config.monitor)])


class FiniteGuard(Callback):
    """Stops the run before a step whose loss or gradient is NaN or infinite, and keeps the batches of that step.

    Args:
        folder: folder of the run; batches go to ``nonfinite_step<steps done>_rank<rank>.safetensors``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._batches: list[MixtureBatch] = []
        self._finite_loss = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: MixtureBatch, batch_idx: int
    ) -> None:
        """Keeps a batch of the coming step."""
        self._batches.append(batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Checks the loss."""
        self._finite_loss &= bool(loss.isfinite().all())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Checks the gradient; all ranks stop together, because none may wait for another's gradient.

        Raises:
            InputError: the loss or the gradient is not finite.
        """
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        # Loss scaling for float16 overflows on purpose and skips such steps itself.
        scaled = trainer.precision == "16-mixed"
        finite = scaled or bool(torch.nn.utils.get_total_norm(gradients).isfinite())
        what = "gradient" if self._finite_loss else "loss"
        if trainer.strategy.reduce_boolean_decision(not (finite and self._finite_loss), all=False):
            path = self.folder / f"nonfinite_step{trainer.global_step}_rank{trainer.global_rank}.safetensors"
            columns = zip(MixtureBatch._fields, zip(*self._batches, strict=True), strict=True)
            tensors = {name: torch.cat(parts) for name, parts in columns}
            write_weights(path, tensors, {"step": str(trainer.global_step), "not_finite": what})
            raise InputError(
                f"{what} is NaN or infinite at step {trainer.global_step}; its batch is kept in {path}, and the last"
                " checkpoint as it was"
            )
        self._batches.clear()


class Facts(Callback):
    """Keeps the cost of the run so far in every checkpoint, as ``facts``: steps, minutes, core minutes, FLOPs.

    Core minutes are the CPU time of all processes and workers over all calls.

    Args:
        flops_per_step: forward and backward pass of one process.
    """

    def __init__(self, flops_per_step: float) -> None:
        self.flops_per_step = flops_per_step
        self.minutes_before = 0.0
        self.core_minutes_before = 0.0
        self.started = 0.0
        self.cpu_at_start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clocks."""
        self.started, self.cpu_at_start = time.monotonic(), cpu_seconds()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continues counting from the interrupted run."""
        self.minutes_before = checkpoint["facts"]["minutes"]
        self.core_minutes_before = checkpoint["facts"]["core_minutes"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes the facts."""
        own = torch.tensor(cpu_seconds() - self.cpu_at_start, dtype=torch.float64, device=pl_module.device)
        used = float(trainer.strategy.reduce(own, reduce_op="sum"))
        checkpoint["facts"] = {
            "steps": trainer.global_step,
            "minutes": self.minutes_before + (time.monotonic() - self.started) / 60,
            "core_minutes": self.core_minutes_before + used / 60,
            "flops": trainer.global_step * self.flops_per_step * trainer.world_size,
        }


def cpu_seconds() -> float:
    """Returns the CPU time of this process, its ended children and, if /proc exists, its present workers."""
    running = sum(_running_seconds(child.pid) for child in multiprocessing.active_children())
    return running + sum(os.times()[:4])


def _running_seconds(process: int | None) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # The worker has ended, or there is no /proc.
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


class StepBar(RichProgressBar):
    """Lightning's progress bar, in optimiser steps of the whole run: endless data have no epochs to count."""

    @property
    def total_train_batches(self) -> int:
        """Steps of the whole run."""
        return self.trainer.max_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows the steps done, however many batches each took."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Step':{len(self.validation_description)}}"  # keeps the two bars aligned


class CallTimer(Timer):
    """Stops each call after a duration of its own; Lightning's timer would stop a resumed run at once.

    Args:
        duration: DD:HH:MM:SS, or None for no limit.
    """

    def __init__(self, duration: str | None) -> None:
        super().__init__(duration)

    def state_dict(self) -> dict[str, Any]:
        """Returns an empty state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignores the empty state."""
