"""What every storage test asks: one clear line, and nothing left over."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from rfsep.types import InputError

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refused() -> Refused:
    """``with refused("a.npy", "255"):`` an InputError of one line with these words."""

    @contextmanager
    def check(*words: object) -> Iterator[None]:
        with pytest.raises(InputError) as caught:
            yield
        message = str(caught.value)
        assert len(message.splitlines()) == 1, message
        missing = [str(word) for word in words if str(word) not in message]
        assert not missing, f"{missing} not in: {message}"

    return check


@pytest.fixture
def full_at_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that turns out to be full when it is asked to keep what was written."""

    def fail(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


@pytest.fixture
def largest_file() -> Callable[[int], AbstractContextManager[None]]:
    """``with largest_file(100):`` the system itself refuses to let a file grow beyond 100 bytes."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture(autouse=True)
def _nothing_half_written(tmp_path: Path) -> Iterator[None]:
    """No test may leave a temporary file, whatever it provoked."""
    yield
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
