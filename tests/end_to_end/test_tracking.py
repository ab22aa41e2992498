"""rfsep separate on a SOI that arrives through an oscillator and a clock: found, followed, told, or warned of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfsep.signals.channels.impairments import Impairments, impaired
from rfsep.signals.linear_modem import LinearModem

Rfsep = Callable[..., Any]
LENGTH = 49_152
COMMON = ("--sample-rate", "25e6", "--separator", "matched_filter", "--soi-start", "0", "--soi-power-db", "0")


@pytest.fixture
def rfsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Rfsep) -> Rfsep:
    monkeypatch.chdir(tmp_path)
    return rfsep_command


def write(sinr_db: float | None) -> np.ndarray:
    """Writes heard.npy, QPSK in white noise, or noise alone; returns the bits."""
    generator = torch.Generator().manual_seed(7)
    sent = LinearModem().sample(1, LENGTH + 1024, generator)
    link = Impairments(carrier=2e-4, phase_rad=2.0, clock_ppm=40.0, phase_noise=2e-4)
    arrives = impaired(sent.waveform, link, generator)[:, :LENGTH]
    noise = torch.randn(arrives.shape, dtype=torch.complex64, generator=generator)
    gain = 0.0 if sinr_db is None else 10 ** (sinr_db / 20)
    np.save("heard.npy", (gain * arrives + noise)[0].numpy() / max(gain, 0.1))
    return sent.bits[0].numpy()


def error_rate(out: str, bits: np.ndarray) -> float:
    found = np.load(f"{out}/bits.npy")
    return float(np.mean(found != bits[: len(found)]))


def test_carrier_clock_and_turn_are_found(rfsep: Rfsep) -> None:
    bits = write(0.0)
    preamble = ("--preamble", "".join(map(str, bits[:64])))
    assert rfsep("separate", "heard.npy", *COMMON, "--track", "none", "--out", "before")[0] == 0
    assert error_rate("before", bits) > 0.4
    assert json.loads(Path("before/separate.json").read_text())["doubts"]
    status, output, complaint = rfsep("separate", "heard.npy", *COMMON, *preamble, "--strict", "--out", "out")
    assert (status, complaint) == (0, "")
    assert error_rate("out", bits) < 2e-3  # white noise alone makes 4e-5
    told = json.loads(Path("out/separate.json").read_text())["receiver"]
    assert told["carrier_hz"] == pytest.approx(5000, abs=25)
    assert told["clock_ppm"] == pytest.approx(40, abs=6)
    assert told["locked_share"] == 1.0
    assert told["esn0_db"] == pytest.approx(10 * np.log10(16), abs=0.7)
    assert f"carrier {told['carrier_hz']:+.6g} Hz" in output


def test_soft_bits_and_symbols_stand_beside_hard_bits(rfsep: Rfsep) -> None:
    bits = write(-6.0)
    preamble = ("--preamble", "".join(map(str, bits[:64])))
    assert rfsep("separate", "heard.npy", *COMMON, *preamble, "--out", "out")[0] == 0
    hard, soft, symbols = (np.load(f"out/{name}.npy") for name in ("bits", "llr", "symbols"))
    assert len(hard) == len(soft) == 2 * len(symbols)
    assert np.mean((soft > 0) == hard) > 0.999
    sure = 1 / (1 + np.exp(-np.abs(soft)))
    right = (soft > 0) == bits[: len(soft)]
    assert np.mean(right) == pytest.approx(float(np.mean(sure)), abs=0.01)
    frames = json.loads(Path("out/frames.json").read_text())
    assert frames["finds"][0]["start"] == 0


@pytest.mark.parametrize("sinr_db", [None, -40.0])
def test_what_is_not_there_is_warned_of(rfsep: Rfsep, sinr_db: float | None) -> None:
    write(sinr_db)
    status, _, complaint = rfsep("separate", "heard.npy", *COMMON, "--strict", "--out", "out")
    assert status == 1
    assert "the SOI was not found in this capture" in complaint
    # The same command says it again.
    status, output, complaint = rfsep("separate", "heard.npy", *COMMON, "--strict", "--out", "out")
    assert status == 1
    assert "finished already" in output
    assert "the SOI was not found in this capture" in complaint


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--track", "all", "--track is all, expected one of none, carrier, full"),
        ("--carrier-range-hz", "-5", "--carrier-range-hz is -5.0, expected a positive number of Hz"),
        ("--preamble", "0101", "32"),
        ("--preamble", "x" * 40, "expected 0s and 1s, or 0x and hexadecimal digits"),
        ("--differential", "grey", "unknown differential labels 'grey'; choose one of gray"),
    ],
)
def test_bad_words_are_refused_in_a_line(rfsep: Rfsep, option: str, value: str, complaint: str) -> None:
    write(0.0)
    status, _, told = rfsep("separate", "heard.npy", *COMMON, option, value, "--out", "out")
    assert status == 2
    assert complaint in told
    assert told.strip().count("\n") == 0
    assert not Path("out").exists()
