"""What the scripts share: running a hydra task with one-line errors, and turning configs into objects."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import hydra
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from rfsep.storage.weights import read_checkpoint, read_weights
from rfsep.types import InputError, Modem, Separator, SignalSource

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
RUN_TARGETS = ("rfsep.models.", "rfsep.separators.")  # all that the config of a run folder may instantiate
EXAMPLE_SEED = 2**32 + 1  # of the interference frames that separators learn from; no other command uses it
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def _one_line(error: BaseException) -> str:
    """The message of an error without line breaks, of the cause where hydra wraps one."""
    while isinstance(error, HydraException | OmegaConfBaseException) and isinstance(error.__cause__, ValueError):
        error = error.__cause__
    return re.sub(r"\s*\n\s*", " ", str(error).strip())


def _command_line_fault(error: BaseException, config_name: str) -> str:
    """What is wrong with a key or an option on the command line, with the choices."""
    text = _one_line(error)
    if missing := re.search(r"Could not find '([^'/]+)/([^']+)'", text):
        group, name = missing.groups()
        choices = sorted(path.relative_to(CONF / group).with_suffix("") for path in (CONF / group).rglob("*.yaml"))
        return f"unknown option {group}/{name}; choose one of {', '.join(path.as_posix() for path in choices)}"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        config = cast(DictConfig, OmegaConf.load(CONF / f"{config_name}.yaml"))
        groups = [str(next(iter(entry))) for entry in config.pop("defaults") if isinstance(entry, DictConfig)]
        keys = [str(key) for key in config if key != "hydra"]
        return f"unknown key '{unknown[1]}'; the keys of conf/{config_name}.yaml are {', '.join(groups + keys)}"
    if variable := re.search(r"Environment variable '(\w+)' not found", text):
        return f"{variable[1]} is not set: data/README.md says which recordings it has to name"
    return text


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
    OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)

    def guarded(config: DictConfig) -> None:
        """The task; hydra lets SystemExit pass without a word of its own."""
        try:
            task(config)
        except (InputError, HydraException, OmegaConfBaseException) as error:
            errors.print(f"error: {_command_line_fault(error, config_name)}")
            sys.exit(2)
        except KeyboardInterrupt:
            errors.print("interrupted; the same command goes on where it stopped")
            sys.exit(130)

    try:
        hydra.main(version_base=None, config_path=str(CONF), config_name=config_name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        errors.print(f"error: {_command_line_fault(error, config_name)}")
        sys.exit(2)


def options(group: str) -> dict[str, DictConfig]:
    """Every YAML of a config group by its file name, for example ``options("soi")["qpsk"]``."""
    return {path.stem: cast(DictConfig, OmegaConf.load(path)) for path in sorted((CONF / group).glob("*.yaml"))}


def option(group: str, name: str) -> DictConfig:
    """One YAML of a config group.

    Raises:
        InputError: there is none of that name.
    """
    known = options(group)
    if name not in known:
        raise InputError(f"unknown {group} '{name}'; choose one of {', '.join(known)}")
    return known[name]


def option_named(group: str, name: str) -> DictConfig:
    """The YAML of a config group whose ``name:`` is the one used in files, such as OFDMQPSK."""
    known = {config.name: config for config in options(group).values()}
    if name not in known:
        raise InputError(f"unknown {group} '{name}' in the test set; conf/{group}/ knows {', '.join(known)}")
    return known[name]


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """hydra's instantiate, with lists and dicts as plain Python containers."""
    return hydra.utils.instantiate(config, **arguments, _convert_="all")


def plain(config: Any) -> Any:
    """A config's list or dict as plain Python containers; anything else as it is."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def build_modem(config: DictConfig) -> Modem:
    """The modem of a soi config; it is a SignalSource too."""
    return cast(Modem, instantiate(config.modem))


def build_source(config: DictConfig, split: str) -> SignalSource:
    """The source of an interference config; ``split`` matters to recordings only."""
    config = config.copy()
    if "split" in config:
        config.split = split
    return cast(SignalSource, instantiate(config.source))


def example_frames(config: DictConfig, num_frames: int, num_samples: int) -> torch.Tensor:
    """Frames of the training split that separators may learn from: complex64 [num_frames, num_samples]."""
    generator = torch.Generator().manual_seed(EXAMPLE_SEED)
    return build_source(config, "train").sample(num_frames, num_samples, generator).waveform


def build_guide(config: DictConfig) -> Separator | None:
    """The separator that guides the network of a training config, or None; it learns from the training split."""
    if config.guide is None:
        return None
    examples = example_frames(config.interference, **config.examples)
    guide = option("separator", config.guide).method
    return cast(Separator, instantiate(guide, modem=build_modem(config.soi), examples=examples))


class Run(NamedTuple):
    """A training run opened again.

    Attributes:
        model: with the weights of the best checkpoint, in evaluation mode.
        config: the run's config.
        facts: what the run recorded of itself: steps, minutes, FLOPs.
    """

    model: torch.nn.Module
    config: DictConfig
    facts: dict[str, Any]


def _check_targets(node: Any, path: Path) -> None:
    """Refuse a config that would instantiate anything but models and separators of this package."""
    if isinstance(node, dict):
        target = node.get("_target_", RUN_TARGETS[0])
        if not (isinstance(target, str) and target.startswith(RUN_TARGETS)):
            raise InputError(f"{path}: _target_ '{target}' lies outside {' and '.join(RUN_TARGETS)}; refused")
        for child in node.values():
            _check_targets(child, path)
    elif isinstance(node, list):
        for child in node:
            _check_targets(child, path)


def open_run(folder: Path, checkpoint: str = "best") -> Run:
    """Load the model of a run folder; nothing in it is executed, whoever wrote it.

    Raises:
        InputError: no such run, a config that names foreign code, or weights that do not fit.
    """
    config_path, weights_path = folder / "config.yaml", folder / "checkpoints" / f"{checkpoint}.ckpt"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise InputError(f"{path}: not found; a run folder has config.yaml and checkpoints/{checkpoint}.ckpt")
    config = cast(DictConfig, OmegaConf.load(config_path))
    _check_targets(OmegaConf.to_container(config.model.network), config_path)
    model = cast(torch.nn.Module, instantiate(config.model.network))
    state = {
        key.removeprefix("model."): value
        for key, value in read_weights(weights_path).items()
        if key.startswith("model.")
    }
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{weights_path}: weights do not fit the model of {config_path}: {_one_line(error)}") from None
    return Run(model.eval(), config, cast("dict[str, Any]", read_checkpoint(weights_path).get("facts", {})))
