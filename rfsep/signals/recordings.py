"""Recorded interference: SigMF files and official challenge frames, split by file or frame through a committed list."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.iq import forget_pages
from rfsep.storage.atomic import read_json
from rfsep.storage.hdf5 import read_frames
from rfsep.storage.sigmf import read_sigmf
from rfsep.types import InputError, Sampled

# the organisers' generator reads the first, copies of their dataset have the second as well
_OTHER_NAMES = {"testset1_frame": "test1_frame", "test1_frame": "testset1_frame"}


class Recorded(Protocol):
    """A source whose windows are cut from recordings."""

    @property
    def recordings(self) -> list[NDArray[np.complex64]]:
        """Returns every recording of the split, complex64 [T_i]."""
        ...

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames complex64 [num_frames, num_samples] that overlap only where the recordings are too short for all."""
        ...


def check_apart(test: Recorded, others: Mapping[str, Recorded]) -> None:
    """Checks that no test recording is in another split too, under any name.

    Args:
        test: recordings of the test split.
        others: the other splits by name.

    Raises:
        InputError: a test recording is in another split; the message names the first one.
    """
    own = _digests(test)  # Faults of the test split come first.
    known = {
        digest: f"recording {place} of the {split} split"
        for split, source in others.items()
        for place, digest in enumerate(_digests(source))
    }
    for place, digest in enumerate(own):
        if digest in known:
            raise InputError(f"recording {place} of the test split is {known[digest]} too: nobody may train on it")


def _digests(source: Recorded) -> list[bytes]:
    found = []
    for recording in source.recordings:
        found.append(hashlib.sha256(np.ascontiguousarray(recording).data).digest())
        forget_pages(recording)
    return found


def _split(split_list: Path, split: str) -> object:
    """Returns the entry of one split in a committed list."""
    splits = read_json(split_list)
    if not isinstance(splits, dict) or split not in splits:
        choices = ", ".join(splits) if isinstance(splits, dict) else "none: not an object"
        raise InputError(f"{split_list}: unknown split '{split}'; choose one of {choices}")
    return splits[split]


def _crops(
    recordings: Sequence[NDArray[np.complex64]], batch_size: int, num_samples: int, generator: torch.Generator
) -> Sampled:
    """Draws uniform crops of uniformly chosen recordings complex64 [T_i] that are long enough."""
    fitting = [index for index, recording in enumerate(recordings) if len(recording) >= num_samples]
    chosen = torch.tensor(fitting)[torch.randint(0, len(fitting), (batch_size,), generator=generator)]  # [B]
    place = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    rows = []
    for index, fraction in zip(chosen.tolist(), place.tolist(), strict=True):
        start = int(fraction * (len(recordings[index]) - num_samples + 1))
        rows.append(torch.from_numpy(np.array(recordings[index][start : start + num_samples])))
    unknown = torch.full((batch_size,), -1, dtype=torch.int64)
    no_bits = torch.zeros((batch_size, 0), dtype=torch.uint8)
    return Sampled(torch.stack(rows), no_bits, unknown, chosen, torch.zeros(batch_size, dtype=torch.int64))


