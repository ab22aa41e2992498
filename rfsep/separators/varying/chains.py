"""Forward-backward recursions of hidden Markov chains, over long windows in overlapping chunks.

A chunk begins with the chain's stationary distribution some steps early, by which time it has forgotten it. All chunks
of all windows advance together, which makes few large steps from many small ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-30  # least probability, against 0 / 0
_NEGLIGIBLE = -41.0  # nats: a likelihood 18 decades below the best one


class Smoothed(NamedTuple):
    """Posteriors of a chain.

    Attributes:
        posterior: [B, N, ...], probabilities of the states at each step.
        pairs: [M, M], expected numbers of transitions, summed over the batch.
        log_likelihood: [B], of the evidence.
    """

    posterior: Tensor
    pairs: Tensor
    log_likelihood: Tensor


def in_chunks(evidence: Tensor, kept: int, margin: int) -> Tensor:
    """Cuts log-evidence [B, N, M] into overlapping chunks [n, B * C, M] of n = kept + 2 margin steps."""
    count = -(-evidence.shape[1] // kept)
    padded = torch.nn.functional.pad(evidence, (0, 0, margin, margin + count * kept - evidence.shape[1]))
    chunks = padded.unfold(1, kept + 2 * margin, kept)  # [B, C, M, n]
    return chunks.permute(3, 0, 1, 2).flatten(1, 2).contiguous()


def smooth(log_evidence: Tensor, transition: Tensor, stationary: Tensor, kept: int, margin: int) -> Smoothed:
    """Smooths a chain (Rabiner, Proc. IEEE 77(2), 1989, eqs. 19 to 37).

    Args:
        log_evidence: log-likelihood of every state at each step, real [B, N, M].
        transition: row-stochastic [M, M].
        stationary: [M].
        kept: steps per chunk.
        margin: steps that a chunk begins early and ends late.
    """
    batch, steps, _ = log_evidence.shape
    best = log_evidence.amax(2, keepdim=True)
    evidence = in_chunks(log_evidence - best, kept, margin).exp()
    forward, scale = _forward(evidence, transition, stationary)
    backward = _backward(evidence, transition)
    posterior = _posterior(forward * backward, batch, steps, kept, margin)
    ahead = (evidence * backward)[margin + 1 : margin + kept]
    before = forward[margin : margin + kept - 1]
    norm = ((before @ transition) * ahead).sum(2, keepdim=True).clamp_min(_LEAST)
    pairs = transition * ((before / norm).flatten(0, 1).mT @ ahead.flatten(0, 1))
    return Smoothed(posterior, pairs, _total(scale, best, kept, margin))


def _forward(evidence: Tensor, transition: Tensor, stationary: Tensor) -> tuple[Tensor, Tensor]:
    """Filtered probabilities [n, R, M] and the evidence of each step [n, R]."""
    forward, scale = torch.empty_like(evidence), evidence.new_empty(evidence.shape[:2])
    belief = stationary.expand(evidence.shape[1:])
    for step, seen in enumerate(evidence):
        joint = (belief if step == 0 else belief @ transition) * seen
        total = joint.sum(1, keepdim=True).clamp_min(_LEAST)
        belief = joint / total
        forward[step], scale[step] = belief, total[:, 0]
    return forward, scale


def _backward(evidence: Tensor, transition: Tensor) -> Tensor:
    """Scaled likelihoods of the later evidence, [n, R, M]."""
    backward = torch.empty_like(evidence)
    message = torch.ones_like(evidence[0])
    onward = transition.T.contiguous()
    for step in range(len(evidence) - 1, -1, -1):
        backward[step] = message
        joint = (message * evidence[step]) @ onward
        message = joint / joint.sum(1, keepdim=True).clamp_min(_LEAST)
    return backward


def _likelihood(log_evidence: Tensor) -> Tensor:
    """Returns the exponential, 0 where it is negligible: products with subnormal numbers take fifty times as long."""
    return torch.where(log_evidence > _NEGLIGIBLE, log_evidence, -torch.inf).exp()


def drift_smooth(
    log_evidence: Tensor, move: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], kept: int, margin: int
) -> tuple[Tensor, Tensor]:
    """Smooths a chain whose transition is a function of beliefs [R, M]; see `smooth`.

    Returns:
        posterior [B, N, M] and log-likelihood [B]; the chain begins uniformly.
    """
    batch, steps, states = log_evidence.shape
    best = log_evidence.amax(2, keepdim=True)
    evidence = _likelihood(in_chunks(log_evidence - best, kept, margin))
    forward, scale = torch.empty_like(evidence), evidence.new_empty(evidence.shape[:2])
    belief = evidence.new_full(evidence.shape[1:], 1 / states)
    for step, seen in enumerate(evidence):
        joint = (belief if step == 0 else move(belief)) * seen
        total = joint.sum(1, keepdim=True).clamp_min(_LEAST)
        belief = joint / total
        forward[step], scale[step] = belief, total[:, 0]
    message = torch.ones_like(evidence[0])
    for step in range(len(evidence) - 1, -1, -1):
        forward[step] *= message
        joint = back(message * evidence[step])
        message = joint / joint.sum(1, keepdim=True).clamp_min(_LEAST)
    return _posterior(forward, batch, steps, kept, margin), _total(scale, best, kept, margin)


def _posterior(product: Tensor, batch: int, steps: int, kept: int, margin: int) -> Tensor:
    """Normalises products of messages [n, B * C, M] and joins the chunks: [B, N, M]."""
    inner = product[margin : margin + kept]
    inner = inner / inner.sum(2, keepdim=True).clamp_min(_LEAST)
    return inner.reshape(kept, batch, -1, inner.shape[2]).permute(1, 2, 0, 3).flatten(1, 2)[:, :steps]


def _total(scale: Tensor, best: Tensor, kept: int, margin: int) -> Tensor:
    """Log-likelihood [B] of the evidence, from the scales [n, B * C] of chunks and the largest evidence [B, N, 1]."""
    batch, steps = best.shape[:2]
    logs = scale[margin : margin + kept].log().reshape(kept, batch, -1).permute(1, 2, 0).flatten(1)
    return (logs[:, :steps] + best[..., 0]).sum(1)
