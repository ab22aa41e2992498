"""The carrier and the phase of symbols are found, and noise is not taken for a signal."""

import numpy as np
import pytest

from rfsep.receiver.phase import LOCKED, Symmetry, find_carrier, follow_phase, straight, symmetry_of, turning_back

QPSK = np.exp(1j * (np.pi / 4 + np.pi / 2 * np.arange(4)))
SYMMETRY = symmetry_of(QPSK)


def in_noise(count: int, seed: int, snr_db: float) -> np.ndarray:
    """QPSK symbols complex128 [count] in white noise."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((count, 2)) @ [1, 1j] * (10 ** (-snr_db / 20) / 2**0.5)
    return QPSK[generator.integers(4, size=count)] + noise


def apart(phase: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Differences in rad, without the quarter turns that no power can tell."""
    away = phase - truth
    return away - np.pi / 2 * np.round(np.median(away) / (np.pi / 2))


def test_symmetry_is_that_of_the_constellation() -> None:
    assert symmetry_of(np.array([1.0 + 0j, -1.0])) == Symmetry(2, 0.0)
    assert SYMMETRY.order == 4
    assert abs(abs(SYMMETRY.angle) - np.pi) < 1e-9
    assert symmetry_of(np.exp(2j * np.pi * np.arange(8) / 8)).order == 8


@pytest.mark.parametrize("snr_db", [15.0, 5.0])
def test_a_carrier_is_found_within_its_error(snr_db: float) -> None:
    scaled = []
    for seed in range(40):
        carrier = np.random.default_rng(1000 + seed).uniform(-0.1, 0.1)
        symbols = in_noise(4096, seed, snr_db) * np.exp(2j * np.pi * carrier * np.arange(4096))
        line = find_carrier(symbols, SYMMETRY, 0.12)
        assert line.score > LOCKED
        assert abs(line.carrier - carrier) < 1e-4
        scaled.append((line.carrier - carrier) / line.error)
    assert 0.2 < np.sqrt(np.mean(np.square(scaled))) < 2


def test_carriers_beyond_the_range_are_not_looked_for() -> None:
    symbols = in_noise(4096, 1, 20.0) * np.exp(2j * np.pi * 0.05 * np.arange(4096))
    assert abs(find_carrier(symbols, SYMMETRY, 0.02).carrier) <= 0.02 + 1e-3


@pytest.mark.parametrize(("step", "snr_db", "least", "most"), [(0.0, 0.0, 256, 1 << 20), (0.03, 15.0, 8, 64)])
def test_a_wandering_phase_is_followed_and_a_resting_one_is_averaged(
    step: float, snr_db: float, least: int, most: int
) -> None:
    truth = 0.3 + np.cumsum(step * np.random.default_rng(7).standard_normal(8192))
    followed = follow_phase(in_noise(8192, 3, snr_db) * np.exp(1j * truth), SYMMETRY)
    assert followed.score > LOCKED
    assert least <= followed.length <= most
    assert np.sqrt(np.mean(apart(followed.phase, truth) ** 2)) < 0.08


def test_the_first_phase_is_the_one_nearest_to_what_was_expected() -> None:
    symbols = in_noise(2000, 4, 20.0) * np.exp(0.2j)
    for before in (0.0, 1.6, 3.3, -1.5):
        phase = follow_phase(symbols, SYMMETRY, before).phase
        expected = 0.2 + np.pi / 2 * round((before - 0.2) / (np.pi / 2))
        assert abs(phase.mean() - expected) < 0.02


def test_noise_does_not_lock() -> None:
    generator = np.random.default_rng(5)
    scores = [follow_phase(generator.standard_normal((2560, 2)) @ [1, 1j], SYMMETRY).score for _ in range(200)]
    assert max(scores) < LOCKED
    assert abs(np.mean(scores)) < 2


def test_a_line_is_that_of_least_squares() -> None:
    times, values = np.array([1.0, 2.0, 4.0, 9.0]), np.array([3.0, -1.0, 2.0, 5.0])
    assert np.allclose(straight(times, values), np.polyfit(times, values, 1))


@pytest.mark.parametrize(("density", "period"), [(1, 16), (1, 5), (3, 80)])
def test_factors_take_phases_away_between_the_middles_of_symbols(density: int, period: int) -> None:
    phase = np.repeat(0.02 * np.arange(50.0), density)
    count = 50 * period - 3
    expected = np.interp(np.arange(count), (np.arange(50) + 0.5) * period, 0.02 * np.arange(50.0))
    assert np.abs(turning_back(phase, density, period, count) - np.exp(-1j * expected)).max() < 1e-4
