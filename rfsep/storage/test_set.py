"""Reads test sets, ours or the official challenge's files; the caller need not know which.

Where one folder holds official files of several sets, ``FOLDER/NAME`` is the set of that name.

>>> list_mixtures(Path("nowhere"))
Traceback (most recent call last):
rfsep.types.InputError: nowhere: no such folder
"""

from pathlib import Path

from rfsep.storage import hdf5_set, official
from rfsep.storage.hdf5_set import Drawn, TestSetHeader, is_written, write_mixtures
from rfsep.storage.manifest import verify
from rfsep.storage.mixture_files import SET, MixtureFile, Pair, TruthFile, check_name

__all__ = [
    "Drawn",
    "MixtureFile",
    "TestSetHeader",
    "TruthFile",
    "is_written",
    "list_mixtures",
    "read_mixtures",
    "read_truth",
    "set_name",
    "verify",
    "write_mixtures",
]


def list_mixtures(folder: Path) -> list[Pair]:
    """Returns the mixture types (soi, interference) of a test set, sorted.

    Raises:
        InputError: no such folder, or neither our files nor official ones in it.
    """
    return hdf5_set.list_own(folder) if _is_own(folder) else official.list_official(folder)


def read_mixtures(folder: Path, soi: str, interference: str) -> MixtureFile:
    """Reads the public part of one mixture type; the mixtures are a memory map.

    Raises:
        InputError: no such type (names those there), or a damaged file.
    """
    read = hdf5_set.read_own_mixtures if _is_own(folder) else official.read_official_mixtures
    return read(folder, soi, interference)


def read_truth(folder: Path, soi: str, interference: str) -> TruthFile | None:
    """Reads the withheld part of one mixture type; None where it is not there.

    Raises:
        InputError: as `read_mixtures`; a damaged file; the truth of another set.
    """
    read = hdf5_set.read_own_truth if _is_own(folder) else official.read_official_truth
    return read(folder, soi, interference)


def set_name(folder: Path) -> str:
    """Returns the set's name in submissions: the folder's for our test sets, that of the files for official ones.

    Raises:
        InputError: as `list_mixtures`; a folder whose name is not allowed in submissions.
    """
    if not _is_own(folder):
        return official.find_official(folder).testset
    name = folder.resolve().name
    check_name(folder, "test set", name, SET)
    return name


def _is_own(folder: Path) -> bool:
    return (folder / "mixture").is_dir()
