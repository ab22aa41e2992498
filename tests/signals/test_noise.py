"""Gaussian sources against their autocorrelations."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.signals.noise import ColouredNoise, WhiteNoise
from rfsep.storage.npz import read_npz_vector
from rfsep.types import InputError

SPECTRUM = [1.0, 4.0, 2.0, 0.0, 0.0, 0.5, 0.0, 0.5]
MIT = ["EMISignal1", "CommSignal2", "CommSignal3"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mit_file() -> Path:
    folder = os.environ.get("RFSEP_RECORDINGS")
    if folder is None:
        pytest.skip("RFSEP_RECORDINGS is not set: the folder with mit_autocorrelation.npz")
    return Path(folder) / "mit_autocorrelation.npz"


def ensemble(source: ColouredNoise | WhiteNoise, num_lags: int, rows: int, length: int) -> tuple[torch.Tensor, float]:
    """Measured autocorrelation complex128 [num_lags] and the standard error of each lag's real or imaginary part."""
    waveform = source.sample(rows, length, generator(3)).waveform.to(torch.complex128)
    spectrum = torch.fft.fft(waveform, 2 * length).abs().square().mean(0)
    measured = torch.fft.ifft(spectrum)[:num_lags] / (length - torch.arange(num_lags))
    true = source.autocorrelation(length)
    independent = rows * (length - num_lags) / float(2 * true.abs().square().sum())
    return measured, 1 / math.sqrt(independent)


def assert_same(measured: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    difference = measured - expected
    assert difference.real.abs().max() < tolerance
    assert difference.imag.abs().max() < tolerance


@pytest.mark.parametrize("source", [WhiteNoise(), ColouredNoise(SPECTRUM)], ids=["white", "coloured"])
def test_ensemble_autocorrelation_is_the_true_one(source: ColouredNoise | WhiteNoise) -> None:
    measured, error = ensemble(source, 40, rows=400, length=4096)
    assert error < 2e-3
    assert_same(measured, source.autocorrelation(40), 5 * error)


@pytest.mark.parametrize("source", [WhiteNoise(), ColouredNoise(SPECTRUM)], ids=["white", "coloured"])
def test_circular_and_gaussian(source: ColouredNoise | WhiteNoise) -> None:
    samples = source.sample(400, 1024, generator()).waveform.to(torch.complex128)
    error = 5 * math.sqrt(4 / samples.numel())
    assert samples.square().mean().abs() < error  # E x^2 = 0
    assert samples.abs().pow(4).mean().item() == pytest.approx(2, abs=10 * error)  # E|x|^4 = 2


def test_positive_frequencies_come_first() -> None:
    spectrum = ColouredNoise(SPECTRUM).sample(200, 800, generator()).waveform.to(torch.complex128)
    share = torch.fft.fft(spectrum).abs().square().mean(0)[:400].sum() / 200
    # linear interpolation: trapezoids of (1 4 2 0 0) over those of the whole circle
    expected = (2.5 + 3 + 1 + 0) / 8.0
    assert share.item() / (800 * 4) == pytest.approx(expected, rel=0.03)


def test_autocorrelation_of_a_flat_spectrum_is_white() -> None:
    expected = torch.zeros(20, dtype=torch.complex128)
    expected[0] = 1
    torch.testing.assert_close(ColouredNoise([3.0] * 8).autocorrelation(20), expected, atol=1e-12, rtol=0)


def test_given_autocorrelation_comes_back() -> None:
    """First-order moving average of coefficient 0.6j: r[1] = 0.6j / 1.36, nothing beyond."""
    source = ColouredNoise(autocorrelation=torch.tensor([1.36, 0.6j, 0.0, 0.0]))
    expected = torch.tensor([1.0, 0.6j / 1.36, 0.0, 0.0, 0.0, 0.0], dtype=torch.complex128)
    assert_same(source.autocorrelation(6), expected, 1e-3)
    measured, error = ensemble(source, 6, rows=400, length=1000)
    assert_same(measured, expected, 1e-3 + 5 * error)


def test_the_ends_of_a_window_are_not_neighbours() -> None:
    """Circulant blocks without margin would correlate the last sample with the first as lag 1 does."""
    source = ColouredNoise([10.0, 1.0, 0.0, 1.0])
    window = source.sample(20_000, 6, generator()).waveform.to(torch.complex128)
    measured = (window[:, 5] * window[:, 0].conj()).mean()
    expected = source.autocorrelation(6)
    assert (expected[1] - expected[5]).abs() > 0.1
    assert (measured - expected[5]).abs() < 4 / math.sqrt(20_000)


@pytest.mark.parametrize("name", MIT)
def test_recorded_spectra(name: str, mit_file: Path) -> None:
    given = torch.from_numpy(read_npz_vector(mit_file, name))
    source = ColouredNoise(autocorrelation_file=mit_file, autocorrelation_name=name)
    assert_same(source.autocorrelation(64), given[:64] / given[0].real, 1e-4)
    measured, error = ensemble(source, 64, rows=300, length=16_384)
    assert error < 0.01
    assert_same(measured, given[:64] / given[0].real, 1e-4 + 5 * error)


@pytest.mark.parametrize("source", [WhiteNoise(), ColouredNoise(SPECTRUM)], ids=["white", "coloured"])
def test_the_generator_is_the_only_randomness(source: ColouredNoise | WhiteNoise) -> None:
    first, again, other = (source.sample(3, 100, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.waveform, again.waveform)
    assert (first.waveform - other.waveform).abs().mean() > 0.5
    assert (first.waveform[0] - first.waveform[1]).abs().mean() > 0.5
    assert first.waveform.shape == (3, 100)
    assert first.waveform.dtype == torch.complex64
    assert first.bits.shape == (3, 0)
    assert first.offset.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("spectrum", [[1.0, -0.1], [0.0, 0.0], [1.0, math.nan], [], [[1.0]]])
def test_refuses_what_is_no_spectrum(spectrum: list[float]) -> None:
    with pytest.raises(InputError, match="spectrum"):
        ColouredNoise(spectrum)


def test_refuses_what_is_no_autocorrelation() -> None:
    with pytest.raises(InputError, match="negative"):
        ColouredNoise(autocorrelation=torch.tensor([1.0, 0.9, 0.0, 0.0]))


def test_refuses_none_or_two_descriptions() -> None:
    with pytest.raises(InputError, match="exactly one"):
        ColouredNoise()
    with pytest.raises(InputError, match="exactly one"):
        ColouredNoise([1.0], autocorrelation=torch.ones(1))
    with pytest.raises(InputError, match="exactly one"):
        ColouredNoise([1.0], autocorrelation_name="EMISignal1")


def test_files_of_autocorrelations(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", good=np.array([1, 0.5j], dtype=np.complex64), objects=np.array([None, {}]))
    assert read_npz_vector(tmp_path / "r.npz", "good").tolist() == [1, 0.5j]
    with pytest.raises(InputError, match="good, objects"):
        read_npz_vector(tmp_path / "r.npz", "bad")
    with pytest.raises(InputError, match=r"is not an \.npz"):
        read_npz_vector(tmp_path / "r.npz", "objects")
    with pytest.raises(InputError, match="no such file"):
        read_npz_vector(tmp_path / "missing.npz", "good")
    np.save(tmp_path / "single.npy", np.ones(3))
    with pytest.raises(InputError, match=r"is not an \.npz"):
        read_npz_vector(tmp_path / "single.npy", "good")
