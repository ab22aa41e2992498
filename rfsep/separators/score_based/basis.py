"""BASIS: separation by Langevin dynamics with two priors whose smoothing falls level by level.

V. Jayaram, J. Thickstun, "Source separation with deep generative priors", ICML 2020 (arXiv 2002.07942), and its
modification in T. Jayashankar et al., "Score-based source separation with applications to digital communication
signals", NeurIPS 2023 (arXiv 2306.14411).
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rfsep.separators.matched_filter import remodulated
from rfsep.separators.score_based.located import OfdmLocator, ofdm_interference
from rfsep.separators.score_based.priors import Prior, PulsePrior
from rfsep.separators.windows import in_windows
from rfsep.signals.diffusion_schedule import linear_schedule
from rfsep.types import InputError, Modem, Separated

_BATCH_SAMPLES = 32 * 2560  # samples per batch


class _Problem(NamedTuple):
    """The problem that the dynamics solve.

    Attributes:
        mixture: mixture divided by the gain, complex64 [B, T].
        gain: gain of the interference, complex64 [B, 1].
        prior: the SOI's prior.
        interference_prior: the interference's prior at gain 1.
    """

    mixture: Tensor
    gain: Tensor
    prior: Prior
    interference_prior: Prior


class Basis:
    """Samples the SOI from its posterior with analytic priors, at a blindly found timing of the interference.

    At each noise level ``alpha_bar_n``, most noise first, ``steps`` steps of Langevin dynamics of size ``eta = share
    (1 - alpha_bar_n)``. In units of the interference, ``y / gain = soi / gain + interference``:

    * ``gaussian``, as in BASIS: both signals move, soi += eta (S_S + d / conj(gain)) and interference += eta (S_B + d),
      where d is the residual of the mixture over the smoothing noise's variance;
    * ``constraint``, modified BASIS: interference = (y - soi) / gain, and only the SOI moves. With weight ``one`` it
      moves along |gain| S_S - u S_B, which is |gain| times the gradient of the log-posterior; u is the gain's phase.
      With weight ``kappa_squared`` it moves along S_S - gain S_B.

    As published, the priors see the iterates unscaled, and the dynamics' noise is white with power 2 eta per sample.
    (The published ``sqrt(eta)`` means the same: that noise has unit variance in each of I and Q, while the scores are
    for unit variance per complex sample.) The published code has the wrong sign of d; here it has the sign of BASIS.
    A thousand steps amplify rounding: estimates agree to about 0.01 between different numbers of threads.

    Args:
        modem: the SOI's modem; the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], from which its modem is identified if not given.
        interference: modem of the interference, OFDM.
        likelihood: see above.
        omega: weight of the interference's prior, if the mixture is a constraint.
        levels: evenly spaced among the 50 of the published priors, both ends included.
        steps: steps per level; 100 as published.
        share: step size relative to the noise level; 0.02 as published for ``constraint``, 2e-4 for ``gaussian``. With
            weight ``one`` it has to stay below 2 / |gain|.
        noise_power: power of the white noise in the mixture, for synchronisation alone; None to estimate it.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
        seed: seed of the dynamics' noise, the same for every window.

    Raises:
        InputError: options contradict each other, or the interference is no OFDM.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        interference: Modem | None = None,
        likelihood: Literal["gaussian", "constraint"] = "constraint",
        omega: Literal["one", "kappa_squared"] = "one",
        levels: int = 50,
        steps: int = 100,
        share: float = 0.02,
        noise_power: float | None = None,
        block: int = 2560,
        margin: int = 160,
        seed: int = 0,
    ) -> None:
        if likelihood == "gaussian" and omega != "one":
            raise InputError("omega=kappa_squared needs likelihood=constraint: BASIS samples the posterior itself")
        every = linear_schedule().alpha_bar.tolist()
        if not 2 <= levels <= len(every):
            raise InputError(f"levels is {levels}, expected 2 ... {len(every)}")
        self.modem = modem
        self.locate = OfdmLocator(modem, ofdm_interference(examples, interference), noise_power)
        self.likelihood = likelihood
        self.omega = omega
        self.levels = [every[round((len(every) - 1) * (1 - level / (levels - 1)))] for level in range(levels)]
        self.steps = steps
        self.share = share
        self.block = block
        self.margin = margin
        self.seed = seed
        self.prior = PulsePrior(modem)

    @property
    def score_evaluations(self) -> int:
        """The score evaluations per window, of both priors together."""
        return 2 * len(self.levels) * self.steps

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and hard bits uint8 [B, N]."""
        return in_windows(self._estimate, mixture, self.block, self.margin, self.modem, _BATCH_SAMPLES)

    def _estimate(self, mixture: Tensor) -> Tensor:
        omega = None if self.omega == "one" else 1.0
        located = self.locate(mixture, smoothed_outside=True, omega=omega)
        start = remodulated(self.modem, mixture)
        return self.sample(mixture, located.gain, self.prior, located.prior, start)

    def sample(self, mixture: Tensor, gain: Tensor, prior: Prior, interference_prior: Prior, soi: Tensor) -> Tensor:
        """Runs the dynamics and returns the SOI complex64 [B, T] at their end.

        Args:
            mixture: complex64 [B, T].
            gain: gain of the interference, complex64 [B].
            prior: the SOI's prior.
            interference_prior: the interference's prior at gain 1.
            soi: the SOI at the start, complex64 [B, T].
        """
        generator = torch.Generator().manual_seed(self.seed)
        problem = _Problem(mixture / gain[:, None], gain[:, None], prior, interference_prior)
        step = self._both if self.likelihood == "gaussian" else self._soi_alone
        interference = problem.mixture - soi / problem.gain
        for alpha_bar in self.levels:
            for _ in range(self.steps):
                soi, interference = step(problem, soi, interference, alpha_bar, generator)
        return soi

    def _both(
        self, problem: _Problem, soi: Tensor, interference: Tensor, alpha_bar: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Returns SOI and interference complex64 [B, T] after a step of BASIS."""
        variance = 1 - alpha_bar
        left = (problem.mixture - soi / problem.gain - interference) / variance
        pull = problem.prior.score(soi, alpha_bar) + left / problem.gain.conj()
        other_pull = problem.interference_prior.score(interference, alpha_bar) + left
        size = self.share * variance
        moved = soi + size * pull + _kick(soi, size, generator)
        return moved, interference + size * other_pull + _kick(soi, size, generator)

    def _soi_alone(
        self, problem: _Problem, soi: Tensor, interference: Tensor, alpha_bar: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Returns both after a step of modified BASIS; the interference is the mixture without the SOI."""
        own, other = problem.prior.score(soi, alpha_bar), problem.interference_prior.score(interference, alpha_bar)
        scale = problem.gain.abs() if self.omega == "one" else torch.ones(1)
        size = self.share * (1 - alpha_bar)
        soi = soi + size * (scale * own - problem.gain / scale * other) + _kick(soi, size, generator)
        return soi, problem.mixture - soi / problem.gain


def _kick(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Draws noise complex64 [1, T] for a Langevin step, the same for every window of complex64 [B, T]."""
    return math.sqrt(2 * size) * torch.randn((1, like.shape[1]), dtype=torch.complex64, generator=generator)
