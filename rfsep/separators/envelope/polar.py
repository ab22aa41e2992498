"""Learns how envelope and frequency of an interference vary, from example frames."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import Innovations, fit_innovations
from rfsep.separators.envelope.nuisance import PERIOD, Nuisance, learn_nuisance
from rfsep.types import InputError


class Polar(NamedTuple):
    """An interference in polar coordinates.

    Attributes:
        envelope: of the magnitude over its mean level.
        frequency: of the phase's increments, radians per sample.
    """

    envelope: Innovations
    frequency: Innovations
    nuisance: Nuisance


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
    return Polar(fit_innovations(level, order, freedom), fit_innovations(steps, order, freedom), nuisance)
