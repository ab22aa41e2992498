"""What the scripts share: running a hydra task with one-line errors, and turning configs into objects."""

import copyreg
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from rfsep.app.places import CONF, ROOT, add_config_dir, option_files
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.recordings import Recorded
from rfsep.storage.faults import printable
from rfsep.types import InputError, Modem, Separator, SignalSource

_UNSET = re.compile(r"Environment variable '(\w+)' not found")
CONFIG_ERRORS = (HydraException, OmegaConfBaseException)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


class NotNamedError(InputError):
    """Recordings that the environment variable for them does not name, so that others may stand for them."""


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks, of the cause where hydra wraps one."""
    while isinstance(error, HydraException | OmegaConfBaseException) and isinstance(error.__cause__, ValueError):
        error = error.__cause__
    return printable(" ".join(line.strip() for line in str(error).strip().splitlines()))


def _fault(error: BaseException) -> str:
    """What is wrong with a value, in one line."""
    text = one_line(error)
    if variable := _UNSET.search(text):
        return f"{variable[1]} is not set: data/README.md says which recordings it has to name"
    return text


def _command_line_fault(error: BaseException, config_name: str) -> str:
    """What is wrong with a key or an option on the command line, with the choices."""
    text = _fault(error)
    if missing := re.search(r"Could not find '([^'/]+)/([^']+)'", text):
        group, name = missing.groups()
        choices = sorted(
            path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml")
        )
        return f"unknown option {group}/{name}; choose one of {', '.join(choices)}"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        config = cast(DictConfig, OmegaConf.load(CONF / f"{config_name}.yaml"))
        groups = [str(next(iter(entry))) for entry in config.pop("defaults") if isinstance(entry, DictConfig)]
        keys = [str(key) for key in config if key != "hydra"]
        return f"unknown key '{unknown[1]}'; the keys of conf/{config_name}.yaml are {', '.join(groups + keys)}"
    return text


def register_resolvers() -> None:
    """What the YAMLs of conf/ use beside OmegaConf's own: ``${root:path}`` is a path beside conf/."""
    OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)


def _console(name: str) -> Console:
    return {"console": console, "errors": errors}[name]


def _by_name(one: Console) -> tuple[Callable[[str], Console], tuple[str]]:
    """How a console goes to another process with a task that prints to it: that process has its own."""
    return _console, ("errors" if one is errors else "console",)


class _Guarded:
    """A task with one-line errors, which a launcher can send to another process."""

    def __init__(self, task: Callable[[DictConfig], None], config_name: str) -> None:
        self.task = task
        self.config_name = config_name

    def __call__(self, config: DictConfig) -> None:
        """Do the task; hydra lets SystemExit pass without a word of its own."""
        register_resolvers()
        try:
            for source in HydraConfig.get().runtime.config_sources:
                if source.provider == "command-line":  # of --config-dir
                    add_config_dir(Path(source.path))
            self.task(config)
        except (InputError, HydraException, OmegaConfBaseException, OSError) as error:
            errors.print(f"error: {_command_line_fault(error, self.config_name)}")
            sys.exit(2)
        except KeyboardInterrupt:
            errors.print("interrupted; the same command goes on where it stopped")
            sys.exit(130)


def run(task: Callable[[DictConfig], None], config_name: str) -> None:
    """Run a hydra task; what the user got wrong is told in one line and ends with exit status 2.

    Args:
        task: takes the composed config.
        config_name: file in conf/.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra hands its errors on instead of printing them and exiting with 1
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")
    register_resolvers()
    copyreg.pickle(Console, _by_name)
    try:
        hydra.main(version_base=None, config_path=str(CONF), config_name=config_name)(_Guarded(task, config_name))()
    except (HydraException, OmegaConfBaseException) as error:
        errors.print(f"error: {_command_line_fault(error, config_name)}")
        sys.exit(2)


def options(group: str) -> dict[str, DictConfig]:
    """Every YAML of a config group by its file name, for example ``options("soi")["qpsk"]``."""
    register_resolvers()
    return {name: cast(DictConfig, OmegaConf.load(path)) for name, path in option_files(group).items()}


def option(group: str, name: str) -> DictConfig:
    """One YAML of a config group.

    Raises:
        InputError: there is none of that name.
    """
    register_resolvers()
    files = option_files(group)
    if name not in files:
        raise InputError(f"unknown {group} '{name}'; choose one of {', '.join(files)}")
    return cast(DictConfig, OmegaConf.load(files[name]))


def option_named(group: str, name: str) -> DictConfig:
    """The YAML of a config group whose ``name:`` is the one used in files, such as OFDMQPSK."""
    known = _stems(group)
    if name not in known:
        raise InputError(f"unknown {group} '{name}' in the test set; conf/{group}/ knows {', '.join(known)}")
    return option(group, known[name])


@cache
def _stems(group: str) -> dict[str, str]:
    """File names of a config group by the ``name:`` inside."""
    return {config.name: stem for stem, config in options(group).items()}


def instantiate(config: DictConfig | dict[str, Any], **arguments: Any) -> Any:
    """hydra's instantiate, with lists and dicts as plain Python containers."""
    return hydra.utils.instantiate(config, **arguments, _convert_="all")


