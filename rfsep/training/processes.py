"""Shared parts of training and evaluation by several processes."""

import logging
import os
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from rfsep.types import InputError

_OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"  # This module reports which process was killed.


def slurm(devices: int | str, num_nodes: int) -> list[Any]:
    """Returns Lightning's plugin under SLURM, without requeueing, because the same command resumes.

    Args:
        devices: processes per machine that are asked for; "auto" leaves their number to SLURM.
        num_nodes: machines that are asked for.

    Raises:
        InputError: SLURM's tasks are not these processes. Some would wait for others that never come, or each would do
            the work of all.
    """
    if not SLURMEnvironment.detect():
        return []
    tasks, per_node = int(os.environ["SLURM_NTASKS"]), os.environ.get("SLURM_NTASKS_PER_NODE")
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise InputError(f"SLURM gave {tasks} tasks, and this is none of them: begin the command with srun")
    if tasks > 1 and per_node is None:
        raise InputError(f"SLURM's --ntasks={tasks} says nothing of machines: give --nodes and --ntasks-per-node")
    wanted = tasks if devices == "auto" else int(devices) * num_nodes
    if tasks != wanted or (per_node is not None and tasks > 1 and int(per_node) * num_nodes != tasks):
        raise InputError(
            f"SLURM started {tasks} tasks (--ntasks-per-node={per_node}), but {devices} devices on {num_nodes} "
            f"machines were asked for: devices= is tasks per machine, and num_nodes= the machines"
        )
    return [SLURMEnvironment(auto_requeue=False)]


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
