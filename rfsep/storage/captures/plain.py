"""Captures of consecutive numbers, in a file or in unpacked content."""

import mmap
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import CHUNK_BYTES
from rfsep.storage.captures.facts import CaptureFacts, Hints, SampleFormat, Samples, scaled
from rfsep.storage.faults import fault

MAX_UNPACKED_BYTES = 4 << 30  # most unpacked bytes of one member of a compressed archive


class Content(NamedTuple):
    """Bytes that hold samples.

    Attributes:
        size: size in bytes.
        fetch: returns the bytes ``(start, count)``, fewer at the end.
    """

    size: int
    fetch: Callable[[int, int], bytes]

    def part(self, start: int, size: int) -> "Content":
        """Returns a stretch of the bytes as a content."""
        return Content(size, lambda place, count: self.fetch(start + place, min(count, size - place)))

    def pieces(self) -> Iterator[bytes]:
        """Yields all bytes in pieces."""
        for start in range(0, self.size, CHUNK_BYTES):
            yield self.fetch(start, min(CHUNK_BYTES, self.size - start))


def file_content(path: Path) -> Content:
    """Returns the content of an ordinary file, which is opened for each stretch."""
    return Content(path.stat().st_size, partial(_fetch_file, path))


def unpacked_content(path: Path, stream: BinaryIO) -> Content:
    """Returns the unpacked content of a stream, kept in a temporary file without a name.

    Raises:
        InputError: the content exceeds ``MAX_UNPACKED_BYTES``.
    """
    with tempfile.TemporaryFile() as file:
        size = 0
        while piece := stream.read(CHUNK_BYTES):
            size += file.write(piece)
            if size > MAX_UNPACKED_BYTES:
                raise fault(path, f"unpacks to more than the limit of {MAX_UNPACKED_BYTES} bytes")
        if size == 0:
            return Content(0, lambda start, count: b"")
        file.flush()
        kept = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Content(size, lambda start, count: kept[start : start + count])


def _fetch_file(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error


class PlainCapture:
    """A capture of consecutive samples.

    Args:
        facts: facts of the capture.
        content: bytes of its samples.
        layout: format of its numbers.
        channels: number of channels, interleaved sample by sample.
        channel: number of the channel to read.
    """

    def __init__(
        self, facts: CaptureFacts, content: Content, layout: SampleFormat, channels: int = 1, channel: int = 0
    ) -> None:
        self.facts = facts
        self.content = content
        self.layout = layout
        self.channels = channels
        self.channel = channel

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on.

        Raises:
            InputError: the file became shorter, or cannot be read.
        """
        each = self.channels * self.layout.num_bytes
        found = self.content.fetch(start * each, count * each)
        if len(found) != count * each:
            raise fault(self.facts.path, f"ends before sample {start + count}: it became shorter")
        numbers = decoded(found, self.layout)
        if self.channels > 1:
            frames = numbers.reshape(count, self.channels, self.layout.numbers)
            numbers = np.ascontiguousarray(frames[:, self.channel]).reshape(-1)
        return scaled(numbers, self.layout)


def decoded(content: bytes, layout: SampleFormat) -> npt.NDArray[Any]:
    """Returns the numbers in bytes, in this machine's byte order, as a writable copy."""
    return np.frombuffer(content, layout.dtype).astype(layout.dtype.newbyteorder("="))


def whole_samples(path: Path, content: Content, layout: SampleFormat, channels: int = 1) -> tuple[int, tuple[str, ...]]:
    """Returns the number of whole samples, and a note if bytes are left over.

    Raises:
        InputError: there is no whole sample.
    """
    count, left = divmod(content.size, channels * layout.num_bytes)
    if count == 0:
        raise fault(path, f"holds no samples: {content.size} bytes")
    notes = (f"its last {left} bytes are no whole sample and are left out",) if left else ()
    return count, notes


def chosen_channel(path: Path, channels: int, hints: Hints) -> int:
    """Returns the number of the channel to read.

    Raises:
        InputError: there are several and none is named, or the named one is missing.
    """
    if hints.channel is None:
        if channels > 1:
            raise fault(path, f"has {channels} channels: choose one with --channel 0 to {channels - 1}")
        return 0
    if not 0 <= hints.channel < channels:
        raise fault(path, f"has no channel {hints.channel}: it has {channels}, counted from 0")
    return hints.channel
