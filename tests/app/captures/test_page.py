"""The page of a separation shows how the SOI was followed, with the numbers of separate.json."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfsep.app.captures.page import followed, mixture_along, reception_facts
from rfsep.app.captures.tracking import COLUMNS, NUM_COLUMNS
from rfsep.signals.channels.impairments import Impairments, impaired
from rfsep.signals.linear_modem import LinearModem

Rfsep = Callable[..., Any]


def track_of(chunks: int, parts: int, **columns: Any) -> np.ndarray:
    """Returns rows of track.npy, float64 [chunks, parts, columns], from columns by name."""
    track = np.zeros((chunks, parts, NUM_COLUMNS))
    for name, values in columns.items():
        whole = np.reshape(values, (chunks, parts)) if np.ndim(values) else values
        track[..., COLUMNS.index(name)] = whole
    return track


def test_a_phase_goes_on_beyond_a_turn_and_begins_anew_with_another_carrier() -> None:
    phase = 0.9 * np.arange(16)
    carrier = np.repeat([1e-4, 2e-4], 8)
    wrapped = (phase + np.pi) % (2 * np.pi) - np.pi
    lock = np.full(16, 9.0)
    lock[3:6] = -9.0
    found = followed(track_of(2, 8, phase_rad=wrapped, carrier=carrier, lock=lock, evm=0.2), np.array([1.0, 3.0]))
    assert found.edges_s == pytest.approx([*np.arange(8) / 8, *(1 + np.arange(9) / 4)])
    assert np.flatnonzero(found.unlocked).tolist() == [3, 4, 5]
    assert np.isnan(found.phase_deg[3:6]).all()
    assert np.diff(found.phase_deg[:3]) == pytest.approx(np.degrees(0.9))
    assert np.diff(found.phase_deg[8:]) == pytest.approx(np.degrees(0.9))
    assert found.phase_deg[8] == pytest.approx(np.degrees(wrapped[8]))
    assert found.evm_percent == pytest.approx(20)


def test_a_long_capture_keeps_its_worst_moment() -> None:
    lock = np.full(8000, 50.0)
    lock[[4003, 4004, 4005]] = -20.0  # of 8,000 parts, 3
    track = track_of(1000, 8, lock=lock, delay_samples=np.arange(8000) / 100, evm=1e9)
    found = followed(track, np.arange(1.0, 1001.0))
    assert len(found.lock) == 1000
    assert len(found.edges_s) == 1001
    assert (found.edges_s[0], found.edges_s[-1]) == (0, 1000)
    assert np.flatnonzero(found.unlocked).tolist() == [500]
    assert found.lock[500] == pytest.approx(-60 / 3**0.5)
    assert found.delay == pytest.approx(np.arange(1000) * 0.08 + 0.035)
    assert found.evm_percent.max() == 1000


def test_a_mixture_is_read_along_the_course() -> None:
    """Two tones whose clock drifts by 200 ppm, jumps by .3 sample, and which a carrier and a phase turn."""
    frequencies, origin, carrier = np.array([0.01, -0.037]), 5, 1e-3

    def sent(times: np.ndarray) -> np.ndarray:
        return np.exp(2j * np.pi * np.multiply.outer(times, frequencies)).sum(-1)

    spans = np.array([[0, 4000], [4000, 9000]])
    jumps, drift, bend = (7.25, 7.55), 2e-4, 0.02 / 9000

    def phase(own: np.ndarray) -> np.ndarray:
        return 3.0 + bend * own

    def read(begin: int, count: int) -> np.ndarray:
        places = np.arange(begin, begin + count, dtype=np.float64)
        second = places >= 4000 + jumps[1] + drift * 4000
        own = (places - np.where(second, jumps[1], jumps[0])) / (1 + drift)
        turn = carrier * (places + origin) + phase(own) / (2 * np.pi)
        whole: np.ndarray = (sent(own) * np.exp(2j * np.pi * turn)).astype(np.complex64)
        return whole

    edges = np.stack([np.linspace(*span, 9) for span in spans])
    middles = (edges[:, :-1] + edges[:, 1:]) / 2
    delays = np.array(jumps)[:, None] + drift * middles
    wrapped = (phase(middles) + np.pi) % (2 * np.pi) - np.pi
    track = track_of(2, 8, delay_samples=delays, phase_rad=wrapped, carrier=carrier)
    found = mixture_along(read, track, spans, origin, 3000, 4096)
    assert found.dtype == np.complex64
    assert len(found) == 4096
    away = np.abs(found - sent(np.arange(3000, 7096)))
    beside = np.abs(np.arange(3000, 7096) - 4000) > 30  # the jump
    assert away[beside].max() < 2e-3
    wrong = mixture_along(read, track, spans, origin + 1, 3000, 4096)
    assert np.abs(wrong - sent(np.arange(3000, 7096)))[beside].max() > 5e-3


TOLD = {
    "locked_share": 0.996,
    "carrier_hz": -2404.544583,
    "carrier_error_hz": 0.5747,
    "clock_ppm": 20.2,
    "clock_error_ppm": None,
    "esn0_db": 12.345,
    "evm": 0.2414,
    "echoes": [{"delay_samples": 0.0, "power_db": 0.0}, {"delay_samples": 8.0, "power_db": -6.02}],
    "predicted_ber": 1.234e-5,
    "preambles": 12,
    "preamble_bits": 64,
    "preamble_errors": 3,
}


def test_tiles_tell_the_reception() -> None:
    tiles = dict(reception_facts({"receiver": TOLD, "identity": {"track": {"mode": "full"}}}))
    assert {name: value.replace("\N{NO-BREAK SPACE}", " ") for name, value in tiles.items()} == {
        "Carrier beside the offset": "-2,404.54 Hz ± 0.57",
        "Clock": "+20.2 ppm",
        "Es/N0": "12.35 dB",
        "EVM": "24.1 %",
        "Share that is locked": "100 %",
        "Echoes": "−6.02 dB at +8 samples",
        "Predicted BER": "1.2e-05",
        "Preambles found": "12; 3 of 768 bits wrong",
    }


def test_tiles_tell_nothing_that_was_not_found_or_not_looked_for() -> None:
    lost = TOLD | {"locked_share": 0.0}
    tiles = dict(reception_facts({"receiver": lost, "identity": {"track": {"mode": "full"}}}))
    assert (tiles["Carrier beside the offset"], tiles["Clock"]) == ("not found", "not found")
    tiles = dict(reception_facts({"receiver": TOLD, "identity": {"track": {"mode": "carrier"}}}))
    assert (tiles["Clock"], tiles["Echoes"]) == ("not followed", "not followed")
    tiles = dict(reception_facts({"receiver": TOLD | {"predicted_ber": 0.0}, "identity": {"track": {"mode": "full"}}}))
    assert tiles["Predicted BER"] == "below 1e-09"


@pytest.fixture
def rfsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Rfsep) -> Rfsep:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return rfsep_command


COMMON = ("--sample-rate", "25e6", "--separator", "matched_filter", "--soi-start", "0", "--soi-power-db", "0")


def facts_of(page: str) -> dict[str, str]:
    tiles = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    return {html.unescape(name): html.unescape(value).replace("\N{NO-BREAK SPACE}", " ") for name, value in tiles}


def test_the_page_of_a_followed_soi(rfsep: Rfsep) -> None:
    generator = torch.Generator().manual_seed(3)
    sent = LinearModem().sample(1, 82_944, generator)
    moved = impaired(sent.waveform, Impairments(carrier=2e-4, phase_rad=1.0, clock_ppm=50.0), generator)
    noise = 0.3 * torch.randn(moved.shape, dtype=torch.complex64, generator=generator)
    np.save("heard.npy", (moved + noise)[0, :81_920].numpy())
    unmodulated = ("--set", "method.remodulation=none")
    assert rfsep("separate", "heard.npy", *COMMON, *unmodulated, "--out", "out")[0] == 0
    page, told = Path("out/report.html").read_text(), json.loads(Path("out/separate.json").read_text())
    assert told["doubts"] == []
    assert 'class="doubt"' not in page
    tiles = facts_of(page)
    assert float(tiles["Carrier beside the offset"].split(" Hz")[0].replace(",", "")) == pytest.approx(5000, abs=3)
    assert float(tiles["Clock"].split(" ppm")[0]) == pytest.approx(told["receiver"]["clock_ppm"], abs=0.05)
    assert told["receiver"]["clock_ppm"] == pytest.approx(50, abs=5)
    # 16 samples per symbol, noise at -10.5 dB.
    assert float(tiles["Es/N0"].removesuffix(" dB")) == pytest.approx(10 * np.log10(16 / 0.09), abs=0.5)
    assert tiles["Share that is locked"] == "100 %"
    assert len(re.findall(r'<img [^>]*src="data:image/png;base64,[^>]* alt="[^"]+">', page)) == 10
    assert "://" not in page
    (low, high) = map(float, re.search(r"Delay over time: from (\S+) to (\S+), delay", page).groups())  # type: ignore[union-attr]
    assert high - low == pytest.approx(50e-6 * 81_920 * 7 / 8, rel=0.2)


def test_what_is_in_doubt_stands_above_all_figures(rfsep: Rfsep) -> None:
    rng = np.random.default_rng(1)
    np.save("noise.npy", (rng.standard_normal((81_920, 2)) @ [0.7, 0.7j]).astype(np.complex64))
    assert rfsep("separate", "noise.npy", *COMMON, "--out", "out")[0] == 0
    page, told = Path("out/report.html").read_text(), json.loads(Path("out/separate.json").read_text())
    assert len(told["doubts"]) >= 1
    places = [page.index(html.escape(doubt)) for doubt in told["doubts"]]
    assert max(places) < page.index('class="facts"')


def test_the_page_of_a_soi_that_is_not_followed(rfsep: Rfsep) -> None:
    sent = LinearModem().sample(1, 20_480, torch.Generator().manual_seed(3))
    np.save("heard.npy", sent.waveform[0].numpy())
    assert rfsep("separate", "heard.npy", *COMMON, "--track", "none", "--out", "out")[0] == 0
    page = Path("out/report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "followed" not in page
    assert set(facts_of(page)) >= {"Bits", "Carrier offset"}
    assert "Clock" not in facts_of(page)
