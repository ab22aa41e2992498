"""Transmissions of GNU Radio and liquid in recorded LTE, Wi-Fi and FSK: separated, their frames are found and right.

What nobody here modulated is received: tests/reference/make_peer_captures.py made the transmissions, with frames, a
carrier offset and another clock. The reverse, GNU Radio's receiver on what ``rfsep separate`` writes, needs GNU Radio;
that script keeps it in docs/results/peers.json.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

import rfsep
from rfsep.app.captures.frames import Sender, write_bits, write_frames
from rfsep.app.captures.labels import relabelling
from rfsep.signals.linear_modem import LinearModem
from rfsep.storage.captures.facts import Hints
from rfsep.storage.captures.opening import open_capture

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(os.environ.get("RFSEP_RECORDINGS", "."))
HERE = (RECORDINGS / "lte20").is_dir()
needs_recordings = pytest.mark.skipif(not HERE, reason="RFSEP_RECORDINGS is not set: no real recordings here")


class Interference(NamedTuple):
    """A recording of the test split, the option of examples, a separator for it, and an SINR where that works."""

    recording: str
    examples: str
    separator: str
    sinr_db: float


LTE = Interference("lte20/lte20-f1852p5", "lte20", "lte_pilots", -6)
WIFI = Interference("wifi20/wifi20-radiated-dot11n-26mbps", "wifi20", "joint_detection_wifi", -6)
FSK = Interference("fsk/fsk-14", "fsk", "envelope", -6)


class Heard(NamedTuple):
    """A transmission in interference and alone, complex64 [T], and what the file tells about it."""

    samples: np.ndarray
    soi: np.ndarray
    facts: dict[str, np.ndarray]
    modem: LinearModem


def heard(peer: str, interference: Interference) -> Heard:
    with np.load(ROOT / "tests" / "reference" / f"peer_{peer}.npz") as file:
        facts = dict(file)
    soi = (facts["iq"].astype(np.float64) @ [1, 1j]) / facts["scale"]
    capture = open_capture(RECORDINGS / f"{interference.recording}.sigmf-meta", Hints())
    other = np.resize(capture.read(0, min(len(soi), capture.facts.num_samples)), len(soi))
    other = other - other.mean()
    gain = 10 ** (-interference.sinr_db / 20) / np.sqrt(np.mean(np.abs(other) ** 2))
    modem = LinearModem("qpsk", int(facts["samples_per_symbol"]), float(facts["roll_off"]))
    return Heard((soi + gain * other).astype(np.complex64), soi.astype(np.complex64), facts, modem)


def told(one: Heard) -> np.ndarray:
    """The capture where carrier, phase, clock and timing are known, complex64 [T], from the second symbol on."""
    places, period = np.arange(len(one.samples)), one.modem.symbol_period
    step = 1 + 1e-6 * float(one.facts["clock_ppm"])
    begin = float(one.facts["first_centre"]) + step * period - period // 2
    count = (len(places) - int(begin) - 4) // period * period
    turn = np.exp(-2j * np.pi * float(one.facts["carrier"]) * places)
    still, soi = (CubicSpline(places, wave * turn)(begin + step * np.arange(count)) for wave in (one.samples, one.soi))
    symbols = one.modem.analyse(torch.from_numpy(soi.astype(np.complex64))[None])[0].numpy()
    return (still * np.exp(-0.25j * np.angle(-np.mean(symbols**4)))).astype(np.complex64)


@needs_recordings
@pytest.mark.parametrize(
    ("peer", "interference", "most_wrong"),
    [
        ("gnuradio_16", LTE, 0.03),
        ("gnuradio_16", FSK, 0.004),
        ("liquid_16", WIFI, 0.004),
        ("gnuradio_8", WIFI, 0.02),
        ("liquid_8", WIFI, 0.02),
    ],
)
def test_frames_come_out_where_carrier_and_clock_are_told(
    tmp_path: Path, peer: str, interference: Interference, most_wrong: float
) -> None:
    one = heard(peer, interference)
    separator = rfsep.load_separator(interference.separator, one.modem, rfsep.load_examples(interference.examples))
    received = separator.separate(torch.from_numpy(told(one))[None]).bits[0].numpy()
    sender = Sender(relabelling(str(one.facts["program"]), one.modem), one.facts["preamble"])
    turned = write_bits(tmp_path / "bits.npy", received, None, one.modem, sender)
    assert write_frames(tmp_path, turned)["frame_bits"] == int(one.facts["frame_bits"])
    sent = one.facts["bits"][2:]
    wrong = np.load(tmp_path / "bits.npy") != sent[: len(received)]
    assert wrong.mean() < most_wrong
    starts = json.loads((tmp_path / "frames.json").read_text())["starts"]
    whole = np.flatnonzero([np.array_equal(sent[at : at + 64], sender.preamble) for at in range(len(sent) - 511)])
    assert starts == [at for at in whole.tolist() if at + 512 <= len(received)]
    assert np.array_equal(np.load(tmp_path / "frames.npy"), turned.bits[np.add.outer(starts, np.arange(512))])


def test_gnu_radio_demodulates_what_separate_writes() -> None:
    kept = json.loads((ROOT / "docs" / "results" / "peers.json").read_text())
    assert kept["program"].startswith("GNU Radio 3.")
    assert {row["separator"] for row in kept["rows"]} >= {"lte_pilots", "joint_detection_wifi", "envelope"}
    for row in kept["rows"]:
        assert row["num_bits"] > 2000
        # Its loops add their noise, and it leaves out the bits until they are locked.
        assert row["ber_gnuradio"] <= 1.1 * row["ber_rfsep"] + 5 / row["num_bits"], row["capture"]


def write_capture(path: Path, samples: np.ndarray) -> None:
    samples.astype("<c8").tofile(path.with_suffix(".sigmf-data"))
    facts = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 20e6}
    meta = {"global": facts, "captures": [{"core:sample_start": 0}], "annotations": []}
    path.with_suffix(".sigmf-meta").write_text(json.dumps(meta))


@needs_recordings
@pytest.mark.parametrize(
    ("peer", "interference", "most_wrong"),
    [
        ("gnuradio_16", WIFI, 0.004),  # .0009 where carrier, phase, clock and timing are told
        ("liquid_16", WIFI, 0.015),
        ("gnuradio_16", LTE, 0.03),  # the same limit as where all is told
    ],
)
def test_the_command_finds_carrier_clock_and_frames(
    tmp_path: Path,
    rfsep_command: Callable[..., tuple[int, str, str]],
    peer: str,
    interference: Interference,
    most_wrong: float,
) -> None:
    one = heard(peer, interference)
    write_capture(tmp_path / "heard.sigmf-meta", one.samples)
    status, said, _ = rfsep_command(
        "separate", str(tmp_path / "heard.sigmf-meta"), "--separator", interference.separator,
        "--examples", interference.examples, "--sample-rate", "20e6", "--track", "full",
        "--preamble", "0x" + np.packbits(one.facts["preamble"]).tobytes().hex(),
        "--labels", str(one.facts["program"]), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert status == 0
    carrier = float(said.split("carrier ")[1].split()[0])
    assert abs(carrier / 20e6 - float(one.facts["carrier"])) < 2e-6
    told_frames = json.loads((tmp_path / "out" / "frames.json").read_text())
    assert (told_frames["frame_bits"], told_frames["cycle_slips"]) == (512, 0)
    bits, sent = np.load(tmp_path / "out" / "bits.npy"), one.facts["bits"]
    at = {start for start in range(len(sent) - 511) if np.array_equal(sent[start : start + 64], one.facts["preamble"])}
    # The capture begins within a symbol, and the first one may count or not.
    shift = min(at) % 512 - told_frames["starts"][0] % 512
    assert shift in (-2, 0, 2)
    assert {start + shift for start in told_frames["starts"]} <= at
    assert len(told_frames["starts"]) >= 7
    rows = np.load(tmp_path / "out" / "frames.npy")
    wrong = rows != sent[np.add.outer(told_frames["starts"], np.arange(512)) + shift]
    assert wrong.mean() < most_wrong
    llr = np.load(tmp_path / "out" / "llr.npy")
    assert llr.shape == bits.shape
    assert np.mean((llr > 0) != bits) < 0.01
