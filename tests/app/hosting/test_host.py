"""An open challenge: phases, the daily limit, what is at rest, the two shares, histories, bad entries."""

import json
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from open_challenge import Challenge

from rfsep.app.hosting.call import Done, check_audit
from rfsep.types import InputError

LABELS = ("QPSK_EMIBursts", "QPSK_OFDMQPSK")
OUTCOMES = ("taken", "scored", "refused")


def mse_score(squared: np.ndarray, levels: np.ndarray, rows: np.ndarray) -> float:
    """The MSE score of squared errors per row, by the definition: the mean over levels of their mean in dB."""
    chosen = [squared[rows][levels[rows] == level].mean() for level in np.unique(levels)]
    return float(np.mean(10 * np.log10(chosen)))


def measured_sinr_db(challenge: Challenge, label: str, rows: np.ndarray) -> list[float]:
    """The measured SINR of some rows, by the definition: a ratio of mean powers per level."""
    with h5py.File(challenge.testset / "truth" / f"{label}.h5") as file:
        soi, interference = (np.mean(np.abs(file[name][:]) ** 2, 1)[rows] for name in ("soi", "interference"))
    levels = challenge.levels(label)[rows]
    at = [levels == level for level in np.unique(levels)]
    return [10 * np.log10(soi[rows].mean() / interference[rows].mean()) for rows in at]


def standings(challenge: Challenge, board: int = 0) -> dict[str, float]:
    """MSE scores by team in leaderboard.json."""
    rows = json.loads(challenge.page("leaderboard.json"))["boards"][board]["rows"]
    return {row["id"]: row["mse_score"] for row in rows if row["kind"] != "baseline"}


def test_an_entry_waits_for_the_opening_and_is_refused_after_the_end(challenge: Challenge) -> None:
    challenge.enter("red/early")
    assert challenge.call("11-30T23:00") == Done(0, 0, 1)
    assert "the challenge opens on 2026-12-01T00:00:00Z" in challenge.page("red/index.html")
    assert "No entry is scored yet." in challenge.page("index.html")
    assert "not open yet" in challenge.page("index.html")
    assert challenge.call("12-01T00:00") == Done(1, 0, 0)
    challenge.enter("red/late")
    assert challenge.call("12-11T00:00") == Done(0, 0, 0)
    assert challenge.told(*OUTCOMES) == ["taken red/early", "scored red/early", "refused red/late"]
    assert "the challenge closed on 2026-12-11T00:00:00Z" in challenge.page("red/index.html")
    assert "closed; the last entries are scored" in challenge.page("index.html")


def test_what_was_seen_in_time_is_scored_though_no_call_came_until_the_end(challenge: Challenge) -> None:
    challenge.enter("red/one")
    challenge.call("12-10T23:59")
    challenge.call("12-13T00:00")
    assert challenge.told(*OUTCOMES) == ["taken red/one", "scored red/one"]
    assert [one["day"] for one in challenge.events() if one["event"] == "taken"] == ["2026-12-10"]


def test_beyond_the_daily_limit_entries_wait_in_the_order_in_which_they_came(challenge: Challenge) -> None:
    challenge.changes = {"daily": 2, "settle_s": 0}
    challenge.enter("red/c")
    challenge.call("12-02T08:00")
    for name in ("red/b", "red/a", "blue/a"):
        challenge.enter(name)
    assert challenge.call("12-02T09:00") == Done(2, 0, 1)
    assert challenge.told("taken") == ["taken red/c", "taken blue/a", "taken red/a"]
    assert "waits for the next day (UTC): 2 entries of a team count per day" in challenge.page("red/index.html")
    challenge.enter("red/d")
    challenge.enter("red/e")
    assert challenge.call("12-02T23:59") == Done(0, 0, 3)
    assert challenge.call("12-03T00:00") == Done(2, 0, 1)
    assert challenge.told("taken")[3:] == ["taken red/b", "taken red/d"]
    days = [(one["entry"], one["day"]) for one in challenge.events() if one["event"] == "taken"]
    assert days[-2:] == [("b", "2026-12-03"), ("d", "2026-12-03")]


def test_entries_that_still_wait_at_the_end_are_refused(challenge: Challenge) -> None:
    challenge.changes = {"daily": 1, "settle_s": 0}
    for name in ("red/a", "red/b"):
        challenge.enter(name)
    assert challenge.call("12-10T12:00") == Done(1, 0, 1)
    assert challenge.call("12-11T00:00") == Done(0, 0, 0)
    assert challenge.told(*OUTCOMES) == ["taken red/a", "scored red/a", "refused red/b"]
    assert challenge.events()[-2]["reason"] == "its team had 1 entries on the last day"


