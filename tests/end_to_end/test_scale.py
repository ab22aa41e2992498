"""Sets of several mixture types, files that are hashed once, and work shared by processes: the same in the end."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from shell import ROOT, command, succeed

from rfsep.app.compare import run_comparison
from rfsep.app.config import register_resolvers
from rfsep.app.doors import evaluate_settings
from rfsep.app.evaluate import separate_testset
from rfsep.app.places import CONF
from rfsep.app.prepare import main
from rfsep.app.score import score_submissions
from rfsep.app.settings import EvaluateSettings
from rfsep.models.unet import UNet
from rfsep.storage import manifest
from rfsep.storage.atomic import write_text
from rfsep.storage.manifest import verify
from rfsep.storage.npz import write_npz
from rfsep.storage.weights import write_weights
from rfsep.types import InputError

TYPES = ["types.soi=[qpsk,ofdm_qpsk]", "types.interference=[[lte20,ofdm_qpsk],emi_bursts]"]
SMALL = ["challenge=full", "num_samples=640", "num_per_sinr=3", "sinr_db=[-12,0]", "seed=1", "out=set"]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write below where they are started; no recordings, whatever this machine has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RFSEP_RECORDINGS", raising=False)
    monkeypatch.delenv("RFSEP_OFFICIAL", raising=False)
    register_resolvers()


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(name, overrides=list(overrides))


def settings(*overrides: str) -> EvaluateSettings:
    """The settings of evaluate.py."""
    return evaluate_settings(composed("evaluate", *overrides))


def prepare(*overrides: str) -> None:
    """Makes a test set as data/prepare.py does, in this process."""
    main(composed("prepare", *overrides))


def separated(*overrides: str) -> Path | None:
    """The folder that ``evaluate.py separator=... testset=set`` writes."""
    wanted = settings("testset=set", *overrides)
    assert wanted.separator is not None
    return separate_testset(wanted, wanted.separator, Path("set")).folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of four types."""
    place = tmp_path_factory.mktemp("scale")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("RFSEP_RECORDINGS", raising=False)
        prepare(*SMALL, *TYPES)
    return place


