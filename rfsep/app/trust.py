"""Reads configs from untrusted authors, and refuses everything that does more than name this package's classes."""

import importlib
import io
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rfsep.app.config import CONFIG_ERRORS, instantiate, one_line, plain, register_resolvers
from rfsep.app.settings import ModelOption, NetworkConfig, Node
from rfsep.storage.atomic import read_small
from rfsep.types import InputError, Modem

# The config of a run folder may instantiate classes of these packages only.
RUN_PACKAGES = ("rfsep.models.", "rfsep.separators.")
_LARGEST_CONFIG_BYTES = 1 << 20
_DEEPEST_CONFIG = 50
# Run folders older than ``kind:`` mark their models with these flags.
_FLAGS = ("tokens", "prior", "tokenizer")
# Modules of separators that have moved, by their names in older run folders.
_MOVED = {
    "rfsep.separators.aligned": "rfsep.separators.tokens.aligned",
    "rfsep.separators.alpha_rgs": "rfsep.separators.score_based.alpha_rgs",
    "rfsep.separators.basis": "rfsep.separators.score_based.basis",
    "rfsep.separators.corrected": "rfsep.separators.tokens.corrected",
    "rfsep.separators.noise_levels": "rfsep.separators.score_based.noise_levels",
    "rfsep.separators.nr_detection": "rfsep.separators.nr.nr_detection",
    "rfsep.separators.packets": "rfsep.separators.wifi.packets",
    "rfsep.separators.patches": "rfsep.separators.tokens.patches",
    "rfsep.separators.pilots": "rfsep.separators.lte.pilots",
    "rfsep.separators.resource_blocks": "rfsep.separators.lte.resource_blocks",
    "rfsep.separators.reverse_diffusion": "rfsep.separators.score_based.reverse_diffusion",
    "rfsep.separators.rf_transformer": "rfsep.separators.tokens.rf_transformer",
}


def load_config(path: Path) -> DictConfig:
    """Reads an untrusted YAML file as a config; a few lines that unfold to gigabytes are refused.

    Old names of classes and of a model's kind become the current ones.

    Raises:
        InputError: it cannot be read, is too large, not a YAML mapping, or uses aliases.
    """
    register_resolvers()
    try:
        text = read_small(path, _LARGEST_CONFIG_BYTES).decode()
        _check_yaml(path, text)
        config = OmegaConf.create(_as_now(plain(OmegaConf.load(io.StringIO(text)), resolve=False)))
    except InputError:
        raise
    except Exception as error:  # Foreign YAML can fail in any way, which is the file's fault.
        raise InputError(f"{path}: is not valid YAML: {one_line(error)}") from None
    if not isinstance(config, DictConfig):
        raise InputError(f"{path}: is not a YAML mapping")
    return config


def _as_now(content: Any) -> Any:
    """Returns a config of any version in plain containers, as the current version would write it."""
    found = _renamed(content)
    model = found.get("model") if isinstance(found, dict) else None
    if isinstance(model, dict) and "network" in model and "kind" not in model:
        told = [flag for flag in _FLAGS if model.pop(flag, False) is True]
        model["kind"] = told[0] if told else "waveform"
    return found


def _renamed(node: Any) -> Any:
    """Returns plain containers with moved classes renamed to their current places."""
    if isinstance(node, list):
        return [_renamed(child) for child in node]
    if not isinstance(node, dict):
        return node
    found = {key: _renamed(value) for key, value in node.items()}
    if isinstance(target := found.get("_target_"), str):
        module, _, name = target.rpartition(".")
        found["_target_"] = f"{_MOVED.get(module, module)}.{name}" if module else target
    return found


