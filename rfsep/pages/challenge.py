"""The pages of an open challenge: its standings, and the history of each team."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rfsep.pages.report import DASH, decibels, interval_of, page
from rfsep.pages.standings import Score

PHASES = {
    "before": "not open yet",
    "open": "open",
    "closed": "closed; the last entries are scored",
    "final": "closed; all scores are shown",
}


class Challenge(NamedTuple):
    """What every page says of a challenge.

    Attributes:
        testset: name of the test set.
        phase: a key of `PHASES`.
        opens: its first moment.
        closes: the first moment after it.
        daily: entries per team and day.
        public: share of the mixtures whose scores are shown before the end.
    """

    testset: str
    phase: str
    opens: str
    closes: str
    daily: int
    public: float


class Standings(NamedTuple):
    """The boards of leaderboard.json, the teams with a history, and the entry that counts of each team."""

    boards: Sequence[Mapping[str, Any]]
    teams: Sequence[str]
    entries: Mapping[str, str] = {}


class History(NamedTuple):
    """An entry of a team.

    Attributes:
        entry: its name.
        since: when it came; None where that is unknown.
        state: in a word or two.
        reason: why it is refused or waits.
        scores: totals of MSE and BER on each shown share; empty unless it is scored.
        counts: whether it stands for its team.
    """

    entry: str
    since: str | None
    state: str
    reason: str
    scores: Sequence[Score | None]
    counts: bool


class _Cell(NamedTuple):
    """A score and its interval as text."""

    text: str
    interval: str


class _Line(NamedTuple):
    """A line of the standings."""

    name: str
    entry: str
    kind: str
    mse_rank: str
    mse: _Cell
    ber_rank: str
    ber: _Cell


def standings_page(challenge: Challenge, standings: Standings) -> str:
    """Returns the page of the standings, which needs no network."""
    tables = [
        (board["testset"], [_line(row, standings.entries) for row in board["rows"]]) for board in standings.boards
    ]
    return page(
        "challenge.html.j2", challenge=challenge, phase=PHASES[challenge.phase], tables=tables, teams=standings.teams
    )


def history_page(challenge: Challenge, team: str, lines: Sequence[History]) -> str:
    """Returns the page of a team: all its entries in the order in which they came."""
    shares = ["public", "private"] if challenge.phase == "final" else ["public"]
    cells = [(line, [_cell(score) for score in line.scores] or [_cell(None)] * 2 * len(shares)) for line in lines]
    return page(
        "history.html.j2", challenge=challenge, phase=PHASES[challenge.phase], team=team, lines=cells, shares=shares
    )


def _line(row: Mapping[str, Any], entries: Mapping[str, str]) -> _Line:
    scores = {
        metric: None
        if row[f"{metric}_score"] is None
        else Score(*(row[f"{metric}_score{end}"] for end in ("", "_low", "_high")))
        for metric in ("mse", "ber")
    }
    ranks = {metric: DASH if row[f"{metric}_rank"] is None else str(row[f"{metric}_rank"]) for metric in scores}
    entry = "" if row["kind"] == "baseline" else entries.get(row["id"], "")
    return _Line(row["id"], entry, row["kind"], ranks["mse"], _cell(scores["mse"]), ranks["ber"], _cell(scores["ber"]))


def _cell(score: Score | None) -> _Cell:
    if score is None:
        return _Cell(DASH, "")
    return _Cell(decibels(score.value), interval_of(decibels(score.low), decibels(score.high)))
