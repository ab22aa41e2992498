"""Reverse diffusion: treats a mixture as noisy interference, which the interference's prior alone cleans.

A baseline of T. Jayashankar et al., "Score-based source separation with applications to digital communication signals",
NeurIPS 2023 (arXiv 2306.14411): the SOI, far below the interference, stands in for the noise of a diffusion prior.
"""

import math

import torch
from torch import Tensor

from rfsep.separators.score_based.learned_prior import LearnedPrior
from rfsep.separators.score_based.located import OfdmLocator, ofdm_interference
from rfsep.separators.windows import in_windows
from rfsep.signals.diffusion_schedule import ancestral_samples, linear_schedule
from rfsep.types import InputError, Modem, Separated

_BATCH_SAMPLES = 32 * 2560  # samples per batch


class ReverseDiffusion:
    """Subtracts from the mixture the interference that a diffusion prior samples.

    The mixture over the gain stands for the last of ten levels of weak noise, beta = 1e-4 ... 1e-3 evenly spaced. The
    network is evaluated at the fractional steps of its own schedule that have these levels.

    Args:
        modem: the SOI's modem; the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], from which its modem is identified if not given.
        interference_prior: a learned prior of the interference at unit power.
        interference: modem of the interference, OFDM, whose timing, gain and phase are found blindly.
        levels: number of levels of weak noise.
        first: beta of the first level.
        last: beta of the last level, from which sampling begins.
        noise_power: power of the white noise in the mixture, for synchronisation alone; None to estimate it.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
        seed: seed of the sampling's noise, the same for every window.

    Raises:
        InputError: there is no prior, or the interference is no OFDM.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        interference_prior: LearnedPrior | None = None,
        interference: Modem | None = None,
        levels: int = 10,
        first: float = 1e-4,
        last: float = 1e-3,
        noise_power: float | None = None,
        block: int = 2560,
        margin: int = 160,
        seed: int = 0,
    ) -> None:
        if interference_prior is None:
            raise InputError("reverse_diffusion needs interference_prior: a run of objective=ddpm, or zoo:NAME")
        self.modem = modem
        self.prior = interference_prior
        self.locate = OfdmLocator(modem, ofdm_interference(examples, interference), noise_power)
        self.schedule = linear_schedule(levels, first, last)
        self.block = block
        self.margin = margin
        self.seed = seed

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and hard bits uint8 [B, N]."""
        return in_windows(self._estimate, mixture, self.block, self.margin, self.modem, _BATCH_SAMPLES)

    def _estimate(self, mixture: Tensor) -> Tensor:
        located = self.locate(mixture, smoothed_outside=True, omega=None)
        prior, gain = self.prior.at(located.at.interference_offset), located.gain[:, None]
        generator = torch.Generator().manual_seed(self.seed)

        def noise(noisy: Tensor, step: Tensor) -> Tensor:
            own = prior.schedule.step_of(float(self.schedule.alpha_bar[step[0]]))
            return prior.noise(noisy, torch.full(step.shape, own))

        def fresh() -> Tensor:
            return prior.draw(mixture.shape[1], generator)

        start = math.sqrt(float(self.schedule.alpha_bar[-1])) * mixture / gain
        return mixture - gain * ancestral_samples(noise, self.schedule, start, fresh)
