"""Example frames of an interference for the `rfsep` command: of an option of conf/interference or of a file."""

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.app.config import drawn_examples, interference_of, options
from rfsep.app.settings import Frames
from rfsep.storage.npy import check_finite, read_complex
from rfsep.storage.sigmf import SUFFIX, read_sigmf
from rfsep.types import InputError

_SPLITS = ("train", "val", "test")


class Examples(NamedTuple):
    """Example frames of an interference.

    Attributes:
        name: for the folder that is written.
        frames: complex64 [F, T].
        sample_rate_hz: None where it is unknown.
    """

    name: str
    frames: Tensor
    sample_rate_hz: float | None


def read_examples(interference: str, num_frames: int, num_samples: int, split: str) -> Examples:
    """Frames of an option of conf/interference or of a file.

    Raises:
        InputError: it is neither, or the file is broken.
    """
    path = Path(interference)
    if path.suffix == SUFFIX:
        recording = read_sigmf(path)
        samples = torch.from_numpy(recording.samples)
        if len(samples) == 0:
            raise InputError(f"{path}: holds no samples")
        frames = _cut(samples - samples.mean(), num_frames, num_samples)  # receivers leave a DC offset
        return Examples(plain_name(path), frames, recording.sample_rate_hz)
    if path.suffix == ".npy":
        array = read_complex(path, (None, None))[:num_frames]
        check_finite(path, array)
        return Examples(plain_name(path), torch.tensor(array), None)
    if interference not in options("interference"):
        names = ", ".join(options("interference"))
        raise InputError(f"unknown interference '{interference}'; give a {SUFFIX} or .npy file, or one of {names}")
    if split not in _SPLITS:
        raise InputError(f"split is '{split}'; choose one of {', '.join(_SPLITS)}")
    config = interference_of(interference)
    frames = drawn_examples(config, split, Frames(num_frames, num_samples))
    return Examples(interference, frames, config.sample_rate_hz)


def _cut(samples: Tensor, num_frames: int, num_samples: int) -> Tensor:
    """A recording complex64 [T] in frames, evenly spread over it where it has more of them than are wanted."""
    frames = samples.unfold(0, min(num_samples, len(samples)), min(num_samples, len(samples)))  # [F, T]
    kept = torch.linspace(0, len(frames) - 1, min(num_frames, len(frames))).round().long()
    return frames[kept]


def plain_name(path: Path) -> str:
    """The name of a file as a folder may have it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).strip(".") or "interference"
