"""kill -9 at any moment: the same command, given again, ends with what an undisturbed one leaves, and nothing else.

RFSEP_KILLS=100 python -m pytest tests/end_to_end/test_kills.py is the long test; it writes runs/kills.json.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from killing import VARIABLE, note
from safetensors.torch import load_file
from shell import TINY, command, prepare

KILLS = int(os.environ.get("RFSEP_KILLS", "5"))
IN_A_ROW = 5  # kills before a run is let through
TESTSET = ["testset", "official=true"]
TRAINING = [*TINY, "trainer.max_steps=6", "trainer.val_every=2", "data.val_sinr_db=[-12,0]"]
CAPTURE = ["--sample-rate", "25e6", "--soi-power-db", "0", "--soi-start", "0", "--separator", "matched_filter"]
NOT_REPEATED = ("card", "seconds", "processor_seconds", "memory_mb", "real_time_factor", "seal")


class Work(NamedTuple):
    """A command that is killed.

    Attributes:
        arguments: script and arguments; it writes into ``out``.
        left: names and contents of all that has to be the same whenever it was killed.
    """

    arguments: tuple[str, ...]
    left: Callable[[Path], dict[str, bytes]]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _json(content: bytes) -> bytes:
    """A JSON object without times and what follows from them."""
    known = json.loads(content)
    return json.dumps({key: value for key, value in known.items() if key not in NOT_REPEATED}).encode()


def _scored(folder: Path) -> dict[str, bytes]:
    files = _files(folder)
    return {**files, "scores.json": _json(files["scores.json"]), "card.json": b"", "index.html": b""}


def _trained(folder: Path) -> dict[str, bytes]:
    files = _files(folder)
    weights = {name: value.numpy() for name, value in load_file(next(folder.rglob("model.safetensors"))).items()}
    same = ("metrics.csv", "config.yaml")
    told = {name: content if name.endswith(same) else b"" for name, content in files.items()}
    return {**told, **{f"weights {name}": value.tobytes() for name, value in weights.items()}}


def _separated(folder: Path) -> dict[str, bytes]:
    files = _files(folder)
    meta = json.loads(files["soi.sigmf-meta"])
    meta["global"].pop("rfsep:provenance")
    files["soi.sigmf-meta"] = json.dumps(meta).encode()
    return {**files, "separate.json": _json(files["separate.json"]), "report.html": b""}


WORKS = {
    "prepare": Work(
        ("data/prepare.py", *TESTSET, "num_samples=640", "num_per_sinr=3", "sinr_db=[-12,0]", "seed=1", "out=out"),
        _files,
    ),
    "train": Work(("train.py", *TRAINING, "run=out", "name=out", "out=."), _trained),
    "evaluate": Work(("evaluate.py", "separator=lmmse", "testset=set", "out=out", "examples.num_frames=20"), _scored),
    "separate": Work(
        ("rfsep", "separate", "long.npy", *CAPTURE, "--chunk-samples", "2560", "--out", "out"), _separated
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a test set and a capture."""
    folder = tmp_path_factory.mktemp("kills")
    prepare(folder)
    random = np.random.default_rng(0)
    np.save(folder / "long.npy", random.standard_normal(200_000, np.float32).astype(np.complex64))
    return folder


def _run(place: Path, work: Work, order: str = "") -> int:
    """Exit status of the command, which is ended where it is told so."""
    variables = {VARIABLE: order} if order else {}
    done = command(*work.arguments, cwd=place, **variables)
    assert done.returncode in (0, -9), done.stdout + done.stderr
    return done.returncode


@pytest.mark.parametrize("name", WORKS)
def test_killed_at_any_moment_it_goes_on_to_the_same_end(place: Path, tmp_path: Path, name: str) -> None:
    work, out, random, killed, rounds = WORKS[name], place / "out", Random(name), 0, 0
    shutil.rmtree(out, ignore_errors=True)
    (place / "set" / "truth" / "baselines.json").unlink(missing_ok=True)
    began = time.monotonic()
    _run(place, work, f"count {tmp_path / 'count'}")
    seconds, points = time.monotonic() - began, int((tmp_path / "count").read_text())
    assert points > 10
    expected, expected_set = work.left(out), _files(place / "set")
    while killed < KILLS:
        shutil.rmtree(out)
        (place / "set" / "truth" / "baselines.json").unlink(missing_ok=True)
        rounds += 1
        for _ in range(min(IN_A_ROW, KILLS - killed)):
            at_point = random.random() < 0.7
            order = f"point {random.randint(1, points)}" if at_point else f"after {random.uniform(0, seconds):.3f}"
            killed += _run(place, work, order) == -9
            moment = random.choice((0, 1, 2**32))
            for path in out.rglob("*"):  # nor does a clock that went wrong decide anything
                os.utime(path, (moment, moment))
        assert _run(place, work) == 0
        left = work.left(out)
        assert sorted(left) == sorted(expected)
        assert {key for key in left if left[key] != expected[key]} == set()
        assert sorted(_files(place / "set")) == sorted(expected_set)
        if "RFSEP_KILLS" in os.environ:
            note(name, {"kills": killed, "reruns": rounds, "write_points": points})
