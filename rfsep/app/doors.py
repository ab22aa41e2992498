"""The doors of the commands: hydra's configs come in, checked and frozen settings go on."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from rfsep.app.config import (
    CONFIG_ERRORS,
    interference_option,
    one_line,
    plain,
    register_resolvers,
    separator_option,
    soi_option,
)
from rfsep.app.hosting.rules import HostSettings, instant
from rfsep.app.learn.request import LearnRequest
from rfsep.app.places import CONF
from rfsep.app.settings import (
    EvaluateSettings,
    Frames,
    Mixing,
    ModelOption,
    NetworkConfig,
    Node,
    ObjectiveOption,
    PrepareSettings,
    Processes,
    TrainSettings,
)
from rfsep.types import InputError

# These keys do not affect results: names, devices and limits.
_PLACES = ("run", "out", "views", "logger", "command")
_LIMITS = ("accelerator", "devices", "num_nodes", "max_time", "compile")


def composed(config_name: str, words: Sequence[str]) -> DictConfig:
    """Returns the config that hydra composes from words as on a command line.

    Args:
        config_name: train, evaluate or prepare.
        words: KEY=VALUE each.

    Raises:
        InputError: an option or a key that conf/ does not know.
    """
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            return compose(config_name, overrides=list(words))
    except CONFIG_ERRORS as error:
        raise InputError(one_line(error)) from None


def whole(config: DictConfig, key: str) -> int:
    """Returns a positive whole number of a config.

    Raises:
        InputError: it is something else.
    """
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{key} is {value!r}, expected a positive whole number")
    return value


def seed_of(config: DictConfig) -> int:
    """Returns the seed of a config.

    Raises:
        InputError: it is no whole number from 0 on.
    """
    seed = config.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a whole number from 0 on")
    return seed


def share_of(config: DictConfig, key: str) -> float:
    """Returns a number between 0 and 1 of a config.

    Raises:
        InputError: it is something else.
    """
    return share(OmegaConf.select(config, key), key)


def share(value: object, key: str) -> float:
    """Returns a value that is a number between 0 and 1.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InputError(f"{key} is {value!r}, expected a number between 0 and 1")
    return float(value)


def numbers(config: DictConfig, key: str) -> list[float]:
    """Returns a list of numbers of a config, not empty.

    Raises:
        InputError: it is something else.
    """
    values = plain(OmegaConf.select(config, key))
    if not isinstance(values, list) or not values or not all(isinstance(value, int | float) for value in values):
        raise InputError(f"{key} is {values!r}, expected a list of numbers such as [-12,0]")
    return [float(value) for value in values]


def _text(config: DictConfig, key: str) -> str | None:
    """Returns a name or a path of a config; None where it is null."""
    value = OmegaConf.select(config, key)
    return None if value is None else str(value)


def _path(config: DictConfig, key: str) -> Path | None:
    return None if (text := _text(config, key)) is None else Path(text)


def _names(config: DictConfig, key: str) -> tuple[str, ...] | None:
    """Returns a list of names, or one name in place of it; None where it is null."""
    value = plain(OmegaConf.select(config, key))
    if value is None:
        return None
    return tuple(str(one) for one in (value if isinstance(value, list) else [value]))


def _frames(config: DictConfig) -> Frames:
    return Frames(whole(config, "examples.num_frames"), whole(config, "examples.num_samples"))


def _mixing(config: DictConfig) -> Mixing:
    augment = config.augment.method if "augment" in config else None
    return Mixing(
        soi_option(config.soi), interference_option(config.interference), plain(augment), plain(config.mixing)
    )


def _as_without_channel(content: Node) -> Node:
    """Returns a config without empty channels, so that ``channel@soi.channel=none`` is the same as no such word."""
    for key in ("soi", "interference"):
        if "channel" in content[key] and not content[key]["channel"]:
            content[key].pop("channel")
    return content


