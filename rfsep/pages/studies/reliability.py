"""Draws reliability diagrams: how many of the bits that are told with a probability are right."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rfsep.pages.figures import save
from rfsep.pages.style import GRID, INK, PALETTE, dress

_ALLOWED = 0.03  # distance of told and right that counts as calibrated
_FEWEST = 100  # Bins of fewer bits are not drawn.


def pooled(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Returns told, right and number of bits of every bin over all cells, float64 [bins, 3]; empty bins are zero.

    Args:
        rows: rows of docs/results/reliability.json.
    """
    bins = np.asarray([row["bins"] for row in rows], dtype=np.float64)  # [cells, bins, 3]
    count = bins[:, :, 2].sum(0)
    shares = (bins[:, :, :2] * bins[:, :, 2:]).sum(0) / np.maximum(count, 1)[:, None]
    return np.column_stack((shares, count))


def write_reliability_figure(path: Path, content: Mapping[str, Any], title: str) -> None:
    """Draws a panel per separator, of soft bits as they are and calibrated, pooled over the grid.

    Args:
        path: path of the picture.
        content: content of docs/results/reliability.json, as docs/reliability.py writes it.
        title: title of the picture.
    """
    names = list(dict.fromkeys(row["separator"] for row in content["rows"]))
    figure = Figure(figsize=(4.2 * len(names), 4.6), layout="constrained", facecolor="white")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.fill_between([0.5, 1], [0.5 - _ALLOWED, 1 - _ALLOWED], [0.5 + _ALLOWED, 1 + _ALLOWED], color=GRID)
        axes.plot([0.5, 1], [0.5, 1], color=INK, linewidth=1)
        for calibrated, colour, marker in ((False, PALETTE[1], "s"), (True, PALETTE[0], "o")):
            rows = [row for row in content["rows"] if row["separator"] == name and row["calibrated"] == calibrated]
            told, right, count = pooled(rows).T
            drawn = count >= _FEWEST
            label = "calibrated" if calibrated else "as they are"
            axes.plot(told[drawn], right[drawn], color=colour, marker=marker, markersize=5, label=label)
        axes.set_xlim(0.49, 1.01)
        axes.set_ylim(0.4, 1.04)
        dress(axes, "probability told", "share of bits that are right", name.removeprefix("zoo:"), legend=True)
    figure.suptitle(f"{title}; grey: within {_ALLOWED:g}", fontsize=13, color=INK)
    save(figure, path, title)
