"""Locks on folders: of two processes that would write the same files one is refused; a killed one's rest is removed.

The locks are the system's (flock) and end with the process, however it ends; names and times play no part.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rfsep.storage.atomic import is_temporary
from rfsep.storage.faults import fault, reason
from rfsep.types import InputError


class TakenError(InputError):
    """Raised where another process works in a folder."""


@contextmanager
def alone_in(folder: Path, wait: bool = False) -> Iterator[None]:
    """Locks a folder, created if needed, so that no other process works in it within the block.

    Args:
        folder: half-written files of killed processes in it are removed.
        wait: wait until the other process is ready, instead of refusing.

    Raises:
        InputError: another process works in it (a `TakenError`), or it cannot be created.
    """
    lock = _opened(folder)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise TakenError(str(fault(folder, "another process is writing into it"))) from None
        sweep(folder)
        yield
    finally:
        os.close(lock)


@contextmanager
def among_others(*folders: Path) -> Iterator[None]:
    """Locks folders, created if needed, so that others may work in them on other files, but none alone.

    The first process removes the half-written files of killed ones.

    Raises:
        InputError: a folder cannot be created.
    """
    with ExitStack() as locks:
        for folder in folders:
            lock = _opened(folder)
            locks.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # Another process works here, or sweeps.
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
    """Removes the half-written files of killed processes; no other process may be writing there."""
    for path in folder.iterdir():
        if is_temporary(path):
            path.unlink(missing_ok=True)