def _shares(room: Sequence[int], wanted: int) -> list[int]:
    """How many of ``wanted`` frames each recording gives, of as many as it has room for: as equal as that allows."""
    shares = [0] * len(room)
    while (left := min(wanted, sum(room)) - sum(shares)) > 0:
        open_ones = [index for index, count in enumerate(room) if shares[index] < count]
        for index in open_ones[:left]:
            shares[index] += min(max(1, left // len(open_ones)), room[index] - shares[index])
    return shares


def _apart(
    recordings: Sequence[NDArray[np.complex64]], num_frames: int, num_samples: int, generator: torch.Generator
) -> Tensor:
    """Frames complex64 [num_frames, num_samples] from all over the recordings, without overlap while there is room.

    Frames of a recording keep their order, and random gaps lie between them. Those that find no room are crops at
    random, which overlap the others. Frames come in a random order.
    """
    frames = []
    for recording, count in zip(
        recordings, _shares([len(one) // num_samples for one in recordings], num_frames), strict=True
    ):
        gaps = torch.rand(count, generator=generator, dtype=torch.float64).sort().values
        starts = (gaps * (len(recording) - count * num_samples + 1)).long() + torch.arange(count) * num_samples
        frames += [torch.from_numpy(np.array(recording[start : start + num_samples])) for start in starts.tolist()]
    if len(frames) < num_frames:
        frames += _crops(recordings, num_frames - len(frames), num_samples, generator).waveform
    return torch.stack(frames)[torch.randperm(num_frames, generator=generator)]


class SigmfRecordings:
    """Random windows of SigMF recordings, each file without its DC offset and at unit mean power.

    Power is normalised once per file, never per window, so bursts stay bursts. A file is chosen first, uniformly, so
    that a long recording does not outweigh the others.

    Args:
        folder: folder with ``<name>.sigmf-meta`` and ``<name>.sigmf-data``.
        split_list: JSON {split: [names]}.
        split: name of the split.
    """

    def __init__(self, folder: str | Path, split_list: str | Path, split: str) -> None:
        self.folder = Path(folder)
        self.names = cast("list[str]", _split(Path(split_list), split))

    @cached_property
    def recordings(self) -> list[NDArray[np.complex64]]:
        """Returns every file of the split, complex64 [T_i], in the order of the list; read at first use."""
        loaded = []
        for name in self.names:
            samples = read_sigmf(self.folder / f"{name}.sigmf-meta").samples
            samples = samples - samples.mean(dtype=np.complex128)
            loaded.append((samples / np.sqrt(np.mean(np.abs(samples) ** 2))).astype(np.complex64))
        return loaded

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T] of files that are long enough; ``origin`` is the file's place in the list.

        Raises:
            InputError: no file is as long as a window.
        """
        self._check(num_samples)
        return _crops(self.recordings, batch_size, num_samples, generator)

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames to learn from, complex64 [num_frames, num_samples], spread over the files that are as long.

        Raises:
            InputError: no file is as long as a frame.
        """
        self._check(num_samples)
        return _apart(self.recordings, num_frames, num_samples, generator)

    def _check(self, num_samples: int) -> None:
        longest = max(len(recording) for recording in self.recordings)
        if longest < num_samples:
            raise InputError(f"{self.folder}: no recording has {num_samples} samples; the longest has {longest}")


class _FrameSplit(NamedTuple):
    file: str
    frames: list[int]


def _official_file(folder: Path, file: str) -> Path:
    """A file below the official folder, also where its own folder has the other of two names.

    Raises:
        InputError: it is not there; names it.
    """
    path = folder / file
    other = path.parent.with_name(_OTHER_NAMES.get(path.parent.name, path.parent.name)) / path.name
    found = next((one for one in (path, other) if one.is_file()), None)
    if found is None:
        raise InputError(f"{path}: no such file in the official folder {folder}: it is incomplete")
    return found


class OfficialFrames:
    """Random crops of random frames of an official interference file, as the challenge's own generator takes them.

    The frames already have unit power and are used unchanged.

    Args:
        folder: the official dataset, which holds ``interferenceset_frame/`` and ``testset1_frame/``.
        split_list: JSON {split: {"file": path below folder, "frames": [indices]}}.
        split: name of the split.
    """

    def __init__(self, folder: str | Path, split_list: str | Path, split: str) -> None:
        entry = _FrameSplit(**cast("dict[str, list[int]]", _split(Path(split_list), split)))  # type: ignore[arg-type]
        self.folder = Path(folder)
        self.file = entry.file
        self.indices = entry.frames

    @cached_property
    def recordings(self) -> list[NDArray[np.complex64]]:
        """Returns the frames of the split, complex64 [T] each, memory-mapped if the file allows."""
        path = _official_file(self.folder, self.file)
        frames = read_frames(path).frames
        if len(frames) <= max(self.indices):
            raise InputError(f"{path}: has {len(frames)} frames, the split list asks for frame {max(self.indices)}")
        return [frames[index] for index in self.indices]

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]; ``origin`` is the frame's place in the list."""
        self._check(num_samples)
        return _crops(self.recordings, batch_size, num_samples, generator)

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws pieces of the frames to learn from, complex64 [num_frames, num_samples].

        Raises:
            InputError: the frames are shorter than the pieces.
        """
        self._check(num_samples)
        return _apart(self.recordings, num_frames, num_samples, generator)

    def _check(self, num_samples: int) -> None:
        length = len(self.recordings[0])
        if length < num_samples:
            path = _official_file(self.folder, self.file)
            raise InputError(f"{path}: frames have {length} samples, fewer than a window of {num_samples}")
