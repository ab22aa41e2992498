"""Digital RF: a folder of HDF5 files per channel, with an index of the samples' times.

A recorder that writes continuously fills missed samples with the lowest integer or NaN, which the index does not show.
One that writes with pauses joins the stretches, and the index shows them. Both count as gaps here.

Source: Digital RF 2.6, docs/source (rf_data, rf_data_index, drf_properties.h5).
"""

import bisect
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from rfsep.storage.captures.facts import Capture, CaptureFacts, Hints, Samples, Segment, datatype_of, facts_of
from rfsep.storage.captures.hdf5 import Numbers, numbers_of, one_number, samples_of
from rfsep.storage.captures.plain import chosen_channel
from rfsep.storage.faults import fault, foreign
from rfsep.storage.hdf5 import check_unpacking, find, open_hdf5

PROPERTIES = "drf_properties.h5"
_FILES = "rf@*.h5"
# Fewer filling values in a row may be real samples.
_SHORTEST_GAP = 8
_MAX_FILES = 1_000_000
_STRETCH = 1 << 20  # samples examined at once


class Block(NamedTuple):
    """Samples of a file that follow one another in time.

    Attributes:
        path: path of the file.
        row: row of the first sample in the file.
        length: length in samples.
        time: time of the first sample, in samples since the epoch.
    """

    path: Path
    row: int
    length: int
    time: int


def find_digital_rf(folder: Path) -> list[Path]:
    """Finds the channels of a Digital RF recording: the folder itself, or those in it; empty for other folders."""
    if (folder / PROPERTIES).is_file() or any(folder.glob(_FILES)):
        return [folder]
    return sorted(one.parent for one in folder.glob(f"*/{PROPERTIES}"))


def open_digital_rf(path: Path, hints: Hints) -> Capture:
    """Opens a channel of a Digital RF folder, or one of its files.

    Args:
        path: path of the recording, the channel or a file.
        hints: ``dataset`` names one of several channels, ``channel`` one of a channel's interleaved subchannels.

    Raises:
        InputError: several channels and none named, no samples, files that contradict one another.
    """
    if path.is_file():
        files = [path]
        folder = path.parent if (path.parent / PROPERTIES).is_file() else path.parent.parent
    else:
        folder = _chosen(path, find_digital_rf(path), hints)
        files = sorted([*folder.glob(_FILES), *folder.glob(f"*/{_FILES}")], key=lambda one: one.name)
    if not files or len(files) > _MAX_FILES:
        raise fault(path, f"is a Digital RF folder with {len(files)} files of samples")
    blocks, kind = _blocks(files)
    rate = _rate(folder / PROPERTIES, files[0])
    channel = chosen_channel(path, kind.channels, hints)
    segments: list[tuple[int, int, int]] = []  # first sample, time of the end, length
    place = 0
    for block in blocks:
        if segments and segments[-1][1] == block.time:
            start, _, count = segments[-1]
            segments[-1] = (start, block.time + block.length, count + block.length)
        else:
            segments.append((place, block.time + block.length, block.length))
        place += block.length
    number = kind.numbers.layout
    facts = facts_of(
        path,
        "Digital RF",
        datatype_of(number),
        place,
        step=number.step,
        sample_rate_hz=rate,
        segments=tuple(Segment(start, count) for start, _, count in segments),
        files=tuple(files),
    )
    return DigitalRfCapture(facts, blocks, kind.numbers, channel)


