"""Symbol rate and roll-off of waveforms in plain numpy, in noise and in recorded LTE: right values, honest errors."""

import os
from pathlib import Path

import numpy as np
import pytest
from plain_waveforms import noise, pulse

from rfsep.receiver import symbol_rate
from rfsep.receiver.symbol_rate import SymbolRate, find_roll_off, find_symbol_rate
from rfsep.types import InputError

NUM_SAMPLES = 1 << 18


def qpsk(samples_per_symbol: float, roll_off: float, num_samples: int = NUM_SAMPLES, start: int = 0) -> np.ndarray:
    """QPSK of unit power with any number of samples per symbol, complex128 [T]; the same signal from any start."""
    time = (start + np.arange(num_samples)) / samples_per_symbol - 0.3137
    nearest, waveform = np.round(time).astype(np.int64), np.zeros(num_samples, np.complex128)
    for symbol in (nearest + beside for beside in range(-12, 13)):
        # Any fixed map from the symbol's number to a point, without a period, stands for random data.
        scrambled = (symbol.astype(np.uint64) + np.uint64(97)) * np.uint64(0x9E3779B97F4A7C15)
        scrambled = (scrambled ^ (scrambled >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        point = np.exp(0.5j * np.pi * (0.5 + (scrambled >> np.uint64(62)).astype(np.float64)))
        waveform += point * pulse(time - symbol + 1e-9, roll_off)
    return waveform


def lte() -> np.ndarray:
    """A recording of LTE at 19.2 Msps, complex64 [NUM_SAMPLES], unit power."""
    path = Path(os.environ.get("RFSEP_RECORDINGS", "nowhere"), "lte20", "lte20-f1852p5.sigmf-data")
    if not path.is_file():
        pytest.skip("the recordings are not here")
    parts = np.fromfile(path, np.int8, 2 * NUM_SAMPLES).astype(np.float32)
    samples = parts.view(np.complex64)
    samples = samples - samples.mean()
    return samples / np.sqrt(np.mean(np.abs(samples) ** 2))


def found(signal: np.ndarray) -> SymbolRate:
    samples = signal.astype(np.complex64)
    return find_symbol_rate(lambda start, count: samples[start : start + count], len(samples))


@pytest.mark.parametrize(
    ("samples_per_symbol", "roll_off", "snr_db"),
    [(13.37, 0.22, 0), (13.37, 0.35, -6), (13.37, 0.5, 0), (5.123, 0.35, 0), (5.123, 0.35, 60), (16.0, 0.25, 0)],
)
def test_rate_and_roll_off_are_found_in_noise(samples_per_symbol: float, roll_off: float, snr_db: float) -> None:
    got = found(qpsk(samples_per_symbol, roll_off) + 10 ** (-snr_db / 20) * noise(NUM_SAMPLES))
    assert abs(got.rate * samples_per_symbol - 1) < 2e-6
    assert abs(got.rate * samples_per_symbol - 1) < 4 * got.error * samples_per_symbol
    assert abs(got.shape.roll_off - roll_off) < max(0.006, 3 * got.shape.error)
    assert got.shape.error < 0.01


@pytest.mark.parametrize(("roll_off", "sinr_db"), [(0.22, 0), (0.35, 0), (0.5, 0), (0.35, -6)])
def test_rate_and_roll_off_are_found_in_recorded_lte(roll_off: float, sinr_db: float) -> None:
    got = found(qpsk(13.37, roll_off) + 10 ** (-sinr_db / 20) * lte())
    assert abs(got.rate * 13.37 - 1) < 2e-6
    assert abs(got.shape.roll_off - roll_off) < max(0.006, 3 * got.shape.error)
    assert got.shape.error < 0.012


def test_recorded_lte_and_noise_alone_have_no_rate() -> None:
    for signal in (noise(NUM_SAMPLES), np.zeros(NUM_SAMPLES), lte()):
        with pytest.raises(InputError, match="no symbol rate stands out"):
            found(signal)


def test_two_signals_at_one_carrier_leave_the_question_open() -> None:
    with pytest.raises(InputError, match=r"two symbol rates stand out, 0\.0\d+ and 0\.0\d+"):
        found(qpsk(13.37, 0.35) + qpsk(14.9, 0.35)[::-1])


def test_a_long_capture_tells_the_rate_to_a_hundredth_of_a_ppm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches far apart are asked for alone, and each is the same signal."""
    looked_at = 1 << 17
    monkeypatch.setattr(symbol_rate, "LOOKED_AT", looked_at)
    samples_per_symbol, total, read = 4.00123, 300 * looked_at, 0

    def stretch(start: int, count: int) -> np.ndarray:
        nonlocal read
        read += count
        waveform = qpsk(samples_per_symbol, 0.35, count, start) + noise(count, start)
        return waveform.astype(np.complex64)

    got = find_symbol_rate(stretch, total)
    assert abs(got.rate * samples_per_symbol - 1) < 1e-8
    assert abs(got.rate * samples_per_symbol - 1) < 4 * got.error * samples_per_symbol
    assert read <= 13 * looked_at


def test_the_roll_off_is_found_at_a_rate_that_is_told() -> None:
    samples = (qpsk(8.0, 0.3) + 2 * noise(NUM_SAMPLES)).astype(np.complex64)
    shape = find_roll_off(lambda start, count: samples[start : start + count], len(samples), 1 / 8)
    assert abs(shape.roll_off - 0.3) < 3 * shape.error < 0.05
    silent = noise(NUM_SAMPLES).astype(np.complex64)
    with pytest.raises(InputError, match="roll-off cannot be told"):
        find_roll_off(lambda start, count: silent[start : start + count], len(silent), 1 / 8)
