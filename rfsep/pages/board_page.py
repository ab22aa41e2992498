"""Writes the leaderboard's page: one self-contained HTML file of boards, figures and signals."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from rfsep.pages.collect import Board, MixtureType
from rfsep.pages.compare_page import compared_rows
from rfsep.pages.figures import THEMED, Look, Published, Row, has_metric, look, waterfall
from rfsep.pages.matrix import Matrix, matrices
from rfsep.pages.pareto import Point, pareto
from rfsep.pages.pictures import Complex
from rfsep.pages.published import published_curves
from rfsep.pages.ranks import Ranked
from rfsep.pages.report import DASH, Example, ScoreText, decibels, interval_of, levels_of, quantity, render
from rfsep.pages.standings import FILLER, RANKED, Metric, Score, Standing, type_score

_FULL_SCALE = 32767
KINDS = {
    "blind": "sees nothing but the mixture",
    "oracle": "is told more than the mixture, and has no rank",
    "unstated": "does not say whether it sees more than the mixture",
    "baseline": "computed by the host, and has no rank",
}
COST_AXES = (  # key of a card, axis, unit
    ("seconds_per_mixture", "time per mixture", "s"),
    ("macs_per_sample", "multiply-accumulates per sample", ""),
    ("parameters", "parameters", ""),
)


class _Cost(NamedTuple):
    """A cell of costs: its text and its sorting key."""

    text: str
    value: float | None


class _RowView(NamedTuple):
    """A row of the table, formatted."""

    standing: Standing
    look: Look
    colour: str
    mse_rank: str
    mse: ScoreText
    ber_rank: str
    ber: ScoreText
    types: dict[Metric, list[ScoreText]]
    costs: dict[str, _Cost]


class _TypeView(NamedTuple):
    """The figures of a mixture type."""

    type: MixtureType
    anchor: str
    ber: Markup | None
    mse: Markup
    bounds: bool
    published: bool


class _BoardView(NamedTuple):
    """A board for the template."""

    anchor: str
    testset: str
    types: list[_TypeView]
    rows: list[_RowView]
    matrices: list[Matrix]
    pareto: list[Markup]
    filler: str
    data: dict[str, Any]


def write_board_page(path: Path, boards: Sequence[tuple[Board, Ranked]], compared: bool) -> None:
    """Writes the page, which needs no other file and no network.

    Args:
        path: HTML file, replaced as a whole or not at all.
        boards: boards with their ranked rows.
        compared: whether there is a page of comparisons to lead to.
    """
    views = [_view(index, *pair, compared) for index, pair in enumerate(boards)]
    render(
        path,
        "leaderboard.html.j2",
        boards=views,
        kinds=KINDS,
        dash=DASH,
        markers=_MARKERS,
        data=[view.data for view in views],
        num_submissions=sum(row.standing.kind != "baseline" for view in views for row in view.rows),
    )


def _view(index: int, board: Board, ranks: Ranked, compared: bool) -> _BoardView:
    anchor, rows = f"board-{index + 1}", ranks.rows
    types = [_type_view(f"{anchor}-{one.label}", board, one, rows) for one in board.types]
    return _BoardView(
        anchor=anchor,
        testset=board.testset,
        types=types,
        rows=[_row_view(row, index, board, rows) for index, row in enumerate(rows)],
        matrices=matrices(ranks, index, compared_rows(rows) if compared else []),
        pareto=[figure for axis in COST_AXES if (figure := _pareto(rows, *axis)) is not None],
        filler=FILLER,
        data={
            "types": [_type_data(board, one) for one in board.types],
            "rows": [_row_data(board, row) for row in rows],
        },
    )


def _row_view(row: Standing, index: int, board: Board, rows: Sequence[Standing]) -> _RowView:
    drawn, card = look(index), row.card
    scores: dict[Metric, list[ScoreText]] = {
        metric: [
            _text(_on(row, one, metric), [_on(other, one, metric) for other in _ranked(rows)]) for one in board.types
        ]
        for metric in ("mse", "ber")
    }
    minutes = card.get("train_minutes")
    costs = {
        "parameters": _Cost(_count(card.get("parameters")), card.get("parameters")),
        "macs": _Cost(quantity(card.get("macs_per_sample"), ""), card.get("macs_per_sample")),
        "latency": _Cost(quantity(card.get("seconds_per_mixture"), "s"), card.get("seconds_per_mixture")),
        "minutes": _Cost(DASH if minutes is None else f"{minutes:,.1f}", minutes),
        "flops": _Cost(quantity(card.get("train_flops"), ""), card.get("train_flops")),
    }
    return _RowView(
        standing=row,
        look=drawn,
        colour=THEMED.get(drawn.colour, THEMED.get(drawn.colour.lower(), drawn.colour)),
        mse_rank=_rank(row.mse_rank, [other.mse_rank for other in rows]),
        mse=_text(row.mse, [other.mse for other in _ranked(rows)]),
        ber_rank=_rank(row.ber_rank, [other.ber_rank for other in rows]),
        ber=_text(row.ber, [other.ber for other in _ranked(rows)]),
        types=scores,
        costs=costs,
    )


def _ranked(rows: Sequence[Standing]) -> list[Standing]:
    return [row for row in rows if row.kind in RANKED]


def _on(row: Standing, one: MixtureType, metric: Metric) -> Score | None:
    """Returns a row's score on a mixture type, or None."""
    return None if one.label not in row.rows else type_score(row.rows[one.label], metric)


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _rank(rank: int | None, ranks: Sequence[int | None]) -> str:
    """Formats a rank, with an equals sign if it is shared.

    >>> _rank(1, [1, 1, 3]), _rank(3, [1, 1, 3]), _rank(None, [1])
    ('1 =', '3', '–')
    """
    return DASH if rank is None else f"{rank} =" if ranks.count(rank) > 1 else str(rank)


