"""What every storage test asks: one clear line, and nothing left over."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch

from rfsep.storage.test_set import TestSetHeader, write_mixtures
from rfsep.types import InputError, MixtureBatch

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


NUM_SAMPLES, NUM_BITS = 160, 20


def make_batch(first: int, rows: int) -> MixtureBatch:
    """Rows ``first`` and on of an endless table of mixtures, the same however it is cut."""
    batch = []
    for row in range(first, first + rows):
        generator = torch.Generator().manual_seed(row)
        soi, interference = torch.randn((2, NUM_SAMPLES), dtype=torch.complex64, generator=generator)
        bits = torch.randint(2, (NUM_BITS,), dtype=torch.uint8, generator=generator)
        numbers = [torch.tensor(value) for value in (NUM_BITS, row % 16, row % 80, row % 3)]
        sinr_db = torch.tensor(-30.0 + 3 * (row // 2))
        batch.append(MixtureBatch(soi + interference, soi, interference, bits, numbers[0], sinr_db, *numbers[1:]))
    return MixtureBatch(*(torch.stack(field) for field in zip(*batch, strict=True)))


def make_header(**changes: Any) -> TestSetHeader:
    header = TestSetHeader(
        soi="QPSK",
        interference="OFDMQPSK",
        num_mixtures=22,
        num_samples=NUM_SAMPLES,
        num_bits_max=NUM_BITS,
        sample_rate_hz=25e6,
        set_id="0123456789abcdef0123456789abcdef",
        seed=20240607,
        settings={"interference": {"name": "OFDMQPSK", "secret": 8.25}},
    )
    return header._replace(**changes)


def write_set(folder: Path, **changes: Any) -> Path:
    """A test set of 22 mixtures written in batches of unequal length."""
    write_mixtures(folder, make_header(**changes), [make_batch(0, 3), make_batch(3, 16), make_batch(19, 3)])
    return folder


@pytest.fixture
def kit() -> SimpleNamespace:
    """The makers above, for test modules that cannot import one another."""
    return SimpleNamespace(batch=make_batch, header=make_header, write=write_set, all=make_batch(0, 22))
