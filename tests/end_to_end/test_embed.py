"""The command rfsep embed with a real link: its samples against the sent signal's Fourier series, in plain numpy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfsep.signals.constellations import map_bits
from rfsep.signals.linear_modem import LinearModem

Rfsep = Callable[..., Any]
_MADE = ("--datatype", "cf32_le", "--sample-rate", "1e6", "--sinr-db", "20", "--out", "made")
_BEFORE = 16  # symbols without power, in which the first pulses begin
_COUNT = 60_000
_PPM, _DELAY = 40.0, 7.37
_RAYS = ((0, 1.0), (2, 10 ** (-6 / 20) * 1j), (20.5, 10 ** (-10 / 20)))


@pytest.fixture
def rfsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Rfsep) -> Rfsep:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return rfsep_command


@pytest.fixture
def recording(tmp_path: Path) -> np.ndarray:
    random = np.random.default_rng(0)
    samples = (random.normal(size=_COUNT) + 1j * random.normal(size=_COUNT)).astype(np.complex64)
    samples.tofile(tmp_path / "quiet.iq")
    return samples


def _sent(folder: Path, time: np.ndarray) -> np.ndarray:
    """The sent signal at any times: its Fourier series, summed directly."""
    bits = torch.from_numpy(np.load(folder / "truth_bits.npy"))[None]
    modem = LinearModem()
    symbols = map_bits(bits, modem.constellation)
    silent = torch.zeros((1, _BEFORE), dtype=symbols.dtype)
    length = (symbols.shape[1] + 2 * _BEFORE) * 16
    series = np.fft.fft(modem.synthesise(torch.cat((silent, symbols), 1), length)[0].numpy().astype(complex)) / length
    strong = np.flatnonzero(np.abs(series) ** 2 > 1e-16)
    frequency = np.fft.fftfreq(length)[strong]
    inside = (time > -_BEFORE * 16 / 2) & (time < length)
    found = np.exp(2j * np.pi * (time[:, None] + _BEFORE * 16) * frequency) @ series[strong]
    return np.asarray(found * inside)


def test_the_soi_goes_through_the_link_that_the_truth_tells(
    rfsep: Rfsep, tmp_path: Path, recording: np.ndarray
) -> None:
    link = (
        *("--carrier-hz", "1000", "--phase-deg", "30", "--clock-ppm", str(_PPM), "--delay", str(_DELAY)),
        *("--channel", "0:0,2:-6:90,20.5:-10"),
    )
    status, _, complaint = rfsep("embed", "quiet.iq", *_MADE, *link)
    assert status == 0, complaint
    truth = json.loads((tmp_path / "made" / "truth.json").read_text())
    expected = {"carrier_hz": 1000.0, "phase_deg": 30.0, "clock_ppm": _PPM, "delay": _DELAY, "phase_noise": 0.0}
    rays = [
        {"delay": d, "power_db": p, "phase_deg": a}
        for d, p, a in ((0.0, 0.0, 0.0), (2.0, -6.0, 90.0), (20.5, -10.0, 0.0))
    ]
    assert truth["link"] == {**expected, "rays": rays, "carrier": 1e-3}
    meta = json.loads((tmp_path / "made" / "capture.sigmf-meta").read_text())
    assert meta["global"]["rfsep:provenance"]["link"] == truth["link"]
    heard = (np.fromfile(tmp_path / "made" / "capture.sigmf-data", "<c8") - recording) / truth["soi_gain"]
    number = np.sort(np.random.default_rng(1).integers(0, _COUNT, 300))
    number[:20] = np.arange(20)  # the first pulse, which begins before sample 0
    through = sum(gain * _sent(tmp_path / "made", (number - d) * (1 + _PPM * 1e-6) - _DELAY) for d, gain in _RAYS)
    exact = through * np.exp(1j * (2 * np.pi * 1e-3 * number + np.pi / 6))
    assert 10 * np.log10(np.mean(np.abs(heard[number] - exact) ** 2) / np.mean(np.abs(exact) ** 2)) < -70
    assert (
        truth["num_bits"]
        == 2 * round((_COUNT * (1 + _PPM * 1e-6) - _DELAY) / 16)
        == len(np.load(tmp_path / "made" / "truth_bits.npy"))
    )


def test_phase_noise_is_seeded_and_leaves_the_bits_alone(rfsep: Rfsep, tmp_path: Path, recording: np.ndarray) -> None:
    for name, link in (("clean", ()), ("noisy", ("--phase-noise", "3e-3")), ("again", ("--phase-noise", "3e-3"))):
        status, _, complaint = rfsep("embed", "quiet.iq", *_MADE[:-1], name, *link)
        assert status == 0, complaint
    clean, noisy, again = (
        np.fromfile(tmp_path / name / "capture.sigmf-data", "<c8") for name in ("clean", "noisy", "again")
    )
    assert np.array_equal(noisy, again)
    assert (tmp_path / "clean" / "truth_bits.npy").read_bytes() == (tmp_path / "noisy" / "truth_bits.npy").read_bytes()
    walk = np.unwrap(np.angle((noisy - recording) * (clean - recording).conj()))
    strong = np.abs(clean - recording) > 0.5 * np.std(clean - recording)
    steps = np.diff(walk)[strong[1:] & strong[:-1]]
    assert abs(np.std(steps) / 3e-3 - 1) < 0.02
    assert np.abs(noisy - recording).std() == pytest.approx(np.abs(clean - recording).std(), rel=1e-3)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (("--channel", "0:0,2"), "ray '2' is no DELAY:DB"),
        (("--channel", "-3:0"), "delays of 0 or more"),
        (("--carrier-hz", "6e5"), "--carrier-hz 600000: expected at most half"),
        (("--clock-ppm", "nan"), "clock_ppm is nan"),
        (("--delay", "-1"), "--delay -1: expected samples, 0 or more"),
        (("--delay", "59999"), "room for no symbol"),
        (("--phase-noise", "-1"), "phase_noise is -1.0"),
    ],
)
def test_links_that_no_radio_has(
    rfsep: Rfsep, tmp_path: Path, recording: np.ndarray, link: tuple[str, ...], words: str
) -> None:
    status, said, complaint = rfsep("embed", "quiet.iq", *_MADE, *link)
    assert (status, said) == (2, "")
    assert words in complaint
    assert len(complaint.strip().splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_channel_names_the_channel_of_a_recording_too(rfsep: Rfsep, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    samples = (random.normal(size=(4000, 2)) + np.array([1, 1j])).astype(np.complex64)
    samples.tofile(tmp_path / "two.sigmf-data")
    about = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 1e6, "core:num_channels": 2}
    meta = {"global": about, "captures": [{"core:sample_start": 0}], "annotations": []}
    (tmp_path / "two.sigmf-meta").write_text(json.dumps(meta))
    made = ("two.sigmf-meta", "--sinr-db", "-100", "--out")
    for name, channel in (("one", ("--channel", "1")), ("both", ("--channel", "1", "--channel", "0:0,9:-300"))):
        status, _, complaint = rfsep("embed", *made, name, *channel)
        assert status == 0, complaint
    one, both = (np.fromfile(tmp_path / name / "capture.sigmf-data", "<c8") for name in ("one", "both"))
    np.testing.assert_allclose(one, samples[:, 1], atol=1e-4)
    np.testing.assert_allclose(both, samples[:, 1], atol=1e-4)
