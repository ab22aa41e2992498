"""Expectation propagation over I and Q of the SOI's symbols, with the nuisance terms eliminated.

See `rfsep.separators.inference.expectation_propagation`; here evidence on a symbol's I and Q differs and correlates,
because a radius tells of one direction only.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.linearised import Information
from rfsep.separators.inference.tridiagonal import Factor, factorise, inverse_band

_LEAST_PRECISION = 1e-6  # least precision of a cavity or a site
_LEAST_VARIANCE = 1e-7  # least variance of a decided axis


class Axes(NamedTuple):
    """Gaussian sites of each symbol's I and Q: precisions and shifts, float64 [B, S, 2]."""

    precision: Tensor
    shift: Tensor


class Soft(NamedTuple):
    """Symbols complex64 [B, S] and their variances float32 [B, S]."""

    symbols: Tensor
    variance: Tensor


class Updated(NamedTuple):
    """Sites, the symbols' posterior under the discrete prior, and the nuisance terms float64 [B, N]."""

    sites: Axes
    soft: Soft
    terms: Tensor


class _Marginals(NamedTuple):
    """The Gaussian posterior: means [B, S, 2] and covariances [B, S, 2, 2] of symbols, and the terms [B, N]."""

    mean: Tensor
    covariance: Tensor
    terms: Tensor


def _solve(factor: Factor, columns: Tensor) -> Tensor:
    """Solves for several right-hand sides float64 [B, S, n] at once."""
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


def _marginals(said: Information, sites: Axes, bandwidth: int) -> _Marginals:
    """Solves the Gaussian model; the terms are eliminated by the matrix inversion lemma."""
    shape = sites.precision.shape
    factor = factorise(said.gram + torch.diag_embed(sites.precision.flatten(1)), bandwidth)
    moment = (said.moment + sites.shift.flatten(1))[..., None]
    solved = _solve(factor, torch.cat((moment, said.cross), 2))
    mean, beside = solved[..., :1], solved[..., 1:]  # [B, 2 S, 1] and [B, 2 S, N]
    inverse = inverse_band(factor).reshape(shape[0], shape[1], 2, shape[1], 2)
    covariance = inverse.diagonal(0, 1, 3).permute(0, 3, 1, 2)  # [B, S, 2, 2]
    schur = said.term_gram - said.cross.mT @ beside
    root = torch.linalg.cholesky((schur + schur.mT) / 2)
    terms = torch.cholesky_solve(said.term_moment[..., None] - said.cross.mT @ mean, root)  # [B, N, 1]
    spread = torch.linalg.solve_triangular(root, beside.mT, upper=False).mT.reshape(*shape, -1)
    return _Marginals((mean - beside @ terms).reshape(shape), covariance + spread @ spread.mT, terms[..., 0])


def tilted(mean: Tensor, covariance: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and variance [B, S, 2] of discrete points [P, 2] given Gaussian evidence on both axes.

    Args:
        mean: of the evidence, [B, S, 2].
        covariance: of the evidence, [B, S, 2, 2].
        points: equally likely.
    """
    off = points - mean[..., None, :]  # [B, S, P, 2]
    distance = torch.einsum("bspi,bsij,bspj->bsp", off, torch.linalg.inv(covariance), off)
    share = torch.softmax(-distance / 2, -1)
    found = share @ points
    return found, (share @ points.square() - found.square()).clamp_min(_LEAST_VARIANCE)


def update(said: Information, sites: Axes, points: Tensor, bandwidth: int, damping: float) -> Updated:
    """Updates all sites once.

    Args:
        said: information on symbols and terms.
        sites: so far.
        points: constellation, float64 [P, 2].
        bandwidth: of the symbols' Gram matrix.
        damping: share of the new value in a site.
    """
    marginal = _marginals(said, sites, bandwidth)
    inverse = torch.linalg.inv(marginal.covariance)
    told = (inverse @ marginal.mean[..., None])[..., 0] - sites.shift
    precision = inverse - torch.diag_embed(sites.precision)
    # The cavity stays positive definite.
    least = _LEAST_PRECISION + precision[..., 0, 1].abs()[..., None]
    precision.diagonal(0, 2, 3).copy_(precision.diagonal(0, 2, 3).maximum(least))
    covariance = torch.linalg.inv(precision)
    mean = (covariance @ told[..., None])[..., 0]
    found, variance = tilted(mean, covariance, points)
    spread = covariance.diagonal(0, 2, 3)
    wanted, shift = 1 / variance - 1 / spread, found / variance - mean / spread
    fits = wanted > _LEAST_PRECISION
    new = Axes(
        torch.where(fits, torch.lerp(sites.precision, wanted, damping), sites.precision),
        torch.where(fits, sites.shift + damping * (shift - sites.shift), sites.shift),
    )
    soft = Soft(torch.view_as_complex(found.float()), variance.sum(-1).float())
    return Updated(new, soft, marginal.terms)
