"""Expectation propagation over the symbols' I and Q."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.linearised import Information
from rfsep.separators.inference.tridiagonal import Factor, factorise, inverse_band

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


def solve_columns(factor: Factor, columns: Tensor) -> Tensor:
    """Solves for several right-hand sides at once: columns [B, S, n]."""
    solved: list[Tensor] = []
    start = 0
    for index, root in enumerate(factor.roots):
        part = columns[:, start : start + root.shape[1]]
        start += root.shape[1]
        if index:
            part = part - factor.below[index - 1] @ solved[-1]
        solved.append(torch.linalg.solve_triangular(root, part, upper=False))
    for index in range(len(factor.roots) - 1, -1, -1):
        part = solved[index]
        if index < len(factor.roots) - 1:
            part = part - factor.below[index].mT @ solved[index + 1]
        solved[index] = torch.linalg.solve_triangular(factor.roots[index].mT, part, upper=True)
    return torch.cat(solved, 1)


def update(said: Information, sites: Axes, points: Tensor, bandwidth: int, damping: float) -> tuple[Axes, Soft, Tensor]:
    """Updates all sites once."""
    shape = sites.precision.shape
    matrix = said.gram + torch.diag_embed(sites.precision.flatten(1))
    factor = factorise(matrix, bandwidth)
    moment = (said.moment + sites.shift.flatten(1))[..., None]
    solved = solve_columns(factor, torch.cat((moment, said.cross), 2))
    mean, beside = solved[..., :1], solved[..., 1:]  # [B, 2 S, 1] and [B, 2 S, N]
    inverse = inverse_band(factor)
    pairs = inverse.reshape(shape[0], shape[1], 2, shape[1], 2).diagonal(0, 1, 3).permute(0, 3, 1, 2)  # [B, S, 2, 2]
    # The terms are eliminated by the matrix inversion lemma.
    schur = said.term_gram - said.cross.mT @ beside
    terms = torch.linalg.solve(schur, said.term_moment[..., None] - said.cross.mT @ mean)
    mean = (mean - beside @ terms).reshape(shape)
    root = torch.linalg.cholesky((schur + schur.mT) / 2)
    spread = torch.linalg.solve_triangular(root, beside.mT, upper=False).mT.reshape(*shape, -1)
    pairs = pairs + spread @ spread.mT
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
    return new, Soft(torch.view_as_complex(found.float()), variance.sum(-1).float()), terms[..., 0]
