"""What training and evaluation by several processes have in common."""

import logging
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from rfsep.types import InputError

_OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"  # says which process was killed


def slurm() -> list[Any]:
    """Lightning's plugin where SLURM runs; requeueing is SLURM's and the user's business: the same command resumes."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def check_launch(trainer: pl.Trainer, in_sweep: bool) -> None:
    """Look at how a trainer comes to its processes, before it does.

    Args:
        trainer: that has done nothing yet.
        in_sweep: the command line asks for more than this job.

    Raises:
        InputError: it would start others from a job of a sweep: they begin with the whole command line, and each of
            them would do the sweep.
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
