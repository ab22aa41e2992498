"""Bounds of memory and time for what runs inside."""

import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

MEGABYTES = 256  # beyond what the process has; maps of files do not count
SECONDS = 20.0


class TooSlow(BaseException):
    """Caught by no reader."""


@contextmanager
def guarded(megabytes: int = MEGABYTES, seconds: float = SECONDS) -> Iterator[None]:
    """Whatever asks for more memory gets a MemoryError, whatever takes longer is stopped where Python can stop it.

    Raises:
        TooSlow: after so many seconds.
    """
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, ((int(found[1]) << 10) + (megabytes << 20) if found else soft, hard))
    before = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _stop(number: int, frame: object) -> NoReturn:
    raise TooSlow
