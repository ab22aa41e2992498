"""Asks how often 95 % intervals hold the truth: python docs/coverage.py [CELL ...]

Simulates the errors of mixtures whose expectation is known, at the official levels, and counts how many intervals of
`rfsep.metrics.score` hold it, beside the percentile bootstrap that stood in its place. Writes
docs/results/coverage.json cell by cell, where a rerun replaces only its own rows.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rows import merge

from rfsep.metrics import ber_score, mse_score, score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESULTS = Path(__file__).parent / "results" / "coverage.json"
LEVELS_DB = np.arange(-30.0, 1.0, 3.0)
BITS = 320  # per mixture
_RESAMPLES = 1000  # of the percentile bootstrap
FIGURES = ("mse", "ber", "mse_score", "ber_score")


class Errors(NamedTuple):
    """Squared errors and bit error rates float64 [M] of mixtures at levels float64 [M], and their recordings."""

    mse: Floats
    rate: Floats
    sinr_db: Floats
    recording: Ints | None


class Cell(NamedTuple):
    """Mixtures per level, recordings that all levels share or 0, and how errors are drawn at the levels of mixtures."""

    mixtures: int
    recordings: int
    draw: Callable[[Floats, Ints, np.random.Generator], tuple[Floats, Floats]]


def scaled(spread: Callable[[Ints, np.random.Generator], Floats], plateau: bool = False) -> Any:
    """Returns a way to draw errors around those of a level, which ``spread`` multiplies; its mean is 1."""

    def draw(sinr_db: Floats, recording: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        factor = spread(recording, rng)
        rate = np.where(sinr_db < -24, 0.2, 0.008) if plateau else 0.4 * 10 ** (-(sinr_db + 30) / 12)
        return factor * 10 ** (-(20 + sinr_db / 2) / 10), np.minimum(factor * rate, 0.5)

    return draw


def plain(recording: Ints, rng: np.random.Generator) -> Floats:
    """Draws factors of errors that vary a little from mixture to mixture."""
    return rng.gamma(2, 1 / 2, len(recording))


def bursty(recording: Ints, rng: np.random.Generator) -> Floats:
    """Draws factors where bursts raise the errors of three in ten mixtures 33 times."""
    return rng.exponential(np.where(rng.random(len(recording)) < 0.3, 10.0, 0.3)) / 3.21


def uneven(recording: Ints, rng: np.random.Generator) -> Floats:
    """Draws factors that vary a lot, so that a level of the plateau may seem to fail."""
    return rng.gamma(0.3, 1 / 0.3, len(recording))


def recorded(recording: Ints, rng: np.random.Generator) -> Floats:
    """Draws factors that mixtures of a recording share, 2 dB apart, beside those of `plain`."""
    nepers = 0.2 * np.log(10)
    shared = np.exp(nepers * rng.standard_normal(recording.max() + 1) - nepers**2 / 2)
    return np.asarray(shared[recording] * plain(recording, rng))


def failing(sinr_db: Floats, recording: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draws errors of -40 dB, but where 3 of 1,000 mixtures fail, which get 5 to 20 % of their bits wrong."""
    fails = rng.random(len(recording)) < 0.003
    rate = np.where(fails, rng.uniform(0.05, 0.2, len(recording)), 0.0)
    return 4 * rate + 1e-4 * rng.gamma(4, 1 / 4, len(recording)), rate


CELLS = {
    "plain, 30 mixtures": Cell(30, 0, scaled(plain)),
    "plain, 100 mixtures": Cell(100, 0, scaled(plain)),
    "bursty, 50 mixtures": Cell(50, 0, scaled(bursty)),
    "plateau of .008, 30 mixtures": Cell(30, 0, scaled(uneven, plateau=True)),
    **{f"{number} recordings, 60 mixtures": Cell(60, number, scaled(recorded)) for number in (3, 5, 10, 20)},
    **{f"rare failures, {number} mixtures": Cell(number, 0, failing) for number in (20, 50, 100)},
}


def drawn(cell: Cell, levels: Floats, rng: np.random.Generator) -> Errors:
    """Draws the errors of a test set."""
    sinr_db = np.repeat(levels, cell.mixtures)
    recording = rng.integers(0, cell.recordings, len(sinr_db)) if cell.recordings else np.arange(len(sinr_db))
    mse, rate = cell.draw(sinr_db, recording, rng)
    return Errors(mse, rng.binomial(BITS, rate) / BITS, sinr_db, recording if cell.recordings else None)


