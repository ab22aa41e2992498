"""A folder of scored submissions, synthetic, for the tests of the leaderboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rfsep.pages.examples import EXAMPLES, write_examples
from rfsep.pages.report import Example
from rfsep.storage.atomic import write_json
from rfsep.storage.seal import sealed

LEVELS = [-24.0, -12.0, 0.0]
TYPES = [("QPSK", "OFDMQPSK"), ("OFDMQPSK", "EMIBursts")]


def row(name: str, kind: tuple[str, str], mse: float, ber: float | None, width: float = 0.5) -> dict[str, Any]:
    """A row of scores.json with the given scores, its intervals ``width`` to either side."""
    levels = np.array(LEVELS)
    rates = np.clip(0.4 * 10 ** ((mse - levels) / 10), 0, 0.5)
    rates[rates < 1e-5] = 0
    return {
        "separator": name, "soi": kind[0], "interference": kind[1], "num_samples": 2560,
        "mixtures": f"{kind[0]}{kind[1]}", "sinr_db": LEVELS, "measured_sinr_db": LEVELS,
        "mse_db": (mse - levels / 4 - 3).tolist(), "mse_db_low": (mse - levels / 4 - 3.4).tolist(),
        "mse_db_high": (mse - levels / 4 - 2.6).tolist(), "ber": rates.tolist(), "ber_low": (rates * 0.8).tolist(),
        "ber_high": (rates * 1.2).tolist(), "mse_score": mse, "mse_score_low": mse - width,
        "mse_score_high": mse + width,
        "ber_score": ber, "ber_score_low": None if ber is None else ber - width,
        "ber_score_high": None if ber is None else ber + width, "num_mixtures": [20] * 3, "num_bits": [6400] * 3,
    }  # fmt: skip


def example(kind: tuple[str, str], error: float) -> Example:
    """QPSK with rectangular pulses below a sweep, and an estimate that is off by ``error`` of that."""
    rng = np.random.default_rng(0)
    ideal = (np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)).astype(np.complex64)
    truth = np.repeat(rng.choice(ideal, 160), 16)
    sweep = (4 * np.exp(0.5j * np.pi * np.arange(2560) ** 2 / 2560)).astype(np.complex64)
    mixture, estimate = truth + sweep, truth + np.complex64(error) * sweep
    symbols = [waveform.reshape(-1, 16).mean(-1) for waveform in (mixture, estimate)]
    return Example(*kind, -12.0, 25e6, ideal, mixture, truth, estimate, *symbols)


def write_scores(folder: Path, id: str, rows: Sequence[dict[str, Any]], **card: Any) -> dict[str, Any]:
    """A sealed scores.json with examples; ``card`` changes what the card says. Returns what was written."""
    facts = {
        "schema": 1, "id": id, "blind": True, "parameters": 10_000, "macs_per_sample": 2.5e4,
        "seconds_per_mixture": 0.01, "train_minutes": 1.5, "train_flops": 3e12, "commit": "0123456789abcdef", "seed": 0,
        "date": "2026-11-26", "measured": True, **card,
    }  # fmt: skip
    kinds = [(one["soi"], one["interference"]) for one in rows]
    said = write_examples(folder / EXAMPLES, [example(kind, 10 ** (rows[0]["mse_score"] / 20)) for kind in kinds])
    baselines = [row("passthrough", kind, 12.0, 3.0) for kind in TYPES]
    scores = sealed(
        {
            "schema": 1, "id": id, "testset": "mini & more", "card": facts, "results": list(rows), "missing": [],
            "baselines": baselines, "bounds": [], "examples": said,
        }
    )  # fmt: skip
    write_json(folder / "scores.json", scores)
    return scores
