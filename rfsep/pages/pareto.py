"""Draws scores over costs, with the front of the best submissions at each cost."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from rfsep.pages.figures import POINT, Look, inline_svg
from rfsep.pages.style import INK, dress

_LONGEST = 26  # longest label in letters


class Point(NamedTuple):
    """A submission in the figure.

    Attributes:
        name: name on the page.
        look: style of its curves.
        cost: positive, in any unit.
        score: in dB, lower is better.
        low: lower end of its 95 % interval.
        high: upper end of the interval.
    """

    name: str
    look: Look
    cost: float
    score: float
    low: float
    high: float


def front(points: Sequence[Point]) -> list[Point]:
    """Returns the points that no other beats at the same cost or less, cheapest first.

    >>> look = Look("k", "o", "-")
    >>> three = [Point(name, look, cost, score, score, score) for name, cost, score in
    ...          (("slow", 9, -10), ("best", 5, -20), ("quick", 1, -5))]
    >>> [point.name for point in front(three)]
    ['quick', 'best']
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, one.score)):
        if not best or point.score < best[-1].score:
            best.append(point)
    return best


def pareto(points: Sequence[Point], cost: str, score: str, unit: str) -> str:
    """Draws scores over logarithmic costs as inline SVG, with the front as a staircase and its members' names.

    Args:
        points: one per submission.
        cost: label of the horizontal axis.
        score: label of the vertical axis.
        unit: unit of the cost, for its ticks.
    """
    figure = Figure(figsize=(384 / 72, 286 / 72))
    figure.patch.set_visible(False)
    axes = figure.add_axes((54 / 384, 46 / 286, 320 / 384, 232 / 286))
    axes.patch.set_visible(False)
    axes.set_xscale("log")
    best = front(points)
    costs = [point.cost for point in points]
    end = max(costs) * 4
    axes.set_xlim(min(costs) / 4, end)  # More than a decade guarantees a tick.
    steps = [(point.cost, point.score) for point in best] + [(end, best[-1].score)]
    axes.step(*zip(*steps, strict=True), where="post", color=INK, linewidth=1.0, linestyle=(0, (4, 2)), alpha=0.6)
    for point in points:
        axes.plot([point.cost] * 2, [point.low, point.high], color=point.look.colour, linewidth=1.0, alpha=0.6)
        (mark,) = axes.plot(
            [point.cost], [point.score], color=point.look.colour, marker=point.look.marker, markersize=7
        )
        mark.set_gid(POINT + point.name)
    axes.xaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(unit, sep="\N{NO-BREAK SPACE}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.08 * (high - low), high)
    dress(axes, cost, score)
    _label(axes, best)
    stream = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": repr((points, cost))}):
        figure.savefig(stream, format="svg")
    return inline_svg(stream.getvalue(), f"{score} over {cost} of {', '.join(point.name for point in points)}")


def _label(axes: Axes, best: Sequence[Point]) -> None:
    """Writes the names of the front's members: below left of their points, to the right in the left half."""
    low, high = np.log10(axes.get_xlim())
    for point in best:
        left = np.log10(point.cost) < (low + high) / 2
        # Names are foreign, so they get no mathtext.
        axes.annotate(
            point.name if len(point.name) <= _LONGEST else point.name[: _LONGEST - 1] + "…",
            (point.cost, point.score), xytext=(7 if left else -7, -11), textcoords="offset points", fontsize=10,
            color=INK, ha="left" if left else "right", va="center", parse_math=False, clip_on=True,
        )  # fmt: skip