def plain(config: Any, resolve: bool = True) -> Any:
    """A config's list or dict as plain Python containers, with its references followed; anything else as it is."""
    return OmegaConf.to_container(config, resolve=resolve) if OmegaConf.is_config(config) else config


def build_modem(config: DictConfig) -> Modem:
    """The modem of a soi config."""
    return cast(Modem, instantiate(config.modem))


def build_soi(config: DictConfig) -> SignalSource:
    """The source of a soi config: its ``source`` where it has one, else its modem, synchronised."""
    return cast(SignalSource, instantiate(config.source if "source" in config else config.modem))


def build_source(config: DictConfig, split: str) -> SignalSource:
    """The source of an interference config; ``split`` matters to recordings only.

    Raises:
        NotNamedError: of recordings, where the variable for their folder is not set.
        InputError: it cannot be made.
    """
    config = config.copy()
    if "split" in config:
        config.split = split
    try:
        return cast(SignalSource, instantiate(config.source))
    except (HydraException, OmegaConfBaseException) as error:
        kind = NotNamedError if _UNSET.search(one_line(error)) else InputError
        raise kind(_fault(error)) from error


def build_mixer(config: DictConfig, split: str) -> Mixer:
    """The mixer of a config with soi, interference and mixing; ``split`` matters to recordings only."""
    source = build_source(config.interference, split)
    augment = instantiate(config.augment.method) if split == "train" and config.augment.method is not None else None
    return Mixer(build_soi(config.soi), source, augment=augment, **plain(config.mixing))


def in_sweep() -> bool:
    """Whether this is one job of several of the same command line, which hydra's ``-m`` makes."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def whole(config: DictConfig, key: str) -> int:
    """A positive whole number of a config.

    Raises:
        InputError: it is something else.
    """
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{key} is {value!r}, expected a positive whole number")
    return value


def numbers(config: DictConfig, key: str) -> list[float]:
    """A list of numbers of a config, not empty.

    Raises:
        InputError: it is something else.
    """
    values = plain(OmegaConf.select(config, key))
    if not isinstance(values, list) or not values or not all(isinstance(value, int | float) for value in values):
        raise InputError(f"{key} is {values!r}, expected a list of numbers such as [-12,0]")
    return [float(value) for value in values]


def example_frames(config: DictConfig, num_frames: int, num_samples: int) -> torch.Tensor:
    """Frames of the training split that separators may learn from: complex64 [num_frames, num_samples]."""
    return drawn_examples(config, "train", num_frames, num_samples)


def drawn_examples(config: DictConfig, split: str, num_frames: int, num_samples: int) -> torch.Tensor:
    """Frames complex64 [num_frames, num_samples] of an interference config.

    Those of recordings overlap only where the recordings are too short for all.
    """
    source, generator = build_source(config, split), batch_generator(Purpose.EXAMPLES)
    if "split" in config:
        return cast(Recorded, source).examples(num_frames, num_samples, generator)
    return source.sample(num_frames, num_samples, generator).waveform


def build_guide(config: DictConfig) -> Separator | None:
    """The separator that guides the network of a training config, or None; it learns from the training split."""
    if config.guide is None:
        return None
    examples = example_frames(config.interference, **config.examples)
    guide = option("separator", config.guide).method
    return cast(Separator, instantiate(guide, modem=build_modem(config.soi), examples=examples))


def overridden(config: DictConfig, settings: list[str]) -> DictConfig:
    """A config with values changed as on a command line, ``method.block=1280``.

    Raises:
        InputError: not KEY=VALUE, or a key that the config does not have.
    """
    for setting in settings:
        key, equals, _ = setting.partition("=")
        missing = object()
        if not equals or OmegaConf.select(config, key, default=missing) is missing:
            keys = [*config, *(f"method.{name}" for name in config.get("method", {}))]
            raise InputError(f"unknown setting '{setting}'; give KEY=VALUE with one of {', '.join(map(str, keys))}")
    try:
        changed = cast(DictConfig, OmegaConf.merge(config, OmegaConf.from_dotlist(settings)))
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"setting {' '.join(settings)}: {one_line(error)}") from None
    for setting in settings:
        old, new = (OmegaConf.select(one, setting.partition("=")[0]) for one in (config, changed))
        fitting = (int, float) if isinstance(old, float) else type(old)
        if old is not None and not isinstance(new, fitting):
            raise InputError(f"setting '{setting}': expected something like {old!r}")
    return changed
