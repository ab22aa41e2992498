"""Tells the points that symbols carry, at an unknown amplitude in unknown noise."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rfsep.signals.constellations import posterior_mean_and_variance

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]
_ROUNDS = 60  # most updates
_LOOKED_AT = 1024  # symbols that tell gain and noise, at most twice as many
_SETTLED = 1e-3  # relative change of gain and noise below which they are known
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
    some = symbols[:: max(1, len(symbols) // _LOOKED_AT)]
    power = float(np.mean(np.square(np.abs(some)))) + 1e-30
    unit = float(np.mean(np.square(np.abs(points))))
    gain, noise = math.sqrt(power / unit / 2), power / 2
    for _ in range(_ROUNDS - 1):
        before, (gain, noise) = (gain, noise), _told(some, *_expected(some, points, gain, noise), power / unit)
        if abs(gain - before[0]) < _SETTLED * gain and abs(noise - before[1]) < _SETTLED * noise:
            break
    mean, variance = _expected(symbols, points, gain, noise)
    gain, noise = _told(symbols, mean, variance, power / unit)
    return Soft(mean, float(np.mean(variance)), gain, noise)


def _expected(symbols: Complexes, points: Complexes, gain: float, noise: float) -> tuple[Complexes, Floats]:
    """Returns expected points complex128 [S] and the variances float64 [S] about them."""
    least = _LEAST_NOISE * float(np.mean(np.square(np.abs(points))))
    found = posterior_mean_and_variance(
        torch.from_numpy(symbols / gain), torch.from_numpy(points), max(noise / gain**2, least)
    )
    return found[0].numpy(), found[1].numpy()


def _told(symbols: Complexes, mean: Complexes, variance: Floats, power: float) -> tuple[float, float]:
    """Returns gain and noise of symbols, given what is expected of their points; ``power`` is relative to theirs."""
    energy = float((np.square(np.abs(mean)) + variance).sum())
    gain = max(float(np.vdot(mean, symbols).real) / max(energy, 1e-300), 1e-3 * math.sqrt(power))
    noise = float(np.mean(np.square(np.abs(symbols - gain * mean)) + gain**2 * variance))
    return gain, noise
