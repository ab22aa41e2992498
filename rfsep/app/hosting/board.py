"""What the teams see: the standings, the leaderboard and the history of each team, written where they changed."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rfsep.app.hosting.judge import Judge
from rfsep.app.hosting.ledger import Ledger, Record
from rfsep.app.hosting.rules import SHARES, HostSettings, Share, stamp
from rfsep.app.hosting.shares import share_errors
from rfsep.challenge.kept_errors import ERRORS, write_errors
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.pages.challenge import Challenge, History, Standings, history_page, standings_page
from rfsep.pages.examples import EXAMPLES, write_examples
from rfsep.pages.leaderboard import write_leaderboard
from rfsep.pages.standings import FILLER, Metric, Score, total, type_score
from rfsep.storage.atomic import read_json, staged, write_json
from rfsep.storage.locks import sweep
from rfsep.storage.seal import sealed
from rfsep.types import InputError

TOLD = "audit.txt"  # length of the log, and SHA-256 of its last line
_INDEX = "index.html"
_LEADERBOARD = "leaderboard"


class Waiting(NamedTuple):
    """An entry in the inbox that is not taken: when it was first seen so, and what it waits for."""

    team: str
    entry: str
    since: str | None
    reason: str


class _Chosen(NamedTuple):
    """A team's best entry: that with the lowest total MSE score on the public share, the earliest of equal ones."""

    record: Record
    result: Row


class Board:
    """The folder that is published.

    Args:
        settings: the rules and folders.
        now: time of this call.
        judge: knows the results.
        ledger: knows the entries.
    """

    def __init__(self, settings: HostSettings, now: datetime, judge: Judge, ledger: Ledger) -> None:
        self.settings = settings
        self.phase = settings.phase(now)
        self.judge = judge
        self.ledger = ledger
        self.shares: tuple[Share, ...] = SHARES if self.phase == "final" else SHARES[:1]
        self.folder = settings.out / "board"
        self.stages = judge.results.parent / "boards"
        self._result = cache(judge.result)

    def write(self, waiting: Sequence[Waiting]) -> None:
        """Writes the pages that changed, each as a whole: histories first, the standings last.

        Raises:
            InputError: a result is not the one that the log names, or a page cannot be written.
        """
        chosen = self._chosen()
        files = {TOLD: f"{len(self.ledger.log.events)} {self.ledger.log.digest}\n".encode()}
        challenge = self._challenge()
        for team in self._teams(waiting):
            page = history_page(challenge, team, self._history(team, chosen, waiting))
            files[f"{team}/{_INDEX}"] = page.encode()
        standings = Standings([], self._teams(waiting))
        if chosen:
            stage = self._stage(chosen)
            files[f"{_LEADERBOARD}.html"] = (stage / _INDEX).read_bytes()
            for kind in ("json", "csv"):
                files[f"{_LEADERBOARD}.{kind}"] = (stage / f"{_LEADERBOARD}.{kind}").read_bytes()
            entries = {team: one.record.place.entry for team, one in chosen.items()}
            standings = Standings(read_json(stage / f"{_LEADERBOARD}.json")["boards"], self._teams(waiting), entries)
        files[_INDEX] = standings_page(challenge, standings).encode()
        for name, content in files.items():
            _replace(self.folder / name, content)

    def _challenge(self) -> Challenge:
        rules = self.settings
        name = self.judge.testset
        return Challenge(name, self.phase, stamp(rules.opens), stamp(rules.closes), rules.daily, rules.public)

    def _teams(self, waiting: Sequence[Waiting]) -> list[str]:
        return sorted({place.team for place in self.ledger.records} | {one.team for one in waiting})

    def _total(self, result: Row, share: Share, metric: Metric) -> Score | None:
        """Returns the total score of a result over all mixture types, the mixture itself in place of missing ones."""
        rows = {f"{row['soi']}_{row['interference']}": row for row in result["results"][share]}
        counted = []
        for label, one in self.judge.types.items():
            (filler,) = [row for row in one.baselines[share] if row["separator"] == FILLER]
            counted.append(type_score(rows.get(label, filler), metric))
        return total([one for one in counted if one is not None])

    def _chosen(self) -> dict[str, _Chosen]:
        """Returns each team's best entry, which the private share never decides."""
        best: dict[str, tuple[float, int, _Chosen]] = {}
        for number, record in enumerate(self.ledger.records.values()):
            if record.result is None:
                continue
            result = self._result(record)
            score = self._total(result, "public", "mse")
            key = (0.0 if score is None else score.value, number, _Chosen(record, result))
            if record.place.team not in best or key[:2] < best[record.place.team][:2]:
                best[record.place.team] = key
        return {team: best[team][2] for team in sorted(best)}

    def _history(self, team: str, chosen: dict[str, _Chosen], waiting: Sequence[Waiting]) -> list[History]:
        """Returns the lines of a team's page."""
        lines = []
        for record in self.ledger.of(team):
            counts = team in chosen and chosen[team].record.place == record.place
            scores: list[Score | None] = []
            if record.result is not None:
                result = self._result(record)
                scores = [self._total(result, share, metric) for share in self.shares for metric in ("mse", "ber")]
            state = "scored" if record.result else "refused" if record.refusal else "is being scored"
            lines.append(History(record.place.entry, record.since, state, record.refusal or "", scores, counts))
        left = [one for one in waiting if one.team == team]
        return lines + [_history_of(one) for one in left]

    def _stage(self, chosen: dict[str, _Chosen]) -> Path:
        """Returns a folder with the leaderboard of some entries, written if it is not that of an earlier call."""
        said = [[one.record.place, one.record.result] for one in chosen.values()]
        key = hashlib.sha256(json.dumps([self.shares, said]).encode()).hexdigest()
        stage = self.stages / key
        if (stage / _INDEX).is_file():  # It is written last.
            return stage
        shutil.rmtree(self.stages, ignore_errors=True)
        for share in self.shares:
            for team, one in chosen.items():
                self._write_scores(stage / share / team, share, one.result)
        if refused := write_leaderboard(stage, signals=False):
            raise InputError(refused[0])
        return stage

    def _write_scores(self, folder: Path, share: Share, result: Row) -> None:
        """Writes the scores.json of a result on one share of the mixtures, as a leaderboard reads it."""
        baselines = [row for one in self.judge.types.values() for row in one.baselines[share]]
        kept = {label: share_errors(self.judge.types[label], share, one) for label, one in result["errors"].items()}
        scores = {
            "schema": SCHEMA,
            "id": result["team"],
            "testset": f"{self.judge.testset}, {share} mixtures",
            "card": result["card"],
            "results": result["results"][share],
            "missing": result["missing"],
            "baselines": baselines,
            "bounds": [],
            "examples": write_examples(folder / EXAMPLES, []),
            "errors": write_errors(folder / ERRORS, kept),
        }
        write_json(folder / "scores.json", sealed(scores))


def _history_of(one: Waiting) -> History:
    """Returns the line of an entry that is not taken; a folder that can never be one has not come."""
    return History(one.entry, one.since, "ignored" if one.since is None else "waiting", one.reason, [], False)


def _replace(path: Path, content: bytes) -> None:
    """Writes a file as a whole if its content is another."""
    with suppress(OSError):
        sweep(path.parent)
        if path.read_bytes() == content:
            return
    with staged(path) as (temporary,):
        temporary.write_bytes(content)
