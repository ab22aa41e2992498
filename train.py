"""Train a separator: python train.py experiment=NAME [key=value ...]; the same command resumes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from rfsep.cli import build_guide, build_mixer, console, instantiate, load_config, numbers, plain, run, whole
from rfsep.models.cost import forward_flops
from rfsep.training.data import MixtureData
from rfsep.training.fit import Schedule, fit
from rfsep.types import InputError

PLACES = ("run", "out", "logger")  # what does not decide the result: names, devices and limits
LIMITS = ("accelerator", "devices", "max_time")


def identity(config: DictConfig) -> dict[str, Any]:
    """Everything in a config that decides the result, unresolved, so that no path of a machine is in it."""
    content: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    for key in PLACES:
        content.pop(key, None)
    for key in LIMITS:
        content["trainer"].pop(key, None)
    content["data"].pop("num_workers", None)
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
    for key in ("data.sinr_db", "data.val_sinr_db"):
        numbers(config, key)
    guided = bool(config.model.network.get("guided", False))
    if guided != (config.guide is not None):
        raise InputError(f"model {config.model.name} has guided: {guided}, which does not fit guide={config.guide}")


def main(config: DictConfig) -> None:
    """Instantiate the parts, train them, and say where the results are."""
    check(config)
    folder = run_folder(config)
    torch.manual_seed(config.seed)
    data = MixtureData(
        mixer=build_mixer(config, "train"),
        val_mixer=build_mixer(config, "val"),
        seed=config.seed,
        **plain(config.data),
    )
    model, guide = instantiate(config.model.network), build_guide(config)
    schedule = Schedule(**plain(config.trainer))
    per_sample = forward_flops(model, config.data.num_samples, guided=guide is not None)
    samples_per_step = config.data.batch_size * config.data.num_samples * schedule.accumulate
    loggers = []
    if config.logger.wandb is not None:
        from pytorch_lightning.loggers import WandbLogger

        loggers.append(WandbLogger(name=folder.name, save_dir=folder, **plain(config.logger.wandb)))
    outcome = fit(
        instantiate(config.objective.module, model=model, guide=guide),
        data,
        folder,
        OmegaConf.to_yaml(config),
        schedule,
        ema_decay=config.objective.ema_decay,
        flops_per_step=3 * per_sample * samples_per_step,  # the backward pass costs twice the forward pass
        loggers=loggers,
    )
    state = "finished" if outcome.finished else "stopped at its time limit; the same command goes on"
    before = "" if outcome.trained else " before"
    console.print(f"{state}{before}: validation MSE {outcome.best_mse_db:.2f} dB, results in {folder}")


if __name__ == "__main__":
    run(main, "train")
