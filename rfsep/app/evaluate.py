"""Separates, scores and compares: ``python evaluate.py``, or ``rfsep evaluate``."""

import datetime
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig

from rfsep.app.build import (
    Parts,
    completed,
    export_name,
    frames_to_learn_from,
    learns_from_examples,
    network_arguments,
    separator_parts,
)
from rfsep.app.compare import run_comparison, run_landscape
from rfsep.app.config import CONFIG_ERRORS, build_modem, build_source, console, one_line, option, option_named, plain
from rfsep.app.estimates import Job, Place, bound_names, is_shared, separate_alone, separate_together, speaks
from rfsep.app.failures import Failures
from rfsep.app.places import commit
from rfsep.app.runs import Run, flops_per_sample, open_run
from rfsep.app.score import make_leaderboard, score_submissions
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.pages.leaderboard import table
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.locks import alone_in
from rfsep.storage.mixture_files import Pair
from rfsep.storage.seal import sealed
from rfsep.storage.test_set import MixtureFile, list_mixtures, read_mixtures, read_truth, set_name
from rfsep.types import InputError, Separator


def _total(networks: Collection[Run], fact: str) -> float | None:
    """Sum of what the runs recorded of themselves; None where one of them did not."""
    values = [network.facts[fact] for network in networks if fact in network.facts]
    return sum(values) if values and len(values) == len(networks) else None


def _card(name: str, blind: bool, runs: Sequence[Run | None], seconds: float) -> Row:
    """card.json: what a submission is and what it cost; minutes and FLOPs of all its networks together."""
    networks = {id(run): run for run in runs if run is not None}.values()
    opened = next(iter(networks), None)
    parameters, macs = 0, None
    if opened is not None:
        parameters = sum(parameter.numel() for parameter in opened.model.parameters())
        macs = flops_per_sample(opened.config, opened.model) / 2
    return {
        "schema": SCHEMA,
        "id": name,
        "blind": blind,
        "parameters": parameters,
        "macs_per_sample": macs,
        "seconds_per_mixture": seconds,
        "train_minutes": _total(networks, "minutes"),
        "train_flops": _total(networks, "flops"),
        "commit": commit(),
        "seed": None if opened is None else opened.config.get("seed"),
        "date": datetime.date.today().isoformat(),
    }


def _open_runs(config: Any, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Run | None]:
    """The training run of each mixture type: ``run=`` itself, or the folder <SOI>_<INTERFERENCE> in it."""
    if config.run is None:
        if config.separator.get("checkpoint") is not None:
            raise InputError(f"separator={config.separator.name} needs run=FOLDER, made by train.py, or run=zoo:NAME")
        return dict.fromkeys(pairs)
    if "checkpoint" not in config.separator:
        raise InputError(f"separator={config.separator.name} has no network: run={config.run} is of no use to it")
    source = str(config.run)
    folders = {pair: Path(source, "_".join(pair)) for pair in pairs}
    single = (Path(source) / "config.yaml").is_file() or not any(folder.is_dir() for folder in folders.values())
    sources = {pair: source if single else str(folder) for pair, folder in folders.items()}
    opened = {one: open_run(one, config.separator.checkpoint) for one in set(sources.values())}
    return {pair: opened[one] for pair, one in sources.items()}


def _job(config: Any, testset: Path, soi: str, interference: str, opened: Run | None, failures: Failures) -> Job:
    mixtures = read_mixtures(testset, soi, interference)
    modem = build_modem(option_named("soi", soi))
    separator = completed(config.separator, opened)
    examples = frames_to_learn_from(config, interference, learns_from_examples(separator, opened))
    arguments = network_arguments(separator.method, opened, modem, examples)
    parts = separator_parts(separator, modem, examples, arguments, failures)
    return Job(mixtures, modem.num_bits(mixtures.mixture.shape[1]), parts)


def mixture_types(config: Any, testset: Path) -> list[Pair]:
    """The mixture types of a test set that ``types=`` asks for, all where it is null.

    Raises:
        InputError: one that is not there.
    """
    known = {"_".join(pair): pair for pair in list_mixtures(testset)}
    if config.types is None:
        return list(known.values())
    named = plain(config.types)
    asked = [str(name) for name in (named if isinstance(named, list) else [named])]
    if strange := [name for name in asked if name not in known]:
        raise InputError(f"types={strange[0]} is not in {testset}; choose from {', '.join(known)}")
    return [known[name] for name in asked]


def _fitting(config: Any, testset: Path, runs: Mapping[Pair, Run | None], failures: Failures) -> list[Job]:
    """The mixture types for which the separator can be made and is not too slow; what it says of the others is told.

    Raises:
        InputError: it can be made for none.
    """
    jobs, refusals = list[Job](), list[str]()
    for pair, run in runs.items():
        try:
            with failures.left_out("_".join(pair)):
                job = _job(config, testset, *pair, run, failures)
                made = job.parts.make(float(job.mixtures.sinr_db[0]))
                _check_pace(made, job.mixtures, config.max_seconds_per_mixture)
                jobs.append(job if job.parts.oracle else job._replace(parts=Parts(partial(_already, made), False)))
        except (InputError, *CONFIG_ERRORS) as error:  # of the second, only what an InputError made
            refusals.append(f"{'_'.join(pair)}: {one_line(error)}")
    if not jobs and refusals:
        raise InputError(f"separator={config.separator.name} fits no mixture type of {testset}; {'; '.join(refusals)}")
    for refusal in refusals:
        console.print(f"left out {refusal}")
    return jobs


