"""The state of a challenge, which follows from its audit log and from nothing else."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rfsep.app.hosting.inbox import Place
from rfsep.app.hosting.rules import HostSettings, stamp
from rfsep.storage.audit import Event, Log, append_event, read_log


class Record(NamedTuple):
    """What is known of an entry.

    Attributes:
        place: its team and name.
        since: first call that saw it as it was taken.
        day: the day on which it counts; None where it was refused before it was taken.
        form: its form when it was taken.
        attempts: times that scoring began.
        result: SHA-256 of its result; None where it is not scored.
        refusal: the reason; None where it is not refused.
    """

    place: Place
    since: str
    day: str | None
    form: str | None
    attempts: int = 0
    result: str | None = None
    refusal: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is still to be scored."""
        return self.result is None and self.refusal is None


class Ledger:
    """The audit log of a challenge, and the records of its entries in the order in which they came.

    Events are ``rules``, whenever they change; of an entry ``taken``, ``began``, and ``scored`` or ``refused``; and at
    the end ``final``.

    Args:
        path: the log.
        now: time of this call.

    Raises:
        InputError: as `rfsep.storage.audit.read_log`.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self.path = path
        self.time = stamp(now)
        self.log: Log = read_log(path)
        self.records: dict[Place, Record] = {}
        for event in self.log.events:
            self._follow(event)

    def rules(self, settings: HostSettings) -> None:
        """Notes the rules if they are not those of the call before."""
        rules = {
            "opens": stamp(settings.opens),
            "closes": stamp(settings.closes),
            "daily": settings.daily,
            "public": settings.public,
        }
        known = [event["rules"] for event in self.log.events if event["event"] == "rules"]
        if known[-1:] != [rules]:
            self._write("rules", {"rules": rules})

    def take(self, place: Place, since: str, day: str, form: str) -> None:
        """Notes that an entry is taken, and counts on a day."""
        self._write("taken", {"team": place.team, "entry": place.entry, "since": since, "day": day, "form": form})

    def begin(self, place: Place) -> None:
        """Notes that scoring begins."""
        self._write("began", place._asdict())

    def scored(self, place: Place, result: str) -> None:
        """Notes that the result of an entry is on the disk."""
        self._write("scored", {**place._asdict(), "result": result})

    def refuse(self, place: Place, since: str, reason: str) -> None:
        """Notes that an entry is refused."""
        self._write("refused", {**place._asdict(), "since": since, "reason": reason})

    def final(self) -> None:
        """Notes once that the challenge has ended and both shares are shown."""
        if not self.is_final:
            self._write("final", {})

    @property
    def is_final(self) -> bool:
        """Whether both shares were shown."""
        return any(event["event"] == "final" for event in self.log.events)

    def used(self, team: str, day: str) -> int:
        """Returns how many entries of a team count on a day."""
        return sum(one.place.team == team and one.day == day for one in self.records.values())

    def waiting(self) -> list[Record]:
        """Returns the entries that are still to be scored, those whose scoring never ended last."""
        found = [one for one in self.records.values() if one.is_open]
        return sorted(found, key=lambda one: (one.attempts, one.since, one.place))

    def of(self, team: str) -> Iterable[Record]:
        """Returns the entries of a team."""
        return (one for one in self.records.values() if one.place.team == team)

    def _write(self, event: str, content: dict[str, Any]) -> None:
        self.log = append_event(self.path, self.log, {"time": self.time, "event": event, **content})
        self._follow(self.log.events[-1])

    def _follow(self, event: Event) -> None:
        """Changes the records as an event says."""
        if "team" not in event:
            return
        place = Place(event["team"], event["entry"])
        old = self.records.get(place)
        if old is None:
            old = Record(place, event["since"], event.get("day"), event.get("form"))
        changes: dict[str, dict[str, Any]] = {
            "taken": {},
            "began": {"attempts": old.attempts + 1},
            "scored": {"result": event.get("result")},
            "refused": {"refusal": event.get("reason")},
        }
        self.records[place] = old._replace(**changes[event["event"]])
