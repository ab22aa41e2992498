"""The page of a separated capture: mixture, estimate, and power over time."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from rfsep.pages.pictures import Complex, constellation, png_uri, power_limits_db, spectrogram
from rfsep.pages.report import decibels
from rfsep.pages.style import PALETTE, SCREEN, SCREEN_INK
from rfsep.storage.atomic import write_atomically

_POINTS = 1000  # most points of a curve
_LEAST = 1e-12


class Stretch(NamedTuple):
    """Samples from the middle of a capture.

    Attributes:
        start: sample, counted from the first symbol.
        sample_rate_hz: in Hz.
        ideal: complex64 [P], the constellation.
        mixture: complex64 [T].
        estimate: complex64 [T].
        mixture_symbols: complex64 [S], matched-filter outputs of the mixture.
        estimate_symbols: complex64 [S], matched-filter outputs of the estimate.
    """

    start: int
    sample_rate_hz: float
    ideal: Complex
    mixture: Complex
    estimate: Complex
    mixture_symbols: Complex
    estimate_symbols: Complex


def write_separation_page(
    path: Path,
    figures: Mapping[str, Any],
    stretch: Stretch,
    powers: npt.NDArray[np.float32],
    ends_s: npt.NDArray[np.float64],
) -> None:
    """Writes the page; it needs no other file and no network.

    Args:
        path: HTML file, replaced as a whole or not at all.
        figures: separate.json as a dict.
        stretch: samples to show.
        powers: powers of mixture and estimate in equal parts of each chunk, float32 [chunks, parts, 2].
        ends_s: end of each chunk in seconds, float64 [chunks].
    """
    environment = Environment(
        loader=PackageLoader("rfsep", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    signals = {"before": stretch.mixture, "after": stretch.estimate}
    symbols = {"before": stretch.mixture_symbols, "after": stretch.estimate_symbols}
    limits = power_limits_db(list(signals.values()))
    html = environment.get_template("separation.html.j2").render(
        figures=figures,
        facts=_facts(figures),
        constellations=[(constellation(values, stretch.ideal), name) for name, values in symbols.items()],
        spectrograms=[(spectrogram(values, stretch.sample_rate_hz, limits), name) for name, values in signals.items()],
        limits=[decibels(limit, 0) for limit in limits],
        power=power_over_time(powers, ends_s),
        shown_s=f"{stretch.start / stretch.sample_rate_hz:.6g}",
    )

    def write(stream: BinaryIO) -> None:
        stream.write(html.encode())

    write_atomically(path, write)


def power_over_time(powers: npt.NDArray[np.float32], ends_s: npt.NDArray[np.float64]) -> str:
    """Draws the power of mixture and estimate in dB as a PNG data URI, averaged over chunks so that few points remain.

    Args:
        powers: float32 [chunks, parts, 2].
        ends_s: float64 [chunks], in seconds.
    """
    begins_s = np.concatenate(([0.0], ends_s[:-1]))
    if powers[..., 0].size <= _POINTS:
        edges = np.linspace(begins_s, ends_s, powers.shape[1] + 1, axis=1)[:, :-1].ravel()
        means = powers.reshape(-1, 2)
    else:
        groups = np.linspace(0, len(powers), min(len(powers), _POINTS) + 1).astype(np.int64)
        edges = begins_s[groups[:-1]]
        means = np.stack([powers[low:high].mean((0, 1)) for low, high in pairwise(groups)])
    levels = 10 * np.log10(np.maximum(means, _LEAST))
    figure = Figure(figsize=(6.6, 2.2), dpi=150, facecolor=SCREEN)
    axes = figure.add_axes((0.085, 0.2, 0.885, 0.76), facecolor=SCREEN)
    for column, name, colour in ((0, "mixture", PALETTE[5]), (1, "estimate", PALETTE[4])):
        axes.stairs(levels[:, column], [*edges, ends_s[-1]], baseline=None, color=colour, linewidth=1.4, label=name)
    axes.set_xlim(0, ends_s[-1])
    axes.margins(y=0.3)
    axes.set_xlabel("time (s)", color=SCREEN_INK, fontsize=9, labelpad=1)
    axes.set_ylabel("power (dB)", color=SCREEN_INK, fontsize=9, labelpad=1)
    axes.tick_params(labelsize=8, colors=SCREEN_INK, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(color=SCREEN_INK, alpha=0.2, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8, labelcolor=SCREEN_INK, ncols=2, loc="upper right")
    return png_uri(figure)


def _facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the tiles as pairs of a name and a value."""
    tuning = figures["identity"]["tuning"]
    return [
        ("Signal", f"{figures['signal_seconds']:.4g} s at {figures['sample_rate_hz'] / 1e6:.6g} Msamples/s"),
        ("Real-time factor", f"{figures['real_time_factor']:.3g}"),
        ("Bits", f"{figures['num_bits']:,}"),
        ("SOI in the capture", f"{decibels(10 * np.log10(tuning['soi_power']))} dB"),
        ("First symbol at sample", f"{tuning['start']:,}"),
        ("Carrier offset", f"{tuning['offset_hz']:,.6g} Hz"),
    ]