def _check_pace(made: Separator, mixtures: MixtureFile, limit: float | None) -> None:
    """Try a separator on two mixtures, of which it has seen one, so that what is prepared once is not counted.

    Raises:
        InputError: it takes longer than ``limit``, in seconds a mixture.
    """
    if limit is None:
        return
    few = torch.from_numpy(np.array(mixtures.mixture[:2]))
    made.separate(few[:1])
    started = time.perf_counter()
    made.separate(few)
    if (seconds := (time.perf_counter() - started) / len(few)) > limit:
        raise InputError(f"{seconds:.1f} s a mixture are more than max_seconds_per_mixture={limit:g}")


def _already(made: Separator, sinr_db: float | None) -> Separator:
    """A factory of one separator, which does not look at the SINR."""
    return made


class Done(NamedTuple):
    """What became of a separator on a test set.

    Attributes:
        folder: of the submission; None in a process that helped another one with it, or if nothing could be separated.
        num_failed: mixture types, and candidates of a selection, that broke and are left out.
    """

    folder: Path | None
    num_failed: int


def separate_testset(config: Any, testset: Path) -> Path | None:
    """The folder of `separated`."""
    return separated(config, testset).folder


def separated(config: Any, testset: Path) -> Done:
    """Run a separator over the mixture types of a test set; one that breaks is left out.

    Args:
        config: of evaluate.py.
        testset: folder of the test set.
    """
    if is_shared(config) and config.max_seconds_per_mixture is not None:
        raise InputError("max_seconds_per_mixture goes with one process: of several each would find another pace")
    runs = _open_runs(config, mixture_types(config, testset))
    opened = next(iter(runs.values()))
    name = str(config.id or (config.separator.name if opened is None else opened.config.model.name))
    folder = Path(str(config.out or f"runs/evaluations/{set_name(testset)}/{name}"))
    failures = Failures(folder.parent / f"{folder.name}.failed.log")
    if config.fitting:
        jobs = _fitting(config, testset, runs, failures)
    else:  # faults show before anything is written
        jobs = [_job(config, testset, *pair, run, failures) for pair, run in runs.items()]
    place = Place(folder, name, set_name(testset))
    with alone_in(folder) if speaks(config) else nullcontext():  # one for all of those that work together
        if is_shared(config):
            seconds, done = separate_together(config, place, jobs, list(runs.values())), jobs
        else:
            seconds, done = _one_after_another(place, jobs, failures)
        if seconds is None or not done:
            return Done(None, len(failures.names))
        count = sum(len(job.mixtures.mixture) for job in done)
        blind = bool(config.separator.blind) and not any(job.parts.oracle for job in done)
        card = _card(name, blind, list(runs.values()), seconds / count)
        write_json(folder / "card.json", sealed({**card, "export": export_name(config.separator, opened)}))
    console.print(f"{name}: estimates of {count} mixtures in {folder}")
    return Done(folder, len(failures.names))


def _one_after_another(place: Place, jobs: Sequence[Job], failures: Failures) -> tuple[float, list[Job]]:
    """The seconds that mixture types took, and those that did not break."""
    seconds, done = 0.0, list[Job]()
    for job in jobs:
        with failures.left_out(f"{job.mixtures.soi}_{job.mixtures.interference}"):
            seconds += separate_alone(place, job)
            done.append(job)
    return seconds, done


def check_bounds(config: Any, pairs: Iterable[tuple[str, str]], with_truth: bool) -> None:
    """Find out before the work whether every bound that is asked for can be computed.

    Raises:
        InputError: one that conf/bound does not know, a test set without truth, recordings that are not here.
    """
    for name in bound_names(config):
        option("bound", name)
        if not with_truth:
            raise InputError(f"bounds={name} sees the truth, which {config.testset} does not have")
        for _, interference in pairs:
            build_source(option_named("interference", interference), "test")


def main(config: DictConfig) -> None:
    """Do what the command line asks for."""
    console.quiet = not speaks(config)
    if "comparison" in config:
        _end(run_comparison(config))
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
    testset = Path(str(config.testset), *([] if config.set is None else [str(config.set)]))
    pairs = mixture_types(config, testset)
    # faults of the truth are found before the work; scoring needs it, reads it first and says what is missing
    with_truth = config.submission is not None or all(read_truth(testset, *pair) is not None for pair in pairs)
    check_bounds(config, pairs, with_truth)
    if config.submission is not None:
        named = plain(config.submission)
        places = [Path(str(place)) for place in (named if isinstance(named, list) else [named])]
        _end(score_submissions(config, testset, places))
        return
    folder, num_failed = separated(config, testset)
    if with_truth and folder is not None:
        score_submissions(config, testset, [folder], only=str(read_json(folder / "card.json")["id"]))
    _end(num_failed)


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
