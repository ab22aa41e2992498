"""What a host does: several submissions at once, partial ones, forged scores, the board; rfsep compete."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from shell import command, prepare

from rfsep.app.compete import Limits, _finished, entries
from rfsep.app.compete import compete as run_all
from rfsep.app.doors import evaluate_settings
from rfsep.app.evaluate import mixture_types, separate_testset
from rfsep.app.places import CONF
from rfsep.app.score import make_leaderboard, score_submissions
from rfsep.app.settings import EvaluateSettings
from rfsep.separators.passthrough import Passthrough
from rfsep.storage.manifest import listed_sha256
from rfsep.types import InputError, Separated


def settings(*overrides: str) -> EvaluateSettings:
    """The settings of evaluate.py."""
    with initialize_config_dir(str(CONF), version_base=None):
        return evaluate_settings(compose("evaluate", overrides=list(overrides)))


def separated(place: Path, *overrides: str) -> Path | None:
    """The folder that ``evaluate.py separator=... testset=set`` writes."""
    wanted = settings("testset=set", *overrides)
    assert wanted.separator is not None
    return separate_testset(wanted, wanted.separator, place / "set").folder


def separate(place: Path, *overrides: str) -> Path:
    """What ``evaluate.py separator=... testset=set`` does, in this process."""
    folder = separated(place, *overrides)
    assert folder is not None
    score_submissions(settings("testset=set", *overrides), place / "set", [folder])
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set of two types, and a submission of ours to both, scored."""
    folder = tmp_path_factory.mktemp("host")
    prepare(folder)
    prepare(folder, "emi_bursts")
    separate(folder, "separator=passthrough", f"out={folder / 'ours' / 'p'}", "id=team1")
    return folder


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands write below runs/ of where they are started."""
    monkeypatch.chdir(tmp_path)
    return iter(())


def test_separator_leaves_out_what_it_does_not_fit(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separate(host, "separator=token_detection", f"out={tmp_path / 't'}", "fitting=true")
    out = capsys.readouterr().out
    assert "left out QPSK_EMIBursts: the interference is no OFDM" in out
    assert "not in this submission: QPSK_EMIBursts" in out
    scores = json.loads((tmp_path / "t" / "scores.json").read_text())
    assert scores["missing"] == ["QPSK_EMIBursts"]
    assert [row["interference"] for row in scores["results"]] == ["OFDMQPSK"]


def test_types_are_chosen_and_a_slow_separator_is_refused(host: Path, tmp_path: Path) -> None:
    chosen = mixture_types(host / "set", settings("types=[QPSK_EMIBursts]").types)
    assert chosen == mixture_types(host / "set", settings("types=QPSK_EMIBursts").types) == [("QPSK", "EMIBursts")]
    with pytest.raises(InputError, match=r"QPSK_Elsewhere.*QPSK_EMIBursts, QPSK_OFDMQPSK"):
        mixture_types(host / "set", ["QPSK_Elsewhere"])
    slow = ["separator=matched_filter", "fitting=true", "max_seconds_per_mixture=1e-9", f"out={tmp_path / 'm'}"]
    with pytest.raises(InputError, match=r"matched_filter fits no mixture type of .*max_seconds_per_mixture"):
        separate(host, *slow)
    assert not (tmp_path / "m").exists()


def test_pace_is_that_of_a_separator_that_is_prepared(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds for the first mixture, one for each of the others."""
    clock = [0.0]
    separate_plainly = Passthrough.separate

    def separate_slowly(self: Passthrough, mixture: torch.Tensor) -> Separated:
        clock[0] += len(mixture) if clock[0] else 10.0
        return separate_plainly(self, mixture)

    monkeypatch.setattr(Passthrough, "separate", separate_slowly)
    monkeypatch.setattr("rfsep.app.evaluate.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    arguments = ("separator=passthrough", "types=QPSK_EMIBursts", "fitting=true")
    assert separated(host, *arguments, "max_seconds_per_mixture=1.01") is not None
    clock[0] = 0.0
    with pytest.raises(InputError, match=r"1\.0 s per mixture exceed max_seconds_per_mixture=0\.99"):
        separated(host, *arguments, "max_seconds_per_mixture=0.99")


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
    for name in ("twin", "z_broken"):
        shutil.copytree(host / "ours" / "p", tmp_path / "subs" / name)
        (tmp_path / "subs" / name / "scores.json").unlink()
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
    assert make_leaderboard(tmp_path) == 1  # the forged one is refused
    (board,) = json.loads((tmp_path / "leaderboard.json").read_text())["boards"]
    (row,) = [row for row in board["rows"] if row["kind"] != "baseline"]
    assert (row["folder"], row["mse_score"] > 0, row["measured"]) == ("runs/scores/set/team1", True, False)


def test_every_id_of_a_folder_is_scored(host: Path, tmp_path: Path) -> None:
    """As in the organisers' outputs/: one of ours with its card, one by numpy in other types, one without bits."""
    shutil.copytree(host / "set", tmp_path / "set")
    shutil.copytree(host / "ours" / "p", tmp_path / "outputs")
    (tmp_path / "outputs" / "scores.json").unlink()
    for path in sorted((tmp_path / "outputs").glob("team1_*.npy")):
        array = np.load(path)
        wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float32)
        np.save(path.with_name(path.name.replace("team1", "Default_TF_UNet")), wide)
        if "_soi_" in path.name:
            np.save(path.with_name(path.name.replace("team1", "half")), wide)
    done = command("evaluate.py", "submission=outputs", "testset=set", "out=scores", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "half_set_estimated_bits_QPSK_EMIBursts.npy: is missing" in done.stderr
    assert "2 of 3 submissions scored" in done.stdout
    written = {path.parent.name: path for path in (tmp_path / "scores").glob("*/scores.json")}
    assert sorted(written) == ["Default_TF_UNet", "team1"]
    found = {id: json.loads(written[id].read_text()) for id in ("team1", "Default_TF_UNet")}
    rows = [[{**row, "separator": ""} for row in scores["results"]] for scores in found.values()]
    assert rows[0] == rows[1], "the same estimates"
    assert [scores["card"]["measured"] for scores in found.values()] == [True, False]
    assert found["Default_TF_UNet"]["card"]["commit"] is None, "the card beside it is of another"


def test_separator_scores_its_own_estimates_alone(host: Path, tmp_path: Path) -> None:
    """The submission of somebody else in the same folder is damaged, which is none of its business."""
    shutil.copytree(host / "set", tmp_path / "set")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "other_set_estimated_soi_QPSK_EMIBursts.npy").write_bytes(b"")
    chosen = ["separator=passthrough", "testset=set", "out=outputs", "types=[QPSK_EMIBursts]"]
    done = command("evaluate.py", *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "outputs" / "scores.json").read_text())["id"] == "passthrough"


