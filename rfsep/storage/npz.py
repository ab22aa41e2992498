"""Reads and writes .npz archives."""

import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import ordinary_size, write_atomically
from rfsep.storage.faults import fault, foreign

MAX_BYTES = 1 << 30  # most bytes that an archive may unpack to


def read_npz_vector(path: Path, name: str) -> npt.NDArray[np.complex128]:
    """Reads one numeric vector of an archive as complex128 [L].

    Raises:
        InputError: no such file or entry (names those there), or an entry that is not a vector of numbers.
    """
    if not path.is_file():
        raise fault(path, "no such file")
    entries = read_npz(path, (name,))
    with foreign(path, f"entry {name!r} is no vector of numbers"):
        vector = np.asarray(entries[name], dtype=np.complex128)
    if vector.ndim != 1:
        raise fault(path, f"entry {name!r} has shape {vector.shape}, expected a vector")
    return vector


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays by name; the same arrays give the same bytes.

    Raises:
        InputError: the file cannot be written.
    """

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Reads an archive's arrays by name, but no object arrays; all of them, or those in ``names``.

    Raises:
        InputError: missing or damaged; a missing entry (names those there); an archive that unpacks to more than
            ``MAX_BYTES``.
    """
    ordinary_size(path)
    with foreign(path, "is not an .npz file of arrays"), warnings.catch_warnings(action="error"):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_BYTES:
            raise fault(path, f"unpacks to {unpacked} bytes, more than the limit of {MAX_BYTES}")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entries:
            wanted = entries.files if names is None else names
            if missing := sorted(set(wanted) - set(entries.files)):
                raise fault(path, f"no entry {missing[0]!r}, choose from {', '.join(entries.files[:20])}")
            return {name: np.asarray(entries[name]) for name in wanted}
