"""Turns estimates into scores: rows of a mixture type, baselines kept beside the truth, scores.json."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rfsep.challenge.kept_errors import RowErrors, read_rows, write_rows
from rfsep.challenge.measured import Powers, bins_of, measured_db, shares_of
from rfsep.challenge.separate import SeparatedRows
from rfsep.iq import db, forget_pages, power
from rfsep.metrics import Estimated, Floats, floored_db, recordings_of, row_bit_errors, row_mse, score, told_beside
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.locks import alone_in
from rfsep.storage.manifest import listed_sha256
from rfsep.storage.npy import check_finite, read_bits, read_complex
from rfsep.storage.submissions import Submission
from rfsep.storage.test_set import MixtureFile, TruthFile, set_name
from rfsep.types import InputError, MixtureBatch

SCHEMA = 1
_BATCH_SAMPLES = 2**17  # samples of a mixture type per batch
_INTERVALS = 2  # version of the intervals; kept rows with those of another one are computed again
_ROUNDING = 1e-10  # share of a mixture's power that single precision leaves after its parts are subtracted
Row = dict[str, Any]


class Pair(NamedTuple):
    """A mixture type of a test set with its truth."""

    mixtures: MixtureFile
    truth: TruthFile


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")


def _columns(name: str, values: Sequence[Estimated] | None) -> Row:
    """Returns value, low and high of a list of figures as three columns; None without figures."""
    if values is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {
        name: [_rounded(value.value) for value in values],
        f"{name}_low": [_rounded(value.low) for value in values],
        f"{name}_high": [_rounded(value.high) for value in values],
    }


def _level_means(pair: Pair, values: Floats) -> list[float]:
    """Mean of the rows of each level, from the lowest: float64 [M] to a number per level."""
    sinr = np.asarray(pair.mixtures.sinr_db, np.float64)
    return [float(values[sinr == level].mean()) for level in np.unique(sinr)]


def measured_sinr_db(pair: Pair, powers: Powers) -> list[float | None]:
    """Returns the measured SINR in dB at each level; None if the interference is silent."""
    means = zip(_level_means(pair, powers.soi), _level_means(pair, powers.interference), strict=True)
    return [_rounded(db(one / other)) if one > 0 and other > 0 else None for one, other in means]


def zero_mse_db(pair: Pair, powers: Powers) -> list[float]:
    """MSE in dB of an estimate that is zero, at each level: the power of the SOI."""
    return [_rounded(floored_db(power)) for power in _level_means(pair, powers.soi)]


def _over_measured(
    pair: Pair, mse: Floats, bit_errors: Floats, powers: Powers, groups: NDArray[np.int64] | None
) -> Row:
    """Returns the columns over the measured SINR, see `rfsep.challenge.measured.Bins`; empty bins are left out.

    ``sinr_db`` has None for the open bin above the highest one.
    """
    nominal, measured = np.asarray(pair.mixtures.sinr_db, np.float64), measured_db(powers)
    bins = bins_of(measured, nominal)
    scores = score(mse, bit_errors, pair.truth.num_bits, bins.middle_db, groups)
    return {
        "sinr_db": [None if level == bins.open_db else level for level in scores.sinr_db.tolist()],
        **_columns("mse_db", scores.mse_db),
        **_columns("ber", scores.ber),
        "num_mixtures": scores.num_mixtures,
        "num_bits": scores.num_bits,
        **{name: _rounded(share) for name, share in shares_of(measured, nominal)._asdict().items()},
    }


def score_row(separator: str, pair: Pair, mse: Floats, bit_errors: Floats, powers: Powers) -> Row:
    """Builds one row of scores.json: a separator on a mixture type.

    Args:
        separator: name of the separator.
        pair: the mixture type.
        mse: float64 [M], see `rfsep.metrics.row_mse`.
        bit_errors: float64 [M].
        powers: see `rfsep.challenge.measured.powers_of`.
    """
    truth = pair.truth
    groups = recordings_of(np.asarray(truth.interference_origin))
    scores = score(mse, bit_errors, truth.num_bits, np.asarray(pair.mixtures.sinr_db, np.float64), groups)
    return {
        "separator": separator,
        "soi": pair.mixtures.soi,
        "interference": pair.mixtures.interference,
        "num_samples": pair.mixtures.mixture.shape[1],
        "mixtures": listed_sha256(pair.mixtures.path),
        "sinr_db": scores.sinr_db.tolist(),
        "measured_sinr_db": measured_sinr_db(pair, powers),
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
        "over_measured": _over_measured(pair, mse, bit_errors, powers, groups),
        **told_beside(scores),
    }


class Estimates(NamedTuple):
    """The errors of all rows of a mixture type.

    Attributes:
        mse: float64 [M].
        bit_errors: float64 [M].
    """

    mse: Floats
    bit_errors: Floats


def submission_errors(submission: Submission, pair: Pair) -> Estimates:
    """Computes the errors of a submitted mixture type, read once through memory maps.

    Raises:
        InputError: as `rfsep.storage.submissions.read_submission`, or numbers are so large that their error is
        infinite.
    """
    (rows, length), truth = pair.mixtures.mixture.shape, pair.truth
    soi = read_complex(submission.soi_path, (rows, length))
    bits = read_bits(submission.bits_path, (rows, truth.bits.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        mse = row_mse(soi, truth.soi)
    if not np.isfinite(mse).all():  # A NaN in an estimate makes its row's error NaN.
        check_finite(submission.soi_path, soi)
        row = int(np.isfinite(mse).argmin())
        raise InputError(f"{submission.soi_path}: row {row} holds numbers too large to be an estimate")
    wrong = row_bit_errors(bits, truth.bits, truth.num_bits)
    forget_pages(truth.bits)
    return Estimates(mse, wrong)


def baselines_path(testset: Path) -> Path:
    """Returns where a test set's baselines are kept: beside the truth, or below runs/ if that is read-only."""
    kept = testset / "truth"
    beside = kept.is_dir() and os.access(kept, os.W_OK)
    return (kept if beside else Path("runs/scores") / set_name(testset)) / "baselines.json"


