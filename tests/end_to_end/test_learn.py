"""The command rfsep learn, as a user types it: what it refuses, and what goes on after a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile
from shell import wait_until

Rfsep = Callable[..., Any]


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recordings in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((60_000, 2)) / 4).astype(np.float32)
    place = tmp_path / "heard"
    place.mkdir()
    for name, rate, samples in (("heard/a", 48_000, noise), ("silent", 48_000, 0 * noise), ("heard/c", 96_000, noise)):
        wavfile.write(tmp_path / f"{name}.wav", rate, samples)
    return place


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["heard/a.wav", "--minutes", "0"], ["--minutes is 0"]),
        (["heard/a.wav", "--processes", "0"], ["--processes"]),
        (["heard/a.wav", "--soi", "qspk"], ["qspk", "qpsk"]),
        (["silent.wav"], ["silent.wav", "is silent"]),
        (["heard"], ["heard/c.wav", "96000", "48000"]),
        (["heard/a.wav", "--resample", "1e7"], ["--resample", "qpsk", "48000"]),
        (["nowhere.wav"], ["nowhere.wav"]),
        ([], ["examples"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_learned_from_is_refused_in_one_line(
    examples: Path, rfsep_command: Rfsep, arguments: list[str], words: list[str]
) -> None:
    status, said, faults = rfsep_command("learn", *arguments, "--out", "there")
    assert status == 2, said + faults
    told = faults.strip().splitlines()
    assert told[-1].startswith("error: ")
    assert all(word.lower() in told[-1].lower() for word in words), told[-1]
    assert not Path("there").exists()


def test_a_killed_learning_ends_its_processes_and_goes_on(examples: Path) -> None:
    """The finished tasks of the first start are the same files after the second."""
    command = [
        sys.executable,
        "-m",
        "rfsep.app.commands",
        "learn",
        "heard/a.wav",
        "--minutes",
        "0.01",
        "--out",
        "there",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(list(Path("there/work").glob("*-0-2.json"))) > 1, process)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in Path("there/work").glob("*-0-2.json")}
    assert len(kept) > 1
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_until(lambda: len(list(Path("there/work").glob("*-0-2.json"))) > len(kept), process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        assert b"the same command goes on where it stopped" in process.stderr.read()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
