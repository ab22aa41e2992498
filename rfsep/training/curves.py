"""Draws learning curves of a run while it trains, and of several runs in one plot."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import pytorch_lightning as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only

from rfsep.pages.style import INK, PALETTE, dress
from rfsep.storage.atomic import write_atomically
from rfsep.storage.weights import read_checkpoint
from rfsep.training.metrics_csv import read_metrics
from rfsep.types import InputError

_LEVELS = "viridis"  # colours of a metric's levels, lowest first
_AT_MOST = 0.01  # largest share of a run's time for drawing
_FIRST_SECONDS = 0.5  # assumed time of a picture before the first one is drawn
_LABELS = {
    "val/ber": "validation BER",
    "val/mse_db": "validation MSE (dB)",
    "val/noise_mse": "validation MSE of the noise",
}


class Curve(NamedTuple):
    """One metric of one run.

    Attributes:
        label: label in the legend.
        steps: optimiser steps done at each value.
        values: values of the metric.
    """

    label: str
    steps: list[int]
    values: list[float]


def read_curves(path: Path) -> dict[str, Curve]:
    """Reads every metric of a metrics.csv, by name."""
    curves: dict[str, Curve] = {}
    for row in read_metrics(path):
        curve = curves.setdefault(row["metric"], Curve(row["metric"], [], []))
        curve.steps.append(int(row["step"]) + 1)  # The file counts steps from 0.
        curve.values.append(float(row["value"]))
    return curves


def _logarithmic(axes: Axes, wanted: bool) -> None:
    if wanted:
        axes.set_yscale("log", nonpositive="mask")


def _levels(axes: Axes, metric: str, curves: dict[str, Curve]) -> None:
    """Draws a validation metric over steps: every level thin, their mean bold."""
    levels = {float(name.rpartition("/")[2]): curve for name, curve in curves.items() if name.startswith(f"{metric}/")}
    shades = colormaps[_LEVELS](np.linspace(0, 0.9, max(1, len(levels))))
    for shade, (level, curve) in zip(shades, sorted(levels.items()), strict=False):
        label = f"noise steps {level:g} and on" if metric == "val/noise_mse" else f"{level:g} dB"
        axes.plot(curve.steps, curve.values, linewidth=1.0, color=shade, label=label)
    together = curves[metric]
    axes.plot(together.steps, together.values, linewidth=2.2, color=INK, label="all levels")
    _logarithmic(axes, metric == "val/ber" and max(together.values) > 0)
    dress(axes, y_label=_LABELS[metric])
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """Puts the legend under the panel, where it hides no curve."""
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.15))


def _loss(axes: Axes, curves: dict[str, Curve]) -> None:
    """Draws the training losses over steps."""
    losses = [curve for name, curve in curves.items() if name.startswith("train/")]
    for colour, curve in zip(PALETTE, losses, strict=False):
        axes.plot(curve.steps, curve.values, linewidth=1.0, color=colour, label=curve.label)
    _logarithmic(axes, all(value > 0 for curve in losses for value in curve.values))
    dress(axes, y_label="training loss")
    _legend_below(axes)


def draw_learning(path: Path, curves: dict[str, Curve], flops_per_step: float, title: str) -> None:
    """Draws training loss, validation MSE and, if there are bits, BER of a run over steps and FLOPs.

    Args:
        path: path of the picture; its suffix determines the format.
        curves: from `read_curves`.
        flops_per_step: FLOPs of all processes together.
        title: title of the picture.
    """
    validated = [metric for metric in _LABELS if metric in curves]
    count = 1 + len(validated)
    figure = Figure(figsize=(4.6 * count, 4.4), facecolor="white")
    # An automatic layout would take as long as everything else.
    figure.subplots_adjust(left=0.7 / (4.6 * count), right=1 - 0.15 / (4.6 * count), bottom=0.22, top=0.79, wspace=0.22)
    panels = figure.subplots(1, count, squeeze=False)[0]
    _loss(panels[0], curves)
    for axes, metric in zip(panels[1:], validated, strict=True):
        _levels(axes, metric, curves)
    for axes in panels:
        axes.set_xlabel("steps", color=INK)
        above = axes.secondary_xaxis("top", functions=(lambda x: x * flops_per_step, lambda x: x / flops_per_step))
        above.set_xlabel("training FLOPs", color=INK)
    figure.suptitle(title, color=INK, fontsize=11)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format=path.suffix[1:], dpi=110)
    write_atomically(path, lambda file: _write(file, stream.getvalue()))


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


class LearningPicture(Callback):
    """Draws ``learning.png`` after validations, within a hundredth of the run's time, and at its end.

    Args:
        folder: folder of the run, with its metrics.csv.
        flops_per_step: FLOPs of one process.
    """

    def __init__(self, folder: Path, flops_per_step: float) -> None:
        self.folder = folder
        self.flops_per_step = flops_per_step
        self.started = 0.0
        self.spent = 0.0
        self.last = _FIRST_SECONDS

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.started = time.monotonic()

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws, unless that takes too much of the time."""
        if self.spent + self.last <= _AT_MOST * (time.monotonic() - self.started):
            self._draw(trainer)

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the last state."""
        self._draw(trainer)

    def _draw(self, trainer: pl.Trainer) -> None:
        began = time.monotonic()
        curves = read_curves(self.folder / "metrics.csv")
        title = f"{self.folder.parent.name} / {self.folder.name}"
        draw_learning(self.folder / "learning.png", curves, self.flops_per_step * trainer.world_size, title)
        self.last = time.monotonic() - began
        self.spent += self.last


def redraw(folder: Path) -> None:
    """Draws ``learning.png`` of a finished run that was killed before it drew its last state."""
    facts = cast("dict[str, float]", read_checkpoint(folder / "checkpoints" / "last.ckpt")["facts"])
    title = f"{folder.parent.name} / {folder.name}"
    curves = read_curves(folder / "metrics.csv")
    draw_learning(folder / "learning.png", curves, facts["flops"] / max(1, facts["steps"]), title)


class _Run(NamedTuple):
    """A run in a comparison."""

    name: str
    curves: dict[str, Curve]
    flops_per_step: float


def _read_run(folder: Path) -> _Run:
    curves = read_curves(folder / "metrics.csv")
    if not curves:
        raise InputError(f"{folder / 'metrics.csv'}: no metrics there; a run of train.py has them")
    facts: Any = read_checkpoint(folder / "checkpoints" / "last.ckpt")["facts"]
    return _Run(f"{folder.parent.name}/{folder.name}", curves, facts["flops"] / facts["steps"])


def compare_runs(folders: Sequence[Path], metric: str | None, out: Path) -> str:
    """Draws a metric of several runs over their training FLOPs.

    Args:
        folders: folders of the runs.
        metric: name in metrics.csv, such as ``val/ber`` or ``val/mse_db/-12``; None for ``val/ber`` if all runs have
            it, else ``val/mse_db``.
        out: path of the picture; its suffix determines the format.

    Returns:
        The drawn metric.

    Raises:
        InputError: there is no run, a run lacks that metric, or the format is unknown.
    """
    if out.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"{out}: suffix {out.suffix!r}, expected .png, .svg or .pdf")
    runs = [_read_run(folder.resolve()) for folder in folders]
    if metric is None:
        metric = "val/ber" if all("val/ber" in run.curves for run in runs) else "val/mse_db"
    figure = Figure(figsize=(6.4, 4.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for place, run in enumerate(runs):
        if metric not in run.curves:
            known = sorted(name for name in run.curves if name.startswith("val/"))
            raise InputError(f"{folders[place]} has no metric {metric}; choose one of {', '.join(known)}")
        curve = run.curves[metric]
        flops, colour = [step * run.flops_per_step for step in curve.steps], PALETTE[place % len(PALETTE)]
        axes.plot(flops, curve.values, linewidth=1.8, marker="o", markersize=3.5, color=colour, label=run.name)
    seen = max(max(run.curves[metric].values) for run in runs)
    _logarithmic(axes, metric.startswith("val/ber") and seen > 0)
    dress(axes, y_label=_LABELS.get(metric, metric))
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())  # Within a decade, labels would overlap.
    axes.set_xlabel("training FLOPs", color=INK)
    figure.legend(frameon=False, fontsize=9, ncols=3, loc="outside upper center")
    _save(figure, out)
    return metric