def _check_yaml(path: Path, text: str) -> None:
    """Refuses text that parses to far more than its length: aliases of aliases, endless nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{path}: has an alias, *{event.anchor}, which configs do without; refused")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_CONFIG:
            raise InputError(f"{path}: is nested more than {_DEEPEST_CONFIG} levels deep; refused")


def _is_own_class(target: object, packages: tuple[str, ...]) -> bool:
    """Tells whether a dotted path names a class defined in a module of ``packages``, not one that it imports."""
    if not isinstance(target, str) or not target.startswith(packages):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:  # rfsep.models.unet.torch.os, for example, is not a module of this package.
        return False
    return isinstance(found, type) and found.__module__ == module


def check_targets(node: Any, path: Path, packages: tuple[str, ...] = RUN_PACKAGES) -> None:
    """Refuses a config that would instantiate classes outside these packages, by default models and separators.

    A reference is refused too, because its target was not checked: see `checked`.
    """
    if isinstance(node, str) and "${" in node:
        raise InputError(f"{path}: '{node}' leads to what cannot be looked at; refused")
    if isinstance(node, dict):
        if "_target_" in node and not _is_own_class(node["_target_"], packages):
            names = " and ".join(package.rstrip(".") for package in packages)
            raise InputError(f"{path}: _target_ '{node['_target_']}' is no class of {names}; refused")
        for child in (*node, *node.values()):
            check_targets(child, path, packages)
    elif isinstance(node, list):
        for child in node:
            check_targets(child, path, packages)


def checked(node: Any, path: Path, packages: tuple[str, ...] = RUN_PACKAGES) -> Any:
    """Returns a part of an untrusted config that may be instantiated: see `check_targets`.

    References are followed before the check, and none may remain after it: a remaining ``${...}`` could name any
    class, and hydra would follow it.

    Raises:
        InputError: a class of other packages, a reference that cannot be followed, or one that leads to another.
    """
    try:
        found = plain(node)
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    check_targets(found, path, packages)
    return OmegaConf.create(found) if isinstance(found, dict) else found


def read_network(path: Path) -> NetworkConfig:
    """Reads the untrusted config of a run folder or of an exported network; nothing in it leads elsewhere.

    Raises:
        InputError: it cannot be read, lacks parts of a run's config, or names classes other than models and separators.
    """
    config = load_config(path)
    content = plain(config, resolve=False)
    model, data, objective = (_mapping(content.get(key)) for key in ("model", "data", "objective"))
    if model.get("network") is None or "num_samples" not in data:
        raise InputError(f"{path}: has no model.network and data.num_samples, which a run's config has")
    try:
        num_samples, guide = config.data.num_samples, config.get("guide")
        module = plain(config.objective.module) if "module" in objective else {}
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples < 1:
        raise InputError(f"{path}: data.num_samples is {num_samples!r}, expected a positive whole number")
    seed, command, name = (content.get(key) for key in ("seed", "command", "name"))
    return NetworkConfig(
        name="" if name is None else str(name),
        model=ModelOption(str(model.get("name")), str(model.get("kind")), plain(checked(config.model.network, path))),
        num_samples=num_samples,
        guide=None if guide is None else str(guide),
        separator=plain(checked(config.get("separator"), path)),
        objective=_mapping(module),
        soi=_mapping(content["soi"]) if "soi" in content else None,
        interference=_mapping(content["interference"]) if "interference" in content else None,
        card=_mapping(content["card"]) if "card" in content else None,
        seed=seed if isinstance(seed, int) else None,
        command=command if isinstance(command, str) else None,
    )


def _mapping(node: Any) -> Node:
    """Returns a mapping as it is, and an empty one in place of anything else."""
    return node if isinstance(node, dict) else {}


def trusted_signal(settings: Node, source: str) -> Node:
    """Returns untrusted settings of a signal that may be instantiated; recordings are taken from the test split.

    Raises:
        InputError: another class than those of rfsep.signals, or a reference that leads elsewhere.
    """
    told = {**settings, "split": "test"} if "split" in settings else settings
    return _mapping(plain(checked(OmegaConf.create(told), Path(source), ("rfsep.signals.",))))


def read_interference(path: Path) -> Modem:
    """Returns the modem in an untrusted ``interference.yaml`` of ``rfsep identify``.

    Raises:
        InputError: no such file, no YAML, no modem in it, another class than one of rfsep.signals, or arguments that
            the class does not take.
    """
    modem = plain(load_config(path), resolve=False).get("modem")
    if not isinstance(modem, dict) or "_target_" not in modem:
        raise InputError(f"{path}: names no modem; rfsep identify writes one where it is sure of every part")
    check_modem(modem, path)
    try:
        return cast(Modem, instantiate(modem))
    except (*CONFIG_ERRORS, InputError) as error:
        raise InputError(f"{path}: the modem cannot be made: {one_line(error)}") from None


def check_modem(modem: Node, path: Path) -> None:
    """Refuses an untrusted modem's settings that name anything but a class of rfsep.signals and its arguments.

    Raises:
        InputError: see above.
    """
    if strange := sorted(str(key) for key in modem if str(key).startswith("_") and key != "_target_"):
        raise InputError(f"{path}: modem.{strange[0]} is nothing that a modem takes; refused")
    check_targets(modem, path, ("rfsep.signals.",))
