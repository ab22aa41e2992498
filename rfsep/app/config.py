"""Shared parts of the scripts: running a hydra task with one-line errors, and turning configs into objects."""

import copyreg
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from rfsep.app.channels import checked_channel
from rfsep.app.places import CONF, ROOT, add_config_dir, option_files
from rfsep.app.quoting import quoting_hint
from rfsep.app.settings import BoundOption, Frames, InterferenceOption, Mixing, Node, SeparatorOption, SoiOption
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.channels.drawn import RandomImpairments
from rfsep.signals.channels.through import ModemThroughChannel, RecordedThroughChannel, ThroughChannel
from rfsep.signals.recordings import Recorded
from rfsep.storage.faults import printable
from rfsep.types import InputError, Modem, SignalSource

_UNSET = re.compile(r"Environment variable '(\w+)' not found")
# A separator's key for the run of a timing network.
TIMING = "timing_network"
# All keys of a separator for runs besides its own; the first two name priors.
BESIDE = ("soi_prior", "interference_prior", TIMING)
_RECORDINGS = "rfsep.signals.recordings.SigmfRecordings"
CONFIG_ERRORS = (HydraException, OmegaConfBaseException)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


class NotNamedError(InputError):
    """Raised for recordings whose environment variable is not set, so that others may replace them."""


def one_line(error: BaseException) -> str:
    """Returns an error's message without line breaks; where hydra wraps a cause, the cause's message."""
    while isinstance(error, HydraException | OmegaConfBaseException) and isinstance(error.__cause__, ValueError):
        error = error.__cause__
    return printable(" ".join(line.strip() for line in str(error).strip().splitlines()))


def _fault(error: BaseException) -> str:
    """Returns the fault of a value in one line."""
    text = one_line(error)
    if variable := _UNSET.search(text):
        return f"{variable[1]} is not set: data/README.md says which recordings it has to name"
    return text


def _command_line_fault(error: BaseException, config_name: str) -> str:
    """Returns the fault of a key or an option on the command line, with the choices."""
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
    return quoting_hint(text, sys.argv[1:]) or text


def register_resolvers() -> None:
    """Registers the resolver of the YAMLs in conf/: ``${root:path}`` is a path beside conf/."""
    OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)


def _console(name: str) -> Console:
    return {"console": console, "errors": errors}[name]


def _by_name(one: Console) -> tuple[Callable[[str], Console], tuple[str]]:
    """Reduces a console by its name, so that a task sent to another process prints to that process's own."""
    return _console, ("errors" if one is errors else "console",)


class _Guarded:
    """A task with one-line errors, which a launcher can send to another process."""

    def __init__(self, task: Callable[[DictConfig], None], config_name: str) -> None:
        self.task = task
        self.config_name = config_name

    def __call__(self, config: DictConfig) -> None:
        """Does the task; hydra passes SystemExit on without a message of its own."""
        register_resolvers()
        try:
            for source in HydraConfig.get().runtime.config_sources:
                # This source is the folder of --config-dir.
                if source.provider == "command-line":
                    add_config_dir(Path(source.path))
            self.task(config)
        except (InputError, HydraException, OmegaConfBaseException, OSError) as error:
            errors.print(f"error: {_command_line_fault(error, self.config_name)}")
            sys.exit(2)
        except KeyboardInterrupt:
            errors.print("interrupted; the same command goes on where it stopped")
            sys.exit(130)


def run(task: Callable[[DictConfig], None], config_name: str) -> None:
    """Runs a hydra task; the user's errors are reported in one line and end with exit status 2.

    Args:
        task: takes the composed config.
        config_name: file in conf/.
    """
    # With this, hydra raises its errors instead of printing them and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
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
    """Returns every YAML of a config group by its file name, for example ``options("soi")["qpsk"]``."""
    register_resolvers()
    return {name: cast(DictConfig, OmegaConf.load(path)) for name, path in option_files(group).items()}


def option(group: str, name: str) -> DictConfig:
    """Returns one YAML of a config group.

    Raises:
        InputError: there is none of that name.
    """
    register_resolvers()
    files = option_files(group)
    if name not in files:
        raise InputError(f"unknown {group} '{name}'; choose one of {', '.join(files)}")
    return cast(DictConfig, OmegaConf.load(files[name]))


@cache
def _stems(group: str) -> dict[str, str]:
    """Returns the file names of a config group, keyed by the ``name:`` inside."""
    return {config.name: stem for stem, config in options(group).items()}


