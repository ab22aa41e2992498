"""Kinds of signals beside OFDM and single carriers, on waves in plain numpy and on recordings; how sure is sure."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_identify import NUM_SAMPLES, reliability, synthetic
from heard import MAKERS, frequency_modulated, heard, moved, ofdm, points_of, pulse_train, root_raised_cosine
from torch import Tensor

from rfsep.app.examples import read_examples
from rfsep.identification.chirps import find_chirp
from rfsep.identification.envelope import envelope, occupied_band
from rfsep.identification.findings import Identified
from rfsep.identification.frequency import find_frequency_modulation
from rfsep.identification.identify import identified_modem, identify
from rfsep.pages.studies.identify import draw
from rfsep.storage.captures.facts import Hints
from rfsep.types import InputError

ROOT = Path(__file__).parents[2]

LENGTH = 16 * 4096


def noisy(wave: np.ndarray, snr_db: float, seed: int = 0) -> Tensor:
    """Frames of 4,096 samples of a wave of any power, in white noise."""
    random = np.random.default_rng(seed)
    white = (random.standard_normal(len(wave)) + 1j * random.standard_normal(len(wave))) / np.sqrt(2)
    total = wave / np.sqrt(np.mean(np.abs(wave) ** 2)) + 10 ** (-snr_db / 20) * white
    return torch.from_numpy(total.reshape(-1, 4096).astype(np.complex64))


def steps(period: int, random: np.random.Generator) -> np.ndarray:
    return random.choice([-1.0, 1.0], LENGTH // period + 1)[np.arange(LENGTH) // period]


@pytest.mark.parametrize("snr_db", [20.0, 5.0])
def test_kurtosis_without_noise_is_that_of_the_signal(snr_db: float) -> None:
    """1 for FM, 2 for Gaussian symbols, and E|a|^4 of the points for rectangular symbols of 16-QAM: 1.32."""
    random = np.random.default_rng(1)
    tones = frequency_modulated(0.02 * steps(40, random), random)
    assert envelope(occupied_band(noisy(tones, snr_db))).kurtosis.median() == pytest.approx(1.0, abs=0.01)
    symbols = random.choice(points_of("qam16"), LENGTH // 64 + 1)[np.arange(LENGTH) // 64]
    assert envelope(occupied_band(noisy(symbols, snr_db))).kurtosis.median() == pytest.approx(1.32, abs=0.06)
    carriers = ofdm(random, LENGTH)
    assert envelope(occupied_band(noisy(carriers, snr_db))).kurtosis.median() == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("snr_db", [20.0, 8.0])
@pytest.mark.parametrize("period", [9, 100])
def test_msk_has_its_rate_deviation_and_carrier(period: int, snr_db: float) -> None:
    """Minimum shift keying deviates by a quarter of its symbol rate."""
    random = np.random.default_rng(period)
    wave = moved(frequency_modulated(steps(period, random) / (4 * period), random), 0.07)
    found = identify(noisy(wave, snr_db), 1e6)
    assert found.kind.value == "constant_envelope"
    assert found.kind.confidence > 0.9
    assert found.samples_per_symbol.value == pytest.approx(period, rel=2e-3)
    assert found.statistical_period.value == period
    assert found.deviation.value == pytest.approx(1 / (4 * period), rel=0.25)
    assert found.carrier_offset_hz.value == pytest.approx(70e3, abs=200)
    assert identified_modem(found) is None


def test_a_message_without_symbols_gives_no_rate() -> None:
    random = np.random.default_rng(2)
    message = np.convolve(random.standard_normal(LENGTH + 50), np.hanning(51), "valid")
    wave = frequency_modulated(0.02 * message / message.std(), random)
    found = identify(noisy(wave, 20.0))
    assert (found.kind.value, found.samples_per_symbol.value) == ("constant_envelope", None)
    assert found.deviation.value == pytest.approx(2.33 * 0.02, rel=0.1)  # 98 % of a Gaussian


def test_symbols_of_fsk_in_bursts_are_found_between_the_pauses() -> None:
    random, time = np.random.default_rng(3), np.arange(LENGTH)
    wave = frequency_modulated(0.03 * steps(20, random), random) * (time % 3000 < 1200)
    found = identify(noisy(wave, 15.0))
    assert found.kind.value == "constant_envelope"
    assert found.samples_per_symbol.value == pytest.approx(20, rel=2e-3)
    modulation = find_frequency_modulation(occupied_band(noisy(wave, 15.0)).frames)
    assert modulation.deviation == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("slope", [1e-4, -3e-5])
def test_slope_of_a_chirp(slope: float) -> None:
    period = round(0.3 / abs(slope))
    wave = frequency_modulated(slope * (np.arange(LENGTH) % period) - 0.15 * np.sign(slope), np.random.default_rng(0))
    found = identify(noisy(wave, 5.0))
    assert found.kind.value == "chirp"
    assert found.chirp_rate.value == pytest.approx(abs(slope), rel=0.1)
    assert find_chirp(noisy(wave, 60.0)).strength.median() > 0.6


@pytest.mark.parametrize("unit", [40, 700])
def test_keying_of_a_tone_is_pulses(unit: int) -> None:
    random = np.random.default_rng(unit)
    wave = random.integers(0, 2, LENGTH // unit + 1)[np.arange(LENGTH) // unit] * np.exp(0.3j * np.arange(LENGTH))
    found = identify(noisy(wave, 10.0))
    assert found.kind.value == "pulses"
    assert found.kind.confidence > 0.9


def test_rectangular_psk_and_a_square_wave_are_no_frequency_modulation() -> None:
    random = np.random.default_rng(4)
    for name in ("bpsk", "qpsk"):
        symbols = random.choice(points_of(name), LENGTH // 10 + 1)[np.arange(LENGTH) // 10]
        assert identify(noisy(moved(symbols, 0.03), 25.0)).kind.value != "constant_envelope"
    assert identify(noisy(np.sign(np.sin(0.045 * np.arange(LENGTH))), 25.0)).kind.value == "unknown"


def test_fsk_whose_symbols_look_like_a_prefix_is_no_ofdm() -> None:
    """Of 100 samples per symbol: the product at a lag of 80 varies with the symbols, as that of a prefix does."""
    random = np.random.default_rng(5)
    found = identify(noisy(frequency_modulated(0.02 * steps(100, random), random), 20.0))
    assert (found.kind.value, found.fft_size.value) == ("constant_envelope", None)


def shares(found: Identified) -> dict[str, float]:
    return dict(zip(found.kinds.value or (), found.kind_shares.value or (), strict=True))


def test_several_kinds_are_told_with_their_shares() -> None:
    random = np.random.default_rng(6)
    fsk = noisy(frequency_modulated(0.02 * steps(30, random), random), 20.0)
    carriers = noisy(ofdm(np.random.default_rng(2), LENGTH), 20.0)
    symbols = random.choice(points_of("qpsk"), LENGTH // 7 + 60)
    single = noisy(pulse_train(symbols, 7.0, root_raised_cosine(0.35), LENGTH), 20.0)
    found = identify(torch.cat((fsk, carriers[:8])))
    assert found.kind.value == "constant_envelope"
    assert shares(found) == pytest.approx({"constant_envelope": 2 / 3, "ofdm": 1 / 3}, abs=0.05)
    found = identify(torch.cat((carriers, single[:8])))
    assert shares(found) == pytest.approx({"ofdm": 2 / 3, "single_carrier": 1 / 3}, abs=0.05)
    assert identified_modem(found) is None
    assert identify(carriers).kinds.value is None


def test_frames_shorter_than_a_symbol_give_an_answer() -> None:
    """Symbols of 800 samples with a prefix of 250: between two of them, a frame of 1,700 may hold no whole one."""
    random = np.random.default_rng(7)
    bodies = np.fft.ifft(random.choice(points_of("qpsk"), (80, 800)), axis=1)
    stream = np.concatenate((bodies[:, -250:], bodies), axis=1).ravel()
    starts = random.integers(0, len(stream) - 1700, 40)
    frames = torch.from_numpy(np.stack([stream[start : start + 1700] for start in starts]).astype(np.complex64))
    assert identify(frames).kind.value in ("ofdm", "noise", "unknown")


@pytest.mark.parametrize("kind", [*MAKERS, "impulse", "constant", "tiny", "huge"])
def test_any_frames_give_an_answer_and_a_picture(kind: str) -> None:
    for number, (num_frames, num_samples) in enumerate([(1, 512), (2, 700), (3, 1500), (8, 2049)]):
        if kind in MAKERS:
            frames = torch.from_numpy(heard(kind, number, 10.0, num_frames, num_samples))
        else:
            frames = torch.zeros((num_frames, num_samples), dtype=torch.complex64)
            frames[:, : 1 if kind == "impulse" else num_samples] = {"tiny": 1e-36, "huge": 1e36}.get(kind, 1.0)
        found = identify(frames)
        assert all(0.0 <= finding.confidence <= 1.0 for finding in found)
        assert draw(frames, found, kind, None).axes


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_strange_sample_rate_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="sample_rate_hz is"):
        identify(torch.ones((1, 512), dtype=torch.complex64), rate)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fsk/fsk-00", "constant_envelope"),
        ("fpv/fpv-train", "constant_envelope"),
        ("adsb/adsb-train", "pulses"),
        ("satbpsk/by02", "single_carrier"),
        ("satbpsk/by701", "single_carrier"),
        ("independent/lte-srsran-loaded", "ofdm"),
    ],
)
def test_kinds_of_recordings(name: str, kind: str) -> None:
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: no real recordings here")
    path = Path(os.environ["RFSEP_RECORDINGS"]) / f"{name}.sigmf-meta"
    found = identify(read_examples(str(path), 48, NUM_SAMPLES, "train", Hints(None, None, None)).frames)
    assert found.kind.value == kind
    if name.startswith("satbpsk"):
        assert found.samples_per_symbol.value == pytest.approx(5.0, abs=0.01)


def published() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "docs" / "results" / "identify.json").read_text())
    return content


def test_answers_are_right_as_often_as_they_are_sure() -> None:
    content = published()
    rows = [row for group in content["rows"].values() for row in group]
    table = reliability(rows)
    assert table == content["reliability"]
    assert sum(line["number"] for line in table) > 150
    for line in table:
        assert line["right"] >= line["confidence"] - 0.05, line
    assert not [row for row in rows if row["confidence"] >= 0.95 and row["kind"] not in ("unknown", row["truth"])]


@pytest.mark.parametrize("kind", list(MAKERS))
def test_published_answers_come_again(kind: str) -> None:
    before = {row["name"]: row for row in published()["rows"]["synthetic"]}
    now = synthetic(kind, 1, 5.0)
    assert now["kind"] == before[now["name"]]["kind"]
    assert now["confidence"] == pytest.approx(before[now["name"]]["confidence"], abs=0.02)
