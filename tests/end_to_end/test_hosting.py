"""What a host does: several submissions at once, partial ones, forged scores, the board."""

import json
import shutil
from pathlib import Path

import pytest
from shell import command, prepare, succeed


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set of two types and two submissions of ours, scored: one of both types, one of the type that fits it."""
    folder = tmp_path_factory.mktemp("host")
    prepare(folder)
    prepare(folder, "emi_bursts")
    succeed("evaluate.py", "separator=passthrough", "testset=set", "out=ours/p", "id=team1", cwd=folder)
    return folder


def test_separator_leaves_out_what_it_does_not_fit(host: Path) -> None:
    out = succeed("evaluate.py", "separator=token_detection", "testset=set", "out=t", "fitting=true", cwd=host)
    assert "left out QPSK_EMIBursts: the interference is no OFDM" in out
    assert "not in this submission: QPSK_EMIBursts" in out
    scores = json.loads((host / "t" / "scores.json").read_text())
    assert scores["missing"] == ["QPSK_EMIBursts"]
    assert [row["interference"] for row in scores["results"]] == ["OFDMQPSK"]


def test_types_are_chosen_and_a_slow_separator_is_refused(host: Path) -> None:
    base = ["separator=matched_filter", "testset=set", "out=m"]
    succeed("evaluate.py", *base, "types=[QPSK_EMIBursts]", cwd=host)
    assert {path.name.split("_")[-1] for path in (host / "m").glob("*.npy")} == {"EMIBursts.npy"}
    unknown = command("evaluate.py", *base, "types=QPSK_Elsewhere", cwd=host)
    assert (unknown.returncode, "QPSK_EMIBursts" in unknown.stderr) == (2, True)
    slow = command("evaluate.py", *base, "fitting=true", "max_seconds_per_mixture=1e-9", cwd=host)
    assert slow.returncode == 2
    assert "matched_filter fits no mixture type" in slow.stderr
    assert "max_seconds_per_mixture" in slow.stderr


def test_good_ones_of_several_are_scored_and_forged_scores_change_nothing(host: Path, tmp_path: Path) -> None:
    """A team's own card and scores.json, a twin, a broken one, a folder of nothing, a link."""
    shutil.copytree(host / "set", tmp_path / "set")
    team = tmp_path / "subs" / "a"
    shutil.copytree(host / "ours" / "p", team)
    forged = json.loads((team / "scores.json").read_text())
    for row in forged["results"]:
        row["mse_score"] = row["mse_score_low"] = row["mse_score_high"] = -50.0
    (team / "scores.json").write_text(json.dumps(forged))
    (team / "card.json").write_text(json.dumps({"id": "team1", "blind": True, "parameters": 7, "seal": "0" * 64}))
    shutil.copytree(host / "ours" / "p", tmp_path / "subs" / "twin")
    shutil.copytree(host / "ours" / "p", tmp_path / "subs" / "z_broken")
    for path in (tmp_path / "subs" / "z_broken").glob("*.npy"):
        path.rename(path.with_name(path.name.replace("team1", "team2")))
    next((tmp_path / "subs" / "z_broken").glob("*_bits_*")).unlink()
    (tmp_path / "subs" / "nothing").mkdir()
    (tmp_path / "subs" / "outside").symlink_to(host / "ours" / "p")
    done = command("evaluate.py", "submission=subs", "testset=set", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 4, done.stderr
    for name, word in (("twin", "team1"), ("z_broken", "missing"), ("nothing", "no file"), ("outside", "link")):
        assert [word in line for line in lines if f"subs/{name}" in line.split(": ")[1]] == [True], name
    assert "1 of 5 submissions scored" in done.stdout
    scores = json.loads((tmp_path / "runs" / "scores" / "set" / "team1" / "scores.json").read_text())
    assert [row["mse_score"] > 0 for row in scores["results"]] == [True, True]
    assert (scores["card"]["parameters"], scores["card"]["measured"]) == (7, False)
    board = command("evaluate.py", "leaderboard=.", cwd=tmp_path)
    assert board.returncode == 2  # for the forged one
    assert [line.split(": ")[1] for line in board.stderr.strip().splitlines()] == ["subs/a/scores.json"]
    (shown,) = json.loads((tmp_path / "leaderboard.json").read_text())["boards"]
    ours = [row for row in shown["rows"] if row["kind"] != "baseline"]
    # the scores made here, and the copies of those that this host made elsewhere, which are its own
    assert all(row["mse_score"] > 0 for row in ours)
    assert {row["folder"] for row in ours} >= {"runs/scores/set/team1"}


def test_board_of_our_own(host: Path) -> None:
    assert "ours/index.html" in succeed("evaluate.py", "leaderboard=ours", cwd=host)
    assert {path.name for path in (host / "ours").iterdir()} == {
        "p", "index.html", "leaderboard.json", "leaderboard.csv"
    }  # fmt: skip
    (board,) = json.loads((host / "ours" / "leaderboard.json").read_text())["boards"]
    (row,) = [row for row in board["rows"] if row["kind"] != "baseline"]
    assert (row["id"], row["kind"], row["measured"], row["mse_rank"], row["missing"]) == ("team1", "blind", True, 1, [])
    nowhere = command("evaluate.py", "leaderboard=nowhere", cwd=host)
    assert (nowhere.returncode, nowhere.stderr) == (2, "error: nowhere: no such folder\n")
