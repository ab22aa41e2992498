"""Who stands where on a board: totals over mixture types, intervals, ranks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rfsep.challenge.scoring import Row
from rfsep.pages.collect import Board, Entry

Metric = Literal["mse", "ber"]
Kind = Literal["blind", "oracle", "unstated", "baseline"]
RANKED = ("blind", "unstated")  # kinds that compete; oracles know more, baselines stand beside
FILLER = "passthrough"  # the baseline that stands in for a mixture type that a submission does not have
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
        name: what the page calls it: its id, with its folder where two bear one id.
        id: of the submission, or the baseline's name.
        folder: of its scores; empty for a baseline.
        kind: see `Kind`.
        measured: its costs were measured here, not declared by a team.
        rows: row of scores.json by mixture type.
        missing: labels of the board's types that it does not have.
        mse: total MSE score; None where a missing type has nothing to stand in.
        ber: total BER score, likewise, and None where no type has known bits.
        mse_rank: see `_ranks`; None for what does not compete.
        ber_rank: likewise.
        card: costs and origin, None where unknown.
    """

    name: str
    id: str
    folder: str
    kind: Kind
    measured: bool
    rows: dict[str, Row]
    missing: list[str]
    mse: Score | None
    ber: Score | None
    mse_rank: int | None
    ber_rank: int | None
    card: dict[str, Any]


def type_score(row: Row, metric: Metric) -> Score | None:
    """The score of one mixture type; None where its bits are not known."""
    value, low, high = (row[f"{metric}_score{end}"] for end in ("", "_low", "_high"))
    return None if value is None else Score(value, low, high)


def total(scores: Sequence[Score]) -> Score | None:
    """The mean over mixture types; their errors are independent, so half-widths add in squares.

    >>> total([Score(-10, -13, -9), Score(-20, -24, -20)])
    Score(value=-15.0, low=-17.5, high=-14.5)
    """
    if not scores:
        return None
    value = sum(score.value for score in scores) / len(scores)
    below, above = (math.hypot(*(score.value - score[end] for score in scores)) / len(scores) for end in (1, 2))
    return Score(value, value - below, value + above)


def standings(board: Board) -> list[Standing]:
    """Rows of a board, best total MSE first; those without a total last."""
    baselines = _baselines(board.entries)
    filler = baselines.get(FILLER, {})
    ids = [entry.scores["id"] for entry in board.entries]
    rows = [_standing(board, entry, filler, ids.count(entry.scores["id"]) > 1) for entry in board.entries]
    rows += [
        _filled(board, Standing(name, name, "", "baseline", True, scores, [], None, None, None, None, {}), filler)
        for name, scores in baselines.items()
        if name not in ids
    ]
    mse, ber = _ranks(rows, "mse"), _ranks(rows, "ber")
    rows = [row._replace(mse_rank=mse.get(place), ber_rank=ber.get(place)) for place, row in enumerate(rows)]
    return sorted(rows, key=lambda row: (row.mse is None, 0.0 if row.mse is None else row.mse.value, row.name))


def _baselines(entries: Iterable[Entry]) -> dict[str, dict[str, Row]]:
    """Rows of the baselines by name and mixture type."""
    found: dict[str, dict[str, Row]] = {}
    for entry in entries:
        for row in entry.scores["baselines"]:
            found.setdefault(row["separator"], {}).setdefault(f"{row['soi']}_{row['interference']}", row)
    return found


def _standing(board: Board, entry: Entry, filler: Mapping[str, Row], ambiguous: bool) -> Standing:
    scores, card = entry.scores, entry.scores["card"]
    kind: Kind = "unstated" if card["blind"] is None else "blind" if card["blind"] else "oracle"
    rows = {f"{row['soi']}_{row['interference']}": row for row in scores["results"]}
    name = f"{scores['id']} ({entry.folder})" if ambiguous else scores["id"]
    known = {key: card[key] for key in (*COSTS, *ORIGIN)}
    measured = bool(card["measured"])
    plain = Standing(name, scores["id"], entry.folder, kind, measured, rows, [], None, None, None, None, known)
    return _filled(board, plain, filler)


def _filled(board: Board, standing: Standing, filler: Mapping[str, Row]) -> Standing:
    """The same with its totals, for which ``filler`` stands in where it has no scores."""
    labels = [one.label for one in board.types]
    missing = [label for label in labels if label not in standing.rows]
    if any(label not in filler for label in missing):
        return standing._replace(missing=missing)
    counted = [standing.rows.get(label) or filler[label] for label in labels]
    scores = {metric: [type_score(row, metric) for row in counted] for metric in ("mse", "ber")}
    totals = {metric: total([one for one in each if one is not None]) for metric, each in scores.items()}
    return standing._replace(missing=missing, mse=totals["mse"], ber=totals["ber"])


def _ranks(rows: Sequence[Standing], metric: Metric) -> dict[int, int]:
    """Ranks of the rows that compete, by place in ``rows``.

    1 + how many are better beyond both intervals, so that what overlaps ties; but at least the rank of everyone with a
    better score, so that a wide interval of one's own wins nothing.
    """
    totals = {
        place: score for place, row in enumerate(rows) if row.kind in RANKED and (score := _total_of(row, metric))
    }
    ranks, rank = dict[int, int](), 1
    for place, own in sorted(totals.items(), key=lambda item: item[1]):
        rank = max(rank, 1 + sum(other.high < own.low for other in totals.values()))
        ranks[place] = rank
    return ranks


def _total_of(row: Standing, metric: Metric) -> Score | None:
    return row.mse if metric == "mse" else row.ber
