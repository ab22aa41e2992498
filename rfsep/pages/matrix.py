"""Lays out who beats whom on a board: one square table per metric."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rfsep.challenge.paired import SIGNIFICANCE
from rfsep.pages.ranks import METRICS, Duel, Duels, Ranked, totals
from rfsep.pages.report import decibels
from rfsep.pages.standings import Metric

TITLES: dict[Metric, str] = {"mse": "MSE", "ber": "BER"}


class Cell(NamedTuple):
    """The row's entry against the column's.

    Attributes:
        outcome: whether the row is better or worse beyond doubt, open, or the entry itself.
        text: difference in dB, negative where the row is better.
        title: the same in words.
        link: the comparison mixture by mixture; empty without one.
    """

    outcome: Literal["better", "worse", "open", "self"]
    text: str
    title: str
    link: str


class Line(NamedTuple):
    """A row of the table: rank and name of an entry, and its cells."""

    rank: int | None
    name: str
    cells: list[Cell]


class Matrix(NamedTuple):
    """The table of a metric, and what to say below it."""

    metric: Metric
    title: str
    lines: list[Line]
    notes: list[str]


def matrices(ranks: Ranked, board: int, compared: Sequence[int]) -> list[Matrix]:
    """Returns the tables of the metrics in which at least two entries compete.

    Args:
        ranks: of the board.
        board: place of the board on the page.
        compared: places of the rows on the page of comparisons; none where there is no such page.
    """
    return [_matrix(ranks, metric, board, compared) for metric in METRICS if len(totals(ranks.rows, metric)) > 1]


def _matrix(ranks: Ranked, metric: Metric, board: int, compared: Sequence[int]) -> Matrix:
    scores, duels = totals(ranks.rows, metric), ranks.duels[metric]
    given = {"mse": [row.mse_rank for row in ranks.rows], "ber": [row.ber_rank for row in ranks.rows]}[metric]
    order = sorted(scores, key=lambda place: (given[place] or 0, scores[place].value))
    found = {(duel.first, duel.second): duel for duel in duels.duels}
    lines = []
    for row in order:
        cells = []
        for column in order:
            duel = found.get((min(row, column), max(row, column)))
            link = ""
            if duel is not None and row in compared and column in compared:
                link = f"compare.html#{board},{row},{column},{metric}"
            cells.append(_cell(ranks, duel, row, column, link))
        lines.append(Line(given[row], ranks.rows[row].name, cells))
    return Matrix(metric, TITLES[metric], lines, _notes(duels))


def _cell(ranks: Ranked, duel: Duel | None, row: int, column: int, link: str) -> Cell:
    if duel is None:
        return Cell("self", "", ranks.rows[row].name, "")
    one, other = (ranks.rows[place].name for place in (row, column))
    outcome: Literal["better", "worse", "open"] = (
        "open" if duel.better is None else "better" if duel.better == row else "worse"
    )
    verdict = {
        "better": f"{one} is better than {other}",
        "worse": f"{one} is worse than {other}",
        "open": f"{one} and {other} are not told apart",
    }[outcome]
    if duel.difference_db is None or duel.p is None:
        return Cell(
            outcome, {"better": "<", "worse": ">", "open": "="}[outcome], f"{verdict}, by their intervals", link
        )
    difference = duel.difference_db if row == duel.first else -duel.difference_db
    said = f"{verdict}: {decibels(difference)} dB, p = {probability(duel.p)}"
    return Cell(outcome, _short(difference), said, link)


def _short(difference_db: float) -> str:
    """Formats a difference for a narrow cell.

    >>> _short(-0.514), _short(12.34)
    ('−0.5', '12')
    """
    return decibels(difference_db, 0 if abs(difference_db) >= 9.95 else 1)


def probability(p: float) -> str:
    """Formats a p value.

    >>> probability(0.0342), probability(0.0001), probability(1.0)
    ('0.034', '<0.001', '1')
    """
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def _notes(duels: Duels) -> list[str]:
    notes = []
    tested = [duel for duel in duels.duels if duel.p is not None]
    if tested:
        pairs = "the one pair" if len(tested) == 1 else f"all {len(tested):,} pairs"
        notes.append(f"The tests swap {duels.swapped}, and are corrected for {pairs}.")
        smallest = 2.0 ** (1 - duels.num_groups)
        if smallest * len(tested) > SIGNIFICANCE:
            notes.append(
                f"With {duels.swapped}, no p value is below {probability(smallest)}: "
                "too few to tell any entries of this board apart."
            )
    if duels.by_intervals:
        names = ", ".join(duels.by_intervals)
        notes.append(
            f"Scored before the errors of every mixture were kept, and therefore compared by intervals: {names}. "
            "Score again to have them tested."
        )
    return notes
