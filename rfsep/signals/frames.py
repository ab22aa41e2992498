"""Interference saved as frames: random crops of a .npy file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfsep.signals.crops import apart, crops, whole
from rfsep.signals.recordings import SHARES, SPLITS, check_split
from rfsep.storage.npy import check_finite, read_complex
from rfsep.types import InputError, Sampled


class SavedFrames:
    """Random crops of random frames of a .npy file, of unit power on average.

    Args:
        folder: the file, complex64 [F, T].
        split: which part of the frames, in their order.
        shares: of train, val and test.

    Raises:
        InputError: it cannot be read, holds NaN, infinity or zeros alone, or too few frames for its parts.
    """

    def __init__(self, folder: str | Path, split: str, shares: Sequence[float] = SHARES) -> None:
        self.folder = Path(folder)
        check_split(split, "frames")
        frames = read_complex(self.folder, (None, None))
        check_finite(self.folder, frames)
        ends = np.cumsum([0.0, *shares]) * len(frames)
        first, end = (round(float(ends[SPLITS.index(split) + step])) for step in (0, 1))
        if end == first or frames.shape[1] == 0:
            raise InputError(f"{folder}: {len(frames)} frames are too few for a part of split '{split}'")
        power = float(np.mean(np.abs(frames) ** 2))
        if not power > 0:
            raise InputError(f"{folder}: is silent: it has no power to be normalised")
        self.recordings = [np.asarray(one / np.sqrt(power), np.complex64) for one in frames[first:end]]
        self.first = first

    def names(self) -> list[str]:
        """Returns the file and the number of each frame."""
        return [f"frame {self.first + place} of {self.folder}" for place in range(len(self.recordings))]

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]; ``origin`` is the frame's place in the part."""
        return crops([whole(one) for one in self.recordings], batch_size, num_samples, generator)

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames to learn from, complex64 [num_frames, num_samples], without overlap while there is room."""
        return apart([whole(one) for one in self.recordings], num_frames, num_samples, generator)

    def longest(self) -> int:
        """Returns the number of samples of a frame."""
        return len(self.recordings[0])
