"""Trains a network, tokenizer or prior: ``python train.py experiment=NAME``, or ``rfsep train``."""

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

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
from rfsep.storage.locks import sweep
from rfsep.training.curves import redraw
from rfsep.training.data import MixtureData
from rfsep.training.fit import Outcome, TrainerSettings, fit
from rfsep.training.start import start_from
from rfsep.types import InputError


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


def loggers(settings: TrainSettings, folder: Path) -> list[Logger]:
    """Returns the loggers besides metrics.csv."""
    if settings.wandb is None:
        return []
    # This import takes seconds.
    from pytorch_lightning.loggers import WandbLogger

    return [WandbLogger(name=folder.name, save_dir=folder, **settings.wandb)]


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
    train(settings, folder, loggers(settings, folder))


def learn_separator(config: DictConfig) -> None:
    """Does what ``rfsep learn`` does, for the options on the command line."""
    # Learning trains networks by this module.
    from rfsep.app.learn.learn import learn

    request, folder, processes = learn_settings(config)
    learn(request, folder, processes)


def train(settings: TrainSettings, folder: Path, beside: Sequence[Logger]) -> Outcome:
    """Trains, or goes on, in a run folder.

    Args:
        settings: settings of the training.
        folder: folder of the run.
        beside: loggers besides metrics.csv.
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
    )
    conclude(outcome, objective.monitor, folder)
    return outcome
