"""Samples that several frames hold are found from the numbers alone, and nothing else is taken for them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.signals.distinct import distinct_samples


def cropped(stream: np.ndarray, starts: list[int], length: int) -> Tensor:
    return torch.from_numpy(np.stack([stream[start : start + length] for start in starts]).astype(np.complex64))


def first_seen(starts: list[int], length: int, total: int) -> Tensor:
    """The truth, by the places that frames were cut from."""
    covered, rows = np.zeros(total, dtype=bool), []
    for start in starts:
        rows.append(~covered[start : start + length])
        covered[start : start + length] = True
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize("kind", ["float", "int8", "bursts"])
def test_overlaps_of_crops_are_found_to_the_sample(kind: str) -> None:
    """Of floats, of a receiver of 8 bits, and of a recording with silence; edges within a stretch may be missed."""
    rng = np.random.default_rng(3)
    stream = rng.standard_normal(30_000) + 1j * rng.standard_normal(30_000)
    if kind == "int8":
        stream = np.round(3 * stream)
    if kind == "bursts":
        stream *= np.arange(30_000) % 1_500 < 900
    starts = rng.integers(0, 29_000, 40).tolist()
    found, truth = distinct_samples(cropped(stream, starts, 1000)), first_seen(starts, 1000, 30_000)
    held = cropped(stream, starts, 1000) != 0  # silence counts for nothing, wherever it is put
    assert int(truth.sum()) < 25_000
    assert int(((found != truth) & held).sum()) <= 62  # two overlaps shorter than 32 samples


def test_a_preamble_that_every_packet_begins_with_is_no_overlap() -> None:
    rng = np.random.default_rng(4)
    frames = rng.standard_normal((20, 800)) + 1j * rng.standard_normal((20, 800))
    frames[:, :160] = frames[0, :160]
    frames[:, 400:460] = frames[0, 400:460]
    assert bool(distinct_samples(torch.from_numpy(frames.astype(np.complex64))).all())


def test_frames_that_say_the_same_count_once() -> None:
    frame = torch.randn((1, 500), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert distinct_samples(frame.expand(7, -1)).sum(1).tolist() == [500, *[0] * 6]


@pytest.mark.parametrize("shape", [(1, 5000), (4, 31), (3, 1)])
def test_single_and_short_frames_are_all_distinct(shape: tuple[int, int]) -> None:
    assert bool(distinct_samples(torch.ones(shape, dtype=torch.complex64)).all())


def test_silence_alone_is_not_taken_for_a_repetition() -> None:
    assert bool(distinct_samples(torch.zeros((5, 400), dtype=torch.complex64)).all())
