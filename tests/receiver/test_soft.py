"""Soft bits are calibrated: of bits told with probability p a share p is right, without gain or noise being told."""

import os
from math import erfc
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.receiver import soft
from rfsep.receiver.soft import soft_bits
from rfsep.separators.lmmse import Lmmse
from rfsep.signals.constellations import constellation, demap, hard_bits, map_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.storage.captures.facts import Hints
from rfsep.storage.captures.opening import open_capture
from rfsep.types import InputError

LTE = Path(os.environ.get("RFSEP_RECORDINGS", "."), "lte20/lte20-f1852p5.sigmf-meta")


def labels_of(points: np.ndarray) -> np.ndarray:
    width = (len(points) - 1).bit_length()
    return ((np.arange(len(points))[:, None] >> np.arange(width)[::-1]) & 1).astype(np.uint8)


def in_noise(
    name: str, count: int, noise_variance: float, gain: complex, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits, symbols behind a gain, and the constellation."""
    points, generator = constellation(name), torch.Generator().manual_seed(seed)
    width = (len(points) - 1).bit_length()
    bits = torch.randint(2, (count * width,), generator=generator, dtype=torch.uint8)
    noise = noise_variance**0.5 * torch.randn(count, dtype=torch.complex64, generator=generator)
    return bits.numpy(), (gain * (map_bits(bits, points) + noise)).numpy(), points.numpy()


def ratios(symbols: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.concatenate([part.llr for part in soft_bits(symbols, points, labels_of(points))])


def worst(llr: np.ndarray, bits: np.ndarray) -> float:
    """Largest difference of told and true share of right bits in five bins, each of 1000 bits or more."""
    told, right = 1 / (1 + np.exp(-np.abs(llr))), (llr > 0) == (bits > 0)
    at = np.minimum((told - 0.5) * 10, 4).astype(int)
    bins = [at == number for number in range(5)]
    assert min(one.sum() for one in bins) >= 1000
    return max(abs(float(told[one].mean() - right[one].mean())) for one in bins)


@pytest.mark.parametrize(("name", "noise"), [("bpsk", 1.0), ("qpsk", 1.0), ("psk8", 0.25), ("qam16", 0.15)])
def test_soft_bits_are_calibrated_in_white_noise(name: str, noise: float) -> None:
    bits, symbols, points = in_noise(
        name, 80_000 // {"bpsk": 1, "qpsk": 2, "psk8": 3, "qam16": 4}[name], noise, 0.03 * np.exp(0.05j)
    )
    llr = ratios(symbols, points)
    assert worst(llr, bits) < 0.03
    exact = demap(torch.from_numpy(symbols / 0.03 * np.exp(-0.05j)), torch.from_numpy(points), noise).numpy()
    # The shape of the noise is free, and only its centre is told sharply.
    close = np.abs(exact) < 3
    assert np.sqrt(np.mean((llr - exact)[close] ** 2)) < 0.3


def test_level_noise_and_error_rate_are_those_of_the_signal() -> None:
    bits, symbols, points = in_noise("qpsk", 24_000, 10**-0.6, 5.0)
    parts = list(soft_bits(symbols, points, labels_of(points)))
    assert [part.ends.tolist() for part in parts] == [list(range(1000, 24001, 1000))]
    for part in parts:
        assert abs(part.esn0_db.mean() - 6) < 0.15
        assert np.abs(part.esn0_db - 6).max() < 0.8
        assert abs(part.evm.mean() - 10**-0.3) < 0.02
        assert abs(np.abs(part.gain).mean() - 5) < 0.05
        assert abs(part.noise_variance.mean() / (25 * 10**-0.6) - 1) < 0.04
    expected = 0.5 * erfc(10**0.3 / 2**0.5)
    assert abs(np.mean([part.ber.mean() for part in parts]) / expected - 1) < 0.1
    assert abs(np.mean((ratios(symbols, points) > 0) != bits) / expected - 1) < 0.1


def test_stretches_follow_a_level_that_changes() -> None:
    bits, symbols, points = in_noise("qam16", 16_000, 0.02, 1.0)
    level = np.repeat([1.0, 0.2, 1.0, 3.0], 4000)
    parts = list(soft_bits((symbols * level).astype(np.complex64), points, labels_of(points)))
    gains = np.abs(parts[0].gain).reshape(4, 4)
    assert np.allclose(gains / [[1.0], [0.2], [1.0], [3.0]], 1, atol=0.02)
    assert np.mean((parts[0].llr > 0) != bits) < 0.001


def test_noise_alone_tells_no_bits() -> None:
    generator = torch.Generator().manual_seed(3)
    symbols = torch.randn(20_000, dtype=torch.complex64, generator=generator).numpy()
    parts = list(soft_bits(symbols, constellation("qpsk").numpy(), labels_of(constellation("qpsk").numpy())))
    assert parts[0].ber.mean() > 0.3
    assert parts[0].esn0_db.mean() < -4


def test_bits_are_those_of_foreign_labels() -> None:
    bits, symbols, points = in_noise("qam16", 4000, 0.03, 1.0)
    labels = labels_of(points)
    shuffled = labels[np.random.default_rng(1).permutation(16)]
    numbers = bits.reshape(-1, 4) @ [8, 4, 2, 1]
    (own,), (theirs,) = list(soft_bits(symbols, points, labels)), list(soft_bits(symbols, points, shuffled))
    assert np.mean((own.llr > 0) != bits) < 0.01
    assert np.mean((theirs.llr > 0) != shuffled[numbers].reshape(-1)) < 0.01


def test_calibrated_behind_a_matched_filter_in_ofdm() -> None:
    modem, generator = LinearModem(), torch.Generator().manual_seed(4)
    for sinr_db in (-10, -12):
        soi = modem.sample(1, 400_000, generator)
        other = OfdmModem().sample(1, 400_000, generator).waveform
        turning = torch.polar(torch.ones(400_000), 2e-4 * torch.arange(400_000))  # Two oscillators never agree.
        symbols = modem.analyse(soi.waveform + 10 ** (-sinr_db / 20) * other * turning)[0].numpy()
        llr = ratios(symbols, modem.constellation.numpy())
        assert worst(llr, soi.bits[0].numpy()) < 0.03


@pytest.mark.skipif(not LTE.is_file(), reason="RFSEP_RECORDINGS does not name the recordings")
@pytest.mark.parametrize(
    ("sinr_db", "name", "count"), [(-6, "qpsk", 1_120_000), (-12, "qpsk", 480_000), (-3, "qam16", 480_000)]
)
def test_calibrated_behind_an_lmmse_filter_in_lte(sinr_db: float, name: str, count: int) -> None:
    recording = torch.from_numpy(open_capture(LTE, Hints()).read(0, count + 120_000))
    recording = recording - recording.mean()
    recording = recording / recording.abs().square().mean().sqrt()
    modem = LinearModem(name)
    soi = modem.sample(1, count, torch.Generator().manual_seed(5))
    separator = Lmmse(modem, recording[count:].reshape(-1, 8000))
    mixture = soi.waveform + 10 ** (-sinr_db / 20) * recording[:count]
    symbols = modem.analyse(separator.separate(mixture).soi)[0].numpy()
    assert worst(ratios(symbols, modem.constellation.numpy()), soi.bits[0].numpy()) < 0.03


def test_memory_is_that_of_a_block_and_hard_bits_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft, "_STRETCHES", 2)
    _, symbols, points = in_noise("qpsk", 5100, 0.02, 1.0)
    parts = list(soft_bits(symbols, points, labels_of(points), 500))
    assert [len(part.llr) // 2 for part in parts] == [1000, 1000, 1000, 1000, 1100]
    llr = np.concatenate([part.llr for part in parts])
    assert np.array_equal(llr > 0, hard_bits(torch.from_numpy(symbols), torch.from_numpy(points)).numpy() > 0)


def test_too_short_stretches_are_refused_and_few_symbols_are_not() -> None:
    points = constellation("qpsk").numpy()
    with pytest.raises(InputError, match="too short"):
        next(soft_bits(points, points, labels_of(points), 50))
    assert [len(part.llr) for part in soft_bits(points, points, labels_of(points))] == [8]
