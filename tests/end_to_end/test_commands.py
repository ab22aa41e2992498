"""Results, resuming, records: what the scripts do."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from shell import ROOT, SAME, TINY, command, pixels, prepare, succeed, wait_until

from rfsep.pages.style import PALETTE


def test_run_folder_has_what_the_design_says(place: Path) -> None:
    run = place / "runs" / "adhoc" / "tiny"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    lines = (run / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,metric,value"
    assert any(",val/mse_db/-30," in line for line in lines)
    assert "_target_: rfsep.models.unet.UNet" in (run / "config.yaml").read_text()
    assert not list(place.glob("outputs*")), "hydra's own folder"


def test_finished_run_says_so(place: Path) -> None:
    arguments = ["run=tiny", *TINY, "trainer.max_steps=4", "trainer.val_every=2"]
    assert "finished before" in succeed("train.py", *arguments, cwd=place)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """Stopped after two of four steps and resumed: weights, average and metrics are the same to the bit."""
    schedule = ["objective.module.optimisation.max_steps=4", "trainer.val_every=2"]
    succeed("train.py", "run=whole", *TINY, *schedule, "trainer.max_steps=4", cwd=tmp_path)
    succeed("train.py", "run=parts", *TINY, *schedule, "trainer.max_steps=2", cwd=tmp_path)
    succeed("train.py", "run=parts", *TINY, *schedule, "trainer.max_steps=4", cwd=tmp_path)
    whole, parts = (
        torch.load(tmp_path / "runs" / "adhoc" / run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in ("whole", "parts")
    )
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(whole[key][name], parts[key][name]) for name in whole[key])
    values = [(tmp_path / "runs" / "adhoc" / run / "metrics.csv").read_text() for run in ("whole", "parts")]
    shown = [sorted(line for line in text.splitlines() if ",val/" in line) for text in values]
    assert shown[0] == shown[1]


def interruptible() -> None:
    """A job in the background starts with Ctrl-C ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = ["run=long", *TINY, "trainer.max_steps=1000000", "trainer.val_every=20"]
    last = tmp_path / "runs" / "adhoc" / "long" / "checkpoints" / "last.ckpt"
    with subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    ) as process:
        try:
            wait_until(last.exists, process)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted; the same command goes on where it stopped" in stderr
    assert "Traceback" not in stderr
    assert torch.load(last, weights_only=True)["global_step"] % 20 == 0


def test_scores_card_and_page(place: Path) -> None:
    scores = json.loads((place / "ours" / "scores.json").read_text())
    assert scores["schema"] == 1
    assert {row["interference"] for row in scores["results"]} == {"OFDMQPSK", "EMIBursts"}
    assert {row["separator"] for row in scores["baselines"]} == {
        "passthrough",
        "matched_filter",
        "matched_filter:hard",
        "lmmse",
    }
    for row in [*scores["results"], *scores["baselines"]]:
        assert row["sinr_db"] == [-12.0, 0.0]
        assert all(
            low <= x <= high for low, x, high in zip(row["mse_db_low"], row["mse_db"], row["mse_db_high"], strict=True)
        )
        assert row["num_mixtures"] == [3, 3]
        assert row["num_bits"] == [240, 240]
    card = json.loads((place / "ours" / "card.json").read_text())
    assert card["blind"] is True
    assert card["parameters"] > 0
    assert card["train_flops"] > 0
    assert "<svg" in (place / "ours" / "index.html").read_text()
    passthrough = next(row for row in scores["baselines"] if row["separator"] == "passthrough")
    assert passthrough["mse_db"][0] == pytest.approx(12, abs=1.0)


def test_scoring_files_again_gives_the_same_numbers(place: Path) -> None:
    out = succeed("evaluate.py", "submission=ours", "testset=set", "out=again", cwd=place)
    assert "MSE dB" in out
    first, second = (json.loads((place / name / "scores.json").read_text()) for name in ("ours", "again"))
    assert first["results"] == second["results"]
    assert first["baselines"] == second["baselines"]


