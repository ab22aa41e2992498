"""Full disks, folders that may only be read, and two commands that want the same place."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from shell import TINY, command, prepare, succeed

from rfsep.storage.hdf5 import lay_out
from rfsep.storage.locks import alone_in, among_others
from rfsep.types import InputError

MEGABYTES = 12
TRAINING = [*TINY, "data.val_sinr_db=[-12,0]", "name=train", "run=r", "trainer.val_every=2"]
CAPTURE = ["--sample-rate", "25e6", "--soi-power-db", "0", "--soi-start", "0", "--separator", "matched_filter"]
COMMANDS: dict[str, tuple[str, ...]] = {  # what is done again where there is no room
    "prepare": (
        "data/prepare.py",
        "testset",
        "num_samples=640",
        "num_per_sinr=3",
        "sinr_db=[-12,0]",
        "seed=2",
        "out=set",
    ),
    "train": ("train.py", *TRAINING, "out=.", "trainer.max_steps=4"),
    "evaluate": ("evaluate.py", "separator=passthrough", "testset=set", "out=ours"),
    "score": ("evaluate.py", "submission=ours", "testset=set", "out=scores"),
    "separate": ("rfsep", "separate", "capture.iq", "--datatype", "cf32_le", *CAPTURE, "--out", "separated"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk with a test set, a training run, a submission and its scores on it."""
    folder = tmp_path_factory.mktemp("small")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        prepare(folder)
        succeed("train.py", *TRAINING, "out=.", "trainer.max_steps=2", cwd=folder)
        succeed("evaluate.py", "separator=passthrough", "testset=set", "out=ours", cwd=folder)
        (folder / "capture.iq").write_bytes(np.ones(3000, np.complex64).tobytes())
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _kept(folder: Path) -> dict[Path, bytes]:
    """What is there, apart from the lines that a training adds to its metrics as it goes on."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "filler"]
    return {path: b"" if path.name in ("metrics.csv", "config.yaml") else path.read_bytes() for path in files}


def _refused(folder: Path, name: str) -> str:
    """The one line of a command that finds no room; what was there is there."""
    before = _kept(folder)
    done = command(*COMMANDS[name], cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    after = _kept(folder)
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"soi.sigmf-data.partial", "bits.npy.partial", "power.npy.partial"}, changed
    return lines[0]


PLACES = {
    "prepare": "set/",
    "train": "train/r/",
    "evaluate": "ours",
    "score": "scores",
    "separate": "separated",
}


FULL = [("prepare", 0), ("train", 20_000), ("evaluate", 20_000), ("score", 0), ("separate", 0)]


@pytest.mark.parametrize(("name", "room"), FULL)
def test_full_disk(small: Path, name: str, room: int) -> None:
    filler = small / "filler"
    try:
        with filler.open("wb") as file:
            free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
            file.write(bytes(max(0, free - room)))
        line = _refused(small, name)
    finally:
        filler.unlink()
    assert PLACES[name] in line, line
    assert "No space left" in line or "room" in line, line


@pytest.mark.parametrize("name", ["train", "score", "separate"])
def test_folder_that_may_only_be_read(small: Path, name: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    try:
        line = _refused(small, name)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    assert PLACES[name] in line, line
    assert "Read-only file system" in line, line


def test_two_evaluations_into_one_place(small: Path) -> None:
    for place, name in (("ours", "evaluate"), ("scores", "score")):
        with alone_in(small / place):
            line = _refused(small, name)
        assert f"{place}: another process is writing into it" in line
    (small / "scores").rmdir()


def test_who_is_alone_and_who_is_not(tmp_path: Path) -> None:
    left = tmp_path / f".{'a' * 32}.tmp"
    with among_others(tmp_path), among_others(tmp_path):
        left.touch()
        with among_others(tmp_path):
            assert left.exists(), "somebody may be writing it"
        with pytest.raises(InputError, match="another process"), alone_in(tmp_path):
            pass
    with among_others(tmp_path):
        assert not left.exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.*cannot be written"), alone_in(tmp_path / "file"):
        pass


def test_nothing_asks_when_a_file_was_written() -> None:
    """A clock that was set back, or files copied without their times, change nothing.

    Caches only fill anew, and an inbox asks only whether times are those of the call before.
    """
    package, compared = Path(lay_out.__code__.co_filename).parents[1], ("manifest.py", "export.py", "inbox.py")
    for path in (*package.rglob("*.py"), package.parent / "train.py", package.parent / "evaluate.py"):
        text = path.read_text()
        asked = [word for word in ("mtime", "ctime", "atime", "time.time(", "utcnow") if word in text]
        assert not asked or path.name in compared, (path, asked)
