"""The same numbers whatever the number of threads and workers, to the bit."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader

from rfsep.app.config import build_mixer
from rfsep.app.doors import composed, prepare_settings
from rfsep.mixtures.endless import EndlessMixtures
from rfsep.types import MixtureBatch

# Sums of these sources differed with the number of threads, in their last bits.
SOURCES = ["emi_bursts", "nr_downlink", "nr_uplink", "nr_uplink_16qam", "several", "single_carrier", "many_kinds"]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Keeps the number of threads of the other tests."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def batches(*words: str, threads: int, workers: int = 0) -> list[MixtureBatch]:
    """The first three batches of a training in a process of so many threads."""
    torch.set_num_threads(threads)
    mixer = build_mixer(prepare_settings(composed("prepare", [*words, "out=x"])).mixing, "train")
    mixtures = EndlessMixtures(mixer, 4, 20480, (-30.0, 0.0), seed=5)
    found = [
        batch for batch, _ in zip(DataLoader(mixtures, batch_size=None, num_workers=workers), range(3), strict=False)
    ]
    assert torch.get_num_threads() == threads
    return found


def assert_same(one: list[MixtureBatch], two: list[MixtureBatch]) -> None:
    for left, right in zip(one, two, strict=True):
        for name, a, b in zip(MixtureBatch._fields, left, right, strict=True):
            assert torch.equal(a, b), name


@pytest.mark.parametrize("source", SOURCES)
def test_batches_do_not_depend_on_the_number_of_threads(source: str) -> None:
    words = [f"interference={source}"]
    assert_same(batches(*words, threads=1), batches(*words, threads=3))


@pytest.mark.parametrize("words", [["interference=emi_bursts"], ["channel@interference.channel=real"]], ids=str)
def test_batches_do_not_depend_on_the_number_of_workers(words: list[str]) -> None:
    alone = batches(*words, threads=2)
    for workers in (1, 2):
        assert_same(alone, batches(*words, threads=2, workers=workers))
