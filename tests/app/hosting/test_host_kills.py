"""The host dies at every point at which it writes: the next call leaves what an undisturbed one leaves, and no more.

The death is that of kill -9 as far as files go: from one write on nothing is written, renamed or removed any more.
Whole processes are killed too; RFSEP_KILLS=100 is the long test, which writes runs/kills.json.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from killing import EVENTS, WRITING, note
from open_challenge import Challenge

from rfsep.app.hosting.call import Done, host
from rfsep.storage.atomic import write_json, write_text

KILLS = int(os.environ.get("RFSEP_KILLS", "10"))
NOW = "12-02T10:00"
CHAINED = ("previous", "seal")


class Killed(BaseException):
    """Nothing catches it."""


class Death:
    """Lets a number of writes below a folder pass, and none after them."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.left = 0
        self.passed = 0
        self.is_real = False
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in (*EVENTS, "os.rmdir", "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        # Of a file or a folder that is open already.
        known = isinstance(arguments[0], int) or (event in ("os.remove", "os.rmdir") and arguments[1] != -1)
        if not known and not os.path.abspath(os.fsdecode(arguments[0])).startswith(str(self.folder)):
            return
        if self.passed == self.left:
            if self.is_real:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed
        self.passed += 1


DEATH = Death()


@pytest.fixture(autouse=True)
def quick_board(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A leaderboard without figures, written in the order of the real one."""

    def write(place: Path, signals: bool) -> list[str]:
        assert not signals
        scores = {str(path.relative_to(place)): path.read_text() for path in sorted(place.rglob("scores.json"))}
        write_json(place / "leaderboard.json", {"boards": []})
        write_text(place / "leaderboard.csv", "")
        write_text(place / "index.html", str(scores))
        return []

    monkeypatch.setattr("rfsep.app.hosting.board.write_leaderboard", write)
    yield
    DEATH.folder = None


def call(challenge: Challenge, most_writes: int | None = None) -> Done | None:
    """A call that dies before its next write after so many; None if it did."""
    DEATH.passed, DEATH.left = 0, sys.maxsize if most_writes is None else most_writes
    DEATH.folder = challenge.out
    try:
        return challenge.call(NOW)
    except Killed:
        return None
    finally:
        DEATH.folder = None


def left(challenge: Challenge) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The events without attempts, sorted, and every file but the log, whose digests differ with the attempts.

    An entry whose scoring did not end comes after the others.
    seen.json is of entries that are not taken yet, and of no account once they are.
    """
    events = [{key: one[key] for key in one if key not in CHAINED} for one in challenge.events()]
    files = {str(path.relative_to(challenge.out)): path for path in challenge.out.rglob("*") if path.is_file()}
    skipped = ("audit.jsonl", "board/audit.txt", "secret/seen.json")
    contents = {name: path.read_bytes() for name, path in files.items() if name not in skipped}
    told = [one for one in events if one["event"] != "began"]
    return sorted(told, key=lambda one: (one["event"], one.get("team", ""), one.get("entry", ""))), contents


@pytest.fixture
def entered(challenge: Challenge) -> Challenge:
    """Two good entries and a bad one have come."""
    challenge.changes = {"settle_s": 0}
    challenge.enter("red/one", 0.2, ("QPSK_EMIBursts",))
    challenge.enter("blue/one", 0.1, ("QPSK_EMIBursts",))
    next(challenge.enter("green/bad").glob("*bits*")).unlink()
    return challenge


def again(challenge: Challenge, ready: Path) -> None:
    """Everything as before the first call that found the entries."""
    shutil.rmtree(challenge.out)
    shutil.copytree(ready, challenge.out)


def test_killed_before_any_write_the_next_call_ends_the_work(entered: Challenge, ready: Path) -> None:
    assert call(entered) == Done(2, 1, 0)
    writes, expected = DEATH.passed, left(entered)
    assert writes > 40
    assert [one["event"] for one in expected[0]].count("scored") == 2
    for number in range(writes):
        again(entered, ready)
        assert call(entered, number) is None
        assert call(entered) is not None, f"after a death at write {number}"
        found = left(entered)
        assert found[0] == expected[0], f"after a death at write {number}"
        assert found[1] == expected[1], f"after a death at write {number}"


def killed(challenge: Challenge, most_writes: int) -> bool:
    """A call in a process of its own, which kill -9 ends before its next write after so many."""
    child = os.fork()
    if child == 0:
        DEATH.is_real = True
        try:
            call(challenge, most_writes)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_processes_killed_again_and_again_lose_nothing(entered: Challenge, ready: Path) -> None:
    """Calls in a row are killed until one is let through, which leaves what an undisturbed one leaves."""
    assert call(entered) == Done(2, 1, 0)
    writes, expected, random = DEATH.passed, left(entered), Random(0)
    kills = reruns = 0
    while kills < KILLS:
        again(entered, ready)
        while killed(entered, random.randrange(writes)) and kills < KILLS:
            kills += 1
        reruns += 1
        assert call(entered) is not None
        found = left(entered)
        assert found[0] == expected[0]
        assert found[1] == expected[1]
    if "RFSEP_KILLS" in os.environ:
        note("host", {"kills": kills, "reruns": reruns, "write_points": writes})


def test_an_entry_that_kills_its_host_comes_last_from_then_on(
    entered: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poisoned entry never keeps the others from the board."""
    from rfsep.app.hosting import judge

    errors = judge.submission_errors

    def deadly(submission: Any, pair: Any) -> Any:
        if submission.id == "poison":
            raise Killed
        return errors(submission, pair)

    monkeypatch.setattr(judge, "submission_errors", deadly)
    for path in entered.enter("blue/a", 0.1).glob("*.npy"):
        path.rename(path.with_name(path.name.replace("x_", "poison_", 1)))
    assert call(entered) is None
    assert entered.told("scored") == []
    assert call(entered) is None
    assert entered.told("scored") == ["scored blue/one", "scored red/one"]
    assert "red" in entered.page("index.html")
    assert "is being scored" in entered.page("blue/index.html")
    monkeypatch.setattr(judge, "submission_errors", errors)
    assert call(entered) == Done(1, 0, 0)


def test_a_second_call_at_the_same_time_is_refused(entered: Challenge) -> None:
    from rfsep.storage.locks import TakenError, alone_in

    with alone_in(entered.out), pytest.raises(TakenError, match="another process is writing into it"):
        host(entered.settings(), entered.settings().opens)
    assert entered.told("taken") == []
