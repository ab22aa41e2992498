"""Synthetic scores and signals for the report page, shared by its tests and its browser tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.pages.report import Example, Published, write_page

LEVELS = [float(level) for level in range(-30, 1, 3)]
HOSTILE = "<script>alert(1)</script>"
TYPES = [("QPSK", "OFDMQPSK"), ("OFDMQPSK", "CommSignal2")]
SEPARATORS = ["matched-filter", "lmmse", "wavenet", "unet"]


def make_row(separator: str, soi: str, interference: str, strength: float, bits: int = 512_000) -> dict[str, Any]:
    """A plausible row: error rates fall with SINR and strength; bits = 0 makes them unknown."""
    sinr = np.array(LEVELS)
    mse = -10 - strength - 0.8 * (sinr + 30) + np.sin(sinr + strength)
    ber = np.clip(0.5 * 10 ** (-(sinr + 30 + strength) / 9), 0, 0.5)
    ber[ber < 3 / max(bits, 1)] = 0
    scores = {"mse_score": float(mse.mean()), "ber_score": float(sinr[ber <= 1e-2].min(initial=3.0))}
    return {
        "separator": separator, "soi": soi, "interference": interference, "sinr_db": LEVELS,
        "measured_sinr_db": (sinr + 0.0349).tolist(), "mse_db": mse.tolist(), "mse_db_low": (mse - 0.7).tolist(),
        "mse_db_high": (mse + 0.9).tolist(), "ber": ber.tolist() if bits else None,
        "ber_low": (ber * 0.7).tolist() if bits else None, "ber_high": (ber * 1.4).tolist() if bits else None,
        "num_mixtures": [100] * len(LEVELS), "num_bits": [bits] * len(LEVELS), "mse_score": scores["mse_score"],
        "mse_score_low": scores["mse_score"] - 0.31, "mse_score_high": scores["mse_score"] + 0.27,
        "ber_score": scores["ber_score"] if bits else None,
    }  # fmt: skip


def make_scores(types: list[tuple[str, str]], separators: list[str]) -> dict[str, Any]:
    """scores.json of a submission, the last separator, with the others as baselines.

    The first separator has no known bits on the last mixture type, and the strongest ones see no error at 0 dB.
    """
    rows = [
        make_row(name, *kind, 6.0 * index, bits=0 if index == 0 and kind == types[-1] else 512_000)
        for kind in types
        for index, name in enumerate(separators)
    ]
    card = {
        "id": HOSTILE, "blind": True, "parameters": 995_202, "macs_per_sample": 976_500.0,
        "seconds_per_mixture": 0.1438, "train_minutes": 37.25, "train_flops": None,
        "commit": "0123456789abcdef", "seed": 0, "date": "2026-11-22",
    }  # fmt: skip
    return {
        "schema": 1, "id": HOSTILE, "testset": "mini & more", "card": card,
        "results": [row for row in rows if row["separator"] == separators[-1]],
        "baselines": [row for row in rows if row["separator"] != separators[-1]],
    }  # fmt: skip


def make_example(soi: str, interference: str, num_samples: int) -> Example:
    """QPSK with rectangular pulses of 16 samples below noise and a sweep, and an estimate 12 dB cleaner."""
    rng = np.random.default_rng(0)
    ideal = (np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)).astype(np.complex64)
    truth = np.repeat(rng.choice(ideal, num_samples // 16), 16)
    sweep = 3 * np.exp(1j * np.pi * 0.5 * np.arange(num_samples) ** 2 / num_samples)
    noise = rng.normal(scale=0.5, size=(num_samples, 2)) @ np.array([1, 1j])
    mixture = (truth + sweep + noise).astype(np.complex64)
    estimate = (truth + (sweep + noise) / 4).astype(np.complex64)
    symbols = [waveform.reshape(-1, 16).mean(-1) for waveform in (mixture, estimate)]
    return Example(soi, interference, -12.0, 25e6, ideal, mixture, truth, estimate, *symbols)


@pytest.fixture
def scores() -> dict[str, Any]:
    """Two mixture types, four separators, a hostile id."""
    return make_scores(TYPES, SEPARATORS)


@pytest.fixture
def example() -> Example:
    """Signals of the published length."""
    return make_example(*TYPES[0], 40_960)


@pytest.fixture
def page_path(tmp_path: Path, scores: dict[str, Any], example: Example) -> Path:
    """The page of those scores with a published curve and an example a mixture type."""
    level = [-30.0, -15.0, 0.0]
    published = {TYPES[0]: [Published("Someone <2024>", level, [-12.0, None, -40.0], [0.4, 1e-2, None])]}
    path = tmp_path / "index.html"
    write_page(path, scores, published, [example, make_example(*TYPES[1], 2_560)])
    return path
