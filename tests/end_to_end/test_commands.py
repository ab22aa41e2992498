"""The scripts as a user types them: results, resuming, and one clear line with exit status 2 for what is wrong."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
TINY = [
    "model.network.channels=4",
    "model.network.first_kernel=5",
    "data.num_samples=320",
    "data.batch_size=4",
    "data.val_per_sinr=2",
    "trainer.precision=32-true",
]


SAME = ["testset", "interference=ofdm_qpsk", "num_samples=640", "num_per_sinr=3", "sinr_db=[-12,0]"]


def command(script: str, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(script: str, *arguments: str, cwd: Path) -> str:
    done = command(script, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fail(script: str, *arguments: str, cwd: Path, **variables: str) -> str:
    """The one line of a refusal: exit status 2, nothing but that line, no traceback."""
    before = sorted(path for path in cwd.rglob("*") if path.is_file())
    done = command(script, *arguments, cwd=cwd, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert sorted(path for path in cwd.rglob("*") if path.is_file()) == before, "something was written"
    return lines[0]


def prepare(folder: Path, interference: str = "ofdm_qpsk", **changes: object) -> Path:
    settings = {"num_samples": 640, "num_per_sinr": 3, "sinr_db": "[-12,0]", "seed": 1, **changes}
    arguments = [f"{key}={value}" for key, value in settings.items()]
    succeed("data/prepare.py", "testset", f"interference={interference}", "out=set", *arguments, cwd=folder)
    return folder / "set"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a test set of two mixture types, a finished tiny run and a scored submission."""
    folder = tmp_path_factory.mktemp("commands")
    prepare(folder)
    prepare(folder, "emi_bursts")
    arguments = ["run=tiny", *TINY, "trainer.max_steps=4", "trainer.val_every=2"]
    assert "finished: validation MSE" in succeed("train.py", *arguments, cwd=folder)
    succeed("evaluate.py", "separator=neural", "run=runs/adhoc/tiny", "testset=set", "out=ours", cwd=folder)
    return folder


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
    schedule = ["objective.module.max_steps=4", "trainer.val_every=2"]
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


