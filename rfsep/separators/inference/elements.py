"""Kinds of resource elements of LTE and 5G NR: known ones, empty ones, and points of QPSK, 16-QAM and 64-QAM."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.expectation_propagation import Marginals, tilted
from rfsep.signals.constellations import constellation, decide

KNOWN, EMPTY = -1, -2  # kinds below zero; the others are places in NAMES
NAMES = ("qpsk", "qam16", "qam64")
QPSK = 0

_LEAST_VARIANCE = 1e-7  # of a decided symbol


@cache
def _points(kind: int, dtype: torch.dtype) -> Tensor:
    return constellation(NAMES[kind]).to(dtype)


def decided(carriers: Tensor, response: Tensor, kinds: Tensor) -> Tensor:
    """Returns the points nearest to received carriers complex128 [612] of kinds int64 [612]; 0 where there are none."""
    equal = carriers * response.conj() / squared(response).clamp_min(1e-30)
    found = torch.zeros_like(carriers)
    for kind in range(len(NAMES)):
        here = kinds == kind
        if bool(here.any()):
            found[here] = decide(equal[here], _points(kind, carriers.dtype))
    return found


def log_likelihoods(carriers: Tensor, response: Tensor, variance: Tensor) -> Tensor:
    """Returns the log likelihood of received carriers complex128 [N] as empty, QPSK, 16-QAM, 64-QAM: float64 [N, 4].

    Args:
        carriers: received.
        response: of the channel, complex128 [N].
        variance: of everything else, float64 [N].
    """
    columns = [-squared(carriers) / variance]
    for kind in range(len(NAMES)):
        points = _points(kind, carriers.dtype)
        distance = squared(carriers - response * points[:, None]) / variance  # [P, N]
        columns.append(torch.logsumexp(-distance, 0) - torch.log(torch.tensor(float(len(points)))))
    return torch.stack(columns, 1)


class Mixed(NamedTuple):
    """Resource elements whose kind is not known, given Gaussian evidence.

    Attributes:
        symbols: posterior [..., N] over kinds and points.
        share: posterior probability of each kind, float [..., N, 4], in the order of `log_likelihoods`.
        log_evidence: log likelihood of the evidence, float [..., N], without -log pi.
    """

    symbols: Marginals
    share: Tensor
    log_evidence: Tensor


@cache
def _levels(kind: int, dtype: torch.dtype) -> Tensor:
    """Levels [L] of the real parts of a square constellation's points, and of the imaginary parts."""
    points = _points(kind, torch.complex64)
    levels: Tensor = torch.unique((points.real * 1e6).round()).to(dtype) / 1e6
    return levels


class _Kind(NamedTuple):
    """What evidence [..., N] says of a kind: log likelihood, and mean and mean square of its points."""

    log_likelihood: Tensor
    mean: Tensor
    power: Tensor


def _square(cavity: Marginals, kind: int) -> _Kind:
    """Returns what evidence says of a square constellation, whose two parts are independent and have few levels."""
    levels = _levels(kind, cavity.variance.dtype)
    parts = torch.view_as_real(cavity.mean.resolve_conj())  # [..., N, 2]
    levels = levels.view(-1, *[1] * parts.ndim)
    said = -(parts - levels).square() / cavity.variance[..., None]  # [L, ..., N, 2]
    likeliest = said.amax(0)
    chance = (said - likeliest).exp()
    total = chance.sum(0)
    mean, power = (chance * levels).sum(0) / total, (chance * levels.square()).sum(0) / total
    log_likelihood = (likeliest + (total / len(levels)).log()).sum(-1)
    return _Kind(log_likelihood, torch.view_as_complex(mean), power.sum(-1))


def mixed(cavity: Marginals, share: Tensor) -> Mixed:
    """Returns the posterior of elements [..., N] that are empty, QPSK, 16-QAM or 64-QAM with shares [..., N, 4]."""
    mean, variance = cavity
    kinds = [_square(cavity, kind) for kind in range(len(NAMES))]
    likely = torch.stack([-squared(mean) / variance, *(one.log_likelihood for one in kinds)], -1)
    said = likely.to(share.dtype) + share.log()
    total = torch.logsumexp(said, -1)
    chance = (said - total[..., None]).exp()
    found = sum((chance[..., place + 1] * one.mean for place, one in enumerate(kinds)), torch.zeros_like(mean))
    power = sum((chance[..., place + 1] * one.power for place, one in enumerate(kinds)), torch.zeros_like(variance))
    spread = (power - squared(found)).clamp_min(_LEAST_VARIANCE)
    return Mixed(Marginals(found, spread), chance, total - variance.log())


def tilted_kinds(cavity: Marginals, kinds: Tensor) -> Marginals:
    """Returns mean and variance of points of kinds int64 [N], given Gaussian evidence [N]."""
    present = torch.unique(kinds).tolist()
    if len(present) == 1:
        return tilted(cavity, _points(present[0], cavity.mean.dtype))
    mean, variance = torch.empty_like(cavity.mean), torch.empty_like(cavity.variance)
    for kind in present:
        here = kinds == kind
        found = tilted(Marginals(cavity.mean[here], cavity.variance[here]), _points(kind, cavity.mean.dtype))
        mean[here], variance[here] = found
    return Marginals(mean, variance)
