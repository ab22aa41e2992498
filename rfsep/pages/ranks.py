"""Ranks the rows of a board by paired tests on the same mixtures, and keeps who beats whom."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from rfsep.challenge.kept_errors import TypeErrors
from rfsep.challenge.paired import SIGNIFICANCE, Integers, Part, ber_part, holm, mse_part, swap_tests
from rfsep.metrics import Floats
from rfsep.pages.collect import Board
from rfsep.pages.standings import RANKED, Metric, Score, Standing, standings

METRICS: tuple[Metric, ...] = ("mse", "ber")


class Duel(NamedTuple):
    """Two rows of a board in one metric.

    Attributes:
        first: place of the one row.
        second: place of the other.
        difference_db: the first one's mean over types and levels of the error in dB, less the second's; of the BER, ten
            times the logarithm likewise. None if errors on every mixture are not kept.
        p: two-sided p value, corrected for all tested pairs; None likewise.
        better: place of the one that is better beyond doubt, or None.
    """

    first: int
    second: int
    difference_db: float | None
    p: float | None
    better: int | None


class Duels(NamedTuple):
    """All pairs of competing rows in one metric.

    Attributes:
        duels: one per pair.
        swapped: what the tests swap, in words; empty if there are none.
        num_groups: how many of them; 0 likewise.
        by_intervals: names of rows without errors on every mixture, whose intervals are compared instead.
    """

    duels: list[Duel]
    swapped: str
    num_groups: int
    by_intervals: list[str]


class Ranked(NamedTuple):
    """A board's rows, best total MSE first, with their ranks, and all pairs of competing rows by metric."""

    rows: list[Standing]
    duels: dict[Metric, Duels]


def ranked(board: Board) -> Ranked:
    """Returns the ranked rows of a board."""
    rows = standings(board)
    facts = {label: one for entry in board.entries for label, one in entry.errors.items()}
    duels = {metric: _duels(rows, facts, metric) for metric in METRICS}
    mse, ber = (_ranks(rows, metric, duels[metric].duels) for metric in METRICS)
    return Ranked(
        [row._replace(mse_rank=mse.get(place), ber_rank=ber.get(place)) for place, row in enumerate(rows)], duels
    )


def totals(rows: Sequence[Standing], metric: Metric) -> dict[int, Score]:
    """Returns the totals of the rows that compete, by place."""
    scores = {"mse": [row.mse for row in rows], "ber": [row.ber for row in rows]}[metric]
    return {place: score for place, score in enumerate(scores) if score is not None and rows[place].kind in RANKED}


def _ranks(rows: Sequence[Standing], metric: Metric, duels: Sequence[Duel]) -> dict[int, int]:
    """Ranks the rows that compete, by place.

    A rank is 1 plus the number of rows that are better beyond doubt, so rows that no test tells apart tie. It is at
    least the rank of every row with a better score, so that nobody gains by a comparison that decides nothing.
    """
    scores = totals(rows, metric)
    betters = dict.fromkeys(scores, 0)
    for duel in duels:
        if duel.better is not None:
            betters[duel.first if duel.better == duel.second else duel.second] += 1
    ranks, rank = dict[int, int](), 1
    for place in sorted(scores, key=lambda place: (scores[place].value, betters[place])):
        rank = max(rank, 1 + betters[place])
        ranks[place] = rank
    return ranks


def _duels(rows: Sequence[Standing], facts: Mapping[str, TypeErrors], metric: Metric) -> Duels:
    """Compares all pairs: those with errors on every mixture by paired tests, the others by their intervals."""
    scores = totals(rows, metric)
    labels = [label for label in sorted(facts) if metric == "mse" or facts[label].num_bits.all()]
    known = [place for place in scores if labels and all(label in rows[place].errors for label in facts)]
    tested = {(duel.first, duel.second): duel for duel in _tested(rows, facts, labels, known, metric, scores)}
    duels = [
        tested.get((first, second)) or Duel(first, second, None, None, _apart(scores, first, second))
        for first, second in combinations(scores, 2)
    ]
    by_intervals = [rows[place].name for place in scores if place not in known]
    mixtures, recordings = _num_groups({label: facts[label] for label in labels}) if tested else (0, 0)
    return Duels(duels, _swapped(mixtures, recordings), mixtures + recordings, by_intervals)


def _tested(
    rows: Sequence[Standing], facts: Mapping[str, TypeErrors], labels: Sequence[str], known: Sequence[int],
    metric: Metric, scores: Mapping[int, Score],
) -> list[Duel]:  # fmt: skip
    """Tests all pairs of the rows ``known``; the better one of a pair has no worse score either."""
    if len(known) < 2:
        return []
    groups = _groups({label: facts[label] for label in labels})
    parts = [_part([rows[place] for place in known], label, facts[label], groups[label], metric) for label in labels]
    pairs = list(combinations(range(len(known)), 2))
    found = swap_tests(parts, pairs)
    duels = []
    for (first, second), difference, p in zip(pairs, found.difference_db, holm(found.p), strict=True):
        one, other = known[first], known[second]
        winner, loser = (one, other) if difference < 0 else (other, one)
        sure = p <= SIGNIFICANCE and difference != 0 and scores[winner].value <= scores[loser].value
        duels.append(Duel(one, other, float(difference), float(p), winner if sure else None))
    return duels


def _part(rows: Sequence[Standing], label: str, facts: TypeErrors, group: Integers, metric: Metric) -> Part:
    errors: Floats
    if metric == "mse":
        errors = np.array([row.errors[label].mse for row in rows], np.float64)
        return mse_part(errors, facts.sinr_db.astype(np.float64), group)
    errors = np.array([row.errors[label].wrong_bits for row in rows], np.float64)
    return ber_part(errors, facts.num_bits.astype(np.float64), facts.sinr_db.astype(np.float64), group)


def _groups(facts: Mapping[str, TypeErrors]) -> dict[str, Integers]:
    """Numbers what is swapped together: a mixture, or a recording wherever it interferes, in whatever SOI."""
    numbers: dict[tuple[str, int], int] = {}
    groups = {}
    for label, one in facts.items():
        interference = label.partition("_")[2]
        keys = [
            (interference, recording) if recording >= 0 else (label, -1 - row)
            for row, recording in enumerate(one.recording.tolist())
        ]
        groups[label] = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return groups


def _num_groups(facts: Mapping[str, TypeErrors]) -> tuple[int, int]:
    """Returns how many mixtures and how many recordings are swapped."""
    groups = _groups(facts)
    recordings = {int(group) for label, one in facts.items() for group in groups[label][one.recording >= 0]}
    return sum(int((one.recording < 0).sum()) for one in facts.values()), len(recordings)


def _swapped(mixtures: int, recordings: int) -> str:
    """Says what is swapped.

    >>> _swapped(1, 2), _swapped(0, 0)
    ('1 mixture and 2 recordings', '')
    """
    counts = ((mixtures, "mixture"), (recordings, "recording"))
    return " and ".join(f"{count:,} {word}{'s' if count != 1 else ''}" for count, word in counts if count)


def _apart(scores: Mapping[int, Score], first: int, second: int) -> int | None:
    """Returns the better of two rows whose intervals do not overlap, or None."""
    one, other = scores[first], scores[second]
    return first if one.high < other.low else second if other.high < one.low else None
