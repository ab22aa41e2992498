"""Computes the standings of a board: totals over mixture types and their intervals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rfsep.challenge.kept_errors import RowErrors
from rfsep.challenge.scoring import Row
from rfsep.pages.collect import Board, Entry

Metric = Literal["mse", "ber"]
Kind = Literal["blind", "oracle", "unstated", "baseline"]
RANKED = ("blind", "unstated")  # Kinds that compete; oracles know more, and baselines are shown beside.
FILLER = "passthrough"  # The baseline that replaces a submission's missing mixture types.
COSTS = ("parameters", "macs_per_sample", "seconds_per_mixture", "train_minutes", "train_flops")
ORIGIN = ("commit", "seed", "date")


class Score(NamedTuple):
    """A score in dB with its 95 % interval; lower is better."""

    value: float
    low: float
    high: float


class Standing(NamedTuple):
    """One row of a board.

    Attributes:
        name: name on the page: its id, with its folder if two share an id.
        id: id of the submission, or the baseline's name.
        folder: folder of its scores; empty for a baseline.
        kind: see `Kind`.
        measured: whether its costs were measured here, not declared by a team.
        rows: row of scores.json by mixture type.
        errors: errors on every mixture by type, those of ``FILLER`` where it replaces one; none if they are not kept.
        missing: labels of the board's types that it lacks.
        mse: total MSE score; None if nothing replaces a missing type.
        ber: total BER score, likewise; also None if no type has known bits.
        mse_rank: see `rfsep.pages.ranks.ranked`; None for rows that do not compete, and before they are ranked.
        ber_rank: as for the MSE.
        card: costs and origin, None if unknown.
    """

    name: str
    id: str
    folder: str
    kind: Kind
    measured: bool
    rows: dict[str, Row]
    errors: dict[str, RowErrors]
    missing: list[str]
    mse: Score | None
    ber: Score | None
    mse_rank: int | None
    ber_rank: int | None
    card: dict[str, Any]


class _Filler(NamedTuple):
    """The baseline that replaces missing mixture types: its rows and errors by type."""

    rows: Mapping[str, Row]
    errors: Mapping[str, RowErrors]


def type_score(row: Row, metric: Metric) -> Score | None:
    """Returns the score of one mixture type; None if its bits are not known."""
    value, low, high = (row[f"{metric}_score{end}"] for end in ("", "_low", "_high"))
    return None if value is None else Score(value, low, high)


def total(scores: Sequence[Score]) -> Score | None:
    """Returns the mean over mixture types; errors are independent, so squares of half-widths add up.

    >>> total([Score(-10, -13, -9), Score(-20, -24, -20)])
    Score(value=-15.0, low=-17.5, high=-14.5)
    """
    if not scores:
        return None
    value = sum(score.value for score in scores) / len(scores)
    below, above = (math.hypot(*(score.value - score[end] for score in scores)) / len(scores) for end in (1, 2))
    return Score(value, value - below, value + above)


def standings(board: Board) -> list[Standing]:
    """Returns the rows of a board without ranks, best total MSE first; those without a total come last."""
    baselines = _baselines(board.entries)
    errors = _baseline_errors(board.entries)
    filler = _Filler(baselines.get(FILLER, {}), errors.get(FILLER, {}))
    ids = [entry.scores["id"] for entry in board.entries]
    rows = [_standing(board, entry, filler, ids.count(entry.scores["id"]) > 1) for entry in board.entries]
    rows += [
        _filled(board, _unscored(name, "", "baseline", scores, errors.get(name, {})), filler)
        for name, scores in baselines.items()
        if name not in ids
    ]
    return sorted(rows, key=lambda row: (row.mse is None, 0.0 if row.mse is None else row.mse.value, row.name))


def _baselines(entries: Iterable[Entry]) -> dict[str, dict[str, Row]]:
    """Returns the rows of the baselines by name and mixture type."""
    found: dict[str, dict[str, Row]] = {}
    for entry in entries:
        for row in entry.scores["baselines"]:
            found.setdefault(row["separator"], {}).setdefault(f"{row['soi']}_{row['interference']}", row)
    return found


def _baseline_errors(entries: Iterable[Entry]) -> dict[str, dict[str, RowErrors]]:
    """Returns the errors of the baselines by name and mixture type."""
    found: dict[str, dict[str, RowErrors]] = {}
    for entry in entries:
        for label, one in entry.errors.items():
            for name, errors in one.baselines.items():
                found.setdefault(name, {}).setdefault(label, errors)
    return found


def _unscored(id: str, folder: str, kind: Kind, rows: dict[str, Row], errors: dict[str, RowErrors]) -> Standing:
    """Returns a standing before its totals."""
    return Standing(id, id, folder, kind, True, rows, errors, [], None, None, None, None, {})


def _standing(board: Board, entry: Entry, filler: _Filler, ambiguous: bool) -> Standing:
    scores, card = entry.scores, entry.scores["card"]
    kind: Kind = "unstated" if card["blind"] is None else "blind" if card["blind"] else "oracle"
    rows = {f"{row['soi']}_{row['interference']}": row for row in scores["results"]}
    name = f"{scores['id']} ({entry.folder})" if ambiguous else scores["id"]
    known = {key: card[key] for key in (*COSTS, *ORIGIN)}
    measured = bool(card["measured"])
    errors = {label: one.own for label, one in entry.errors.items()}
    plain = _unscored(scores["id"], entry.folder, kind, rows, errors)
    return _filled(board, plain._replace(name=name, measured=measured, card=known), filler)


def _filled(board: Board, standing: Standing, filler: _Filler) -> Standing:
    """Adds totals to a standing; ``filler`` replaces its missing scores, and its errors if its own are kept."""
    labels = [one.label for one in board.types]
    missing = [label for label in labels if label not in standing.rows]
    if any(label not in filler.rows for label in missing):
        return standing._replace(missing=missing)
    counted = [standing.rows.get(label) or filler.rows[label] for label in labels]
    scores = {metric: [type_score(row, metric) for row in counted] for metric in ("mse", "ber")}
    totals = {metric: total([one for one in each if one is not None]) for metric, each in scores.items()}
    filled = {label: filler.errors[label] for label in missing if standing.errors and label in filler.errors}
    errors = {**standing.errors, **filled}
    return standing._replace(missing=missing, errors=errors, mse=totals["mse"], ber=totals["ber"])
