"""Draws the bit error rate of alpha-RGS over the weight of the interference's prior."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rfsep.pages.figures import Row, save
from rfsep.pages.style import INK, MARKERS, PALETTE, dress


class Point(NamedTuple):
    """A bit error rate with its interval, at one weight; ``ber`` 0 has the upper limit ``high``."""

    omega: float
    ber: float
    low: float
    high: float


Curves = dict[str, dict[float, list[Point]]]


def omega_errors(rows: Sequence[Row]) -> Curves:
    """Returns bit error rates over the weight by separator and SIR in dB, of the rows named ``<separator>:<omega>``.

    >>> row = {"separator": "a:0.1", "sir_db": [-6.0], "ber": [0.2], "ber_low": [0.1], "ber_high": [0.3]}
    >>> omega_errors([row, {**row, "separator": "b"}])
    {'a': {-6.0: [Point(omega=0.1, ber=0.2, low=0.1, high=0.3)]}}
    """
    curves: Curves = {}
    for row in rows:
        name, _, omega = str(row["separator"]).rpartition(":")
        if not omega.replace(".", "", 1).isdigit():
            continue
        columns = zip(row["sir_db"], row["ber"], row["ber_low"], row["ber_high"], strict=True)
        for level, ber, low, high in columns:
            points = curves.setdefault(name, {}).setdefault(level, [])
            points.append(Point(float(omega), ber, low, high))
            points.sort()
    return curves


def write_omega_figure(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draws one panel per separator and one curve per SIR, with intervals; nothing if no row is named by a weight.

    Args:
        path: path of the picture.
        rows: rows of results.json, see `omega_errors`.
        title: title of the picture.
    """
    curves = omega_errors(rows)
    if not curves:
        return
    figure = Figure(figsize=(4.6 * len(curves), 4.2), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, (name, levels) in zip(panels, curves.items(), strict=True):
        for index, (level, points) in enumerate(levels.items()):
            _draw(axes, points, level, index)
        weights = sorted({point.omega for points in levels.values() for point in points})
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(weights, [f"{weight:g}" for weight in weights])
        axes.xaxis.set_minor_locator(NullLocator())
        dress(axes, "ω / κ²", title=name)
    panels[0].set_ylabel("BER", fontsize=12, color=INK)
    panels[-1].legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=13, color=INK)
    save(figure, path, title)


def _draw(axes: Axes, points: Sequence[Point], level: float, index: int) -> None:
    """Draws a curve, with open triangles at upper limits without errors."""
    colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
    omega = [point.omega for point in points]
    heights = [point.ber or point.high for point in points]
    axes.plot(omega, heights, color=colour, marker=marker, linewidth=1.6, markersize=4.5, label=f"SIR {level:g} dB")
    axes.fill_between(omega, [point.low or height / 100 for point, height in zip(points, heights, strict=True)],
                      [point.high for point in points], color=colour, alpha=0.18, linewidth=0)  # fmt: skip
    unseen = [(point.omega, point.high) for point in points if point.ber == 0]
    if unseen:
        axes.plot(*zip(*unseen, strict=True), "v", color=colour, mfc="white", markersize=8, zorder=4)
