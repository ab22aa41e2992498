"""A signal of interest as a person describes it: an option of conf/soi or a YAML of one's own, with values changed."""

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rfsep.app.config import CONFIG_ERRORS, build_modem, one_line, plain, soi_of, soi_option
from rfsep.app.settings import Node, SoiOption
from rfsep.app.trust import check_modem, load_config
from rfsep.types import InputError

_LINEAR = "rfsep.signals.linear_modem.LinearModem"
_NAME = re.compile(r"[A-Za-z0-9-]+")
# The parts of a modem that a receiver uses.
_PARTS = ("num_bits", "modulate", "decide", "analyse", "synthesise")
# Larger numbers only fill the memory.
_RANGES = {"samples_per_symbol": (1, 1024), "span": (1, 256), "num_taps": (1, 1 << 16), "fft_size": (2, 1 << 15)}


def described_soi(name: str, settings: Sequence[str] = ()) -> SoiOption:
    """Returns a SOI, checked so far that its modem can be made.

    Args:
        name: option of conf/soi; or a path that ends in .yaml, of a file like those in conf/soi, or with the arguments
            of a linear modulation alone: ``modulation``, ``samples_per_symbol``, ``roll_off``, ``span``.
        settings: KEY=VALUE each, arguments of its modem.

    Raises:
        InputError: no such option or file, a class outside rfsep.signals, or what the modem does not take.

    >>> described_soi("qpsk", ["samples_per_symbol=8", "roll_off=.35"]).modem["samples_per_symbol"]
    8
    """
    own = name.endswith((".yaml", ".yml"))
    soi = _read(Path(name)) if own else soi_of(name)
    if own and any(part not in dir(_made_by(soi.modem)) for part in _PARTS):
        raise InputError(f"{name}: {soi.modem['_target_']} is no modem")
    nodes = _nodes(soi.modem)
    choices = [_arguments(node) for node in nodes]
    for setting in settings:
        key, value, level = _setting(setting, choices)
        _check(f"{name}: {key}", key, value, choices[level])
        nodes[level][key] = value
    for node, known in zip(nodes if own else [], choices, strict=False):
        for key in node.keys() - {"_target_"}:
            _check(f"{name}: {key}", key, node[key], known)
    if settings:
        soi = replace(soi, modem=nodes[0], settings={**soi.settings, "modem": nodes[0]})
    if own or settings:
        try:
            build_modem(soi)
        except (*CONFIG_ERRORS, InputError) as error:
            raise InputError(f"soi {name}: the modem cannot be made: {one_line(error)}") from None
    return soi


def takes(soi: SoiOption, key: str) -> bool:
    """Tells whether a SOI's modem has an argument of that name, such as ``roll_off``."""
    return any(key in _arguments(node) for node in _nodes(soi.modem))


def samples_per_symbol(soi: SoiOption) -> int:
    """Returns the modem's samples per symbol; of OFDM, those of an OFDM symbol.

    >>> samples_per_symbol(described_soi("qpsk")), samples_per_symbol(described_soi("ofdm_qpsk"))
    (16, 80)
    """
    for node in _nodes(soi.modem):
        if (argument := _arguments(node).get("samples_per_symbol")) is not None:
            return int(node.get("samples_per_symbol", argument.default))
    return build_modem(soi).symbol_period


def _nodes(modem: Node) -> list[Node]:
    """Returns copies of a modem's settings and of those of the modem within it, if any, each part of the one before."""
    nodes = [dict(modem)]
    while isinstance(inner := nodes[-1].get("modem"), dict) and "_target_" in inner:
        nodes[-1]["modem"] = inner = dict(inner)
        nodes.append(inner)
    return nodes


def _arguments(node: Node) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_made_by(node)).parameters


def _made_by(node: Node) -> Any:
    """Returns the class or function that makes a modem."""
    module, _, name = str(node["_target_"]).rpartition(".")
    return getattr(importlib.import_module(module), name)


def _read(path: Path) -> SoiOption:
    """Returns the SOI in an untrusted file, see `described_soi`."""
    content: dict[str, Any] = plain(load_config(path), resolve=False)
    name = str(content.pop("name", re.sub(r"[^A-Za-z0-9-]+", "-", path.stem)))
    if not _NAME.fullmatch(name):
        raise InputError(f"{path}: name '{name}' may have letters, digits and - only")
    if "modem" in content:
        modem = content.pop("modem")
        if content:
            raise InputError(f"{path}: unknown key '{next(iter(content))}'; the keys are name, modem")
    else:
        # `modulation` is what people call the constellation.
        modem = {"constellation_name" if key == "modulation" else str(key): value for key, value in content.items()}
        if not modem:
            raise InputError(f"{path}: describes no modem: give modulation, samples_per_symbol, roll_off and span")
        modem = {"_target_": _LINEAR, **modem}
    if not isinstance(modem, dict) or not isinstance(modem.get("_target_"), str):
        raise InputError(f"{path}: modem has no _target_, such as {_LINEAR}")
    check_modem(modem, path)
    return soi_option({"name": name, "modem": modem})


def _setting(setting: str, choices: Sequence[Mapping[str, inspect.Parameter]]) -> tuple[str, Any, int]:
    """Returns key and value of KEY=VALUE, and which of several modems takes it: the outermost that can."""
    key, equals, text = setting.partition("=")
    key = "constellation_name" if key == "modulation" else key
    level = next((place for place, known in enumerate(choices) if key in known), None)
    if not equals or level is None:
        names = ", ".join(dict.fromkeys(name for known in choices for name in known if name != "modem"))
        raise InputError(f"--soi-set {setting}: give KEY=VALUE with one of {names}")
    try:
        return key, yaml.safe_load(text), level
    except yaml.YAMLError as error:
        raise InputError(f"--soi-set {setting}: {one_line(error)}") from None


def _check(place: str, key: str, value: object, choices: Mapping[str, inspect.Parameter]) -> None:
    """Refuses an argument that a modem does not take."""
    if key not in choices:
        raise InputError(f"{place} is nothing that the modem takes; choose one of {', '.join(choices)}")
    usual = choices[key].default
    kind = {float: (int, float), tuple: (list,)}.get(type(usual), type(usual))
    known = usual is not inspect.Parameter.empty and usual is not None
    if known and (not isinstance(value, kind) or isinstance(value, bool) != isinstance(usual, bool)):
        raise InputError(f"{place} is {value!r}, expected something like {usual!r}")
    low, high = _RANGES.get(key, (0, 0))
    if high and value is not None and (not isinstance(value, int) or not low <= value <= high):
        raise InputError(f"{place} is {value!r}, expected a whole number from {low} to {high}")
