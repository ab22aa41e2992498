"""Train a separator: python train.py experiment=NAME [key=value ...]; the same command resumes."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from rfsep.cli import build_guide, build_modem, build_source, console, instantiate, run
from rfsep.models.cost import forward_flops
from rfsep.training.data import MixtureData
from rfsep.training.fit import Schedule, fit


def run_name(config: DictConfig) -> str:
    """``run=`` or a hash of everything that decides the result (not the device, the loggers or time limits)."""
    if config.run is not None:
        return str(config.run)
    content: Any = OmegaConf.to_container(config, resolve=True)
    for key in ("run", "out", "logger"):
        content.pop(key)
    for key in ("accelerator", "devices", "max_time"):
        content["trainer"].pop(key)
    content["data"].pop("num_workers")
    return hashlib.sha256(OmegaConf.to_yaml(OmegaConf.create(content), sort_keys=True).encode()).hexdigest()[:10]


def main(config: DictConfig) -> None:
    """Instantiate the parts, train them, and say where the results are."""
    torch.manual_seed(config.seed)
    folder = Path(config.out) / config.name / run_name(config)
    data = MixtureData(
        soi=build_modem(config.soi),
        interference=build_source(config.interference, "train"),
        val_interference=build_source(config.interference, "val"),
        seed=config.seed,
        **config.data,
    )
    model = instantiate(config.model.network)
    guide = build_guide(config)
    schedule = Schedule(**config.trainer)
    per_sample = forward_flops(model, config.data.num_samples, guided=guide is not None)
    samples_per_step = config.data.batch_size * config.data.num_samples * schedule.accumulate
    loggers = []
    if config.logger.wandb is not None:
        from pytorch_lightning.loggers import WandbLogger

        loggers.append(WandbLogger(name=folder.name, save_dir=folder, **config.logger.wandb))
    outcome = fit(
        instantiate(config.objective.module, model=model, guide=guide),
        data,
        folder,
        OmegaConf.to_yaml(config, resolve=True),
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
