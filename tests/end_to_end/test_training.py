"""train.py killed, poisoned, stopped, started from other weights: nothing is lost, and what is left is usable."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from shell import ROOT, TINY, fail, succeed

from rfsep.storage.weights import write_weights

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


def test_a_killed_run_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    """Killed with dropout at a random moment: weights, average, optimiser, schedule and metrics to the bit."""
    killed = tmp_path / "runs" / "adhoc" / "killed"
    kill_behind_checkpoint(killed, random.uniform(0.0, 0.1), *LONG)
    assert checkpoint(killed)["global_step"] < 100, "killed too late to show anything"
    with (killed / "metrics.csv").open("a") as file:
        file.write("99,train/m")  # as a kill in the middle of a line leaves it
    (killed / "checkpoints" / ".half.tmp").write_bytes(b"half a checkpoint")
    succeed("train.py", *LONG, cwd=tmp_path)
    succeed("train.py", *LONG, "run=whole", cwd=tmp_path)
    whole = tmp_path / "runs" / "adhoc" / "whole"
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


def test_weights_to_start_from(place: Path) -> None:
    """Without learning, the start is what is left; of a wider network only the weights that do not depend on width."""
    still = ["trainer.max_steps=2", "trainer.val_every=2", "objective.module.learning_rate=0.0"]
    first = load_file(place / "runs" / "adhoc" / "tiny" / "model.safetensors")
    out = succeed("train.py", "run=second", *TINY, *still, "init_from=runs/adhoc/tiny", cwd=place)
    assert f"{len(first)} of {len(first)} weights from runs/adhoc/tiny" in out
    second = load_file(place / "runs" / "adhoc" / "second" / "model.safetensors")
    assert all(torch.allclose(second[name], first[name]) for name in first)  # an average rounds
    source = "init_from=runs/adhoc/tiny/model.safetensors"
    out = succeed("train.py", "run=wide", *TINY, "model.network.channels=8", *still, source, cwd=place)
    wide = load_file(place / "runs" / "adhoc" / "wide" / "model.safetensors")
    alike = [name for name in first if wide[name].shape == first[name].shape]
    assert f"{len(alike)} of {len(first)} weights" in out
    assert 0 < len(alike) < len(first)
    assert all(torch.allclose(wide[name], first[name]) for name in alike)
    write_weights(place / "else.safetensors", {"a": torch.zeros(2)}, {})
    assert "none of its 1 tensors" in fail("train.py", "run=x", *TINY, "init_from=else.safetensors", cwd=place)
    assert "nowhere" in fail("train.py", "run=x", *TINY, "init_from=nowhere", cwd=place)
    assert "zoo:nowhere" in fail("train.py", "run=x", *TINY, "init_from=zoo:nowhere", cwd=place)


def test_a_separator_that_does_not_fit_is_refused_before_the_training(tmp_path: Path) -> None:
    line = fail("train.py", *TINY, "+separator={_target_: os.system}", cwd=tmp_path)
    assert "os.system" in line
    neural = "rfsep.separators.neural.Neural"
    line = fail("train.py", *TINY, f"separator={{_target_: {neural}, margn: 3}}", cwd=tmp_path)
    assert "margn" in line
    assert "margin" in line


def test_the_last_words_of_a_run_are_its_command_and_picture(place: Path) -> None:
    run = place / "runs" / "adhoc" / "tiny"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["command"].startswith("python train.py run=tiny model.network.channels=4 ")
    assert (run / "learning.png").stat().st_size > 10_000
