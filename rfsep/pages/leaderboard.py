"""Writes the leaderboard of a folder: index.html, compare.html, leaderboard.json and leaderboard.csv."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.pages.board_page import write_board_page
from rfsep.pages.collect import Board, boards, collect
from rfsep.pages.compare_page import COMPARE, write_compare_page
from rfsep.pages.ranks import Duels, Ranked, ranked
from rfsep.pages.standings import COSTS, ORIGIN, Score, type_score
from rfsep.storage.atomic import write_json, write_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # A spreadsheet takes text that begins so for a formula.


def write_leaderboard(place: Path, signals: bool = True) -> list[str]:
    """Compares all submissions that this host scored below a folder, and writes its files there.

    Args:
        place: the folder.
        signals: whether to show one mixture of each type with its truth, and the errors on every mixture; an open
            challenge withholds both.

    Returns:
        One line on each refused scores.json.

    Raises:
        InputError: there is no such folder, it has no scores of this host, or files cannot be written.
    """
    found = collect(place)
    entries = found.entries if signals else [entry._replace(examples=[]) for entry in found.entries]
    sorted_boards = [(board, ranked(board)) for board in boards(entries)]
    write_json(place / "leaderboard.json", {"schema": SCHEMA, "boards": [_board(*pair) for pair in sorted_boards]})
    write_text(place / "leaderboard.csv", _csv(sorted_boards))
    if signals:
        write_compare_page(place / COMPARE, sorted_boards)
    else:
        (place / COMPARE).unlink(missing_ok=True)
    write_board_page(place / "index.html", sorted_boards, compared=signals)
    return found.refused


def _score(name: str, score: Score | None) -> Row:
    """Returns a score and its interval under three keys."""
    value, low, high = (None, None, None) if score is None else score
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _board(board: Board, ranks: Ranked) -> Row:
    """Returns a board for leaderboard.json."""
    return {
        "testset": board.testset,
        "mixture_types": [one._asdict() for one in board.types],
        "rows": [
            {
                **{key: getattr(row, key) for key in ("name", "id", "folder", "kind", "measured", "missing")},
                "mse_rank": row.mse_rank,
                **_score("mse_score", row.mse),
                "ber_rank": row.ber_rank,
                **_score("ber_score", row.ber),
                "types": {
                    label: {
                        **_score("mse_score", type_score(one, "mse")),
                        **_score("ber_score", type_score(one, "ber")),
                    }
                    for label, one in row.rows.items()
                },
                **{key: row.card.get(key) for key in (*COSTS, *ORIGIN)},
            }
            for row in ranks.rows
        ],
        "comparisons": {metric: _comparison(ranks, duels) for metric, duels in ranks.duels.items()},
    }


def _comparison(ranks: Ranked, duels: Duels) -> Row:
    """Returns who beats whom in one metric, a line per pair."""
    names = [row.name for row in ranks.rows]
    return {
        "swapped": duels.swapped,
        "by_intervals": duels.by_intervals,
        "pairs": [
            {
                "first": names[duel.first],
                "second": names[duel.second],
                "difference_db": duel.difference_db,
                "p": duel.p,
                "better": None if duel.better is None else names[duel.better],
            }
            for duel in duels.duels
        ],
    }


def _csv(sorted_boards: Sequence[tuple[Board, Ranked]]) -> str:
    """Returns all boards as one table, one row per submission."""
    columns, rows = table([_board(board, each) for board, each in sorted_boards])
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return stream.getvalue()


def table(boards: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Returns columns and rows, one per submission, of leaderboard.json; None if a board lacks a column."""
    rows = [{"testset": board["testset"], **_flat(row)} for board in boards for row in board["rows"]]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[row.get(key) for key in columns] for row in rows]


def _flat(row: Row) -> Row:
    """Returns a row of leaderboard.json without nested values."""
    flat = {key: value for key, value in row.items() if key not in ("types", "missing")}
    each = {f"{label} {key}": value for label, scores in row["types"].items() for key, value in scores.items()}
    return {**flat, "missing": " ".join(row["missing"]), **each}


def _safe(value: Any) -> Any:
    """Quotes foreign text that looks like a formula, so that no spreadsheet runs it.

    >>> _safe("=1+1"), _safe(-12.5)
    ("'=1+1", -12.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
