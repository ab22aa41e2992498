"""At which noise levels priors are asked while a separator iterates, and how far it goes at each."""

import math
from typing import NamedTuple, Protocol

import torch

from rfsep.signals.diffusion_schedule import linear_schedule


class Step(NamedTuple):
    """One iteration: the levels alpha_bar of SOI and interference, and what the gradient is multiplied by."""

    soi: float
    interference: float
    size: float


class Levels(Protocol):
    """Noise levels and step sizes of a run."""

    iterations: int

    def step(self, iteration: int, generator: torch.Generator) -> Step:
        """Of one iteration, counted from 0."""
        ...


class UniformLevels:
    """As alpha-RGS was published: both levels drawn from 1 ... 49 of 50, and a step that falls as half a cosine.

    Args:
        iterations: of the whole run.
        most: first step.
        least: last step.
    """

    def __init__(self, iterations: int = 20000, most: float = 5e-3, least: float = 1e-6) -> None:
        self.iterations = iterations
        self.most = most
        self.least = least
        self._alpha_bar = linear_schedule().alpha_bar.tolist()

    def step(self, iteration: int, generator: torch.Generator) -> Step:
        """See `Levels`."""
        soi, interference = torch.randint(1, len(self._alpha_bar), (2,), generator=generator).tolist()
        fallen = (1 + math.cos(math.pi * iteration / self.iterations)) / 2
        return Step(self._alpha_bar[soi], self._alpha_bar[interference], self.least + (self.most - self.least) * fallen)


class FallingLevels:
    """One level for both priors that falls geometrically: annealing, from nearly convex to nearly exact.

    Args:
        iterations: of the whole run.
        first: ratio of noise to signal at the beginning, in amplitude.
        last: at the end.
        share: of a full step, which is that ratio in power: the inverse curvature of a decided symbol.
    """

    def __init__(self, iterations: int = 30, first: float = 0.3, last: float = 0.05, share: float = 0.7) -> None:
        self.iterations = iterations
        self.first = first
        self.last = last
        self.share = share

    def step(self, iteration: int, generator: torch.Generator) -> Step:
        """See `Levels`."""
        ratio = self.first * (self.last / self.first) ** (iteration / max(1, self.iterations - 1))
        alpha_bar = 1 / (1 + ratio**2)
        return Step(alpha_bar, alpha_bar, self.share * ratio**2)
