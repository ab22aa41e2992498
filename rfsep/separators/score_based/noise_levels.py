"""Schedules of the noise levels and step sizes of a score-based separator."""

import math
from typing import NamedTuple, Protocol

import torch

from rfsep.signals.diffusion_schedule import linear_schedule


class Step(NamedTuple):
    """One iteration: the levels alpha_bar of SOI and interference, and the factor of the gradient."""

    soi: float
    interference: float
    size: float


class Levels(Protocol):
    """Noise levels and step sizes of a run."""

    iterations: int

    def step(self, iteration: int, generator: torch.Generator) -> Step:
        """Returns the step of one iteration, counted from 0."""
        ...


class UniformLevels:
    """The published alpha-RGS schedule: both levels drawn from 1 ... 49 of 50, and a half-cosine step size.

    Args:
        iterations: number of iterations of the whole run.
        most: first step size.
        least: last step size.
    """

    def __init__(self, iterations: int = 20000, most: float = 5e-3, least: float = 1e-6) -> None:
        self.iterations = iterations
        self.most = most
        self.least = least
        self._alpha_bar = linear_schedule().alpha_bar.tolist()

    def step(self, iteration: int, generator: torch.Generator) -> Step:
        """Returns the step of one iteration; see `Levels`."""
        soi, interference = torch.randint(1, len(self._alpha_bar), (2,), generator=generator).tolist()
        fallen = (1 + math.cos(math.pi * iteration / self.iterations)) / 2
        return Step(self._alpha_bar[soi], self._alpha_bar[interference], self.least + (self.most - self.least) * fallen)


class FallingLevels:
    """One geometrically falling level for both priors: annealing, from nearly convex to nearly exact.

    Args:
        iterations: number of iterations of the whole run.
        first: ratio of noise to signal at the beginning, in amplitude.
        last: the same ratio at the end.
        share: share of a full step. A full step is the ratio in power, the inverse curvature of a decided symbol.
    """

    def __init__(self, iterations: int = 30, first: float = 0.3, last: float = 0.05, share: float = 0.7) -> None:
        self.iterations = iterations
        self.first = first
        self.last = last
        self.share = share

    def step(self, iteration: int, generator: torch.Generator) -> Step:
        """Returns the step of one iteration; see `Levels`."""
        ratio = self.first * (self.last / self.first) ** (iteration / max(1, self.iterations - 1))
        alpha_bar = 1 / (1 + ratio**2)
        return Step(alpha_bar, alpha_bar, self.share * ratio**2)