def test_a_separator_of_no_use_is_said_to_be_so(place: Path) -> None:
    """Twice the mixture is worse than nothing at both levels; an estimate of zeros is not worse than nothing."""
    for name, gain in (("twice", 2), ("zeros", 0)):
        (place / name).mkdir()
        mixture = h5py.File(place / "set" / "mixture" / "QPSK_OFDMQPSK.h5")["mixture"][()]
        end = f"{name}_set_estimated_{{}}_QPSK_OFDMQPSK.npy"
        np.save(place / name / end.format("soi"), (gain * mixture).astype(np.complex64))
        np.save(place / name / end.format("bits"), np.zeros((6, 80), np.uint8))
    said = succeed("evaluate.py", "submission=twice", "testset=set", "out=twice_scores", cwd=place)
    (line,) = [line for line in said.splitlines() if line.startswith("twice: ")]
    assert line.startswith(
        "twice: MSE is worse than a zero estimate's at -12, 0 dB; MSE is worse than the matched filter's at "
    )
    said = succeed("evaluate.py", "submission=zeros", "testset=set", "out=zeros_scores", cwd=place)
    (line,) = [line for line in said.splitlines() if line.startswith("zeros: ")]
    assert "zero estimate" not in line
    assert "BER is worse than the matched filter's at -12, 0 dB" in line


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name, seed=seed)
        (tmp_path / name / "set").rename(tmp_path / name / "moved")
        succeed("data/prepare.py", *SAME, f"seed={seed}", f"out={name}/set", cwd=tmp_path)
        for path in (tmp_path / name / "moved").rglob("*.h5"):
            assert (
                path.read_bytes()
                == (tmp_path / name / "set" / path.relative_to(tmp_path / name / "moved")).read_bytes()
            )
    files = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b", "c")
    }
    assert files["a"] == files["b"]
    assert files["a"] != files["c"]


def test_hosted_set_takes_its_seed_from_the_operating_system(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name, seed="null")
    public = [(tmp_path / name / "set" / "mixture" / "QPSK_OFDMQPSK.h5").read_bytes() for name in ("a", "b")]
    assert public[0] != public[1]


def test_official_files_score_like_our_own(tmp_path: Path) -> None:
    """Written as the challenge's files, read back, separated and scored: the same errors."""
    prepare(tmp_path, "white_noise", official="true")
    official = tmp_path / "set" / "official"
    succeed("evaluate.py", "separator=matched_filter", "testset=set/official", "out=theirs", cwd=tmp_path)
    succeed("evaluate.py", "separator=matched_filter", "testset=set", "out=mine", cwd=tmp_path)
    assert list(official.glob("*_testmixture_QPSK_WhiteNoise.npy"))
    rows = [
        next(
            row
            for row in json.loads((tmp_path / name / "scores.json").read_text())["results"]
            if row["interference"] == "WhiteNoise"
        )
        for name in ("theirs", "mine")
    ]
    assert rows[0]["mse_db"] == pytest.approx(rows[1]["mse_db"], abs=1e-4)
    assert rows[0]["ber"] == rows[1]["ber"]


def test_comparison_keeps_the_rows_of_others(tmp_path: Path) -> None:
    base = ["experiment=args/ofdm_qpsk", "num_mixtures=4", "comparison.sir_db=[-12,-3]", "comparison.num_samples=640"]
    succeed("evaluate.py", *base, "separator=matched_filter", cwd=tmp_path)
    path = tmp_path / "runs" / "args" / "ofdm_qpsk" / "results.json"
    first = json.loads(path.read_text())
    assert [row["separator"] for row in first["rows"]] == ["matched_filter", "matched_filter:hard"]
    out = succeed("evaluate.py", *base, "separator=lmmse", cwd=tmp_path)
    second = json.loads(path.read_text())
    assert [row["separator"] for row in second["rows"]] == [
        "matched_filter",
        "matched_filter:hard",
        "lmmse",
        "lmmse:synchronous",
    ]
    assert second["rows"][0] == first["rows"][0]
    assert [row["blind"] for row in second["rows"]] == [True, True, True, False]
    assert "published" in second
    assert pixels(path.parent / "figure.png", PALETTE[0]) > 50
    assert "results in" in out


