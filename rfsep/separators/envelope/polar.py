"""Learns how envelope and frequency of an interference vary, from example frames."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import Innovations, fit_innovations, whitened
from rfsep.separators.envelope.nuisance import PERIOD, Nuisance, learn_nuisance
from rfsep.types import InputError

_LOCAL = 129  # samples
_HARDLY, _ALLOWANCE = 0.99, 1.1


class Polar(NamedTuple):
    """An interference in polar coordinates.

    Attributes:
        envelope: of the magnitude over its mean level.
        frequency: of the phase's increments, radians per sample.
        nuisance: other deviations.
        usual: local misfit, as `linearise` gives it, that the frames themselves hardly exceed.
    """

    envelope: Innovations
    frequency: Innovations
    nuisance: Nuisance
    usual: float


def learn_polar(examples: Tensor, order: int, freedom: float) -> Polar:
    """Learns the model from frames complex64 [F, T]."""
    if examples.numel() == 0 or not torch.isfinite(torch.view_as_real(examples)).all() or not examples.any():
        raise InputError("envelope: the example frames are empty, silent, or hold NaN or infinity")
    size = min(PERIOD, examples.shape[1])
    frames = examples[:, : examples.shape[1] // size * size].reshape(-1, size).to(torch.complex128)
    frames = frames[:: max(1, len(frames) // 100)]
    frames = frames / frames.abs().mean(1, keepdim=True)
    nuisance, rest = learn_nuisance(frames)
    level = rest.abs()
    steps = torch.angle(rest[:, 1:] * rest[:, :-1].conj())
    envelope, frequency = fit_innovations(level, order, freedom), fit_innovations(steps, order, freedom)
    misfit = torch.log1p(whitened(steps - frequency.mean, frequency.taps).square() / frequency.variance / freedom)
    misfit += torch.log1p(whitened(level - envelope.mean, envelope.taps)[:, 1:].square() / envelope.variance / freedom)
    local = misfit.unfold(1, min(_LOCAL, misfit.shape[1]), 16).mean(2).flatten()
    usual = float(local.quantile(_HARDLY)) * _ALLOWANCE
    return Polar(envelope, frequency, nuisance, usual)
