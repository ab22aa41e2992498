"""Figures over the SINR that mixtures really have, against plain numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.challenge.kept_errors import RowErrors
from rfsep.challenge.measured import Powers, bins_of, measured_db, powers_of, shares_of
from rfsep.challenge.scoring import Beside, Pair, keep_baselines, kept_baselines, score_row
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.mixture_files import MixtureFile, TruthFile

SAMPLES, BITS = 64, 40


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Twelve mixtures at -12 and 0 dB. One in six has no interference, one in six has it 13 dB below nominal."""
    rng = np.random.default_rng(0)
    nominal = np.repeat([-12.0, 0.0], 6)
    off_db = np.tile([0.0, 1.0, -1.0, 2.0, 13.0, np.inf], 2)  # measured minus nominal
    phases = np.exp(2j * np.pi * rng.random((2, 12, SAMPLES)))
    soi = phases[0].astype(np.complex64)
    interference = (phases[1] * 10 ** (-(nominal + off_db) / 20)[:, None]).astype(np.complex64)
    path = tmp_path / "QPSK_Bursts.h5"
    path.write_bytes(b"mixtures")
    unknown = np.full(12, -1)
    bits = rng.integers(0, 2, (12, BITS)).astype(np.uint8)
    mixtures = MixtureFile("QPSK", "Bursts", path, "", 1.0, soi + interference, nominal.astype(np.float32))
    return Pair(mixtures, TruthFile(path, soi, interference, bits, np.full(12, BITS), unknown, unknown, unknown))


def test_rows_have_the_figures_of_every_bin(pair: Pair) -> None:
    mse, errors = np.arange(1.0, 13.0), np.arange(12.0)
    powers = powers_of(pair.truth.soi, pair.truth.interference)
    over: dict[str, Any] = score_row("one", pair, mse, errors, powers)["over_measured"]
    # -12, -11, -13 lie in the bin of -12, -10 in that of -9, 0, 1, -1 and -12 + 13 in that of 0; 2, 13 and no
    # interference above it.
    members = {-12.0: [0, 1, 2], -9.0: [3], 0.0: [4, 6, 7, 8], None: [5, 9, 10, 11]}
    assert over["sinr_db"] == list(members)
    assert over["num_mixtures"] == [3, 1, 4, 4]
    assert over["num_bits"] == [120, 40, 160, 160]
    assert over["mse_db"] == pytest.approx([10 * np.log10(mse[rows].mean()) for rows in members.values()])
    assert over["ber"] == pytest.approx([errors[rows].mean() / BITS for rows in members.values()])
    assert over["silent"] == pytest.approx(2 / 12)
    assert over["weaker"] == pytest.approx(4 / 12)
    assert over["stronger"] == 0
    assert all(low <= value <= high for low, value, high in zip(*(over[k] for k in MSE_COLUMNS), strict=True))


MSE_COLUMNS = ("mse_db_low", "mse_db", "mse_db_high")


def test_unknown_bits_have_no_rate(pair: Pair) -> None:
    truth = pair.truth._replace(bits=np.zeros((12, 0), np.uint8), num_bits=np.zeros(12, np.int64))
    powers = powers_of(truth.soi, truth.interference)
    over = score_row("one", pair._replace(truth=truth), np.ones(12), np.zeros(12), powers)["over_measured"]
    assert over["ber"] is None
    assert over["mse_db"] == pytest.approx([0.0] * 4)


def test_bins_cover_every_value_and_follow_the_levels() -> None:
    levels = np.array([-10.0, -5.0])
    bins = bins_of(np.array([-np.inf, -40.0, -8.51, -8.49, -2.6, -2.4]), np.resize(levels, 6))
    # The middles are -10, -7 and -4, the first that reaches -5; above -2.5 dB the bin is open.
    assert bins.middle_db.tolist() == [-10.0, -10.0, -10.0, -7.0, -4.0, -1.0]
    assert bins.open_db == -1.0
    assert bins_of(np.array([0.0, 5.0]), np.zeros(2)).middle_db.tolist() == [0.0, 3.0]


def test_rounding_is_no_interference() -> None:
    """Of an official set the interference is mixture minus SOI: where there is none, rounding is left."""
    measured = measured_db(Powers(np.ones(3), np.array([1e-14, 1e-9, 2.0])))
    assert measured.tolist() == pytest.approx([np.inf, 90.0, -3.0103], abs=1e-4)
    assert shares_of(measured, np.array([0.0, 0.0, 0.0])) == pytest.approx((1 / 3, 2 / 3, 0.0))


def test_baselines_are_kept_with_the_powers_and_made_again_without(pair: Pair, tmp_path: Path) -> None:
    path, powers = tmp_path / "baselines.json", powers_of(pair.truth.soi, pair.truth.interference)
    errors = {"one": RowErrors(np.array([0.5], np.float32), np.array([3], np.int32))}
    keep_baselines(path, pair, {"a": 1}, Beside([{"separator": "one"}], errors, powers))
    kept = kept_baselines(path, pair, {"a": 1})
    assert kept is not None
    assert kept.rows == [{"separator": "one"}]
    assert kept.errors == errors
    assert all(np.array_equal(one, two) for one, two in zip(kept.powers, powers, strict=True))
    assert kept_baselines(path, pair, {"a": 2}) is None
    # Older versions kept none.
    content = read_json(path)
    del content["sets"]["QPSK_Bursts"]["powers"]
    write_json(path, content)
    assert kept_baselines(path, pair, {"a": 1}) is None
