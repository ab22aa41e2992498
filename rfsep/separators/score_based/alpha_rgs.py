"""Alpha-RGS: separation by randomised Gaussian smoothing of two priors that never saw a mixture.

T. Jayashankar, G. C. F. Lee, A. Lancho, A. Weiss, Y. Polyanskiy, G. W. Wornell, "Score-based source separation with
applications to digital communication signals", NeurIPS 2023 (arXiv 2306.14411). The SOI minimises

    -E log p_S(smoothed s) - omega E log p_B(smoothed (y - s) / gain),    omega = kappa^2.

The search steps along the scores of both priors at changing noise levels (algorithm 1).
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rfsep.iq import power, squared
from rfsep.separators.matched_filter import remodulated
from rfsep.separators.score_based.curvature import Curvature
from rfsep.separators.score_based.learned_prior import LearnedPrior
from rfsep.separators.score_based.located import Located, OfdmLocator, ofdm_interference
from rfsep.separators.score_based.noise_levels import FallingLevels, Levels, Step
from rfsep.separators.score_based.ofdm_prior import OfdmPrior
from rfsep.separators.score_based.priors import Prior, PulsePrior
from rfsep.separators.windows import in_windows
from rfsep.signals.constellations import bit_means
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separated

_BATCH_SAMPLES = 32 * 2560  # samples per batch
_CLEAR = 0.5  # Decided carriers show the gain below this ratio of noise to signal, in amplitude.
_LEAST_GAIN = 1e-2
_QUIET = 5  # A window is done after this many iterations without a change.


class _Windows(NamedTuple):
    """The state of windows during the search.

    Attributes:
        mixture: complex64 [B, T].
        prior: the interference's prior at unit power.
        carriers: the analytic prior, which tracks the gain; None to keep the gain.
        gain: complex64 [B].
        soi: complex64 [B, T], the estimate.
        curvature: None for plain gradient steps.
    """

    mixture: Tensor
    prior: Prior
    carriers: OfdmPrior | None
    gain: Tensor
    soi: Tensor
    curvature: Curvature | None


class AlphaRgs:
    """Separates with two priors, analytic or learned: the SOI's pulses, and OFDM at a blindly found timing.

    The published version takes 20,000 plain steps at uniform levels from the matched filter's decisions. Each
    improvement is an argument: falling levels; several noise draws per step; Newton steps among the SOI's symbols; the
    linear estimate as start; a gain that is fitted again; bits from the curvature instead of the last iterate.

    Args:
        modem: the SOI's modem, one data symbol per period; the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], from which its modem is identified if not given.
        interference: modem of the interference, OFDM.
        soi_prior: a learned prior of the SOI; None for the analytic prior of its pulses.
        interference_prior: a learned prior of the interference at unit power; None for the analytic prior of its OFDM.
            A learned prior that is not tied to a grid needs no modem of the interference.
        levels: noise levels and step sizes; None for `FallingLevels`.
        omega: weight of the interference's prior over kappa^2.
        draws: draws of the smoothing noise that every step averages.
        newton: divide the gradient by the curvature among the SOI's symbols, and leave no more room outside the
            interference's subspace than the mixture's noise needs; otherwise plain steps, and the smoothing noise
            there too, as published. Plain steps would diverge without that room.
        start: ``matched_filter``: its decisions, modulated again. ``linear``: the cyclic LMMSE estimate.
        track_gain: fit the interference's gain to its decided carriers while they clear up.
        soft: posterior means of the symbols by the curvature; otherwise the last iterate.
        tolerance: mean change of power below which a window is done; 0 to use all iterations.
        noise_power: power of the white noise in the mixture; None to estimate it.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
        seed: seed of the smoothing noise, the same for every window.

    Raises:
        InputError: options contradict each other, or the examples' modem could not be identified.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        interference: Modem | None = None,
        soi_prior: LearnedPrior | None = None,
        interference_prior: LearnedPrior | None = None,
        levels: Levels | None = None,
        omega: float = 1.0,
        draws: int = 4,
        newton: bool = True,
        start: Literal["matched_filter", "linear"] = "linear",
        track_gain: bool = True,
        soft: bool = True,
        tolerance: float = 0.0,
        noise_power: float | None = None,
        block: int = 2560,
        margin: int = 160,
        seed: int = 0,
    ) -> None:
        if soft and not newton:
            raise InputError("soft=true needs newton=true: soft bits come from the curvature")
        self.modem = modem
        if newton and interference_prior is not None:
            raise InputError("newton=true needs the analytic prior of the interference, whose curvature is known")
        found = _ofdm(examples, interference, interference_prior, start)
        self.locate = None if found is None else OfdmLocator(modem, found, noise_power)
        self.levels = FallingLevels() if levels is None else levels
        self.omega = omega
        self.draws = draws
        self.newton = newton
        self.start = start
        self.track_gain = track_gain
        self.soft = soft
        self.tolerance = tolerance
        self.block = block
        self.margin = margin
        self.seed = seed
        self.prior: Prior = PulsePrior(modem) if soi_prior is None else soi_prior
        self.interference_prior = interference_prior
        self._power = float(modem_autocorrelation(modem, 1).real)

    @property
    def score_evaluations(self) -> int:
        """The most score evaluations per window, of both priors together."""
        return 2 * self.levels.iterations * self.draws

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and hard bits uint8 [B, N]."""
        return in_windows(self._estimate, mixture, self.block, self.margin, self.modem, _BATCH_SAMPLES)

    def _estimate(self, mixture: Tensor) -> Tensor:
        windows = self._prepare(mixture)
        generator = torch.Generator().manual_seed(self.seed)
        quiet = torch.zeros(len(mixture), dtype=torch.int64)
        ratio = 1.0
        for iteration in range(self.levels.iterations):
            step = self.levels.step(iteration, generator)
            ratio = math.sqrt((1 - step.interference) / step.interference)
            if self.track_gain and ratio < _CLEAR:
                windows = _tracked(windows, ratio)
            moved = windows.soi - step.size * self._direction(windows, step, ratio, generator)
            running = (quiet < _QUIET)[:, None]
            change = squared(moved - windows.soi).mean(1)
            windows = windows._replace(soi=torch.where(running, moved, windows.soi))
            quiet = torch.where(change < self.tolerance, quiet + 1, torch.where(quiet < _QUIET, 0, quiet))
            if bool((quiet >= _QUIET).all()):
                break
        return self._decided(windows, ratio) if self.soft else windows.soi

    def _prepare(self, mixture: Tensor) -> _Windows:
        if self.locate is None:
            return self._unsynchronised(mixture)
        located = self.locate(mixture, smoothed_outside=not self.newton, omega=self.omega)
        soi = self._linear(mixture, located) if self.start == "linear" else remodulated(self.modem, mixture)
        curvature = self._curvature(mixture, located) if self.newton else None
        learned = self.interference_prior
        of_interference = located.prior if learned is None else learned.at(located.at.interference_offset)
        return _Windows(mixture, of_interference, located.prior, located.gain, soi, curvature)

    def _unsynchronised(self, mixture: Tensor) -> _Windows:
        """Returns windows with a learned prior, for an unknown modem; their power shows the gain."""
        assert self.interference_prior is not None
        size = (power(mixture) - self._power).clamp_min(_LEAST_GAIN**2).sqrt()
        return _Windows(mixture, self.interference_prior, None, size + 0j, remodulated(self.modem, mixture), None)

    def _linear(self, mixture: Tensor, located: Located) -> Tensor:
        """Returns the estimate of Gaussians with these covariances and timing; see `rfsep.separators.cyclic_lmmse`."""
        setup, at = located.setup, located.at
        reduced = setup.model.reduce(mixture, at.soi_offset, at.interference_offset)
        symbols = setup.model.solve(reduced, at.gain, at.noise_power).symbols
        return setup.grid.synthesise(symbols, at.soi_offset)

    def _curvature(self, mixture: Tensor, located: Located) -> Curvature:
        setup, at, prior = located.setup, located.at, located.prior
        blocks = setup.grid.cut(mixture, at.soi_offset, at.interference_offset)
        constellations = self.modem.constellation, prior.modem.constellation
        return Curvature(setup.grid, blocks, prior, constellations, self.omega)

    def _direction(self, windows: _Windows, step: Step, ratio: float, generator: torch.Generator) -> Tensor:
        """Returns the objective's gradient complex64 [B, T], or the Newton step in units of ``1 / ratio^2``."""
        length, gain = windows.mixture.shape[1], windows.gain[:, None]
        interference = (windows.mixture - windows.soi) / gain
        total = torch.zeros_like(windows.mixture)
        for _ in range(self.draws):
            of_soi = _smoothed(self.prior, windows.soi, step.soi, self.prior.draw(length, generator))
            noise = windows.prior.draw(length, generator)
            of_interference = _smoothed(windows.prior, interference, step.interference, noise)
            total = total + self.omega * gain * of_interference - of_soi
        total = total / self.draws
        if windows.curvature is None:
            return total
        symbols = windows.curvature.newton(self.modem.analyse(total), ratio)
        return self.modem.synthesise(symbols, length)

    def _decided(self, windows: _Windows, ratio: float) -> Tensor:
        """Returns posterior means complex64 [B, T] of the SOI's symbols at the last noise level."""
        if windows.curvature is None:
            return windows.soi
        llr = windows.curvature.soft_bits(self.modem.analyse(windows.soi), ratio)
        return self.modem.synthesise(bit_means(llr, self.modem.constellation), windows.soi.shape[1])


