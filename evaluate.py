"""Separate, score and compare; conf/evaluate.yaml shows the forms of the command."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rfsep.app.compare import run_comparison, run_landscape
from rfsep.app.config import console, plain, run
from rfsep.app.estimates import speaks
from rfsep.app.evaluate import check_bounds, mixture_types, separate_testset
from rfsep.app.score import make_leaderboard, score_submissions
from rfsep.pages.leaderboard import table
from rfsep.storage.atomic import read_json
from rfsep.storage.test_set import read_truth
from rfsep.types import InputError


def main(config: DictConfig) -> None:
    """Do what the command line asks for."""
    console.quiet = not speaks(config)
    if "comparison" in config:
        run_comparison(config)
        return
    if "landscape" in config:
        run_landscape(config)
        return
    if config.leaderboard is not None:
        place = Path(str(config.leaderboard))
        refused = make_leaderboard(place, bool(config.signals))
        if config.logger.wandb is not None:
            _log_standings(place, plain(config.logger.wandb))
        _end(refused)
        return
    if config.testset is None or (config.separator is None) == (config.submission is None):
        raise InputError(
            "give separator=NAME testset=DIR, or submission=DIR testset=DIR, or experiment=NAME, or leaderboard=DIR"
        )
    testset = Path(str(config.testset))
    pairs = mixture_types(config, testset)
    # faults of the truth are found before the work; scoring needs it, reads it first and says what is missing
    with_truth = config.submission is not None or all(read_truth(testset, *pair) is not None for pair in pairs)
    check_bounds(config, pairs, with_truth)
    if config.submission is not None:
        named = plain(config.submission)
        places = [Path(str(place)) for place in (named if isinstance(named, list) else [named])]
        _end(score_submissions(config, testset, places))
        return
    folder = separate_testset(config, testset)
    if with_truth and folder is not None:
        score_submissions(config, testset, [folder])


def _log_standings(place: Path, settings: dict[str, Any]) -> None:
    """The rows of leaderboard.json as a table of Weights & Biases."""
    import wandb  # a second, for those who ask for it

    columns, rows = table(read_json(place / "leaderboard.json")["boards"])
    with wandb.init(job_type="leaderboard", dir=place, **settings) as run:
        run.log({"leaderboard": wandb.Table(columns=[*columns], data=rows, allow_mixed_types=True)})


def _end(refused: int) -> None:
    """Exit with status 2 where something was refused in a line of its own and the rest went on."""
    if refused:
        sys.exit(2)


if __name__ == "__main__":
    run(main, "evaluate")
