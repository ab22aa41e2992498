"""Draws the figures of pages and experiments: waterfalls, as inline SVG or as files."""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from rfsep.pages.style import GRID, INK, MARKERS, PALETTE, dress
from rfsep.storage.atomic import write_atomically

Row = Mapping[str, Any]
Metric = Literal["ber", "mse_db"]
Level = Literal["sinr_db", "sir_db", "measured_db"]
Entries = dict[tuple[str, str], Line2D]  # legend entries, by kind and name

# The page's style sheet sets these colours itself, for its dark scheme.
THEMED = {INK: "currentColor", GRID: "var(--grid)", PALETTE[0].lower(): "var(--blue)"}
BOUND_ROOM_DB = 10.0  # largest stretch of the MSE axis below all curves for a bound
BOUND_STYLES = ((0, (6, 2)), (0, (6, 2, 1, 2)), (0, (6, 2, 1, 2, 1, 2)), (0, (2, 2)))
PUBLISHED_MARKERS = ("x", "+", "1", "2", "3", "4")
AXIS_LABELS = {
    "ber": "BER",
    "mse_db": "MSE (dB)",
    "sinr_db": "SINR (dB)",
    "sir_db": "SIR (dB)",
    "measured_db": "measured SINR (dB)",
}
# prefixes of the ids of a row's parts, before its name
CURVE, BAND, UNSEEN, POINT = KINDS = "curve ", "band ", "unseen ", "point "
LEGEND_ORDER = ("measured", "bound", "published", "limit")
MSE_AXIS_DB = (-55.0, 12.0)  # The score clips at -50, and errors above 12 dB need no drawing.
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Published(NamedTuple):
    """A published curve, drawn beside the measured ones.

    Attributes:
        name: name in the legend.
        sinr_db: the L levels in dB.
        mse_db: MSE in dB at each level, None if it was not published.
        ber: bit error rate at each level, None if it was not published.
    """

    name: str
    sinr_db: list[float]
    mse_db: list[float | None] | None
    ber: list[float | None] | None


class Look(NamedTuple):
    """Colour, marker and line of a curve, as matplotlib names them."""

    colour: str
    marker: str
    style: Literal["-", "-."]


class _Box(NamedTuple):
    """The layout of a figure, in points of 1/72 inch."""

    left: float = 54
    right: float = 10
    top: float = 8
    width: float = 320
    height: float = 232
    below: float = 40
    title: float = 26
    legend_line: float = 16


def power_of_ten(exponent: int) -> str:
    """Returns ``10`` with a superscript exponent.

    Example:
        >>> power_of_ten(-3)
        '10⁻³'
    """
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def error_limits(row: Row) -> npt.NDArray[np.float64]:
    """Returns upper 95 % limits float64 [L] of the bit error rate: its own where a row has no error, else 3 / bits."""
    limits = 3.0 / np.maximum(np.asarray(row["num_bits"], dtype=np.float64), 1.0)
    if row["ber"] is None:
        return limits
    return np.where(_array(row["ber"]) == 0, np.maximum(limits, _array(row["ber_high"])), limits)


def waterfall(
    rows: Sequence[Row],
    metric: Metric,
    published: Sequence[Published],
    legend: bool = True,
    level: Level = "sinr_db",
    above: float | None = None,
) -> str:
    """Draws one metric over SINR for one mixture type as inline SVG; text follows the page's colour and font.

    Args:
        rows: results of the separators, as in scores.json; those without the metric are left out. Those with ``bound``
            are drawn thin and dashed, under their ``label``.
        metric: bit error rate on a logarithmic axis, or MSE in dB.
        published: curves that are drawn dashed beside them.
        legend: whether to draw a legend; otherwise the page explains the curves, see `look`.
        level: key of the horizontal axis in the rows, in dB.
        above: level that stands for everything above the others, where there is one.
    """
    figure = _plot(rows, (metric,), published, "", level, legend)
    figure.patch.set_visible(False)
    figure.axes[0].patch.set_visible(False)
    if metric == "ber":
        figure.axes[0].axhline(1e-2, color=INK, linewidth=0.8, alpha=0.55, zorder=1)
    if above is not None:
        _mark_open_end(figure.axes[0], above)
    names = [str(row["separator"]) for row in rows if row[metric] is not None]
    # Ids must differ between the figures of a page, yet a page must come out the same twice.
    salt = hashlib.sha256(repr((rows, metric, published)).encode()).hexdigest()
    stream = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(stream, format="svg")
    return inline_svg(
        stream.getvalue(),
        f"{AXIS_LABELS[metric]} over {AXIS_LABELS[level].removesuffix(' (dB)')} of {', '.join(names)}",
    )


