"""Formats scores as tables in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

WIDEST = 12  # largest number of levels in a table


def ber_text(ber: float, high: float) -> str:
    """Formats a bit error rate; without any error it is the upper limit.

    >>> ber_text(0.0, 3e-5), ber_text(0.0123, 0.02)
    ('<3e-5', '1.2e-2')
    """
    text = f"<{high:.0e}" if ber == 0 else f"{ber:.1e}"
    return text.replace("e-0", "e-")


def shown_levels(count: int) -> slice:
    """Returns which of ``count`` levels a table shows: all, or every n-th one that fits, from the lowest on.

    >>> shown_levels(11), shown_levels(23)
    (slice(None, None, 1), slice(None, None, 2))
    """
    return slice(None, None, -(-count // WIDEST))


def shortfalls(row: dict[str, Any], matched_filter: dict[str, Any], zero_mse_db: Sequence[float]) -> str:
    """One line that says where a separator is of no use, empty where it is nowhere.

    That is where its MSE is above that of a zero estimate, and where its MSE or BER is above the interval of the
    matched filter's.

    Args:
        row: of scores.json.
        matched_filter: the matched filter's row on the same mixtures.
        zero_mse_db: MSE of a zero estimate at each level, which is the SOI's power.

    >>> row = {"separator": "x", "sinr_db": [-3.0, 0.0], "mse_db": [1.0, -9.0], "ber": [0.1, 0.0]}
    >>> shortfalls(row, row | {"mse_db_high": [-1.0, -8.0], "ber_high": [0.2, 0.1]}, [0.0, 0.0])
    "x: MSE is worse than a zero estimate's at -3 dB; MSE is worse than the matched filter's at -3 dB"
    """
    levels = row["sinr_db"]
    said = []
    if worse := _above(row["mse_db"], zero_mse_db, levels):
        said.append(f"MSE is worse than a zero estimate's at {worse}")
    if worse := _above(row["mse_db"], matched_filter["mse_db_high"], levels):
        said.append(f"MSE is worse than the matched filter's at {worse}")
    if row["ber"] is not None and (worse := _above(row["ber"], matched_filter["ber_high"], levels)):
        said.append(f"BER is worse than the matched filter's at {worse}")
    return f"{row['separator']}: {'; '.join(said)}" if said else ""


def _above(values: Sequence[float], limits: Sequence[float], levels: Sequence[float]) -> str:
    """The levels at which values are above their limits, in words; empty where they are nowhere."""
    found = [level for value, limit, level in zip(values, limits, levels, strict=True) if value > limit]
    return f"{', '.join(f'{level:g}' for level in found)} dB" if found else ""


def score_table(title: str, rows: Sequence[dict[str, Any]], level_key: str = "sinr_db") -> Table:
    """Returns MSE and BER of several separators on one mixture type, one column per level, or per n-th level.

    Args:
        title: title of the table.
        rows: rows of scores.json or results.json.
        level_key: ``sinr_db`` or ``sir_db``.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("separator", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = shown_levels(len(rows[0][level_key]))
    for level in rows[0][level_key][shown]:
        table.add_column(f"{level:g} dB", justify="right", no_wrap=True)
    scored = any("mse_score" in row for row in rows)
    if scored:
        table.add_column("score", justify="right", no_wrap=True)
    for row in rows:
        mse = [f"{value:.2f}" for value in row["mse_db"][shown]]
        mse_score = f"{row['mse_score']:.2f}" if "mse_score" in row else ""
        table.add_row(row["separator"], "MSE dB", *mse, *[mse_score][:scored])
        if row["ber"] is not None:
            ber = [ber_text(value, high) for value, high in zip(row["ber"], row["ber_high"], strict=True)]
            ber_score = f"{row['ber_score']:g}" if "ber_score" in row else ""
            table.add_row("", "BER", *ber[shown], *[ber_score][:scored])
    return table
