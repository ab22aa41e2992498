"""Trains a network, tokenizer or prior: ``python train.py experiment=NAME``, or ``rfsep train``."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from rfsep.app.build import check_separator
from rfsep.app.config import build_mixer, console, in_sweep, instantiate, numbers, plain, whole
from rfsep.app.kinds import kind_of
from rfsep.app.runs import flops_per_sample, open_run, take_tokenizer, weights_of, with_tokenizer, write_weights_of
from rfsep.app.trust import load_config
from rfsep.storage.locks import sweep
from rfsep.training.curves import redraw
from rfsep.training.data import MixtureData
from rfsep.training.fit import Outcome, Schedule, fit
from rfsep.training.start import start_from
from rfsep.types import InputError

PLACES = ("run", "out", "views", "logger", "command")  # what does not decide the result: names, devices and limits
LIMITS = ("accelerator", "devices", "num_nodes", "max_time", "compile")


def identity(config: DictConfig) -> dict[str, Any]:
    """Everything in a config that decides the result, unresolved, so that no path of a machine is in it."""
    content: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    for key in PLACES:
        content.pop(key, None)
    for key in LIMITS:
        content["trainer"].pop(key, None)
    content["data"].pop("num_workers", None)
    if content["data"].get("repeat_after") is None:  # as in runs that do not know the word
        content["data"].pop("repeat_after", None)
    return content


def run_folder(config: DictConfig) -> Path:
    """runs/<experiment>/<run>, where <run> is ``run=`` or a hash of what decides the result.

    Raises:
        InputError: the folder holds a run of another configuration.
    """
    content = identity(config)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(str(config.out), str(config.name), str(config.run or digest))
    if (folder / "config.yaml").is_file():
        before = identity(load_config(folder / "config.yaml"))
        for one in (content, before):
            one["trainer"].pop("max_steps")  # more steps may be asked of the same run
        differing = [key for key in content if content[key] != before.get(key)]
        if differing:
            raise InputError(f"{folder} holds a run with other settings in {', '.join(differing)}; give another run=")
    return folder


def check(config: DictConfig) -> None:
    """Refuse what could only fail later."""
    if "comparison" in config:
        raise InputError(f"experiment={config.name} is a comparison: python evaluate.py experiment={config.name}")
    for key in ("data.num_samples", "data.batch_size", "data.val_per_sinr", "trainer.max_steps", "trainer.val_every"):
        whole(config, key)
    for key in ("trainer.patience", "data.repeat_after"):
        if OmegaConf.select(config, key) is not None:
            whole(config, key)
    for key in ("data.sinr_db", "data.val_sinr_db"):
        numbers(config, key)
    kind_of(config)
    if config.separator is not None:
        check_separator(plain(config.separator), config.model.kind)
    if config.model.kind != config.objective.kind:
        raise InputError(
            f"model {config.model.name} is of kind {config.model.kind}, and its objective is for"
            f" {config.objective.kind}; choose an objective of conf/objective that is for {config.model.kind}"
        )
    guided = bool(config.model.network.get("guided", False))
    if guided != (config.guide is not None):
        raise InputError(f"model {config.model.name} has guided: {guided}, which does not fit guide={config.guide}")


def loggers(config: DictConfig, folder: Path) -> list[Logger]:
    """What is logged to beside metrics.csv."""
    if config.logger.wandb is None:
        return []
    from pytorch_lightning.loggers import WandbLogger  # an import of seconds

    return [WandbLogger(name=folder.name, save_dir=folder, **plain(config.logger.wandb))]


def command() -> str:
    """The command line of this run, of one job where it is a sweep."""
    return shlex.join(["python", "train.py", *HydraConfig.get().overrides.task])


@rank_zero_only
def conclude(outcome: Outcome, monitor: str, folder: Path) -> None:
    """Make a finished run's folder a portable model, and say where the results are."""
    portable = folder / "model.safetensors"
    for place in (folder, folder / "checkpoints"):
        sweep(place)
    if outcome.finished and (outcome.trained or not portable.is_file()):
        if not outcome.trained:  # killed when all was learned, before all was written
            redraw(folder)
        write_weights_of(open_run(str(folder)), portable)
    state = "finished" if outcome.finished else "stopped at its time limit; the same command goes on"
    before = "" if outcome.trained else " before"
    reached = f"best {monitor} {outcome.best_score:.4g}" if outcome.best_score < float("inf") else "not validated yet"
    console.print(f"{state}{before}: {reached}, results in {folder}")


def main(config: DictConfig) -> None:
    """Instantiate the parts, train them, and say where the results are."""
    check(config)
    config = with_tokenizer(config)
    folder = run_folder(config)
    torch.manual_seed(config.seed)
    data = MixtureData(
        mixer=build_mixer(config, "train"),
        val_mixer=build_mixer(config, "val"),
        seed=config.seed,
        **plain(config.data),
    )
    model = instantiate(config.model.network)
    take_tokenizer(config, model)
    if config.init_from is not None:
        taken = start_from(model, weights_of(str(config.init_from)), config.init_from)
        rank_zero_only(console.print)(taken.told(config.init_from), markup=False, soft_wrap=True)
    schedule = Schedule(**plain(config.trainer))
    per_sample = flops_per_sample(config, model)
    samples_per_step = config.data.batch_size * config.data.num_samples * schedule.accumulate
    outcome = fit(
        instantiate(config.objective.module, model=model, **kind_of(config).objective_arguments(config, model)),
        data,
        folder,
        OmegaConf.to_yaml(OmegaConf.merge({"command": command()}, config)),
        schedule,
        seed=config.seed,
        ema_decay=config.objective.ema_decay,
        monitor=config.objective.monitor,
        flops_per_step=3 * per_sample * samples_per_step,  # the backward pass costs twice the forward pass
        loggers=loggers(config, folder),
        in_sweep=in_sweep(),
    )
    conclude(outcome, config.objective.monitor, folder)
