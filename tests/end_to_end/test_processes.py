"""Several processes that share work: a refusal, a signal or a death of one is told by all that are left."""

from pathlib import Path

import pytest
from shell import command

SHARING = """
import os
import signal

from rfsep.training.predict import share
from rfsep.types import InputError


def work(piece):
    if piece == 2:
        raise InputError("piece 2 is bad")
    print("did", piece)


print("first", share(lambda piece: print("did", piece), 3, 1, 1, "all the same", False))
try:
    share(work, 5, 1, 1, "all the same", False)
except InputError as error:
    print("refused:", error)
try:
    share(lambda piece: os.kill(os.getpid(), signal.SIGTERM), 5, 1, 1, "all the same", False)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_refusal_or_signal_ends_the_work_of_all(tmp_path: Path) -> None:
    """One process here; the others are waited for, and every one of them ends with the same words.

    Lightning leaves a process group and variables behind, so that this is not for the process of the tests.
    """
    (tmp_path / "sharing.py").write_text(SHARING)
    done = command(str(tmp_path / "sharing.py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith(("did", "first", "refused", "interrupted"))]
    assert said == ["did 0", "did 1", "did 2", "first True", "did 0", "did 1", "refused: piece 2 is bad", "interrupted"]


KILLED = """
import os
import signal
import sys

from rfsep.training.predict import share
from rfsep.types import InputError


def work(piece):
    if piece == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2:] == ["slow"]:
        signal.pause()  # not done before it is ended


if __name__ == "__main__":
    try:
        share(work, 2, 2, 1, "all the same", False)
    except InputError as error:
        print(error)
"""


@pytest.mark.parametrize("speed", [(), ("slow",)])
def test_killed_process_ends_the_others_and_is_told(tmp_path: Path, speed: tuple[str, ...]) -> None:
    """By Lightning, which looks every five seconds, where the first is not yet done with its own."""
    (tmp_path / "killed.py").write_text(KILLED)
    done = command(str(tmp_path / "killed.py"), "1", *speed, cwd=tmp_path, GLOO_SOCKET_IFNAME="lo")
    if speed:
        assert done.returncode == -9
        assert "terminated with code -9" in done.stderr
    else:
        assert "another process ended before its work was done" in done.stdout, done.stderr
