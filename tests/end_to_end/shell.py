"""The scripts as a user types them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

ROOT = Path(__file__).parents[2]


TINY = [
    "model.network.channels=4",
    "model.network.first_kernel=5",
    "data.num_samples=320",
    "data.batch_size=4",
    "data.val_per_sinr=2",
    "trainer.precision=32-true",
]


TINY_TOKENS = [
    "model.network.depth=1",
    "model.network.heads=2",
    "data.num_samples=640",
    "data.batch_size=4",
    "data.val_per_sinr=2",
    "data.val_sinr_db=[-12,0]",
    "trainer.max_steps=4",
    "trainer.val_every=2",
]


SAME = ["testset", "interference=ofdm_qpsk", "num_samples=640", "num_per_sinr=3", "sinr_db=[-12,0]"]


def pixels(picture: Path, colour: str) -> int:
    """How many pixels of a picture are of a colour such as #ff0000, or near it, as the edges of a thin line are."""
    with Image.open(picture) as opened:
        values = np.asarray(opened.convert("RGB"), np.int64)
    return int((np.abs(values - np.array(ImageColor.getrgb(colour))) < 48).all(2).sum())


def wait_until(true: Callable[[], bool], process: subprocess.Popen[Any], most_s: float = 600) -> None:
    """Wait until something is true, or a process has ended, which never makes it true; however slow the machine is."""
    deadline = time.monotonic() + most_s
    while not true() and process.poll() is None:
        assert time.monotonic() < deadline, f"nothing came of {process.args} within {most_s:g} s"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)


@cache
def _warm() -> subprocess.Popen[str]:
    """The process whose forks run the commands."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm.py"))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def command(
    script: str, *arguments: str, cwd: Path, without: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """A script of this repository or ``rfsep``, run in a folder, with more variables and ``without`` one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    environment.pop(without, None)
    full = [str(ROOT / script), *arguments]
    warm = _warm()
    assert warm.stdin is not None
    assert warm.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder, name)) for name in ("stdout", "stderr")}
        request = {"arguments": full, "cwd": str(cwd), "environment": environment, **files}
        warm.stdin.write(json.dumps(request) + "\n")
        warm.stdin.flush()
        returncode = int(warm.stdout.readline())
        return subprocess.CompletedProcess(full, returncode, *(Path(file).read_text() for file in files.values()))


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
