"""Inverts the covariance of a window in which each OFDM symbol couples only the samples that it reaches.

Neighbouring symbols share few samples. Given those, the samples between them are independent (nested dissection,
George, SIAM J. Numer. Anal. 10(2), 1973). Their blocks are inverted one by one, and the shared samples last. Of the
inverse come only the entries within a block and its neighbours, which are all that symbols of few samples ask for.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared


class Cut(NamedTuple):
    """How a window's samples are cut.

    Attributes:
        inner: blocks of samples that are independent given the others.
        beside: rows of the shared samples that each block depends on, in the order of ``shared``.
        shared: samples between the blocks, int64 [n].
    """

    inner: list[slice]
    beside: list[slice]
    shared: Tensor


def cut_between(rows: list[slice], num_samples: int, width: int) -> Cut | None:
    """Cuts a window of Q samples where neighbouring symbols meet; None if they meet nowhere.

    Args:
        rows: samples that each OFDM symbol reaches, in order.
        num_samples: Q.
        width: samples that anything else couples.
    """
    zones, begin = list[slice](), 0
    for one, other in pairwise(rows):
        start = min(other.start, one.stop)
        stop = max(one.stop, start + width)
        if start > begin and stop < num_samples:
            zones.append(slice(start, stop))
            begin = stop
    if not zones:
        return None
    edges = [0, *(edge for zone in zones for edge in (zone.start, zone.stop)), num_samples]
    counts = torch.tensor([0, 0, *(zone.stop - zone.start for zone in zones), 0]).cumsum(0).tolist()
    inner = [slice(*edge) for edge in zip(edges[::2], edges[1::2], strict=True)]
    beside = [slice(counts[index], counts[index + 2]) for index in range(len(inner))]
    return Cut(inner, beside, torch.cat([torch.arange(zone.start, zone.stop) for zone in zones]))


def fits_cut(cut: Cut, coupled: Tensor) -> bool:
    """Tells whether the couplings of samples, bool [Q, Q], leave the blocks of a cut independent."""
    for block, beside in zip(cut.inner, cut.beside, strict=True):
        others = coupled[block].any(0)
        others[block] = False
        others[cut.shared[beside]] = False
        if bool(others.any()):
            return False
    return True


class Inverted(NamedTuple):
    """The inverse [Q, Q] of a covariance, zero between the blocks of a cut, and its product with a vector [Q]."""

    inverse: Tensor
    weighed: Tensor


def inverted(covariance: Tensor, vector: Tensor, cut: Cut | None) -> Inverted:
    """Inverts a positive definite covariance complex [Q, Q] along a cut, and multiplies a vector complex [Q]."""
    if cut is None:
        inverse = _inverse(covariance)
        return Inverted(inverse, inverse @ vector)
    found, weighed = torch.zeros_like(covariance), torch.empty_like(vector)
    left, rest, parts = covariance[cut.shared][:, cut.shared], vector[cut.shared], []
    for block, beside in zip(cut.inner, cut.beside, strict=True):
        across = covariance[block, cut.shared[beside]]  # [I, O]
        factor = torch.linalg.cholesky(covariance[block, block])
        half = torch.linalg.solve_triangular(factor, across, upper=False)
        gain = torch.linalg.solve_triangular(factor.mH, half, upper=True)
        left[beside, beside] -= half.mH @ half  # As exact as one factorisation of the whole, unlike across^H @ gain.
        rest[beside] -= gain.mH @ vector[block]
        parts.append((torch.cholesky_inverse(factor), gain))
    between = _inverse(left)
    found[cut.shared[:, None], cut.shared] = between
    weighed[cut.shared] = ours = between @ rest
    for block, beside, (inverse, gain) in zip(cut.inner, cut.beside, parts, strict=True):
        spread = gain @ between[beside, beside]
        found[block, block] = inverse + spread @ gain.mH
        found[block, cut.shared[beside]] = -spread
        found[cut.shared[beside], block] = -spread.mH
        weighed[block] = inverse @ vector[block] - gain @ ours[beside]
    return Inverted(found, weighed)


def log_likelihood(covariance: Tensor, samples: Tensor, cut: Cut | None) -> float:
    """Returns the log likelihood of Gaussian samples complex [Q], without -Q log pi, by their covariance [Q, Q]."""
    if cut is None:
        return _log_likelihood(torch.linalg.cholesky(covariance), samples)[1]
    left, rest, likely = covariance[cut.shared][:, cut.shared], samples[cut.shared], 0.0
    for block, beside in zip(cut.inner, cut.beside, strict=True):
        factor = torch.linalg.cholesky(covariance[block, block])
        half = torch.linalg.solve_triangular(factor, covariance[block, cut.shared[beside]], upper=False)
        white, own = _log_likelihood(factor, samples[block])
        left[beside, beside] -= half.mH @ half
        rest[beside] -= half.mH @ white
        likely += own
    return likely + _log_likelihood(torch.linalg.cholesky(left), rest)[1]


def _log_likelihood(factor: Tensor, samples: Tensor) -> tuple[Tensor, float]:
    """Returns samples complex [Q] that a Cholesky factor [Q, Q] has made white, and their log likelihood."""
    white = torch.linalg.solve_triangular(factor, samples[:, None], upper=False)[:, 0]
    return white, -float(squared(white).sum()) - 2 * float(factor.diagonal().real.log().sum())


def _inverse(covariance: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(covariance))
