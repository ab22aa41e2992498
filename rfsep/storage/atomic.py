"""Files appear whole or not at all: a temporary file beside the target, synced, then renamed."""

import hashlib
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rfsep.storage.faults import fault, reason

CHUNK_BYTES = 1 << 20
MAX_JSON_BYTES = 1 << 26
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


@contextmanager
def staged(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yields temporary names beside ``paths``; the files written there are renamed together when the block succeeds.

    The caller creates every temporary file inside the block. Upon any failure the temporary files, and those already
    renamed, are removed. An interrupt after the last renaming removes nothing: the files are whole, and may have
    replaced older ones.

    Raises:
        InputError: an OSError in the block or in the renaming (a full disk, say); names the files.
    """
    temporaries = tuple(path.parent / f".{uuid.uuid4().hex}.tmp" for path in paths)
    renamed: list[Path] = []
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporaries
        for temporary in temporaries:
            _sync(temporary)
        for temporary, path in zip(temporaries, paths, strict=True):
            os.replace(temporary, path)
            renamed.append(path)
        for folder in sorted({path.parent for path in paths}):
            _sync(folder)
    except BaseException as error:
        whole = len(renamed) == len(paths) and not isinstance(error, Exception)
        for leftover in (*temporaries, *([] if whole else renamed)):
            _remove(leftover)
        if isinstance(error, OSError):
            names = " and ".join(str(path) for path in paths)
            raise fault(names, f"cannot be written: {reason(error)}") from error
        raise


def is_temporary(path: Path) -> bool:
    """Tells whether a file has a temporary name of `staged`, as a killed process leaves it.

    >>> is_temporary(Path("a/.0123456789abcdef0123456789abcdef.tmp")), is_temporary(Path("a/.my.tmp"))
    (True, False)
    """
    return _TEMPORARY.fullmatch(path.name) is not None


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes one file through ``write(file)``; it appears only when complete and on the disk.

    Raises:
        InputError: the file cannot be written.
    """
    with staged(path) as (temporary,), temporary.open("xb") as file:
        write(file)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8.

    Raises:
        InputError: the file cannot be written.
    """
    write_atomically(path, lambda file: _write(file, text.encode()))


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read, unless it exists; of several writers one wins.

    Raises:
        InputError: the file cannot be written.
    """
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        _sync(temporary)
        with suppress(FileExistsError):
            os.link(temporary, path)
    except OSError as error:
        raise fault(path, f"cannot be written: {reason(error)}") from error
    finally:
        _remove(temporary)


def write_json(path: Path, value: object) -> None:
    """Writes ``value`` as JSON, indented by one space, with a newline at the end.

    Raises:
        InputError: the value has NaN, infinity or a type that JSON does not have, or the file cannot be written.
    """
    try:
        text = json.dumps(value, allow_nan=False, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise fault(path, f"cannot be written as JSON: {reason(error)}") from error
    write_text(path, text)


def read_small(path: Path, max_bytes: int) -> bytes:
    """Returns the content of a file.

    Raises:
        InputError: missing, not an ordinary file, larger than ``max_bytes``, or unreadable.
    """
    if (size := ordinary_size(path)) > max_bytes:
        raise fault(path, f"has {size} bytes, more than the limit of {max_bytes}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error


def ordinary_size(path: Path) -> int:
    """Returns the size of an ordinary file in bytes; a pipe has no size, and opening one would block.

    Raises:
        InputError: missing, or not an ordinary file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # A name that contains a zero byte raises a ValueError.
        raise fault(path, f"cannot be read: {getattr(error, 'strerror', None) or reason(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "directory" if stat.S_ISDIR(status.st_mode) else "pipe, a socket or a device"
        raise fault(path, f"is a {kind}, expected an ordinary file")
    return status.st_size


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Returns the value in a JSON file; NaN, infinity, numbers beyond floats and lone surrogates are refused.

    Raises:
        InputError: missing, unreadable, larger than ``max_bytes``, or not JSON.
    """
    return parse_json(path, read_small(path, max_bytes))


def parse_json(path: Path, content: bytes) -> Any:
    """Parses the bytes of a JSON file, with or without a byte-order mark; it refuses what `read_json` refuses.

    Raises:
        InputError: the content is not JSON.
    """
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_finite_integer)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise fault(path, f"is not valid JSON: {reason(error)}") from error


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits, read in pieces.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    ordinary_size(path)
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _sync(path: Path) -> None:
    """Forces a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Removes a file that may exist; errors are ignored, as an earlier failure is the one to report."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is beyond all numbers")
    return value


def _finite_integer(text: str) -> int:
    _finite(text)
    return int(text)