def train_identity(config: DictConfig) -> Node:
    """Returns the parts of a training config that decide the result, unresolved, so that they hold no local path."""
    content: Node = _as_without_channel(cast("Node", OmegaConf.to_container(config)))
    for key in _PLACES:
        content.pop(key, None)
    for key in _LIMITS:
        content["trainer"].pop(key, None)
    content["data"].pop("num_workers", None)
    # Older runs do not have these keys.
    if content["data"].get("repeat_after") is None:
        content["data"].pop("repeat_after", None)
    if content.get("init_share") == 1:
        content.pop("init_share")
    return content


def _check_training(config: DictConfig) -> None:
    """Refuses settings that should be numbers and are not."""
    if any(key in config for key in ("comparison", "timing_error")):
        raise InputError(f"experiment={config.name} is a comparison: python evaluate.py experiment={config.name}")
    for key in ("data.num_samples", "data.batch_size", "data.val_per_sinr", "trainer.val_every"):
        whole(config, key)
    if config.trainer.max_steps != 0:
        whole(config, "trainer.max_steps")
    for key in ("trainer.patience", "data.repeat_after"):
        if OmegaConf.select(config, key) is not None:
            whole(config, key)
    for key in ("data.sinr_db", "data.val_sinr_db"):
        numbers(config, key)


def command_line() -> str:
    """Returns the command line of this run, in a sweep that of this job."""
    return shlex.join(["python", "train.py", *HydraConfig.get().overrides.task])


def train_settings(config: DictConfig, command: str) -> TrainSettings:
    """Returns the settings of train.py.

    Args:
        config: as hydra composed it.
        command: command line for the run's card.

    Raises:
        InputError: an invalid number, or a comparison in place of an experiment that trains.
    """
    _check_training(config)
    model, objective, ema_decay = config.model, config.objective, share_of(config, "objective.ema_decay")
    module = plain(objective.module)
    signals = {key: cast("Node", plain(config[key], resolve=False)) for key in ("soi", "interference")}
    network = NetworkConfig(
        name=str(config.name),
        model=ModelOption(str(model.name), str(model.get("kind")), plain(model.network)),
        num_samples=int(config.data.num_samples),
        guide=_text(config, "guide"),
        separator=plain(config.separator),
        objective=module,
        soi=signals["soi"],
        interference=signals["interference"],
        card=None,
        seed=seed_of(config),
        command=command,
    )
    return TrainSettings(
        network=network,
        objective=ObjectiveOption(str(objective.kind), ema_decay, str(objective.monitor), module),
        mixing=_mixing(config),
        data=plain(config.data),
        trainer=plain(config.trainer),
        examples=_frames(config),
        seed=seed_of(config),
        out=Path(str(config.out)),
        run=_text(config, "run"),
        init_from=_text(config, "init_from"),
        init_share=share_of(config, "init_share"),
        tokenizer=_text(config, "tokenizer"),
        views=_path(config, "views"),
        wandb=plain(config.logger.wandb),
        identity=train_identity(config),
        text=OmegaConf.to_yaml(OmegaConf.merge({"command": command}, config)),
    )


def learn_settings(config: DictConfig) -> tuple[LearnRequest, Path, int]:
    """Returns the request of ``experiment=learn``, its folder, and the number of processes.

    Raises:
        InputError: an invalid number.
    """
    choices = HydraConfig.get().runtime.choices
    examples = _text(config, "learn.examples") or str(choices["interference"])
    minutes = numbers(OmegaConf.create({"minutes": [plain(config.learn.minutes)]}), "minutes")[0]
    request = LearnRequest(examples, str(choices["soi"]), minutes, seed_of(config))
    name = _text(config, "run") or re.sub(r"[^A-Za-z0-9._-]", "-", Path(examples).stem)
    return request, Path(str(config.out), str(config.name), name), whole(config, "learn.processes")


