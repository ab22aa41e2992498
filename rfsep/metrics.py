"""Error measures and scores of the RF Challenge, with 95 % intervals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.intervals import TAIL, Draws, Failing, Resampled, draws_of, failing_mixtures, resample
from rfsep.iq import db, forget_pages

Floats = NDArray[np.float64]

MSE_FLOOR_DB = -120.0  # reported MSE of an exact estimate
MSE_SCORE_CLIP_DB = -50.0  # A better level counts as this one.
BER_TARGET = 1e-2
NO_BER_SCORE_DB = 3.0  # the BER score of a separator that never meets the target
# A failing mixture that was not seen is assumed to have a tenth of its bits wrong. In QPSK of unit power each wrong bit
# moves a symbol by sqrt(2), so that its squared error is 4 times the share of its wrong bits.
FAILING_SHARE = 0.1
FAILING_MSE = 4 * FAILING_SHARE
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


def recordings_of(origin: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Returns ``origin`` int64 [M] for intervals over recordings, or None, for mixtures, with fewer than three.

    >>> recordings_of(np.array([0, 1, 0, 2])), recordings_of(np.array([-1, -1]))
    (array([0, 1, 0, 2]), None)
    """
    recorded = bool((origin >= 0).all()) and len(np.unique(origin)) >= _FEWEST_RECORDINGS
    return origin if recorded else None


