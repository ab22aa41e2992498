"""Vectors kept in .npz archives."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import write_atomically
from rfsep.storage.faults import fault, reason


def read_npz_vector(path: Path, name: str) -> npt.NDArray[np.complex128]:
    """One numeric vector of an archive: complex128 [L].

    Raises:
        InputError: no such file or entry (names those there), or an entry that is no vector of numbers.
    """
    if not path.is_file():
        raise fault(path, "no such file")
    try:
        with np.load(path, allow_pickle=False) as entries:
            choices = ", ".join(entries.files)
            vector = np.asarray(entries[name], dtype=np.complex128) if name in entries.files else None
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise fault(path, f"is not an .npz file of complex vectors: {reason(error)}") from error
    if vector is None:
        raise fault(path, f"no entry {name!r}, choose from {choices}")
    if vector.ndim != 1:
        raise fault(path, f"entry {name!r} has shape {vector.shape}, expected a vector")
    return vector


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name, the same bytes for the same arrays.

    Raises:
        InputError: the file cannot be written.
    """

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an archive by name, none of objects.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as entries:
            return {name: np.asarray(entries[name]) for name in entries.files}
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise fault(path, f"is not an .npz file of arrays: {reason(error)}") from error
