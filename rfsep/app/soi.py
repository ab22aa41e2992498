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
    target = _class(soi)
    choices = inspect.signature(target).parameters
    if own and any(part not in dir(target) for part in _PARTS):
        raise InputError(f"{name}: {soi.modem['_target_']} is no modem")
    changes = dict(_setting(setting, choices) for setting in settings)
    given = {key: value for key, value in soi.modem.items() if key != "_target_"} if own else {}
    for key, value in {**given, **changes}.items():
        _check(f"{name}: {key}", key, value, choices)
    if changes:
        modem = {**plain(soi.modem), **changes}
        soi = replace(soi, modem=modem, settings={**soi.settings, "modem": modem})
    if own or changes:
        try:
            build_modem(soi)
        except (*CONFIG_ERRORS, InputError) as error:
            raise InputError(f"soi {name}: the modem cannot be made: {one_line(error)}") from None
    return soi


def takes(soi: SoiOption, key: str) -> bool:
    """Tells whether a SOI's modem has an argument of that name, such as ``roll_off``."""
    return key in inspect.signature(_class(soi)).parameters


def samples_per_symbol(soi: SoiOption) -> int:
    """Returns the modem's samples per symbol; of OFDM, those of an OFDM symbol.

    >>> samples_per_symbol(described_soi("qpsk")), samples_per_symbol(described_soi("ofdm_qpsk"))
    (16, 80)
    """
    if not takes(soi, "samples_per_symbol"):
        return build_modem(soi).symbol_period
    usual = inspect.signature(_class(soi)).parameters["samples_per_symbol"].default
    return int(soi.modem.get("samples_per_symbol", usual))


def _class(soi: SoiOption) -> type:
    """Returns the class of a SOI's modem."""
    module, _, name = str(soi.modem["_target_"]).rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


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


def _setting(setting: str, choices: Mapping[str, inspect.Parameter]) -> tuple[str, Any]:
    """Returns key and value of KEY=VALUE."""
    key, equals, text = setting.partition("=")
    key = "constellation_name" if key == "modulation" and "constellation_name" in choices else key
    if not equals or key not in choices:
        raise InputError(f"--soi-set {setting}: give KEY=VALUE with one of {', '.join(choices)}")
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--soi-set {setting}: {one_line(error)}") from None


def _check(place: str, key: str, value: Node | object, choices: Mapping[str, inspect.Parameter]) -> None:
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
