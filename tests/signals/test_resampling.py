"""Reading a signal between its samples: right values, whatever the positions, however the signal is cut."""

import numpy as np
import pytest

from rfsep.signals.resampling import INTERPOLATION_REACH, interpolated


def band_limited(frequencies: np.ndarray, times: np.ndarray, seed: int = 0) -> np.ndarray:
    """Tones of random phase at frequencies in cycles per sample, at any times, complex128 [T]."""
    phases = np.random.default_rng(seed).uniform(size=len(frequencies))
    return np.exp(2j * np.pi * (times[:, None] * frequencies + phases)).sum(-1) / np.sqrt(len(frequencies))


def error_db(estimate: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.abs(estimate - truth) ** 2) / np.mean(np.abs(truth) ** 2)))


@pytest.mark.parametrize("frequency", [-0.4375, -0.3, 0.01, 0.17, 0.4, 0.4375])
def test_a_tone_is_read_at_any_position(frequency: float) -> None:
    tone = band_limited(np.array([frequency]), np.arange(3000.0)).astype(np.complex64)
    positions = np.random.default_rng(1).uniform(INTERPOLATION_REACH, 3000 - INTERPOLATION_REACH, 5000)
    truth = band_limited(np.array([frequency]), positions)
    assert error_db(interpolated(tone, positions), truth) < -80


def test_noise_in_a_band_is_read_with_a_drifting_clock() -> None:
    frequencies = np.random.default_rng(2).uniform(-0.4, 0.4, 300)
    signal = band_limited(frequencies, np.arange(6000.0)).astype(np.complex64)
    positions = 100.37 + np.arange(5500) * (1 + 200e-6) + 0.3 * np.sin(np.arange(5500) / 700)
    assert error_db(interpolated(signal, positions), band_limited(frequencies, positions)) < -85


def noise(length: int) -> np.ndarray:
    parts = np.random.default_rng(3).normal(size=(length, 2)).astype(np.float32)
    return parts.view(np.complex64)[:, 0]


def test_whole_positions_give_the_samples_back() -> None:
    signal = noise(500)
    assert np.abs(interpolated(signal, np.arange(500.0)) - signal).max() < 1e-6
    assert np.array_equal(interpolated(signal, np.array([-1000.0, 1e9])), np.zeros(2))


def test_any_cut_gives_the_same_values_to_the_last_bit() -> None:
    signal, start = noise(20_000), 987_654_321
    positions = start + 50.3 + np.arange(19_000) * (1 + 37e-6)
    whole = interpolated(signal, positions, start)
    for first, count in ((0, 1), (7, 5000), (12_345, 1), (18_999, 1)):
        some = positions[first : first + count]
        low = int(some[0]) - INTERPOLATION_REACH
        high = int(some[-1]) + INTERPOLATION_REACH + 1
        piece = signal[low - start : high - start]
        assert np.array_equal(interpolated(piece, some, low), whole[first : first + count])


def test_samples_outside_are_zero() -> None:
    signal = noise(100)
    long = np.concatenate((np.zeros(300), signal, np.zeros(300))).astype(np.complex64)
    positions = np.random.default_rng(4).uniform(-100, 200, 400)
    assert np.array_equal(interpolated(signal, positions), interpolated(long, positions, -300))
    assert len(interpolated(signal, positions[:0])) == 0
