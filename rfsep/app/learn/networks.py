"""The networks of a learning: which are trained, for how many steps, and where."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rfsep.app.config import instantiate
from rfsep.app.doors import composed, train_settings, with_sources
from rfsep.app.learn.material import Material
from rfsep.app.learn.request import CORE_FLOPS, LearnRequest
from rfsep.app.networks.runs import flops_per_sample
from rfsep.app.places import CONF
from rfsep.app.settings import Frames, TrainSettings
from rfsep.app.soi import described_soi
from rfsep.types import InputError

FAST_S = 0.01  # processor seconds per mixture that a guide may take, so that training batches do not wait for it
_FAST_GUIDE = "guide=fast"
_VALIDATIONS_PER_MINUTE = 1.5  # Each comes with a checkpoint, so that a kill costs less than a minute.
_FEWEST_VALIDATIONS = 4


class Stage(NamedTuple):
    """One training of a network, which a later stage may continue.

    Attributes:
        network: name in conf/learn.yaml.
        words: words of train.py.
        folder: run folder.
        core_minutes: how long it takes on one core.
        start: run folder of the stage before; None for a fresh start.
    """

    network: str
    words: tuple[str, ...]
    folder: Path
    core_minutes: float
    start: str | None


def networks(guide: str) -> dict[str, tuple[str, ...]]:
    """Returns the words of every network in conf/learn.yaml by its name.

    Args:
        guide: separator in place of ``guide=fast``.
    """
    content = _content()["networks"]
    told = {_FAST_GUIDE: f"guide={guide}"}
    return {name: tuple(told.get(word, word) for word in words) for name, words in content.items()}


def ready() -> dict[str, str]:
    """Returns the networks that are tried as they are: zoo:NAME by name."""
    found: dict[str, str] = _content()["ready"]
    return found


def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONF / "learn.yaml").read_text(encoding="utf-8"))
    return content


def settings_of(request: LearnRequest, material: Material, stage: Stage) -> TrainSettings:
    """Returns the settings of a stage's training.

    Raises:
        InputError: words that train.py does not know.
    """
    command = ["logger=csv", f"seed={request.seed}", "trainer.max_steps=1", "trainer.val_every=1"]
    frames = f"examples.num_samples={material.known.shape[1]}"
    config = composed("train", [*stage.words, *command, frames])
    num_samples = min(int(config.data.num_samples), material.num_samples)
    option = material.option
    config = with_sources(config, described_soi(request.soi).settings, option.settings)
    config.data.num_samples = num_samples
    config.out, config.run = str(stage.folder.parent), stage.folder.name
    settings = train_settings(config, f"rfsep learn {request.examples} --soi {request.soi}")
    model = instantiate(settings.network.model.network)
    per_step = 3 * flops_per_sample(settings.network, model) * settings.data["batch_size"] * num_samples
    steps = max(_FEWEST_VALIDATIONS, round(60 * stage.core_minutes * CORE_FLOPS / per_step))
    times = max(_FEWEST_VALIDATIONS, math.ceil(_VALIDATIONS_PER_MINUTE * stage.core_minutes))
    every = -(-steps // times)
    config.trainer.val_every, config.trainer.max_steps = every, every * times
    settings = train_settings(config, f"rfsep learn {request.examples} --soi {request.soi}")
    return replace(
        settings,
        init_from=stage.start or settings.init_from,
        init_share=settings.init_share if stage.start is None else 1.0,
        examples=Frames(len(material.known), material.known.shape[1]),
    )


def train_stage(
    request: LearnRequest, material: Material, stage: Stage, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Trains a network, or goes on with it, and returns facts about the training."""
    # These imports take seconds.
    from rfsep.app.train import train
    from rfsep.training.metrics_csv import StepReport

    settings = settings_of(request, material, stage)
    steps = int(settings.trainer["max_steps"])
    outcome = train(settings, stage.folder, [StepReport(lambda step: progress(step / steps))])
    if not outcome.finished:
        raise InputError(f"{stage.folder}: the training was stopped")
    return {"run": str(stage.folder), "steps": steps, "best": outcome.best_score}
