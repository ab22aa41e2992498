"""Shares work among several processes and machines, by Lightning's predict loop."""

import logging
import os
import signal
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from torch.utils.data import DataLoader

from rfsep.training.processes import check_launch, slurm
from rfsep.types import InputError

_PATIENCE = timedelta(days=7)  # longest wait of a finished process for the others


def is_first() -> bool:
    """Tells whether this process is the first, as far as it knows before it has met the others."""
    first_machine = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")) == "0"
    return first_machine and cast(Any, rank_zero_only).rank == 0


class _Share(pl.LightningModule):
    """One process's share of the pieces: those of its rank modulo the number of processes, none twice."""

    def __init__(self, work: Callable[[int], None], number: int) -> None:
        super().__init__()
        self.work = work
        self.number = number
        self.refusal: str | None = None
        self.allow_zero_length_dataloader_with_multiple_devices = True  # There may be fewer pieces than processes.

    def predict_dataloader(self) -> DataLoader[int]:
        """Returns the numbers of this process's pieces."""
        pieces = range(self.trainer.global_rank, self.number, self.trainer.world_size)
        return DataLoader(pieces, batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, piece: int, _: int) -> int:
        """Does a piece and returns its number; after a refusal it only waits for the others."""
        try:
            if self.refusal is None:
                self.work(int(piece))
        except (InputError, OSError) as error:
            self.refusal = str(error)
        return int(piece)


def _interrupt(*_: object) -> None:
    """Handles SIGTERM, which Lightning would only note; it passes the signal on to the others first."""
    raise KeyboardInterrupt


def _answers(answer: tuple[str, str | None], number: int) -> list[tuple[str, str | None]]:
    """Returns the answers of all processes, once all are done."""
    answers = [answer] * number
    try:
        torch.distributed.all_gather_object(answers, answer)
    except RuntimeError as error:  # gloo raises it on a closed connection.
        text = "another process ended before its work was done; the same command goes on from there"
        raise InputError(text) from error
    return answers


def share(
    work: Callable[[int], None], number: int, devices: int, num_nodes: int, identity: str, in_sweep: bool
) -> bool:
    """Does ``work(0)`` to ``work(number - 1)``, each in one of several processes, and waits until all is done.

    Lightning starts the others: on this machine by itself, on several machines under torchrun or srun.

    Args:
        work: does a piece and leaves its result in a file, because processes do not share memory.
        number: number of pieces.
        devices: processes per machine.
        num_nodes: number of machines.
        identity: identity of the work; a process with another one has other code or files.
        in_sweep: whether the command line asks for more than this job, so other processes cannot repeat it.

    Returns:
        Whether this process continues with the results.

    Raises:
        InputError: work raised one in any process, processes have different work, one was killed, or a sweep asks for
            several devices.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):  # Both print greetings and tips.
        logging.getLogger(name).setLevel(logging.WARNING)
    module = _Share(work, number)
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=devices,
            num_nodes=num_nodes,
            strategy=DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE),
            callbacks=[RichProgressBar(leave=False)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            inference_mode=False,  # Separators choose for themselves.
            plugins=slurm(devices, num_nodes),
        )
        check_launch(trainer, in_sweep)
        trainer.predict(module, return_predictions=False)
        answers = _answers((identity, module.refusal), trainer.world_size)
    except SystemExit:  # Lightning ends an interrupted run so, with status 1.
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if len({answer for answer, _ in answers}) > 1:
        raise InputError("the processes do not do the same work: code, settings or files differ between machines")
    if told := [refusal for _, refusal in answers if refusal is not None]:
        raise InputError(told[0])
    return bool(trainer.is_global_zero)
