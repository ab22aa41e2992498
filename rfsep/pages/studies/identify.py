"""Draws an identified interference: its correlations, or its envelope and frequency, and its spectrum."""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.fft import next_fast_len
from torch import Tensor

from rfsep.identification.cyclic import (
    cycle_spectra,
    lag_correlations,
    level,
    local_power,
    power_spectra,
    unit_power,
    whiten,
)
from rfsep.identification.envelope import occupied_band
from rfsep.identification.findings import Identified
from rfsep.identification.frequency import instantaneous_frequency, smoothed
from rfsep.identification.kinds import STEADY
from rfsep.identification.prefix import Layout, flattened, log_ratios, loudest, prefix_product
from rfsep.identification.symbol_rate import block_medians
from rfsep.pages.style import COLOUR_MAP, GRID, INK, PALETTE, dress

BLUE, RED, GREEN = PALETTE[:3]
_KINDS = {
    "ofdm": "OFDM",
    "single_carrier": "single carrier",
    "noise": "like noise",
    "unknown": "unknown",
    "constant_envelope": "constant envelope",
    "chirp": "chirps",
    "pulses": "pulses",
}
_MAX_SAMPLES = 1 << 19
_ON_AIR = 0.2  # Amplitudes are shown where the local power is above this share of the usual one.
_MAX_AMPLITUDE = 3.0
_WHOLE = 0.99  # A mean frequency is shown where no pause interrupts it.
_FAINT = 0.003  # The axis leaves out this share of the time at either end.
_SPECTROGRAM_SIZE = 128
_SPECTROGRAM_SAMPLES = 16384


def draw(frames: Tensor, identified: Identified, name: str, sample_rate_hz: float | None) -> Figure:
    """Draws correlation over lag and over time or cycle frequency, power spectrum and spectrogram.

    Of constant envelopes, chirps and pulses it draws histograms of envelope and instantaneous frequency instead of
    correlations.

    Args:
        frames: complex64 [F, T].
        identified: result of `rfsep.identification.identify.identify`.
        name: name in the title.
        sample_rate_hz: sample rate for frequencies in MHz; None for cycles per sample.
    """
    frames = unit_power(frames)
    chosen = frames[loudest(level(frames), _MAX_SAMPLES)]
    figure = Figure(figsize=(12.0, 8.0), facecolor="white", layout="constrained")
    panels = figure.subplots(2, 2)
    figure.suptitle(_title(identified, name), fontsize=14, color=INK, parse_math=False)
    if identified.kind.value in STEADY:
        _draw_envelope(panels[0, 0], chosen)
        _draw_frequency(panels[0, 1], chosen, identified, sample_rate_hz)
    else:
        _draw_lags(panels[0, 0], chosen, identified)
        folded: Callable[[Axes, Tensor, Identified], None] = _draw_fold if identified.fft_size.value else _draw_cycles
        folded(panels[0, 1], chosen, identified)
    _draw_spectrum(panels[1, 0], frames, identified, sample_rate_hz)
    _draw_spectrogram(panels[1, 1], chosen, sample_rate_hz)
    return figure


def _title(identified: Identified, name: str) -> str:
    """Returns a title of name and kind, with parameters."""
    parts = [f"{name}: {_KINDS[str(identified.kind.value)]}"]
    if identified.fft_size.value is not None:
        first, others = identified.first_cyclic_prefix_length.value, identified.cyclic_prefix_length.value
        prefix = (
            f"{others}" if first == others else f"{first} once in {identified.symbols_per_slot.value}, {others} else"
        )
        parts += [f"FFT {identified.fft_size.value}", f"prefix {prefix}"]
    elif identified.samples_per_symbol_range.value is not None:
        low, high = identified.samples_per_symbol_range.value
        one = identified.samples_per_symbol.confidence > 0
        parts.append(f"{low:.6g} samples per symbol" if one else f"{low:.3g} to {high:.3g} samples per symbol")
    if identified.chirp_rate.value is not None:
        parts.append(f"{identified.chirp_rate.value:.3g} cycles per sample per sample")
    if (names := identified.kinds.value) is not None and (shares := identified.kind_shares.value) is not None:
        company = zip(names[1:], shares[1:], strict=True)
        parts.append("beside " + " and ".join(f"{_KINDS[kind]} ({share:.0%})" for kind, share in company))
    if identified.kind.value in ("ofdm", "single_carrier"):
        alphabet, sure = identified.constellation
        parts.append(alphabet if alphabet is not None and sure >= 0.5 else "constellation unclear")
    return ", ".join(parts)