class DigitalRfCapture:
    """A capture in many files.

    Args:
        facts: facts of the capture.
        blocks: blocks in order of time.
        numbers: format of the entries.
        channel: the column to read.
    """

    def __init__(self, facts: CaptureFacts, blocks: list[Block], numbers: Numbers, channel: int) -> None:
        self.facts = facts
        self.blocks = blocks
        self.numbers = numbers
        self.channel = channel
        self._starts = [0, *np.cumsum([block.length for block in blocks]).tolist()]

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on.

        Raises:
            InputError: a file cannot be decoded.
        """
        pieces = []
        place = bisect.bisect_right(self._starts, start) - 1
        while count > 0:
            block, skipped = self.blocks[place], start - self._starts[place]
            taken = min(count, block.length - skipped)
            with open_hdf5(block.path) as file:
                dataset = find(file, "rf_data")
                rows = _rows(block.path, dataset, block.row + skipped, taken)[:, self.channel]
            pieces.append(samples_of(rows, self.numbers))
            start, count, place = start + taken, count - taken, place + 1
        return np.concatenate(pieces) if pieces else np.zeros(0, np.complex64)


def _rows(path: Path, dataset: h5py.Dataset, start: int, count: int) -> npt.NDArray[Any]:
    """Reads rows [count, channels] of a dataset."""
    with foreign(path, "cannot be decoded"):
        rows = np.asarray(dataset[start : start + count])
    return rows.reshape(len(rows), -1)


def _chosen(path: Path, channels: list[Path], hints: Hints) -> Path:
    names = [one.name for one in channels]
    if hints.dataset is not None:
        if hints.dataset not in names:
            raise fault(path, f"has no channel {hints.dataset!r}, only {names[:20]}")
        return channels[names.index(hints.dataset)]
    if len(channels) != 1:
        raise fault(path, f"has {len(channels)} Digital RF channels; name one of {names[:20]} with --dataset")
    return channels[0]


class _Kind(NamedTuple):
    """The common format of all files of a channel.

    Attributes:
        numbers: format of the entries.
        channels: number of interleaved channels.
    """

    numbers: Numbers
    channels: int


def _blocks(files: list[Path]) -> tuple[list[Block], _Kind]:
    """Returns the stretches of all files in order of time, without the recorder's fillings, and their format."""
    blocks: list[Block] = []
    kinds: set[_Kind] = set()
    for path in files:
        with open_hdf5(path) as file, foreign(path, "cannot be read as Digital RF"):
            dataset, index = find(file, "rf_data"), find(file, "rf_data_index")
            check_unpacking(path, dataset)
            shape: tuple[int, ...] = dataset.shape or ()
            if not 1 <= len(shape) <= 2 or index.ndim != 2 or index.shape[1] != 2 or index.dtype.kind not in "iu":
                raise fault(path, f"has rf_data {shape} and rf_data_index {index.shape}, expected Digital RF's")
            kinds.add(_Kind(numbers_of(path, "rf_data", dataset.dtype), shape[1] if len(shape) == 2 else 1))
            if len(kinds) > 1:
                raise fault(path, "holds other numbers or channels than the files before it")
            rows = [(int(time), int(row)) for time, row in index[: shape[0]]]
            ends = [*(row for _, row in rows[1:]), shape[0]]
            if not all(0 <= row < end for (_, row), end in zip(rows, ends, strict=True)):
                raise fault(path, f"its index names rows {[row for _, row in rows][:10]} of {shape[0]}")
            for (time, row), end in zip(rows, ends, strict=True):
                blocks += _heard(path, dataset, time, row, end)
    if not blocks:
        raise fault(files[0], "holds no samples")
    return sorted(blocks, key=lambda block: block.time), kinds.pop()


def _heard(path: Path, dataset: h5py.Dataset, time: int, row: int, end: int) -> list[Block]:
    """Returns the stretches of rows that were received: all but long runs of the recorder's filling."""
    blocks: list[Block] = []
    begin = row  # beginning of the current received stretch
    run = 0  # number of filled rows up to here
    for start in range(row, end, _STRETCH):
        filled = _filled(_rows(path, dataset, start, min(_STRETCH, end - start)), dataset.fillvalue)
        place = start
        for value, group in groupby(filled.tolist()) if filled.any() else [(False, filled)]:
            length = len(list(group))
            if value:
                run += length
            else:
                if run >= _SHORTEST_GAP:
                    blocks.append(Block(path, begin, place - run - begin, time + begin - row))
                    begin = place
                run = 0
            place += length
    last = end - run if run >= _SHORTEST_GAP else end
    blocks.append(Block(path, begin, last - begin, time + begin - row))
    return [block for block in blocks if block.length > 0]


def _filled(rows: npt.NDArray[Any], filling: Any) -> npt.NDArray[np.bool_]:
    """Returns a mask bool [T] of the rows that hold the filling in every channel."""
    if rows.dtype.kind in "fc":
        return np.asarray(np.isnan(rows).all(1))
    if rows.dtype.names:
        return np.asarray(np.all([(rows[name] == filling[name]).all(1) for name in rows.dtype.names], 0))
    return np.asarray((rows == filling).all(1))


def _rate(properties: Path, first: Path) -> float | None:
    """Returns the samples per second, from the properties or from a file."""
    for path, name in ((properties, None), (first, "rf_data")):
        if not path.is_file():
            continue
        with open_hdf5(path) as file, foreign(path, "cannot be read as Digital RF"):
            attributes = file.attrs if name is None else find(file, name).attrs
            top, bottom = (one_number(attributes.get(f"sample_rate_{part}")) for part in ("numerator", "denominator"))
            if top is not None and bottom is not None:
                return top / bottom
    return None
