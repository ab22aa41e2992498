"""Files that grow chunk by chunk, survive a killed process, and appear whole in the end."""

import fcntl
import io
import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.faults import fault, reason
from rfsep.storage.locks import sweep

STATE = "state.json"
_PARTIAL = ".partial"
_SECONDS = 2.0  # time between two states, which a power cut can cost


class Grown(NamedTuple):
    """A file to grow.

    Attributes:
        name: name in the folder.
        dtype: dtype of its numbers.
        shape: shape of the complete file; the first axis grows.
        header: True for a .npy, False for numbers alone.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    header: bool

    def beginning(self) -> bytes:
        """Returns the bytes before the first number."""
        if not self.header:
            return b""
        stream = io.BytesIO()
        content = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(stream, content)
        return stream.getvalue()

    def num_bytes(self) -> int:
        """Returns the size of the complete file in bytes."""
        return len(self.beginning()) + int(np.prod(self.shape)) * self.dtype.itemsize


class GrowingFiles:
    """Files of one folder, written by one process at a time; the work of a killed process is resumed.

    The files carry another name until all are complete. ``state.json`` tells how many chunks are safe on the disk, and
    how long each file was then. Data that a killed process wrote after that is cut off and written again, so that the
    bytes are those of an undisturbed run.

    Args:
        folder: created if it does not exist.
        identity: plain values; files begun with other values are not touched.
        files: the growing files.

    Raises:
        InputError: the folder holds files of another identity or foreign ones; another process works in it;
            the disk has too little room; it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], files: Sequence[Grown]) -> None:
        self.folder = folder
        self.files = files
        self.identity = json.loads(json.dumps(identity))
        self.chunks = 0
        self.seconds = 0.0
        self.complete = False
        self.kept: dict[str, Any] = {}  # plain values that go on from chunk to chunk, safe with them
        self._open: dict[str, io.BufferedRandom] = {}
        self._lengths: dict[str, int] = {}  # lengths after the last whole chunk
        self._lock: int | None = None
        # The first chunk is recorded at once: from then on the folder is taken.
        self._saved = -math.inf

    def __enter__(self) -> Self:
        try:
            self._begin()
        except OSError as error:
            self._close()
            raise fault(self.folder, f"cannot be written: {reason(error)}") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is not None and self._open and not issubclass(kind, OSError):
                self.save()
        finally:
            self._close()
        if isinstance(error, OSError):
            raise fault(
                self.folder, f"cannot be written: {reason(error)}; the same command goes on where it stopped"
            ) from error

    def append(self, arrays: Mapping[str, npt.NDArray[Any]], seconds: float, kept: Mapping[str, Any]) -> None:
        """Writes the next chunk of every file, by name; it took ``seconds``, and leaves ``kept`` to the next."""
        for file in self.files:
            self._open[file.name].write(np.ascontiguousarray(arrays[file.name], file.dtype).data)
        lengths = {name: file.tell() for name, file in self._open.items()}
        # At once, for an interrupt may come between two lines and saves what is here.
        self.chunks, self.seconds, self._lengths, self.kept = (
            self.chunks + 1,
            self.seconds + seconds,
            lengths,
            dict(kept),
        )
        if time.monotonic() - self._saved >= _SECONDS:
            self.save()

    def save(self) -> None:
        """Forces the written data to the disk, then records it in the state."""
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
        state = {"identity": self.identity, "chunks": self.chunks, "seconds": self.seconds, "bytes": self._lengths}
        state["kept"] = self.kept
        write_json(self.folder / STATE, state)
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Gives the complete files their final names.

        Raises:
            InputError: a file is not as long as it should be.
        """
        self.save()
        for file in self.files:
            # An earlier process has already given it its name.
            if (opened := self._open.pop(file.name, None)) is None:
                continue
            opened.close()
            partial = self.folder / (file.name + _PARTIAL)
            if partial.stat().st_size != file.num_bytes():
                raise fault(partial, f"has {partial.stat().st_size} bytes, expected {file.num_bytes()}")
            os.replace(partial, self.folder / file.name)
        self.complete = True

    def forget(self) -> None:
        """Removes the state, once everything made from the files is there."""
        (self.folder / STATE).unlink(missing_ok=True)

    def _begin(self) -> None:
        """Takes the folder, and resumes from its state if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise fault(self.folder, "another process is writing into it") from None
        sweep(self.folder)
        state = self._state()
        self._lengths = lengths = state["bytes"]
        self.chunks, self.seconds = state["chunks"], state["seconds"]
        self.kept = state.get("kept") or {}
        check_room(self.folder, sum(file.num_bytes() - lengths.get(file.name, 0) for file in self.files))
        for file in self.files:
            self._resume(file, lengths.get(file.name))

    def _state(self) -> dict[str, Any]:
        """Returns the state that an earlier process left, or an initial one."""
        path = self.folder / STATE
        if not path.exists():
            known = {file.name + _PARTIAL for file in self.files}
            found = [one.name for one in self.folder.iterdir()]
            if strange := sorted(set(found) - known):
                raise fault(self.folder, f"is not empty ({strange[0]}), and no run to go on with; give another --out")
            return {"chunks": 0, "seconds": 0.0, "bytes": {}}
        state = read_json(path)
        check_identity(self.folder, self.identity, state.get("identity") if isinstance(state, dict) else None)
        counts = [state.get("chunks"), *(state["bytes"].values() if isinstance(state.get("bytes"), dict) else [None])]
        whole = all(isinstance(count, int) and count >= 0 for count in counts)
        if not whole or not isinstance(state.get("seconds"), float) or not isinstance(state.get("kept", {}), dict):
            raise fault(path, "is damaged; give another --out")
        return dict(state)

    def _resume(self, file: Grown, length: int | None) -> None:
        """Opens a file at the end of its safe part, unless it is complete and has its name."""
        partial = self.folder / (file.name + _PARTIAL)
        if partial.is_symlink():
            raise fault(partial, "is a link, which is not written through")
        if length is None:
            opened = partial.open("w+b")
            self._lengths[file.name] = opened.write(file.beginning())
        elif not partial.exists() and (self.folder / file.name).is_file():
            return
        else:
            opened = partial.open("r+b")
            if os.fstat(opened.fileno()).st_size < length:
                opened.close()
                raise fault(partial, f"is shorter than the {length} bytes that {STATE} tells of; give another --out")
            opened.truncate(length)
            opened.seek(length)
        self._open[file.name] = opened

    def _close(self) -> None:
        for opened in self._open.values():
            try:
                opened.close()
            except OSError:  # The disk is full, which has been reported already.
                continue
        if self._lock is not None:
            os.close(self._lock)


def check_room(folder: Path, num_bytes: int) -> None:
    """Refuses work whose results do not fit on the disk of a folder, which need not exist yet.

    Raises:
        InputError: names both numbers.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if (free := shutil.disk_usage(there).free) < num_bytes:
        raise fault(folder, f"{num_bytes} bytes are to be written, and the disk has room for {free}")


def check_identity(folder: Path, identity: Mapping[str, Any], found: Any) -> None:
    """Refuses a folder that holds another run.

    Raises:
        InputError: names the first value that differs.
    """
    wanted = json.loads(json.dumps(identity))
    if found == wanted:
        return
    other = found if isinstance(found, dict) else {}
    key = next((key for key in wanted if other.get(key) != wanted[key]), "identity")
    raise fault(folder, f"holds another run: {key} was {other.get(key)!r}, is {wanted.get(key)!r}; give another --out")