def test_refused_entries_count_on_their_day(challenge: Challenge) -> None:
    challenge.changes = {"daily": 1, "settle_s": 0}
    (challenge.enter("red/a") / "x_set_estimated_bits_QPSK_EMIBursts.npy").unlink()
    challenge.enter("red/b")
    assert challenge.call("12-02T12:00") == Done(0, 1, 1)
    assert challenge.call("12-03T12:00") == Done(1, 0, 0)


def test_an_entry_is_at_rest_when_nothing_in_it_has_changed(challenge: Challenge) -> None:
    folder = challenge.enter("red/one")
    file = next(folder.glob("*.npy"))
    assert challenge.call("12-02T10:00") == Done(0, 0, 1)
    os.utime(file, (1, 1))  # A time of change, however old.
    assert challenge.call("12-02T10:02") == Done(0, 0, 1)
    temporary = folder / f".{file.name}.aB3xYz"
    temporary.write_bytes(b"1")
    assert challenge.call("12-02T10:04") == Done(0, 0, 1)
    with temporary.open("ab") as growing:
        growing.write(b"2")
    assert challenge.call("12-02T10:06") == Done(0, 0, 1)
    temporary.rename(file.with_suffix(".old"))
    assert challenge.call("12-02T10:08") == Done(0, 0, 1)
    assert challenge.call("12-02T10:08:59") == Done(0, 0, 1)
    assert challenge.call("12-02T10:09") == Done(1, 0, 0)
    assert [one["since"] for one in challenge.events() if one["event"] == "taken"] == ["2026-12-02T10:08:00Z"]


def test_what_rsync_has_not_finished_is_no_entry(challenge: Challenge) -> None:
    challenge.changes = {"settle_s": 0}
    challenge.enter("red/.~tmp~")
    challenge.enter(".blue.x1Y2z3/one")
    (challenge.inbox / "red" / "one").mkdir()
    (challenge.inbox / "red" / "one" / ".x_set_estimated_soi_QPSK_EMIBursts.npy.Q7mzPq").write_bytes(b"half")
    (challenge.inbox / "red" / "two").mkdir()
    assert challenge.call("12-02T10:00") == Done(0, 0, 0)
    assert challenge.told(*OUTCOMES) == []


def test_both_shares_are_scored_by_the_definition(challenge: Challenge) -> None:
    """Each row is off by another constant, so that a wrong row would show."""
    challenge.changes = {"settle_s": 0}
    error = np.linspace(0.05, 0.3, 12)
    challenge.enter("red/one", error)
    challenge.call("12-02T10:00")
    expected: dict[str, list[float]] = {"public": [], "private": []}
    result = json.loads((challenge.out / "secret" / "results" / "red" / "one.json").read_text())
    for place, label in enumerate(LABELS):
        public, levels = challenge.public(label), challenge.levels(label)
        private = np.setdiff1d(np.arange(12), public)
        assert [np.count_nonzero(levels[public] == level) for level in (-12, 0)] == [3, 3]
        for share, rows in (("public", public), ("private", private)):
            score = mse_score(error**2, levels, rows)
            row = result["results"][share][place]
            assert row["mse_score"] == pytest.approx(score, abs=1e-4)
            assert row["num_mixtures"] == [3, 3]
            assert row["ber"] == [0.0, 0.0]
            assert row["measured_sinr_db"] == pytest.approx(measured_sinr_db(challenge, label, rows), abs=1e-4)
            expected[share].append(score)
    assert expected["public"] != pytest.approx(expected["private"], abs=0.05)
    assert standings(challenge)["red"] == pytest.approx(np.mean(expected["public"]), abs=1e-4)
    boards = json.loads(challenge.page("leaderboard.json"))["boards"]
    assert [board["testset"] for board in boards] == ["set, public mixtures"]
    challenge.call("12-11T00:00")
    boards = json.loads(challenge.page("leaderboard.json"))["boards"]
    assert [board["testset"] for board in boards] == ["set, private mixtures", "set, public mixtures"]
    assert standings(challenge, 0)["red"] == pytest.approx(np.mean(expected["private"]), abs=1e-4)
    assert standings(challenge, 1)["red"] == pytest.approx(np.mean(expected["public"]), abs=1e-4)
    assert challenge.events()[-1]["event"] == "final"