def test_random_submission_of_two_types_scores_as_plain_numpy_says(place: Path, tmp_path: Path) -> None:
    """The official script's arithmetic on the files themselves, from npy and HDF5 to scores.json."""
    shutil.copytree(place / "set", tmp_path / "set")
    rng = np.random.default_rng(0)
    (tmp_path / "theirs").mkdir()
    expected = {}
    for interference in ("OFDMQPSK", "EMIBursts"):
        with h5py.File(tmp_path / "set" / "truth" / f"QPSK_{interference}.h5") as file:
            soi, bits = file["soi"][()], file["bits"][()]
        estimate = (soi + 0.1 * rng.standard_normal(soi.shape)).astype(np.complex64)
        decided = bits ^ (rng.random(bits.shape) < 0.02).astype(np.uint8)
        np.save(tmp_path / "theirs" / f"A_Team_set_estimated_soi_QPSK_{interference}", estimate)
        np.save(tmp_path / "theirs" / f"A_Team_set_estimated_bits_QPSK_{interference}", decided)
        mse = 10 * np.log10(np.mean(np.abs(estimate - soi) ** 2, axis=1).reshape(2, 3).mean(1))
        ber = (decided != bits).mean(1).reshape(2, 3).mean(1)
        walk = 3.0 if ber[1] > 1e-2 else (0.0 if ber[0] > 1e-2 else -12.0)
        expected[interference] = (mse, ber, np.maximum(mse, -50).mean(), walk)
    succeed("evaluate.py", "submission=theirs", "testset=set", cwd=tmp_path)
    scores = json.loads((tmp_path / "runs" / "scores" / "set" / "A_Team" / "scores.json").read_text())
    rows = {row["interference"]: row for row in scores["results"]}
    for interference, (mse, ber, mse_score, ber_score) in expected.items():
        row = rows[interference]
        assert row["mse_db"] == pytest.approx(mse, abs=1e-5)
        assert row["ber"] == pytest.approx(ber, abs=1e-9)
        assert row["mse_score"] == pytest.approx(mse_score, abs=1e-5)
        assert row["ber_score"] == ber_score


OFFLINE = [*TINY, "trainer.val_every=2", "logger=wandb", "logger.wandb.mode=offline"]


def test_a_run_that_goes_on_is_one_run_at_wandb_without_a_network(tmp_path: Path) -> None:
    for steps in (2, 4):
        succeed("train.py", "run=tiny", *OFFLINE, f"trainer.max_steps={steps}", cwd=tmp_path)
    folder = tmp_path / "runs" / "adhoc" / "tiny"
    id = (folder / "wandb_id.txt").read_text().strip()
    assert re.fullmatch("[0-9a-f]{16}", id)
    kept = list((folder / "wandb").glob("offline-run-*"))
    assert len(kept) == 2
    assert {path.name.rpartition("-")[2] for path in kept} == {id}
    assert all((path / f"run-{id}.wandb").is_file() for path in kept)


def test_each_run_of_a_sweep_is_another_at_wandb(tmp_path: Path) -> None:
    succeed("train.py", "-m", "seed=1,2", *OFFLINE, "trainer.max_steps=2", cwd=tmp_path)
    folders = list((tmp_path / "runs" / "adhoc").iterdir())
    ids = [(folder / "wandb_id.txt").read_text().strip() for folder in folders]
    assert len(set(ids)) == 2
    for folder, id in zip(folders, ids, strict=True):
        assert [path.name.rpartition("-")[2] for path in (folder / "wandb").glob("offline-run-*")] == [id]


def test_what_is_no_id_of_a_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "adhoc" / "tiny"
    folder.mkdir(parents=True)
    (folder / "wandb_id.txt").write_text("../elsewhere\n")
    done = command("train.py", "run=tiny", *OFFLINE, "trainer.max_steps=2", cwd=tmp_path)
    assert done.returncode == 2
    assert "runs/adhoc/tiny/wandb_id.txt: holds '../elsewhere', expected the id of a run" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["wandb_id.txt"]