def write_figure(
    path: Path, rows: Sequence[Row], published: Sequence[Published], title: str, level: Level = "sinr_db"
) -> None:
    """Writes BER and MSE panels side by side; a metric without values gets no panel.

    Args:
        path: path of the file; its suffix, .png or .svg, determines the format.
        rows: results of separators and bounds, as in scores.json or results.json, see `waterfall`.
        published: curves that are drawn dashed beside them.
        title: title above the panels.
        level: key of the horizontal axis in the rows, in dB.
    """
    metrics: tuple[Metric, ...] = ("ber", "mse_db")
    shown = [metric for metric in metrics if has_metric(rows, metric, published)]
    figure = _plot(rows, shown, published, title, level)
    save(figure, path, title)


def save(figure: Figure, path: Path, salt: str) -> None:
    """Writes a figure reproducibly, in the format of its suffix; ``salt`` makes an SVG's ids."""
    stream = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(
            stream, format=path.suffix[1:], dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None
        )

    def write(target: BinaryIO) -> None:
        target.write(stream.getvalue())

    write_atomically(path, write)


def has_metric(rows: Sequence[Row], metric: Metric, published: Sequence[Published]) -> bool:
    """Tells whether any row or published curve has values of the metric."""
    return any(row[metric] is not None for row in rows) or any(getattr(curve, metric) for curve in published)


