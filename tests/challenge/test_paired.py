"""Paired tests of entries on the same mixtures: level and power in simulations, exact p values, recordings, Holm."""

from itertools import combinations, product
from math import log10, sqrt

import numpy as np
import pytest
from scipy.stats import binom

from rfsep.challenge.paired import Part, ber_part, holm, mse_part, swap_tests
from rfsep.metrics import Floats

PAIR = [(0, 1)]


def entries(rng: np.random.Generator, ahead_db: list[float], levels: int, per_level: int, spread_db: float) -> Part:
    """Errors of entries whose logarithms are correlated by .9, each its number of dB better than the first."""
    shared = rng.normal(size=levels * per_level)
    own = rng.normal(size=(len(ahead_db), levels * per_level))
    error_db = spread_db * (sqrt(0.9) * shared + sqrt(0.1) * own) - np.array(ahead_db)[:, None]
    mixtures = np.arange(levels * per_level)
    return mse_part(10 ** (error_db / 10), mixtures // per_level * 3.0, mixtures)


def paired_t(part: Part) -> float:
    """|t| of the difference of the scores in dB, by the delta method, of two entries at one level."""
    relative = part.errors / part.errors.mean(1, keepdims=True)
    difference = relative[0] - relative[1]
    error = 10 / np.log(10) * difference.std(ddof=1) / sqrt(len(difference))
    return float(abs(10 * log10(part.errors[0].mean() / part.errors[1].mean())) / error)


def test_a_board_of_equal_entries_calls_one_better_in_five_of_a_hundred() -> None:
    rng, pairs, boards = np.random.default_rng(0), list(combinations(range(8), 2)), 200
    parts = (entries(rng, [0.0] * 8, 3, 50, 3.0) for _ in range(boards))
    false = sum(holm(swap_tests([part], pairs).p).min() <= 0.05 for part in parts)
    assert false <= binom.ppf(0.999, boards, 0.05)


def test_half_a_db_is_told_as_often_as_by_a_paired_t_test() -> None:
    rng, boards = np.random.default_rng(0), 400
    told = {"swaps": 0, "t": 0}
    for _ in range(boards):
        part = entries(rng, [0.0, 0.5], 1, 50, 2.8)
        told["swaps"] += bool(swap_tests([part], PAIR).p[0] <= 0.05)
        told["t"] += paired_t(part) > 2.01  # 97.5 % of Student's t with 49 degrees of freedom
    assert told["swaps"] >= 0.6 * boards
    assert abs(told["swaps"] - told["t"]) <= 0.06 * boards


def test_difference_is_that_of_the_clipped_scores() -> None:
    mse = np.array([[1e-1, 3e-1, 1e-9, 1e-9], [4e-1, 4e-1, 1e-3, 3e-3]])
    found = swap_tests([mse_part(mse, np.array([0.0, 0.0, 3.0, 3.0]), np.arange(4))], [(0, 1), (1, 0)])
    expected = (10 * log10(0.2) - 50) / 2 - (10 * log10(0.4) + 10 * log10(2e-3)) / 2
    assert found.difference_db == pytest.approx([expected, -expected])


def plain_statistic(types: list[Part], swap: dict[int, bool]) -> tuple[float, float]:
    """The difference of two entries in dB, and over its standard error, for groups ``swap``ped, in plain loops."""
    difference, influence = 0.0, dict.fromkeys(swap, 0.0)
    for part in types:
        for number, floor in enumerate(part.floor):
            rows = [row for row in range(len(part.level)) if part.level[row] == number]
            weight = 10 / np.log(10) / len(part.floor) / len(types)
            for side, sign in ((0, 1), (1, -1)):
                errors = [part.errors[1 - side if swap[part.group[row]] else side][row] for row in rows]
                mean = sum(errors) / len(rows)
                difference += sign * weight * np.log(max(mean, floor))
                for row, error in zip(rows, errors, strict=True):
                    influence[part.group[row]] += sign * weight * (error / mean - 1) / len(rows) * (mean > floor)
    deviation = sqrt(sum(value**2 for value in influence.values()))
    return difference, difference / max(deviation, 1e-6)


def every_p(types: list[Part]) -> float:
    """The share of all swaps whose statistic is at least as far from zero as that of none."""
    names = sorted({int(name) for part in types for name in part.group})
    found = [
        abs(plain_statistic(types, dict(zip(names, swap, strict=True)))[1])
        for swap in product((False, True), repeat=len(names))
    ]
    return float(np.mean([value >= found[0] * (1 - 1e-6) for value in found]))


@pytest.mark.parametrize("groups", [1, 2, 3, 6, 8])
def test_few_recordings_have_the_p_value_of_all_swaps(groups: int) -> None:
    """Two types share recordings, which are swapped in both and at both levels together."""
    rng = np.random.default_rng(groups)
    mse = rng.exponential(size=(2, 2, 24)) * np.array([1.0, 1.6])[:, None]  # types, entries, mixtures
    types = [mse_part(one, np.arange(24) // 12 * 3.0, np.arange(24) % groups) for one in mse]
    found = swap_tests(types, PAIR)
    assert found.p[0] == pytest.approx(every_p(types))
    assert found.difference_db[0] == pytest.approx(plain_statistic(types, dict.fromkeys(range(groups), False))[0])
    assert found.num_groups == groups


@pytest.mark.parametrize("seed", range(4))
def test_few_mixtures_have_the_p_value_of_all_swaps(seed: int) -> None:
    """At three levels, at one of which swaps bring an entry below the floor."""
    rng = np.random.default_rng(seed)
    mse = rng.exponential(size=(2, 9)) * np.array([1.0, 1.9])[:, None]
    mse[:, :3] = [[0.6e-5, 0.8e-5, 1.1e-5], [0.7e-5, 0.9e-5, 9e-5]]
    types = [mse_part(mse, np.arange(9) // 3 * 3.0, np.arange(9))]
    assert 2 / 2**9 < every_p(types) < 1
    assert swap_tests(types, PAIR).p[0] == pytest.approx(every_p(types))


def test_recordings_beside_mixtures_count_as_one_each() -> None:
    rng = np.random.default_rng(0)
    mse = rng.exponential(size=(2, 2, 8)) * np.array([1.0, 2.5])[:, None]
    level = np.arange(8) // 4 * 3.0
    types = [mse_part(mse[0], level, np.arange(8) % 3), mse_part(mse[1], level, 3 + np.arange(8))]
    assert swap_tests(types, PAIR).p[0] == pytest.approx(every_p(types))


def test_random_swaps_estimate_the_share_of_all() -> None:
    """Fourteen groups are sampled: the estimate is within 5 standard errors of the share over all 16,384 swaps."""
    rng = np.random.default_rng(1)
    mse = rng.exponential(size=(2, 14)) * np.array([1.0, 3.0])[:, None]
    types = [mse_part(mse, np.zeros(14), np.arange(14))]
    exact = every_p(types)
    assert 0.01 < exact < 0.05
    assert abs(swap_tests(types, PAIR).p[0] - exact) < 5 * sqrt(exact * (1 - exact) / 2000)


def test_score_that_two_reach_by_different_levels_is_no_difference_and_a_better_one_is() -> None:
    """One is 6 dB better at one level, the other 6 or 7 dB at the other level."""
    rng, boards = np.random.default_rng(0), 200
    told = {6.0: 0, 7.0: 0}
    for gain_db in told:
        for _ in range(boards):
            part = entries(rng, [0.0, 0.0], 2, 50, 2.0)
            part.errors[0, :50] *= 10**0.6
            part.errors[1, 50:] *= 10 ** (gain_db / 10)
            told[gain_db] += bool(swap_tests([part], PAIR).p[0] <= 0.05)
    assert told[6.0] <= binom.ppf(0.999, boards, 0.05)
    assert told[7.0] >= 0.9 * boards


def test_three_recordings_cannot_tell_even_what_is_far_apart() -> None:
    group = np.arange(60) % 3
    part = mse_part(np.array([np.full(60, 1e-3), np.full(60, 1.0)]), np.zeros(60), group)
    assert swap_tests([part], PAIR).p[0] == 0.25
    alone = mse_part(part.errors, np.zeros(60), np.arange(60))
    assert swap_tests([alone], PAIR).p[0] < 0.001


def test_what_recordings_share_is_no_evidence() -> None:
    """Ten recordings suit one entry or the other by chance: mixtures, taken as independent, find a difference."""
    rng, boards = np.random.default_rng(0), 200
    group = np.repeat(np.arange(10), 20)
    false = {"mixtures": 0, "recordings": 0}
    for _ in range(boards):
        db = 3 * rng.normal(size=(2, 10))[:, group] + rng.normal(size=(2, 200))
        for name, swapped in (("mixtures", np.arange(200)), ("recordings", group)):
            part = mse_part(10 ** (db / 10), np.zeros(200), swapped)
            false[name] += bool(swap_tests([part], PAIR).p[0] <= 0.05)
    assert false["mixtures"] > 0.5 * boards
    assert false["recordings"] <= binom.ppf(0.999, boards, 0.05)


def test_bit_errors_are_compared_by_the_logarithm_and_none_counts_as_half() -> None:
    wrong = np.array([[0.0, 0.0, 8.0, 8.0], [5.0, 5.0, 8.0, 8.0]])
    part = ber_part(wrong, np.full(4, 100.0), np.array([-3.0, -3.0, 0.0, 0.0]), np.arange(4))
    assert swap_tests([part], PAIR).difference_db[0] == pytest.approx(10 * log10(0.5 / 10) / 2)


def test_equal_entries_have_p_one_and_no_pairs_are_no_tests() -> None:
    errors: Floats = np.random.default_rng(0).exponential(size=(1, 40)).repeat(2, 0)
    part = mse_part(errors, np.zeros(40), np.arange(40))
    assert swap_tests([part], PAIR).p.tolist() == [1.0]
    assert swap_tests([part], []).p.shape == (0,)


def test_holm_against_its_definition() -> None:
    """The i-th smallest of n p values is multiplied by n - i + 1, and none is below a smaller one's."""
    p = np.random.default_rng(0).uniform(0, 0.1, 12)
    ordered = np.sort(p)
    expected = [min(1.0, max(ordered[j] * (12 - j) for j in range(i + 1))) for i in range(12)]
    assert np.sort(holm(p)) == pytest.approx(expected)
