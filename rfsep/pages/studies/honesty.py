"""Draws how structured separators do beside LMMSE where their structure does not hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rfsep.pages.figures import save
from rfsep.pages.style import GRID, INK, dress

_LEAST_BER = 1e-3  # Error rates below this are drawn at it, so that no ratio divides by zero.
_FARTHEST = 3.0  # largest ratio, in octaves, that colours tell apart


def write_honesty_figure(path: Path, content: Mapping[str, Any], title: str) -> None:
    """Draws the ratio of BER to that of LMMSE in every cell, one panel per SINR; broken cells are framed.

    Args:
        path: path of the picture.
        content: content of docs/results/honesty.json, as docs/honesty.py writes it.
        title: title of the picture.
    """
    rows = content["rows"]
    levels = sorted({row["sinr_db"] for row in rows})
    names = list(dict.fromkeys(row["separator"] for row in rows))
    impairments = list(dict.fromkeys(row["impairment"] for row in rows))
    figure = Figure(figsize=(6.6 * len(levels) + 1.5, 0.42 * len(impairments) + 3.2), layout="constrained")
    figure.set_facecolor("white")
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        there = {(row["impairment"], row["separator"]): row for row in rows if row["sinr_db"] == level}
        _draw_cells(axes, there, impairments, names)
        dress(axes, title=f"SINR {level:g} dB")
        axes.grid(visible=False)
        axes.tick_params(labelsize=9)
    figure.suptitle(f"{title}\nBER of separator / BER of LMMSE; framed: beyond 1.1 with its interval", fontsize=13)
    save(figure, path, title)


def _draw_cells(
    axes: Axes, there: Mapping[tuple[str, str], Mapping[str, Any]], impairments: list[str], names: list[str]
) -> None:
    """Colours cells by the logarithm of the ratio, and writes the ratio into each."""
    image = np.full((len(impairments), len(names)), np.nan)
    for line, impairment in enumerate(impairments):
        for column, name in enumerate(names):
            row = there.get((impairment, name))
            if row is None:
                continue
            ratio = max(row["ber"], _LEAST_BER) / max(row["ber_lmmse"], _LEAST_BER)
            image[line, column] = np.log2(ratio)
            text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
            far = abs(image[line, column]) > 0.6 * _FARTHEST
            axes.text(column, line, text, ha="center", va="center", fontsize=8, color="white" if far else INK)
            if not row["holds"]:
                axes.add_patch(
                    Rectangle((column - 0.46, line - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=2.0)
                )
    axes.imshow(image, cmap="RdBu_r", vmin=-_FARTHEST, vmax=_FARTHEST, aspect="auto", interpolation="nearest")
    axes.set_facecolor(GRID)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=60, ha="right")
    axes.set_yticks(range(len(impairments)), impairments)
