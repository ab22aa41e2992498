"""Tells the points that symbols carry, at an unknown amplitude in unknown noise."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rfsep.signals.constellations import posterior_mean_and_variance

Complexes = npt.NDArray[np.complex128]
_ROUNDS = 12
_LEAST_NOISE = 1e-6  # relative to the points' power


class Soft(NamedTuple):
    """What symbols tell about the points sent.

    Attributes:
        mean: expected points complex128 [S].
        variance: mean variance about them.
        gain: amplitude of the points in the symbols.
        noise: variance of the symbols about the points, at that amplitude.
    """

    mean: Complexes
    variance: float
    gain: float
    noise: float


def soft_symbols(symbols: Complexes, points: Complexes) -> Soft:
    """Returns expected points of symbols complex128 [S], by expectation maximisation over their gain and noise.

    Args:
        symbols: without carrier and phase.
        points: constellation complex128 [P].
    """
    power = float(np.mean(np.square(np.abs(symbols)))) + 1e-30
    unit = float(np.mean(np.square(np.abs(points))))
    gain, noise = math.sqrt(power / unit / 2), power / 2
    held = torch.from_numpy(points)
    mean, variance = np.zeros_like(symbols), np.ones(len(symbols))
    for _ in range(_ROUNDS):
        found = posterior_mean_and_variance(
            torch.from_numpy(symbols / gain), held, max(noise / gain**2, _LEAST_NOISE * unit)
        )
        mean, variance = found[0].numpy(), found[1].numpy()
        energy = float((np.square(np.abs(mean)) + variance).sum())
        gain = max(float(np.vdot(mean, symbols).real) / max(energy, 1e-300), 1e-3 * math.sqrt(power / unit))
        noise = float(np.mean(np.square(np.abs(symbols - gain * mean)) + gain**2 * variance))
    return Soft(mean, float(np.mean(variance)), gain, noise)