def test_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = ["run=long", *TINY, "trainer.max_steps=1000000", "trainer.val_every=20"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    last = tmp_path / "runs" / "adhoc" / "long" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
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


def test_official_files_score_like_our_own(place: Path) -> None:
    """Written as the challenge's files, read back, separated and scored: the same errors."""
    prepare(place, "white_noise", official="true")
    official = place / "set" / "official"
    succeed("evaluate.py", "separator=matched_filter", "testset=set/official", "out=theirs", cwd=place)
    succeed("evaluate.py", "separator=matched_filter", "testset=set", "out=mine", cwd=place)
    assert list(official.glob("*_testmixture_QPSK_WhiteNoise.npy"))
    rows = [
        next(
            row
            for row in json.loads((place / name / "scores.json").read_text())["results"]
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
    assert (path.parent / "figure.png").stat().st_size > 10_000
    assert "results in" in out


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("train.py", ["modle=unet"], ["modle"]),
        ("train.py", ["model=resnet"], ["model/resnet", "unet"]),
        ("train.py", ["interference=emi_burst"], ["interference/emi_burst", "emi_bursts"]),
        ("train.py", ["trainer.max_steps=5", "trainer.val_every=2"], ["max_steps 5", "val_every 2"]),
        ("data/prepare.py", ["testset", "soi=qspk", "out=x"], ["soi/qspk", "qpsk"]),
        ("data/prepare.py", ["testset", "out=x", "sinr_db=[0,-3]"], ["sinr_db", "[0.0, -3.0]"]),
        ("data/prepare.py", ["testset", "out=x", "num_samples=0"], ["num_samples is 0"]),
        ("data/prepare.py", ["testset", "out=x", "num_samples=abc"], ["num_samples is 'abc'"]),
        ("data/prepare.py", ["testset", "out=x", "sinr_db=-12"], ["sinr_db is -12"]),
        ("data/prepare.py", ["testset", "out=x", "sinr_db=[]"], ["sinr_db is []"]),
        ("train.py", ["trainer.val_every=0"], ["trainer.val_every is 0"]),
        ("train.py", ["model=unet_guided"], ["guided: True", "guide=None"]),
        ("train.py", ["guide=lmmse"], ["guided: False", "guide=lmmse"]),
        ("train.py", ["experiment=args/ofdm_qpsk"], ["evaluate.py experiment=args/ofdm_qpsk"]),
        (
            "train.py",
            ["run=tiny", *TINY, "trainer.max_steps=4", "trainer.val_every=2", "seed=5"],
            ["tiny", "seed", "run="],
        ),
        ("evaluate.py", ["separator=lmmse", "testset=set", "separator.method.block=128"], ["block 128", "96"]),
        ("evaluate.py", ["experiment=args/ofdm_qpsk", "num_mixtures=-1"], ["num_mixtures is -1"]),
        ("data/prepare.py", ["tetset"], ["tetset", "testset"]),
        ("evaluate.py", [], ["separator=NAME"]),
        ("evaluate.py", ["separator=wiener", "testset=set"], ["separator/wiener", "lmmse"]),
        ("evaluate.py", ["separator=lmmse", "testset=nowhere"], ["nowhere"]),
        ("evaluate.py", ["separator=neural", "testset=set"], ["neural", "run=FOLDER"]),
        ("evaluate.py", ["separator=neural", "testset=set", "run=nowhere"], ["nowhere/config.yaml"]),
        ("evaluate.py", ["submission=nowhere", "testset=set"], ["nowhere"]),
        ("evaluate.py", ["experiment=args/ofdm_qpks"], ["args/ofdm_qpks"]),
        ("evaluate.py", ["separator=lmmse", "testset=set", "separator.method.blok=3"], ["blok"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_words_are_refused_in_one_line(place: Path, script: str, arguments: list[str], words: list[str]) -> None:
    line = fail(script, *arguments, cwd=place)
    assert all(word in line for word in words), line


def broken(place: Path, tmp_path: Path, change: str) -> None:
    """A copy of our submission with one fault, on a test set whose baselines nobody has computed yet.

    OFDMQPSK, the second of the two types, is the broken one: nothing may be written for the first either.
    """
    shutil.copytree(place / "ours", tmp_path / "bad")
    shutil.copytree(place / "set", tmp_path / "set")
    (tmp_path / "set" / "truth" / "baselines.json").unlink()
    soi = next((tmp_path / "bad").glob("*_estimated_soi_QPSK_OFDMQPSK.npy"))
    bits = next((tmp_path / "bad").glob("*_estimated_bits_QPSK_OFDMQPSK.npy"))
    values, decided = np.load(soi), np.load(bits)
    if change == "shape":
        np.save(soi, values[:, :-1])
    elif change == "dtype":
        np.save(soi, values.real)
    elif change == "nan":
        values[2, 5] = np.nan
        np.save(soi, values)
    elif change == "inf":
        values[2, 5] = np.inf
        np.save(soi, values)
    elif change == "bits":
        decided[3, 7] = 255
        np.save(bits, decided)
    elif change == "pair":
        bits.unlink()
    elif change == "truncated":
        soi.write_bytes(soi.read_bytes()[:-100])
    elif change == "objects":
        np.save(soi, np.array([[1, None]], dtype=object), allow_pickle=True)
    elif change == "unknown":
        soi.rename(soi.with_name(soi.name.replace("OFDMQPSK", "Elsewhere")))
        bits.rename(bits.with_name(bits.name.replace("OFDMQPSK", "Elsewhere")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("shape", ["estimated_soi_QPSK_OFDMQPSK.npy", "639", "640"]),
        ("dtype", ["estimated_soi_QPSK_OFDMQPSK.npy", "float32", "complex64"]),
        ("nan", ["estimated_soi_QPSK_OFDMQPSK.npy", "NaN", "2"]),
        ("inf", ["estimated_soi_QPSK_OFDMQPSK.npy", "nf", "2"]),
        ("bits", ["estimated_bits_QPSK_OFDMQPSK.npy", "255", "3"]),
        ("pair", ["estimated_bits_QPSK_OFDMQPSK.npy"]),
        ("truncated", ["estimated_soi_QPSK_OFDMQPSK.npy"]),
        ("objects", ["estimated_soi_QPSK_OFDMQPSK.npy", "object"]),
        ("unknown", ["Elsewhere", "EMIBursts"]),
    ],
)
def test_broken_submissions_are_refused_in_one_line(place: Path, tmp_path: Path, change: str, words: list[str]) -> None:
    broken(place, tmp_path, change)
    line = fail("evaluate.py", "submission=bad", "testset=set", "out=scores", cwd=tmp_path)
    assert all(word in line for word in words), line


@pytest.mark.parametrize("target", ["os.system", "rfsep.models.unet.torch.os.getcwd", "rfsep.models.unet.nn.Identity"])
def test_foreign_code_in_a_run_folder_is_refused(place: Path, tmp_path: Path, target: str) -> None:
    shutil.copytree(place / "runs" / "adhoc" / "tiny", tmp_path / "run")
    shutil.copytree(place / "set", tmp_path / "set")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("rfsep.models.unet.UNet", target))
    line = fail("evaluate.py", "separator=neural", "run=run", "testset=set", "out=x", cwd=tmp_path)
    assert target in line
    assert "config.yaml" in line
    config.write_text("model: [")
    assert "not valid YAML" in fail("evaluate.py", "separator=neural", "run=run", "testset=set", "out=x", cwd=tmp_path)


def test_hostile_checkpoint_is_refused_and_does_nothing(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs" / "adhoc" / "tiny", tmp_path / "run")
    shutil.copytree(place / "set", tmp_path / "set")

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    line = fail("evaluate.py", "separator=neural", "run=run", "testset=set", "out=x", cwd=tmp_path)
    assert "best.ckpt" in line
    assert not (tmp_path / "marker").exists()


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


def test_hostile_truth_pickle_is_refused_and_does_nothing(place: Path, tmp_path: Path) -> None:
    prepare(tmp_path, official="true")
    folder = tmp_path / "set" / "official"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    truth = next(folder.glob("GroundTruth_*.pkl"))
    truth.write_bytes(pickle.dumps((Evil(), Evil(), Evil()), protocol=4))
    line = fail("evaluate.py", "separator=passthrough", "testset=set/official", "out=x", cwd=tmp_path)
    assert truth.name in line
    assert not (tmp_path / "marker").exists()


def test_external_link_in_a_test_set_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path)
    path = tmp_path / "set" / "mixture" / "QPSK_OFDMQPSK.h5"
    path.rename(tmp_path / "elsewhere.h5")
    with h5py.File(path, "w") as file, h5py.File(tmp_path / "elsewhere.h5") as old:
        file.attrs.update(old.attrs)
        file["sinr_db"] = old["sinr_db"][()]
        file["mixture"] = h5py.ExternalLink("../../elsewhere.h5", "mixture")
    line = fail("evaluate.py", "separator=passthrough", "testset=set", "out=x", cwd=tmp_path)
    assert "QPSK_OFDMQPSK.h5" in line
    assert "ExternalLink" in line


def test_tampered_truth_is_refused(tmp_path: Path) -> None:
    """A flipped byte of the truth's samples is found through its SHA-256."""
    prepare(tmp_path)
    succeed("evaluate.py", "separator=passthrough", "testset=set", "out=ours", cwd=tmp_path)
    path = tmp_path / "set" / "truth" / "QPSK_OFDMQPSK.h5"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    line = fail("evaluate.py", "submission=ours", "testset=set", "out=again", cwd=tmp_path)
    assert "SHA-256" in line
    assert "QPSK_OFDMQPSK.h5" in line


def test_sigmf_of_another_checksum_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lte20"
    folder.mkdir()
    for name in json.loads((ROOT / "data" / "splits" / "lte20.json").read_text())["test"]:
        (folder / f"{name}.sigmf-data").write_bytes(bytes(20_000))
        meta = {
            "global": {
                "core:datatype": "ci8",
                "core:sample_rate": 19.2e6,
                "core:version": "1.2.0",
                "core:num_channels": 1,
                "core:sha512": hashlib.sha512(b"something else").hexdigest(),
            },
            "captures": [{"core:sample_start": 0}],
            "annotations": [],
        }
        (folder / f"{name}.sigmf-meta").write_text(json.dumps(meta))
    arguments = ["testset", "interference=lte20", "num_samples=640", "num_per_sinr=1", "out=set"]
    line = fail("data/prepare.py", *arguments, cwd=tmp_path, RFSEP_RECORDINGS=str(tmp_path))
    assert ".sigmf" in line
    assert "hash does not match" in line


def test_official_grid_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Twelve mixtures without metadata are no eleven levels; metadata of other rows is no help."""
    np.save(tmp_path / "T_testmixture_QPSK_OFDMQPSK.npy", np.zeros((12, 640), np.complex64))
    line = fail("evaluate.py", "separator=passthrough", "testset=.", "out=x", cwd=tmp_path)
    assert "T_testmixture_QPSK_OFDMQPSK" in line
    assert "12" in line
    np.save(tmp_path / "T_testmixture_QPSK_OFDMQPSK_metadata.npy", np.full((11, 5), "0"))
    line = fail("evaluate.py", "separator=passthrough", "testset=.", "out=x", cwd=tmp_path)
    assert "metadata" in line
    assert "11" in line


def test_wandb_offline_needs_no_network(tmp_path: Path) -> None:
    arguments = [
        "run=tiny",
        *TINY,
        "trainer.max_steps=2",
        "trainer.val_every=2",
        "logger=wandb",
        "logger.wandb.mode=offline",
    ]
    succeed("train.py", *arguments, cwd=tmp_path)
    assert list((tmp_path / "runs" / "adhoc" / "tiny" / "wandb").glob("offline-run-*"))


def test_guided_networks_one_for_each_type(place: Path, tmp_path: Path) -> None:
    """What make demo does, two steps long and in bfloat16: a run per mixture type, both in one submission."""
    shutil.copytree(place / "set", tmp_path / "set")
    tiny = [word for word in TINY if "precision" not in word]
    for interference, name in (("emi_bursts", "EMIBursts"), ("ofdm_qpsk", "OFDMQPSK")):
        choice = ["experiment=demo", f"interference={interference}", f"run=QPSK_{name}"]
        steps = ["trainer.max_steps=2", "trainer.val_every=2", "objective.module.learning_rate=0.0"]
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
    without = {key: value for key, value in os.environ.items() if key != "RFSEP_RECORDINGS"}
    arguments = [sys.executable, str(ROOT / "evaluate.py"), "separator=matched_filter", "testset=set", "out=ours"]
    done = subprocess.run(arguments, cwd=tmp_path, env=without, capture_output=True, text=True, check=False)
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
