"""Draws a separator's loss from learning with few example frames."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rfsep.pages.figures import Row, save
from rfsep.pages.style import GRID, INK, MARKERS, PALETTE


def learning_costs(rows: Sequence[Row], reference: str) -> dict[float, list[tuple[int, float]]]:
    """Returns the cost in dB of MSE against ``reference`` for each level, as pairs (number of frames, cost) in order.

    Args:
        rows: rows of results.json; those named ``<separator>:<number of frames>`` count.
        reference: name of the row that knows the interference.

    >>> rows = [{"separator": "a:10", "sir_db": [0.0], "mse_db": [-9.0]}, {"separator": "a:known", "sir_db": [0.0],
    ...         "mse_db": [-10.0]}]
    >>> learning_costs(rows, "a:known")
    {0.0: [(10, 1.0)]}
    """
    known = next((row for row in rows if row["separator"] == reference), None)
    numbered = [(int(suffix), row) for row in rows if (suffix := str(row["separator"]).rpartition(":")[2]).isdigit()]
    if known is None:
        return {}
    return {
        level: [(count, row["mse_db"][place] - known["mse_db"][place]) for count, row in sorted(numbered, key=_first)]
        for place, level in enumerate(known["sir_db"])
    }


def _first(pair: tuple[int, Row]) -> int:
    return pair[0]


def write_learning_figure(path: Path, rows: Sequence[Row], reference: str, title: str) -> None:
    """Draws the costs of `learning_costs` over the number of frames; nothing without the reference."""
    costs = learning_costs(rows, reference)
    if not any(costs.values()):
        return
    figure = Figure(figsize=(5.2, 3.6), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for index, (level, points) in enumerate(costs.items()):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        counts, cost = zip(*points, strict=True)
        axes.plot(counts, cost, label=f"SIR {level:g} dB", linewidth=1.6, markersize=4.5, color=colour, marker=marker)
    axes.set_xscale("log")
    axes.set_xlabel("example frames", fontsize=12, color=INK)
    axes.set_ylabel(f"MSE above {reference} (dB)", fontsize=12, color=INK)
    axes.set_title(title, fontsize=13, color=INK)
    axes.axhline(0, color=INK, linewidth=0.8, alpha=0.55)
    axes.grid(color=GRID, linewidth=0.7)
    axes.legend(frameon=False)
    save(figure, path, title)
