"""Compares a diffusion prior with windows of its signal: losses, spectrum, correlations, symbols."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rfsep.identification.cyclic import power_spectra
from rfsep.iq import power, squared
from rfsep.pages.figures import Row, save
from rfsep.pages.style import INK, PALETTE, dress
from rfsep.signals.diffusion_schedule import Schedule

_LAGS = 160  # lags of the correlations: two symbols of the RF Challenge's OFDM
_BAND = 0.1  # Densities above this share of the strongest one are in band; OFDM's side lobes are not.
_LEAST_LOSS = 1e-4  # least drawn loss
_POINTS = 4000  # points of a drawn constellation
Noise = Callable[[Tensor, Tensor], Tensor]


class Learned(NamedTuple):
    """A prior's samples beside the windows that it learned from.

    Attributes:
        source: windows of the signal, complex64 [B, T].
        samples: drawn from the prior, complex64 [B, T].
        symbols: data symbols in the samples, complex64 [B, S]; None if they cannot be read.
        constellation: points of the symbols, complex64 [M].
        losses: mean squared error per real component of the noise in the source's windows, by step, float32 [N].
        gaussian_losses: losses of the best prior that knows only the source's spectrum, float32 [N].
        analytic_losses: losses of the analytic prior of its modem on its grid, float32 [N], or None.
    """

    source: Tensor
    samples: Tensor
    symbols: Tensor | None
    constellation: Tensor
    losses: Tensor
    gaussian_losses: Tensor
    analytic_losses: Tensor | None = None


def noise_losses(
    noise: Noise, windows: Tensor, schedule: Schedule, variance: float, generator: torch.Generator
) -> Tensor:
    """Returns the mean of |estimate - z|^2 / variance at every step, over the windows complex64 [B, T]: float32 [N]."""
    losses = []
    for step in range(len(schedule.sigma)):
        steps = torch.full((len(windows),), step)
        z = variance**0.5 * torch.randn(windows.shape, dtype=windows.dtype, generator=generator)
        losses.append(power(noise(schedule.noisy(windows, z, steps), steps) - z).mean() / variance)
    return torch.stack(losses)


def gaussian_losses(windows: Tensor, schedule: Schedule, variance: float) -> Tensor:
    """Returns `noise_losses` of the exact prior of a stationary Gaussian signal with the spectrum of windows [B, T].

    At a frequency with the signal-to-noise ratio r, the noise is estimated with the error r / (1 + r).
    """
    spectrum = squared(torch.fft.fft(windows, norm="ortho")).mean(0)  # [T]
    ratio = (schedule.alpha_bar / schedule.sigma.square())[:, None] * spectrum / variance  # [N, T]
    return (ratio / (1 + ratio)).mean(1)


def lag_coefficients(windows: Tensor, period: int | None, num_lags: int = _LAGS) -> Tensor:
    """Returns the correlation over lags, cyclic if a period is given: float32 [num_lags].

    It is |mean of x[n + lag] x*[n] exp(-2 pi i n / period)| of each window over its power, averaged over windows: the
    cyclic autocorrelation at the cycle frequency 1 / period, or the usual one if ``period`` is None.
    """
    length = windows.shape[1] - num_lags + 1
    turn = torch.zeros(length) if period is None else -2 * torch.pi * torch.arange(length) / period
    still = windows[:, :length].conj() * torch.polar(torch.ones(length), turn)  # [B, length]
    products = torch.stack([(windows[:, lag : lag + length] * still).mean(1) for lag in range(num_lags)])
    return (products.abs() / power(windows)).mean(1)


def error_vector_magnitude(symbols: Tensor, constellation: Tensor) -> float:
    """Returns the RMS distance of symbols complex64 [...] to the nearest point, relative to the RMS of points [M].

    >>> error_vector_magnitude(torch.tensor([1.1 + 0j, -1 + 0j]), torch.tensor([1 + 0j, -1 + 0j])) # sqrt(0.01 / 2)
    0.0707...
    """
    nearest = squared(symbols[..., None] - constellation).amin(-1)
    return float((nearest.mean() / squared(constellation).mean()).sqrt())


def summary(learned: Learned, period: int, lag: int) -> Row:
    """Summarises ``samples`` and ``source`` in numbers.

    Args:
        learned: a prior's samples.
        period: period of the signal's symbols, in samples.
        lag: lag of the reported correlation, the FFT size of OFDM.
    """
    found: dict[str, object] = {}
    spectra = {name: _spectrum(windows) for name, windows in (("samples", learned.samples), ("source", learned.source))}
    inside = spectra["source"] > _BAND * spectra["source"].max()
    for name, windows in (("samples", learned.samples), ("source", learned.source)):
        found[name] = {
            "power": float(power(windows).mean()),
            "power_out_of_band": float(spectra[name][~inside].sum() / spectra[name].sum()),
            "correlation": float(lag_coefficients(windows, None)[lag]),
            "cyclic_correlation": float(lag_coefficients(windows, period)[lag]),
        }
    error_db = 10 * (spectra["samples"][inside] / spectra["source"][inside]).log10()
    found["spectrum_error_db"] = float(error_db.square().mean().sqrt())
    if learned.symbols is not None:
        found["evm"] = error_vector_magnitude(learned.symbols, learned.constellation)
    found |= {"lag": lag, "period": period, "num_windows": len(learned.samples)}
    found["noise_mse"] = float(learned.losses.mean())
    found["noise_mse_gaussian"] = float(learned.gaussian_losses.mean())
    if learned.analytic_losses is not None:
        found["noise_mse_analytic"] = float(learned.analytic_losses.mean())
        found["noise_mse_analytic_by_step"] = learned.analytic_losses.tolist()
    found["noise_mse_by_step"] = learned.losses.tolist()
    found["noise_mse_gaussian_by_step"] = learned.gaussian_losses.tolist()
    return found


def _spectrum(windows: Tensor) -> Tensor:
    return power_spectra(windows).mean(0)  # [size]


def write_prior_figure(path: Path, learned: Learned, period: int, title: str) -> None:
    """Draws loss over steps, spectrum, cyclic correlation over lags and, if there are any, symbols."""
    count = 3 if learned.symbols is None else 4
    figure = Figure(figsize=(4.2 * count, 3.8), layout="constrained", facecolor="white")
    panels = figure.subplots(1, count)
    steps = np.arange(len(learned.losses))
    panels[0].plot(steps, learned.gaussian_losses, color=INK, linestyle="--", linewidth=1.1, label="Gaussian signal")
    panels[0].plot(steps, learned.losses, color=PALETTE[0], linewidth=1.6, label="this prior")
    if learned.analytic_losses is not None:
        shown = learned.analytic_losses.clamp_min(_LEAST_LOSS)
        panels[0].plot(steps, shown, color=PALETTE[1], linewidth=1.1, label="analytic prior")
    panels[0].set_yscale("log")
    dress(panels[0], "step", "MSE of the noise", legend=True)
    for name, windows, colour in (("source", learned.source, INK), ("samples", learned.samples, PALETTE[0])):
        density = torch.fft.fftshift(_spectrum(windows)).clamp(min=1e-8)
        frequency = np.arange(len(density)) / len(density) - 0.5
        panels[1].plot(frequency, 10 * density.log10(), color=colour, linewidth=1.3, label=name)
        lags = lag_coefficients(windows, period)
        panels[2].plot(np.arange(len(lags)), lags, color=colour, linewidth=1.1, label=name)
    dress(panels[1], "cycles per sample", "power density (dB)", legend=True)
    dress(panels[2], "lag (samples)", f"correlation at cycle frequency 1/{period}", legend=True)
    if learned.symbols is not None:
        symbols = learned.symbols.flatten()[:_POINTS]
        panels[3].plot(symbols.real, symbols.imag, ".", color=PALETTE[0], markersize=1.5, label="samples")
        points = learned.constellation
        panels[3].plot(points.real, points.imag, "+", color=PALETTE[1], markersize=10, label="points")
        panels[3].set_aspect("equal")
        dress(panels[3], "in phase", "quadrature", legend=True)
    figure.suptitle(title, color=INK)
    save(figure, path, title)
