"""Intervals hold the truth as often as they say; closed forms of few failing mixtures and of few recordings."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import beta, t

from rfsep.intervals import failing_mixtures
from rfsep.metrics import score, told_beside

DOCS = Path(__file__).parents[1] / "docs"
LEVELS_DB = np.array([-30.0, -18.0, -9.0, 0.0])
REPLICATIONS = 400
CELLS = [
    "plain, 30 mixtures", "bursty, 50 mixtures", "plateau of .008, 30 mixtures",
    *(f"{number} recordings, 60 mixtures" for number in (3, 5, 10, 20)),
    *(f"rare failures, {number} mixtures" for number in (20, 50, 100)),
]  # fmt: skip


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    sys.path.insert(0, str(DOCS))
    try:
        spec = importlib.util.spec_from_file_location("coverage_study", DOCS / "coverage.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


@pytest.mark.parametrize("name", CELLS)
def test_intervals_cover(coverage: ModuleType, name: str) -> None:
    """The share of 400 test sets whose intervals hold the truth, which has a standard error of .011 at .95.

    Upper ends count failures that a simulation without any does not have, so that only lower ends miss: scores may be
    held more often than 98 %. So may levels where failures are rare, whose truth most test sets do not show, and BER
    scores, which take steps of a level.
    """
    cell, rng = coverage.CELLS[name], np.random.default_rng(7)
    told = coverage.truth(cell, LEVELS_DB)
    held: dict[str, list[float]] = {figure: [] for figure in coverage.FIGURES}
    for _ in range(REPLICATIONS):
        for figure, (low, high) in coverage.now(coverage.drawn(cell, LEVELS_DB, rng)).items():
            held[figure].append(((low <= told[figure]) & (told[figure] <= high)).mean())
    found = {figure: float(np.mean(each)) for figure, each in held.items()}
    assert min(found.values()) >= 0.9, found
    assert max(found["mse"], found["ber"]) <= (1.0 if "rare" in name else 0.99), found


def level_of(mse: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    """The interval of a level's MSE, linear."""
    count = len(mse)
    low, high = score(mse, np.zeros(count), np.ones(count, np.int64), np.zeros(count), groups).mse_db[0][1:]
    return 10 ** (low / 10), 10 ** (high / 10)


def test_failing_mixtures_have_the_interval_of_clopper_and_pearson() -> None:
    mse = np.r_[np.full(3, 2.0), np.zeros(97)]
    low, high = level_of(mse)
    assert low == pytest.approx(2 * beta.ppf(0.025, 3, 98), rel=0.15)
    assert high == pytest.approx(2 * beta.ppf(0.975, 4, 97), rel=0.08)
    # Nothing failed: the limit is that of the rate, times the assumed error of a failing mixture.
    assert level_of(np.full(100, 1e-6))[1] == pytest.approx(0.4 * beta.ppf(0.975, 1, 100), rel=0.01)


def test_few_recordings_have_the_interval_of_student() -> None:
    """Means of five recordings some percent apart, from 30 mixtures each."""
    rng = np.random.default_rng(0)
    means = 1 + np.array([-0.02, -0.01, 0.0, 0.005, 0.025])
    groups = np.repeat(np.arange(5), 30)
    within = rng.standard_normal((5, 30))
    mse = means[groups] + 0.001 * (within - within.mean(1, keepdims=True)).ravel()
    half = t.ppf(0.975, 4) * means.std(ddof=1) / 5**0.5
    low, high = level_of(mse, groups)
    assert low == pytest.approx(1 - half, abs=0.1 * half)
    # The upper end counts one more recording, as bad as the worst.
    assert 1 + 0.95 * half <= high <= 1 + 1.2 * half


def test_levels_share_the_draw_of_recordings() -> None:
    """Four levels with the same errors are no surer together than one; levels that share nothing are twice as sure."""
    rng = np.random.default_rng(0)
    groups = np.tile(np.repeat(np.arange(6), 10), 4)
    mse = np.tile(np.repeat(rng.lognormal(0, 0.5, 6), 10), 4)
    sinr, none = np.repeat([-9.0, -6.0, -3.0, 0.0], 60), np.zeros(240)
    shared = score(mse, none, np.ones(240, np.int64), sinr, groups)
    apart = score(mse, none, np.ones(240, np.int64), sinr, groups + 6 * np.repeat(np.arange(4), 60))
    widths = [one.high - one.low for one in (shared.mse_score, apart.mse_score, shared.mse_db[0])]
    assert widths[0] == pytest.approx(widths[2], rel=0.05)
    assert widths[1] == pytest.approx(widths[2] / 2, rel=0.3)


def test_no_error_has_both_limits() -> None:
    """40 mixtures of 5,000 bits: 3 / bits for bits that come alone, 3 / mixtures times a tenth for failing ones."""
    scores = score(np.full(40, 0.01), np.zeros(40), np.full(40, 5000), np.zeros(40))
    row = told_beside(scores)
    assert row["ber_limit_bits"] == [pytest.approx(1.5e-5)]
    assert row["ber_limit_mixtures"] == [pytest.approx(7.5e-3)]
    assert scores.ber is not None
    assert scores.ber[0] == (0.0, 0.0, pytest.approx(7.5e-3))
    # Where a mixture has one bit, bits decide.
    ones = score(np.full(40, 0.01), np.zeros(40), np.ones(40, np.int64), np.zeros(40))
    assert ones.ber is not None
    assert ones.ber[0].high == pytest.approx(3 / 40)


def test_a_failure_at_another_level_tells_what_one_costs() -> None:
    """One of 50 mixtures at -3 dB has 40 % of its bits wrong, so one that nobody saw at 0 dB may have as many."""
    wrong = np.zeros(100)
    wrong[7] = 400
    scores = score(np.full(100, 0.01), wrong, np.full(100, 1000), np.repeat([-3.0, 0.0], 50))
    assert scores.ber_failing == [(1, 1.0), (0, 0.0)]
    assert scores.ber_limits is not None
    assert scores.ber_limits[1].mixtures == pytest.approx(3 / 50 * 0.4)


def test_few_mixtures_that_hold_the_error_are_told() -> None:
    errors = np.r_[np.full(997, 1e-4), np.full(3, 3.0)]
    assert failing_mixtures(errors) == (3, pytest.approx(9 / (9 + 997e-4)))
    assert failing_mixtures(np.ones(1000)) == (0, 0.0)
    assert failing_mixtures(np.zeros(5)) == (0, 0.0)


def test_the_walk_over_levels_near_the_target_is_not_sure() -> None:
    """Every level has a BER of 8e-3 in 30 uneven mixtures: the score may be that of every level, and of none."""
    rng = np.random.default_rng(1)
    levels = np.repeat(np.arange(-24.0, 0.1, 3), 30)
    wrong = rng.binomial(320, 0.008 * rng.gamma(0.3, 1 / 0.3, len(levels)).clip(0, 60))
    found = score(np.ones(len(levels)), wrong.astype(float), np.full(len(levels), 320), levels).ber_score
    assert found is not None
    assert (found.low, found.high) == (-24.0, 3.0)


def test_the_walk_over_clear_levels_is_sure() -> None:
    """100 mixtures without error above -12 dB and with a fifth of wrong bits below."""
    levels = np.repeat(np.arange(-24.0, 0.1, 3), 100)
    wrong = np.where(levels < -12, 64.0, 0.0)
    found = score(np.ones(len(levels)), wrong, np.full(len(levels), 320), levels).ber_score
    assert found == (-12.0, -12.0, -12.0)
