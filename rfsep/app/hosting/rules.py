"""The rules of a challenge: when it is open, how many entries count per day, what is shown."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from rfsep.app.settings import Frames
from rfsep.types import InputError

Phase = Literal["before", "open", "closed", "final"]
Share = Literal["public", "private"]
SHARES: tuple[Share, ...] = ("public", "private")


@dataclass(frozen=True)
class HostSettings:
    """A call of ``rfsep host``; conf/host.yaml explains each key.

    Attributes:
        testset: folder of the test set, with its truth.
        inbox: folder with a folder per team, which holds a folder per entry.
        out: folder of the host: the audit log, ``secret/`` and ``board/``.
        opens: first moment of the challenge.
        closes: first moment after it.
        daily: entries per team and day (UTC).
        public: share of the mixtures that the board shows before the end.
        settle_s: seconds for which an entry must not have changed.
        seed: seed of the draw of the public mixtures; None to draw it from the operating system.
        examples: frames that baselines learn from.
    """

    testset: Path
    inbox: Path
    out: Path
    opens: datetime
    closes: datetime
    daily: int
    public: float
    settle_s: int
    seed: int | None
    examples: Frames

    def phase(self, now: datetime) -> Phase:
        """Returns the phase at a moment; it is final as soon as entries that came in time have rested."""
        if now < self.opens:
            return "before"
        if now < self.closes:
            return "open"
        return "closed" if now < self.closes + timedelta(seconds=self.settle_s) else "final"

    def day(self, now: datetime) -> str:
        """Returns the day (UTC) on which an entry taken at a moment counts: after the end, that of the last moment."""
        return min(now, self.closes - timedelta(microseconds=1)).astimezone(UTC).date().isoformat()


def instant(text: str, key: str) -> datetime:
    """Returns a moment from ISO 8601, with its time zone.

    >>> instant("2026-12-01T01:00+01:00", "opens").isoformat()
    '2026-12-01T00:00:00+00:00'

    Raises:
        InputError: it is something else, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(f"{key} is {text!r}, expected a date, time and time zone such as 2026-12-01T00:00Z")
    return moment.astimezone(UTC)


def stamp(moment: datetime) -> str:
    """Returns a moment in UTC as text, whose order is that of time.

    >>> stamp(datetime(2026, 12, 1, tzinfo=UTC))
    '2026-12-01T00:00:00Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
