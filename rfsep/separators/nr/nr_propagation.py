"""Expectation propagation over a narrow-band SOI's symbols and a 5G NR uplink's carriers, given the channel.

`rfsep.separators.inference.expectation_propagation` explains the method. Here the window is a decimated band of few
samples, so that all symbols are eliminated at once. With prior variances V the samples have the covariance
X V X^H + noise, and its inverse gives the cavity of every symbol.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.band import Band
from rfsep.separators.inference.expectation_propagation import Marginals, Sites, tilted, updated
from rfsep.separators.nr.nr_channel import Channel
from rfsep.separators.nr.nr_elements import QPSK, tilted_kinds
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.separators.nr.nr_waves import FAR_CARRIERS, FAR_POWERS, Waves, carrier_waves, sent_waveform
from rfsep.signals.nr.numerology import NUM_SUBCARRIERS

# The key of the SOI's symbols; those of the interference are 0, 1, and so on.
SOI = -1

# Tuned; split not recorded. The power of white noise that is assumed even where there is none.
_NOISE = 1e-2

# Tuned; split not recorded. A carrier counts as no weaker than this share of the mean power.
_FADED = 0.01

# Numerical guards: the least gain, and a ridge relative to the mean power that single precision needs. The white noise
# keeps covariances regular enough for it.
_LEAST = 1e-12
_RIDGE = 3e-7
_DTYPE = torch.complex64


class Schedule(NamedTuple):
    """Rounds of propagation.

    Attributes:
        warmth: factor of the white noise in the first round; it falls geometrically.
        iterations: number of rounds.
        damping: share of the new value in a site.
    """

    warmth: float
    iterations: int
    damping: float


class Share(NamedTuple):
    """The known carriers of an OFDM symbol, and those to detect.

    Attributes:
        grid: known carriers, complex128 [612], zero elsewhere; None where there are none.
        carriers: numbers of the carriers to detect, int64 [N].
        kinds: their constellations, int64 [N], see `rfsep.separators.nr.nr_elements`; None: QPSK.
        far: carriers beyond `NEAR` are unknown, too.
    """

    grid: Tensor | None
    carriers: Tensor
    kinds: Tensor | None = None
    far: bool = False


class Model(NamedTuple):
    """A decimated window as a linear function of unknown symbols.

    Attributes:
        samples: without the known carriers, complex128 [Q].
        unknown: waves of unknown symbols, by place; the SOI's at `SOI`.
        noise: covariance of everything else but the white part, complex128 [Q, Q].
        white: covariance of the white noise, complex128 [Q, Q].
        kinds: constellations of the interference's unknown symbols, int64 [N] by place.
    """

    samples: Tensor
    unknown: dict[int, Waves]
    noise: Tensor
    white: Tensor
    kinds: dict[int, Tensor]


class Propagated(NamedTuple):
    """The result of propagation.

    Attributes:
        sites: of the symbols, by place.
        found: posteriors under the discrete priors, by place.
        misfit: mean squared deviation of the decimated samples from the sites' prediction, in standard deviations. It
            is at most 1 where they agree, and far above where some symbols are wrong with high confidence.
    """

    sites: dict[int, Sites]
    found: dict[int, Marginals]
    misfit: float


def make_model(
    window: Tensor, band: Band, symbols: list[Symbol], shares: list[Share], channel: Channel, noise_power: float
) -> Model:
    """Builds the model of a window complex128 [T]; the channel's posterior variance enters as noise.

    Args:
        window: samples.
        band: the SOI's.
        symbols: of the interference.
        shares: known and unknown carriers of each.
        channel: of the interference.
        noise_power: of the white noise; a little is assumed where there is none.
    """
    decimator = band.decimator.real.contiguous()
    unknown = {SOI: Waves(slice(0, len(decimator)), band.response)}
    noise, left, kinds = torch.zeros_like(band.noise), window, dict[int, Tensor]()
    doubt, power = channel.doubt(), squared(channel.response())
    doubt = doubt / torch.maximum(power, _FADED * power.mean())
    for place, (symbol, share) in enumerate(zip(symbols, shares, strict=True)):
        if share.far:
            far = carrier_waves(decimator, symbol, channel.taps, FAR_CARRIERS)
            noise[far.rows, far.rows] += (far.values * FAR_POWERS) @ far.values.mH
        if share.grid is not None:
            left = left - sent_waveform(symbol, share.grid, channel.taps, len(window))
        if len(share.carriers):
            near = carrier_waves(decimator, symbol, channel.taps, share.carriers)
            unsure = doubt[share.carriers + NUM_SUBCARRIERS // 2]
            noise[near.rows, near.rows] += (near.values * unsure) @ near.values.mH
            unknown[place] = near
            kinds[place] = torch.full_like(share.carriers, QPSK) if share.kinds is None else share.kinds
    single = {place: Waves(rows, waves.to(_DTYPE)) for place, (rows, waves) in unknown.items()}
    white = (max(_NOISE, noise_power) * band.noise).to(_DTYPE)
    return Model((band.decimator @ left).to(_DTYPE), single, noise.to(_DTYPE), white, kinds)


def priors(model: Model) -> dict[int, Sites]:
    """Returns the sites of symbols of unit power."""
    counts = {place: waves.values.shape[1] for place, waves in model.unknown.items()}
    return {place: Sites(torch.ones(count), torch.zeros(count, dtype=_DTYPE)) for place, count in counts.items()}


def propagate(model: Model, sites: dict[int, Sites], points: Tensor, schedule: Schedule) -> Propagated:
    """Runs expectation propagation over the symbols of a window.

    Args:
        model: of the window.
        sites: at the start.
        points: the SOI's constellation complex128 [P].
        schedule: of the rounds.
    """
    found, misfit = dict[int, Marginals](), torch.zeros(())
    for iteration in range(schedule.iterations):
        heat = schedule.warmth ** (1 - iteration / schedule.iterations)
        cavities, misfit = _cavities(model, sites, heat)
        found = {
            place: tilted(cavity, points) if place == SOI else tilted_kinds(cavity, model.kinds[place])
            for place, cavity in cavities.items()
        }
        sites = {place: updated(sites[place], cavities[place], found[place], schedule.damping) for place in sites}
    return Propagated(sites, found, float(misfit))


def _cavities(model: Model, sites: dict[int, Sites], heat: float) -> tuple[dict[int, Marginals], Tensor]:
    """Returns every symbol's cavity, which leaves out its own site, and the misfit of `Propagated`."""
    covariance, left = model.noise + heat * model.white, model.samples.clone()
    for place, (rows, waves) in model.unknown.items():
        precision, shift = sites[place]
        covariance[rows, rows] += (waves / precision) @ waves.mH
        left[rows] -= waves @ (shift / precision)
    diagonal = covariance.diagonal()
    diagonal += _RIDGE * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    weighed = inverse @ left
    misfit = (left.conj() @ weighed).real / len(left)
    cavities = {}
    for place, (rows, waves) in model.unknown.items():
        precision, shift = sites[place]
        gain = ((inverse[rows, rows] @ waves) * waves.conj()).sum(0).real.clamp_min(_LEAST)
        variance = (1 / gain - 1 / precision).clamp_min(1e-9)
        cavities[place] = Marginals(shift / precision + (waves.mH @ weighed[rows]) / gain, variance)
    return cavities, misfit