def truth(cell: Cell, levels: Floats) -> dict[str, Floats]:
    """Returns the expectations at all levels, from 400,000 mixtures a level, each of a recording of its own."""
    rng, number = np.random.default_rng(1), 400_000
    pairs = [cell.draw(np.full(number, level), np.arange(number), rng) for level in levels]
    mse, rate = (np.array([pair[place].mean() for pair in pairs]) for place in (0, 1))
    mse_db = 10 * np.log10(mse)
    scores = {"mse_score": np.array([mse_score(mse_db)]), "ber_score": np.array([ber_score(levels, rate)])}
    return {"mse": mse_db, "ber": rate, **scores}


def now(errors: Errors) -> dict[str, Floats]:
    """Returns the intervals of `rfsep.metrics.score`: float64 [2, levels] or [2, 1]."""
    bits = np.full(len(errors.mse), BITS)
    found = score(errors.mse, errors.rate * BITS, bits, errors.sinr_db, errors.recording)
    assert found.ber is not None
    assert found.ber_score is not None
    columns = (found.mse_db, found.ber, [found.mse_score], [found.ber_score])
    return {
        name: np.array([[one.low for one in column], [one.high for one in column]])
        for name, column in zip(FIGURES, columns, strict=True)
    }


def before(errors: Errors, rng: np.random.Generator) -> dict[str, Floats]:
    """Returns percentile bootstrap intervals, where every level draws mixtures or recordings for itself."""
    levels = np.unique(errors.sinr_db)
    means = np.empty((2, _RESAMPLES, len(levels)))
    for place, level in enumerate(levels):
        at = errors.sinr_db == level
        unit = (
            np.arange(at.sum()) if errors.recording is None else np.unique(errors.recording[at], return_inverse=True)[1]
        )
        chosen = rng.integers(0, unit.max() + 1, (_RESAMPLES, unit.max() + 1))
        count = np.bincount(unit)[chosen].sum(1)
        for index, values in enumerate((errors.mse[at], errors.rate[at])):
            means[index, :, place] = np.bincount(unit, values)[chosen].sum(1) / count
    mse_db = 10 * np.log10(means[0])
    passed = np.cumprod(means[1][:, ::-1] <= 1e-2, axis=1).sum(1)  # levels that the walk goes down
    walks = np.concatenate([[3.0], levels[::-1]])[passed]
    ends = {
        "mse": mse_db,
        "ber": means[1],
        "mse_score": np.maximum(mse_db, -50).mean(1)[:, None],
        "ber_score": walks[:, None],
    }
    found = {name: np.quantile(draws, [0.025, 0.975], axis=0) for name, draws in ends.items()}
    none = means[1].max(0) == 0
    found["ber"][1, none] = 3 / (BITS * np.bincount(np.searchsorted(levels, errors.sinr_db))[none])
    return found


def row(name: str, replications: int) -> dict[str, Any]:
    """Returns how many intervals of a cell hold the truth, before and now, and the median width of the MSE score's."""
    cell, rng = CELLS[name], np.random.default_rng(0)
    told = truth(cell, LEVELS_DB)
    held: dict[str, list[float]] = {f"{figure}_{when}": [] for figure in FIGURES for when in ("before", "now")}
    widths: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(replications):
        errors = drawn(cell, LEVELS_DB, rng)
        for when, ends in (("before", before(errors, rng)), ("now", now(errors))):
            for figure, (low, high) in ends.items():
                held[f"{figure}_{when}"].append(float(((low <= told[figure]) & (told[figure] <= high)).mean()))
            widths[when].append(float(np.ptp(ends["mse_score"])))
    coverage = {key: round(float(np.mean(each)), 4) for key, each in held.items()}
    width = {f"width_db_{when}": round(float(np.median(each)), 3) for when, each in widths.items()}
    return {"cell": name, "replications": replications, **coverage, **width}


def main() -> None:
    """Runs the cells of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", nargs="*", default=list(CELLS))
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    for name in asked.cells:
        new = row(name, asked.replications)
        print(new, flush=True)
        merge(asked.out, [new], ("cell",))


if __name__ == "__main__":
    main()
