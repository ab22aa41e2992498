"""Draws a network's error over the length of its first kernel."""

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rfsep.pages.figures import BOUND_ROOM_DB, PUBLISHED_MARKERS, Published, Row, save
from rfsep.pages.style import INK, MARKERS, PALETTE, dress

_PUBLISHED = re.compile(r"(.*\S),? K = (\d+)")
_LABEL_RATIO = 1.05  # least ratio of kernels whose labels do not overlap
Curves = dict[str, list[tuple[int, float]]]


def measured_errors(rows: Sequence[Row]) -> Curves:
    """Returns MSE in dB over kernel length, one curve per network, from rows named ``<network>:<kernel>``.

    Args:
        rows: rows of results.json, at one level.

    >>> measured_errors([{"separator": "net:63", "mse_db": [-40.0]}, {"separator": "net:15", "mse_db": [-6.0]},
    ...                  {"separator": "lmmse", "mse_db": [-0.3]}])
    {'net': [(15, -6.0), (63, -40.0)]}
    """
    named = [(*str(row["separator"]).rpartition(":")[::2], row["mse_db"][0]) for row in rows]
    return _curves([(name, int(kernel), mse) for name, kernel, mse in named if kernel.isdigit()])


def published_errors(published: Sequence[Published]) -> Curves:
    """Returns the same curves from published figures named ``<network>, K = <kernel>``.

    >>> published_errors([Published("U-Net, K = 3", [-12.0], [-1.5], None)])
    {'U-Net': [(3, -1.5)]}
    """
    found = [(match, curve.mse_db) for curve in published if (match := _PUBLISHED.fullmatch(curve.name))]
    return _curves(
        [(match[1].rstrip(","), int(match[2]), mse[0]) for match, mse in found if mse and mse[0] is not None]
    )


def _curves(points: Sequence[tuple[str, int, float]]) -> Curves:
    """Sorts points (name, kernel, MSE) into one curve per name, kernels rising."""
    curves: Curves = {}
    for name, kernel, mse in sorted(points, key=lambda point: point[1]):
        curves.setdefault(name, []).append((kernel, mse))
    return curves


def write_kernel_figure(path: Path, rows: Sequence[Row], published: Sequence[Published], title: str) -> None:
    """Draws MSE over kernel length, published curves dashed, bounds as lines; nothing without a measured network.

    A bound far below every curve, such as an exact one at the floor of -120 dB, is drawn at the lower edge with its
    value beside it, so that it does not flatten the curves.

    Args:
        path: path of the picture.
        rows: rows of results.json, at one level; those with ``bound`` are drawn as lines under their ``label``.
        published: points beside them, see `published_errors`.
        title: title of the picture.
    """
    measured, theirs = measured_errors(rows), published_errors(published)
    if not measured:
        return
    figure = Figure(figsize=(6.4, 4.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(measured.items()):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.6, color=colour, marker=marker, zorder=3)
    for index, (name, points) in enumerate(theirs.items()):
        colour, marker = PALETTE[-1 - index % len(PALETTE)], PUBLISHED_MARKERS[index % len(PUBLISHED_MARKERS)]
        label = f"published: {name}"
        (line,) = axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2, color=colour, marker=marker)
        line.set_linestyle((0, (4, 2)))
    curves = [*measured.values(), *theirs.values()]
    lowest = min(mse for points in curves for _, mse in points)
    _draw_bounds(axes, [row for row in rows if row.get("bound")], lowest - BOUND_ROOM_DB)
    _mark_kernels(axes, sorted({kernel for points in curves for kernel, _ in points}))
    dress(axes, "samples in the first kernel", "MSE (dB)", title, legend=True)
    save(figure, path, title)


def _draw_bounds(axes: Axes, bounds: Sequence[Row], floor: float) -> None:
    """Draws a thin dashed line per bound, at least at ``floor``; the legend then gives its value."""
    for index, row in enumerate(bounds):
        mse = row["mse_db"][0]
        label = f"{row['label']}: {mse:.1f} dB"
        axes.axhline(max(mse, floor), label=label, color=INK, linewidth=1.1, linestyle=(0, (6, 2) + (1, 2) * index))


def _mark_kernels(axes: Axes, kernels: Sequence[int]) -> None:
    """Labels kernels on a logarithmic axis if their labels do not touch."""
    axes.set_xscale("log")
    labelled: list[int] = []
    for kernel in kernels:
        if not labelled or kernel > _LABEL_RATIO * labelled[-1]:
            labelled.append(kernel)
    axes.set_xticks(labelled, [str(kernel) for kernel in labelled], rotation=60)
    axes.xaxis.set_minor_locator(NullLocator())
