"""The official scorer's arithmetic, derived again with plain numpy, and intervals that cover."""

import numpy as np
import pytest

from rfsep.metrics import MSE_FLOOR_DB, ber_score, mse_score, row_bit_errors, row_mse, score


def official(estimate, truth, bits, true_bits, levels, per_level):  # type: ignore[no-untyped-def]
    """Computes scores like sampletest_evaluationscript.py: rows ordered by SINR, means of rows, then dB."""
    mse, ber = [], []
    for index in range(len(levels)):
        rows = slice(index * per_level, (index + 1) * per_level)
        mse.append(np.mean(np.abs(estimate[rows] - truth[rows]) ** 2, axis=1))
        ber.append(np.sum((bits[rows] != true_bits[rows]).astype(np.float32), axis=1) / true_bits.shape[1])
    return 10 * np.log10(np.mean(np.array(mse), axis=-1)), np.mean(np.array(ber), axis=-1)


# The seeds stand for two mixture types of a submission.
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_official_script(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels, per_level = np.arange(-30, 0.1, 3), 7
    shape = (len(levels) * per_level, 4097)
    truth = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    level_error = np.repeat(10 ** (rng.uniform(-3, 0, len(levels))), per_level)[:, None]
    estimate = (truth + level_error * rng.standard_normal(shape)).astype(np.complex64)
    true_bits = rng.integers(0, 2, (shape[0], 64)).astype(np.uint8)
    flips = rng.random(true_bits.shape) < np.repeat(np.linspace(0.2, 0, len(levels)), per_level)[:, None]
    bits = true_bits ^ flips.astype(np.uint8)

    expected_mse, expected_ber = official(estimate, truth, bits, true_bits, levels, per_level)
    scores = score(
        row_mse(estimate, truth),
        row_bit_errors(bits, true_bits, np.full(shape[0], 64)),
        np.full(shape[0], 64),
        np.repeat(levels, per_level),
    )
    assert scores.ber is not None
    assert [value.value for value in scores.mse_db] == pytest.approx(expected_mse, abs=1e-5)
    assert [value.value for value in scores.ber] == pytest.approx(expected_ber, abs=1e-7)
    assert scores.mse_score.value == pytest.approx(np.mean(np.maximum(expected_mse, -50)), abs=1e-5)
    walk = 3.0
    for level, rate in list(zip(levels, expected_ber, strict=True))[::-1]:
        if rate > 1e-2:
            break
        walk = level
    assert scores.ber_score is not None
    assert scores.ber_score.value == walk
    assert scores.ber_score.low <= walk <= scores.ber_score.high


def test_scores_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    mse, errors = rng.random(60), rng.integers(0, 5, 60).astype(float)
    sinr, bits = np.repeat([-6.0, -3.0, 0.0], 20), np.full(60, 100)
    order = rng.permutation(60)
    one = score(mse, errors, bits, sinr)
    other = score(mse[order], errors[order], bits[order], sinr[order])
    assert [v.value for v in one.mse_db] == pytest.approx([v.value for v in other.mse_db])


def test_only_the_first_num_bits_count() -> None:
    truth = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], np.uint8)
    wrong = np.array([[1, 1, 0, 1], [1, 1, 1, 1]], np.uint8)
    assert row_bit_errors(wrong, truth, np.array([2, 4])).tolist() == [1.0, 2.0]


def test_long_rows_are_summed_exactly() -> None:
    """A plain sum in single precision would be 5 % off."""
    truth = np.zeros((1, 3_000_001), np.complex64)
    estimate = np.full_like(truth, 1e-3 + 0j)
    assert row_mse(estimate, truth)[0] == pytest.approx(float(np.float32(1e-3)) ** 2, rel=1e-5)


def test_perfect_estimate_stays_a_number_and_clips_in_the_score() -> None:
    scores = score(np.zeros(4), np.zeros(4), np.full(4, 1000), np.array([-3.0, -3.0, 0.0, 0.0]))
    assert [v.value for v in scores.mse_db] == [MSE_FLOOR_DB] * 2
    assert scores.mse_score.value == -50.0
    assert scores.ber is not None
    # Either of two mixtures might have failed with a tenth of its bits, which is more than 3 of 2,000 bits and 1e-2.
    assert scores.ber[0] == (0.0, 0.0, 0.1)
    assert scores.ber_limits is not None
    assert scores.ber_limits[0] == (3 / 2000, 0.1)
    assert scores.ber_score == (-3.0, -3.0, 3.0)


def test_no_known_bits_no_ber() -> None:
    scores = score(np.ones(4), np.zeros(4), np.zeros(4, np.int64), np.zeros(4))
    assert scores.ber is None
    assert scores.ber_score is None


def test_ber_score_walks_down_and_stops() -> None:
    levels = np.array([-9.0, -6.0, -3.0, 0.0])
    assert ber_score(levels, np.array([0.0, 0.5, 0.01, 0.001])) == -3.0
    assert ber_score(levels, np.array([0.0, 0.0, 0.0, 0.011])) == 3.0
    assert mse_score(np.array([-60.0, -40.0])) == -45.0


def test_interval_over_recordings_is_wider_where_files_differ() -> None:
    groups = np.repeat(np.arange(4), 25)
    mse = 1.0 + groups + 0.01 * np.random.default_rng(0).standard_normal(100)
    by_file = score(mse, np.zeros(100), np.ones(100, np.int64), np.zeros(100), groups).mse_db[0]
    by_row = score(mse, np.zeros(100), np.ones(100, np.int64), np.zeros(100)).mse_db[0]
    assert by_file.high - by_file.low > 2 * (by_row.high - by_row.low)
