"""Keeps the errors of every mixture beside scores, for comparisons of entries on the same mixtures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.storage.atomic import sha256
from rfsep.storage.faults import fault
from rfsep.storage.npz import read_npz, write_npz

ERRORS = "errors.npz"
Arrays = dict[str, NDArray[Any]]


class RowErrors(NamedTuple):
    """The errors of a separator on the mixtures of a type.

    Attributes:
        mse: float32 [M].
        wrong_bits: int32 [M].
    """

    mse: NDArray[np.float32]
    wrong_bits: NDArray[np.int32]


class TypeErrors(NamedTuple):
    """The errors of a submission and of the baselines on the mixtures of a type.

    Attributes:
        sinr_db: float32 [M], nominal.
        recording: int32 [M], number of the interference's recording; -1 synthetic or unknown.
        num_bits: int32 [M].
        own: of the submission.
        baselines: by name.
    """

    sinr_db: NDArray[np.float32]
    recording: NDArray[np.int32]
    num_bits: NDArray[np.int32]
    own: RowErrors
    baselines: dict[str, RowErrors]


def row_errors(mse: NDArray[np.float64], bit_errors: NDArray[np.float64]) -> RowErrors:
    """Returns errors as they are kept: float64 [M] twice to float32 and int32."""
    return RowErrors(mse.astype(np.float32), bit_errors.astype(np.int32))


def write_errors(path: Path, types: Mapping[str, TypeErrors]) -> dict[str, Any]:
    """Writes the errors of a submission, and returns their entry in scores.json with the file's SHA-256.

    Args:
        path: .npz file, replaced as a whole.
        types: by label, as in ``QPSK_OFDMQPSK``.
    """
    arrays: Arrays = {}
    for label, one in types.items():
        arrays |= {f"{label}/sinr_db": one.sinr_db, f"{label}/recording": one.recording}
        arrays[f"{label}/num_bits"] = one.num_bits
        arrays |= _packed(f"{label}/own", one.own)
        for name, errors in one.baselines.items():
            arrays |= _packed(f"{label}/baselines/{name}", errors)
    write_npz(path, arrays)
    return {"sha256": sha256(path), "baselines": {label: [*one.baselines] for label, one in types.items()}}


def read_errors(path: Path, said: Mapping[str, Any]) -> dict[str, TypeErrors]:
    """Reads the errors that `write_errors` wrote, by label.

    Args:
        path: .npz file.
        said: their entry in scores.json.

    Raises:
        InputError: the file is missing, or not the one that scores.json names.
    """
    arrays = _checked(path, said["sha256"])
    return {
        label: TypeErrors(
            arrays[f"{label}/sinr_db"],
            arrays[f"{label}/recording"],
            arrays[f"{label}/num_bits"],
            _unpacked(arrays, f"{label}/own"),
            {name: _unpacked(arrays, f"{label}/baselines/{name}") for name in names},
        )
        for label, names in said["baselines"].items()
    }


def write_rows(path: Path, rows: Mapping[str, RowErrors]) -> str:
    """Writes the errors of several separators on one mixture type, and returns the file's SHA-256."""
    arrays: Arrays = {}
    for name, errors in rows.items():
        arrays |= _packed(name, errors)
    write_npz(path, arrays)
    return sha256(path)


def read_rows(path: Path, digest: str, names: Sequence[str]) -> dict[str, RowErrors]:
    """Reads the errors that `write_rows` wrote, by name.

    Raises:
        InputError: the file is missing, or not the one with this SHA-256.
    """
    arrays = _checked(path, digest)
    return {name: _unpacked(arrays, name) for name in names}


def _packed(name: str, errors: RowErrors) -> Arrays:
    return {f"{name}/{field}": array for field, array in errors._asdict().items()}


def _unpacked(arrays: Arrays, name: str) -> RowErrors:
    return RowErrors(*(arrays[f"{name}/{field}"] for field in RowErrors._fields))


def _checked(path: Path, digest: str) -> Arrays:
    if path.is_symlink() or not path.is_file() or sha256(path) != digest:
        raise fault(path, "is not the file that its scores were written with; score the submission again")
    return read_npz(path)