def _text(score: Score | None, rivals: Sequence[Score | None]) -> ScoreText:
    """Formats a score for the table; the best one that competes is marked."""
    if score is None:
        return ScoreText(DASH, "", None, False)
    best = min((rival.value for rival in rivals if rival is not None), default=None)
    return ScoreText(
        decibels(score.value), interval_of(decibels(score.low), decibels(score.high)), score.value, score.value == best
    )


def _type_view(anchor: str, board: Board, one: MixtureType, rows: Sequence[Standing]) -> _TypeView:
    """Draws the waterfalls of a mixture type; each row has the same style in all of them."""
    absent: Row = {"sinr_db": [], "ber": None, "mse_db": None}
    curves: list[Row] = [{**row.rows.get(one.label, absent), "separator": row.name} for row in rows]
    bounds = list({row["separator"]: row for row in _bounds(board, one)}.values())
    published = published_curves(one.soi, one.interference, one.num_samples)

    def draw(metric: Any, shown: Sequence[Published]) -> Markup:
        return Markup(waterfall([*curves, *bounds], metric, shown, legend=False))  # our own markup, names escaped

    return _TypeView(
        type=one,
        anchor=anchor,
        ber=draw("ber", published) if has_metric(curves, "ber", published) else None,
        mse=draw("mse_db", published),
        bounds=bool(bounds),
        published=bool(published),
    )


def _bounds(board: Board, one: MixtureType) -> Iterator[Row]:
    for entry in board.entries:
        for row in entry.scores["bounds"]:
            if (row["soi"], row["interference"]) == (one.soi, one.interference):
                yield row


def _pareto(rows: Sequence[Standing], key: str, axis: str, unit: str) -> Markup | None:
    """Draws total MSE over a cost; None if fewer than two submissions state it."""
    points = [
        Point(row.name, look(index), float(row.card[key]), *row.mse)
        for index, row in enumerate(rows)
        if row.mse is not None and (row.card.get(key) or 0) > 0
    ]
    return Markup(pareto(points, axis, "MSE score (dB)", unit)) if len(points) > 1 else None


def _type_data(board: Board, one: MixtureType) -> dict[str, Any]:
    """Returns a mixture type's data for the page's script, with the mixtures of the submissions' examples by row."""
    found = (_example(entry.examples, one.label) for entry in board.entries)
    examples = {example.row: example for example in found if example is not None}
    shown = {
        row: {
            "sinr": decibels(example.sinr_db, 0 if float(example.sinr_db).is_integer() else 1),
            "rate_hz": example.sample_rate_hz,
            "ideal": _packed(example.ideal),
            "mixture": _packed(example.mixture),
            "truth": _packed(example.truth),
            "symbols": _packed(example.mixture_symbols),
        }
        for row, example in examples.items()
    }
    return {"label": one.label, "soi": one.soi, "interference": one.interference, "examples": shown}


def _row_data(board: Board, row: Standing) -> dict[str, Any]:
    """Returns a submission's data for the page's script: levels by mixture type, and estimates of the examples."""
    entry = next((one for one in board.entries if one.folder == row.folder and row.kind != "baseline"), None)
    types: dict[str, Any] = {label: {"levels": levels_of(one), "example": None} for label, one in row.rows.items()}
    for label, data in types.items():
        if entry is not None and (example := _example(entry.examples, label)) is not None:
            signals = {"estimate": _packed(example.estimate), "symbols": _packed(example.estimate_symbols)}
            data["example"] = {"row": example.row, **signals}
    return {"name": row.name, "kind": row.kind, "types": types}


def _example(examples: Sequence[Example], label: str) -> Example | None:
    return next((one for one in examples if f"{one.soi}_{one.interference}" == label), None)


def _packed(waveform: Complex) -> dict[str, Any]:
    """Encodes a waveform: alternating real and imaginary parts as little-endian int16 in base64, times ``scale``."""
    parts = np.ascontiguousarray(waveform, np.complex64).view(np.float32)
    scale = float(np.abs(parts).max(initial=0.0)) / _FULL_SCALE or 1.0
    whole = np.round(parts / scale).astype("<i2")
    return {"scale": scale, "data": base64.b64encode(whole.tobytes()).decode()}


_MARKERS = {  # matplotlib's markers as paths around the origin
    "o": "M3.2 0A3.2 3.2 0 1 1-3.2 0A3.2 3.2 0 1 1 3.2 0Z",
    "s": "M-3-3H3V3H-3Z",
    "^": "M0-3.6L3.4 2.6H-3.4Z",
    "D": "M0-3.8L3.8 0L0 3.8L-3.8 0Z",
    "P": "M-1.3-3.6H1.3V-1.3H3.6V1.3H1.3V3.6H-1.3V1.3H-3.6V-1.3H-1.3Z",
    "X": "M-3.5-1.7L-1.7-3.5L0-1.8L1.7-3.5L3.5-1.7L1.8 0L3.5 1.7L1.7 3.5L0 1.8L-1.7 3.5L-3.5 1.7L-1.8 0Z",
    "p": "M0-3.6L3.42-1.11L2.12 2.91H-2.12L-3.42-1.11Z",
    "h": "M0-3.6L3.12-1.8V1.8L0 3.6L-3.12 1.8V-1.8Z",
}
