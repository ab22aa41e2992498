"""From estimates to scores: rows of a mixture type, baselines kept beside the truth, scores.json."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rfsep.challenge.separate import SeparatedRows
from rfsep.iq import db
from rfsep.metrics import Estimated, Floats, row_bit_errors, row_mse, score
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.submissions import Submission, list_submissions, read_submission
from rfsep.storage.test_set import MixtureFile, TruthFile, set_name

SCHEMA = 1
Row = dict[str, Any]


class Pair(NamedTuple):
    """A mixture type of a test set with its truth."""

    mixtures: MixtureFile
    truth: TruthFile


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")


def _columns(name: str, values: Sequence[Estimated] | None) -> Row:
    """Value, low and high of a list of figures as three columns; None where there are none."""
    if values is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {
        name: [_rounded(value.value) for value in values],
        f"{name}_low": [_rounded(value.low) for value in values],
        f"{name}_high": [_rounded(value.high) for value in values],
    }


def measured_sinr_db(pair: Pair) -> list[float]:
    """Ratio of the powers that SOI and interference really have at each level, in dB."""
    silence = np.zeros(pair.truth.soi.shape[1], np.complex64)
    soi = row_mse(pair.truth.soi, np.broadcast_to(silence, pair.truth.soi.shape))
    interference = row_mse(pair.truth.interference, np.broadcast_to(silence, pair.truth.soi.shape))
    sinr = np.asarray(pair.mixtures.sinr_db, np.float64)
    return [_rounded(db(soi[sinr == level].sum() / interference[sinr == level].sum())) for level in np.unique(sinr)]


def score_row(separator: str, pair: Pair, mse: Floats, bit_errors: Floats, measured: Sequence[float]) -> Row:
    """One row of scores.json: a separator on a mixture type.

    Args:
        separator: its name.
        pair: the mixture type.
        mse: float64 [M], see `rfsep.metrics.row_mse`.
        bit_errors: float64 [M].
        measured: see `measured_sinr_db`.
    """
    truth = pair.truth
    origin = np.asarray(truth.interference_origin)
    groups = origin if (origin >= 0).all() else None
    scores = score(mse, bit_errors, truth.num_bits, np.asarray(pair.mixtures.sinr_db, np.float64), groups)
    return {
        "separator": separator,
        "soi": pair.mixtures.soi,
        "interference": pair.mixtures.interference,
        "sinr_db": scores.sinr_db.tolist(),
        "measured_sinr_db": list(measured),
        **_columns("mse_db", scores.mse_db),
        **_columns("ber", scores.ber),
        "mse_score": _rounded(scores.mse_score.value),
        "mse_score_low": _rounded(scores.mse_score.low),
        "mse_score_high": _rounded(scores.mse_score.high),
        "ber_score": None if scores.ber_score is None else _rounded(scores.ber_score.value),
        "ber_score_low": None if scores.ber_score is None else _rounded(scores.ber_score.low),
        "ber_score_high": None if scores.ber_score is None else _rounded(scores.ber_score.high),
        "num_mixtures": scores.num_mixtures,
        "num_bits": scores.num_bits,
        "interval_over": "mixtures" if groups is None else "recordings",
    }


class Estimates(NamedTuple):
    """Errors of all rows of a mixture type.

    Attributes:
        mse: float64 [M].
        bit_errors: float64 [M].
    """

    mse: Floats
    bit_errors: Floats


def submission_errors(submission: Submission, pair: Pair) -> Estimates:
    """Errors of a submitted mixture type, read through memory maps after every check of its files."""
    shape = pair.mixtures.mixture.shape
    soi, bits = read_submission(submission, shape[0], shape[1], pair.truth.bits.shape[1])
    return Estimates(row_mse(soi, pair.truth.soi), row_bit_errors(bits, pair.truth.bits, pair.truth.num_bits))


def baselines_path(testset: Path) -> Path:
    """Where the baselines of a test set are kept: beside the truth, or below runs/ for official files."""
    kept = testset / "truth"
    return (kept if kept.is_dir() else Path("runs/scores") / set_name(testset)) / "baselines.json"


def scores_folder(submission: Path, testset: Path) -> Path:
    """Where scores go by default: into the folder of a submission of ours (it has a card), else below runs/."""
    if (submission / "card.json").is_file():
        return submission
    return Path("runs/scores") / set_name(testset) / list_submissions(submission, set_name(testset))[0].id


def baseline_rows(path: Path, pair: Pair, make: Callable[[], list[Row]]) -> list[Row]:
    """Baseline rows of a mixture type; made and kept at first use, made again when the set has changed.

    Args:
        path: see `baselines_path`.
        pair: the mixture type.
        make: computes the rows.
    """
    kept: Row = {"schema": SCHEMA, "sets": {}}
    if path.is_file() and isinstance(found := read_json(path), dict) and found.get("schema") == SCHEMA:
        kept = found
    key = f"{pair.mixtures.soi}_{pair.mixtures.interference}"
    entry = kept["sets"].get(key)
    if entry is None or entry["set_id"] != pair.mixtures.set_id:
        kept["sets"][key] = {"set_id": pair.mixtures.set_id, "rows": make()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept)
    rows: list[Row] = kept["sets"][key]["rows"]
    return rows


def separated_errors(rows: Iterable[SeparatedRows], truth: TruthFile) -> Estimates:
    """Errors of a whole mixture type as it comes out of a separator, chunk after chunk."""
    mse, wrong, start = [], [], 0
    for soi, bits in rows:
        part = slice(start, start + len(soi))
        mse.append(row_mse(soi, truth.soi[part]))
        wrong.append(row_bit_errors(bits, truth.bits[part], truth.num_bits[part]))
        start += len(soi)
    return Estimates(np.concatenate(mse), np.concatenate(wrong))
