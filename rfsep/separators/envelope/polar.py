"""Learns how envelope and frequency of an interference vary, from example frames."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.types import InputError


class Innovations(NamedTuple):
    """An autoregressive model of a real, stationary process with a mean.

    Attributes:
        mean: of the process.
        taps: float64 [p + 1], prediction-error filter, 1 first.
        variance: of the innovations.
        start: float64 [p], variance of the filter's output at sample t < p, where p - t samples are missing.
    """

    mean: float
    taps: Tensor
    variance: float
    start: Tensor


class Polar(NamedTuple):
    """An interference in polar coordinates.

    Attributes:
        envelope: of the magnitude over its mean level.
        frequency: of the phase's increments, radians per sample.
    """

    envelope: Innovations
    frequency: Innovations


def fit_innovations(process: Tensor, weight: Tensor, order: int, freedom: float = 4.0) -> Innovations:
    """Fits an autoregression with Student-t innovations to frames float64 [F, T] where ``weight`` is 1, else 0."""
    mean = (process * weight).sum() / weight.sum()
    centred = (process - mean) * weight
    size = process.shape[1] + order + 1

    def correlated(x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x, size).abs().square().sum(0), size)[: order + 1]

    lags = correlated(centred) / correlated(weight).clamp_min(1.0)
    lags[0] = lags[0] * (1 + 1e-6) + 1e-12
    index = torch.arange(order)
    covariance = lags[(index[:, None] - index).abs()]
    rows = centred.unfold(1, order + 1, 1).flatten(0, 1)
    rows = rows[:: max(1, len(rows) // 100_000)].flip(1)  # newest first
    past, new = rows[:, 1:], rows[:, 0]
    predictor, scale = torch.linalg.solve(covariance, lags[1:]), lags[0]
    for _ in range(10):
        error = (new - past @ predictor).square()
        share = (freedom + 1) / (freedom + error / scale)
        scale = (share * error).mean()
        weighted = past * share[:, None]
        ridge = 1e-6 * scale * len(past) * torch.eye(order, dtype=torch.float64)
        predictor = torch.linalg.solve(weighted.T @ past + ridge, weighted.T @ new)
    taps = torch.cat((torch.ones(1, dtype=torch.float64), -predictor))
    missing = [taps[t + 1 :] @ covariance[: order - t, : order - t] @ taps[t + 1 :] for t in range(order)]
    start = scale + torch.stack(missing) if order else lags[:0]
    return Innovations(float(mean), taps, float(scale), start)


def learn_polar(examples: Tensor, order: int) -> Polar:
    """Learns the model from frames complex64 [F, T]."""
    if examples.numel() == 0 or not torch.isfinite(torch.view_as_real(examples)).all() or not examples.any():
        raise InputError("envelope: the example frames are empty, silent, or hold NaN or infinity")
    frames = examples.to(torch.complex128)
    level = frames.abs()
    envelope = level / level.mean(1, keepdim=True)
    steps = torch.angle(frames[:, 1:] * frames[:, :-1].conj())
    one = torch.ones_like(level)
    return Polar(fit_innovations(envelope, one, order), fit_innovations(steps, one[:, 1:], order))
