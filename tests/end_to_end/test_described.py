"""The SOI as a person describes it: any sample rate and symbol rate, own files, and estimates where nothing is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_waveforms import noise, pulse

Rfsep = Callable[..., Any]
RATE = 3.21e6
NUM_SAMPLES = 120_000


@pytest.fixture
def rfsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Rfsep) -> Rfsep:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return rfsep_command


def sent(samples_per_symbol: float, roll_off: float) -> tuple[np.ndarray, np.ndarray]:
    """QPSK by its formula, symbol k at time (k + 1/2) symbols: complex64 [NUM_SAMPLES], bits uint8 [N]."""
    bits = np.random.default_rng(7).integers(0, 2, (int(NUM_SAMPLES / samples_per_symbol), 2), np.uint8)
    points = ((1.0 - 2 * bits[:, 0]) + 1j * (1 - 2.0 * bits[:, 1])) / np.sqrt(2)
    time = np.arange(NUM_SAMPLES) / samples_per_symbol - 0.5 + 1e-9
    waveform, nearest = np.zeros(NUM_SAMPLES, np.complex128), np.round(time).astype(int)
    for symbol in (nearest + beside for beside in range(-12, 13)):
        inside = (symbol >= 0) & (symbol < len(points))
        waveform += inside * points[np.clip(symbol, 0, len(points) - 1)] * pulse(time - symbol, roll_off)
    return waveform.astype(np.complex64), bits.reshape(-1)


def error_rate(received: np.ndarray, bits: np.ndarray) -> float:
    number = min(len(received), len(bits)) - 64
    return float(np.mean(received[:number] != bits[:number]))


def heard(samples_per_symbol: float, roll_off: float, noise_db: float, carrier: float = 0.0) -> np.ndarray:
    """Saves a capture at a carrier in cycles per sample; returns its bits."""
    waveform, bits = sent(samples_per_symbol, roll_off)
    turned = waveform * np.exp(2j * np.pi * carrier * np.arange(NUM_SAMPLES))
    np.save("heard.npy", (turned + 10 ** (noise_db / 20) * noise(NUM_SAMPLES)).astype(np.complex64))
    return bits


COMMON = ("separate", "heard.npy", "--sample-rate", str(RATE), "--separator", "matched_filter", "--soi-start", "0")


def test_a_symbol_rate_in_baud_at_any_sample_rate(rfsep: Rfsep) -> None:
    """With 13.37 samples per symbol at -3 dB, Q(sqrt(13.37 / 2)) = .00487 of the bits are wrong."""
    bits = heard(13.37, 0.35, 3.0)
    rate = RATE / 13.37
    status, _, complaint = rfsep(
        *COMMON, "--symbol-rate", f"{RATE}/13.37", "--soi-set", "roll_off=.35", "--out", "told"
    )
    assert (status, complaint) == (0, "")
    received = np.load("told/bits.npy")
    assert len(received) == pytest.approx(2 * NUM_SAMPLES / 13.37, abs=2)
    assert error_rate(received, bits) == pytest.approx(0.0049, abs=0.0018)
    same = ("--soi", "mine.yaml", "--resample", str(8 * rate), "--symbol-rate", str(rate))
    Path("mine.yaml").write_text("modulation: qpsk\nsamples_per_symbol: 8\nroll_off: 0.35\n")
    status, output, _ = rfsep(*COMMON, *same, "--out", "mine")
    assert status == 0, output
    assert np.mean(np.load("mine/bits.npy") != received) < 0.001


def test_symbol_rate_and_roll_off_are_estimated_and_told(rfsep: Rfsep) -> None:
    bits = heard(13.37, 0.22, 0.0, carrier=0.11)
    auto = ("--symbol-rate", "auto", "--soi-set", "roll_off=auto", "--offset-hz", str(0.11 * RATE))
    status, output, _ = rfsep(*COMMON, *auto, "--out", "found")
    assert status == 0
    words = output.split()
    assert float(words[words.index("rate:") + 1]) == pytest.approx(RATE / 13.37, rel=5e-6)
    assert float(words[words.index("roll-off:") + 1]) == pytest.approx(0.22, abs=0.02)
    # Q(sqrt(13.37)) = .00013 of the bits are wrong at the right rate.
    assert error_rate(np.load("found/bits.npy"), bits) < 0.0006
    again, output, _ = rfsep(*COMMON, *auto, "--out", "found")
    assert (again, "finished already" in output) == (0, True)


def test_a_signal_of_any_symbol_rate_is_embedded_and_received(rfsep: Rfsep) -> None:
    np.save("recording.npy", noise(NUM_SAMPLES).astype(np.complex64))
    described = ("--sample-rate", str(RATE), "--soi-set", "samples_per_symbol=6", "--soi-set", "roll_off=.3")
    baud = ("--symbol-rate", "277777")
    status, _, complaint = rfsep("embed", "recording.npy", "--sinr-db", "0", *described, *baud, "--out", "made")
    assert (status, complaint) == (0, "")
    bits = np.load("made/truth_bits.npy")
    assert len(bits) == pytest.approx(2 * NUM_SAMPLES * 277777 / RATE, abs=2)
    receive = ("separate", "made/capture.sigmf-meta", "--separator", "matched_filter", "--soi-start", "0")
    status, _, _ = rfsep(*receive, *described, *baud, "--out", "told")
    assert status == 0
    # Q(sqrt(11.556)) = .00034 of the bits are wrong.
    assert error_rate(np.load("told/bits.npy"), bits) < 0.0011
    _, output, _ = rfsep(*receive, *described, "--symbol-rate", "auto", "--out", "found")
    words = output.split()
    assert float(words[words.index("rate:") + 1]) == pytest.approx(277777, rel=5e-6)
    status, _, complaint = rfsep(
        "embed", "recording.npy", "--sinr-db", "0", *described, "--symbol-rate", "auto", "--out", "x"
    )
    assert (status, "has to be told" in complaint) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--symbol-rate", "fast"), ["--symbol-rate is fast", "auto"]),
        (("--symbol-rate", "-1"), ["--symbol-rate is -1"]),
        (("--symbol-rate", "1e7"), ["10000000", "3210000"]),
        (("--symbol-rate", "1e-3"), ["0.016 samples/s", "65536 times"]),
        (("--resample", "1e-300"), ["1e-300 samples/s", "65536 times"]),
        (("--resample", "1e300"), ["1e+300 samples/s", "65536 times"]),
        (("--symbol-rate", "1e5", "--resample", "2e6"), ["1600000", "2000000", "one of them"]),
        (("--symbol-rate", "auto", "--resample", "2e6"), ["auto", "2000000", "one of them"]),
        (("--symbol-rate", "auto"), ["no symbol rate stands out"]),
        (("--soi-set", "roll_off=auto"), ["roll-off cannot be told"]),
        (("--soi", "ofdm_qpsk", "--symbol-rate", "auto"), ["ofdm_qpsk", "one carrier"]),
        (("--soi", "ofdm_qpsk", "--soi-set", "roll_off=auto"), ["ofdm_qpsk", "roll_off"]),
        (("--soi-set", "rolloff=.3"), ["rolloff=.3", "roll_off"]),
        (("--soi", "nowhere.yaml"), ["nowhere.yaml"]),
        (("--soi", "bad.yaml"), ["os.system", "refused"]),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(rfsep: Rfsep, arguments: tuple[str, ...], words: list[str]) -> None:
    np.save("heard.npy", noise(50_000).astype(np.complex64))
    Path("bad.yaml").write_text("modem: {_target_: os.system, command: ls}\n")
    status, _, complaint = rfsep(*COMMON, *arguments, "--out", "out")
    assert status == 2
    assert len(complaint.strip().splitlines()) == 1
    for word in words:
        assert word in complaint
    assert not Path("out").exists()
