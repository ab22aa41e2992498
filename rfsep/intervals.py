"""95 % intervals of means over mixtures, resampled by what is independent: mixtures, or recordings of several mixtures.

The Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981) gives each independent unit an exponential weight, the same
at every level, so that errors that levels share stay shared. Two changes make its intervals cover:

* Deviations in dB are stretched to those of Student's t, because few units vary less than what they were drawn from.
* The upper end counts one more unit, unseen and as bad as the worst, and one more mixture, unseen and failing. Where a
  mixture fails or has no error, both ends are then those of Clopper and Pearson (Biometrika 26, 1934) for the rate of
  failing mixtures, times their error (Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the
  mean of a nonnegative variable", Mathematical Methods of Statistics 14, 2005).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NUM_DRAWS = 2000
TAIL = 0.025  # probability beyond each end of a 95 % interval
_BLOCK = 1024  # units that are weighted at once: 16 MB
_MOST_OF_THE_ERROR = 0.9  # Mixtures fail if they hold this share of a level's error
_FEW = 0.1  # and are at most this share of its mixtures.


class Failing(NamedTuple):
    """The mixtures that hold nearly all of a level's error; 0 where it is spread over many."""

    mixtures: int
    share: float


class Resampled(NamedTuple):
    """Means of a level and what they might have been with other mixtures.

    Attributes:
        mean: float64 [L].
        deviation: float64 [D, L], natural logarithm of a draw's mean over ``mean``.
        worst: float64 [L], mean of the worst unit.
        another_unit: float64 [D, L], weight of a unit that was not seen.
        another_mixture: float64 [D, L], weight of a mixture that was not seen.
        stretch: float64 [L], factor of ``deviation`` for the mean of a level.
        stretch_together: float64 [L], the same for a mean over levels.
    """

    mean: Floats
    deviation: Floats
    worst: Floats
    another_unit: Floats
    another_mixture: Floats
    stretch: Floats
    stretch_together: Floats


class Draws(NamedTuple):
    """Draws of the means of all levels.

    Attributes:
        seen: float64 [D, L], from the mixtures that there are; for lower ends.
        feared: float64 [D, L], with a unit and a mixture that were not seen; for upper ends.
    """

    seen: Floats
    feared: Floats


def resample(values: Floats, level: Ints, unit: Ints) -> list[Resampled]:
    """Resamples the means of several figures at every level, all with the same weights.

    Args:
        values: float64 [K, M], not negative: K figures of each mixture.
        level: int64 [M], index of the mixture's level, from 0 without gaps.
        unit: int64 [M], index of the independent unit that the mixture belongs to, likewise.
    """
    rng = np.random.default_rng(0)
    num_levels, num_units = int(level.max()) + 1, int(unit.max()) + 1
    columns = (np.ones(len(level)), *values)
    places = unit * num_levels + level
    flat = np.array([np.bincount(places, column, num_units * num_levels) for column in columns], dtype=np.float64)
    sums = flat.reshape(len(columns), num_units, num_levels)  # [K + 1, G, L]
    drawn = _weighted(sums, rng)  # [K + 1, D, L]
    count, units = sums[0].sum(0), (sums[0] > 0).sum(0).astype(np.float64)  # [L]
    another_unit, another_mixture = (1 - _uniform(num_levels, rng) ** (1 / number) for number in (units, count))
    # Units of one level each leave a degree of freedom less per level, units of all levels one in all.
    together = num_units * (1 - num_levels / units.sum())
    stretches = [_stretch(units, freedom) for freedom in (units - 1, np.full(num_levels, together))]
    found = []
    for total, draws in zip(sums[1:], drawn[1:], strict=True):
        mean = total.sum(0) / count
        ratio = np.divide(draws / drawn[0], mean, out=np.ones_like(draws), where=mean > 0)
        worst = (total / np.maximum(sums[0], 1)).max(0)
        found.append(Resampled(mean, np.log(ratio), worst, another_unit, another_mixture, *stretches))
    return found


def _weighted(sums: Floats, rng: np.random.Generator) -> Floats:
    """Returns sums over units with exponential weights: float64 [K, G, L] to [K, D, L]."""
    number, num_units, num_levels = sums.shape
    flat = sums.transpose(1, 0, 2).reshape(num_units, -1)  # [G, K L]
    total = np.zeros((NUM_DRAWS, flat.shape[1]))
    for first in range(0, num_units, _BLOCK):
        part = flat[first : first + _BLOCK]
        total += rng.standard_exponential((NUM_DRAWS, len(part))) @ part
    return total.reshape(NUM_DRAWS, number, num_levels).transpose(1, 0, 2)


def _uniform(num_levels: int, rng: np.random.Generator) -> Floats:
    """Draws numbers between 0 and 1, one in each of D equal parts, in an order of its own per level: float64 [D, L]."""
    order = rng.permuted(np.tile(np.arange(NUM_DRAWS), (num_levels, 1)), axis=1)
    return np.asarray((order + 0.5).T / NUM_DRAWS)


def _stretch(units: Floats, freedom: Floats) -> Floats:
    """Returns how much wider Student's interval of a mean is than that of the Bayesian bootstrap.

    Exponential weights give the mean of n numbers the variance s^2 (n - 1) / (n (n + 1)), where it is s^2 / n.
    """
    student = stdtrit(np.maximum(freedom, 1), 1 - TAIL) / ndtri(1 - TAIL)
    return np.asarray(np.sqrt((units + 1) / np.maximum(units - 1, 1)) * student)


def draws_of(found: Resampled, failing: float, together: bool) -> Draws:
    """Returns draws of the means of all levels.

    Args:
        found: see `resample`.
        failing: error of a mixture that fails.
        together: whether a mean over levels is taken of them.
    """
    seen = found.mean * np.exp((found.stretch_together if together else found.stretch) * found.deviation)
    raised = np.maximum(found.another_unit * (found.worst - seen), found.another_mixture * (failing - seen))
    return Draws(seen, seen + np.maximum(raised, 0))


def failing_mixtures(errors: Floats) -> Failing:
    """Finds the few mixtures, at most one in ten, that hold 90 % of a level's error: float64 [M].

    >>> failing_mixtures(np.array([0.125] * 30 + [60.0]))
    Failing(mixtures=1, share=0.9411764705882353)
    """
    if (total := float(errors.sum())) == 0:
        return Failing(0, 0.0)
    shares = np.cumsum(np.sort(errors)[::-1]) / total
    number = int(np.searchsorted(shares, _MOST_OF_THE_ERROR)) + 1
    return Failing(number, float(shares[number - 1])) if number <= _FEW * len(errors) else Failing(0, 0.0)
