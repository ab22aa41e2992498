"""Folders taken by a process: of two that would write the same files one is refused; a killed one's rest is swept up.

The locks are the system's (flock) and end with the process, however it ends; neither names nor times decide.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rfsep.storage.atomic import is_temporary
from rfsep.storage.faults import fault, reason


@contextmanager
def alone_in(folder: Path, wait: bool = False) -> Iterator[None]:
    """Work in a folder, made if it is not there, in which no other process works.

    Args:
        folder: what killed processes left half-written in it is removed.
        wait: until the other process is ready, instead of refusing.

    Raises:
        InputError: another process works in it, or it cannot be made.
    """
    lock = _opened(folder)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise fault(folder, "another process is writing into it") from None
        sweep(folder)
        yield
    finally:
        os.close(lock)


@contextmanager
def among_others(*folders: Path) -> Iterator[None]:
    """Work in folders, made if they are not there, in which others may work too, on other files, but none alone.

    What killed processes left half-written is removed by the first one.

    Raises:
        InputError: a folder cannot be made.
    """
    with ExitStack() as locks:
        for folder in folders:
            lock = _opened(folder)
            locks.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody works here, or sweeps
                pass
            else:
                sweep(folder)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise fault(folder, f"cannot be written: {reason(error)}") from error


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written; nobody else may be writing there."""
    for path in folder.iterdir():
        if is_temporary(path):
            path.unlink(missing_ok=True)
