"""Runs one training in one folder: resumable, with metrics, checkpoints and a record of its cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from torch import nn

from rfsep.storage.atomic import write_text
from rfsep.storage.weights import read_checkpoint
from rfsep.training.callbacks import (
    AtomicCheckpoints,
    BatchSeeds,
    CallTimer,
    Checkpoints,
    Facts,
    FiniteGuard,
    PlateauSteps,
    StepBar,
)
from rfsep.training.curves import LearningPicture
from rfsep.training.metrics_csv import MetricsCsv
from rfsep.training.processes import check_launch, slurm
from rfsep.training.start import compile_model
from rfsep.types import InputError


class TrainerSettings(NamedTuple):
    """The length and devices of a run; see conf/trainer/.

    Attributes:
        max_steps: optimiser steps.
        val_every: steps between validations, each followed by a checkpoint; divides max_steps.
        patience: number of validations without a better one that ends the run; None for no such end.
        precision: precision by Lightning's name, such as bf16-mixed or 32-true.
        accelerator: cpu, gpu, auto.
        devices: number of devices per machine, or "auto".
        num_nodes: number of machines that train together.
        gradient_clip: largest norm of a gradient.
        accumulate: batches per step.
        max_time: DD:HH:MM:SS after which the run stops and can be resumed; None for no limit.
        compile: whether to compile the model.
    """

    max_steps: int
    val_every: int
    patience: int | None
    precision: str
    accelerator: str
    devices: int | str
    num_nodes: int
    gradient_clip: float
    accumulate: int
    max_time: str | None
    compile: bool


class Outcome(NamedTuple):
    """The result of `fit`.

    Attributes:
        finished: whether all steps are done or patience has ended. Otherwise a limit or an interruption stopped the
            run, and the same call resumes it.
        trained: whether this call made steps.
        best_score: score of the best checkpoint by ``monitor``, infinite before the first validation.
    """

    finished: bool
    trained: bool
    best_score: float


def _patience_ended(stopping: dict[str, Any]) -> bool:
    return bool(stopping["wait_count"] >= stopping["patience"])


def _done_before(checkpoint: dict[str, Any], schedule: TrainerSettings) -> bool:
    """Tells whether the checkpoint is the last one of its run."""
    stopping = [state for key, state in checkpoint["callbacks"].items() if key.startswith("EarlyStopping")]
    return cast(int, checkpoint["global_step"]) >= schedule.max_steps or any(map(_patience_ended, stopping))


@rank_zero_only
def _prepare(folder: Path, files: Mapping[str, str]) -> None:
    """Prepares the folder of a run: its files, and nothing half-written by a killed process."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for leftover in (*folder.glob(".*.tmp"), *folder.glob("checkpoints/.*.tmp")):
        leftover.unlink()
    for name, text in files.items():
        write_text(folder / name, text)


def _trainer(folder: Path, schedule: TrainerSettings, callbacks: list[Callback], loggers: list[Logger]) -> pl.Trainer:
    """Returns Lightning's trainer for endless batches, with validation and checkpoints by steps, not epochs."""
    return pl.Trainer(
        default_root_dir=folder,
        max_steps=schedule.max_steps,
        val_check_interval=schedule.val_every * schedule.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        precision=schedule.precision,  # type: ignore[arg-type]
        accelerator=schedule.accelerator,
        devices=schedule.devices,
        num_nodes=schedule.num_nodes,
        gradient_clip_val=schedule.gradient_clip,
        accumulate_grad_batches=schedule.accumulate,
        callbacks=[*callbacks, LearningRateMonitor("step"), StepBar(leave=False)],
        logger=loggers,
        log_every_n_steps=max(1, schedule.val_every // 10),
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpoints(), *slurm(schedule.devices, schedule.num_nodes)],
    )


def _callbacks(
    folder: Path, schedule: TrainerSettings, seed: int, ema_decay: float, monitor: str, flops_per_step: float
) -> tuple[Checkpoints, list[Callback]]:
    """Returns the callbacks of a run; Lightning calls the checkpoints last."""
    best = Checkpoints(folder / "checkpoints", monitor)
    callbacks = [
        best,
        BatchSeeds(seed),
        FiniteGuard(folder),
        PlateauSteps(),
        EMAWeightAveraging(decay=ema_decay),
        Facts(flops_per_step),
        CallTimer(schedule.max_time),
        LearningPicture(folder, flops_per_step),
    ]
    if schedule.patience is not None:
        callbacks.append(EarlyStopping(monitor, patience=schedule.patience, check_finite=False))
    return best, callbacks


def fit(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    folder: Path,
    config_yaml: str,
    schedule: TrainerSettings,
    seed: int,
    ema_decay: float,
    monitor: str,
    flops_per_step: float,
    loggers: Sequence[Logger],
    in_sweep: bool,
    files: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Trains, or resumes training, or returns if everything is done.

    Args:
        module: the objective with its model.
        data: the batches.
        folder: folder of the run: config.yaml, metrics.csv, learning.png, checkpoints/{last,best}.ckpt are written
        here.
        config_yaml: config of the run.
        schedule: length and devices of the run.
        seed: seed of the run, also for dropout.
        ema_decay: decay of the moving average of the weights, which is validated and kept as ``best``.
        monitor: validation metric whose lowest value is the best.
        flops_per_step: FLOPs for the record.
        loggers: loggers beside metrics.csv.
        in_sweep: whether the command line asks for more runs than this one, so other processes cannot repeat it.
        files: further texts to keep in the folder, by file name.

    Raises:
        InputError: max_steps is no multiple of val_every, loss or gradient is not finite, a device is missing, or a
            sweep asks for several devices.
    """
    if schedule.max_steps % schedule.val_every:
        raise InputError(
            f"trainer.max_steps {schedule.max_steps} must be a multiple of trainer.val_every {schedule.val_every}"
        )
    last, first_step = folder / "checkpoints" / "last.ckpt", 0
    if last.is_file():
        before: dict[str, Any] = read_checkpoint(last)
        if _done_before(before, schedule):
            return Outcome(finished=True, trained=False, best_score=before["callbacks"]["Checkpoints"]["best_score"])
        first_step = before["global_step"]
    if schedule.compile:
        compile_model(cast(nn.Module, module.model))
    best, callbacks = _callbacks(folder, schedule, seed, ema_decay, monitor, flops_per_step)
    try:
        trainer = _trainer(folder, schedule, callbacks, [MetricsCsv(folder / "metrics.csv", first_step), *loggers])
        check_launch(trainer, in_sweep)
        _prepare(folder, {**files, "config.yaml": config_yaml})
        trainer.fit(module, data, ckpt_path=last if first_step else None, weights_only=True)
    except SystemExit:  # Lightning ends an interrupted run so, with status 1.
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:  # A device is missing, or a precision unknown.
        raise InputError(" ".join(str(error).split())) from None
    stopping = trainer.early_stopping_callback
    done = trainer.global_step >= schedule.max_steps or (
        stopping is not None and stopping.wait_count >= stopping.patience
    )
    return Outcome(finished=done, trained=True, best_score=best.best_score)
