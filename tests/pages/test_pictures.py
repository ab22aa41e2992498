"""Spectra and curves over time have the values and places that they are given."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from rfsep.pages.pictures import over_time, spectrum, welch_db
from rfsep.pages.style import PALETTE


def pixels(uri: str) -> np.ndarray:
    """Returns the picture of a data URI, float64 [height, width, 3]."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float64)


def test_the_bins_of_a_spectrum_add_up_to_the_power_of_the_signal() -> None:
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((40960, 2)) @ [1, 1j]).astype(np.complex64)  # power 2
    tone = 0.1 * np.exp(2j * np.pi * np.arange(40960) * 256 / 1024)  # in the middle of bin 256
    levels = welch_db(tone.astype(np.complex64))
    assert len(levels) == 1024
    assert 10 * np.log10((10 ** (levels / 10)).sum()) == pytest.approx(-20, abs=1e-3)
    assert np.argmax(levels) == 512 + 256
    # A Hann window has 2/3 of a tone's power in its own bin and 1/6 in each neighbour.
    assert levels[767:770] == pytest.approx(10 * np.log10(0.01 * np.array([1 / 6, 2 / 3, 1 / 6])), abs=1e-3)
    white = 10 ** (welch_db(noise) / 10)
    assert white.sum() == pytest.approx(2, rel=0.02)
    assert white == pytest.approx(2 / 1024, rel=0.7)


def test_a_signal_shorter_than_a_window() -> None:
    assert len(welch_db(np.ones(100, np.complex64))) == 64
    assert welch_db(np.ones(1, np.complex64)) == pytest.approx([0.0])


def test_a_tone_stands_at_its_frequency() -> None:
    """At a quarter of the sample rate, three quarters of the axis from the left."""
    tone = np.exp(0.5j * np.pi * np.arange(4096)).astype(np.complex64)
    drawn = pixels(spectrum({"before": tone}, 1e6))
    colour = np.array([int(PALETTE[5][place : place + 2], 16) for place in (1, 3, 5)])
    rows, columns = np.nonzero(np.abs(drawn - colour).max(2) < 40)
    inside = columns[rows > 0.12 * len(drawn)]  # below the legend
    highest = columns[(rows == rows[rows > 0.05 * len(drawn)].min())]
    width = drawn.shape[1]
    peak = np.median(inside[np.argsort(rows[rows > 0.12 * len(drawn)], kind="stable")[:5]])
    assert peak / width == pytest.approx(0.085 + 0.885 * 0.75, abs=0.01), highest


def test_parts_that_are_not_locked_are_shaded() -> None:
    edges, values = np.linspace(0, 4, 9), np.arange(8.0)
    shaded = np.array([0, 0, 1, 1, 0, 0, 0, 1], bool)
    plain, marked = (pixels(over_time(edges, {"lock": values}, "lock", shaded=one)) for one in (None, shaded))
    width = plain.shape[1]
    row = int(0.75 * len(plain))
    changed = (marked[row, :, 0] - plain[row, :, 0]) > 20
    places = 0.085 + 0.885 * (np.arange(8) + 0.5) / 8
    assert [bool(changed[int(place * width)]) for place in places] == shaded.tolist()


def test_a_curve_without_any_value_is_drawn_empty() -> None:
    drawn = pixels(over_time(np.array([0.0, 1.0]), {"phase": np.array([np.nan])}, "phase", small=True))
    assert drawn.shape[:2] == (330, 600)
