"""Tracks the line of the complex plane on which interference lies: a carrier's phase, piece by piece.

An unmodulated carrier that is keyed on and off, or reversed, lies on a line through the origin that turns with the
carrier's offset. The angle is followed by a hidden Markov chain over blocks of samples: it advances by the offset,
drifts, and now and then begins anew, as the next burst does.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.varying.chains import drift_smooth

BLOCK = 8  # samples in which the angle only advances by the offset
_ANGLES = 64
_KEPT, _MARGIN = 64, 16  # blocks per chunk
_NEVER = 1e-12  # A smaller transition probability is far below that of a new angle.


class Turning(NamedTuple):
    """How the line turns.

    Attributes:
        offset: common carrier offset, radians per sample.
        spread: float64 [D], equally likely deviations of a burst's offset, radians per sample.
        drift: standard deviation of the angle's steps between blocks, radians.
        restart: probability per block that the angle begins anew.
        one_sided: the carrier is only keyed, never reversed.
    """

    offset: float
    spread: Tensor
    drift: float
    restart: float
    one_sided: bool


class Evidence(NamedTuple):
    """Log-likelihood of the angles at each sample, Re(first e^-jx + second e^-2jx): complex [B, T] and [B, T]."""

    first: Tensor
    second: Tensor


class Line(NamedTuple):
    """The line at each sample.

    Attributes:
        angle: float [B, T], radians.
        once: float [B, T], E cos of the angle's error, 0..1.
        twice: float [B, T], E cos of twice the error, 0..1.
        log_likelihood: [B], of the evidence.
    """

    angle: Tensor
    once: Tensor
    twice: Tensor
    log_likelihood: Tensor


def track(evidence: Evidence, turning: Turning) -> Line:
    """Returns the line that belongs to the evidence, given in the frame that turns with the common offset."""
    kernels = _kernels(turning)
    backward = kernels.mT.contiguous()

    def step(belief: Tensor, matrix: Tensor) -> Tensor:
        moved = belief.view(len(belief), -1, _ANGLES).transpose(0, 1) @ matrix
        restarted = turning.restart * belief.mean(1, keepdim=True)
        return (1 - turning.restart) * moved.transpose(0, 1).flatten(1) + restarted

    posterior, log_likelihood = drift_smooth(
        _log_evidence(evidence, turning),
        lambda now: step(now, kernels),
        lambda now: step(now, backward),
        _KEPT,
        _MARGIN,
    )
    posterior = posterior.reshape(*posterior.shape[:2], -1, _ANGLES)  # [B, N, D, A]
    over_angles = posterior.sum(2).to(torch.complex64)
    once, twice = (over_angles @ torch.polar(torch.ones(_ANGLES), order * _angles()) for order in (1, 2))  # [B, N]
    centre = once.angle() if turning.one_sided else twice.angle() / 2
    slope = posterior.sum(3) @ turning.spread.float()  # [B, N]
    length = evidence.first.shape[1]
    angle = (centre[..., None] + slope[..., None] * _ramp()).flatten(1)[:, :length]
    sure, twice_sure = (
        (part * torch.polar(torch.ones_like(centre), -order * centre)).real.clamp(0, 1).repeat_interleave(BLOCK, 1)
        for order, part in ((1, once), (2, twice))
    )
    return Line(angle, sure[:, :length], twice_sure[:, :length], log_likelihood)


def _angles() -> Tensor:
    return torch.arange(_ANGLES) * (2 * math.pi / _ANGLES)


def _ramp() -> Tensor:
    """Time of a block's samples from its middle."""
    return torch.arange(BLOCK) - (BLOCK - 1) / 2


def _log_evidence(evidence: Evidence, turning: Turning) -> Tensor:
    """Log-likelihood of offsets and angles in each block, [B, N, D * A]."""
    batch, length = evidence.first.shape
    blocks = -(-length // BLOCK)
    ramp = turning.spread.float()[:, None] * _ramp()  # [D, block]
    parts = []
    for order, part in ((1, evidence.first), (2, evidence.second)):
        padded = torch.nn.functional.pad(part, (0, blocks * BLOCK - length))
        cut = padded.reshape(batch, blocks, BLOCK).to(torch.complex64)
        total = cut @ torch.polar(torch.ones_like(ramp), -order * ramp).T  # [B, N, D]
        parts.append((total[..., None] * torch.polar(torch.ones(_ANGLES), -order * _angles())).real)
    return (parts[0] + parts[1]).flatten(2)


def _kernels(turning: Turning) -> Tensor:
    """Transition of the angle within a block for every offset: float32 [D, A, A]."""
    index = torch.arange(_ANGLES)
    apart = (index - index[:, None]) * (2 * math.pi / _ANGLES)  # column angle minus row angle
    error = apart - turning.spread.float()[:, None, None] * BLOCK
    error = torch.remainder(error + math.pi, 2 * math.pi) - math.pi
    kernel = torch.exp(-error.square() / (2 * turning.drift**2))
    kernel = kernel / kernel.sum(2, keepdim=True)
    return torch.where(kernel > _NEVER, kernel, 0.0)  # Subnormal numbers would slow every step down.
