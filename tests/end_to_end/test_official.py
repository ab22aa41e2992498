"""The layout of the challenge's organisers, from frames to leaderboard: what `make official_check` walks through."""

import subprocess
from pathlib import Path

from official_check import FRAMES, walk
from shell import command


def test_every_command_takes_the_layout_of_the_organisers(tmp_path: Path) -> None:
    def run(script: str, *arguments: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        return command(script, *arguments, cwd=cwd, without="RFSEP_RECORDINGS", **variables)

    said: list[str] = []
    walk(tmp_path, ["QPSK"], run, said.append)
    steps = ["train", *["prepare"] * 3, *["evaluate"] * 2, *["submission"] * 4, "leaderboard"]
    assert [line.split()[0] for line in said] == steps
    assert all(f"QPSK_{interference}" in said[1] for interference in FRAMES)
