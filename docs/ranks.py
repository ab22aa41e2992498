"""Asks how often ranks name somebody better, rightly and wrongly: python docs/ranks.py [CASE ...]

Simulates boards of entries whose errors on the same mixtures are correlated by .9 in dB, and counts in what share of
boards somebody is called better than somebody else: by the paired permutation test of the leaderboard, corrected for
all pairs, and without correction by a paired t test, a paired percentile bootstrap, and intervals that do not overlap.
Writes docs/results/ranks.json case by case, where a rerun replaces only its own rows.
"""

import argparse
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rows import merge
from scipy.stats import t as student

from rfsep.challenge.paired import SIGNIFICANCE, Part, holm, mse_part, swap_tests
from rfsep.metrics import Floats, score

RESULTS = Path(__file__).parent / "results" / "ranks.json"
CORRELATION = 0.9
RESAMPLES = 1000
PER_NEPER = 10 / np.log(10)


class Case(NamedTuple):
    """Boards of one kind.

    Attributes:
        title: what sets its entries apart.
        ahead_db: by how many dB each entry is better than the first, at every level.
        levels: number of levels.
        per_level: mixtures at each of them.
        spread_db: standard deviation of a mixture's error.
        recordings: how many recordings all levels share, each with its own error; 0 for independent mixtures.
        tilt_db: the first entry is so much worse at the lower half of the levels, the second one at the upper half.
        boards: how many are simulated.
    """

    title: str
    ahead_db: tuple[float, ...]
    levels: int
    per_level: int
    spread_db: float
    recordings: int = 0
    tilt_db: float = 0.0
    boards: int = 2000


HALF = (0.5, 0.0)
CASES = {
    "pair": Case("equal", (0, 0), 1, 50, 2.8),
    "pair_ahead": Case("one 0.5 dB ahead", HALF, 1, 50, 2.8),
    "heavy": Case("equal, heavy tails", (0, 0), 11, 50, 8.0, boards=500),
    "heavy_ahead": Case("one 0.5 dB ahead, heavy tails", HALF, 11, 50, 8.0, boards=500),
    "tilted": Case("equal scores, each 6 dB better at other levels", (0, 0), 2, 50, 2.0, tilt_db=6.0),
    "tilted_ahead": Case("the same, one 0.5 dB ahead", HALF, 2, 50, 2.0, tilt_db=6.0),
    "recordings_5": Case("equal", (0, 0), 3, 50, 3.0, recordings=5),
    "recordings_10": Case("equal", (0, 0), 3, 50, 3.0, recordings=10),
    "recordings_10_ahead": Case("one 2 dB ahead", (2.0, 0.0), 3, 50, 3.0, recordings=10),
    "board_8": Case("equal", (0,) * 8, 3, 50, 3.0, boards=600),
    "board_8_ahead": Case("one 0.5 dB ahead of all", (0.5, *(0,) * 7), 3, 50, 3.0, boards=600),
    "board_20": Case("equal", (0,) * 20, 3, 50, 3.0, boards=200),
}


def drawn(case: Case, rng: np.random.Generator) -> Part:
    """Returns the errors of a board."""
    count, entries = case.levels * case.per_level, len(case.ahead_db)
    group = np.arange(count) % case.recordings if case.recordings else np.arange(count)
    kinds = len(np.unique(group))
    shared, own = rng.normal(size=kinds)[group], rng.normal(size=(entries, kinds))[:, group]
    db = case.spread_db * (np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own)
    db -= np.array(case.ahead_db)[:, None]
    if case.recordings:
        db += rng.normal(size=db.shape)  # windows of a recording are no copies
    level = np.arange(count) // case.per_level
    low = level < case.levels // 2
    db[0, low] += case.tilt_db
    db[1, ~low] += case.tilt_db
    return mse_part(10 ** (db / 10), level * 3.0, group)


