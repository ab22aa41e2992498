"""Which files a name stands for: one recording, a folder of them, or a pattern."""

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
    """Whether a word on the command line names files rather than an option of conf/: it has a path's signs, or exists.

    >>> is_capture_name("lte20"), is_capture_name("a/b.wav"), is_capture_name("c.npy")
    (False, True, True)
    """
    return "/" in text or Path(text).suffix != "" or any(sign in text for sign in _PATTERN) or Path(text).exists()


def capture_paths(text: str | Path) -> list[Path]:
    """Recordings that a name stands for, sorted: a file, a Digital RF folder, a folder's recordings, a pattern's.

    Raises:
        InputError: there is none.
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
    """Whether a file of a folder is one of its recordings, by its name."""
    name = path.name.lower()
    if path.name.startswith(".") or (path.is_dir() and not find_digital_rf(path)):
        return False
    if name.endswith(DATA):
        return not _meta_of(path).exists()
    return path.is_dir() or name.endswith((META, *_ARCHIVES, *_SINGLE, *_RAW))


def _meta_of(path: Path) -> Path:
    return path.with_name(path.name[: -len(DATA)] + META)