def _plot(
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    published: Sequence[Published],
    title: str,
    level: Level,
    legend: bool = True,
) -> Figure:
    """Draws one panel per metric, side by side, above one legend that touches no data."""
    box = _Box()
    cell = box.left + box.width + box.right
    figure = Figure(figsize=(1.0, 1.0), facecolor="white")
    panels = [figure.add_subplot(1, len(metrics), 1 + index) for index in range(len(metrics))]
    entries: Entries = {}
    for axes, metric in zip(panels, metrics, strict=True):
        entries |= _draw_panel(axes, rows, metric, published, level)
    entries = dict(sorted(entries.items(), key=lambda entry: LEGEND_ORDER.index(entry[0][0]))) if legend else {}
    longest = max((len(name) for _, name in entries), default=0)
    columns = max(1, min(len(metrics) * 60 // (longest + 9), len(entries), 4))  # 60 letters fit under a panel
    legend_height = box.legend_line * -(-len(entries) // columns) + 6
    heading = box.title if title else 0.0
    width, height = cell * len(metrics), heading + box.top + box.height + box.below + legend_height
    figure.set_size_inches(width / 72, height / 72)
    for index, axes in enumerate(panels):
        left, bottom = index * cell + box.left, legend_height + box.below
        axes.set_position((left / width, bottom / height, box.width / width, box.height / height))
    _draw_legend(figure, entries, columns)
    if title:
        figure.text(0.5, 1 - 8 / height, title, ha="center", va="top", fontsize=13, color=INK, parse_math=False)
    return figure


def _draw_legend(figure: Figure, entries: Entries, columns: int) -> None:
    """Draws the legend below the panels."""
    legend = figure.legend(
        list(entries.values()), ["-"] * len(entries), loc="lower center", bbox_to_anchor=(0.5, 0.0), ncols=columns,
        frameon=False, fontsize=11, handlelength=2.6, columnspacing=1.4, borderpad=0.2, labelspacing=0.4,
    )  # fmt: skip
    for text, (_, name) in zip(legend.get_texts(), entries, strict=True):
        # Names are foreign, so they get no mathtext, no hidden labels, and at most a panel's width.
        text.set(text=name if len(name) <= 48 else name[:47] + "…", parse_math=False, color=INK)


def _draw_panel(
    axes: Axes, rows: Sequence[Row], metric: Metric, published: Sequence[Published], level: Level
) -> Entries:
    """Draws every curve of one metric, and returns the legend's entries."""
    entries: Entries = {}
    measured, bounds = ([row for row in rows if bool(row.get("bound")) == kind] for kind in (False, True))
    for index, row in enumerate(measured):
        if row[metric] is not None:
            entries["measured", str(row["separator"])] = _draw_row(axes, row, metric, level, index)
    for index, curve in enumerate(published):
        if getattr(curve, metric):
            entries["published", f"published: {curve.name}"] = _draw_published(axes, curve, metric, index)
    lowest = axes.get_ylim()[0] - BOUND_ROOM_DB if entries else MSE_AXIS_DB[0]
    lowest = 0.0 if metric == "ber" else max(lowest, MSE_AXIS_DB[0])
    for index, row in enumerate(bounds, len(measured)):
        if row[metric] is not None and (line := _draw_bound(axes, row, metric, level, lowest, index)):
            entries["bound", str(row.get("label") or row["separator"])] = line
    unseen = [limit for row in measured if metric == "ber" and row["ber"] for limit in _unseen(row)]
    if unseen:
        axes.axhline(min(unseen), color=INK, linewidth=0.9, linestyle=":", zorder=1)
        entries["limit", "no errors: 3/bits"] = Line2D([], [], color=INK, linestyle=":", marker="v", mfc="none", ms=5)
    _scale(axes, metric, sorted({value for row in rows for value in row[level]}))
    dress(axes, AXIS_LABELS[level], AXIS_LABELS[metric])
    return entries


def _scale(axes: Axes, metric: Metric, levels: Sequence[float]) -> None:
    """Sets limits of the metric's axis, and ticks at the levels."""
    if metric == "ber":
        drawn = np.concatenate([np.ravel(np.asarray(line.get_ydata(), dtype=np.float64)) for line in axes.get_lines()])
        axes.set_yscale("log")
        axes.set_ylim(10.0 ** np.floor(np.log10(0.9 * np.nanmin(drawn, initial=1.0))), 1.0)
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(round(np.log10(value)))))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, MSE_AXIS_DB[0]), min(high, MSE_AXIS_DB[1]))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=9, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(FixedLocator(levels[:: 1 + len(levels) // 7]))


def _mark_open_end(axes: Axes, above: float) -> None:
    """Names the tick of the level that stands for everything above the others."""
    ticks = [float(tick) for tick in axes.xaxis.get_major_locator().tick_values(0.0, 0.0)]
    far = [tick for tick in ticks if tick <= above - (above - min(ticks)) / 8]
    axes.xaxis.set_major_locator(FixedLocator([*far, above]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "more" if value == above else f"{value:g}".replace("-", "−"))
    )


def _unseen(row: Row) -> npt.NDArray[np.float64]:
    """Returns upper limits at the levels where a row has no errors."""
    limits: npt.NDArray[np.float64] = error_limits(row)[np.asarray(row["ber"]) == 0]
    return limits


def _draw_row(axes: Axes, row: Row, metric: Metric, level: Level, index: int) -> Line2D:
    """Draws one separator: its line, its interval band, and open triangles at levels without errors."""
    x, y, low, high = (_array(row[key]) for key in (level, metric, f"{metric}_low", f"{metric}_high"))
    unseen = (y == 0) & (metric == "ber")
    if metric == "ber":
        limits = error_limits(row)
        y, low, high = (np.where(unseen, limits, values) for values in (y, low, high))
        low = np.maximum(low, limits / 100)  # This is below every axis, but positive for the logarithm.
    (colour, marker, style), name = look(index), str(row["separator"])
    top = 4 - index / 100  # The first row, the submission, lies on top.
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0).set_gid(BAND + name)
    axes.plot(x[unseen], y[unseen], "v", color=colour, mfc="none", markersize=6, zorder=top, gid=UNSEEN + name)
    seen = [int(position) for position in np.flatnonzero(~unseen)][:: _marker_stride(x)]
    drawn: dict[str, Any] = {"color": colour, "linewidth": 1.6, "linestyle": style, "marker": marker, "markersize": 4.5}
    (line,) = axes.plot(x, y, markevery=seen, zorder=top, **drawn)
    line.set_gid(CURVE + name)
    return Line2D([], [], **drawn)


def look(index: int) -> Look:
    """Returns the style of a row by index; the first 56 differ."""
    style: Literal["-", "-."] = "-" if index < len(PALETTE) else "-."  # Colours repeat after that.
    return Look(PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)], style)


