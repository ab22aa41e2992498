"""One training run in one folder: resumable, with metrics, checkpoints and a record of what it cost."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    Timer,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from rfsep.storage.atomic import write_text
from rfsep.storage.weights import read_checkpoint
from rfsep.training.metrics_csv import MetricsCsv
from rfsep.types import InputError


class Schedule(NamedTuple):
    """How long and on what a run trains; see conf/trainer/.

    Attributes:
        max_steps: optimiser steps.
        val_every: steps between validations, each followed by a checkpoint; divides max_steps.
        precision: Lightning's name, such as bf16-mixed or 32-true.
        accelerator: cpu, gpu, auto.
        devices: number of devices or "auto".
        gradient_clip: largest norm of a gradient.
        accumulate: batches a step.
        max_time: DD:HH:MM:SS after which the run stops, to be resumed; None for no limit.
    """

    max_steps: int
    val_every: int
    precision: str
    accelerator: str
    devices: int | str
    gradient_clip: float
    accumulate: int
    max_time: str | None


class Facts(Callback):
    """Keeps in every checkpoint what the run has cost so far: ``facts``: steps, minutes, FLOPs.

    Args:
        flops_per_step: forward and backward, of one process.
    """

    def __init__(self, flops_per_step: float) -> None:
        self.flops_per_step = flops_per_step
        self.seconds_before = 0.0
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on counting where the interrupted run stopped."""
        self.seconds_before = 60 * checkpoint["facts"]["minutes"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the facts."""
        seconds = self.seconds_before + time.monotonic() - self.started
        checkpoint["facts"] = {
            "steps": trainer.global_step,
            "minutes": seconds / 60,
            "flops": trainer.global_step * self.flops_per_step * trainer.world_size,
        }


class CallTimer(Timer):
    """Stops after a time counted from each call anew; Lightning's own would stop a resumed run at once.

    Args:
        duration: DD:HH:MM:SS, or None for no limit.
    """

    def __init__(self, duration: str | None) -> None:
        super().__init__(duration)

    def state_dict(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to go on from."""


class Outcome(NamedTuple):
    """What `fit` left behind.

    Attributes:
        finished: all steps are done (otherwise a limit or an interruption stopped it; the same call resumes).
        trained: steps were made by this call.
        best_mse_db: mean validation error of the best checkpoint in dB, NaN before the first validation.
    """

    finished: bool
    trained: bool
    best_mse_db: float


def _best(checkpoint: dict[str, Any]) -> float:
    states = [state for key, state in checkpoint.get("callbacks", {}).items() if key.startswith("ModelCheckpoint")]
    scores = [state["best_model_score"] for state in states if state.get("best_model_score") is not None]
    return float(scores[0]) if scores else float("nan")


def _trainer(folder: Path, schedule: Schedule, callbacks: list[Callback], loggers: Sequence[Logger]) -> pl.Trainer:
    """Lightning's trainer for endless batches: validation and checkpoints by steps, not by epochs."""
    return pl.Trainer(
        max_steps=schedule.max_steps,
        val_check_interval=schedule.val_every * schedule.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        precision=schedule.precision,  # type: ignore[arg-type]
        accelerator=schedule.accelerator,
        devices=schedule.devices,
        gradient_clip_val=schedule.gradient_clip,
        accumulate_grad_batches=schedule.accumulate,
        callbacks=[*callbacks, LearningRateMonitor("step"), RichProgressBar(leave=False)],
        logger=[MetricsCsv(folder / "metrics.csv"), *loggers],
        log_every_n_steps=max(1, schedule.val_every // 10),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def fit(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    folder: Path,
    config_yaml: str,
    schedule: Schedule,
    ema_decay: float,
    flops_per_step: float,
    loggers: Sequence[Logger],
) -> Outcome:
    """Train, or go on training, or see that all is done.

    Args:
        module: objective with its model.
        data: batches.
        folder: of the run: config.yaml, metrics.csv, checkpoints/{last,best}.ckpt are written here.
        config_yaml: what the run was made from.
        schedule: how long and on what.
        ema_decay: of the moving average of the weights, which is what is validated and kept as ``best``.
        flops_per_step: for the record.
        loggers: beside metrics.csv.
    """
    if schedule.max_steps % schedule.val_every:
        raise InputError(
            f"trainer.max_steps {schedule.max_steps} must be a multiple of trainer.val_every {schedule.val_every}"
        )
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        before = read_checkpoint(last)
        if cast(int, before["global_step"]) >= schedule.max_steps:
            return Outcome(finished=True, trained=False, best_mse_db=_best(before))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", config_yaml)
    best = ModelCheckpoint(
        dirpath=last.parent,
        filename="best",
        monitor="val/mse_db",
        save_last=True,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    callbacks = [best, EMAWeightAveraging(decay=ema_decay), Facts(flops_per_step), CallTimer(schedule.max_time)]
    try:
        trainer = _trainer(folder, schedule, callbacks, loggers)
        trainer.fit(module, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SystemExit:  # how Lightning ends an interrupted run, with status 1
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:  # a device that is not there, a precision it does not know
        raise InputError(" ".join(str(error).split())) from None
    score = best.best_model_score
    done = trainer.global_step >= schedule.max_steps
    return Outcome(finished=done, trained=True, best_mse_db=float("nan") if score is None else float(score))
