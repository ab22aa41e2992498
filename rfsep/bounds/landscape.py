"""The exact loss of alpha-RGS over one real symbol of each signal, which shows the effect of its weight omega.

T. Jayashankar et al., "Score-based source separation with applications to digital communication signals", NeurIPS 2023
(arXiv 2306.14411), section 4. For y = s + gain b and an estimate theta of s, at noise level alpha_bar, the loss is

    L(theta) = -E log p_S(amplitude theta + sigma z) - omega E log p_B(amplitude (y - theta) / gain + sigma z)

with z real Gaussian noise of unit variance, amplitude^2 = alpha_bar, sigma^2 = 1 - alpha_bar, and p the densities of
the discrete symbols in that noise.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rfsep.types import InputError

_REACH, _NODES = 8.0, 1001  # range and number of noise values z in the sum that replaces the expectation


class Landscape:
    """Symbols of a SOI and an interference, and the mixture of one of each.

    Args:
        soi: float [P], levels of the SOI.
        interference: float [Q], levels of the interference.
        gain: kappa.
        sent: index of the sent level of each signal.
        smoothing: float [L], noise levels 1 - alpha_bar over which the loss is averaged.
        reach: estimates theta lie between minus and plus this value.
        points: number of estimates.

    Raises:
        InputError: a noise level is not between 0 and 1.
    """

    def __init__(
        self,
        soi: Sequence[float],
        interference: Sequence[float],
        gain: float,
        sent: tuple[int, int],
        smoothing: Sequence[float],
        reach: float = 2.0,
        points: int = 201,
    ) -> None:
        if not smoothing or min(smoothing) <= 0 or max(smoothing) >= 1:
            raise InputError(f"smoothing is {list(smoothing)}, expected levels between 0 and 1")
        self.soi, self.interference = (torch.tensor(list(levels)).double() for levels in (soi, interference))
        self.gain = gain
        self.truth = float(self.soi[sent[0]])
        self.mixture = self.truth + gain * float(self.interference[sent[1]])
        self.smoothing = list(smoothing)
        self.theta = torch.linspace(-reach, reach, points, dtype=torch.float64)

    def _averaged(self, levels: Tensor, clean: Tensor) -> Tensor:
        """Returns -E log p of levels at clean values float64 [G], for every noise level: float64 [L, G]."""
        return torch.stack([expected_loss(levels, clean, 1 - smoothing) for smoothing in self.smoothing])

    def study(self) -> dict[str, Any]:
        """Returns the losses and figures derived from them, as results.json holds them.

        Returns:
            ``theta`` [G], ``smoothing`` [L] and the sent SOI, ``truth``. For each weight, ``one`` and
            ``kappa_squared``: ``omega``; ``loss`` [L, G]; its mean over levels ``averaged`` [G]; the place ``least`` of
            the mean's minimum; all its local ``minima``; ``difference`` [L], the least loss at a false symbol minus
            that at the true one; and ``quadratic_difference`` [L], see `quadratic_difference`.
        """
        others = torch.tensor([level for level in self.soi.tolist() if level != self.truth]).double()
        at = torch.cat((self.theta, others, torch.tensor([self.truth]).double()))
        own = self._averaged(self.soi, at)  # [L, G + P]
        other = self._averaged(self.interference, (self.mixture - at) / self.gain)
        content: dict[str, Any] = {"theta": self.theta.tolist(), "smoothing": self.smoothing, "truth": self.truth}
        for name, omega in (("one", 1.0), ("kappa_squared", self.gain**2)):
            loss = own + omega * other
            content[name] = {"omega": omega, **self._said(loss, omega)}
        return content

    def _said(self, loss: Tensor, omega: float) -> dict[str, Any]:
        """Summarises losses float64 [L, G + P] on the grid, at the false symbols and at the true one."""
        count = len(self.theta)
        averaged = loss.mean(0)
        grid = averaged[:count]
        inner = (grid[1:-1] < grid[:-2]) & (grid[1:-1] < grid[2:])
        distance = min(abs(level - self.truth) for level in self.soi.tolist() if level != self.truth)
        return {
            "loss": loss[:, :count].tolist(),
            "averaged": grid.tolist(),
            "least": float(self.theta[grid.argmin()]),
            "minima": self.theta[1:-1][inner].tolist(),
            "difference": (loss[:, count:-1].amin(1) - loss[:, -1]).tolist(),
            "quadratic_difference": [
                quadratic_difference(distance, self.gain, omega, 1 - smoothing) for smoothing in self.smoothing
            ],
        }


def expected_loss(levels: Tensor, clean: Tensor, alpha_bar: float) -> Tensor:
    """Returns -E log p(sqrt(alpha_bar) x + sigma z) of equally likely levels [P] at values x [G]: all float64.

    The expectation is a sum over z. Only the integrand's kinks between two levels cost accuracy.

    >>> nothing = torch.zeros(1, dtype=torch.float64)
    >>> round(float(expected_loss(nothing, nothing, 0.99)) - math.log(0.1), 6)
    1.418939
    """
    sigma, amplitude = math.sqrt(1 - alpha_bar), math.sqrt(alpha_bar)
    z = torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64)  # [Z]
    weight = torch.exp(-z.square() / 2)
    seen = amplitude * clean[:, None] + sigma * z  # [G, Z]
    exponent = -((seen[..., None] - amplitude * levels) / sigma).square() / 2  # [G, Z, P]
    log_density = torch.logsumexp(exponent, -1) - math.log(len(levels) * sigma * math.sqrt(2 * math.pi))
    return -(log_density @ weight) / weight.sum()


def quadratic_difference(distance: float, gain: float, omega: float, alpha_bar: float) -> float:
    """Returns the loss at a false symbol minus that at the true one, for noise far below the distance of levels.

    The SOI's term is the same at both levels. At the false one the interference is off its level by ``distance /
    gain``, which costs omega alpha_bar (distance / gain)^2 / (2 sigma^2). If omega is the gain's square, the gain
    cancels.

    >>> round(quadratic_difference(2.0, 10.0, 100.0, 0.5), 9)
    2.0
    """
    return omega * alpha_bar * (distance / gain) ** 2 / (2 * (1 - alpha_bar))