def _marker_stride(x: npt.NDArray[np.float64]) -> int:
    """Returns the number of levels per marker of a curve."""
    return 1 + (len(x) - 1) // 12


def _draw_bound(axes: Axes, row: Row, metric: Metric, level: Level, lowest: float, index: int) -> Line2D | None:
    """Draws one bound, thin and dashed, above ``lowest``; one that lies below everywhere is left out."""
    x, y = _array(row[level]), _array(row[metric])
    if not (y > lowest).any():
        return None
    style: dict[str, Any] = {"color": PALETTE[index % len(PALETTE)], "linewidth": 1.1}
    style["linestyle"] = BOUND_STYLES[index % len(BOUND_STYLES)]
    (line,) = axes.plot(x, np.where(y > lowest, y, np.nan), zorder=3, **style)
    line.set_gid(CURVE + str(row["separator"]))
    return Line2D([], [], **style)


def _draw_published(axes: Axes, curve: Published, metric: Metric, index: int) -> Line2D:
    """Draws one published curve, dashed, at the published levels."""
    x, y = _array(curve.sinr_db), _array([np.nan if value is None else value for value in getattr(curve, metric)])
    drawn = np.isfinite(y) & ((metric != "ber") | (y > 0))
    colour, marker = PALETTE[-1 - index % len(PALETTE)], PUBLISHED_MARKERS[index % len(PUBLISHED_MARKERS)]
    every = _marker_stride(x)
    (line,) = axes.plot(
        x[drawn], y[drawn], color=colour, linewidth=1.2, marker=marker, markersize=5, markevery=every, zorder=2
    )
    line.set_linestyle((0, (4, 2)))
    line.set_gid(CURVE + curve.name)
    return line


def _array(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Returns the values as float64 [L]."""
    return np.asarray(values, dtype=np.float64)


def inline_svg(svg: bytes, label: str) -> str:
    """Adapts matplotlib's SVG to a page: no prolog, no needless ids, colours and fonts of the page."""
    root = ElementTree.fromstring(svg)
    referenced = set(re.findall(rb"#([mp][0-9a-f]{6,})", svg))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        gid = attributes.pop("id", "")
        if gid.startswith(KINDS):
            kind, _, name = gid.partition(" ")
            attributes |= {"class": kind, "data-separator" if gid.startswith(CURVE) else "data-of": name}
        elif gid.encode() in referenced:
            attributes["id"] = gid
        if style := attributes.get("style"):
            for colour, themed in THEMED.items():
                style = style.replace(colour, themed)
            attributes["style"] = re.sub(r" font-family:[^;]*;", "", style)
        element.attrib = attributes
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in ("metadata", "style")]:
            parent.remove(child)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode", method="html")
