"""A capture is read where its SOI is, and what is read is put back evenly in time."""

import numpy as np
import pytest

from rfsep.receiver.course import Course, Layout, put_in_time, read_along

CARRIER, BEGIN, COUNT = 0.0123, 3000, 20_000
PHASE = np.random.default_rng(2).uniform(-3, 3, 60)


def capture(places: np.ndarray) -> np.ndarray:
    """A signal of three tones below .06 cycles per sample, complex128, at any places."""
    return sum(
        level * np.exp(2j * np.pi * tone * places) for level, tone in ((1.0, 0.05), (0.7, -0.031), (0.4, 0.0173))
    )


def raw(begin: int, count: int) -> np.ndarray:
    return capture(np.arange(begin, begin + count, dtype=float)).astype(np.complex64)


@pytest.mark.parametrize(("origin", "pace"), [(3007.0, 1.0), (3007.4, 1 + 2e-4), (2990.7, 1 - 5e-5)])
def test_shifts_by_whole_samples_are_those_of_the_segments_middles(origin: float, pace: float) -> None:
    layout = Layout(640, 320, True)
    first = (BEGIN - 320) // 640
    course = Course(CARRIER, BEGIN, origin, pace, first, PHASE)
    own = np.arange(BEGIN, BEGIN + COUNT)
    segment = (own - 320) // 640
    middle = segment * 640 + 320 + 320
    taken = own + np.rint(origin + (middle - BEGIN) * pace - middle)
    turned = capture(taken) * np.exp(-2j * np.pi * CARRIER * taken - 1j * PHASE[segment - first])
    assert np.abs(read_along(raw, course, layout, BEGIN, COUNT) - turned).max() < 2e-5


def test_a_wide_soi_is_read_between_samples() -> None:
    layout = Layout(640, 320, False)
    first = (BEGIN - 320) // 640
    course = Course(CARRIER, BEGIN, 3007.4, 1 + 2e-4, first, PHASE)
    own = np.arange(BEGIN, BEGIN + COUNT)
    places = 3007.4 + (own - BEGIN) * (1 + 2e-4)
    turned = capture(places) * np.exp(-2j * np.pi * CARRIER * places - 1j * PHASE[(own - 320) // 640 - first])
    found = read_along(raw, course, layout, BEGIN, COUNT)
    assert np.abs(found - turned).max() < 5e-4
    assert put_in_time(found, course, layout, BEGIN) is found


def test_a_stretch_is_the_same_however_it_is_cut() -> None:
    layout = Layout(640, 320, True)
    course = Course(CARRIER, 0, 7.4, 1 + 2e-4, 0, PHASE)
    whole = read_along(raw, course, layout, 0, COUNT)
    parts = [read_along(raw, course, layout, begin, 2500) for begin in range(0, COUNT, 2500)]
    assert np.abs(np.concatenate(parts) - whole).max() < 2e-5


@pytest.mark.parametrize(("origin", "pace"), [(7.0, 1.0), (7.4, 1.0), (7.4, 1 + 2e-4), (9.9, 1 - 2e-4)])
def test_time_is_even_again_without_the_steps_of_reading(origin: float, pace: float) -> None:
    layout = Layout(640, 320, True)
    course = Course(0.0, 0, origin, pace, 0, np.zeros(60))
    found = put_in_time(read_along(raw, course, layout, 0, COUNT), course, layout, 0)
    places = origin + np.arange(COUNT) * pace
    away = np.abs(found - capture(places))
    inside = np.ones(COUNT, bool)
    inside[:8] = inside[-8:] = False
    if pace < 1:  # A step forward reads a sample twice, and one backward leaves one out: both are filled.
        assert away[inside].max() < 0.1
    assert np.sqrt(np.mean(away[inside] ** 2)) < 10 ** (-50 / 20)
    assert np.median(away[inside]) < 2e-4