def _draw_lags(axes: Axes, frames: Tensor, identified: Identified) -> None:
    """Draws the magnitude of the flattened signal's correlation coefficient over lag."""
    fft_size = identified.fft_size.value
    number = min(frames.shape[1] // 2, 256 if fft_size is None else max(256, 3 * fft_size))
    correlations = lag_correlations(flattened(frames), number)  # [F, L]
    coefficient = (correlations[:, 1:].abs().square().mean(0) / correlations[:, 0].abs().square().mean()).sqrt()
    lags = np.arange(1, number)
    axes.plot(lags, coefficient, color=BLUE, linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlim(0, number)
    axes.set_ylim(top=2 * float(coefficient.max()))
    if fft_size is not None and fft_size < number:
        value = float(coefficient[fft_size - 1])
        axes.plot([fft_size], [value], "o", color=RED, mfc="none", markersize=10, mew=1.8)
        axes.annotate(
            f"FFT size {fft_size}",
            (fft_size, value),
            xytext=(10, 4),
            textcoords="offset points",
            color=RED,
            fontsize=12,
        )
    dress(axes, "lag (samples)", "|correlation coefficient|", "correlation over lag, spectrum flattened")


def _draw_fold(axes: Axes, frames: Tensor, identified: Identified) -> None:
    """Draws the correlation at the FFT size over the time in a slot, frames aligned, prefixes shaded."""
    layout = layout_of(identified)
    product = prefix_product(level(frames), layout.fft_size)
    offset = log_ratios(product, layout, 1.0).argmax(1)
    place = (torch.arange(product.values.shape[1]) + offset[:, None]) % layout.period  # [F, T]
    total = torch.zeros(layout.period).index_add(0, place.flatten(), product.values.flatten())
    mean = total / torch.bincount(place.flatten(), minlength=layout.period).clamp(min=1)
    if layout.symbols_per_slot > 1:  # The noise of a slot's many samples would hide the prefixes.
        mean = torch.nn.functional.avg_pool1d(mean[None], 9, 1, 4, count_include_pad=False)[0]
    for number, end in enumerate(layout.symbol_starts.tolist()):
        start = end - layout.cyclic_prefix_length - (layout.extra if number == 0 else 0)
        label = "prefixes found" if number == 0 else None
        axes.axvspan(start, end, color=RED, alpha=0.25, linewidth=0, label=label)
    axes.stairs(mean.numpy(), np.arange(layout.period + 1), baseline=None, color=BLUE, linewidth=1.0)
    axes.set_xlim(0, layout.period)
    axes.legend(loc="upper right", frameon=True, fontsize=11, labelcolor=INK)
    dress(axes, "time in a period (samples)", "mean at unit power", f"x[n + {layout.fft_size}] conj(x[n]), folded")


def layout_of(identified: Identified) -> Layout:
    """Returns the layout of identified OFDM."""
    size, prefix = identified.fft_size.value, identified.cyclic_prefix_length.value
    first, symbols = identified.first_cyclic_prefix_length.value, identified.symbols_per_slot.value
    assert size is not None
    assert prefix is not None
    assert first is not None
    assert symbols is not None
    return Layout(size, prefix, symbols, first - prefix)


def _draw_cycles(axes: Axes, frames: Tensor, identified: Identified) -> None:
    """Draws the spectrum of the flattened signal's power; a single carrier has a line at its symbol rate."""
    size = int(next_fast_len(frames.shape[1]))
    squares = cycle_spectra(whiten(level(frames, 1024)).abs().square(), size)
    squares = squares / block_medians(squares).clamp(min=1e-30)
    frequency = np.arange(squares.shape[1]) / size
    level_db = 10 * squares.mean(0).clamp(min=1e-3).log10()
    axes.plot(frequency[2:], level_db[2:], color=BLUE, linewidth=0.7)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(-3, 1.25 * max(10.0, float(level_db[2:].max())))
    if (periods := identified.samples_per_symbol_range.value) is not None:
        axes.axvspan(1 / periods[1] - 1 / size, 1 / periods[0] + 1 / size, color=RED, alpha=0.2, linewidth=0)
        common = identified.samples_per_symbol.confidence > 0
        text = f"symbol rate 1 / {periods[0]:.6g}" if common else "symbol rates of the frames"
        axes.annotate(
            text, (1 / periods[0], 1), xycoords=("data", "axes fraction"), xytext=(8, -16),
            textcoords="offset points", color=RED, fontsize=12,
        )  # fmt: skip
    dress(axes, "cycle frequency (cycles/sample)", "dB over the median", "spectrum of the power, spectrum flattened")


def _draw_envelope(axes: Axes, frames: Tensor) -> None:
    """Draws a histogram of the amplitude on the air, behind a filter of the band, beside that of Gaussian noise."""
    band = occupied_band(frames)
    power = local_power(band.frames)
    usual = power.square().mean() / power.mean().clamp(min=1e-30)
    amplitude = (band.frames.abs() / power.sqrt().clamp(min=1e-15))[power > _ON_AIR * usual]
    counts, edges = np.histogram(amplitude.numpy(), bins=120, range=(0.0, _MAX_AMPLITUDE))
    counts = counts / max(1, counts.sum()) / (edges[1] - edges[0])
    axes.stairs(counts, edges, color=BLUE, linewidth=1.2, fill=False, label="heard")
    x = np.linspace(0.0, _MAX_AMPLITUDE, 200)
    axes.plot(x, 2 * x * np.exp(-(x**2)), color=INK, linewidth=1.0, linestyle="--", label="Gaussian")
    axes.axvline(1.0, color=RED, linewidth=1.0, alpha=0.6, label="constant")
    axes.set_xlim(0, _MAX_AMPLITUDE)
    axes.set_ylim(0, 1.1 * max(1.0, float(counts.max())))
    axes.legend(loc="upper right", frameon=True, fontsize=11, labelcolor=INK)
    dress(axes, "amplitude over the local level", "density", "envelope on the air")


def _draw_frequency(axes: Axes, frames: Tensor, identified: Identified, sample_rate_hz: float | None) -> None:
    """Draws a histogram of the instantaneous frequency on the air, with the deviation found."""
    period = identified.samples_per_symbol.value
    frequency = instantaneous_frequency(occupied_band(frames).frames)
    span = 4 if period is None else max(1, round(period / 4))
    heard = smoothed(frequency.heard.float(), span) > _WHOLE
    scale, unit = _frequency_scale(sample_rate_hz)
    values = smoothed(frequency.values, span)[heard].numpy() * scale
    low, high = np.quantile(values, (_FAINT, 1 - _FAINT)) if len(values) else (0.0, 0.0)
    margin = 0.2 * (high - low) + 1e-3 * scale
    counts, edges = np.histogram(values, bins=150, range=(low - margin, high + margin))
    axes.stairs(counts / max(1, counts.max()), edges, color=BLUE, linewidth=1.0, fill=True, alpha=0.7)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(0, 1.2)
    deviation, offset = identified.deviation.value, identified.carrier_offset.value
    if deviation is not None and offset is not None:
        for side in (-1, 1):
            axes.axvline((offset + side * deviation) * scale, color=RED, linewidth=1.5, linestyle="--")
        axes.annotate(
            f"deviation {deviation * scale:.4g} {unit}", (0, 1), xycoords="axes fraction", xytext=(8, -16),
            textcoords="offset points", color=RED, fontsize=12,
        )  # fmt: skip
    dress(axes, f"frequency ({unit})", "density, relative", f"instantaneous frequency, mean of {span} samples")


def _draw_spectrum(axes: Axes, frames: Tensor, identified: Identified, sample_rate_hz: float | None) -> None:
    """Draws the average power spectrum with the used band."""
    size = min(512, 1 << (frames.shape[1] // 4).bit_length() - 1)
    density = torch.fft.fftshift(power_spectra(frames, size).mean(0))
    scale, unit = _frequency_scale(sample_rate_hz)
    frequency = (np.arange(size) - size // 2) / size * scale
    axes.plot(frequency, 10 * density.clamp(min=float(density.max()) * 1e-6).log10(), color=BLUE, linewidth=1.2)
    axes.set_xlim(-0.5 * scale, 0.5 * scale)
    if (band := used_band(identified)) is not None:
        axes.axvspan(band[0] * scale, band[1] * scale, color=GREEN, alpha=0.15, linewidth=0, label="band found")
        axes.legend(loc="lower center", frameon=True, fontsize=11, labelcolor=INK)
    dress(axes, f"frequency ({unit})", "dB", "power spectrum")


def used_band(identified: Identified) -> tuple[float, float] | None:
    """Returns lowest and highest frequency in cycles per sample; None if unknown or different between frames."""
    offset = identified.carrier_offset.value
    if offset is None:
        return None
    size, guards = identified.fft_size.value, identified.num_guard_carriers.value
    if size is not None and guards is not None:
        return (guards[0] - size // 2 - 0.5) / size + offset, (size - guards[1] - 1 - size // 2 + 0.5) / size + offset
    period, roll_off = identified.samples_per_symbol.value, identified.roll_off.value
    if period is None or roll_off is None or identified.samples_per_symbol.confidence == 0:
        return None
    half = (1 + roll_off) / (2 * period)
    return offset - half, offset + half


def _draw_spectrogram(axes: Axes, frames: Tensor, sample_rate_hz: float | None) -> None:
    """Draws the power over time and frequency of the frame longest on the air."""
    waveform = frames[0, :_SPECTROGRAM_SAMPLES]
    size = min(_SPECTROGRAM_SIZE, len(waveform) // 4)
    pieces = waveform.unfold(0, size, max(1, (len(waveform) - size) // 400)) * torch.hann_window(size)
    power = torch.fft.fftshift(torch.fft.fft(pieces).abs().square(), 1).T
    level_db = 10 * (power / power.max().clamp(min=1e-30)).clamp(min=1e-9).log10()
    scale, unit = _frequency_scale(sample_rate_hz)
    time, time_unit = (1.0, "samples") if sample_rate_hz is None else (1e3 / sample_rate_hz, "ms")
    image = axes.imshow(
        level_db.numpy(), cmap=COLOUR_MAP, origin="lower", aspect="auto", interpolation="nearest", vmin=-50, vmax=0,
        extent=(0.0, len(waveform) * time, -0.5 * scale, 0.5 * scale),
    )  # fmt: skip
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("dB under the strongest", color=INK, fontsize=11)
    bar.ax.tick_params(labelsize=10, labelcolor=INK, color=GRID)
    bar.outline.set_visible(False)
    dress(axes, f"time ({time_unit})", f"frequency ({unit})", "spectrogram of a frame")
    axes.grid(visible=False)


def _frequency_scale(sample_rate_hz: float | None) -> tuple[float, str]:
    return (1.0, "cycles/sample") if sample_rate_hz is None else (sample_rate_hz / 1e6, "MHz")
