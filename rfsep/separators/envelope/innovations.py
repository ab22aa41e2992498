"""Autoregressive models with heavy-tailed innovations."""

from typing import NamedTuple

import torch
from torch import Tensor

_ROWS = 60_000  # rows of the regression at most
_FITS = 8


class Innovations(NamedTuple):
    """An autoregressive model of a real, stationary process with a mean.

    Attributes:
        mean: of the process.
        taps: float64 [p + 1], prediction-error filter, 1 first.
        variance: scale of the innovations, squared.
        start: float64 [p], variance of the filter's output at sample t < p, where p - t samples are missing.
    """

    mean: float
    taps: Tensor
    variance: float
    start: Tensor


def whitened(process: Tensor, taps: Tensor) -> Tensor:
    """Returns the prediction errors [B, T] of a centred process [B, T]; samples before it count as zero."""
    kernel = taps.to(process.dtype).flip(0)[None, None]
    padded = torch.nn.functional.pad(process, (len(taps) - 1, 0))
    return torch.nn.functional.conv1d(padded[:, None], kernel)[:, 0]


def robust(squared: Tensor, freedom: float) -> Tensor:
    """Returns the weight of a squared, standardised error under Student's t with ``freedom`` degrees of freedom."""
    return (freedom + 1) / (freedom + squared)


def fit_innovations(process: Tensor, order: int, freedom: float) -> Innovations:
    """Fits an autoregression with Student-t innovations to frames float64 [F, T].

    Iteratively reweighted least squares (Lange, Little & Taylor, J. Am. Stat. Assoc. 84, 1989, section 3).
    """
    order = min(order, max(0, process.shape[1] // 4))
    mean = process.mean()
    centred = process - mean
    size = process.shape[1] + order + 1
    spectrum = torch.fft.rfft(centred, size).abs().square().sum(0)
    lags = torch.fft.irfft(spectrum, size)[: order + 1] / centred.numel()
    lags[0] = lags[0] * (1 + 1e-6) + 1e-12
    index = torch.arange(order)
    covariance = lags[(index[:, None] - index).abs()]
    rows = centred.unfold(1, order + 1, 1).flatten(0, 1)
    rows = rows[:: max(1, len(rows) // _ROWS)].flip(1)  # newest first
    past, new = rows[:, 1:], rows[:, 0]
    predictor, scale = torch.linalg.solve(covariance, lags[1:]), lags[0]
    for _ in range(_FITS):
        error = (new - past @ predictor).square()
        share = robust(error / scale, freedom)
        scale = (share * error).mean() + 1e-12
        weighted = past * share[:, None]
        ridge = 1e-6 * len(past) * (lags[0] + 1e-9) * torch.eye(order, dtype=torch.float64)
        predictor = torch.linalg.solve(weighted.T @ past + ridge, weighted.T @ new)
    taps = torch.cat((torch.ones(1, dtype=torch.float64), -predictor))
    missing = [taps[t + 1 :] @ covariance[: order - t, : order - t] @ taps[t + 1 :] for t in range(order)]
    start = scale + torch.stack(missing) if order else lags[:0]
    return Innovations(float(mean), taps, float(scale), start)
