"""Error measures and scores of the RF Challenge, with bootstrap intervals."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.iq import db, forget_pages

Floats = NDArray[np.float64]

MSE_FLOOR_DB = -120.0  # reported MSE of an exact estimate
MSE_SCORE_CLIP_DB = -50.0  # A better level counts as this one.
BER_TARGET = 1e-2
NO_BER_SCORE_DB = 3.0  # the BER score of a separator that never meets the target
NUM_RESAMPLES = 1000
_FEWEST_RECORDINGS = 3  # With fewer recordings, intervals are over mixtures instead.
_FORGET_SAMPLES = 2**20  # samples of a memory-mapped file that stay in memory: 8 MB


class Estimated(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def row_mse(estimate: NDArray[np.complex64], truth: NDArray[np.complex64], chunk: int = 8192) -> Floats:
    """Returns the mean of |estimate - truth|^2 over each row: complex64 [M, T] to float64 [M].

    It is raw, as the challenge scores it, without alignment of gain or phase. Rows are summed in double precision, one
    cache-sized piece after the other, so memory-mapped files of any size need bounded memory.

    >>> row_mse(np.array([[1, 1j]], np.complex64), np.array([[0, 0]], np.complex64))
    array([1.])
    """
    rows, length = truth.shape
    difference = np.empty(2 * min(chunk, length), dtype=np.float32)
    total = np.zeros(rows)
    together = max(1, _FORGET_SAMPLES // max(1, length))
    for row in range(rows):
        left, right = np.asarray(estimate[row]).view(np.float32), np.asarray(truth[row]).view(np.float32)
        for start in range(0, 2 * length, 2 * chunk):
            piece = difference[: min(2 * chunk, 2 * length - start)]
            np.subtract(left[start : start + len(piece)], right[start : start + len(piece)], out=piece)
            total[row] += float(np.dot(piece, piece))
        if row % together == together - 1 or row == rows - 1:
            forget_pages(estimate)
            forget_pages(truth)
    return np.divide(total, length)


def row_bit_errors(bits: NDArray[np.uint8], truth: NDArray[np.uint8], num_bits: NDArray[np.int64]) -> Floats:
    """Counts wrong bits among the first ``num_bits`` of each row: uint8 [M, N] twice and int64 [M] to float64 [M]."""
    rows = zip(bits, truth, num_bits.tolist(), strict=True)
    return np.array([np.count_nonzero(left[:count] != right[:count]) for left, right, count in rows], dtype=np.float64)


def floored_db(mse: float) -> float:
    """Converts a mean squared error to dB, not below `MSE_FLOOR_DB`, so that an exact estimate has a finite value."""
    return max(db(mse), MSE_FLOOR_DB)


def mse_score(mse_db: Floats) -> float:
    """Returns the mean over levels of max(MSE, -50 dB).

    >>> mse_score(np.array([-10.0, -90.0]))
    -30.0
    """
    return float(np.maximum(mse_db, MSE_SCORE_CLIP_DB).mean())


def ber_score(sinr_db: Floats, ber: Floats) -> float:
    """Returns the lowest SINR reached from 0 dB downwards with a BER of at most 1e-2; +3 dB if 0 dB already fails.

    This is the organisers' rule: start at +3, go down from the highest level while BER <= 1e-2, stop at the first
    failure.

    >>> ber_score(np.array([-6.0, -3.0, 0.0]), np.array([0.0, 0.02, 0.001]))
    0.0
    """
    score = NO_BER_SCORE_DB
    for level, rate in sorted(zip(sinr_db, ber, strict=True), reverse=True):
        if rate > BER_TARGET:
            break
        score = float(level)
    return score


def _resampled_means(values: Floats, groups: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Returns bootstrap means of ``values`` [M], drawing whole groups with replacement: float64 [NUM_RESAMPLES]."""
    _, member = np.unique(groups, return_inverse=True)
    counts = np.bincount(member).astype(np.float64)  # [G]
    sums = np.bincount(member, weights=values)  # [G]
    draws = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=NUM_RESAMPLES)
    return np.asarray((draws @ sums) / (draws @ counts))


