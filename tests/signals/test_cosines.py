"""Sums of cosines against the study's own formula."""

import math

import numpy as np
import pytest
import torch

from rfsep.app.config import build_modem, build_source, interference_of, soi_of
from rfsep.iq import power
from rfsep.signals.cosines import Cosines
from rfsep.types import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("name", "normaliser"), [("pam4", 56), ("bpsk", 56), ("gaussian", 28)])
def test_waveform_is_the_published_sum(name: str, normaliser: int) -> None:
    """x[n] = sum_k 2 a_k cos(2 pi k n / 64) / sqrt(56), or / sqrt(28) with half the bins, term by term in numpy."""
    modem = build_modem(soi_of(f"cosines_{name}"))
    assert isinstance(modem, Cosines)
    amplitudes = modem.analyse(modem.sample(3, 300, generator()).waveform)  # [3, D]
    waveform = modem.synthesise(amplitudes, 300)
    n = np.arange(300)
    expected = sum(
        2 * amplitudes[:, i].real.double().numpy()[:, None] * np.cos(2 * np.pi * k * n / 64)
        for i, k in enumerate(modem.bins)
    ) / math.sqrt(normaliser)
    assert np.abs(waveform.numpy() - expected).max() < 1e-5
    assert torch.allclose(waveform, modem.sample(3, 300, generator()).waveform, atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "bpsk", "pam4"])
def test_power_is_the_mean_square_of_the_amplitudes(name: str) -> None:
    """A bin has 2/D times half its amplitude's square; on average over amplitudes of power one, the sum has power 1."""
    source = build_source(interference_of(f"cosines_{name}"), "train")
    assert isinstance(source, Cosines)
    waveform = source.sample(4000, 256, generator()).waveform
    squares = source.analyse(waveform).real.square()  # [B, D]
    assert torch.allclose(power(waveform), squares.mean(1), rtol=1e-4)
    error = float(squares.mean(1).std()) / math.sqrt(4000)
    assert float(power(waveform).mean()) == pytest.approx(1.0, abs=4 * error + 1e-5)


def test_levels_are_equally_likely() -> None:
    source = Cosines("pam4")
    amplitudes = source.analyse(source.sample(500, 64, generator()).waveform).real * math.sqrt(5)
    levels, counts = amplitudes.round().unique(return_counts=True)
    assert levels.tolist() == [-3, -1, 1, 3]
    assert float((amplitudes - amplitudes.round()).abs().max()) < 1e-4
    assert counts / 14_000 == pytest.approx(torch.full((4,), 0.25), abs=4 * math.sqrt(3 / 16 / 14_000))


@pytest.mark.parametrize("num_samples", [1, 63, 256, 1000])
def test_real_and_periodic_at_any_length(num_samples: int) -> None:
    waveform = Cosines("pam4").sample(5, num_samples, generator()).waveform
    long = Cosines("pam4").sample(5, 4096, generator()).waveform
    assert waveform.dtype == torch.complex64
    assert waveform.shape == (5, num_samples)
    assert not waveform.imag.any()
    assert torch.equal(waveform, long[:, :num_samples])
    assert torch.equal(long[:, :-64], long[:, 64:])
    assert not torch.allclose(long[:, :-32], long[:, 32:], atol=0.1)


def test_bins_of_case_1_are_the_two_halves_of_numpys_shuffle() -> None:
    soi, interference = build_modem(soi_of("cosines_gaussian")), interference_of("cosines_gaussian")
    assert isinstance(soi, Cosines)
    order = np.arange(1, 29)
    np.random.RandomState(42).shuffle(order)
    assert soi.bins == order[:14].tolist()
    assert list(interference.settings["source"]["bins"]) == order[14:].tolist()


@pytest.mark.parametrize("bins", [[], [0, 1], [1, 1], [32]])
def test_bins_that_are_no_cosines_are_refused(bins: list[int]) -> None:
    with pytest.raises(InputError, match="bins"):
        Cosines("bpsk", bins)
    with pytest.raises(InputError, match="qpsk"):
        Cosines("qpsk")  # type: ignore[arg-type]


def test_a_window_without_a_whole_period_has_no_bins() -> None:
    source = Cosines("bpsk")
    with pytest.raises(InputError, match="63 samples"):
        source.analyse(source.sample(1, 63, generator()).waveform)
