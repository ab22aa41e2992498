"""Tells entries apart on the same mixtures: permutation tests of paired errors, corrected for the number of pairs.

Two entries separate the same mixtures, and what is hard for one is hard for the other. Without any difference between
them, each mixture's two errors could as well be swapped. The test swaps them at random, mixture by mixture or, where
interference was recorded, recording by recording at all levels together, and asks how often the scores are then at
least as far apart as they are (Fisher, "The Design of Experiments", 1935, section 21). With G recordings the smallest
two-sided p value is 2 / 2^G. Differences are divided by their standard errors, after every swap anew: the test is exact
if nothing but chance tells the entries apart, and for many mixtures it also holds its level if they have the same score
with other errors, such as one better at low levels and one at high levels (Chung and Romano, "Exact and Asymptotically
Robust Permutation Tests", Annals of Statistics 41, 2013).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.metrics import MSE_SCORE_CLIP_DB, Floats

SIGNIFICANCE = 0.05  # chance of any false "better" in a ranking
MSE_FLOOR = 10 ** (MSE_SCORE_CLIP_DB / 10)
_MOST_ENUMERATED = 13  # Up to so many groups every swap is tried.
_FEWEST_SWAPS = 2_000
_SWAPS_PER_PAIR = 100  # The smallest corrected level then leaves room for four swaps beyond the observed difference.
_MOST_SWAPS = 100_000
_BATCH_NUMBERS = 2**21  # of a batch of swaps, all levels and pairs: 16 MB
_EQUAL = 1e-9  # Statistics that are equal but for rounding.
_LEAST_VARIANCE = 1e-12  # in dB^2; Without any spread, differences themselves are compared.
_PER_NEPER = 10 / np.log(10)  # dB

Integers = NDArray[np.int64]


class Part(NamedTuple):
    """The errors of all entries on one mixture type.

    Attributes:
        errors: float64 [K, M], of K entries: MSE, or shares of wrong bits.
        level: int64 [M], number of the level from 0.
        group: int64 [M], what is swapped together; equal numbers in several parts are swapped together as well.
        floor: float64 [L], a smaller mean at a level counts as this one.
    """

    errors: Floats
    level: Integers
    group: Integers
    floor: Floats


class Outcome(NamedTuple):
    """Paired tests of P pairs.

    Attributes:
        difference_db: float64 [P], the first entry's mean over parts and levels of the error in dB, less the second's.
        p: float64 [P], two-sided.
        num_groups: groups that are swapped.
    """

    difference_db: Floats
    p: Floats
    num_groups: int


class _Level(NamedTuple):
    """The errors of P pairs at one level of one part, summed over the mixtures of each of its G groups.

    Attributes:
        both: float64 [G, P], sums of the two entries' errors.
        apart: float64 [G, P], the first entry's errors less the second's.
        groups: int64 [G].
        alone: whether none of these groups is at another level as well.
        share: float64 [G], of the level's mixtures.
        least: sum over the level from which an entry's error counts, by the floor.
        weight: of the level in the mean.
    """

    both: Floats
    apart: Floats
    groups: Integers
    alone: bool
    share: Floats
    least: float
    weight: float


class _Pull(NamedTuple):
    """How groups pull at the difference of a level, float64 [N, P]: by ``both``, by ``apart``, and by their share."""

    less: Floats
    more: Floats
    centre: Floats


def mse_part(mse: Floats, sinr_db: Floats, group: Integers) -> Part:
    """Returns the part of an MSE score: float64 [K, M], [M] and int64 [M]."""
    levels, level = np.unique(sinr_db, return_inverse=True)
    return Part(mse, level, group, np.full(len(levels), MSE_FLOOR))


def ber_part(wrong_bits: Floats, num_bits: Floats, sinr_db: Floats, group: Integers) -> Part:
    """Returns the part of bit error rates: float64 [K, M], [M], [M] and int64 [M].

    The BER score is a level, too coarse for a test: entries with the same score may differ clearly. The test compares
    the mean over levels of the logarithm of the BER instead; no wrong bit at a level counts as half a bit.
    """
    levels, level = np.unique(sinr_db, return_inverse=True)
    return Part(wrong_bits / num_bits, level, group, 0.5 / np.bincount(level, num_bits, len(levels)))


def swap_tests(parts: Sequence[Part], pairs: Sequence[tuple[int, int]]) -> Outcome:
    """Tests pairs of entries for a difference of their mean over parts and levels of the error in dB.

    Args:
        parts: one per mixture type, of the same entries.
        pairs: rows of the parts' ``errors``.
    """
    names, numbered = np.unique(np.concatenate([part.group for part in parts]), return_inverse=True)
    groups = np.split(numbered, np.cumsum([len(part.group) for part in parts])[:-1])
    chosen = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    levels = _levels(parts, groups, chosen)
    every = np.arange(len(chosen))
    observed, difference = (found[0] for found in _statistics(levels, np.ones((1, len(names))), every))
    if len(names) <= _MOST_ENUMERATED:
        return Outcome(difference, _exact(levels, observed, len(names)), len(names))
    return Outcome(difference, _sampled(levels, observed, len(names)), len(names))


def _levels(parts: Sequence[Part], groups: Sequence[Integers], pairs: Integers) -> list[_Level]:
    there = [np.unique(group[part.level == number]) for part, group in zip(parts, groups, strict=True)
             for number in range(len(part.floor))]  # fmt: skip
    places = np.bincount(np.concatenate(there))  # levels at which each group is
    levels = []
    for part, group in zip(parts, groups, strict=True):
        for number, floor in enumerate(part.floor):
            rows = part.level == number
            here, member = np.unique(group[rows], return_inverse=True)
            sums = np.zeros((len(here), len(part.errors)))
            np.add.at(sums, member, part.errors[:, rows].T)
            first, second = sums[:, pairs[:, 0]], sums[:, pairs[:, 1]]
            alone, share = bool((places[here] == 1).all()), np.bincount(member) / rows.sum()
            least, weight = 2 * float(rows.sum() * floor), 1 / (len(part.floor) * len(parts))
            levels.append(_Level(first + second, first - second, here, alone, share, least, weight))
    return levels


def _statistics(levels: Sequence[_Level], signs: Floats, chosen: Integers) -> tuple[Floats, Floats]:
    """Returns differences over their standard errors, and the differences in dB, of ``chosen`` pairs: [N, P] each.

    The variance is that of the delta method: the sum over groups of squares of each one's influence on the difference,
    which is its share in the one entry's error less its share in the other's. Below the floor an error has none.

    Args:
        levels: errors.
        signs: float64 [N, G], swaps: -1 for groups whose errors are swapped.
        chosen: int64 [P].
    """
    difference, variance = np.zeros((2, len(signs), len(chosen)))
    pulls = []
    for level in levels:
        swap, scale = signs[:, level.groups], _PER_NEPER * level.weight
        both, apart = level.both[:, chosen], level.apart[:, chosen]
        moved, total = swap @ apart, both.sum(0)  # [N, P], [P]
        first, second = np.maximum(total + moved, level.least), np.maximum(total - moved, level.least)
        difference += scale * np.log(first / second)
        one, other = (np.where(sum_ > level.least, scale / sum_, 0.0) for sum_ in (first, second))
        pull = _Pull(one - other, one + other, scale * ((one > 0) * 1.0 - (other > 0)))
        if level.alone:
            variance += _squares_alone(pull, swap, both, apart, level.share[:, None])
        else:
            pulls.append(pull)
    together = [level for level in levels if not level.alone]
    if together:
        variance += _squares_together(pulls, together, signs, chosen)
    return difference / np.sqrt(np.maximum(variance, _LEAST_VARIANCE)), difference


def _squares_alone(pull: _Pull, swap: Floats, both: Floats, apart: Floats, share: Floats) -> Floats:
    """Returns the sum of squared influences of groups that are at one level only: [N, P]."""
    less, more, centre = pull
    squares = less**2 * (both**2).sum(0) + more**2 * (apart**2).sum(0) + centre**2 * (share**2).sum()
    squares += 2 * less * more * (swap @ (both * apart))
    squares -= 2 * centre * (less * (both * share).sum(0) + more * (swap @ (apart * share)))
    return np.asarray(squares)


def _squares_together(pulls: Sequence[_Pull], levels: Sequence[_Level], signs: Floats, chosen: Integers) -> Floats:
    """Returns the sum of squared influences of groups that are at several levels: [N, P]."""
    shared = np.unique(np.concatenate([level.groups for level in levels]))
    shape = (len(chosen), len(levels), len(shared))
    both, apart, share = np.zeros(shape), np.zeros(shape), np.zeros(shape[1:])
    for place, level in enumerate(levels):
        here = np.searchsorted(shared, level.groups)
        both[:, place, here], apart[:, place, here] = level.both[:, chosen].T, level.apart[:, chosen].T
        share[place, here] = level.share
    less, more, centre = (np.stack(column).transpose(2, 1, 0) for column in zip(*pulls, strict=True))  # [P, N, L]
    influence = less @ both + signs[:, shared] * (more @ apart) - centre @ share  # [P, N, G]
    return np.asarray((influence**2).sum(2).T)


def _exact(levels: Sequence[_Level], observed: Floats, num_groups: int) -> Floats:
    """Returns p values over all swaps; the first group stays, as swapping all only changes the sign."""
    counts = np.arange(2 ** (num_groups - 1))[:, None] >> np.arange(num_groups - 1)
    signs = np.ones((len(counts), num_groups), np.float64)
    signs[:, 1:] -= 2 * (counts & 1)
    beyond = np.zeros(len(observed))
    step = max(1, _BATCH_NUMBERS // max(1, num_groups * len(observed)))
    for start in range(0, len(signs), step):
        found = _statistics(levels, signs[start : start + step], np.arange(len(observed)))[0]
        beyond += _as_far(found, observed)
    return beyond / len(signs)


def _sampled(levels: Sequence[_Level], observed: Floats, num_groups: int) -> Floats:
    """Returns p values (1 + b) / (1 + N) with b of N random swaps at least as far apart, the same for all pairs.

    A pair that cannot reach the significance any more is not swapped further.
    """
    rng = np.random.default_rng(0)
    num_swaps = int(np.clip(_SWAPS_PER_PAIR * len(observed), _FEWEST_SWAPS, _MOST_SWAPS))
    num_shared = len({int(group) for level in levels if not level.alone for group in level.groups})
    beyond, tried = np.zeros(len(observed)), np.zeros(len(observed))
    chosen, done = np.arange(len(observed)), 0
    while done < num_swaps and len(chosen):
        batch = min(num_swaps - done, max(1, _BATCH_NUMBERS // max(len(chosen) * (1 + num_shared), num_groups)))
        signs = 1.0 - 2.0 * rng.integers(0, 2, (batch, num_groups)).astype(np.float64)
        beyond[chosen] += _as_far(_statistics(levels, signs, chosen)[0], observed[chosen])
        tried[chosen] += batch
        done += batch
        chosen = chosen[1 + beyond[chosen] <= SIGNIFICANCE * (1 + num_swaps)]
    return np.asarray((1 + beyond) / (1 + tried))


def _as_far(found: Floats, observed: Floats) -> Floats:
    """Counts how often each pair is at least as far apart as observed: [N, P] and [P] to [P]."""
    return np.asarray((np.abs(found) >= np.abs(observed) * (1 - _EQUAL)).sum(0), np.float64)


def holm(p: Floats) -> Floats:
    """Corrects p values for their number: float64 [P]; the chance of any false rejection stays at the level.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6 (1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