def recordings_of(origin: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Returns ``origin`` int64 [M] for intervals over recordings, or None, for mixtures, with fewer than three.

    >>> recordings_of(np.array([0, 1, 0, 2])), recordings_of(np.array([-1, -1]))
    (array([0, 1, 0, 2]), None)
    """
    recorded = bool((origin >= 0).all()) and len(np.unique(origin)) >= _FEWEST_RECORDINGS
    return origin if recorded else None


def _interval(means: Floats) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


class Scores(NamedTuple):
    """Scores of one separator on one mixture type, level after level from the lowest SINR.

    Attributes:
        sinr_db: float64 [L].
        mse_db: one `Estimated` per level.
        ber: one `Estimated` per level, or None if the SOI carries no known bits.
        mse_score: dB, with interval.
        ber_score: dB, with interval, or None.
        num_mixtures: one number per level.
        num_bits: one number per level.
    """

    sinr_db: Floats
    mse_db: list[Estimated]
    ber: list[Estimated] | None
    mse_score: Estimated
    ber_score: Estimated | None
    num_mixtures: list[int]
    num_bits: list[int]


class _Level(NamedTuple):
    """A figure at one level and its bootstrap means float64 [NUM_RESAMPLES]."""

    estimated: Estimated
    means: Floats


def _mse_level(mse: Floats, groups: NDArray[np.int64], rng: np.random.Generator) -> _Level:
    means = _resampled_means(mse, groups, rng)
    return _Level(Estimated(*(floored_db(value) for value in (float(mse.mean()), *_interval(means)))), means)


def _ber_level(errors: Floats, bits: Floats, groups: NDArray[np.int64], rng: np.random.Generator) -> _Level:
    """Returns the BER of a level; without any error its upper limit is 3 / bits (95 % for independent errors)."""
    means = _resampled_means(errors / bits, groups, rng)
    if errors.sum() == 0:
        return _Level(Estimated(0.0, 0.0, min(1.0, 3.0 / float(bits.sum()))), means)
    return _Level(Estimated(float((errors / bits).mean()), *_interval(means)), means)


def _mse_total(levels: list[_Level]) -> Estimated:
    total = mse_score(np.array([level.estimated.value for level in levels]))
    clipped = [[max(floored_db(value), MSE_SCORE_CLIP_DB) for value in level.means] for level in levels]
    return Estimated(total, *_interval(np.array(clipped).mean(0)))


def _ber_total(sinr_db: Floats, levels: list[_Level]) -> Estimated:
    total = ber_score(sinr_db, np.array([level.estimated.value for level in levels]))
    resampled = np.array([ber_score(sinr_db, rates) for rates in np.stack([level.means for level in levels], 1)])
    return Estimated(total, *_interval(resampled))


def score(
    mse: Floats,
    bit_errors: Floats,
    num_bits: NDArray[np.int64],
    sinr_db: Floats,
    groups: NDArray[np.int64] | None = None,
) -> Scores:
    """Computes scores with 95 % bootstrap intervals over mixtures.

    Args:
        mse: float64 [M], see `row_mse`.
        bit_errors: float64 [M], see `row_bit_errors`.
        num_bits: int64 [M].
        sinr_db: float64 [M], nominal; mixtures of equal value form a level.
        groups: int64 [M], independent draws (files of recordings); each mixture by default.
    """
    rng = np.random.default_rng(0)
    groups = np.arange(len(mse)) if groups is None else groups
    sinr = np.unique(sinr_db)
    at = [sinr_db == level for level in sinr]
    mse_levels = [_mse_level(mse[rows], groups[rows], rng) for rows in at]
    ber_levels = None
    if num_bits.all():
        counted = num_bits.astype(np.float64)
        ber_levels = [_ber_level(bit_errors[rows], counted[rows], groups[rows], rng) for rows in at]
    return Scores(
        sinr_db=sinr,
        mse_db=[level.estimated for level in mse_levels],
        ber=None if ber_levels is None else [level.estimated for level in ber_levels],
        mse_score=_mse_total(mse_levels),
        ber_score=None if ber_levels is None else _ber_total(sinr, ber_levels),
        num_mixtures=[int(rows.sum()) for rows in at],
        num_bits=[int(num_bits[rows].sum()) for rows in at],
    )