def test_set_of_several_types_is_that_of_one_command_each(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{soi}_{other}.h5" for soi in ("OFDMQPSK", "QPSK") for other in ("EMIBursts", "OFDMQPSK")]
    assert sorted(path.name for path in (made / "set" / "mixture").iterdir()) == names
    verify(made / "set")
    prepare(*SMALL[1:-1], "soi=ofdm_qpsk", "interference=emi_bursts", "out=alone")
    for part in ("mixture", "truth"):
        name = f"{part}/OFDMQPSK_EMIBursts.h5"
        assert (made / "set" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    with pytest.raises(
        InputError, match=r"no interference of lte20, wifi20 is here; lte20: RFSEP_RECORDINGS is not set"
    ):
        prepare(*SMALL, "types.soi=[qpsk]", "types.interference=[[lte20,wifi20]]")
    with pytest.raises(InputError, match=r"types is .*expected \{soi:"):
        prepare(*SMALL, "types.soi=[]")


def test_interrupted_set_is_gone_on_with(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One type lost its truth, another the line in its manifest; a third is of another seed; the fourth is kept."""
    shutil.copytree(made / "set", "set")
    (tmp_path / "set" / "truth" / "QPSK_EMIBursts.h5").unlink()
    listed = json.loads((tmp_path / "set" / "manifest.json").read_text())
    del listed["files"]["mixture/QPSK_OFDMQPSK.h5"]
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(listed))
    prepare(*SMALL[1:5], "seed=2", "soi=ofdm_qpsk", "interference=emi_bursts", "out=set")
    capsys.readouterr()
    prepare(*SMALL, *TYPES)
    out = capsys.readouterr().out
    assert "ofdm_qpsk stands for lte20: RFSEP_RECORDINGS is not set" in out
    assert [line.split(":")[0] for line in out.splitlines() if "kept" in line] == ["OFDMQPSK_OFDMQPSK"]
    assert contents(tmp_path / "set") == contents(made / "set")


def test_nothing_stands_for_recordings_whose_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of CommSignal2 as h5py writes them, then without those to train on, then without any."""
    for folder, name, count in (("interferenceset_frame", "raw", 100), ("testset1_frame", "test1_raw", 50)):
        frames = np.random.default_rng(count).standard_normal((count, 700, 2)).view(np.complex128)[..., 0]
        (tmp_path / "dataset" / folder).mkdir(parents=True)
        with h5py.File(tmp_path / "dataset" / folder / f"CommSignal2_{name}_data.h5", "w") as file:
            file["dataset"] = frames.astype(np.complex64)
    chosen = [*SMALL, "types.soi=[qpsk]", "types.interference=[[commsignal2,ofdm_qpsk]]"]
    monkeypatch.setenv("RFSEP_OFFICIAL", str(tmp_path / "dataset"))
    prepare(*chosen)
    assert [path.name for path in (tmp_path / "set" / "mixture").iterdir()] == ["QPSK_CommSignal2.h5"]
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(InputError, match="frames have 700 samples, fewer than a window of 800"):
        prepare(*chosen, "num_samples=800")
    for path in ("interferenceset_frame/CommSignal2_raw_data.h5", "testset1_frame/CommSignal2_test1_raw_data.h5"):
        (tmp_path / "dataset" / path).rename(tmp_path / "away.h5")
        with pytest.raises(InputError, match=f"dataset/{path}: no such file"):
            prepare(*chosen)
        (tmp_path / "away.h5").rename(tmp_path / "dataset" / path)
    with pytest.raises(InputError, match="unknown split 'tset'"):
        prepare(*chosen, "split=tset")
    monkeypatch.setenv("RFSEP_RECORDINGS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere/lte20"):
        prepare(*SMALL, *TYPES)
    assert not (tmp_path / "set").exists()
    monkeypatch.delenv("RFSEP_OFFICIAL")
    capsys.readouterr()
    prepare(*chosen)
    assert "ofdm_qpsk stands for commsignal2: RFSEP_OFFICIAL is not set" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "set" / "mixture").iterdir()] == ["QPSK_OFDMQPSK.h5"]


def recordings(folder: Path, content: dict[str, int], splits: dict[str, list[str]]) -> list[str]:
    """Recordings of noise of a seed each, as overrides of interference=lte20."""
    for name, seed in content.items():
        data = np.random.default_rng(seed).integers(-99, 99, 2000, np.int16).astype("<i2").tobytes()
        (folder / f"{name}.sigmf-data").write_bytes(data)
        known = {"core:datatype": "ci16_le", "core:version": "1.2.0", "core:sample_rate": 19.2e6}
        known["core:sha512"] = hashlib.sha512(data).hexdigest()
        meta = {"global": known, "captures": [{"core:sample_start": 0}], "annotations": []}
        (folder / f"{name}.sigmf-meta").write_text(json.dumps(meta))
    (folder / "splits.json").write_text(json.dumps(splits))
    source = f"interference.source.folder={folder}", f"interference.source.split_list={folder / 'splits.json'}"
    return ["interference=lte20", *source, *SMALL[1:]]


def test_what_is_trained_on_stands_in_no_test_set(tmp_path: Path) -> None:
    splits = {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}
    overrides = recordings(tmp_path, {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, splits)
    with pytest.raises(InputError, match="split=train is for training"):
        prepare(*overrides, "split=train")
    with pytest.raises(InputError, match="no recording has 2560 samples; the longest has 1000"):
        prepare(*overrides, "num_samples=2560")
    recordings(tmp_path, {"e": 2}, splits)  # the same samples under another name
    with pytest.raises(
        InputError, match=r"e\.sigmf-meta of the test split is the same recording as .*b\.sigmf-meta of"
    ):
        prepare(*overrides)
    assert not (tmp_path / "set").exists()
    recordings(tmp_path, {"e": 5}, splits)
    prepare(*overrides)
    with h5py.File(tmp_path / "set" / "truth" / "QPSK_LTE20.h5") as file:
        assert set(file["interference_origin"][()]) == {0, 1}


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "splits").glob("*.json")), ids=lambda path: path.stem)
def test_committed_splits_share_nothing(path: Path) -> None:
    content = json.loads(path.read_text())
    entries = {
        split: {(entry["file"], frame) for frame in entry["frames"]} if isinstance(entry, dict) else set(entry)
        for split, entry in content.items()
    }
    assert set(entries) == {"train", "val", "test"}
    assert sum(map(len, entries.values())) == len(set.union(*entries.values()))
    assert all(entries.values())