def _named(group: str, name: str) -> DictConfig:
    """Returns the YAML whose ``name:`` this is, or NAME of a NAME-CHANNEL; a test set says itself which channel."""
    known = _stems(group)
    stem = known.get(name) or known.get(name.rpartition("-")[0])
    if stem is None:
        raise InputError(f"unknown {group} '{name}' in the test set; conf/{group}/ knows {', '.join(known)}")
    return option(group, stem)


def _signal(group: str, name: str) -> DictConfig:
    """Returns the YAML of a soi or an interference, or of NAME@CHANNEL with that option of conf/channel.

    In files the name of the latter is NAME-CHANNEL without underscores, such as OFDMQPSK-tdla.
    """
    stem, at, channel = name.partition("@")
    config = option(group, stem)
    if at:
        config.channel = option("channel", channel)
        config.name = f"{config.name}-{channel.replace('_', '')}"
    return config


def soi_option(content: DictConfig | Node) -> SoiOption:
    """Returns the settings of a soi config."""
    config = content if isinstance(content, DictConfig) else OmegaConf.create(content)
    settings = plain(config, resolve=False)
    return SoiOption(str(config.name), plain(config.modem), plain(config.get("source")), settings)


def interference_option(content: DictConfig | Node) -> InterferenceOption:
    """Returns the settings of an interference config."""
    config = content if isinstance(content, DictConfig) else OmegaConf.create(content)
    rate = float(config.sample_rate_hz)
    return InterferenceOption(str(config.name), rate, "split" in config, plain(config, resolve=False))


def separator_option(config: DictConfig) -> SeparatorOption:
    """Returns the settings of a separator config."""
    told, checkpoint = config.get("interference"), config.get("checkpoint")
    return SeparatorOption(
        name=str(config.name),
        blind=bool(config.blind),
        learns=bool(config.learns),
        method=plain(config.method),
        interference=None if told is None else str(told),
        checkpoint=None if checkpoint is None else str(checkpoint),
        fast=bool(config.get("fast", True)),
        candidates=tuple(str(name) for name in config.get("candidates") or ()),
        learned=bool(config.get("learned", False)),
        beside={key: None if config[key] is None else str(config[key]) for key in BESIDE if key in config},
        acquire=plain(config.get("acquire", {"use": "lmmse"})),
        as_received=bool(config.get("as_received", False)),
    )


def soi_of(name: str) -> SoiOption:
    """Returns the option of conf/soi by its file's name, such as qpsk, or qpsk@real with a channel."""
    return soi_option(_signal("soi", name))


def soi_named(name: str) -> SoiOption:
    """Returns the option of conf/soi whose ``name:`` is the one used in files, such as QPSK."""
    return soi_option(_named("soi", name))


def interference_of(name: str) -> InterferenceOption:
    """Returns the option of conf/interference by its file's name, such as ofdm_qpsk, or ofdm_qpsk@rays."""
    return interference_option(_signal("interference", name))


def interference_named(name: str) -> InterferenceOption:
    """Returns the option of conf/interference whose ``name:`` is the one used in files, such as OFDMQPSK."""
    return interference_option(_named("interference", name))


def separator_of(name: str, settings: Sequence[str] = ()) -> SeparatorOption:
    """Returns the option of conf/separator by its file's name, with values changed as on a command line.

    Args:
        name: name of its YAML.
        settings: KEY=VALUE each, such as ``method.block=1280``.

    Raises:
        InputError: there is none of that name, or a setting that it does not have.
    """
    return separator_option(overridden(option("separator", name), settings))


def separator_named(name: str) -> SeparatorOption:
    """Returns the option of conf/separator whose ``name:`` is the one used in files."""
    return separator_option(_named("separator", name))


def bound_of(name: str) -> BoundOption:
    """Returns the option of conf/bound by its file's name."""
    config = option("bound", name)
    return BoundOption(str(config.label), plain(config.method))


def instantiate(config: DictConfig | dict[str, Any], **arguments: Any) -> Any:
    """Instantiates a config by hydra, with lists and dicts as plain Python containers."""
    return hydra.utils.instantiate(config, **arguments, _convert_="all")


def plain(config: Any, resolve: bool = True) -> Any:
    """Returns a config's list or dict as plain containers with its references followed, anything else as it is."""
    return OmegaConf.to_container(config, resolve=resolve) if OmegaConf.is_config(config) else config


