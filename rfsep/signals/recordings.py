"""Recorded interference: captures of any kind and official challenge frames, split by file, time or frame."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.iq import forget_pages, from_db
from rfsep.signals.crops import Recording, apart, crops, draw, sampled, whole
from rfsep.signals.resampling import Conversion, conversion, resampled
from rfsep.signals.same_recording import known, same_as
from rfsep.storage.atomic import read_json
from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.facts import Hints
from rfsep.storage.captures.listing import capture_paths
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.hdf5 import read_frames
from rfsep.types import InputError, Sampled

# the organisers' generator reads the first, copies of their dataset have the second as well
_OTHER_NAMES = {"testset1_frame": "test1_frame", "test1_frame": "testset1_frame"}
_SAME_RATE = 1e-7  # relative difference, of two receivers' names for one rate
_MAX_SAMPLES = 1 << 28  # A longer file would take more than 2 GiB in memory.
SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.15, 0.15)  # parts of the three splits, where no list names them
_log = logging.getLogger(__name__)


class Recorded(Protocol):
    """A source whose windows are cut from recordings."""

    @property
    def recordings(self) -> list[NDArray[np.complex64]]:
        """Returns every recording of the split, complex64 [T_i]."""
        ...

    def names(self) -> list[str]:
        """Returns what each recording is called in messages."""
        ...

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames to learn from, complex64 [num_frames, num_samples], without overlap while there is room."""
        ...

    def longest(self) -> int:
        """Returns the number of samples of the longest window that can be drawn."""
        ...


def check_apart(test: Recorded, others: Mapping[str, Recorded]) -> None:
    """Checks that no test recording is in another split too, under any name, cut elsewhere or at another level.

    Args:
        test: recordings of the test split.
        others: the other splits by name.

    Raises:
        InputError: a test recording is in another split; the message names both.
    """
    own = _digests(test)  # Faults of the test split come first.
    for split, source in others.items():
        digests, index = _digests(source), known(source.recordings)
        for place, recording in enumerate(test.recordings):
            found = digests.index(own[place]) if own[place] in digests else same_as(recording, source.recordings, index)
            forget_pages(recording)
            if found is not None:
                raise InputError(
                    f"{test.names()[place]} of the test split is the same recording as {source.names()[found]} of the"
                    f" {split} split: nobody may train on it"
                )


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
        raise InputError(
            f"{split_list}: unknown split '{split}'; choose one of {choices}, name recordings for it there, or split by"
            " itself with split_list: files or split_list: time"
        )
    return splits[split]