def test_a_board_ranks_by_the_mixtures_of_its_own_share(challenge: Challenge) -> None:
    """One team is better in the six public mixtures of a type, by as much as the other one in the private ones."""
    challenge.changes = {"settle_s": 0}
    error = np.where(np.isin(np.arange(12), challenge.public(LABELS[0])), 0.05, 0.2)
    challenge.enter("red/one", error, LABELS[:1])
    challenge.enter("blue/one", 0.25 - error, LABELS[:1])
    challenge.call("12-02T10:00")
    challenge.call("12-11T00:00")
    found = {}
    for board in json.loads(challenge.page("leaderboard.json"))["boards"]:
        told = board["comparisons"]["mse"]
        assert told["by_intervals"] == []
        (pair,) = told["pairs"]
        found[board["testset"]] = (pair["p"], pair["better"])
    # Of all swaps of six mixtures, two are as far apart as what was seen.
    assert found == {
        "set, public mixtures": (pytest.approx(2 / 64), "red"),
        "set, private mixtures": (pytest.approx(2 / 64), "blue"),
    }


def test_nothing_of_the_private_share_shows_before_the_end(hosted_set: Path, ready: Path, tmp_path: Path) -> None:
    """Two challenges differ in their teams' private rows alone; their pages agree to the byte until the end."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        one = Challenge(tmp_path / name, hosted_set)
        shutil.copytree(ready, one.out)
        one.changes = {"settle_s": 0}
        made.append(one)
    public = {label: made[0].public(label) for label in LABELS}
    for one, private in zip(made, ({"one": 0.01, "two": 0.4}, {"one": 0.4, "two": 0.02}), strict=True):
        for entry, error in (("one", 0.2), ("two", 0.1)):
            is_public = {label: np.isin(np.arange(12), public[label]) for label in LABELS}
            errors = {label: np.where(is_public[label], error, private[entry]) for label in LABELS}
            folder = one.enter(f"red/{entry}", errors[LABELS[0]], LABELS[:1])
            shutil.copytree(one.enter("x/y", errors[LABELS[1]], LABELS[1:]), folder, dirs_exist_ok=True)
            shutil.rmtree(one.inbox / "x")
        one.call("12-02T10:00")
    assert sorted(made[0].pages()) == sorted(
        ["index.html", "red/index.html", *(f"leaderboard.{kind}" for kind in ("csv", "html", "json"))]
    )
    assert made[0].pages() == made[1].pages()
    results = [(one.out / "secret" / "results" / "red" / "one.json").read_bytes() for one in made]
    assert results[0] != results[1]
    for one in made:
        one.call("12-11T00:00")
    first, second = (one.pages() for one in made)
    assert {name for name in first if first[name] != second[name]} == set(first)
    # Entry two is the better one on the public share.
    assert standings(made[0])["red"] == pytest.approx(20 * np.log10(0.4), abs=0.01)
    assert standings(made[1])["red"] == pytest.approx(20 * np.log10(0.02), abs=0.01)


def test_the_best_entry_on_the_public_share_counts_and_the_earlier_of_two_equal_ones(challenge: Challenge) -> None:
    challenge.changes = {"settle_s": 0}
    for entry, error in (("a", 0.1), ("b", 0.05), ("c", 0.2), ("d", 0.05)):
        challenge.enter(f"red/{entry}", error)
        challenge.call("12-02T10:00")
    challenge.enter("blue/half", 0.01, LABELS[:1])
    challenge.call("12-02T10:01")
    assert standings(challenge)["red"] == pytest.approx(20 * np.log10(0.05), abs=1e-3)
    lines = re.findall(r"<tr.*?</tr>", challenge.page("red/index.html"), re.DOTALL)[1:]
    assert [re.findall(r"(?:row|q)\">(\w+)", line)[0] for line in lines] == ["a", "b", "c", "d"]
    assert ["counts" in line for line in lines] == [False, True, False, False]
    assert [re.findall(r"−\d+\.\d\d", line)[0] for line in lines] == ["−20.00", "−26.02", "−13.98", "−26.02"]
    # The mixture itself stands in for the type that is missing, whose error is far above -40 dB.
    half = standings(challenge)["blue"]
    baselines = json.loads((challenge.out / "secret" / "baselines.json").read_text())[LABELS[1]]["rows"]["public"]
    (mixture,) = [row["mse_score"] for row in baselines if row["separator"] == "passthrough"]
    assert half == pytest.approx((-40 + mixture) / 2, abs=0.01)


def bits_of(folder: Path) -> Path:
    return folder / f"x_set_estimated_bits_{LABELS[0]}.npy"


def soi_of(folder: Path) -> Path:
    return folder / f"x_set_estimated_soi_{LABELS[0]}.npy"


def no_number(folder: Path) -> None:
    soi = np.load(soi_of(folder))
    soi[5, 7] = np.nan
    np.save(soi_of(folder), soi)


def linked(folder: Path) -> None:
    other = folder.parents[1] / "blue" / "good"
    soi_of(folder).unlink()
    soi_of(folder).symlink_to(soi_of(other))


def another_type(folder: Path) -> None:
    for path in folder.glob("*EMIBursts.npy"):
        path.rename(path.with_name(path.name.replace("EMIBursts", "Elsewhere")))


def pickled(folder: Path) -> None:
    np.save(soi_of(folder), np.array([{"a": 1}], object), allow_pickle=True)


def two_ids(folder: Path) -> None:
    shutil.copy(bits_of(folder), bits_of(folder).with_name(bits_of(folder).name.replace("x_", "y_", 1)))


def huge(folder: Path) -> None:
    with soi_of(folder).open("r+b") as file:
        file.truncate(1 << 40)  # sparse


BAD = {
    "missing": (lambda folder: bits_of(folder).unlink(), r"bits_QPSK_EMIBursts\.npy: is missing"),
    "nan": (no_number, r"soi_QPSK_EMIBursts\.npy: row 5, sample 7 is NaN"),
    "shape": (lambda folder: np.save(soi_of(folder), np.zeros((12, 3), np.complex64)), r"shape \(12, 3\)"),
    "pickle": (pickled, "dtype object"),
    "link": (linked, "is a symbolic link"),
    "type": (another_type, r"no mixtures QPSK_Elsewhere, choose from QPSK_EMIBursts, QPSK_OFDMQPSK"),
    "ids": (two_ids, "several ids, x and y"),
    "huge": (huge, r"is larger than the 126976 bytes"),
    "card": (lambda folder: (folder / "card.json").write_text("{"), r"card\.json: is not valid JSON"),
    "pipe": (lambda folder: (bits_of(folder).unlink(), os.mkfifo(bits_of(folder))), "is missing"),
    "nothing": (lambda folder: [path.rename(path.with_suffix(".x")) for path in folder.iterdir()], "no file"),
}


def test_bad_entries_cost_a_line_each_and_the_others_are_scored(challenge: Challenge) -> None:
    challenge.changes = {"settle_s": 0, "daily": 20}
    challenge.enter("blue/good")
    for name, (spoil, _) in BAD.items():
        spoil(challenge.enter(f"red/{name}"))
    challenge.enter("red/zgood")
    assert challenge.call("12-02T10:00") == Done(2, len(BAD), 0)
    reasons = {one["entry"]: one["reason"] for one in challenge.events() if one["event"] == "refused"}
    assert sorted(reasons) == sorted(BAD)
    for name, (_, words) in BAD.items():
        assert re.search(words, reasons[name]), reasons[name]
        assert "/" not in reasons[name].replace("{soi,bits}", ""), "a folder of the host"
        assert "\n" not in reasons[name]
    assert sorted(standings(challenge)) == ["blue", "red"]
    assert challenge.page("red/index.html").count("<td>refused</td>") == len(BAD)
    assert not (challenge.out / "secret" / "work").exists()
    assert challenge.call("12-02T11:00") == Done(0, 0, 0)


def test_links_and_strange_names_are_no_entries_and_are_escaped(
    challenge: Challenge, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge.changes = {"settle_s": 0}
    outside = challenge.enter("blue/good")
    (challenge.inbox / "red" / "<b>bold").mkdir(parents=True)
    (challenge.inbox / "red" / "one").symlink_to(outside)
    (challenge.inbox / "green").symlink_to(challenge.inbox / "blue")
    (challenge.inbox / "no team").mkdir()
    (challenge.inbox / ("a" * 65)).mkdir()
    assert challenge.call("12-02T10:00") == Done(1, 0, 2)
    page = challenge.page("red/index.html")
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
    assert page.count("is a link") == 1
    assert challenge.told(*OUTCOMES) == ["taken blue/good", "scored blue/good"]
    assert sorted(path.name for path in (challenge.out / "board").iterdir() if path.is_dir()) == ["blue", "red"]
    said = capsys.readouterr().out
    assert "green: is a link" in said
    assert "no team: a name has letters, digits and hyphens" in said


def test_a_folder_that_becomes_a_link_after_it_was_taken_is_not_followed(
    challenge: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the copy a team puts a link to another team's entry in place of its own."""
    challenge.changes = {"settle_s": 0}
    other, own = challenge.enter("blue/good", 0.01), challenge.enter("red/bad", 0.3)
    from rfsep.app.hosting import judge

    listed = judge.list_submissions

    def swapped(*arguments: object) -> object:
        found = listed(*arguments)
        if found[0].soi_path.parent == own:
            own.rename(own.with_name("moved"))
            own.symlink_to(other)
        return found

    monkeypatch.setattr(judge, "list_submissions", swapped)
    assert challenge.call("12-02T10:00") == Done(1, 1, 0)
    assert challenge.events()[-1]["reason"].endswith("is or lies behind a link")
    assert sorted(standings(challenge)) == ["blue"]


