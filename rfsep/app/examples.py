"""Example frames of an interference for the `rfsep` command, from an option of conf/interference or from files."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfsep.app.config import drawn_examples, errors, interference_of, options
from rfsep.app.settings import Frames
from rfsep.storage.captures.doubts import Looked, look_at
from rfsep.storage.captures.facts import NO_HINTS, Capture, Hints
from rfsep.storage.captures.listing import capture_paths, is_capture_name
from rfsep.storage.captures.opening import open_among_others
from rfsep.storage.npy import check_finite, holds_frames, read_complex
from rfsep.types import InputError

_SPLITS = ("train", "val", "test")


class Examples(NamedTuple):
    """Example frames of an interference.

    Attributes:
        name: name for the output folder.
        frames: complex64 [F, T].
        sample_rate_hz: None where it is unknown.
    """

    name: str
    frames: Tensor
    sample_rate_hz: float | None


class _Heard(NamedTuple):
    """A recording that has been examined from end to end."""

    path: Path
    capture: Capture
    looked: Looked


def read_examples(
    interference: str,
    num_frames: int,
    num_samples: int,
    split: str,
    hints: Hints = NO_HINTS,
) -> Examples:
    """Returns frames of an option of conf/interference, or of recordings: a file, a folder or a pattern.

    Frames of recordings do not overlap, do not reach across a gap or a retune, and are spread over all of them; each
    recording loses its DC offset. A .npy of complex64 [F, T] holds frames already.

    Raises:
        InputError: it is neither, or a file is broken; recordings of several sample rates.
    """
    if interference not in options("interference") and is_capture_name(interference):
        return _of_files(interference, num_frames, num_samples, hints)
    if interference not in options("interference"):
        names = ", ".join(options("interference"))
        raise InputError(f"unknown interference '{interference}'; give a recording or one of {names}")
    if split not in _SPLITS:
        raise InputError(f"split is '{split}'; choose one of {', '.join(_SPLITS)}")
    config = interference_of(interference)
    frames = drawn_examples(config, split, Frames(num_frames, num_samples))
    return Examples(interference, frames, config.sample_rate_hz)


def _of_files(name: str, num_frames: int, num_samples: int, hints: Hints) -> Examples:
    """Returns frames of recordings."""
    paths = capture_paths(name)
    if len(paths) == 1 and holds_frames(paths[0]):
        array = read_complex(paths[0], (None, None))[:num_frames]
        check_finite(paths[0], array)
        return Examples(plain_name(paths[0]), torch.tensor(array), None)
    heard = [_heard(path, hints) for path in paths]
    rates = {one.path: one.capture.facts.sample_rate_hz for one in heard}
    if len(set(rates.values())) > 1:
        first, other = next((one, two) for one in rates for two in rates if rates[one] != rates[two])
        raise InputError(
            f"{name}: recordings of several sample rates: {first.name} has {_rate(rates[first])}, {other.name} has"
            f" {_rate(rates[other])}; give those of one rate"
        )
    frames = _cut(heard, num_frames, num_samples)
    return Examples(plain_name(Path(name)), frames, rates[paths[0]])


def _rate(rate: float | None) -> str:
    return "no rate" if rate is None else f"{rate:.12g} samples/s"


def _heard(path: Path, hints: Hints) -> _Heard:
    """Examines a recording, warns of doubts about it, and returns it."""
    capture = open_among_others(path, hints)
    looked = look_at(capture, lambda count: None)
    tell_doubts(path, capture, looked)
    return _Heard(path, capture, looked)


def tell_doubts(path: Path, capture: Capture, looked: Looked) -> None:
    """Warns of everything that is strange about a capture, in one line each."""
    for line in (*capture.facts.notes, *looked.doubts):
        errors.print(f"warning: {path}: {line}")


def _cut(heard: list[_Heard], num_frames: int, num_samples: int) -> Tensor:
    """Cuts recordings into frames complex64 [F, T] without overlap, evenly spread where more exist than are wanted."""
    longest = max(segment.length for one in heard for segment in one.capture.facts.segments)
    length = min(num_samples, longest)
    places = [
        (one, start)
        for one in heard
        for segment in one.capture.facts.segments
        for start in range(segment.start, segment.start + segment.length - length + 1, length)
    ]
    kept = torch.linspace(0, len(places) - 1, min(num_frames, len(places))).round().long().tolist()
    frames = [
        # The mean is the receiver's DC offset.
        one.capture.read(start, length) - np.complex64(one.looked.mean)
        for one, start in (places[index] for index in kept)
    ]
    return torch.from_numpy(np.stack(frames))


def plain_name(path: Path) -> str:
    """Returns the name of a file as a folder may have it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).strip(".") or "interference"
