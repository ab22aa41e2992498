"""Trains a network, tokenizer or prior: ``python train.py experiment=NAME``, or ``rfsep train``."""

import copy
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from rfsep.app.build import check_separator
from rfsep.app.config import build_mixer, console, in_sweep, instantiate
from rfsep.app.doors import command_line, learn_settings, train_identity, train_settings
from rfsep.app.networks.kinds import kind_of
from rfsep.app.networks.runs import (
    Run,
    flops_per_sample,
    open_run,
    take_tokenizer,
    weights_of,
    with_tokenizer,
    write_weights_of,
)
from rfsep.app.settings import TrainSettings
from rfsep.app.trust import load_config
from rfsep.storage.atomic import write_text
from rfsep.storage.faults import fault, foreign
from rfsep.storage.locks import sweep
from rfsep.training.curves import redraw
from rfsep.training.data import MixtureData
from rfsep.training.fit import Outcome, TrainerSettings, fit
from rfsep.training.start import start_from
from rfsep.types import InputError

# File of a run's folder with the run's id at Weights & Biases, so that a run that goes on is one run there.
WANDB_ID = "wandb_id.txt"


def run_folder(settings: TrainSettings) -> Path:
    """Returns runs/<experiment>/<run>, where <run> is ``run=`` or a hash of all settings that affect the result.

    Raises:
        InputError: the folder holds a run of another configuration.
    """
    digest = hashlib.sha256(json.dumps(settings.identity, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(settings.out, settings.network.name, settings.run or digest)
    if (folder / "config.yaml").is_file():
        content, before = copy.deepcopy(settings.identity), train_identity(load_config(folder / "config.yaml"))
        for one in (content, before):
            # The same run may continue for more steps.
            one["trainer"].pop("max_steps")
        differing = [key for key in content if content[key] != before.get(key)]
        if differing:
            raise InputError(f"{folder} holds a run with other settings in {', '.join(differing)}; give another run=")
    return folder


def check(settings: TrainSettings) -> None:
    """Refuses settings that would only fail later."""
    network, learns = settings.network, settings.objective.kind
    model = network.model
    kind_of(network)
    if network.separator is not None:
        check_separator(network.separator, model.kind)
    if model.kind != learns:
        raise InputError(
            f"model {model.name} is of kind {model.kind}, and its objective is for {learns}; choose an objective of"
            f" conf/objective that is for {model.kind}"
        )
    guided = bool(model.network.get("guided", False))
    if guided != (network.guide is not None):
        raise InputError(f"model {model.name} has guided: {guided}, which does not fit guide={network.guide}")


def wandb_id(folder: Path) -> str:
    """Returns the id of a run at Weights & Biases: the one in its folder, a new one for a new run.

    Raises:
        InputError: the file holds something else.
    """
    path = folder / WANDB_ID
    if not path.is_file():
        return secrets.token_hex(8)
    with foreign(path, "cannot be read"):
        id = path.read_text().strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id):
        raise fault(path, f"holds {id[:64]!r}, expected the id of a run, 1 to 64 letters, digits, _ and -")
    return id


def loggers(settings: TrainSettings, folder: Path) -> dict[str, Logger]:
    """Returns the logger besides metrics.csv by the id of its run, none where metrics.csv is enough."""
    if settings.wandb is None:
        return {}
    # This import takes seconds.
    from pytorch_lightning.loggers import WandbLogger

    told = {"id": wandb_id(folder), **settings.wandb}
    return {str(told["id"]): WandbLogger(name=folder.name, save_dir=folder, resume="allow", **told)}


@rank_zero_only
def end_logging() -> None:
    """Ends the run at Weights & Biases, so that the next training of this process is another one there."""
    # This import takes seconds.
    import wandb

    wandb.finish()


@rank_zero_only
def conclude(outcome: Outcome, monitor: str, folder: Path) -> None:
    """Makes a finished run's folder a portable model, and reports where the results are."""
    portable = folder / "model.safetensors"
    for place in (folder, folder / "checkpoints"):
        sweep(place)
    if outcome.finished and (outcome.trained or not portable.is_file()):
        # The run was killed after the training, before everything was written.
        if not outcome.trained:
            redraw(folder)
        write_weights_of(open_run(str(folder)), portable)
    state = "finished" if outcome.finished else "stopped at its time limit; the same command goes on"
    before = "" if outcome.trained else " before"
    reached = f"best {monitor} {outcome.best_score:.4g}" if outcome.best_score < float("inf") else "not validated yet"
    console.print(f"{state}{before}: {reached}, results in {folder}")


@rank_zero_only
def keep_start(model: torch.nn.Module, settings: TrainSettings, folder: Path) -> None:
    """Makes a run folder with the initial weights, for a run of zero steps."""
    facts = dict.fromkeys(("steps", "chosen_steps", "minutes", "core_minutes", "flops"), 0)
    write_text(folder / "config.yaml", settings.text)
    write_weights_of(Run(model, settings.network, facts), folder / "model.safetensors")
    console.print(f"finished: no steps, the weights to start from are in {folder}")


def main(config: DictConfig) -> None:
    """Instantiates the parts, trains them, and reports where the results are; with ``learn:``, finds a separator."""
    if "learn" in config:
        learn_separator(config)
        return
    settings = train_settings(config, command_line())
    check(settings)
    settings = with_tokenizer(settings)
    folder = run_folder(settings)
    beside = loggers(settings, folder)
    if not beside:
        train(settings, folder, ())
        return
    (id,) = beside
    train(settings, folder, list(beside.values()), {WANDB_ID: f"{id}\n"})
    end_logging()


def learn_separator(config: DictConfig) -> None:
    """Does what ``rfsep learn`` does, for the options on the command line."""
    # Learning trains networks by this module.
    from rfsep.app.learn.learn import learn

    request, folder, processes = learn_settings(config)
    learn(request, folder, processes)


def train(
    settings: TrainSettings, folder: Path, beside: Sequence[Logger], files: Mapping[str, str] = MappingProxyType({})
) -> Outcome:
    """Trains, or goes on, in a run folder.

    Args:
        settings: settings of the training.
        folder: folder of the run.
        beside: loggers besides metrics.csv.
        files: texts to keep in the folder, by file name.
    """
    torch.manual_seed(settings.seed)
    known, val = (build_mixer(settings.mixing, split) for split in ("train", "val"))
    data = MixtureData(mixer=known, val_mixer=val, seed=settings.seed, **settings.data)
    model = instantiate(settings.network.model.network)
    take_tokenizer(settings, model)
    if settings.init_from is not None:
        taken = start_from(model, weights_of(settings.init_from), settings.init_from, settings.init_share)
        rank_zero_only(console.print)(taken.told(settings.init_from), markup=False, soft_wrap=True)
    trainer, objective = TrainerSettings(**settings.trainer), settings.objective
    if trainer.max_steps == 0 and not (folder / "checkpoints" / "last.ckpt").is_file():
        keep_start(model, settings, folder)
        return Outcome(finished=True, trained=False, best_score=float("inf"))
    per_sample = flops_per_sample(settings.network, model)
    samples_per_step = settings.data["batch_size"] * settings.data["num_samples"] * trainer.accumulate
    arguments = kind_of(settings.network).objective_arguments(settings, model)
    outcome = fit(
        instantiate(objective.module, model=model, **arguments),
        data,
        folder,
        settings.text,
        trainer,
        seed=settings.seed,
        ema_decay=objective.ema_decay,
        monitor=objective.monitor,
        flops_per_step=3 * per_sample * samples_per_step,  # the backward pass costs twice the forward pass
        loggers=beside,
        in_sweep=in_sweep(),
        files=files,
    )
    conclude(outcome, objective.monitor, folder)
    return outcome