def test_an_entry_that_changes_while_it_is_scored_is_refused(
    challenge: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge.changes = {"settle_s": 0}
    own = challenge.enter("red/one", 0.3)
    from rfsep.app.hosting import judge

    card = judge.declared_card

    def changed(*arguments: object) -> object:
        os.utime(soi_of(own))
        return card(*arguments)

    monkeypatch.setattr(judge, "declared_card", changed)
    assert challenge.call("12-02T10:00") == Done(0, 1, 0)
    assert challenge.events()[-1]["reason"] == "it was changed after it was taken"


def test_rules_are_noted_when_they_change_and_the_shares_never_do(challenge: Challenge, hosted_set: Path) -> None:
    challenge.call("12-02T10:00")
    challenge.changes = {"daily": 7}
    challenge.call("12-02T11:00")
    challenge.call("12-02T12:00")
    assert [one["rules"]["daily"] for one in challenge.events() if one["event"] == "rules"] == [5, 7]
    challenge.changes = {"public": 0.4}
    with pytest.raises(InputError, match=r"shares\.json: the public share is 0\.5 from the first call on"):
        challenge.call("12-02T13:00")
    challenge.changes = {}
    challenge.testset = challenge.folder / "set"
    shutil.copytree(hosted_set, challenge.testset)
    for file in challenge.testset.rglob("QPSK_EMIBursts.h5"):
        file.unlink()
    for manifest in challenge.testset.rglob("manifest.json"):
        known = json.loads(manifest.read_text())
        known["files"] = {name: one for name, one in known["files"].items() if "EMIBursts" not in name}
        manifest.write_text(json.dumps(known))
    with pytest.raises(InputError, match="is not the test set that this challenge began with"):
        challenge.call("12-02T14:00")


def test_the_end_is_not_moved_after_the_end(challenge: Challenge) -> None:
    challenge.enter("red/one")
    challenge.call("12-10T10:00")
    challenge.call("12-11T00:01")
    before = challenge.pages()
    assert challenge.events()[-1]["event"] == "final"
    with pytest.raises(InputError, match=r"closes=2026-12-11T00:00:00Z: the challenge has ended"):
        challenge.call("12-10T23:00")
    assert challenge.call("12-12T00:00") == Done(0, 0, 0)
    assert challenge.pages() == before


def test_lines_cut_off_at_the_end_of_the_log_show(challenge: Challenge) -> None:
    challenge.changes = {"settle_s": 0}
    challenge.enter("red/one")
    challenge.call("12-02T10:00")
    log = challenge.out / "audit.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]))
    for work in (lambda: challenge.call("12-02T12:00"), lambda: check_audit(challenge.out)):
        with pytest.raises(InputError, match=r"audit\.jsonl: is not the log of 4 lines that .*audit\.txt tells of"):
            work()


def test_a_changed_log_or_result_ends_the_call(challenge: Challenge) -> None:
    challenge.changes = {"settle_s": 0}
    challenge.enter("red/one")
    challenge.call("12-02T10:00")
    assert check_audit(challenge.out).startswith(f"{challenge.out}/audit.jsonl: 4 lines, unbroken; ")
    before = challenge.pages()
    result = challenge.out / "secret" / "results" / "red" / "one.json"
    content = result.read_text()
    result.write_text(content.replace('"mse_score": -', '"mse_score": -1', 1))
    with pytest.raises(InputError, match=r"one\.json: is not the result that audit\.jsonl names"):
        challenge.call("12-02T11:00")
    result.write_text(content)
    log = challenge.out / "audit.jsonl"
    log.write_text(log.read_text().replace('"day": "2026-12-02"', '"day": "2026-12-01"'))
    for work in (lambda: challenge.call("12-02T12:00"), lambda: check_audit(challenge.out)):
        with pytest.raises(InputError, match=r"audit\.jsonl: line 2 was changed"):
            work()
    assert challenge.pages() == before
