"""The ``channel`` of a SOI or an interference: from a YAML or a test set's file to the object that draws it."""

import inspect
import json
from pathlib import Path
from typing import Any

from rfsep.app.settings import Node
from rfsep.signals.channels.drawn import RandomImpairments
from rfsep.storage.faults import fault
from rfsep.types import InputError

_TARGET = f"{RandomImpairments.__module__}.{RandomImpairments.__name__}"
_KEYS = tuple(inspect.signature(RandomImpairments).parameters)
_WORDS = ("phase", "rays", "profile")  # The other keys hold a number, or a range of numbers.
_MOST_CHARACTERS = 4096
_LARGEST = 1e9  # larger than any bound of a number


def checked_channel(given: Any) -> Node:
    """Returns a ``channel`` as the arguments of `RandomImpairments`; none where it is empty.

    Raises:
        InputError: it is no mapping, of another class, or has an unknown key or a value of another type.
    """
    if not given:
        return {}
    if not isinstance(given, dict):
        raise InputError(f"channel is {given!r}, expected a mapping: conf/channel has examples")
    if (target := given.get("_target_", _TARGET)) != _TARGET:
        raise InputError(f"channel._target_ is {target}, expected {_TARGET}")
    content = {key: value for key, value in given.items() if key != "_target_"}
    for key, value in content.items():
        if key not in _KEYS:
            raise InputError(f"channel has no key {key!r}; choose out of {', '.join(_KEYS)}")
        if not _fits(key, value):
            kind = "text" if key in _WORDS else "a number or a range [LOW, HIGH]"
            raise InputError(f"channel.{key} is {value!r}, expected {kind}")
    return content


def written_channel(channel: Node) -> str:
    """Returns a checked ``channel`` as text for the public file of a test set; empty for none."""
    return json.dumps(channel, sort_keys=True) if channel else ""


def read_channel(text: str, path: Path) -> Node:
    """Returns a ``channel`` from the text in a foreign file.

    Args:
        text: see `written_channel`.
        path: the file, for errors.

    Raises:
        InputError: it is no channel.
    """
    try:
        if len(text) > _MOST_CHARACTERS:
            raise ValueError
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise fault(path, "its channel is no short JSON text") from None
    if not isinstance(content, dict):
        raise fault(path, f"its channel is {content!r}, expected a mapping")
    try:
        if "_target_" in content:
            raise InputError("channel has no key '_target_' in a test set")
        RandomImpairments(**checked_channel(content))
    except InputError as error:
        raise fault(path, str(error)) from None
    return content


def _fits(key: str, value: Any) -> bool:
    """Tells whether the value of a key has the right type."""
    each = value if isinstance(value, list) else [value]
    if key == "profile" and value is None:
        return True
    if key in _WORDS:
        return all(isinstance(one, str) for one in each) and (key == "profile" or not isinstance(value, list))
    numbers = [one for one in each if isinstance(one, int | float) and not isinstance(one, bool)]
    expected = 2 if isinstance(value, list) else 1
    return len(numbers) == len(each) == expected and all(abs(number) < _LARGEST for number in numbers)