def _ofdm(examples: Tensor, interference: Modem | None, learned: LearnedPrior | None, start: str) -> OfdmModem | None:
    """Returns the interference's modem, or None if a learned prior needs none.

    Raises:
        InputError: a modem is needed, and the interference is no OFDM.
    """
    if learned is not None and learned.period is None and interference is None:
        if start == "linear":
            raise InputError("start=linear needs the interference's modem; choose start=matched_filter")
        return None
    return ofdm_interference(examples, interference)


def _tracked(windows: _Windows, ratio: float) -> _Windows:
    """Updates the windows' gain by the interference's carriers."""
    if windows.carriers is None:
        return windows
    left = (windows.mixture - windows.soi) / windows.gain[:, None]
    gain = windows.gain * windows.carriers.gain(left, ratio**2)
    return windows._replace(gain=torch.where(gain.abs() < _LEAST_GAIN, windows.gain, gain))


def _smoothed(prior: Prior, clean: Tensor, alpha_bar: float, noise: Tensor) -> Tensor:
    """Returns sqrt(alpha_bar) (score + z / sigma) at windows complex64 [B, T] for one draw of noise (eq. 16).

    The score contains -z / sigma, which has mean zero. Adding it back lowers the variance.
    """
    amplitude, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    return amplitude * (prior.score(amplitude * clean + sigma * noise, alpha_bar) + noise / sigma)
