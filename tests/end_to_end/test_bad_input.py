"""What is wrong with an input is said in one clear line, with exit status 2, and nothing is written."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from shell import ROOT, TINY, fail, prepare, succeed


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
        ("data/prepare.py", ["testset", "out=x", "seed=nonsense"], ["seed is 'nonsense'"]),
        ("train.py", ["trainer.val_every=0"], ["trainer.val_every is 0"]),
        ("train.py", ["experiment=demo", "seed=nonsense"], ["seed is 'nonsense'"]),
        ("train.py", ["experiment=demo", "seed=-1"], ["seed is -1"]),
        ("train.py", ["experiment=demo", "init_share=much"], ["init_share is 'much'", "0 and 1"]),
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
        ("evaluate.py", ["separator=lmmse", "testset=set", "bounds=[genie]"], ["genie", "matched_filter_bound"]),
        ("evaluate.py", ["experiment=args/ofdm_qpsk", "separator=passthrough"], ["passthrough", "lmmse:synchronous"]),
        ("evaluate.py", ["experiment=csgaussian/cyclo", "separator=lmmse"], ["separator=lmmse", "none"]),
        ("evaluate.py", ["experiment=csgaussian/cyclo", "bounds=[genie]"], ["bounds=genie", "sync_mmse"]),
        ("evaluate.py", ["experiment=csgaussian/cyclo", "num_mixtures=2000"], ["1000 mixtures", "-6, -3, 0, 3, 6"]),
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
    assert "another hash than core:sha512 says" in line


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
