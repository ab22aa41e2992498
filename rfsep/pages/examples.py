"""Keeps example signals beside scores.json, so that a leaderboard can show them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rfsep.pages.report import Example
from rfsep.storage.atomic import sha256
from rfsep.storage.faults import fault
from rfsep.storage.npz import read_npz, write_npz

EXAMPLES = "examples.npz"
KEPT_SAMPLES = 4096  # kept samples per waveform, and kept symbols
_WAVEFORMS = ("ideal", "mixture", "truth", "estimate", "mixture_symbols", "estimate_symbols")


def write_examples(path: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """Writes the waveforms of examples, and returns their entry in scores.json with the file's SHA-256.

    Args:
        path: .npz file, replaced as a whole.
        examples: one per mixture type; their beginnings are kept.
    """
    arrays = {
        f"{index}_{name}": np.asarray(getattr(example, name)[:KEPT_SAMPLES], np.complex64)
        for index, example in enumerate(examples)
        for name in _WAVEFORMS
    }
    write_npz(path, arrays)
    said = [
        {name: value for name, value in example._asdict().items() if name not in _WAVEFORMS} for example in examples
    ]
    return {"sha256": sha256(path), "of": said}


def read_examples(path: Path, said: Mapping[str, Any]) -> list[Example]:
    """Reads the examples that `write_examples` wrote.

    Args:
        path: .npz file.
        said: their entry in scores.json.

    Raises:
        InputError: the file is missing, or not the one that scores.json names.
    """
    if path.is_symlink() or not path.is_file() or sha256(path) != said["sha256"]:
        raise fault(path, "is not the file that its scores.json was written with; score the submission again")
    arrays, found = read_npz(path), []
    for index, facts in enumerate(said["of"]):
        fields: dict[str, Any] = {**facts, **{name: arrays[f"{index}_{name}"] for name in _WAVEFORMS}}
        found.append(Example(**fields))
    return found