def _baselines_kept(path: Path) -> Row:
    """Reads the file of kept baselines; empty if there is none of this schema."""
    if path.is_file() and isinstance(found := read_json(path), dict) and found.get("schema") == SCHEMA:
        return found
    return {"schema": SCHEMA, "sets": {}}


def _baselines_key(pair: Pair, settings: object) -> Row:
    """Returns everything that determines the baselines of a mixture type, as JSON: files, settings, intervals."""
    files = {"mixture": listed_sha256(pair.mixtures.path), "truth": listed_sha256(pair.truth.path)}
    return {**files, "settings": settings, "intervals": _INTERVALS}


class Beside(NamedTuple):
    """What is kept of a mixture type: its baselines' rows, and errors by name, and the powers of its mixtures."""

    rows: list[Row]
    errors: dict[str, RowErrors]
    powers: Powers


def _errors_path(path: Path, name: str) -> Path:
    """Returns where the errors of the baselines of a mixture type are kept, beside their rows."""
    return path.with_name(f"{path.stem}_{name}.npz")


def kept_baselines(path: Path, pair: Pair, settings: object) -> Beside | None:
    """Returns kept baselines of a mixture type; None if there are none for these files and settings, or in full.

    Args:
        path: see `baselines_path`.
        pair: the mixture type.
        settings: everything else that the baselines depend on, as JSON.
    """
    name = f"{pair.mixtures.soi}_{pair.mixtures.interference}"
    entry = _baselines_kept(path)["sets"].get(name)
    # Older versions kept neither powers nor errors.
    if entry is None or entry["key"] != _baselines_key(pair, settings) or not {"powers", "errors"} <= entry.keys():
        return None
    try:
        errors = read_rows(_errors_path(path, name), entry["errors"], [row["separator"] for row in entry["rows"]])
    except InputError:
        return None
    powers = Powers(*(np.array(one, np.float64) for one in entry["powers"]))
    return Beside(list(entry["rows"]), errors, powers)


def keep_baselines(path: Path, pair: Pair, settings: object, beside: Beside) -> Beside:
    """Keeps baselines for `kept_baselines`, and returns them."""
    name = f"{pair.mixtures.soi}_{pair.mixtures.interference}"
    with alone_in(path.parent, wait=True):
        kept = _baselines_kept(path)
        digest = write_rows(_errors_path(path, name), beside.errors)
        powers = [one.tolist() for one in beside.powers]
        key = _baselines_key(pair, settings)
        kept["sets"][name] = {"key": key, "rows": beside.rows, "errors": digest, "powers": powers}
        write_json(path, kept)
    return beside


def truth_batches(pair: Pair) -> Iterator[MixtureBatch]:
    """Yields a mixture type with its truth in batches of bounded memory, for bounds, which may see it."""
    mixtures, truth = pair
    rows, length = mixtures.mixture.shape
    step = max(1, _BATCH_SAMPLES // length)
    fields = {
        "mixture": mixtures.mixture,
        "sinr_db": mixtures.sinr_db,
        **{name: getattr(truth, name) for name in MixtureBatch._fields if name not in ("mixture", "sinr_db")},
    }
    for start in range(0, rows, step):
        part = {name: torch.from_numpy(np.array(field[start : start + step])) for name, field in fields.items()}
        yield MixtureBatch(**part)


def noise_power(pair: Pair) -> float:
    """Returns the power of a mixture type without SOI and interference; 0 if only rounding is left."""
    first = next(truth_batches(pair))
    rest = power(first.mixture - first.soi - first.interference).mean()
    return float(rest) if rest > _ROUNDING * power(first.mixture).mean() else 0.0


def separated_errors(rows: Iterable[SeparatedRows], truth: TruthFile) -> Estimates:
    """Computes the errors of a whole mixture type from a separator's chunks."""
    mse, wrong, start = [], [], 0
    for soi, bits in rows:
        part = slice(start, start + len(soi))
        mse.append(row_mse(soi, truth.soi[part]))
        wrong.append(row_bit_errors(bits, truth.bits[part], truth.num_bits[part]))
        start += len(soi)
    return Estimates(np.concatenate(mse), np.concatenate(wrong))
