"""A capture tuned to the SOI: any stretch is the same however it is asked for, and level and timing are found."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.app.captures import reception as reception_module
from rfsep.app.captures.reception import Reception, Tuning, convert_frames
from rfsep.signals.resampling import conversion
from rfsep.storage.captures.facts import facts_of


class Held:
    """A capture in memory."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples.astype(np.complex64)
        self.facts = facts_of(Path("held"), "held", "cf32_le", len(samples))

    def read(self, start: int, count: int) -> np.ndarray:
        assert start >= 0
        assert start + count <= len(self.samples)
        return self.samples[start : start + count]


def noise(length: int) -> np.ndarray:
    return torch.randn(length, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)).numpy()


EXACT = [(20e6, 19.2e6), (1e6, 4e6), (48e3, 8e3)]
ANY = [(1e6, 1e6 + 20), (1e6, 333_333.7), (2e6, 4_000_003)]


@pytest.mark.parametrize(("old", "new"), [*EXACT, (1e6, 1e6), *ANY])
def test_any_stretch_is_the_same_to_the_last_bit(old: float, new: float) -> None:
    tuning = Tuning(offset_hz=0.013 * old, dc=0.1 + 0.2j, start=5, phase_rad=0.3, soi_power=0.25)
    reception = Reception(Held(noise(30_000)), old, conversion(old, new), tuning, 1.0)
    whole = reception.read(0, reception.num_samples)
    assert len(whole) == reception.num_samples == 30_000 * int(new * 10) // int(old * 10) - 5
    for start, count in ((0, 1), (1, 700), (1234, 3000), (reception.num_samples - 77, 77)):
        assert np.array_equal(reception.read(start, count), whole[start : start + count])


def test_a_stretch_that_needs_much_of_the_capture_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(offset_hz=1e3, dc=0j, start=3, phase_rad=0.0, soi_power=1.0)
    for old, new in ((48e3, 8e3), (1e6, 33_333.7)):
        reception = Reception(Held(noise(30_000)), old, conversion(old, new), tuning, 1.0)
        whole = reception.read(0, reception.num_samples)
        monkeypatch.setattr(reception_module, "_MOST", 1000)
        assert np.array_equal(reception.read(0, reception.num_samples), whole)
        monkeypatch.undo()


@pytest.mark.parametrize(("old", "new"), [*EXACT, *ANY])
def test_a_tone_keeps_its_time(old: float, new: float) -> None:
    frequency = 0.07 * min(old, new)
    tone = np.exp(2j * np.pi * frequency / old * np.arange(30_000))
    tuning = Tuning(offset_hz=0.0, dc=0j, start=0, phase_rad=0.0, soi_power=1.0)
    plan = conversion(old, new)
    heard = Reception(Held(tone), old, plan, tuning, 1.0).read(500, 1900)
    expected = np.exp(2j * np.pi * frequency / new * np.arange(500, 2400))
    assert np.mean(np.abs(heard - expected) ** 2) < 1e-8
    frames = convert_frames(torch.from_numpy(tone.astype(np.complex64))[None], old, plan, frequency)[0].numpy()
    assert np.abs(frames - frames[0]).max() < 1e-3
    assert abs(abs(frames[0]) - 1) < 1e-3
