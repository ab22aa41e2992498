"""Correlations over lags and cycle frequencies, with the probability that noise alone reaches them.

A signal is cyclostationary if E x[n + lag] conj(x[n]) repeats with n: W. A. Gardner, "Exploitation of spectral
redundancy in cyclostationary signals", IEEE Signal Processing Magazine 8(2), 1991. A cyclic prefix shows at the lag of
the FFT size (J.-J. van de Beek, M. Sandell, P. O. Borjesson, "ML estimation of time and frequency offset in OFDM
systems", IEEE Trans. Signal Processing 45(7), 1997), linear modulation at lag 0 and the symbol rate.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.ndimage import median_filter, uniform_filter1d
from torch import Tensor
from torch.nn.functional import interpolate, pad

from rfsep.iq import squared

_LEVEL_SPAN = 256  # Power counts as constant over this many samples, longer than a pulse and shorter than a burst.
_QUIET = 0.01  # Below this share of the mean power is a pause, which is not raised to full level.
_WELCH_SIZE = 128
_WHITENING_FLOOR = 0.1  # Below this share of the strongest density is out of band.
_LOG_MEAN, _LOG_STD = 0.596347, 0.419882  # moments of log(1 + e), e a unit exponential; E e / (1 + e) = 1 - _LOG_MEAN
_TONE = 4.0  # A line above this multiple of the surrounding mean density is cut down to it.
_MEDIAN_SPAN = 65  # cells around a cell that show the level of noise alone


class Peak(NamedTuple):
    """A significant cell of a statistic.

    Attributes:
        cell: index of the cell.
        z: its score in standard deviations of a normal variable.
        confidence: 1 - the probability that noise alone has such a peak in any searched cell.
    """

    cell: int
    z: float
    confidence: float


def unit_power(frames: Tensor) -> Tensor:
    """Scales all frames complex64 [F, T] together to mean power 1, whatever their level: fourth powers stay finite."""
    frames = frames / torch.view_as_real(frames).abs().max().clamp(min=1e-37)
    return frames / squared(frames).mean().sqrt().clamp(min=1e-15)


def local_power(frames: Tensor, span: int = _LEVEL_SPAN) -> Tensor:
    """Power averaged over ``span`` samples around each sample: complex64 [F, T] to float32 [F, T]."""
    span = min(span, frames.shape[1] // 2) | 1
    square = squared(frames).numpy()
    inside = uniform_filter1d(np.ones(frames.shape[1]), span, mode="constant")  # part of each average within the frame
    means = uniform_filter1d(square, span, axis=1, output=np.float64, mode="constant") / inside
    return torch.from_numpy(np.maximum(means, 0.0).astype(np.float32))  # a running sum may end just below zero


def level(frames: Tensor, span: int = _LEVEL_SPAN) -> Tensor:
    """Scales frames to constant local power, so that loud bursts do not outweigh the rest; pauses stay quiet.

    Returns:
        complex64 [F, T], power 1 wherever the local power is far above 1 % of the mean.
    """
    mean = squared(frames).mean().clamp(min=1e-30)
    scaled = frames / mean.sqrt()
    return scaled / (local_power(scaled, span) + _QUIET).sqrt()


def power_spectra(frames: Tensor, size: int = _WELCH_SIZE) -> Tensor:
    """Welch's power spectra with Hann windows, half overlapped: complex64 [F, T] to float32 [F, size], FFT order.

    Their mean over the cells is about the power of the frame.
    """
    window = torch.hann_window(size)
    pieces = frames.unfold(1, size, size // 2) * (window / window.square().sum().sqrt())  # [F, pieces, size]
    return squared(torch.fft.fft(pieces)).mean(1)


def whiten(frames: Tensor) -> Tensor:
    """Flattens the spectrum of each frame over its occupied band: complex64 [F, T], with one power density there.

    The densities are Welch's. Densities 10 dB below the strongest keep that distance.
    """
    num_samples = frames.shape[1]
    density = power_spectra(frames)  # [F, size]
    density = torch.maximum(density, _WHITENING_FLOOR * density.amax(1, keepdim=True)).clamp(min=1e-30)
    wrapped = torch.cat((density, density[:, :1]), 1)[:, None]
    fine = interpolate(wrapped, num_samples + 1, mode="linear", align_corners=True)[:, 0, :num_samples]
    whitened: Tensor = torch.fft.ifft(torch.fft.fft(frames) / fine.sqrt())
    return whitened


def without_tones(frames: Tensor) -> Tensor:
    """Removes the spectral lines that frames share, such as spurs of a receiver: complex64 [F, T]."""
    spectra = torch.fft.fft(frames)
    density = squared(spectra).mean(0)
    ceiling = _TONE * running_median(density)
    cleaned: Tensor = torch.fft.ifft(spectra * (ceiling / density.clamp(min=1e-30)).clamp(max=1).sqrt())
    return cleaned


def effective_bandwidth(frames: Tensor) -> float:
    """Returns the share of independent samples: (sum S)^2 / (n sum S^2) of the mean power spectrum S, in (0, 1].

    >>> effective_bandwidth(torch.ones((1, 4096), dtype=torch.complex64)) < 0.05
    True
    """
    density = power_spectra(frames).mean(0)
    return float(density.sum().square() / (len(density) * density.square().sum()).clamp(min=1e-30))


def lag_correlations(frames: Tensor, num_lags: int) -> Tensor:
    """Sum over n of x[n + lag] conj(x[n]) of every frame: complex64 [F, T] to complex64 [F, num_lags]."""
    size = int(next_fast_len(frames.shape[1] + num_lags))
    correlations: Tensor = torch.fft.ifft(squared(torch.fft.fft(frames, size)))
    return correlations[:, :num_lags]


def raised(values: Tensor, order: int) -> Tensor:
    """Returns values to the power of 2 or 4, by squaring: torch takes a complex logarithm for it.

    >>> raised(torch.tensor([1j, 2 + 0j]), 4).real
    tensor([ 1., 16.])
    """
    return values.square() if order == 2 else values.square().square()


def lag_product(frames: Tensor, lag: int) -> Tensor:
    """The products x[n + lag] conj(x[n]): complex64 [F, T] to complex64 [F, T - lag]."""
    return frames[:, lag:] * frames[:, : frames.shape[1] - lag].conj()


def normal_score(mean_of_exponentials: Tensor, count: float) -> Tensor:
    """Normal score of a mean of ``count`` unit exponentials (Wilson & Hilferty, PNAS 17, 1931).

    >>> normal_score(torch.tensor(1.0), 100.0).abs() < 0.1
    tensor(True)
    """
    return ((mean_of_exponentials.clamp(min=0) ** (1 / 3)) - (1 - 1 / (9 * count))) * math.sqrt(9 * count)


def confidence_of(z: float, num_searched: float) -> float:
    """Returns 1 - the probability that one of ``num_searched`` normal scores of noise reaches z (Bonferroni's bound).

    >>> confidence_of(6.0, 1000) > 0.999, confidence_of(3.0, 1000)
    (True, 0.0)
    """
    tail = 0.5 * math.erfc(z / math.sqrt(2))
    return 1.0 - min(1.0, num_searched * tail)


def running_median(values: Tensor, span: int = _MEDIAN_SPAN) -> Tensor:
    """Returns the median over ``span`` cells around each cell, mirrored at the ends: float32 [L]."""
    span = min(span, 2 * ((len(values) - 1) // 2) + 1)
    return torch.from_numpy(median_filter(values.numpy(), span, mode="mirror"))


def medians(values: Tensor) -> Tensor:
    """Returns the median of each row, the lower one of two: float32 [F, L] to float32 [F, 1].

    A partition finds it in a tenth of the time that torch.median takes.
    """
    middle = (values.shape[1] - 1) // 2
    return torch.from_numpy(np.partition(values.numpy(), middle, axis=1)[:, middle : middle + 1])


def standing_out(squares: Tensor, coherent: Tensor | None = None) -> Tensor:
    """Returns normal scores float32 [L] of squared magnitudes against their surroundings.

    Noise makes each square exponential. Its scale comes from the medians over a frame, and over the neighbouring cells
    of the mean over frames, so that slow changes (colour, bursts) do not count as peaks.

    Args:
        squares: float32 [F, L], squared magnitudes of every frame.
        coherent: complex64 [F, L], their complex values, if a peak may have one phase in all frames; the better of the
            two sums counts.
    """
    num_frames = len(squares)
    scale = medians(squares).clamp(min=1e-30) / math.log(2)  # [F, 1]
    unit = squares / scale
    logarithms = torch.log1p(unit).mean(0)  # [L]; a strange frame counts, but not for all the others
    scores = (logarithms - running_median(logarithms)) * (math.sqrt(num_frames) / _LOG_STD)
    if coherent is None or num_frames == 1:
        return scores
    limited = coherent / (scale * (1 + unit)).sqrt()
    together = squared(limited.mean(0)) * (num_frames / (1 - _LOG_MEAN))  # [L]
    return torch.maximum(scores, _against_neighbours(together, 1))


def _against_neighbours(mean: Tensor, count: int) -> Tensor:
    """Normal scores of a mean of ``count`` exponentials whose scale changes slowly from cell to cell."""
    median = (1 - 1 / (9 * count)) ** 3  # median of such a mean at scale 1
    return normal_score(mean / running_median(mean).clamp(min=1e-30) * median, count)


def lag_scores(frames: Tensor, num_lags: int) -> Tensor:
    """Scores the correlation at each lag against its neighbours': complex64 [F, T] to float32 [num_lags]."""
    correlations = lag_correlations(frames, num_lags)[:, 1:]  # lag 0 is the power
    return pad(standing_out(squared(correlations), correlations), (1, 0))


def cycle_spectra(products: Tensor, size: int) -> Tensor:
    """Squared magnitudes at cycle frequencies k / size, k = 0..size // 2: real [F, T] to float32 [F, size // 2 + 1].

    Args:
        products: |x|^2, or the real part of a lag product; its mean is removed.
        size: length of the transform, at least T.
    """
    return squared(torch.fft.rfft(products - products.mean(1, keepdim=True), size))


def highest(scores: Tensor, first: int, count: int, independent: float = 1.0) -> list[Peak]:
    """The ``count`` highest local maxima of scores [L] from cell ``first`` on, the highest first.

    Args:
        scores: normal scores, as of `standing_out`.
        first: cells before it are not searched.
        count: number of maxima at most.
        independent: scores per cell: 2 if `standing_out` had two sums to choose from.
    """
    searched = scores[first:]
    if len(searched) < 3:
        return []
    top = pad(searched, (1, 1), value=-math.inf)
    local = torch.where((searched >= top[:-2]) & (searched > top[2:]), searched, -math.inf)
    values, places = local.topk(min(count, len(local)))
    return [
        Peak(first + place, value, confidence_of(value, len(searched) * independent))
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
        if value > -math.inf
    ]