def test_files_are_hashed_again_only_when_they_change(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(made / "set", folder)
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return digest(path)

    digest = manifest.sha256
    monkeypatch.setattr(manifest, "sha256", counted)
    verify(folder, tmp_path / "record.json")
    verify(folder, tmp_path / "record.json", threads=2)
    assert len(hashed) == 16, "files that came a moment ago are not trusted"
    monkeypatch.setattr(manifest, "_SETTLED_NS", 0)
    verify(folder, tmp_path / "record.json")
    hashed.clear()
    verify(folder, tmp_path / "record.json")
    assert not hashed
    verify(folder)
    assert len(hashed) == 8
    hashed.clear()
    path = folder / "truth" / "QPSK_EMIBursts.h5"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had happened
    with pytest.raises(InputError, match=r"QPSK_EMIBursts.h5: has SHA-256"):
        verify(folder, tmp_path / "record.json")
    assert hashed == [path.name]
    (tmp_path / "record.json").write_text('{"schema": 1, "files": 7}')
    with pytest.raises(InputError, match=r"QPSK_EMIBursts.h5: has SHA-256"):
        verify(folder, tmp_path / "record.json")


@pytest.mark.parametrize(
    ("value", "words"), [(3e38, "row 4 holds numbers too large"), (np.nan, "row 4, sample 7 is NaN")]
)
def test_estimates_without_a_finite_error_are_refused(made: Path, tmp_path: Path, value: float, words: str) -> None:
    shutil.copytree(made / "set", "set")
    folder = separated("separator=passthrough", "out=one")
    estimates = np.lib.format.open_memmap(tmp_path / "one" / "passthrough_set_estimated_soi_QPSK_EMIBursts.npy", "r+")
    estimates[4, 7] = value
    estimates.flush()
    with pytest.raises(InputError, match=words):
        score_submissions(settings(), Path("set"), [folder or Path()])
    assert not (tmp_path / "one" / "scores.json").exists()


DIFFERENT = {"seal", "seconds_per_mixture", "commit", "date"}


def same(value: Any) -> Any:
    """A JSON value without what differs from one run to the next."""
    if isinstance(value, dict):
        return {key: same(part) for key, part in value.items() if key not in DIFFERENT}
    return [same(part) for part in value] if isinstance(value, list) else value


def alike(one: Path, two: Path) -> None:
    """Two submissions, or results of an experiment, are the same to the byte, but for seconds and seals."""
    kinds = (".npy", ".json", ".npz")
    found = [sorted(path for path in place.rglob("*") if path.suffix in kinds) for place in (one, two)]
    assert [path.relative_to(one) for path in found[0]] == [path.relative_to(two) for path in found[1]]
    assert found[0]
    for left, right in zip(*found, strict=True):
        if left.suffix == ".json":
            assert json.dumps(same(json.loads(left.read_text()))) == json.dumps(same(json.loads(right.read_text())))
        else:
            assert left.read_bytes() == right.read_bytes(), left


def separate(*overrides: str) -> None:
    assert separated(*overrides) is not None


def evaluate(*overrides: str) -> None:
    folder = separated(*overrides)
    assert folder is not None
    score_submissions(settings("testset=set", *overrides), Path("set"), [folder])


def test_two_processes_find_what_one_does(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "set", "set")
    chosen = ["separator=lmmse", "types=[QPSK_EMIBursts,QPSK_OFDMQPSK]"]
    evaluate(*chosen, "out=one")
    arguments = [*chosen, "testset=set", "out=two", "devices=2"]
    done = command("evaluate.py", *arguments, cwd=tmp_path, GLOO_SOCKET_IFNAME="lo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("lmmse: estimates of 12 mixtures in two") == 1, "both spoke"
    alike(tmp_path / "one", tmp_path / "two")


def test_more_processes_than_pieces(made: Path, tmp_path: Path) -> None:
    """Twelve mixtures are one piece, so one of two processes has nothing to do but wait."""
    shutil.copytree(made / "set", "set")
    chosen = ["separator=matched_filter", "types=[QPSK_OFDMQPSK]"]
    evaluate(*chosen, "out=one")
    done = command("evaluate.py", *chosen, "testset=set", "out=two", "devices=2", cwd=tmp_path, GLOO_SOCKET_IFNAME="lo")
    assert done.returncode == 0, done.stdout + done.stderr
    alike(tmp_path / "one", tmp_path / "two")


def share_of(limit: int) -> Callable[..., bool]:
    """In place of several processes: one that is stopped after some pieces."""

    def share(
        work: Callable[[int], None], number: int, devices: int, num_nodes: int, identity: str, in_sweep: bool
    ) -> bool:
        assert (devices, num_nodes) == (2, 3)
        for done, piece in enumerate(reversed(range(number))):
            if done == limit:
                raise KeyboardInterrupt
            work(piece)
        return True

    return share


def test_shared_work_goes_on_where_it_stopped(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network, in chunks of two rows; what was done is not done again, unless the settings are others."""
    shutil.copytree(made / "set", "set")
    monkeypatch.setattr("rfsep.challenge.separate._CHUNK_SAMPLES", 640 * 2)
    sizes: dict[str, Any] = {"channels": 4, "first_kernel": 5, "decoder_divisors": [1] * 5, "normalise": "window"}
    config = {"model": {"network": {"_target_": "rfsep.models.unet.UNet", **sizes}}, "data": {"num_samples": 320}}
    write_text(tmp_path / "net" / "config.yaml", json.dumps(config))
    write_weights(tmp_path / "net" / "model.safetensors", UNet(**sizes).state_dict(), {})
    chosen = ["separator=neural", "run=net", "id=net"]
    separate(*chosen, "types=[QPSK_OFDMQPSK]", "out=one")
    together = ["types=[QPSK_OFDMQPSK]", "out=two", "devices=2", "num_nodes=3"]
    monkeypatch.setattr("rfsep.training.predict.share", share_of(2))
    with pytest.raises(KeyboardInterrupt):
        separate(*chosen, *together)
    parts = set((tmp_path / "two" / ".parts").rglob("*.npz"))
    assert len(parts) == 2
    monkeypatch.setattr("rfsep.training.predict.share", share_of(1))
    with pytest.raises(KeyboardInterrupt):
        separate("separator=matched_filter", *together)
    assert len(list((tmp_path / "two" / ".parts").rglob("*.npz"))) == 2 + 1
    assert not list((tmp_path / "two").glob("*.npy"))
    written: list[Path] = []

    def write(path: Path, arrays: Any) -> None:
        written.append(path)
        write_npz(path, arrays)

    monkeypatch.setattr("rfsep.app.estimates.write_npz", write)
    monkeypatch.setattr("rfsep.training.predict.share", share_of(99))
    separate(*chosen, *together)
    assert len(written) == 3 - 2
    assert not parts & set(written)
    assert not (tmp_path / "two" / ".parts").exists()
    alike(tmp_path / "one", tmp_path / "two")


def test_comparison_is_shared_level_by_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(*overrides: str) -> None:
        config = composed("evaluate", "experiment=csgaussian/comm", "num_mixtures=2", *overrides)
        small = {"use": "lmmse", "block": 320}
        config.comparison.separators = {"lmmse": small, "lmmse:known": {**small, "sinr": "known"}}
        config.comparison.bounds, config.comparison.sir_db, config.comparison.num_samples = {}, [-12, 0], 320
        wanted = evaluate_settings(config)
        assert wanted.comparison is not None
        run_comparison(wanted, wanted.comparison)

    compared("out=one")
    together = ["out=two", "devices=2", "num_nodes=3"]
    monkeypatch.setattr("rfsep.training.predict.share", share_of(3))
    with pytest.raises(KeyboardInterrupt):
        compared(*together)
    assert len(list((tmp_path / "two" / "levels").rglob("*.json"))) == 3
    monkeypatch.setattr("rfsep.training.predict.share", share_of(99))
    compared(*together)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "two" / "levels").rglob("*.json")}
    compared(*together, "fresh=true")
    assert kept.keys() == set((tmp_path / "two" / "levels").rglob("*.json"))
    assert all(path.stat().st_mtime_ns > before for path, before in kept.items())
    for folder in ("one", "two"):
        shutil.rmtree(tmp_path / folder / "levels")  # which hold seconds
    alike(tmp_path / "one", tmp_path / "two")


def test_job_of_a_sweep_starts_no_other_processes(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "set", "set")
    separation = ("evaluate.py", "-m", "separator=passthrough,lmmse", "testset=set", "devices=2")
    training = ("train.py", "-m", "experiment=demo", "interference=emi_bursts", "trainer.devices=2", "seed=1,2")
    for script, *arguments in (separation, training):
        done = command(script, *arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: 2 devices in a sweep: a job of a sweep is one process")
        assert len(done.stderr.splitlines()) == 1


def test_sweep_runs_jobs_in_processes_of_their_own(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs pip install rfsep[sweep]")
    shutil.copytree(made / "set", "set")
    separators = ("passthrough", "matched_filter")
    options = ["testset=set", "types=[QPSK_OFDMQPSK]", "hydra/launcher=submitit_local"]
    succeed("evaluate.py", "-m", f"separator={','.join(separators)}", *options, cwd=tmp_path)
    for name in separators:
        evaluate(f"separator={name}", "types=[QPSK_OFDMQPSK]", f"out={name}")
        alike(tmp_path / name, tmp_path / "runs" / "evaluations" / "set" / name)
