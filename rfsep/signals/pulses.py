"""Pulse shapes."""

import math

import torch
from torch import Tensor


def root_raised_cosine(samples_per_symbol: int, roll_off: float, num_taps: int, *, unit_energy: bool = True) -> Tensor:
    """Returns a root-raised-cosine pulse centred on its middle tap.

    The closed form of Proakis & Salehi, Digital Communications, 5th ed., problem 9.20, with its limits at
    t = 0 and t = +-T/(4 roll_off).

    Args:
        samples_per_symbol: samples T per symbol.
        roll_off: excess bandwidth, 0 < roll_off <= 1.
        num_taps: odd number; span * samples_per_symbol + 1 covers ``span`` symbols.
        unit_energy: scale to energy 1; otherwise keep the continuous pulse of energy ~ samples_per_symbol
            (peak 1 - roll_off + 4 roll_off / pi), which is CommPy's convention.

    Returns:
        float64 [num_taps].

    >>> h = root_raised_cosine(16, 0.5, 129)
    >>> round(float(h.square().sum()), 6), bool(torch.allclose(h, h.flip(0)))
    (1.0, True)
    """
    if num_taps % 2 == 0:
        raise ValueError(f"num_taps must be odd, so that the pulse has a middle; got {num_taps}")
    if not 0 < roll_off <= 1:
        raise ValueError(f"roll_off must lie in (0, 1]; got {roll_off}")
    t = (torch.arange(num_taps, dtype=torch.float64) - (num_taps - 1) / 2) / samples_per_symbol
    sine = torch.sin(math.pi * t * (1 - roll_off))
    cosine = 4 * roll_off * t * torch.cos(math.pi * t * (1 + roll_off))
    denominator = math.pi * t * (1 - (4 * roll_off * t) ** 2)
    at_zero = t.abs() < 1e-12
    at_pole = (t.abs() - 1 / (4 * roll_off)).abs() < 1e-9
    pulse = (sine + cosine) / torch.where(at_zero | at_pole, torch.ones_like(t), denominator)
    pulse[at_zero] = 1 - roll_off + 4 * roll_off / math.pi
    angle = math.pi / (4 * roll_off)
    pulse[at_pole] = (
        roll_off / math.sqrt(2) * ((1 + 2 / math.pi) * math.sin(angle) + (1 - 2 / math.pi) * math.cos(angle))
    )
    return pulse / pulse.square().sum().sqrt() if unit_energy else pulse
