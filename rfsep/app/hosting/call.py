"""One call of the host: what came in is taken, scored and shown. A call that is killed is followed by the next one."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import torch

from rfsep.app.config import console, one_line
from rfsep.app.hosting.board import TOLD, Board, Waiting
from rfsep.app.hosting.inbox import Place, Sighting, look, remember
from rfsep.app.hosting.judge import EntryError, Judge
from rfsep.app.hosting.ledger import Ledger
from rfsep.app.hosting.rules import HostSettings, stamp
from rfsep.app.hosting.shares import open_shares
from rfsep.storage.audit import Log, read_log
from rfsep.storage.locks import alone_in, sweep
from rfsep.storage.test_set import list_mixtures, set_name, verify
from rfsep.types import InputError

AUDIT = "audit.jsonl"
_SECRET = "secret"


class Done(NamedTuple):
    """What a call did: entries scored, refused, and left in the inbox."""

    scored: int
    refused: int
    waiting: int


def check_audit(out: Path) -> str:
    """Returns one line on a whole audit log: its length, and the SHA-256 of its last line.

    Raises:
        InputError: there is none, or it was changed or cut.
    """
    path = out / AUDIT
    if not path.is_file():
        raise InputError(f"{path}: no such file; rfsep host writes it")
    log = read_log(path)
    _check_length(out, log)
    return f"{path}: {len(log.events)} lines, unbroken; the last one has SHA-256 {log.digest}"


def host(settings: HostSettings, now: datetime) -> Done:
    """Takes the entries that are at rest, scores them, and writes the board.

    Args:
        settings: the rules and folders.
        now: the time.

    Raises:
        InputError: another call is at work (a `rfsep.storage.locks.TakenError`), the test set is damaged, the log or a
            result was changed, an end was moved after the end, or a folder cannot be read or written. What was done
            until then is kept.
    """
    list_mixtures(settings.testset)  # It refuses a folder that is no test set, before anything is written.
    if not settings.inbox.is_dir():
        raise InputError(f"inbox={settings.inbox}: no such folder")
    with alone_in(settings.out):
        secret = settings.out / _SECRET
        secret.mkdir(mode=0o700, exist_ok=True)
        for folder in (secret, *(secret / "results").glob("*")):
            sweep(folder)
        if (settings.testset / "manifest.json").is_file():
            verify(settings.testset, secret / "verified.json", torch.get_num_threads())
        types = open_shares(settings, secret)
        ledger = Ledger(settings.out / AUDIT, now)
        _check_length(settings.out, ledger.log)
        if ledger.is_final and settings.phase(now) != "final":
            raise InputError(f"closes={stamp(settings.closes)}: the challenge has ended, private scores are shown")
        ledger.rules(settings)
        judge = Judge(settings.inbox, set_name(settings.testset), types, secret)
        board = Board(settings, now, judge, ledger)
        waiting = _take(settings, now, ledger, secret / "seen.json")
        done = _score(ledger, judge, board, waiting)
        if settings.phase(now) == "final":
            ledger.final()
        board.write(waiting)
        return done._replace(waiting=len(waiting))


def _check_length(out: Path, log: Log) -> None:
    """Refuses a log that is shorter than what an earlier call published of it.

    Raises:
        InputError: lines were cut off.
    """
    published = out / "board" / TOLD
    if not published.is_file():
        return
    count, digest = published.read_text().split()
    digests = [*(event["previous"] for event in log.events), log.digest]
    if int(count) >= len(digests) or digests[int(count)] != digest:
        raise InputError(f"{out / AUDIT}: is not the log of {count} lines that {published} tells of")


def _take(settings: HostSettings, now: datetime, ledger: Ledger, memory: Path) -> list[Waiting]:
    """Takes what is at rest, in the order in which it came; returns what is left in the inbox, and why."""
    sightings, strange = look(settings.inbox)
    for team, name, reason in strange:
        console.print(f"{'/'.join(part for part in (team, name) if part)}: {reason}", markup=False)
    fresh = [one for one in sightings if one.place not in ledger.records]
    seen = remember(memory, fresh, now)
    waiting = [Waiting(one.team, one.name, None, one.reason) for one in strange if one.team]
    came = sorted((seen[one.place].since, one) for one in fresh)
    decided = [(since, one.place, _decide(settings, now, ledger, one, since)) for since, one in came]
    return waiting + [Waiting(*place, since, reason) for since, place, reason in decided if reason]


def _decide(settings: HostSettings, now: datetime, ledger: Ledger, one: Sighting, since: str) -> str:
    """Takes or refuses an entry, or returns what it waits for."""
    place, day = one.place, settings.day(now)
    if settings.phase(now) == "before":
        return f"the challenge opens on {stamp(settings.opens)}"
    if since >= stamp(settings.closes):
        _refuse(ledger, place, since, f"the challenge closed on {stamp(settings.closes)}")
    elif (now - datetime.fromisoformat(since)).total_seconds() < settings.settle_s:
        return f"may still be on its way: it is taken {settings.settle_s} s after its last change"
    elif ledger.used(place.team, day) < settings.daily:
        ledger.take(place, since, day, one.form)
    elif settings.phase(now) == "open":
        return f"waits for the next day (UTC): {settings.daily} entries of a team count per day"
    else:
        _refuse(ledger, place, since, f"its team had {settings.daily} entries on the last day")
    return ""


def _score(ledger: Ledger, judge: Judge, board: Board, waiting: list[Waiting]) -> Done:
    """Scores what was taken; entries whose scoring did not end come last, after the board is written."""
    scored, refused, shown = 0, 0, False
    for record in ledger.waiting():
        if record.attempts and not shown:
            board.write(waiting)
            shown = True
        ledger.begin(record.place)
        try:
            ledger.scored(record.place, judge.score(record))
            scored += 1
            console.print(f"{'/'.join(record.place)}: scored", markup=False)
        except EntryError as error:
            _refuse(ledger, record.place, record.since, one_line(error))
            refused += 1
    return Done(scored, refused, 0)


def _refuse(ledger: Ledger, place: Place, since: str, reason: str) -> None:
    ledger.refuse(place, since, reason)
    console.print(f"{'/'.join(place)}: refused, {reason}", markup=False)
