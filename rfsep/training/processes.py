"""Shared parts of training and evaluation by several processes."""

import logging
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from rfsep.types import InputError

_OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"  # This module reports which process was killed.


def slurm() -> list[Any]:
    """Returns Lightning's plugin under SLURM, without requeueing, because the same command resumes."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def check_launch(trainer: pl.Trainer, in_sweep: bool) -> None:
    """Checks how a trainer will start its processes.

    Args:
        trainer: a trainer that has done nothing yet.
        in_sweep: whether the command line asks for more than this job.

    Raises:
        InputError: a job of a sweep would start others. They begin with the whole command line, and each of them would
            run the sweep.
    """
    logging.getLogger(_OBSERVER).setLevel(logging.INFO)
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher) or launcher.cluster_environment.creates_processes_externally:
        return
    if in_sweep and trainer.world_size > 1:
        raise InputError(
            f"{trainer.num_devices} devices in a sweep: a job of a sweep is one process, unless SLURM or torchrun "
            "starts them; hydra/launcher=joblib does several jobs at a time"
        )