def test_guided_networks_one_for_each_type(place: Path, tmp_path: Path) -> None:
    """What make demo does, two steps long and in bfloat16: a run per mixture type, both in one submission."""
    shutil.copytree(place / "set", tmp_path / "set")
    tiny = [word for word in TINY if "precision" not in word]
    for interference, name in (("emi_bursts", "EMIBursts"), ("ofdm_qpsk", "OFDMQPSK")):
        choice = ["experiment=demo", f"interference={interference}", f"run=QPSK_{name}"]
        steps = ["trainer.max_steps=2", "trainer.val_every=2", "objective.module.optimisation.learning_rate=0.0"]
        succeed("train.py", *choice, *tiny, *steps, cwd=tmp_path)
    succeed("evaluate.py", "separator=neural", "run=runs/demo", "testset=set", "out=ours", cwd=tmp_path)
    scores = json.loads((tmp_path / "ours" / "scores.json").read_text())
    for row in scores["results"]:
        # an untrained guided network returns its guide, but for the windows' edges
        guide = next(
            base
            for base in scores["baselines"]
            if base["separator"] == "lmmse" and base["interference"] == row["interference"]
        )
        assert row["mse_db"] == pytest.approx(guide["mse_db"], abs=0.3)
    assert scores["card"]["train_minutes"] > 0


def test_time_limit_stops_a_run_and_lets_it_go_on(tmp_path: Path) -> None:
    arguments = ["run=long", *TINY, "trainer.max_steps=1000000", "trainer.val_every=5", "trainer.max_time=00:00:00:05"]
    last = tmp_path / "runs" / "adhoc" / "long" / "checkpoints" / "last.ckpt"
    steps = []
    for _ in range(2):
        assert "stopped at its time limit; the same command goes on" in succeed("train.py", *arguments, cwd=tmp_path)
        steps.append(torch.load(last, weights_only=True)["global_step"])
    assert 0 < steps[0] < steps[1]


def test_baselines_are_made_again_when_the_set_changes(tmp_path: Path) -> None:
    for seed in (1, 2):
        prepare(tmp_path, seed=seed, official="true")
        succeed("evaluate.py", "separator=passthrough", "testset=set/official", "out=ours", cwd=tmp_path)
        scores = json.loads((tmp_path / "ours" / "scores.json").read_text())
        base = next(row for row in scores["baselines"] if row["separator"] == "passthrough")
        assert base["mse_db"] == scores["results"][0]["mse_db"]


def test_silent_interference_is_scored(tmp_path: Path) -> None:
    """Windows between bursts hold no interference at all: no ratio to measure, no reason to stop."""
    prepare(tmp_path, "emi_bursts", num_samples=160, num_per_sinr=1, sinr_db="[-12,-9,-6,-3,0]")
    succeed("evaluate.py", "separator=passthrough", "testset=set", "out=ours", cwd=tmp_path)
    row = json.loads((tmp_path / "ours" / "scores.json").read_text())["results"][0]
    assert len(row["measured_sinr_db"]) == 5


def test_scoring_without_the_recordings_leaves_out_lmmse_alone(tmp_path: Path) -> None:
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: no real recordings here")
    prepare(tmp_path, "wifi20")
    arguments = ["separator=matched_filter", "testset=set", "out=ours"]
    done = command("evaluate.py", *arguments, cwd=tmp_path, without="RFSEP_RECORDINGS")
    assert done.returncode == 0, done.stderr
    assert "lmmse is left out" in done.stdout
    scores = json.loads((tmp_path / "ours" / "scores.json").read_text())
    assert {row["separator"] for row in scores["baselines"]} == {"passthrough", "matched_filter", "matched_filter:hard"}


@pytest.mark.parametrize("name", ["emisignal1", "commsignal2", "commsignal3"])
def test_surrogate_comparisons_run(tmp_path: Path, name: str) -> None:
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: no measured spectra here")
    short = ["num_mixtures=2", "comparison.num_samples=2048", "comparison.separators.lmmse.block=512"]
    succeed("evaluate.py", f"experiment=rfc2021/{name}", *short, cwd=tmp_path)
    results = json.loads((tmp_path / "runs" / "rfc2021" / name / "results.json").read_text())
    assert [len(row["ber"]) for row in results["rows"]] == [11, 11]
    assert len(results["published"]) == 2
