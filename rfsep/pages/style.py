"""The common style of all figures: colours, markers and axes."""

from matplotlib.axes import Axes

INK = "#1b1f24"
GRID = "#d8dde3"
# Okabe and Ito, "Color Universal Design" (2008), without the yellow that vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
MARKERS = ("o", "s", "^", "D", "P", "X", "p", "h")
SCREEN = "#0d1117"  # background of spectrograms and constellations
SCREEN_INK = "#c9d1d9"
COLOUR_MAP = "magma"


def dress(axes: Axes, x_label: str = "", y_label: str = "", title: str = "", *, legend: bool = False) -> None:
    """Gives axes their labels, title, grid and frame.

    Args:
        axes: axes with everything drawn, so that a legend finds it.
        x_label: label of the horizontal axis, with its unit.
        y_label: label of the vertical axis, with its unit.
        title: title, shown without mathematics.
        legend: whether to show a legend.
    """
    if x_label:
        axes.set_xlabel(x_label, fontsize=12, color=INK)
    if y_label:
        axes.set_ylabel(y_label, fontsize=12, color=INK)
    if title:
        axes.set_title(title, fontsize=12, color=INK, parse_math=False)
    axes.tick_params(labelsize=11, labelcolor=INK, color=GRID, which="both")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(GRID)
        spine.set_visible(side in ("left", "bottom"))
    if legend:
        axes.legend(frameon=False, fontsize=10)
