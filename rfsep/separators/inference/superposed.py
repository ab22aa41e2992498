"""Expectation propagation over a narrow-band SOI's symbols and an OFDM interference's carriers, given the channel.

`rfsep.separators.inference.expectation_propagation` explains the method. Here the window is a decimated band of few
samples, so that all symbols are eliminated at once. With prior variances V the samples have the covariance
X V X^H + noise, and its inverse gives the cavity of every symbol.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.dissection import Cut, cut_between, fits_cut, inverted
from rfsep.separators.inference.expectation_propagation import Marginals, Sites, tilted, updated

# The key of the SOI's symbols; those of the interference are 0, 1, and so on.
SOI = -1

# Numerical guards: the least gain, and a ridge relative to the mean power that single precision needs. The white noise
# keeps covariances regular enough for it.
_LEAST = 1e-12
_RIDGE = 3e-7

# Symbols of the SOI reach few samples each. So many neighbours are taken together.
_NEIGHBOURS = 24
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


class _Part(NamedTuple):
    """Some symbols of a place, the rows that they reach, and their waves complex64 [rows, N]."""

    place: int
    columns: slice
    rows: slice
    waves: Tensor


class _Plan(NamedTuple):
    """How the covariance of a model's samples is put together, and where it is cut to invert it."""

    parts: list[_Part]
    cut: Cut | None


def _plan(model: Model) -> _Plan:
    """Finds which samples of a model the symbols couple."""
    parts = [part for place, waves in model.unknown.items() for part in _parts(place, waves)]
    coupled = (model.noise != 0) | (model.white != 0)
    width = 0
    for part in parts:
        reached = (part.waves != 0).to(torch.float32)
        coupled[part.rows, part.rows] |= reached @ reached.T > 0
        width = max(width, int(reached.sum(0).max())) if part.place == SOI else width
    cut = cut_between([waves.rows for place, waves in model.unknown.items() if place != SOI], len(coupled), width)
    return _Plan(parts, cut if cut is not None and fits_cut(cut, coupled) else None)


def _parts(place: int, waves: Waves) -> list[_Part]:
    """Divides the SOI's symbols into neighbours that reach the same samples; those of an OFDM symbol reach all."""
    count = waves.values.shape[1]
    if place != SOI:
        return [_Part(place, slice(0, count), *waves)]
    found = list[_Part]()
    for first in range(0, count, _NEIGHBOURS):
        columns = slice(first, min(first + _NEIGHBOURS, count))
        reached = (waves.values[:, columns] != 0).any(1).nonzero()[:, 0]
        if len(reached):
            rows = slice(int(reached[0]), int(reached[-1]) + 1)
            here = slice(waves.rows.start + rows.start, waves.rows.start + rows.stop)
            found.append(_Part(place, columns, here, waves.values[rows, columns].contiguous()))
    return found


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
    found, misfit, plan = dict[int, Marginals](), torch.zeros(()), _plan(model)
    for iteration in range(schedule.iterations):
        heat = schedule.warmth ** (1 - iteration / schedule.iterations)
        cavities, misfit = _cavities(model, plan, sites, heat)
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


def _cavities(model: Model, plan: _Plan, sites: dict[int, Sites], heat: float) -> tuple[dict[int, Marginals], Tensor]:
    """Returns every symbol's cavity, which leaves out its own site, and the misfit of `Propagated`."""
    covariance, left = model.noise + heat * model.white, model.samples.clone()
    for part in plan.parts:
        precision = sites[part.place].precision[part.columns]
        covariance[part.rows, part.rows].addmm_(part.waves / precision, part.waves.mH)
    for place, (rows, waves) in model.unknown.items():
        precision, shift = sites[place]
        left[rows] -= waves @ (shift / precision)
    diagonal = covariance.diagonal()
    diagonal += _RIDGE * diagonal.mean()
    inverse, weighed = inverted(covariance, left, plan.cut)
    misfit = (left.conj() @ weighed).real / len(left)
    gains = {place: torch.zeros_like(each.precision) for place, each in sites.items()}
    for part in plan.parts:
        heard = inverse[part.rows, part.rows] @ part.waves
        gains[part.place][part.columns] = (heard * part.waves.conj()).sum(0).real
    cavities = {}
    for place, (rows, waves) in model.unknown.items():
        precision, shift = sites[place]
        gain = gains[place].clamp_min(_LEAST)
        variance = (1 / gain - 1 / precision).clamp_min(1e-9)
        cavities[place] = Marginals(shift / precision + (waves.mH @ weighed[rows]) / gain, variance)
    return cavities, misfit
