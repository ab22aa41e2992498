"""The prior of OFDM symbols of several kinds: each block has one constellation on every carrier, or none on some.

Which kind a block has is not known. Its carriers decide together: each kind counts by the evidence of all carriers
for it (the E step of expectation maximisation), and the shares of the kinds in a window follow from that.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.constellations import decide, posterior_mean_and_variance

_LEAST_VARIANCE = 1e-7  # least variance of a decided symbol


class Tilted(NamedTuple):
    """Discrete symbols given Gaussian evidence.

    Attributes:
        mean: complex [B, K, D].
        variance: real [B, K, D].
        kind: int64 [B, K], the likeliest.
    """

    mean: Tensor
    variance: Tensor
    kind: Tensor


class Kinds:
    """The kinds of an interference's blocks.

    Args:
        points: of each kind, complex [D, P]: the points of every carrier, all equally likely; a carrier of fewer points
            repeats them, and an empty one has zeros.
    """

    def __init__(self, points: list[Tensor]) -> None:
        self.points = points
        # With one constellation on all carriers there is nothing to choose.
        self._alone = points[0][0] if len(points) == 1 and bool((points[0] == points[0][0]).all()) else None

    def tilted(self, mean: Tensor, variance: Tensor) -> Tilted:
        """Returns mean and variance of symbols given evidence complex [B, K, D] and its variance real [B, K, D]."""
        if self._alone is not None:
            found, spread = posterior_mean_and_variance(mean, self._alone, variance)
            return Tilted(found, spread.clamp_min(_LEAST_VARIANCE), torch.zeros(mean.shape[:2], dtype=torch.int64))
        metrics = [_metric(mean, points, variance) for points in self.points]
        evidence = self._evidence(metrics)  # [B, K, J]
        share = torch.softmax(evidence, 2)
        share = torch.softmax(evidence + ((share.sum(1, keepdim=True) + 1) / (share.shape[1] + 1)).log(), 2)
        total, power = torch.zeros_like(mean), torch.zeros_like(variance)
        for kind, (metric, points) in enumerate(zip(metrics, self.points, strict=True)):
            weight = torch.softmax(metric, 3) * share[:, :, kind, None, None]
            total = total + (weight * points).sum(3)
            power = power + (weight * squared(points)).sum(3)
        return Tilted(total, (power - squared(total)).clamp_min(_LEAST_VARIANCE), share.argmax(2))

    def log_evidence(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Returns log E of the prior under Gaussian evidence, of each block real [B, K], without -log pi."""
        evidence = self._evidence([_metric(mean, points, variance) for points in self.points])
        total: Tensor = torch.logsumexp(evidence, 2) - math.log(len(self.points))
        return total - variance.log().sum(2)

    def decide(self, mean: Tensor, kind: Tensor) -> Tensor:
        """Returns the nearest points complex [B, K, D] of blocks of the kinds int64 [B, K]."""
        if self._alone is not None:
            return decide(mean, self._alone)
        found = torch.zeros_like(mean)
        for which, points in enumerate(self.points):
            place = squared(mean[..., None] - points).argmin(3, keepdim=True)  # [B, K, D, 1]
            nearest = points.expand(*mean.shape, -1).gather(3, place)[..., 0]
            found = torch.where((kind == which)[:, :, None], nearest, found)
        return found

    def _evidence(self, metrics: list[Tensor]) -> Tensor:
        """Log evidence real [B, K, J] of every kind, from metrics [B, K, D, P]."""
        found = [(torch.logsumexp(one, 3) - math.log(one.shape[3])).sum(2) for one in metrics]
        return torch.stack(found, 2)


def _metric(mean: Tensor, points: Tensor, variance: Tensor) -> Tensor:
    return -squared(mean[..., None] - points) / variance[..., None]
