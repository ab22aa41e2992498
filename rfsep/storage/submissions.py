"""Submissions: <ID>_<TestSet>_estimated_{soi,bits}_<SOI>_<INTERFERENCE>.npy, the official names."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import staged
from rfsep.storage.faults import fault
from rfsep.storage.mixture_files import LABEL, NAME, SET, check_name
from rfsep.storage.npy import as_bits, check_finite, check_shape, read_bits, read_complex

KINDS = ("soi", "bits")


class Submission(NamedTuple):
    """One mixture type of a submission, its files not yet read.

    Attributes:
        id: the method's name.
        soi: name of the signal of interest.
        interference: name of the interference.
        soi_path: complex64 or complex128 [M, T].
        bits_path: numbers [M, N], each exactly 0 or 1.
    """

    id: str
    soi: str
    interference: str
    soi_path: Path
    bits_path: Path


class Entry(NamedTuple):
    """The submission of one method.

    Attributes:
        folder: folder of its files, and possibly of other methods' files.
        id: the method's name; None where the folder holds no estimate of the test set.
    """

    folder: Path
    id: str | None


def find_submissions(place: Path, testset: str) -> list[Entry]:
    """Finds submissions at a place: every id in it if it holds estimates, else every id of each folder in it.

    Folders and ids are sorted; links in the place are not followed.

    >>> find_submissions(Path("nowhere"), "TestSet1")
    [Entry(folder=PosixPath('nowhere'), id=None)]
    """
    if not place.is_dir() or _names(place, testset):
        return _entries(place, testset)
    folders = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [[Entry(path, None)] if path.is_symlink() else _entries(path, testset) for path in folders]
    return [entry for entries in found for entry in entries] or [Entry(place, None)]


def list_submissions(entry: Entry, testset: str) -> list[Submission]:
    """Returns the mixture types that a method submitted for a test set, sorted; other files are ignored.

    Raises:
        InputError: no matching file (names the pattern), a missing partner (names it), or a link.
    """
    folder, id = entry
    if not folder.is_dir():
        raise fault(folder, "no such folder")
    if id is None:
        if strange := _strange_ids(folder, testset):
            raise fault(folder, f"id {strange[0]!r} cannot be that of a submission, expected {LABEL}: rename its files")
        raise fault(folder, f"no file <ID>_{testset}_estimated_{{soi,bits}}_<SOI>_<INTERFERENCE>.npy")
    pairs = sorted({(name[2], name[3]) for name in _names(folder, testset) if name[1] == id})
    submissions = [_submission(folder, id, testset, *pair) for pair in pairs]
    for path in (path for submission in submissions for path in (submission.soi_path, submission.bits_path)):
        if path.is_symlink():
            raise fault(path, "is a symbolic link, which submissions may not hold")
        if not path.is_file():
            raise fault(path, "is missing: soi and bits come together")
    return submissions


def read_submission(
    submission: Submission, num_mixtures: int, num_samples: int, num_bits: int
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.uint8]]:
    """Reads estimates complex64 [M, T], read-only, and bits uint8 [M, N], with all checks.

    Raises:
        InputError: wrong shape or dtype, NaN or Inf, bits other than 0 and 1, damaged files.
    """
    soi = read_complex(submission.soi_path, (num_mixtures, num_samples))
    bits = read_bits(submission.bits_path, (num_mixtures, num_bits))
    check_finite(submission.soi_path, soi)
    return soi, bits


def write_submission(
    folder: Path,
    id: str,
    testset: str,
    soi_name: str,
    interference_name: str,
    rows: Iterable[tuple[npt.NDArray[np.complex64], npt.NDArray[np.uint8]]],
    num_mixtures: int,
    num_samples: int,
    num_bits: int,
) -> None:
    """Writes one mixture type, chunk after chunk in bounded memory; both files appear together at the end.

    Args:
        folder: created if it does not exist.
        id: the method's name, [A-Za-z0-9_-]+, like ``testset``.
        testset: name of the test set.
        soi_name: name of the SOI, [A-Za-z0-9-]+, like ``interference_name``.
        interference_name: name of the interference.
        rows: chunks (soi complex64 [m, T], bits uint8 [m, N]) of any number of rows, in order.
        num_mixtures: M.
        num_samples: T.
        num_bits: N.

    Raises:
        InputError: a chunk of another shape or dtype, NaN, bits other than 0 and 1, too few or too many rows, an
            invalid name, or files that cannot be written.
    """
    for what, name, pattern in (("id", id, LABEL), ("test set", testset, SET), ("soi", soi_name, NAME)):
        check_name(folder, what, name, pattern)
    check_name(folder, "interference", interference_name)
    target = _submission(folder, id, testset, soi_name, interference_name)
    with (
        staged(target.soi_path, target.bits_path) as (soi_part, bits_part),
        soi_part.open("xb") as soi_file,
        bits_part.open("xb") as bits_file,
    ):
        _write_header(soi_file, "<c8", (num_mixtures, num_samples))
        _write_header(bits_file, "|u1", (num_mixtures, num_bits))
        count = 0
        for soi, bits in rows:
            _write_rows(soi_file, target.soi_path, soi, np.dtype("<c8"), (len(bits), num_samples))
            _write_rows(bits_file, target.bits_path, bits, np.dtype("|u1"), (len(soi), num_bits))
            count += len(soi)
        if count != num_mixtures:
            raise fault(target.soi_path, f"got {count} rows, expected {num_mixtures}")


def _names(folder: Path, testset: str) -> list[re.Match[str]]:
    """Returns the parsed names of all methods' estimates in a folder."""
    pattern = re.compile(rf"({LABEL})_{re.escape(testset)}_estimated_(?:soi|bits)_({NAME})_({NAME})\.npy")
    return [match for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]


def _strange_ids(folder: Path, testset: str) -> list[str]:
    """Returns the invalid ids in file names that are otherwise those of estimates."""
    pattern = re.compile(rf"(.+)_{re.escape(testset)}_estimated_(?:soi|bits)_{NAME}_{NAME}\.npy")
    return sorted({match[1] for path in folder.iterdir() if (match := pattern.fullmatch(path.name))})


def _entries(folder: Path, testset: str) -> list[Entry]:
    """Returns one entry per id in a folder, or a single entry without id if it holds no estimate."""
    ids = sorted({name[1] for name in _names(folder, testset)}) if folder.is_dir() else []
    return [Entry(folder, id) for id in ids] or [Entry(folder, None)]


def _submission(folder: Path, id: str, testset: str, soi: str, interference: str) -> Submission:
    paths = (folder / f"{id}_{testset}_estimated_{kind}_{soi}_{interference}.npy" for kind in KINDS)
    return Submission(id, soi, interference, *paths)


def _write_header(file: BinaryIO, dtype: str, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def _write_rows(
    file: BinaryIO, path: Path, rows: npt.NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, int]
) -> None:
    """Appends checked rows."""
    if rows.dtype != dtype:
        raise fault(path, f"rows are {rows.dtype}, expected {dtype.name}")
    check_shape(path, rows.shape, shape)
    if dtype.kind == "c":
        check_finite(path, rows)
    else:
        as_bits(path, rows)
    file.write(rows.tobytes())
