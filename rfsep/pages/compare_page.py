"""Writes the page on which two entries of a board are compared mixture by mixture."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rfsep.challenge.kept_errors import RowErrors, TypeErrors
from rfsep.metrics import MSE_FLOOR_DB
from rfsep.pages.collect import Board
from rfsep.pages.ranks import Duels, Ranked
from rfsep.pages.report import render
from rfsep.pages.standings import Standing

COMPARE = "compare.html"
_MOST_ROWS = 60  # rows of a board on the page, best first: 20 MB for eight types of 1,100 mixtures
_MOST_FREEDOM = 200  # From here on, Student's t is that of this many degrees of freedom.
_STEPS_PER_DB = 100


def compared_rows(rows: Sequence[Standing]) -> list[int]:
    """Returns the places of the rows on the page: those whose errors on every mixture are kept."""
    return [place for place, row in enumerate(rows) if row.errors][:_MOST_ROWS]


def write_compare_page(path: Path, boards: Sequence[tuple[Board, Ranked]]) -> None:
    """Writes the page, which needs no other file and no network; none if no two rows can be compared.

    Args:
        path: HTML file, replaced as a whole or not at all, and removed if there is nothing to compare.
        boards: boards with their ranked rows.
    """
    shown = [_board(board, ranks) for board, ranks in boards]
    if all(len(one["rows"]) < 2 for one in shown):
        path.unlink(missing_ok=True)
        return
    quantiles = stdtrit(np.arange(1, _MOST_FREEDOM + 1), 0.975).round(4).tolist()
    render(path, "compare.html.j2", data={"boards": shown, "student": quantiles, "steps_per_db": _STEPS_PER_DB})


def _board(board: Board, ranks: Ranked) -> dict[str, Any]:
    facts = {label: one for entry in board.entries for label, one in entry.errors.items()}
    types = [one for one in board.types if one.label in facts]
    return {
        "testset": board.testset,
        "types": [
            {"label": one.label, "soi": one.soi, "interference": one.interference, **_type(facts[one.label])}
            for one in types
        ],
        "rows": [_row(place, ranks.rows[place]) for place in compared_rows(ranks.rows)],
        "duels": {metric: _told(duels) for metric, duels in ranks.duels.items()},
    }


def _type(facts: TypeErrors) -> dict[str, Any]:
    """Returns the facts of a mixture type, one number per mixture each."""
    levels, level = np.unique(facts.sinr_db, return_inverse=True)
    return {
        "sinr_db": levels.tolist(),
        "level": _packed(level),
        "recording": _packed(facts.recording),
        "num_bits": _packed(facts.num_bits),
    }


def _row(place: int, row: Standing) -> dict[str, Any]:
    own = {label: _errors(one) for label, one in row.errors.items()}
    return {"place": place, "name": row.name, "kind": row.kind, "missing": row.missing, "types": own}


def _errors(errors: RowErrors) -> dict[str, Any]:
    """Returns a row's errors: of the MSE hundredths of a dB."""
    with np.errstate(divide="ignore"):
        mse_db = np.maximum(10 * np.log10(errors.mse.astype(np.float64)), MSE_FLOOR_DB)
    return {"mse": _packed(np.round(mse_db * _STEPS_PER_DB)), "wrong": _packed(errors.wrong_bits)}


def _told(duels: Duels) -> dict[str, Any]:
    """Returns the tests of all pairs by places, as in ``0,3``."""
    return {
        "swapped": duels.swapped,
        "competing": sorted({place for one in duels.duels for place in one[:2]}),
        "pairs": {f"{one.first},{one.second}": [one.difference_db, one.p, one.better] for one in duels.duels},
    }


def _packed(numbers: NDArray[Any]) -> str:
    """Encodes whole numbers as little-endian int32 in base64."""
    return base64.b64encode(numbers.astype("<i4").tobytes()).decode()
