"""Expectation propagation over a narrow-band SOI's symbols and an OFDM interference's carriers, given the channel.

`rfsep.separators.inference.expectation_propagation` explains the method. Here the window is a decimated band of few
samples, so that all symbols are eliminated at once. With prior variances V the samples have the covariance
X V X^H + noise, and its inverse gives the cavity of every symbol.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.expectation_propagation import Marginals, Sites, tilted, updated

# The key of the SOI's symbols; those of the interference are 0, 1, and so on.
SOI = -1

# Numerical guards: the least gain, and a ridge relative to the mean power that single precision needs. The white noise
# keeps covariances regular enough for it.
_LEAST = 1e-12
_RIDGE = 3e-7
DTYPE = torch.complex64


class Waves(NamedTuple):
    """Waveforms of carriers in a decimated window.

    Attributes:
        rows: rows of the window that the carriers reach.
        values: complex128 [rows, N].
    """

    rows: slice
    values: Tensor


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


# Tuned; split not recorded. The channel is fitted again between the quick schedules. Each slow schedule starts anew.
QUICK = (Schedule(100.0, 5, 0.6), Schedule(10.0, 4, 0.6), Schedule(1.0, 6, 0.6))
SLOW = (Schedule(1e4, 40, 0.3), Schedule(1e4, 100, 0.2))

# Tuned; split not recorded. A smaller misfit does not point to wrong symbols. It is mostly 0.1 to 0.5 where symbols are
# right, and 5 to 500 where some are wrong.
FITS = 3.0


class Model(NamedTuple):
    """A decimated window as a linear function of unknown symbols.

    Attributes:
        samples: without the known carriers, complex64 [Q].
        unknown: waves of unknown symbols, by place; the SOI's at `SOI`.
        noise: covariance of everything else but the white part, complex64 [Q, Q].
        white: covariance of the white noise, complex64 [Q, Q].
        tilt: returns the posterior of the interference's symbols at a place, given their cavity.
    """

    samples: Tensor
    unknown: dict[int, Waves]
    noise: Tensor
    white: Tensor
    tilt: Callable[[int, Marginals], Marginals]


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


def priors(model: Model) -> dict[int, Sites]:
    """Returns the sites of symbols of unit power."""
    counts = {place: waves.values.shape[1] for place, waves in model.unknown.items()}
    return {place: Sites(torch.ones(count), torch.zeros(count, dtype=DTYPE)) for place, count in counts.items()}


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
            place: tilted(cavity, points) if place == SOI else model.tilt(place, cavity)
            for place, cavity in cavities.items()
        }
        sites = {place: updated(sites[place], cavities[place], found[place], schedule.damping) for place in sites}
    return Propagated(sites, found, float(misfit))


def detected(
    model_after: Callable[[Propagated | None], Model], points: Tensor, slow: Sequence[Schedule] = SLOW
) -> Propagated:
    """Detects a window's symbols quickly, and slowly again if they do not fit; returns the best fit.

    Propagation that cools too fast may end in symbols that are wrong with high confidence. They do not fit the window.

    Args:
        model_after: returns the window's model, given the last result.
        points: the SOI's constellation complex128 [P].
        slow: schedules to try again with.
    """
    reached: Propagated | None = None
    for schedule in QUICK:
        model = model_after(reached)
        reached = propagate(model, reached.sites if reached else priors(model), points, schedule)
    assert reached is not None
    best = reached
    for schedule in slow:
        if best.misfit < FITS:
            break
        model = model_after(reached)
        reached = propagate(model, priors(model), points, schedule)
        best = min(best, reached, key=lambda one: one.misfit)
    return best


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
