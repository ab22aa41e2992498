"""Ranks by paired tests: who beats whom in files and page, entries of before, stale errors, recordings."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import LEVELS, NUM_BITS, TYPES, Errors, row_of_errors, type_errors, write_scores

from rfsep.pages.collect import boards, collect
from rfsep.pages.compare_page import COMPARE
from rfsep.pages.leaderboard import write_leaderboard
from rfsep.pages.ranks import Ranked, ranked

PER_LEVEL = 40


class Field:
    """Entries on the same mixtures, whose errors are correlated by .9 in dB and differ by a given number of dB."""

    def __init__(self, place: Path) -> None:
        self.place, self.rng = place, np.random.default_rng(0)
        self.shared = {kind: self.rng.normal(size=(3, PER_LEVEL)) for kind in TYPES}

    def errors(self, kind: tuple[str, str], mse_db: float) -> tuple[Errors, Errors]:
        own = self.rng.normal(size=(3, PER_LEVEL))
        error_db = mse_db - np.array(LEVELS)[:, None] / 4 - 3 + 2 * (np.sqrt(0.9) * self.shared[kind] + 0.3 * own)
        mse = 10 ** (error_db / 10)
        return mse, self.rng.binomial(NUM_BITS, np.clip(mse, 0, 0.5))

    def submit(self, id: str, mse_db: float, recordings: int = 0, kept: bool = True, **card: Any) -> None:
        rows, errors = [], {}
        for kind in TYPES:
            found = self.errors(kind, mse_db)
            rows.append(row_of_errors(id, kind, *found))
            origin = np.arange(3 * PER_LEVEL) % recordings if recordings else None
            errors["_".join(kind)] = type_errors(*found, origin)
        write_scores(self.place / id, id, rows, errors if kept else None, **card)


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return Field(tmp_path)


def only(place: Path) -> Ranked:
    (board,) = boards(collect(place).entries)
    return ranked(board)


def ranks(place: Path, metric: str = "mse_rank") -> dict[str, int]:
    return {one.name: getattr(one, metric) for one in only(place).rows if one.mse_rank is not None}


def test_half_a_db_on_the_same_mixtures_is_a_rank_although_intervals_overlap(field: Field) -> None:
    for id, mse_db in (("best", -10.5), ("next", -10.0), ("last", -5.0)):
        field.submit(id, mse_db)
    assert ranks(field.place) == {"best": 1, "next": 2, "last": 3}
    found = only(field.place)
    best, second = found.rows[:2]
    assert best.mse is not None
    assert second.mse is not None
    assert second.mse.low < best.mse.high, "the intervals overlap"
    (duel,) = [one for one in found.duels["mse"].duels if (one.first, one.second) == (0, 1)]
    assert duel.better == 0
    assert duel.difference_db == pytest.approx(best.mse.value - second.mse.value, abs=1e-6)


def test_equal_entries_tie_and_bit_errors_have_ranks_of_their_own(field: Field) -> None:
    for id, mse_db in (("a", -10.0), ("b", -10.0), ("c", -10.0), ("far", -4.0)):
        field.submit(id, mse_db)
    assert ranks(field.place) == {"a": 1, "b": 1, "c": 1, "far": 4}
    assert ranks(field.place, "ber_rank") == {"a": 1, "b": 1, "c": 1, "far": 4}


def test_entry_is_not_better_against_its_score(tmp_path: Path) -> None:
    """Many fewer wrong bits at all levels but one, where it just misses the BER that the score asks for."""
    for id, rates in (("steady", (0.4, 0.2, 9e-3)), ("close", (0.1, 0.05, 11e-3))):
        mse, wrong = np.full((3, 100), 0.1), np.round(np.array(rates)[:, None] * 1000 * np.ones(100))
        row = row_of_errors(id, TYPES[0], mse, wrong * NUM_BITS / 1000)
        write_scores(tmp_path / id, id, [row], {"_".join(TYPES[0]): type_errors(mse, wrong, bits=1000)})
    (duel,) = only(tmp_path).duels["ber"].duels
    assert duel.p is not None
    assert duel.p < 0.001
    assert duel.better is None
    assert ranks(tmp_path, "ber_rank") == {"steady": 1, "close": 1}


def test_three_recordings_tell_nobody_apart_and_the_page_says_so(field: Field) -> None:
    for id, mse_db in (("good", -20.0), ("bad", 0.0)):
        found = field.errors(TYPES[0], mse_db)
        errors = {"_".join(TYPES[0]): type_errors(*found, np.arange(3 * PER_LEVEL) % 3)}
        write_scores(field.place / id, id, [row_of_errors(id, TYPES[0], *found)], errors)
    assert ranks(field.place) == {"good": 1, "bad": 1}
    write_leaderboard(field.place)
    (board,) = json.loads((field.place / "leaderboard.json").read_text())["boards"]
    assert board["comparisons"]["mse"]["swapped"] == "3 recordings"
    assert [pair["p"] for pair in board["comparisons"]["mse"]["pairs"]] == [0.25]
    assert "no p value is below 0.25: too few to tell" in (field.place / "index.html").read_text()


def test_types_of_one_interference_share_its_recordings(tmp_path: Path) -> None:
    kinds = [("QPSK", "Wifi"), ("OFDMQPSK", "Wifi")]
    for id, level in (("a", 0.1), ("b", 0.5)):
        mse, wrong = np.full((3, 8), level), np.full((3, 8), 9.0)
        errors = {"_".join(kind): type_errors(mse, wrong, np.arange(24) % 4) for kind in kinds}
        write_scores(tmp_path / id, id, [row_of_errors(id, kind, mse, wrong) for kind in kinds], errors)
    found = only(tmp_path).duels["mse"]
    assert (found.swapped, found.num_groups) == ("4 recordings", 4)
    assert [duel.p for duel in found.duels] == [2 / 16]


def test_scores_of_before_are_compared_by_intervals_and_the_page_says_so(field: Field) -> None:
    for id, mse_db, kept in (("a", -10.5, True), ("b", -10.0, True), ("old", -10.2, False), ("older", -2.0, False)):
        field.submit(id, mse_db, kept=kept)
    assert ranks(field.place) == {"a": 1, "old": 1, "b": 2, "older": 4}
    write_leaderboard(field.place)
    (board,) = json.loads((field.place / "leaderboard.json").read_text())["boards"]
    pairs = {(one["first"], one["second"]): one for one in board["comparisons"]["mse"]["pairs"]}
    assert board["comparisons"]["mse"]["by_intervals"] == ["old", "older"]
    assert pairs["a", "older"] == {"first": "a", "second": "older", "difference_db": None, "p": None, "better": "a"}
    assert pairs["a", "old"]["better"] is None
    assert pairs["a", "b"]["p"] < 0.05
    assert "compared by intervals: old, older." in (field.place / "index.html").read_text()


def test_page_has_a_square_of_every_pair_that_leads_to_the_comparison(field: Field) -> None:
    for id, mse_db in (("a", -12.0), ("b<i>", -10.0), ("c", -8.0)):
        field.submit(id, mse_db)
    field.submit("oracle", -30.0, blind=False)
    write_leaderboard(field.place)
    html = (field.place / "index.html").read_text()
    assert "b<i>" not in html.partition("<script")[0]
    squares = re.findall(r'<table class="versus">(.*?)</table>', html, re.DOTALL)
    assert len(squares) == 2
    for square, metric in zip(squares, ("mse", "ber"), strict=True):
        outcomes = [re.findall(r'<td class="(\w+)"', line) for line in square.split("<tr>")[2:]]
        assert outcomes == [["self", "better", "better"], ["worse", "self", "better"], ["worse", "worse", "self"]]
        assert re.findall(r'href="([^"]*)"', square)[:2] == [
            f"compare.html#0,1,2,{metric}",
            f"compare.html#0,1,3,{metric}",
        ]
    assert re.search(r'title="a is better than b&lt;i&gt;: −\d\.\d\d dB, p = (?:&lt;)?0\.0', squares[0])
    assert (field.place / COMPARE).is_file()


def test_open_challenge_keeps_errors_of_mixtures_to_itself(field: Field) -> None:
    for id, mse_db in (("a", -12.0), ("b", -10.0)):
        field.submit(id, mse_db)
    write_leaderboard(field.place)
    assert (field.place / COMPARE).is_file()
    write_leaderboard(field.place, signals=False)
    assert not (field.place / COMPARE).exists()
    html = (field.place / "index.html").read_text()
    assert "compare.html" not in html
    assert '<td class="better"' in html, "who beats whom is no secret"


def test_changed_or_lost_errors_are_refused_in_a_line(field: Field) -> None:
    for id, mse_db in (("a", -12.0), ("b", -10.0), ("c", -10.0)):
        field.submit(id, mse_db)
    (field.place / "b" / "errors.npz").write_bytes((field.place / "a" / "errors.npz").read_bytes())
    (field.place / "c" / "errors.npz").unlink()
    refused = write_leaderboard(field.place)
    assert [re.search(r"/(\w)/errors\.npz: is not the file", line)[1] for line in refused] == ["b", "c"]  # type: ignore[index]
    assert ranks(field.place) == {"a": 1}


def test_what_a_submission_lacks_is_tested_with_the_errors_of_the_mixture_itself(field: Field) -> None:
    field.submit("whole", -10.0)
    found, label = field.errors(TYPES[0], -20.0), "_".join(TYPES[0])
    write_scores(field.place / "part", "part", [row_of_errors("part", TYPES[0], *found)], {label: type_errors(*found)})
    (duel,) = only(field.place).duels["mse"].duels
    whole, part = (row for row in only(field.place).rows if row.kind == "blind")
    assert (whole.name, part.missing) == ("whole", ["OFDMQPSK_EMIBursts"])
    assert duel.p is not None
    assert duel.p < 0.05
    useless, own = 12.0, np.mean([10 * np.log10(level.mean()) for level in found[0]])
    assert whole.mse is not None
    assert duel.difference_db == pytest.approx(whole.mse.value - (own + useless) / 2, abs=1e-5)
