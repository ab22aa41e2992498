"""train.py killed, poisoned, stopped, started from other weights: nothing is lost, and what is left is usable."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from shell import ROOT, TINY, fail, succeed

LONG = ["run=killed", *TINY, "trainer.max_steps=100", "trainer.val_every=10", "model.network.dropout=[0.25,0.5]"]


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def same(first: Any, second: Any) -> bool:
    """Equal to the bit, all the way down."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def start(cwd: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_behind_checkpoint(run: Path, seconds: float, *arguments: str) -> None:
    """Start train.py and kill it ``seconds`` after it wrote a checkpoint that was not there before."""
    last = run / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    with start(run.parents[2], *arguments) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if last.exists() and last.stat().st_mtime_ns > before:
                time.sleep(seconds)
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("training")
    succeed("train.py", *LONG, "run=whole", cwd=folder)
    return folder / "runs" / "adhoc" / "whole"


def test_a_killed_run_ends_like_one_that_was_left_alone(finished: Path) -> None:
    """Killed with dropout at a random moment: weights, average, optimiser, schedule and metrics to the bit."""
    killed = finished.with_name("killed")
    kill_behind_checkpoint(killed, random.uniform(0.0, 0.1), *LONG)
    assert checkpoint(killed)["global_step"] < 100, "killed too late to show anything"
    with (killed / "metrics.csv").open("a") as file:
        file.write("99,train/m")  # as a kill in the middle of a line leaves it
    (killed / "checkpoints" / ".half.tmp").write_bytes(b"half a checkpoint")
    succeed("train.py", *LONG, cwd=killed.parents[2])
    whole = finished
    first, second = checkpoint(killed), checkpoint(whole)
    for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(first[key], second[key]), key
    assert same(checkpoint(killed, "best")["state_dict"], checkpoint(whole, "best")["state_dict"])
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert {path.name for path in (killed / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert first["facts"]["core_minutes"] > 0
    weights = load_file(killed / "model.safetensors")
    best = checkpoint(killed, "best")["state_dict"]
    assert same(weights, {key.removeprefix("model."): value for key, value in best.items()})


def test_weights_to_start_from_and_what_the_folder_tells(finished: Path) -> None:
    """Without learning, the start is what is left."""
    first = load_file(finished / "model.safetensors")
    still = ["trainer.max_steps=2", "trainer.val_every=2", "objective.module.optimisation.learning_rate=0.0"]
    out = succeed("train.py", "run=second", *TINY, *still, "init_from=runs/adhoc/whole", cwd=finished.parents[2])
    assert f"{len(first)} of {len(first)} weights from runs/adhoc/whole" in out
    second = load_file(finished.with_name("second") / "model.safetensors")
    assert all(torch.allclose(second[name], first[name]) for name in first)  # an average rounds
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["command"].startswith("python train.py run=killed model.network.channels=4 ")
    assert (finished / "learning.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["init_from=nowhere"], ["nowhere"]),
        (["init_from=zoo:nowhere"], ["zoo", "nowhere"]),
        (["separator={_target_: rfsep.separators.neural.Neural, margn: 3}"], ["margn", "Neural"]),
        (["trainer.patience=0"], ["trainer.patience is 0"]),
    ],
)
def test_wrong_words_are_refused(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    line = fail("train.py", *TINY, *arguments, cwd=tmp_path)
    assert all(word in line for word in words), line
