"""Tells entries apart on the same mixtures: permutation tests of paired errors, corrected for the number of pairs.

Two entries separate the same mixtures, and what is hard for one is hard for the other. Without any difference between
them, each mixture's two errors could as well be swapped. The test swaps them at random, mixture by mixture or, where
interference was recorded, recording by recording at all levels together, and asks how often the scores are then at
least as far apart as they are (Fisher, "The Design of Experiments", 1935, section 21; Good, "Permutation, Parametric
and Bootstrap Tests of Hypotheses", 2005). With G recordings the smallest two-sided p value is 2 / 2^G.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.metrics import MSE_SCORE_CLIP_DB, Floats

SIGNIFICANCE = 0.05  # chance of any false "better" in a ranking
MSE_FLOOR = 10 ** (MSE_SCORE_CLIP_DB / 10)
_MOST_ENUMERATED = 13  # Up to so many groups every swap is tried.
_FEWEST_SWAPS = 2_000
_SWAPS_PER_PAIR = 200  # The smallest corrected level then leaves room for ten swaps beyond the observed difference.
_MOST_SWAPS = 100_000
_BATCH_NUMBERS = 2**21  # of a batch of swaps, all levels and pairs: 16 MB
_EQUAL = 1e-9  # Differences that are equal but for rounding.

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
    """Sums of pairs of errors at one level of one part: float64 [P], [G, P] of the groups there, and its weight."""

    both: Floats
    apart: Floats
    groups: Integers
    count: int
    floor: float
    weight: float


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
    ends = np.cumsum([len(part.group) for part in parts])[:-1]
    chosen = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    levels = [
        level
        for part, group in zip(parts, np.split(numbered, ends), strict=True)
        for level in _levels(part, group, chosen, len(parts))
    ]
    observed = _difference(levels, np.ones((1, len(names))), np.arange(len(chosen)))[0]
    if len(names) <= _MOST_ENUMERATED:
        return Outcome(observed, _exact(levels, observed, len(names)), len(names))
    return Outcome(observed, _sampled(levels, observed, len(names)), len(names))


def _levels(part: Part, group: Integers, pairs: Integers, num_parts: int) -> Iterator[_Level]:
    for number, floor in enumerate(part.floor):
        rows = part.level == number
        here, member = np.unique(group[rows], return_inverse=True)
        sums = np.zeros((len(here), len(part.errors)))
        np.add.at(sums, member, part.errors[:, rows].T)
        first, second = sums[:, pairs[:, 0]], sums[:, pairs[:, 1]]
        weight = 1 / (len(part.floor) * num_parts)
        yield _Level((first + second).sum(0), first - second, here, int(rows.sum()), float(floor), weight)


def _difference(levels: Sequence[_Level], signs: Floats, chosen: Integers) -> Floats:
    """Returns the differences in dB of ``chosen`` pairs for swaps ``signs`` [N, G], -1 where swapped: [N, P]."""
    total = np.zeros((len(signs), len(chosen)))
    for level in levels:
        moved = signs[:, level.groups] @ level.apart[:, chosen]  # [N, P]
        both = level.both[chosen]
        least = 2 * level.count * level.floor
        ratio = np.maximum(both + moved, least) / np.maximum(both - moved, least)
        total += 10 * level.weight * np.log10(ratio)
    return total


def _exact(levels: Sequence[_Level], observed: Floats, num_groups: int) -> Floats:
    """Returns p values over all swaps; the first group stays, as swapping all only changes the sign."""
    counts = np.arange(2 ** (num_groups - 1))[:, None] >> np.arange(num_groups - 1)
    signs = np.hstack([np.ones((len(counts), 1)), 1.0 - 2.0 * (counts & 1)])
    found = np.abs(_difference(levels, signs, np.arange(len(observed))))
    return np.asarray((found >= np.abs(observed) - _EQUAL).mean(0))


def _sampled(levels: Sequence[_Level], observed: Floats, num_groups: int) -> Floats:
    """Returns p values (1 + b) / (1 + N) with b of N random swaps at least as far apart, the same for all pairs.

    A pair that cannot reach the significance any more is not swapped further.
    """
    rng = np.random.default_rng(0)
    num_swaps = int(np.clip(_SWAPS_PER_PAIR * len(observed), _FEWEST_SWAPS, _MOST_SWAPS))
    beyond, tried = np.zeros(len(observed)), np.zeros(len(observed))
    chosen, done = np.arange(len(observed)), 0
    while done < num_swaps and len(chosen):
        batch = min(num_swaps - done, max(100, _BATCH_NUMBERS // max(len(chosen), num_groups)))
        signs = 1.0 - 2.0 * rng.integers(0, 2, (batch, num_groups))
        found = np.abs(_difference(levels, signs, chosen))
        beyond[chosen] += (found >= np.abs(observed[chosen]) - _EQUAL).sum(0)
        tried[chosen] += batch
        done += batch
        chosen = chosen[1 + beyond[chosen] <= SIGNIFICANCE * (1 + num_swaps)]
    return np.asarray((1 + beyond) / (1 + tried))


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