def test_board_of_our_own(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_leaderboard(host / "ours") == 0
    assert "index.html" in capsys.readouterr().out
    (board,) = json.loads((host / "ours" / "leaderboard.json").read_text())["boards"]
    (row,) = [row for row in board["rows"] if row["kind"] != "baseline"]
    assert (row["id"], row["kind"], row["measured"], row["mse_rank"], row["missing"]) == ("team1", "blind", True, 1, [])


def test_every_separator_and_network_enters_for_what_suits_it(host: Path) -> None:
    found = {entry.id: entry for entry in entries(host / "set", [Path("there")])}
    both = ["QPSK_EMIBursts", "QPSK_OFDMQPSK"]
    assert found["lmmse"] == ("lmmse", ["separator=lmmse"], both)
    assert found["ofdm_qpsk"] == ("ofdm_qpsk", ["separator=neural", "run=zoo:ofdm_qpsk"], ["QPSK_OFDMQPSK"])
    assert found["qpskcomm"].types == both, "its interference is not here, but it sees tokens of any grid"
    prior = found["reverse_diffusion-prior_ofdm_qpsk"]
    assert prior.arguments == ["separator=reverse_diffusion", "separator.interference_prior=zoo:prior_ofdm_qpsk"]
    assert prior.types == ["QPSK_OFDMQPSK"]
    assert found["alpha_rgs-prior_qpsk"].types == [], "it learned QPSK of another span"
    assert "neural" not in found
    assert found["foundation"].types == both, "it learned many kinds"
    assert found["learned-there"] == ("learned-there", ["separator=learned", "run=there"], both)
    assert "learned" not in found


def test_finished_entries_are_kept_while_the_mixtures_are_the_same(host: Path) -> None:
    digests = {
        f"QPSK_{name}": listed_sha256(host / "set" / "mixture" / f"QPSK_{name}.h5")
        for name in ("EMIBursts", "OFDMQPSK")
    }
    assert _finished(host / "ours" / "p", digests)
    assert not _finished(host / "ours" / "p", {**digests, "QPSK_EMIBursts": "0" * 64})
    assert not _finished(host / "ours", digests)


def test_competition_goes_on_where_it_stopped(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [
        entry for entry in entries(host / "set") if entry.id in ("passthrough", "matched_filter", "reverse_diffusion")
    ]
    monkeypatch.setattr("rfsep.app.compete.entries", lambda testset, learned: iter(chosen))
    shutil.copytree(host / "ours" / "p", tmp_path / "out" / "passthrough")
    run_all(host / "set", tmp_path / "out", Limits(2, 0.0, 10.0))
    out = capsys.readouterr().out
    assert "passthrough: finished before" in out
    assert out.count("no time left") == 2
    run_all(host / "set", tmp_path / "out", Limits(2, None, 10.0))
    out = capsys.readouterr().out
    assert "reverse_diffusion: left out, separator=reverse_diffusion fits no mixture type" in out
    (board,) = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["boards"]
    names = [row["id"] for row in board["rows"] if row["kind"] != "baseline"]
    assert sorted(names) == ["matched_filter", "team1"]
