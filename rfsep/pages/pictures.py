"""Draws signals as PNG data URIs: constellations, spectrograms, spectra, and curves over time."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from rfsep.pages.style import COLOUR_MAP, PALETTE, SCREEN, SCREEN_INK

Complex = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float64]
_BINS = 1024  # number of cells of a spectrum
_COLOURS = (PALETTE[5], PALETTE[4], PALETTE[2])


def constellation(symbols: Complex, ideal: Complex) -> str:
    """Returns a 2-D histogram of symbols as PNG data URI; only the ideal points determine its axes.

    Args:
        symbols: complex64 [S], matched-filter outputs; those beyond the axes are not drawn.
        ideal: complex64 [P], the constellation, circled.
    """
    reach = 2.0 * float(max(np.abs(ideal.real).max(), np.abs(ideal.imag).max()))
    edges = np.linspace(-reach, reach, 161)
    counts, _, _ = np.histogram2d(symbols.imag, symbols.real, bins=(edges, edges))  # [160, 160], rows are imaginary
    figure = Figure(figsize=(3.2, 3.2), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(np.log1p(counts), cmap=COLOUR_MAP, extent=(-reach, reach, -reach, reach), origin="lower")
    axes.axhline(0, color=SCREEN_INK, linewidth=0.6, alpha=0.4)
    axes.axvline(0, color=SCREEN_INK, linewidth=0.6, alpha=0.4)
    axes.plot(ideal.real, ideal.imag, "o", markersize=9, mfc="none", mec=PALETTE[5], mew=1.4)
    axes.axis("off")
    return png_uri(figure)


def power_limits_db(waveforms: Sequence[Complex]) -> tuple[float, float]:
    """Returns common colour limits in dB for spectrograms of several waveforms: the loudest bin and 60 dB below."""
    loudest = max(float(_short_time_power_db(waveform).max()) for waveform in waveforms)
    return loudest - 60.0, loudest


def spectrogram(waveform: Complex, sample_rate_hz: float | None, limits_db: tuple[float, float]) -> str:
    """Returns the power over time and frequency as PNG data URI.

    Args:
        waveform: complex64 [T].
        sample_rate_hz: in Hz; the frequency axis spans it around zero. None for axes in samples.
        limits_db: powers in dB at the two ends of the colours, one pair for waveforms to be compared.
    """
    duration_s = len(waveform) / (sample_rate_hz or 1.0)
    unit, scale = ("ms", 1e3) if duration_s >= 1e-3 else ("µs", 1e6)
    half, half_unit = (sample_rate_hz or 0.0) / 2e6, "MHz"
    if sample_rate_hz is None:
        unit, scale, half, half_unit = "samples", 1.0, 0.5, "cycles/sample"
    figure = Figure(figsize=(3.2, 2.4), dpi=150, facecolor=SCREEN)
    axes = figure.add_axes((0.175, 0.175, 0.8, 0.795))
    axes.imshow(
        _short_time_power_db(waveform), cmap=COLOUR_MAP, vmin=limits_db[0], vmax=limits_db[1], origin="lower",
        aspect="auto", interpolation="nearest", extent=(0.0, duration_s * scale, -half, half),
    )  # fmt: skip
    axes.set_xlabel(f"time ({unit})", color=SCREEN_INK, fontsize=9, labelpad=1)
    axes.set_ylabel(f"frequency ({half_unit})", color=SCREEN_INK, fontsize=9, labelpad=1)
    axes.tick_params(labelsize=8, colors=SCREEN_INK, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return png_uri(figure)


def spectrum(waveforms: Mapping[str, Complex], sample_rate_hz: float) -> str:
    """Returns the mean power per bin of several waveforms in dB over frequency as PNG data URI.

    Args:
        waveforms: complex64 [T] by name.
        sample_rate_hz: in Hz; the frequency axis spans it around zero.
    """
    figure = Figure(figsize=(6.6, 2.6), dpi=150, facecolor=SCREEN)
    axes = figure.add_axes((0.085, 0.17, 0.885, 0.79))
    for (name, waveform), colour in zip(waveforms.items(), _COLOURS, strict=False):
        levels = welch_db(waveform)
        frequency = (np.arange(len(levels)) - len(levels) // 2) * sample_rate_hz / len(levels) / 1e6
        axes.plot(frequency, levels, color=colour, linewidth=1.1, label=name)
    axes.set_xlim(-sample_rate_hz / 2e6, sample_rate_hz / 2e6)
    axes.margins(y=0.15)
    _dressed(axes, "frequency beside the SOI's carrier (MHz)", "power per bin (dB)")
    _legend(axes)
    return png_uri(figure)


def welch_db(waveform: Complex) -> Floats:
    """Returns the mean power per bin in dB, float64 [F], lowest frequency first, from half-overlapping Hann windows.

    The powers of all bins add up to that of the waveform. Source: P. D. Welch, "The use of fast Fourier transform for
    the estimation of power spectra" (1967).

    Args:
        waveform: complex64 [T]; F is 1,024, or the largest power of two within T.
    """
    size = min(_BINS, 2 ** int(np.log2(max(len(waveform), 1))))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[:: max(1, size // 2)]  # [n, F]
    window = np.hanning(size + 1)[:-1] if size > 1 else np.ones(1)
    spectra = np.fft.fft(frames * window / np.linalg.norm(window) / size**0.5)
    power = np.fft.fftshift(np.square(np.abs(spectra)).mean(0))
    levels: Floats = 10 * np.log10(np.maximum(power, 1e-12))
    return levels


def over_time(
    edges_s: Floats,
    curves: Mapping[str, Floats],
    label: str,
    *,
    shaded: npt.NDArray[np.bool_] | None = None,
    threshold: float | None = None,
    small: bool = False,
) -> str:
    """Returns curves over time as PNG data URI.

    Args:
        edges_s: float64 [n + 1], edges of the parts of a capture in seconds.
        curves: value in each part by name, float64 [n]; one that is not a number is left out.
        label: of the vertical axis, with its unit.
        shaded: bool [n], parts to shade; None for none.
        threshold: value to mark by a dashed line.
        small: two pictures go side by side.
    """
    figure = Figure(figsize=(4.0, 2.2) if small else (6.6, 2.2), dpi=150, facecolor=SCREEN)
    axes = figure.add_axes((0.16, 0.2, 0.81, 0.68) if small else (0.085, 0.2, 0.885, 0.76))
    for (name, values), colour in zip(curves.items(), _COLOURS, strict=False):
        axes.stairs(values, edges_s, baseline=None, color=colour, linewidth=1.4, label=name)
    if threshold is not None:
        axes.axhline(threshold, color=SCREEN_INK, linewidth=1.0, linestyle="--", label="threshold")
    axes.set_xlim(0, edges_s[-1])
    axes.margins(y=0.3)
    if shaded is not None and shaded.any():
        limits = axes.get_ylim()
        axes.stairs(
            shaded.astype(np.float64), edges_s, fill=True, transform=axes.get_xaxis_transform(), color=PALETTE[1],
            alpha=0.3, linewidth=0, label="not locked",
        )  # fmt: skip
        axes.set_ylim(limits)
    _dressed(axes, "time (s)", label)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        _legend(axes, above=small)
    return png_uri(figure)


def _dressed(axes: Axes, x_label: str, y_label: str) -> None:
    """Gives axes on the dark background their labels and grid."""
    axes.set_facecolor(SCREEN)
    axes.set_xlabel(x_label, color=SCREEN_INK, fontsize=9, labelpad=1)
    axes.set_ylabel(y_label, color=SCREEN_INK, fontsize=9, labelpad=1)
    axes.tick_params(labelsize=8, colors=SCREEN_INK, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(color=SCREEN_INK, alpha=0.2, linewidth=0.6)


def _legend(axes: Axes, *, above: bool = False) -> None:
    """Gives axes on the dark background their legend, in the upper right corner or above it."""
    axes.legend(
        frameon=False, fontsize=8, labelcolor=SCREEN_INK, ncols=3, borderaxespad=0.2,
        loc="lower right" if above else "upper right", bbox_to_anchor=(1.0, 0.98 if above else 1.0),
    )  # fmt: skip


def _short_time_power_db(waveform: Complex) -> npt.NDArray[np.float64]:
    """Returns power in dB, float64 [frequency, time], lowest frequency first, from about 160 Hann windows."""
    size = int(np.clip(2 ** int(np.log2(max(len(waveform), 1) / 20 + 1)), 16, 256))
    padded = np.pad(waveform, (0, max(0, size - len(waveform))))
    hop = max(1, (len(padded) - size) // 160)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]  # [time, size]
    window = np.hanning(size + 1)[:-1]
    spectra = np.fft.fftshift(np.fft.fft(frames * window / np.linalg.norm(window) / size**0.5), axes=-1)
    return 10 * np.log10(np.abs(spectra.T) ** 2 + 1e-12)


def png_uri(figure: Figure) -> str:
    """Returns the figure as a data URI with 128 colours, a third of the bytes of true colour."""
    pixels = io.BytesIO()
    figure.savefig(pixels, format="rgba")
    image = Image.frombytes("RGBA", figure.canvas.get_width_height(), pixels.getvalue()).convert("RGB")
    stream = io.BytesIO()
    image.quantize(128, method=Image.Quantize.FASTOCTREE).save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
