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
    assert abs(told["swaps"] - told["t"]) <= 0.04 * boards


def test_difference_is_that_of_the_clipped_scores() -> None:
    mse = np.array([[1e-1, 3e-1, 1e-9, 1e-9], [4e-1, 4e-1, 1e-3, 3e-3]])
    found = swap_tests([mse_part(mse, np.array([0.0, 0.0, 3.0, 3.0]), np.arange(4))], [(0, 1), (1, 0)])
    expected = (10 * log10(0.2) - 50) / 2 - (10 * log10(0.4) + 10 * log10(2e-3)) / 2
    assert found.difference_db == pytest.approx([expected, -expected])


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_few_recordings_have_the_p_value_of_all_swaps(groups: int) -> None:
    """Against plain loops: two types share recordings, which are swapped in both and at both levels together."""
    rng = np.random.default_rng(groups)
    mse = rng.exponential(size=(2, 2, 24)) * np.array([1.0, 1.6])[:, None]  # types, entries, mixtures
    group, level = np.arange(24) % groups, np.arange(24) // 12

    def difference(swap: tuple[int, ...]) -> float:
        total = 0.0
        for one in mse:
            first, second = (np.where(np.array(swap)[group], one[1 - k], one[k]) for k in (0, 1))
            for rows in (level == 0, level == 1):
                total += 10 * log10(first[rows].mean() / second[rows].mean()) / 4
        return total

    every = [abs(difference(swap)) for swap in product((0, 1), repeat=groups)]
    share = np.mean([value >= every[0] - 1e-9 for value in every])
    found = swap_tests([mse_part(one, level * 3.0, group) for one in mse], PAIR)
    assert found.p[0] == pytest.approx(share)
    assert found.difference_db[0] == pytest.approx(difference((0,) * groups))
    assert found.num_groups == groups


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
