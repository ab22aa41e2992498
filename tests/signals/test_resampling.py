"""Signals between their samples and at other rates: right values in any ratio, however the signal is cut."""

from fractions import Fraction

import numpy as np
import pytest

from rfsep.signals.resampling import INTERPOLATION_REACH, conversion, converted, interpolated, needed, resampled


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


RATES = [(1e6, 1e6 + 20), (25e6, 13.370001e6), (30.72e6, 25e6 + 1), (25e6, 25e6 * 1.2345678), (25e6, 1.0123e6)]


@pytest.mark.parametrize(("old", "new"), RATES)
def test_noise_keeps_its_values_at_any_rate(old: float, new: float) -> None:
    band = 0.7 * min(old, new) / old
    frequencies = np.random.default_rng(5).uniform(-band / 2, band / 2, 100)
    signal = band_limited(frequencies, np.arange(20_000.0)).astype(np.complex64)
    heard = resampled(signal, conversion(old, new))
    assert len(heard) == Fraction(20_000) * Fraction(new) // Fraction(old)
    some = slice(len(heard) // 10, -len(heard) // 10)
    truth = band_limited(frequencies, np.arange(len(heard)) * old / new)
    assert error_db(heard[some], truth[some]) < -88


@pytest.mark.parametrize(("old", "new"), RATES)
def test_images_and_aliases_lie_below_80_db(old: float, new: float) -> None:
    low, plan = min(old, new) / old, conversion(old, new)
    for share in (0.1, 0.4, 0.6, 0.75):
        tone = np.exp(1j * np.pi * share * low * np.arange(20_000)).astype(np.complex64)
        heard = resampled(tone, plan)
        heard = heard[len(heard) // 10 : -len(heard) // 10]
        right = np.exp(1j * np.pi * share * low * old / new * np.arange(len(heard)))
        gain = np.vdot(right, heard) / len(heard)
        assert error_db(heard, gain * right) < -90
        assert abs(20 * np.log10(abs(gain))) < 0.002
    for share in (1.0, 1.03, 1.1, 1.3) if low < 0.75 else ():
        tone = np.exp(1j * np.pi * share * low * np.arange(20_000)).astype(np.complex64)
        heard = resampled(tone, plan)[100:-100]
        assert 10 * np.log10(np.mean(np.abs(heard) ** 2)) < -80


def test_nothing_drifts_in_three_billion_samples() -> None:
    plan, frequency, start = conversion(1e6, 1e6 + 20), Fraction(173, 1000), 3_000_000_000
    low, high = needed(plan, start, 3000)
    tone = np.exp(2j * np.pi * np.array([float(frequency * place % 1) for place in range(low, high)]))
    cycles = [float(frequency * (start + one) * plan.down / plan.up % 1) for one in range(3000)]
    heard = converted(tone.astype(np.complex64), low, plan, start, 3000)
    assert error_db(heard, np.exp(2j * np.pi * np.array(cycles))) < -90


def test_a_ratio_of_small_numbers_is_not_mistaken_for_another() -> None:
    assert conversion(50e6 / 3, 25e6)[:2] == (3, 2)
    assert conversion(2000000.052982, 2e6).error_ppm == 0
    slow = conversion(2000000.052982, 2e6)
    assert slow.up / slow.down == pytest.approx(2e6 / 2000000.052982, rel=1e-15)
    assert slow.up != slow.down


def test_examples_of_many_frames_are_converted_row_by_row() -> None:
    rows, plan = noise(6000).reshape(3, 2000), conversion(1e6, 1.1e6 + 1)
    assert np.array_equal(resampled(rows, plan), np.stack([resampled(row, plan) for row in rows]))


def test_a_large_change_of_rate_is_cut_anywhere() -> None:
    signal, plan = noise(200_000), conversion(25e6, 61_111.7)
    whole = resampled(signal, plan)
    for first, count in ((0, 2), (100, 1), (200, 250)):
        low, high = needed(plan, first, count)
        piece = np.pad(signal[max(low, 0) : high], (max(-low, 0), max(0, high - len(signal))))
        assert np.array_equal(converted(piece, low, plan, first, count), whole[first : first + count])