class SigmfRecordings:
    """Random windows of recordings, each file without its DC offset and at unit mean power.

    Power is normalised once per file, never per window, so bursts stay bursts. A file is chosen first, uniformly, so
    that a long recording does not outweigh the others. No window reaches across a gap or a retune.

    Args:
        folder: of the recordings, of any kind that `rfsep.storage.captures.opening.open_capture` reads: SigMF, WAV,
            HDF5 and others. Without a list of names also one file, or a pattern such as ``day*/*.wav``.
        split_list: JSON {split: [names]}, names being files or ``<name>`` of ``<name>.sigmf-meta``; ``files``: the
            last share of the files, at least one, is for tests, the share before it for validation; ``time``: each
            file is split in time, with ``guard`` samples left out between; ``auto``: by files where there are three.
        split: which of them.
        sample_rate_hz: that every file should have.
        resample: convert files of another rate; else they are refused.
        duty_db: take windows alone whose power is within so many dB of their file's busy level, above or below which
            half of its energy lies, and bring those to unit mean power; None: all windows, a pause like a burst.
        guard: samples between two parts of a file.
        datatype: of raw samples, as SigMF names it.
        shares: of train, val and test, where no list names them; nothing is left for a split of share 0.
    """

    def __init__(
        self,
        folder: str | Path,
        split_list: str | Path,
        split: str,
        sample_rate_hz: float | None = None,
        resample: bool = False,
        duty_db: float | None = None,
        guard: int = 8192,
        datatype: str | None = None,
        shares: Sequence[float] = SHARES,
    ) -> None:
        self.folder = Path(folder)
        self.shares = dict(zip(SPLITS, shares, strict=True))
        by_files = split_list == "auto" and len(capture_paths(self.folder)) >= len(SPLITS)
        self.split, self.split_list = split, split_list if split_list != "auto" else "files" if by_files else "time"
        self.sample_rate_hz = sample_rate_hz
        self.resample = resample
        self.duty_db = duty_db
        self.guard = guard
        self.datatype = datatype
        self.paths = self._paths()
        self._busy = cache(self._find_busy)

    def _paths(self) -> list[Path]:
        """Files of the split."""
        if self.split_list == "time":
            check_split(self.split, "split_list: time")
            return capture_paths(self.folder)
        if self.split_list == "files":
            return _split_files(self.folder, capture_paths(self.folder), self.split, self.shares)
        names = cast("list[str]", _split(Path(self.split_list), self.split))
        metas = [(name, self.folder / f"{name}.sigmf-meta") for name in names]
        return [self.folder / name if (self.folder / name).is_file() else meta for name, meta in metas]

    @cached_property
    def _loaded(self) -> list[Recording]:
        """Every file of the split, in the order of the list; read at first use."""
        loaded = [self._load(path) for path in self.paths]
        if not loaded:
            raise InputError(f"{self.folder}: split '{self.split}' of {self.split_list} has no recordings")
        return loaded

    @property
    def recordings(self) -> list[NDArray[np.complex64]]:
        """Every file of the split, complex64 [T_i], its stretches one behind the other."""
        return [recording.samples for recording in self._loaded]

    def names(self) -> list[str]:
        """Returns the file of each recording."""
        return [str(path) for path in self.paths]

    def _load(self, path: Path) -> Recording:
        """A file at the common rate, or the split's part of it."""
        capture = open_capture(path, Hints(datatype=self.datatype))
        facts = capture.facts
        if facts.num_samples > _MAX_SAMPLES:
            raise InputError(f"{path}: has {facts.num_samples} samples, more than the {_MAX_SAMPLES} that are read")
        for doubt in look_at(capture, lambda count: None).doubts:
            _log.warning("%s: %s", path, doubt)
        plan = self._plan(path, facts.sample_rate_hz)
        pieces = [
            resampled(capture.read(start, length), plan)
            for segment in facts.segments
            for start, length in self._parts(segment.start, segment.length)
        ]
        samples = np.concatenate(pieces or [np.zeros(0, np.complex64)])
        if len(samples) == 0:
            raise InputError(f"{path}: too short for a part of split '{self.split}' with a guard of {self.guard}")
        samples = samples - samples.mean(dtype=np.complex128)
        power = float(np.mean(np.abs(samples) ** 2))
        if not power > 0:
            raise InputError(f"{path}: is silent: it has no power to be normalised")
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        stretches = tuple((end - len(piece), len(piece)) for end, piece in zip(ends, pieces, strict=True))
        return Recording((samples / np.sqrt(power)).astype(np.complex64), stretches)

    def _plan(self, path: Path, rate_hz: float | None) -> Conversion:
        """The way to the common rate; to the file's own where none is told."""
        if rate_hz is None or self.sample_rate_hz is None:
            known = self.sample_rate_hz or rate_hz or 1.0
            if rate_hz is not None and self._first_rate is not None and rate_hz != self._first_rate:
                raise InputError(
                    f"{path}: has {rate_hz:.12g} samples/s, a file before it {self._first_rate:.12g}: tell the rate"
                    " that is wanted with sample_rate_hz=, and resample=true"
                )
            return conversion(known, known)
        plan = conversion(rate_hz, self.sample_rate_hz)
        if not self.resample and abs(rate_hz / self.sample_rate_hz - 1) <= _SAME_RATE:
            return conversion(rate_hz, rate_hz)
        if plan.up != plan.down and not self.resample:
            raise InputError(
                f"{path}: has {rate_hz:.12g} samples/s, and sample_rate_hz is {self.sample_rate_hz:.12g}: set"
                " resample: true to convert it, or tell the rate that the recordings have"
            )
        return plan

    @cached_property
    def _first_rate(self) -> float | None:
        """Rate of the first file that tells one."""
        rates = (open_capture(path, Hints(datatype=self.datatype)).facts.sample_rate_hz for path in self.paths)
        return next((rate for rate in rates if rate is not None), None)

    def _parts(self, start: int, length: int) -> list[tuple[int, int]]:
        """A stretch, or what the split has of it in time."""
        if self.split_list != "time":
            return [(start, length)]
        place = SPLITS.index(self.split)
        shares = [0.0, *np.cumsum(list(self.shares.values())).tolist()]
        first = round(shares[place] * length) + (self.guard if place > 0 else 0)
        end = round(shares[place + 1] * length)
        return [(start + first, end - first)] if end > first else []

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T] of files that are long enough; ``origin`` is the file's place in the list.

        Raises:
            InputError: no file is as long as a window.
        """
        self._check(num_samples)
        if self.duty_db is None:
            return crops(self._loaded, batch_size, num_samples, generator)
        busy = [self._busy(index, num_samples) for index in range(len(self._loaded))]
        chosen, places = draw([len(one.starts) for one in busy], batch_size, generator)
        rows = []
        for index, place in zip(chosen.tolist(), places, strict=True):
            start = int(busy[index].starts[place])
            window = self._loaded[index].samples[start : start + num_samples] * busy[index].gain
            rows.append(torch.from_numpy(window.astype(np.complex64)))
        return sampled(rows, chosen)

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames to learn from, complex64 [num_frames, num_samples], spread over the files that are as long.

        They overlap only if the files are too short for all, or if only busy windows are wanted (``duty_db``).

        Raises:
            InputError: no file is as long as a frame.
        """
        if self.duty_db is not None:
            return self.sample(num_frames, num_samples, generator).waveform
        self._check(num_samples)
        return apart(self._loaded, num_frames, num_samples, generator)

    def longest(self) -> int:
        """Returns the number of samples of the longest stretch without a seam."""
        return max(length for recording in self._loaded for _, length in recording.stretches)

    def _check(self, num_samples: int) -> None:
        if self.longest() < num_samples:
            raise InputError(
                f"{self.folder}: no recording has {num_samples} samples; the longest has {self.longest()}: ask for"
                " shorter windows (num_samples=, data.num_samples= of a training)"
            )

    def _find_busy(self, index: int, num_samples: int) -> "_Busy":
        """Where the windows of a file begin that are as loud as its busy level asks."""
        recording = self._loaded[index]
        total = np.concatenate(([0.0], np.cumsum(np.square(np.abs(recording.samples), dtype=np.float64))))
        starts = np.concatenate(
            [np.arange(first, first + max(0, length - num_samples + 1)) for first, length in recording.stretches]
        )
        if len(starts) == 0:
            return _Busy(starts, 1.0)
        powers = (total[starts + num_samples] - total[starts]) / num_samples
        order = np.sort(powers)
        level = order[np.searchsorted(np.cumsum(order), order.sum() / 2)]  # half of the energy is in louder windows
        kept = powers >= level * from_db(-float(self.duty_db or 0.0))
        return _Busy(starts[kept], float(1 / np.sqrt(powers[kept].mean())))


