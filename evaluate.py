"""Separate and score; conf/evaluate.yaml shows the three forms of the command."""

from pathlib import Path

from omegaconf import DictConfig

from rfsep.challenge.scoring import scores_folder
from rfsep.cli import run
from rfsep.evaluation import check_bounds, score_submission, separate_testset
from rfsep.experiments import run_comparison, run_landscape
from rfsep.storage.test_set import list_mixtures, read_truth
from rfsep.types import InputError


def main(config: DictConfig) -> None:
    """Do what the command line asks for."""
    if "comparison" in config:
        run_comparison(config)
        return
    if "landscape" in config:
        run_landscape(config)
        return
    if config.testset is None or (config.separator is None) == (config.submission is None):
        raise InputError("give separator=NAME testset=DIR, or submission=DIR testset=DIR, or experiment=NAME")
    testset = Path(str(config.testset))
    pairs = list_mixtures(testset)
    with_truth = all(read_truth(testset, *pair) is not None for pair in pairs)  # its faults are found before the work
    check_bounds(config, pairs, with_truth)
    if config.submission is not None:
        folder = Path(str(config.submission))
        out = Path(str(config.out)) if config.out is not None else scores_folder(folder, testset)
        score_submission(config, folder, testset, out)
        return
    folder = separate_testset(config, testset)
    if with_truth:
        score_submission(config, folder, testset, folder)


if __name__ == "__main__":
    run(main, "evaluate")
