"""From estimates to ranks: errors of every mixture beside scores, a board of two, a mixture to look at."""

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from shell import command, prepare

from rfsep.app.doors import evaluate_settings
from rfsep.app.evaluate import separate_testset
from rfsep.app.places import CONF
from rfsep.app.score import make_leaderboard, score_submissions
from rfsep.app.settings import EvaluateSettings
from rfsep.challenge.kept_errors import read_errors

LABEL = "QPSK_OFDMQPSK"


def settings(*overrides: str) -> EvaluateSettings:
    with initialize_config_dir(str(CONF), version_base=None):
        return evaluate_settings(compose("evaluate", overrides=["testset=set", *overrides]))


def score(place: Path, name: str, *overrides: str) -> None:
    wanted = settings(f"separator={name}", f"out={place / 'subs' / name}", f"id={name}", *overrides)
    assert wanted.separator is not None
    folder = separate_testset(wanted, wanted.separator, place / "set").folder
    assert folder is not None
    score_submissions(wanted, place / "set", [folder])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set, and submissions of two separators, scored."""
    place = tmp_path_factory.mktemp("ranks")
    prepare(place)
    for name in ("lmmse", "passthrough"):
        score(place, name)
    return place


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return iter(())


def test_errors_of_every_mixture_are_kept(place: Path) -> None:
    folder = place / "subs" / "lmmse"
    scores = json.loads((folder / "scores.json").read_text())
    kept = read_errors(folder / "errors.npz", scores["errors"])[LABEL]
    with h5py.File(place / "set" / "truth" / f"{LABEL}.h5") as truth:
        soi, bits, num_bits = (np.array(truth[name]) for name in ("soi", "bits", "num_bits"))
    estimate = np.load(folder / f"lmmse_set_estimated_soi_{LABEL}.npy")
    told = np.load(folder / f"lmmse_set_estimated_bits_{LABEL}.npy")
    assert kept.own.mse == pytest.approx((np.abs(estimate - soi) ** 2).mean(1), rel=1e-5)
    assert kept.own.wrong_bits.tolist() == (told != bits).sum(1).tolist()
    assert kept.num_bits.tolist() == num_bits.tolist()
    assert set(kept.recording.tolist()) == {-1}
    assert kept.baselines["lmmse"].mse == pytest.approx(kept.own.mse, rel=1e-5)
    assert [*kept.baselines] == [row["separator"] for row in scores["baselines"]]
    (row,) = scores["results"]
    means = [kept.own.mse[kept.sinr_db == level].mean() for level in row["sinr_db"]]
    assert 10 * np.log10(means) == pytest.approx(row["mse_db"], abs=1e-4)


def test_board_of_two_says_who_beats_whom(place: Path) -> None:
    assert make_leaderboard(place / "subs") == 0
    (board,) = json.loads((place / "subs" / "leaderboard.json").read_text())["boards"]
    rows = {row["name"]: row for row in board["rows"] if row["kind"] == "blind"}
    assert {name: row["mse_rank"] for name, row in rows.items()} == {"lmmse": 1, "passthrough": 2}
    (pair,) = board["comparisons"]["mse"]["pairs"]
    assert (pair["first"], pair["second"], pair["better"]) == ("lmmse", "passthrough", "lmmse")
    assert pair["p"] == 2 / 2**6  # the smallest of six mixtures
    assert pair["difference_db"] == pytest.approx(
        rows["lmmse"]["mse_score"] - rows["passthrough"]["mse_score"], abs=1e-4
    )
    page = (place / "subs" / "index.html").read_text()
    assert page.count('<table class="versus">') == 2
    assert (place / "subs" / "compare.html").is_file()


def test_baselines_of_before_are_computed_again_with_their_errors(place: Path) -> None:
    path = place / "set" / "truth" / "baselines.json"
    kept = json.loads(path.read_text())
    rows, digest = kept["sets"][LABEL]["rows"], kept["sets"][LABEL].pop("errors")
    path.write_text(json.dumps(kept))
    errors = path.with_name(f"baselines_{LABEL}.npz")
    before = errors.read_bytes()
    errors.unlink()
    score(place, "passthrough")
    found = json.loads(path.read_text())["sets"][LABEL]
    assert (found["rows"], found["errors"], errors.read_bytes()) == (rows, digest, before)


def test_any_mixture_can_be_looked_at(place: Path) -> None:
    score(place, "passthrough", "mixture=3")
    scores = json.loads((place / "subs" / "passthrough" / "scores.json").read_text())
    with h5py.File(place / "set" / "mixture" / f"{LABEL}.h5") as file:
        mixture, sinr_db, count = np.array(file["mixture"][3]), float(file["sinr_db"][3]), len(file["mixture"])
    (said,) = scores["examples"]["of"]
    assert (said["row"], said["sinr_db"]) == (3, sinr_db)
    with np.load(place / "subs" / "passthrough" / "examples.npz") as kept:
        shown = kept["0_mixture"]
    assert np.array_equal(shown, mixture[: len(shown)])
    asked = ("evaluate.py", "submission=subs/passthrough", "testset=set")
    for value, words in ((str(count), f"no mixture={count}, its rows are 0 to {count - 1}"), ("-1", "mixture is -1")):
        done = command(*asked, f"mixture={value}", cwd=place)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
