"""Draws the loss of alpha-RGS over one symbol, for both weights of the interference's prior."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rfsep.pages.figures import save
from rfsep.pages.style import INK, MARKERS, PALETTE, dress

_WEIGHTS = {"one": "ω = 1", "kappa_squared": "ω = κ²"}
_LEAST = 1e-2  # least drawn loss above the minimum


def write_landscape_figure(path: Path, content: Mapping[str, Any], title: str) -> None:
    """Draws the losses with both weights, and the false symbol's excess loss over the noise level.

    Args:
        path: path of the picture.
        content: content of results.json, see `rfsep.bounds.landscape.Landscape.study`.
        title: title of the picture.
    """
    figure = Figure(figsize=(13.2, 4.2), layout="constrained", facecolor="white")
    panels = figure.subplots(1, 3)
    for axes, (key, label) in zip(panels[:2], _WEIGHTS.items(), strict=True):
        _draw_losses(axes, content, key)
        axes.set_yscale("log")
        dress(axes, "estimate θ", "loss above its minimum", label)
    top = max(axes.get_ylim()[1] for axes in panels[:2])
    for axes in panels[:2]:
        axes.set_ylim(_LEAST, top)
        axes.axvline(content["truth"], color=INK, linewidth=0.9, linestyle=":", zorder=1)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, title="1 - ᾱ")
    legend.set_alignment("left")
    _draw_differences(panels[2], content)
    panels[2].set_yscale("log")
    dress(panels[2], "noise level 1 - ᾱ", "difference of the loss", "false symbol above true symbol")
    panels[2].set_xscale("log")
    panels[2].legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=13, color=INK)
    save(figure, path, title)


def _draw_losses(axes: Axes, content: Mapping[str, Any], key: str) -> None:
    """Draws losses per noise level thin, their average thick, with circles at its local minima."""
    theta, weight = np.asarray(content["theta"]), content[key]
    for index, (level, loss) in enumerate(zip(content["smoothing"], weight["loss"], strict=True)):
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(theta, _above_least(loss), color=colour, linewidth=1.1, label=f"{level:g}")
    averaged = _above_least(weight["averaged"])
    axes.plot(theta, averaged, color=INK, linewidth=2.4, label="average")
    places = [int(np.abs(theta - minimum).argmin()) for minimum in weight["minima"]]
    look: dict[str, Any] = {"color": INK, "mfc": "white", "markersize": 7, "clip_on": False, "zorder": 4}
    axes.plot(theta[places], averaged[places], "o", label="local minimum of the average", **look)


def _above_least(loss: list[float]) -> npt.NDArray[np.float64]:
    """Returns a loss above its minimum, which is drawn at the lower edge."""
    values = np.asarray(loss, dtype=np.float64)
    above: npt.NDArray[np.float64] = np.maximum(values - values.min(), _LEAST)
    return above


def _draw_differences(axes: Axes, content: Mapping[str, Any]) -> None:
    """Draws the false symbol's excess loss for each weight, with its closed form dashed."""
    smoothing = content["smoothing"]
    for index, (key, label) in enumerate(_WEIGHTS.items()):
        weight, colour = content[key], PALETTE[index]
        look: dict[str, Any] = {"color": colour, "marker": MARKERS[index], "linestyle": "none"}
        axes.plot(smoothing, weight["difference"], label=label, **look)
        axes.plot(smoothing, weight["quadratic_difference"], color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    one, other = (content[key]["quadratic_difference"] for key in _WEIGHTS)
    middle = len(smoothing) // 2
    ends = (smoothing[middle], other[middle]), (smoothing[middle], one[middle])
    axes.annotate("", *ends, arrowprops={"arrowstyle": "<->"})
    height = (one[middle] * other[middle]) ** 0.5
    ratio = content["kappa_squared"]["difference"][middle] / content["one"]["difference"][middle]
    axes.text(smoothing[middle] * 1.2, height / 4, f"{ratio:.1f} times", fontsize=10, color=INK)
    axes.plot([], [], color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="closed form")
