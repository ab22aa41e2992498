"""Expectation propagation over the symbols' I and Q."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.tridiagonal import back_solve, factorise, half_solve, inverse_band

_LEAST = 1e-6


class Axes(NamedTuple):
    """Gaussian sites of each symbol's I and Q: precision and shift, float64 [B, S, 2]."""

    precision: Tensor
    shift: Tensor


class Soft(NamedTuple):
    """Symbols complex64 [B, S] and their variances float32 [B, S]."""

    symbols: Tensor
    variance: Tensor


def tilt(mean: Tensor, covariance: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Moments [B, S, 2] of discrete points [P, 2] under Gaussian evidence [B, S, 2] and [B, S, 2, 2]."""
    determinant = covariance[..., 0, 0] * covariance[..., 1, 1] - covariance[..., 0, 1] ** 2
    off = points - mean[..., None, :]  # [B, S, P, 2]
    quadratic = (
        covariance[..., 1, 1, None] * off[..., 0] ** 2
        - 2 * covariance[..., 0, 1, None] * off[..., 0] * off[..., 1]
        + covariance[..., 0, 0, None] * off[..., 1] ** 2
    ) / determinant.clamp_min(1e-30)[..., None]
    share = torch.softmax(-quadratic / 2, -1)
    found = share @ points
    return found, (share @ points.square() - found.square()).clamp_min(1e-7)


def update(
    gram: Tensor, moment: Tensor, sites: Axes, points: Tensor, bandwidth: int, damping: float
) -> tuple[Axes, Soft]:
    """Updates all sites once."""
    shape = sites.precision.shape
    matrix = gram + torch.diag_embed(sites.precision.flatten(1))
    factor = factorise(matrix, bandwidth)
    mean = back_solve(factor, half_solve(factor, moment + sites.shift.flatten(1))).reshape(shape)
    inverse = inverse_band(factor)
    pairs = inverse.reshape(shape[0], shape[1], 2, shape[1], 2).diagonal(0, 1, 3).permute(0, 3, 1, 2)  # [B, S, 2, 2]
    precision = torch.linalg.inv(pairs)
    information = (precision @ mean[..., None])[..., 0] - sites.shift
    cavity = precision - torch.diag_embed(sites.precision)
    # A cavity stays a proper Gaussian.
    floor = _LEAST + cavity[..., 0, 1].abs()
    cavity.diagonal(0, 2, 3).copy_(torch.maximum(cavity.diagonal(0, 2, 3), floor[..., None]))
    covariance = torch.linalg.inv(cavity)
    cavity_mean = (covariance @ information[..., None])[..., 0]
    found, variance = tilt(cavity_mean, covariance, points)
    spread = covariance.diagonal(0, 2, 3)
    wanted = 1 / variance - 1 / spread
    shift = found / variance - cavity_mean / spread
    fits = wanted > _LEAST
    new = Axes(
        torch.where(fits, torch.lerp(sites.precision, wanted, damping), sites.precision),
        torch.where(fits, sites.shift + damping * (shift - sites.shift), sites.shift),
    )
    return new, Soft(torch.view_as_complex(found.float()), variance.sum(-1).float())
