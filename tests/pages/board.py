"""A folder of scored submissions, synthetic, for the tests of the leaderboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfsep.challenge.kept_errors import ERRORS, RowErrors, TypeErrors, write_errors
from rfsep.metrics import ber_score, mse_score
from rfsep.pages.examples import EXAMPLES, write_examples
from rfsep.pages.report import Example
from rfsep.storage.atomic import write_json
from rfsep.storage.seal import sealed

LEVELS = [-24.0, -12.0, 0.0]
NUM_BITS = 320  # of a mixture whose errors are kept
Errors = NDArray[Any]
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


def row_of_errors(name: str, kind: tuple[str, str], mse: Errors, wrong: Errors) -> dict[str, Any]:
    """A row of scores.json whose figures are those of errors on every mixture: two arrays [3 levels, M / 3]."""
    mse_db, rates = 10 * np.log10(mse.mean(1)), wrong.mean(1) / NUM_BITS
    made = row(name, kind, mse_score(mse_db), ber_score(np.array(LEVELS), rates))
    return made | {"mse_db": mse_db.tolist(), "ber": rates.tolist(), "num_mixtures": [mse.shape[1]] * 3}


def type_errors(mse: Errors, wrong: Errors, recording: Errors | None = None, bits: int = NUM_BITS) -> TypeErrors:
    """Errors on every mixture as they are kept, beside those of a useless baseline; by default without recordings."""
    count = mse.size
    useless = RowErrors(np.full(count, 10**1.2, np.float32), np.full(count, bits // 2, np.int32))
    own = RowErrors(mse.reshape(-1).astype(np.float32), wrong.reshape(-1).astype(np.int32))
    origin = np.full(count, -1) if recording is None else recording
    sinr_db = np.repeat(np.array(LEVELS, np.float32), count // 3)
    return TypeErrors(sinr_db, origin.astype(np.int32), np.full(count, bits, np.int32), own, {"passthrough": useless})


def example(kind: tuple[str, str], error: float) -> Example:
    """QPSK with rectangular pulses below a sweep, and an estimate that is off by ``error`` of that."""
    rng = np.random.default_rng(0)
    ideal = (np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)).astype(np.complex64)
    truth = np.repeat(rng.choice(ideal, 160), 16)
    sweep = (4 * np.exp(0.5j * np.pi * np.arange(2560) ** 2 / 2560)).astype(np.complex64)
    mixture, estimate = truth + sweep, truth + np.complex64(error) * sweep
    symbols = [waveform.reshape(-1, 16).mean(-1) for waveform in (mixture, estimate)]
    return Example(*kind, -12.0, 25e6, ideal, mixture, truth, estimate, *symbols)


def write_scores(
    folder: Path, id: str, rows: Sequence[dict[str, Any]], errors: dict[str, TypeErrors] | None = None, **card: Any
) -> dict[str, Any]:
    """A sealed scores.json with examples; ``card`` changes what the card says. Returns what was written.

    Without ``errors`` it is one of before the errors of every mixture were kept.
    """
    facts = {
        "schema": 1, "id": id, "blind": True, "parameters": 10_000, "macs_per_sample": 2.5e4,
        "seconds_per_mixture": 0.01, "train_minutes": 1.5, "train_flops": 3e12, "commit": "0123456789abcdef", "seed": 0,
        "date": "2026-11-26", "measured": True, **card,
    }  # fmt: skip
    kinds = [(one["soi"], one["interference"]) for one in rows]
    said = write_examples(folder / EXAMPLES, [example(kind, 10 ** (rows[0]["mse_score"] / 20)) for kind in kinds])
    baselines = [row("passthrough", kind, 12.0, 3.0) for kind in TYPES]
    kept = {} if errors is None else {"errors": write_errors(folder / ERRORS, errors)}
    scores = sealed(
        {
            "schema": 1, "id": id, "testset": "mini & more", "card": facts, "results": list(rows), "missing": [],
            "baselines": baselines, "bounds": [], "examples": said, **kept,
        }
    )  # fmt: skip
    write_json(folder / "scores.json", scores)
    return scores