def build_modem(soi: SoiOption) -> Modem:
    """Returns the modem of a SOI."""
    return cast(Modem, instantiate(soi.modem))


def build_soi(soi: SoiOption) -> SignalSource:
    """Returns the source of a SOI, through its ``channel``: its ``source`` if it has one, else its modem, synchronised.

    Raises:
        InputError: its channel cannot be made.
    """
    made = cast(SignalSource, instantiate(soi.modem if soi.source is None else soi.source))
    impairments = build_channel(soi.settings)
    if impairments is None:
        return made
    modem = build_modem(soi)
    return ModemThroughChannel(modem, impairments) if soi.source is None else ThroughChannel(made, impairments, modem)


def channel_of(settings: Node) -> Node:
    """Returns the ``channel`` in the settings of a SOI or an interference, checked; empty where there is none.

    Raises:
        InputError: it is no channel.
    """
    try:
        return checked_channel(plain(OmegaConf.create({"channel": settings.get("channel")}))["channel"])
    except OmegaConfBaseException as error:
        raise InputError(_fault(error)) from None


def build_channel(settings: Node) -> RandomImpairments | None:
    """Returns what draws the ``channel`` of a SOI or an interference; None where there is none.

    Raises:
        InputError: it cannot be made.
    """
    channel = channel_of(settings)
    return RandomImpairments(**channel) if channel else None


def build_source(interference: InterferenceOption, split: str) -> SignalSource:
    """Returns the source of an interference, through its ``channel``; ``split`` matters to recordings only.

    Raises:
        NotNamedError: the variable for the recordings' folder is not set.
        InputError: it cannot be made.
    """
    config = OmegaConf.create(interference.settings)
    if interference.recorded:
        config.split = split
    if config.source.get("_target_") == _RECORDINGS and "sample_rate_hz" in config:
        with open_dict(config):
            config.source.setdefault("sample_rate_hz", config.sample_rate_hz)
    impairments = build_channel(interference.settings)
    try:
        made = instantiate(config.source)
    except (HydraException, OmegaConfBaseException) as error:
        kind = NotNamedError if _UNSET.search(one_line(error)) else InputError
        raise kind(_fault(error)) from error
    if impairments is None:
        return cast(SignalSource, made)
    if interference.recorded:
        return RecordedThroughChannel(made, impairments)
    modem = config.source.get("modem")  # By its period the timing is followed.
    return ThroughChannel(made, impairments, None if modem is None else instantiate(modem))


def build_mixer(mixing: Mixing, split: str) -> Mixer:
    """Returns the mixer of SOI and interference; ``split`` matters to recordings only."""
    source = build_source(mixing.interference, split)
    augment = instantiate(mixing.augment) if split == "train" and mixing.augment is not None else None
    return Mixer(build_soi(mixing.soi), source, augment=augment, **mixing.conventions)


def in_sweep() -> bool:
    """Tells whether this is one of several jobs of the same command line, as hydra's ``-m`` starts them."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def example_frames(interference: InterferenceOption, frames: Frames) -> torch.Tensor:
    """Returns the frames of the training split that separators may learn from: complex64 [num_frames, num_samples]."""
    return drawn_examples(interference, "train", frames)


def drawn_examples(interference: InterferenceOption, split: str, frames: Frames) -> torch.Tensor:
    """Returns frames complex64 [num_frames, num_samples] of a split of an interference.

    Those of recordings overlap only where the recordings are too short for all.
    """
    source, generator = build_source(interference, split), batch_generator(Purpose.EXAMPLES)
    if interference.recorded:
        return cast(Recorded, source).examples(frames.num_frames, frames.num_samples, generator)
    return source.sample(frames.num_frames, frames.num_samples, generator).waveform


def overridden(config: DictConfig, settings: Sequence[str]) -> DictConfig:
    """Returns a config with values changed as on a command line, ``method.block=1280``.

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
        changed = cast(DictConfig, OmegaConf.merge(config, OmegaConf.from_dotlist(list(settings))))
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"setting {' '.join(settings)}: {one_line(error)}") from None
    for setting in settings:
        old, new = (OmegaConf.select(one, setting.partition("=")[0]) for one in (config, changed))
        fitting = (int, float) if isinstance(old, float) else type(old)
        if old is not None and not isinstance(new, fitting):
            raise InputError(f"setting '{setting}': expected something like {old!r}")
    return changed
