"""Scores as tables in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def ber_text(ber: float, high: float) -> str:
    """A bit error rate; no error at all as its upper limit.

    >>> ber_text(0.0, 3e-5), ber_text(0.0123, 0.02)
    ('<3.0e-05', '1.23e-02')
    """
    return f"<{high:.1e}" if ber == 0 else f"{ber:.2e}"


def score_table(title: str, rows: Sequence[dict[str, Any]], level_key: str = "sinr_db") -> Table:
    """MSE and BER of several separators on one mixture type, a column a level.

    Args:
        title: of the table.
        rows: of scores.json or results.json.
        level_key: ``sinr_db`` or ``sir_db``.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("separator")
    table.add_column("")
    for level in rows[0][level_key]:
        table.add_column(f"{level:g} dB", justify="right")
    table.add_column("score", justify="right")
    for row in rows:
        mse = [f"{value:.2f}" for value in row["mse_db"]]
        mse_score = f"{row['mse_score']:.2f}" if "mse_score" in row else ""
        table.add_row(row["separator"], "MSE dB", *mse, mse_score)
        if row["ber"] is not None:
            ber = [ber_text(value, high) for value, high in zip(row["ber"], row["ber_high"], strict=True)]
            table.add_row("", "BER", *ber, f"{row['ber_score']:g}" if "ber_score" in row else "", end_section=True)
    return table
