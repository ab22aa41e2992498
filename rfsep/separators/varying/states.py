"""States of interference that changes from sample to sample, learned from examples.

In state z the interference along its line and across it is Gaussian,

    along ~ N(mean_z, along_z),  across ~ N(0, across_z),

and the states follow each other as a hidden Markov chain: idle, the chips of weak and strong bursts, and so on.
Interference without a line has the same variance along and across.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.varying.chains import Smoothed, smooth
from rfsep.separators.varying.line import Line

_KEPT, _MARGIN = 128, 24  # samples per chunk
_UNSEEN = 1e-3  # transitions assumed beside those seen
_MOST_STEP = 0.5  # largest step of the logarithm of the gain


class States(NamedTuple):
    """The states, in units of the average interference.

    Attributes:
        transition: float32 [M, M], row-stochastic.
        stationary: float32 [M].
        mean: float32 [M].
        along: float32 [M], variance.
        across: float32 [M], variance.
    """

    transition: Tensor
    stationary: Tensor
    mean: Tensor
    along: Tensor
    across: Tensor


class Spread(NamedTuple):
    """Moments of the interference in each state, seen from an uncertain line: [B, T, M]."""

    mean: Tensor
    along: Tensor
    across: Tensor


class Seen(NamedTuple):
    """A window along and across the line, with the variances of what else is in it: real [B, T]."""

    along: Tensor
    across: Tensor
    along_variance: Tensor
    across_variance: Tensor


def spread_of(states: States, gain: Tensor, line: Line) -> Spread:
    """Returns the moments of each state at gains (powers) [B], averaged over the line's error."""
    power = gain[:, None, None]
    mean = gain.sqrt()[:, None, None] * states.mean
    once, near = line.once[..., None], (1 + line.twice[..., None]) / 2
    total = power * states.along + mean.square()
    across = power * states.across
    return Spread(
        mean * once,
        total * near + across * (1 - near) - (mean * once).square(),
        total * (1 - near) + across * near,
    )


def log_evidence(seen: Seen, spread: Spread) -> Tensor:
    """Log-likelihood of every state at each sample, [B, T, M]."""
    along = spread.along + seen.along_variance[..., None]
    across = spread.across + seen.across_variance[..., None]
    cost = (seen.along[..., None] - spread.mean).square() / along + seen.across[..., None].square() / across
    return -0.5 * (cost + (along * across).log())


def posterior(seen: Seen, states: States, spread: Spread) -> Smoothed:
    """Returns the states' posterior probabilities [B, T, M]."""
    return smooth(log_evidence(seen, spread), states.transition, states.stationary, _KEPT, _MARGIN)


def reestimated(found: Smoothed, seen: Seen, floor: float, one_sided: bool, lined: bool) -> States:
    """Returns the states that fit posteriors on examples without any SOI best: a step of Baum and Welch.

    Args:
        found: posteriors of the states.
        seen: the examples.
        floor: least variance.
        one_sided: whether states have a mean.
        lined: whether the variances along and across differ.
    """
    weights = found.posterior
    count = weights.sum((0, 1)) + 1e-6
    first, second, across = (
        (weights * part[..., None]).sum((0, 1)) / count
        for part in (seen.along, seen.along.square(), seen.across.square())
    )
    mean = first if one_sided else torch.zeros_like(first)
    along = second - mean.square()
    if not lined:
        along = across = (along + across) / 2
    pairs = found.pairs + _UNSEEN
    transition = pairs / pairs.sum(1, keepdim=True)
    return States(transition, count / count.sum(), mean, along.clamp_min(floor), across.clamp_min(floor))


def gain_step(seen: Seen, spread: Spread, weights: Tensor) -> Tensor:
    """Factor [B] of the gain: a step of Fisher scoring on its logarithm."""
    along = spread.along + seen.along_variance[..., None]
    across = spread.across + seen.across_variance[..., None]
    error = seen.along[..., None] - spread.mean
    share, share_across = spread.along / along, spread.across / across
    score = error * spread.mean / along + share * (error.square() / along - 1)
    score = score + share_across * (seen.across[..., None].square() / across - 1)
    information = spread.mean.square() / along + 2 * share.square() + 2 * share_across.square()
    step = (weights * score).sum((1, 2)) / (weights * information).sum((1, 2)).clamp_min(1.0)
    # The score is that of the amplitude, whose logarithm is half that of the power.
    return torch.exp(2 * step.clamp(-_MOST_STEP, _MOST_STEP))
