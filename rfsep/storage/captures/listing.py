"""Resolves a name into files: one recording, a folder of recordings, or a pattern."""

import glob
from pathlib import Path

from rfsep.storage.captures.archives import DATA, META
from rfsep.storage.captures.digital_rf import find_digital_rf
from rfsep.storage.captures.raw import SUFFIXES
from rfsep.storage.faults import fault

_ARCHIVES = (".sigmf", ".sigmf.gz", ".sigmf.xz", ".sigmf.zip", ".iq.tar")
_SINGLE = (".wav", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".hdf", ".blue", ".prm", ".tmp", *SUFFIXES)
_RAW = (".bin", ".raw", ".iq", ".dat", ".data", ".sc8")
_PATTERN = "*?["


def is_capture_name(text: str) -> bool:
    """Tells whether a word names files, not an option of conf/: it looks like a path or pattern, or exists.

    >>> is_capture_name("lte20"), is_capture_name("a/b.wav"), is_capture_name("c.npy")
    (False, True, True)
    """
    return "/" in text or Path(text).suffix != "" or any(sign in text for sign in _PATTERN) or Path(text).exists()


def capture_paths(text: str | Path) -> list[Path]:
    """Returns the sorted recordings of a name: a file, a Digital RF folder, a folder of recordings, or a pattern.

    Raises:
        InputError: there are none.
    """
    path = Path(text)
    if path.is_dir() and not find_digital_rf(path):
        found = sorted(one for one in path.iterdir() if _is_capture(one))
        if not found:
            raise fault(path, "is a folder without a recording")
        return found
    if path.exists() or not any(sign in str(text) for sign in _PATTERN):
        return [path]
    found = sorted(Path(one) for one in glob.glob(str(text)))
    found = [one for one in found if not (one.name.endswith(DATA) and _meta_of(one) in found)]
    if not found:
        raise fault(path, "no file has a name of this pattern")
    return found


def _is_capture(path: Path) -> bool:
    """Tells by its name whether a file in a folder is a recording."""
    name = path.name.lower()
    if path.name.startswith(".") or (path.is_dir() and not find_digital_rf(path)):
        return False
    if name.endswith(DATA):
        return not _meta_of(path).exists()
    return path.is_dir() or name.endswith((META, *_ARCHIVES, *_SINGLE, *_RAW))


def _meta_of(path: Path) -> Path:
    return path.with_name(path.name[: -len(DATA)] + META)
