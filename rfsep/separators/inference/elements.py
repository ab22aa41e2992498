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
        symbols: posterior [N] over kinds and points.
        share: posterior probability of each kind, float [N, 4], in the order of `log_likelihoods`.
        log_evidence: log likelihood of the evidence, float [N], without -log pi.
    """

    symbols: Marginals
    share: Tensor
    log_evidence: Tensor


def mixed(cavity: Marginals, share: Tensor) -> Mixed:
    """Returns the posterior of elements [N] that are empty, QPSK, 16-QAM or 64-QAM with shares float [N, 4]."""
    mean, variance = cavity
    ones = torch.ones_like(mean)
    said = log_likelihoods(mean, ones, variance).to(share.dtype) + share.log()
    total = torch.logsumexp(said, 1)
    chance = (said - total[:, None]).exp()
    parts = [tilted(cavity, _points(kind, mean.dtype)) for kind in range(len(NAMES))]
    means = torch.stack([torch.zeros_like(mean), *(part.mean for part in parts)], 1)
    powers = torch.stack([torch.zeros_like(variance), *(squared(part.mean) + part.variance for part in parts)], 1)
    found = (chance * means).sum(1)
    spread = ((chance * powers).sum(1) - squared(found)).clamp_min(_LEAST_VARIANCE)
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
