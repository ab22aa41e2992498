"""Kinds of resource elements of 5G NR: known ones, empty ones, and points of QPSK, 16-QAM and 64-QAM."""

from functools import cache

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.expectation_propagation import Marginals, tilted
from rfsep.signals.constellations import constellation, decide

KNOWN, EMPTY = -1, -2  # kinds below zero; the others are places in NAMES
NAMES = ("qpsk", "qam16", "qam64")
QPSK = 0


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
