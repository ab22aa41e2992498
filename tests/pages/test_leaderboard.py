"""The leaderboard as files: who is on it, totals and ranks, JSON, CSV, and what the page holds."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from board import LEVELS, TYPES, row, write_scores

from rfsep.pages.collect import boards, collect
from rfsep.pages.leaderboard import write_leaderboard
from rfsep.pages.ranks import ranked
from rfsep.pages.standings import Standing
from rfsep.storage.atomic import write_json
from rfsep.types import InputError

HOSTILE = "<script>alert(1)</script>"


def only_board(place: Path) -> dict[str, Standing]:
    (board,) = boards(collect(place).entries)
    return {one.name: one for one in ranked(board).rows}


def submit(place: Path, id: str, mse: float, width: float = 0.5, **card: Any) -> None:
    write_scores(place / id, id, [row(id, kind, mse, mse / 2, width) for kind in TYPES], **card)


def test_totals_are_means_and_half_widths_add_in_squares(tmp_path: Path) -> None:
    write_scores(tmp_path, "a", [row("a", TYPES[0], -10.0, -6.0, 3.0), row("a", TYPES[1], -20.0, None, 4.0)])
    one = only_board(tmp_path)["a"]
    assert one.mse == pytest.approx((-15.0, -17.5, -12.5))
    assert one.ber == pytest.approx((-6.0, -9.0, -3.0))  # the type whose bits are not known does not count


def test_what_a_submission_lacks_counts_as_the_mixture_itself(tmp_path: Path) -> None:
    submit(tmp_path, "whole", -2.0)
    write_scores(tmp_path / "part", "part", [row("part", TYPES[0], -20.0, -18.0)])
    found = only_board(tmp_path)
    assert found["part"].missing == ["OFDMQPSK_EMIBursts"]
    assert found["part"].mse is not None
    assert found["part"].mse.value == pytest.approx((-20 + 12) / 2)
    assert found["part"].ber is not None
    assert found["part"].ber.value == pytest.approx((-18 + 3) / 2)
    assert found["passthrough"].kind == "baseline"
    assert found["passthrough"].mse_rank is None


def test_overlapping_intervals_tie_and_oracles_do_not_compete(tmp_path: Path) -> None:
    for id, mse, blind in (("a", -20.0, True), ("b", -19.6, True), ("c", -19.2, None), ("d", -9.0, True)):
        submit(tmp_path, id, mse, blind=blind)  # half-widths of the totals are 0.354
    submit(tmp_path, "oracle", -40.0, blind=False)
    found = only_board(tmp_path)
    ranks = {name: one.mse_rank for name, one in found.items()}
    assert ranks == {"a": 1, "b": 1, "c": 2, "d": 4, "oracle": None, "passthrough": None}
    assert list(found) == ["oracle", "a", "b", "c", "d", "passthrough"]


def test_wide_interval_wins_no_better_rank(tmp_path: Path) -> None:
    for id, mse, half in (("a", -20.0, 1.0), ("b", -17.0, 0.1), ("c", -16.0, 6.0), ("d", -10.0, 0.1)):
        write_scores(tmp_path / id, id, [row(id, TYPES[0], mse, 0.0, half)])
    ranks = {name: one.mse_rank for name, one in only_board(tmp_path).items() if one.mse_rank is not None}
    assert ranks == {"a": 1, "b": 2, "c": 2, "d": 3}, "c overlaps a and b, and b is not the best"


def test_submission_named_as_a_baseline_stands_in_its_place(tmp_path: Path) -> None:
    submit(tmp_path, "passthrough", 12.0)
    found = only_board(tmp_path)
    assert [one.kind for one in found.values()] == ["blind"]


def test_two_of_one_id_bear_their_folders_and_copies_count_once(tmp_path: Path) -> None:
    write_scores(tmp_path / "x", "a", [row("a", TYPES[0], -5.0, 0.0)])
    write_scores(tmp_path / "y", "a", [row("a", TYPES[0], -6.0, 0.0)])
    for name in ("scores.json", "examples.npz"):
        (tmp_path / "z").mkdir(exist_ok=True)
        (tmp_path / "z" / name).write_bytes((tmp_path / "y" / name).read_bytes())
    assert set(only_board(tmp_path)) == {"a (x)", "a (y)", "passthrough"}


def test_other_mixtures_of_the_same_name_are_another_board(tmp_path: Path) -> None:
    submit(tmp_path, "a", -5.0)
    changed = {**row("b", TYPES[0], -9.0, 0.0), "mixtures": "other"}
    write_scores(tmp_path / "b", "b", [changed])
    submit(tmp_path, "c", -7.0)
    found = boards(collect(tmp_path).entries)
    assert [[entry.scores["id"] for entry in board.entries] for board in found] == [["a", "c"], ["b"]]


def test_foreign_scores_are_refused_in_a_line_each_and_the_rest_compared(tmp_path: Path) -> None:
    submit(tmp_path, "honest", -5.0)
    forged = write_scores(tmp_path / "bettered", "bettered", [row("x", TYPES[0], -5.0, 0.0)])
    forged["results"][0]["mse_score"] = -50.0
    write_json(tmp_path / "bettered" / "scores.json", forged)
    for name, content in (("invented", b'{"schema": 1, "id": "x"}'), ("list", b"[]"), ("deep", b"[" * 100_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_bytes(content)
    submit(tmp_path, "swapped", -5.0)
    (tmp_path / "swapped" / "examples.npz").write_bytes(b"PK")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "scores.json").symlink_to(tmp_path / "honest" / "scores.json")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "scores.json")
    (tmp_path / "sparse").mkdir()
    with (tmp_path / "sparse" / "scores.json").open("wb") as file:
        file.truncate(10_000_000_000)
    (tmp_path / "loop").symlink_to(tmp_path)
    refused = write_leaderboard(tmp_path)
    assert len(refused) == 8
    assert all(len(line.splitlines()) == 1 for line in refused)
    for name, word in (("bettered", "seal"), ("invented", "seal"), ("list", "seal"), ("deep", "JSON"), ("link", "link"),
                       ("pipe", "plain"), ("sparse", "bytes"), ("swapped", "examples.npz")):  # fmt: skip
        assert [word in line for line in refused if f"/{name}/" in line] == [True], name
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["boards"][0]["rows"]
    assert [one["id"] for one in rows] == ["honest", "passthrough"]


def test_folder_without_scores_of_ours_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scores\.json"):
        write_leaderboard(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        write_leaderboard(tmp_path / "nowhere")
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(InputError, match="seal"):
        write_leaderboard(tmp_path)
    assert os.listdir(tmp_path) == ["scores.json"]


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    submit(tmp_path, "a", -10.0, commit="=HYPERLINK(1)", seed=None)
    write_scores(tmp_path / "b", HOSTILE, [row("b", TYPES[1], -6.0, None)], measured=False)
    write_leaderboard(tmp_path)
    (board,) = json.loads((tmp_path / "leaderboard.json").read_text())["boards"]
    with (tmp_path / "leaderboard.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert board["testset"] == "mini & more"
    assert [one["name"] for one in board["rows"]] == [line["name"] for line in lines] == ["a", HOSTILE, "passthrough"]
    for one, line in zip(board["rows"], lines, strict=True):
        for key in ("mse_score", "mse_score_low", "ber_score_high", "parameters", "macs_per_sample", "mse_rank"):
            assert line[key] == ("" if one[key] is None else str(one[key])), key
        for label, scores in one["types"].items():
            assert line[f"{label} mse_score"] == str(scores["mse_score"])
    assert lines[0]["commit"] == "'=HYPERLINK(1)"
    assert (lines[1]["missing"], lines[1]["measured"]) == ("QPSK_OFDMQPSK", "False")
    assert lines[1]["OFDMQPSK_EMIBursts ber_score"] == ""


def test_page_holds_every_figure_escapes_names_and_reaches_for_nothing(tmp_path: Path) -> None:
    submit(tmp_path, "a", -10.0)
    submit(tmp_path, "$x^{$", -12.0)
    write_scores(tmp_path / "b", HOSTILE, [row("b", TYPES[1], -6.0, None)], measured=False)
    write_leaderboard(tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!#)|<link(?! rel=\"icon\" href=\"data:,\")", html
    )
    assert html.count("<svg") - html.count('<svg class="key"') == 3 + 2 * len(TYPES)  # three costs; BER and MSE a type
    drawn = re.findall(r'<g class="curve" data-separator="([^"]*)">', html)
    assert drawn.count("a") == 2 * len(TYPES)
    assert drawn.count("<script&gt;alert(1)</script&gt;") == 2  # within quotes only the closing sign needs escaping
    values = re.findall(r'data-value="(-?[\d.]+)"', html)
    assert {"-10.0", "-12.0"} <= set(values)
    content = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    first = next(one for one in content[0]["rows"] if one["name"] == "a")
    assert [level[0] for level in first["types"]["QPSK_OFDMQPSK"]["levels"]] == [
        f"{x:g}".replace("-", "−") for x in LEVELS
    ]


def test_open_challenge_shows_no_signals(tmp_path: Path) -> None:
    submit(tmp_path, "a", -10.0)
    submit(tmp_path, "b", -11.0)
    assert write_leaderboard(tmp_path, signals=False) == []
    content = json.loads(re.search(r'id="data">(.*?)</script>', (tmp_path / "index.html").read_text(), re.DOTALL)[1])  # type: ignore[index]
    assert [one["examples"] for one in content[0]["types"]] == [{}, {}]
    assert all(one["example"] is None for entry in content[0]["rows"] for one in entry["types"].values())


def test_same_scores_give_the_same_files(tmp_path: Path) -> None:
    submit(tmp_path, "a", -10.0)
    names = ("index.html", "leaderboard.json", "leaderboard.csv")
    write_leaderboard(tmp_path)
    first = [(tmp_path / name).read_bytes() for name in names]
    write_leaderboard(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first