def by_swaps(part: Part) -> list[bool]:
    """Whether each pair is told apart by the test of the leaderboard."""
    return (holm(swap_tests([part], pairs_of(part)).p) <= SIGNIFICANCE).tolist()


def pairs_of(part: Part) -> list[tuple[int, int]]:
    """All pairs of entries."""
    return list(combinations(range(len(part.errors)), 2))


def by_t(part: Part) -> list[bool]:
    """The same by a t test of the difference of scores, with the standard error of the delta method over groups."""
    share = np.array([(part.level == level).sum() for level in range(len(part.floor))])[part.level]
    means = np.stack([part.errors[:, part.level == level].mean(1) for level in range(len(part.floor))], 1)
    pull = PER_NEPER * (part.errors / means[:, part.level] - 1) / share / len(part.floor)
    groups = np.stack([np.bincount(part.group, one) for one in pull])
    scores, degrees = PER_NEPER * np.log(means).mean(1), groups.shape[1] - 1
    found = []
    for one, other in pairs_of(part):
        error = np.sqrt(((groups[one] - groups[other]) ** 2).sum() * (degrees + 1) / degrees)
        found.append(bool(abs(scores[one] - scores[other]) > student.ppf(1 - SIGNIFICANCE / 2, degrees) * error))
    return found


def by_bootstrap(part: Part) -> list[bool]:
    """The same by a percentile interval of the difference of scores, of groups drawn with replacement."""
    rng = np.random.default_rng(0)
    scores = np.zeros((len(part.errors), RESAMPLES))
    kinds = int(part.group.max()) + 1
    weights = rng.multinomial(kinds, np.full(kinds, 1 / kinds), RESAMPLES)[:, part.group]  # [R, M]
    for level in range(len(part.floor)):
        rows = part.level == level
        there = weights[:, rows]
        scores += PER_NEPER * np.log((part.errors[:, rows] @ there.T) / there.sum(1)) / len(part.floor)
    apart = (np.quantile(scores[one] - scores[other], [0.025, 0.975]) for one, other in pairs_of(part))
    return [bool(low > 0 or high < 0) for low, high in apart]


def by_intervals(part: Part) -> list[bool]:
    """The same by intervals of the scores that do not overlap, as the leaderboard had it."""
    unknown = np.zeros(len(part.level), np.int64)
    scores = [score(one, unknown * 1.0, unknown, part.level * 3.0, part.group).mse_score for one in part.errors]
    pairs = ((scores[one], scores[other]) for one, other in pairs_of(part))
    return [bool(one.high < other.low or other.high < one.low) for one, other in pairs]


METHODS: dict[str, Callable[[Part], list[bool]]] = {
    "swaps": by_swaps, "t": by_t, "bootstrap": by_bootstrap, "intervals": by_intervals,
}  # fmt: skip


def shares(case: Case, counted: Floats) -> float:
    """Returns in what share of boards anybody is told apart, or where one is ahead, the mean share of its pairs."""
    ahead = [place for place, pair in enumerate(combinations(case.ahead_db, 2)) if pair[0] != pair[1]]
    return float(counted[:, ahead].mean() if ahead else counted.any(1).mean())


def main() -> None:
    """Runs the cases of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--boards", type=int, help="boards per case; default: 200 of 20 entries to 2,000 pairs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    told = parser.parse_args()
    for name in told.cases:
        case, rng = CASES[name], np.random.default_rng(0)
        boards = [drawn(case, rng) for _ in range(told.boards or case.boards)]
        found = {method: shares(case, np.array([tell(part) for part in boards])) for method, tell in METHODS.items()}
        row = {
            "case": name, "title": case.title, "entries": len(case.ahead_db), "levels": case.levels,
            "per_level": case.per_level, "spread_db": case.spread_db, "recordings": case.recordings,
            "boards": len(boards), "power": len(set(case.ahead_db)) > 1, **found,
        }  # fmt: skip
        print(name, found, flush=True)
        merge(told.out, [row], ("case",))


if __name__ == "__main__":
    main()