class Limits(NamedTuple):
    """Upper 95 % limits of the bit error rate where no bit is wrong.

    Attributes:
        bits: 3 / bits, for wrong bits that come alone (rule of three).
        mixtures: 3 / mixtures, times the share of its bits that a failing mixture gets wrong.
    """

    bits: float
    mixtures: float


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
        mse_failing: mixtures that hold nearly all of the squared error, per level.
        ber_failing: mixtures that hold nearly all wrong bits, per level, or None.
        ber_limits: upper limits of the BER where no bit is wrong, per level, or None.
    """

    sinr_db: Floats
    mse_db: list[Estimated]
    ber: list[Estimated] | None
    mse_score: Estimated
    ber_score: Estimated | None
    num_mixtures: list[int]
    num_bits: list[int]
    mse_failing: list[Failing]
    ber_failing: list[Failing] | None
    ber_limits: list[Limits] | None


def _ends(draws: Draws) -> tuple[Floats, Floats]:
    """Returns both ends of the 95 % interval of each level: float64 [L] twice."""
    return np.quantile(draws.seen, TAIL, axis=0), np.quantile(draws.feared, 1 - TAIL, axis=0)


def _around(value: float, low: float, high: float) -> Estimated:
    """Returns a value with its interval, which holds it."""
    return Estimated(value, min(value, low), max(value, high))


def _mse_levels(found: Resampled) -> list[Estimated]:
    ends = zip(found.mean, *_ends(draws_of(found, FAILING_MSE, together=False)), strict=True)
    return [_around(*(floored_db(float(one)) for one in level)) for level in ends]


def _mse_total(found: Resampled) -> Estimated:
    """Returns the MSE score; its draws are centred on it, because the mean of a logarithm lies below."""
    value = mse_score(_floored_db(found.mean))
    draws = draws_of(found, FAILING_MSE, together=True)
    seen, feared = (np.maximum(_floored_db(one), MSE_SCORE_CLIP_DB).mean(1) for one in draws)
    low, high = np.quantile(seen - seen.mean() + value, TAIL), np.quantile(feared, 1 - TAIL)
    return _around(value, float(low), float(high))


def _floored_db(mse: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(mse, 10 ** (MSE_FLOOR_DB / 10))))


def _ber_levels(found: Resampled, limits: Sequence[Limits], share: float) -> list[Estimated]:
    """Returns the BER of every level; without any error its upper limit is the larger of both limits."""
    ends = zip(found.mean, *_ends(draws_of(found, share, together=False)), limits, strict=True)
    return [
        _around(float(value), float(low), min(1.0, max(limit) if value == 0 else float(high)))
        for value, low, high, limit in ends
    ]


def _ber_total(sinr_db: Floats, found: Resampled, limits: Sequence[Limits], share: float) -> Estimated:
    """Returns the BER score; its interval walks down the limits of all levels.

    The walk of the upper limits ends too early only if the level where the true walk ends seems to be met: 5 %. The
    walk of the lower limits ends too early if any level before that seems to fail: 2.5 % in all (Bonferroni).
    """
    draws = draws_of(found, share, together=False)
    low = np.quantile(draws.seen, TAIL / len(sinr_db), axis=0)
    alone = np.where(found.mean == 0, [limit.bits for limit in limits], 0.0)
    high = np.maximum(np.quantile(draws.feared, 1 - 2 * TAIL, axis=0), alone)
    walks = [
        ber_score(sinr_db, rates) for rates in (found.mean, np.minimum(low, found.mean), np.maximum(high, found.mean))
    ]
    return Estimated(*walks)


def _failing_share(rates: Floats, failing: Sequence[Failing], level: NDArray[np.int64]) -> float:
    """Returns the share of its bits that a failing mixture gets wrong: as seen at the worst level, or as assumed."""
    seen = [
        float(np.sort(rates[level == place])[-one.mixtures :].mean())
        for place, one in enumerate(failing)
        if one.mixtures
    ]
    return max([FAILING_SHARE, *seen])


def score(
    mse: Floats,
    bit_errors: Floats,
    num_bits: NDArray[np.int64],
    sinr_db: Floats,
    groups: NDArray[np.int64] | None = None,
) -> Scores:
    """Computes scores with 95 % intervals over what is independent, see `rfsep.intervals`.

    Args:
        mse: float64 [M], see `row_mse`.
        bit_errors: float64 [M], see `row_bit_errors`.
        num_bits: int64 [M].
        sinr_db: float64 [M], nominal; mixtures of equal value form a level.
        groups: int64 [M], independent draws (files of recordings), which levels share; each mixture by default.
    """
    sinr, level = np.unique(sinr_db, return_inverse=True)
    unit = np.arange(len(mse)) if groups is None else np.unique(groups, return_inverse=True)[1]
    known = bool(num_bits.all())
    rates = bit_errors / num_bits if known else np.zeros_like(mse)
    squared, wrong = resample(np.stack([mse, rates]), level, unit)
    num_mixtures, bits = (np.bincount(level, weights).astype(np.int64).tolist() for weights in (None, num_bits))
    scores = Scores(
        sinr_db=sinr,
        mse_db=_mse_levels(squared),
        ber=None,
        mse_score=_mse_total(squared),
        ber_score=None,
        num_mixtures=num_mixtures,
        num_bits=bits,
        mse_failing=[failing_mixtures(mse[level == place]) for place in range(len(sinr))],
        ber_failing=None,
        ber_limits=None,
    )
    if not known:
        return scores
    failing = [failing_mixtures(bit_errors[level == place]) for place in range(len(sinr))]
    share = _failing_share(rates, failing, level)
    limits = [Limits(3 / count, min(1.0, 3 / number) * share) for count, number in zip(bits, num_mixtures, strict=True)]
    return scores._replace(
        ber=_ber_levels(wrong, limits, share),
        ber_score=_ber_total(sinr, wrong, limits, share),
        ber_failing=failing,
        ber_limits=limits,
    )


def told_beside(scores: Scores) -> dict[str, Any]:
    """Returns the columns of a row that explain its intervals: failing mixtures, their share of the error, limits."""
    columns: dict[str, Any] = {}
    for metric, failing in (("mse", scores.mse_failing), ("ber", scores.ber_failing)):
        columns[f"{metric}_failing"] = None if failing is None else [one.mixtures for one in failing]
        columns[f"{metric}_failing_share"] = None if failing is None else [round(one.share, 4) for one in failing]
    limits = scores.ber_limits
    columns["ber_limit_bits"] = None if limits is None else [one.bits for one in limits]
    columns["ber_limit_mixtures"] = None if limits is None else [one.mixtures for one in limits]
    return columns