def evaluate_settings(config: DictConfig) -> EvaluateSettings:
    """Returns the settings of evaluate.py.

    Raises:
        InputError: an invalid number, or a comparison without levels.
    """
    comparison = plain(config.comparison) if "comparison" in config else None
    if comparison is not None:
        comparison["sir_db"] = numbers(config, "comparison.sir_db")
    testset = _path(config, "testset")
    name = _text(config, "set")
    return EvaluateSettings(
        separator=None if config.separator is None else separator_option(config.separator),
        testset=testset if testset is None or name is None else testset / name,
        out=_path(config, "out"),
        run=_text(config, "run"),
        types=_names(config, "types"),
        fitting=bool(config.fitting),
        max_seconds_per_mixture=config.max_seconds_per_mixture,
        submissions=tuple(Path(one) for one in _names(config, "submission") or ()),
        leaderboard=_path(config, "leaderboard"),
        signals=bool(config.signals),
        mixture=_row(config),
        id=_text(config, "id"),
        bounds=_names(config, "bounds") or (),
        fresh=bool(config.fresh),
        num_mixtures=None if config.num_mixtures is None else whole(config, "num_mixtures"),
        processes=Processes(whole(config, "devices"), whole(config, "num_nodes")),
        examples=_frames(config),
        name=str(config.get("name")),
        comparison=comparison,
        landscape=plain(config.landscape) if "landscape" in config else None,
        timing_error=plain(config.timing_error) if "timing_error" in config else None,
        wandb=plain(config.logger.wandb),
    )


def _row(config: DictConfig) -> int | None:
    """Returns the row of a mixture file that a config names, if any."""
    row = config.mixture
    if row is None or (isinstance(row, int) and not isinstance(row, bool) and row >= 0):
        return row
    raise InputError(f"mixture is {row!r}, expected the number of a row, counted from 0")


def host_settings(config: DictConfig) -> HostSettings:
    """Returns the settings of rfsep host.

    Raises:
        InputError: an invalid number or time, or an end that does not follow the beginning.
    """
    share, settle = share_of(config, "public"), config.settle
    if share in (0, 1):
        raise InputError(f"public is {share:g}, expected a number between 0 and 1, such as 0.5")
    if not isinstance(settle, int) or isinstance(settle, bool) or settle < 0:
        raise InputError(f"settle is {settle!r}, expected whole seconds from 0 on")
    opens, closes = (instant(str(config[key]), key) for key in ("opens", "closes"))
    if closes <= opens:
        raise InputError(f"closes={config.closes} is not after opens={config.opens}")
    testset, inbox, out = (Path(str(config[key])) for key in ("testset", "inbox", "out"))
    seed = None if config.seed is None else seed_of(config)
    daily = whole(config, "daily")
    return HostSettings(testset, inbox, out, opens, closes, daily, share, settle, seed, _frames(config))


def prepare_settings(config: DictConfig) -> PrepareSettings:
    """Returns the settings of data/prepare.py, for one mixture type.

    Raises:
        InputError: an invalid number, or levels that do not rise.
    """
    levels = numbers(config, "sinr_db")
    if sorted(set(levels)) != levels:
        raise InputError(f"sinr_db {levels} must rise from level to level")
    identity = _as_without_channel(cast("Node", OmegaConf.to_container(config)))
    for place in ("out", "official", "seed", "types"):
        identity.pop(place)
    duty = 0.0 if config.duty is None else share_of(config, "duty")
    if duty == 0:
        # A set without it is the same as before there was this key.
        identity.pop("duty")
    return PrepareSettings(
        mixing=_mixing(config),
        split=str(config.split),
        num_samples=whole(config, "num_samples"),
        num_per_sinr=whole(config, "num_per_sinr"),
        sinr_db=tuple(levels),
        seed=None if config.seed is None else seed_of(config),
        out=Path(str(config.out)),
        official=bool(config.official),
        duty=duty,
        identity=identity,
    )


def with_sources(config: DictConfig, soi: Node, interference: Node) -> DictConfig:
    """Returns a config of data/prepare.py with another SOI and interference, given as the settings of their YAMLs.

    Channels of the command line or an experiment stay.
    """
    one = config.copy()
    channels = {key: plain(config[key].get("channel"), resolve=False) for key in ("soi", "interference")}
    for key, settings in (("soi", soi), ("interference", interference)):
        one[key] = {**settings, "channel": channels[key]} if channels[key] else settings
    return one
