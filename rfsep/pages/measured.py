"""Curves over the SINR that mixtures really have, and the shares of those far from the nominal one."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from rfsep.challenge.measured import BIN_DB, FAR_DB
from rfsep.pages.figures import Metric, Row, has_metric, waterfall


class MeasuredCurves(NamedTuple):
    """Figures over the measured SINR of one mixture type.

    Attributes:
        ber: bit error rate; None without known bits.
        mse: mean square error.
        shares: sentence on the mixtures far from their nominal SINR.
        open_end: sentence on the open bin; empty where no mixture lies in it.
    """

    ber: Markup | None
    mse: Markup
    shares: str
    open_end: str


def measured_curves(rows: Sequence[Row]) -> MeasuredCurves | None:
    """Draws rows of scores.json over their measured SINR; None where they come from before it was kept."""
    kept = [row for row in rows if "over_measured" in row]
    if not kept:
        return None
    closed = [level for row in kept for level in row["over_measured"]["sinr_db"] if level is not None]
    has_open = any(None in row["over_measured"]["sinr_db"] for row in kept)
    highest = max(closed, default=0.0)
    above = highest + BIN_DB if has_open else None
    curves = [_curve(row, above) for row in kept]

    def draw(metric: Metric) -> Markup:
        return Markup(waterfall(curves, metric, (), level="measured_db", above=above))  # our own markup, names escaped

    return MeasuredCurves(
        draw("ber") if has_metric(curves, "ber", ()) else None,
        draw("mse_db"),
        shares_text(kept[0]["over_measured"]),
        f"The last point, more, is of all mixtures above {_level(highest + BIN_DB / 2)} dB." if has_open else "",
    )


def _level(level_db: float) -> str:
    return f"{level_db:g}".replace("-", "−")


def _curve(row: Row, above: float | None) -> Row:
    """Returns a row whose columns are those over the measured SINR, the open bin at ``above``."""
    over = row["over_measured"]
    levels = [above if level is None else level for level in over["sinr_db"]]
    return {**row, **over, "sinr_db": levels, "measured_db": levels}


def shares_text(shares: Row) -> str:
    """Says which shares of the mixtures are far from their nominal SINR.

    Example:
        >>> shares_text({"silent": 0.11, "weaker": 0.125, "stronger": 0.0})
        'In 12 % of the mixtures the interference is more than 10 dB weaker than nominal; 11 % hold none at all.'
    """
    told = {name: f"{100 * shares[name]:.2g} %" for name in ("silent", "weaker", "stronger")}
    far = f"more than {FAR_DB:g} dB"
    said = f"In {told['weaker']} of the mixtures the interference is {far} weaker than nominal"
    if shares["stronger"]:
        said += f", in {told['stronger']} {far} stronger"
    return said + (f"; {told['silent']} hold none at all." if shares["silent"] else ".")
