"""Expectation propagation over the symbols of a narrow-band SOI and the carriers of a 5G NR uplink at a known channel.

`rfsep.separators.inference.expectation_propagation` has the method. Here the window is its decimated band of few
samples, so that all symbols are eliminated at once: with prior variances V the samples have covariance X V X^H + noise,
whose inverse says what every symbol's cavity is.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.band import Band
from rfsep.separators.inference.expectation_propagation import Marginals, Sites, tilted, updated
from rfsep.separators.nr.nr_channel import Channel
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.separators.nr.nr_waves import FAR_CARRIERS, FAR_POWERS, Waves, carrier_waves, sent_waveform
from rfsep.signals.constellations import constellation
from rfsep.signals.nr import NUM_SUBCARRIERS

SOI = -1  # place of the SOI's symbols among those of the interference, 0, 1, ..
_NOISE = 1e-2  # power of white noise that is assumed where there is none
_FADED = 0.01  # of the mean power, below which a carrier counts as no weaker
_LEAST = 1e-12
_RIDGE = 3e-7  # of the mean power: what single precision needs
_DTYPE = torch.complex64  # of the propagation: its white noise keeps covariances regular


class Schedule(NamedTuple):
    """Rounds of propagation.

    Attributes:
        warmth: times the white noise in the first round; it cools geometrically.
        iterations: rounds.
        damping: share of the new in a site.
    """

    warmth: float
    iterations: int
    damping: float


class Share(NamedTuple):
    """What is known of an OFDM symbol, and what is to be detected.

    Attributes:
        grid: complex128 [612], carriers that are known, zero elsewhere; None where all others are unknown, too.
        carriers: int64 [N], numbers of those to be detected.
    """

    grid: Tensor | None
    carriers: Tensor


class Model(NamedTuple):
    """A decimated window as a linear function of unknown symbols.

    Attributes:
        samples: complex128 [Q], without what is known.
        unknown: waves of unknown symbols, by place; the SOI's at `SOI`.
        noise: complex128 [Q, Q], covariance of all else without the white part.
        white: complex128 [Q, Q], covariance of white noise.
    """

    samples: Tensor
    unknown: dict[int, Waves]
    noise: Tensor
    white: Tensor


class Propagated(NamedTuple):
    """What came of propagation.

    Attributes:
        sites: of symbols, by place.
        found: posteriors under the discrete priors, by place.
        misfit: of the decimated window's samples to what the sites say, in standard deviations squared, averaged: at
            most 1 where they agree, far above where some symbols are wrong and sure of it.
    """

    sites: dict[int, Sites]
    found: dict[int, Marginals]
    misfit: float


def make_model(window: Tensor, band: Band, symbols: list[Symbol], shares: list[Share], channel: Channel) -> Model:
    """Model of a window complex128 [T] whose channel is known as well as its posterior says."""
    decimator = band.decimator.real.contiguous()
    unknown = {SOI: Waves(slice(0, len(decimator)), band.response)}
    noise, left = torch.zeros_like(band.noise), window
    doubt, power = channel.doubt(), squared(channel.response())
    doubt = doubt / torch.maximum(power, _FADED * power.mean())
    for place, (symbol, share) in enumerate(zip(symbols, shares, strict=True)):
        if share.grid is None:
            far = carrier_waves(decimator, symbol, channel.taps, FAR_CARRIERS)
            noise[far.rows, far.rows] += (far.values * FAR_POWERS) @ far.values.mH
        else:
            left = left - sent_waveform(symbol, share.grid, channel.taps, len(window))
        if len(share.carriers):
            near = carrier_waves(decimator, symbol, channel.taps, share.carriers)
            unsure = doubt[share.carriers + NUM_SUBCARRIERS // 2]
            noise[near.rows, near.rows] += (near.values * unsure) @ near.values.mH
            unknown[place] = near
    single = {place: Waves(rows, waves.to(_DTYPE)) for place, (rows, waves) in unknown.items()}
    return Model((band.decimator @ left).to(_DTYPE), single, noise.to(_DTYPE), (_NOISE * band.noise).to(_DTYPE))


def priors(model: Model) -> dict[int, Sites]:
    """Sites of symbols of unit power."""
    counts = {place: waves.values.shape[1] for place, waves in model.unknown.items()}
    return {place: Sites(torch.ones(count), torch.zeros(count, dtype=_DTYPE)) for place, count in counts.items()}


def propagate(model: Model, sites: dict[int, Sites], points: Tensor, schedule: Schedule) -> Propagated:
    """Let the symbols of a window tell each other what they are.

    Args:
        model: of the window.
        sites: to start from.
        points: the SOI's constellation complex128 [P].
        schedule: of the rounds.
    """
    points_of_carriers = constellation("qpsk").to(_DTYPE)
    found, misfit = dict[int, Marginals](), torch.zeros(())
    for iteration in range(schedule.iterations):
        heat = schedule.warmth ** (1 - iteration / schedule.iterations)
        cavities, misfit = _cavities(model, sites, heat)
        found = {
            place: tilted(cavity, points if place == SOI else points_of_carriers) for place, cavity in cavities.items()
        }
        sites = {place: updated(sites[place], cavities[place], found[place], schedule.damping) for place in sites}
    return Propagated(sites, found, float(misfit))


def _cavities(model: Model, sites: dict[int, Sites], heat: float) -> tuple[dict[int, Marginals], Tensor]:
    """What everything but a symbol's own site says of it; and the misfit, see `Propagated`."""
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