class _Busy(NamedTuple):
    """Windows of a file that are loud enough.

    Attributes:
        starts: their first samples.
        gain: that brings them to unit mean power.
    """

    starts: NDArray[np.int64]
    gain: float


def check_split(split: str, how: str) -> None:
    """Refuses a split that is none of `SPLITS`."""
    if split not in SPLITS:
        raise InputError(f"{how}: unknown split '{split}'; choose one of {', '.join(SPLITS)}")


def _split_files(folder: Path, paths: list[Path], split: str, shares: Mapping[str, float]) -> list[Path]:
    """Files of a split, in the order of their names: the last ones are for tests, those before for validation."""
    check_split(split, "split_list: files")
    if len(paths) < 3:
        raise InputError(
            f"{folder}: {len(paths)} files cannot be split into three: split_list: time splits each file in time"
        )
    tests, checks = (max(1, round(shares[one] * len(paths))) if shares[one] else 0 for one in ("test", "val"))
    known = len(paths) - tests - checks
    parts = {"train": paths[:known], "val": paths[known : known + checks], "test": paths[known + checks :]}
    return parts[split]


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

    def names(self) -> list[str]:
        """Returns the file and the number of each frame."""
        return [f"frame {index} of {self.folder / self.file}" for index in self.indices]

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]; ``origin`` is the frame's place in the list."""
        return crops(self._whole(num_samples), batch_size, num_samples, generator)

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames to learn from, complex64 [num_frames, num_samples], without overlap while there is room."""
        return apart(self._whole(num_samples), num_frames, num_samples, generator)

    def longest(self) -> int:
        """Returns the number of samples of a frame."""
        return len(self.recordings[0])

    def _whole(self, num_samples: int) -> list[Recording]:
        length = len(self.recordings[0])
        if length < num_samples:
            path = _official_file(self.folder, self.file)
            raise InputError(f"{path}: frames have {length} samples, fewer than a window of {num_samples}")
        return [whole(frame) for frame in self.recordings]
