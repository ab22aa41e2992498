"""Separates, scores and compares: ``python evaluate.py``, or ``rfsep evaluate``."""

import datetime
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
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
from rfsep.app.config import (
    CONFIG_ERRORS,
    bound_of,
    build_modem,
    build_source,
    console,
    interference_named,
    one_line,
    soi_named,
)
from rfsep.app.doors import evaluate_settings
from rfsep.app.estimates import SubmissionPlace, TypeJob, separate_alone, separate_together, speaks
from rfsep.app.failures import Failures
from rfsep.app.learn.folder import learned_parts
from rfsep.app.networks.runs import Run, flops_per_sample, open_run
from rfsep.app.places import commit
from rfsep.app.settings import EvaluateSettings, Frames, SeparatorOption
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.locks import alone_in
from rfsep.storage.mixture_files import Pair
from rfsep.storage.seal import sealed
from rfsep.storage.test_set import MixtureFile, list_mixtures, read_mixtures, read_truth, set_name
from rfsep.types import InputError, Separator


def _total(networks: Collection[Run], fact: str) -> float | None:
    """Returns the sum of a fact over the runs; None where one of them did not record it."""
    values = [network.facts[fact] for network in networks if fact in network.facts]
    return sum(values) if values and len(values) == len(networks) else None


def _submission_card(name: str, blind: bool, runs: Sequence[Run | None], seconds: float) -> Row:
    """Returns card.json: a submission's method and cost, with the total minutes and FLOPs of its networks."""
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
        "seed": None if opened is None else opened.config.seed,
        "date": datetime.date.today().isoformat(),
    }


def _open_runs(
    option: SeparatorOption, source: str | None, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Run | None]:
    """Returns the training run of each mixture type: ``run=`` itself, or the folder <SOI>_<INTERFERENCE> in it."""
    if option.learned:
        if source is None:
            raise InputError(f"separator={option.name} needs run=FOLDER, made by rfsep learn")
        return dict.fromkeys(pairs)
    if source is None:
        if option.checkpoint is not None:
            raise InputError(f"separator={option.name} needs run=FOLDER, made by train.py, or run=zoo:NAME")
        return dict.fromkeys(pairs)
    if option.checkpoint is None:
        raise InputError(f"separator={option.name} has no network: run={source} is of no use to it")
    folders = {pair: Path(source, "_".join(pair)) for pair in pairs}
    single = (Path(source) / "config.yaml").is_file() or not any(folder.is_dir() for folder in folders.values())
    sources = {pair: source if single else str(folder) for pair, folder in folders.items()}
    opened = {one: open_run(one, option.checkpoint) for one in set(sources.values())}
    return {pair: opened[one] for pair, one in sources.items()}


def _learned_option(option: SeparatorOption, source: str, pairs: Sequence[Pair]) -> SeparatorOption:
    """Returns the option of learned separators with their folder, and what identifies those of all mixture types."""
    digests = {"_".join(pair): learned_parts(source, pair)[0].method["digest"] for pair in pairs}
    return replace(option, method={**option.method, "folder": source, "digests": digests})


def _job(
    option: SeparatorOption, frames: Frames, testset: Path, pair: Pair, opened: Run | None, failures: Failures
) -> TypeJob:
    """Returns a mixture type with the separator that is ready for it."""
    mixtures = read_mixtures(testset, *pair)
    modem = build_modem(soi_named(pair[0]))
    if option.learned:
        return TypeJob(
            mixtures, modem.num_bits(mixtures.mixture.shape[1]), learned_parts(option.method["folder"], pair)[1]
        )
    own = completed(option, opened)
    examples = frames_to_learn_from(mixtures, frames, learns_from_examples(own, opened))
    parts = separator_parts(own, modem, examples, network_arguments(own.method, opened, modem, examples), failures)
    return TypeJob(mixtures, modem.num_bits(mixtures.mixture.shape[1]), parts)


def mixture_types(testset: Path, asked: Sequence[str] | None) -> list[Pair]:
    """Returns the requested mixture types of a test set, such as QPSK_OFDMQPSK; all where ``asked`` is None.

    Raises:
        InputError: one that is not there.
    """
    known = {"_".join(pair): pair for pair in list_mixtures(testset)}
    if asked is None:
        return list(known.values())
    if strange := [name for name in asked if name not in known]:
        raise InputError(f"types={strange[0]} is not in {testset}; choose from {', '.join(known)}")
    return [known[name] for name in asked]


def _fitting(
    option: SeparatorOption,
    settings: EvaluateSettings,
    testset: Path,
    runs: Mapping[Pair, Run | None],
    failures: Failures,
) -> list[TypeJob]:
    """Returns the mixture types that the separator accepts and is fast enough for; reports why others are left out.

    Raises:
        InputError: it can be made for none.
    """
    jobs, refusals = list[TypeJob](), list[str]()
    for pair, run in runs.items():
        try:
            with failures.left_out("_".join(pair)):
                job = _job(option, settings.examples, testset, pair, run, failures)
                made = job.parts.make(float(job.mixtures.sinr_db[0]))
                _check_pace(made, job.mixtures, settings.max_seconds_per_mixture)
                jobs.append(job if job.parts.oracle else job._replace(parts=Parts(partial(_already, made), False)))
        except (InputError, *CONFIG_ERRORS) as error:
            # Of CONFIG_ERRORS, only those that an InputError caused.
            refusals.append(f"{'_'.join(pair)}: {one_line(error)}")
    if not jobs and refusals:
        raise InputError(f"separator={option.name} fits no mixture type of {testset}; {'; '.join(refusals)}")
    for refusal in refusals:
        console.print(f"left out {refusal}")
    return jobs


def _check_pace(made: Separator, mixtures: MixtureFile, limit: float | None) -> None:
    """Times a separator on two mixtures after a first try on one, so that one-off preparation does not count.

    Raises:
        InputError: it takes longer than ``limit`` seconds per mixture.
    """
    if limit is None:
        return
    few = torch.from_numpy(np.array(mixtures.mixture[:2]))
    made.separate(few[:1])
    started = time.perf_counter()
    made.separate(few)
    if (seconds := (time.perf_counter() - started) / len(few)) > limit:
        raise InputError(f"{seconds:.1f} s per mixture exceed max_seconds_per_mixture={limit:g}")


def _already(made: Separator, sinr_db: float | None) -> Separator:
    """Returns a factory of one separator, which does not look at the SINR."""
    return made


class Done(NamedTuple):
    """The outcome of a separator on a test set.

    Attributes:
        folder: folder of the submission; None in a helping process, or if nothing could be separated.
        num_failed: number of mixture types, and of candidates of a selection, that broke and are left out.
    """

    folder: Path | None
    num_failed: int


def separate_testset(settings: EvaluateSettings, option: SeparatorOption, testset: Path) -> Done:
    """Runs a separator over the mixture types of a test set; one that breaks is left out.

    Args:
        settings: settings of evaluate.py.
        option: the separator.
        testset: folder of the test set.
    """
    processes = settings.processes
    if processes.several and settings.max_seconds_per_mixture is not None:
        raise InputError("max_seconds_per_mixture needs one process: several would each measure another pace")
    pairs = mixture_types(testset, settings.types)
    runs = _open_runs(option, settings.run, pairs)
    if option.learned:
        option = _learned_option(option, str(settings.run), pairs)
    opened = next(iter(runs.values()))
    name = settings.id or (option.name if opened is None else opened.config.model.name)
    folder = settings.out or Path("runs", "evaluations", set_name(testset), name)
    failures = Failures(folder.parent / f"{folder.name}.failed.log")
    if settings.fitting:
        jobs = _fitting(option, settings, testset, runs, failures)
    else:
        # Separators are made here, so that faults show before anything is written.
        jobs = [_job(option, settings.examples, testset, pair, run, failures) for pair, run in runs.items()]
    place = SubmissionPlace(folder, name, set_name(testset))
    # One lock serves all processes that work together.
    with alone_in(folder) if speaks(processes) else nullcontext():
        if processes.several:
            seconds = separate_together(settings, option, place, jobs, list(runs.values()))
        else:
            seconds, jobs = _one_after_another(place, jobs, failures)
        if seconds is None or not jobs:
            return Done(None, len(failures.names))
        count = sum(len(job.mixtures.mixture) for job in jobs)
        blind = option.blind and not any(job.parts.oracle for job in jobs)
        card = _submission_card(name, blind, list(runs.values()), seconds / count)
        write_json(folder / "card.json", sealed({**card, "export": export_name(option, opened)}))
    console.print(f"{name}: estimates of {count} mixtures in {folder}")
    return Done(folder, len(failures.names))


def _one_after_another(
    place: SubmissionPlace, jobs: Sequence[TypeJob], failures: Failures
) -> tuple[float, list[TypeJob]]:
    """Separates mixture types in turn; returns the seconds they took, and the types that did not break."""
    seconds, done = 0.0, list[TypeJob]()
    for job in jobs:
        with failures.left_out(f"{job.mixtures.soi}_{job.mixtures.interference}"):
            seconds += separate_alone(place, job)
            done.append(job)
    return seconds, done


def check_bounds(bounds: Sequence[str], testset: Path, pairs: Iterable[Pair], with_truth: bool) -> None:
    """Checks before the work that every requested bound can be computed.

    Raises:
        InputError: one that conf/bound does not know, a test set without truth, recordings that are not here.
    """
    for name in bounds:
        bound_of(name)
        if not with_truth:
            raise InputError(f"bounds={name} sees the truth, which {testset} does not have")
        for _, interference in pairs:
            build_source(interference_named(interference), "test")


def main(config: DictConfig) -> None:
    """Does what the command line asks for."""
    settings = evaluate_settings(config)
    console.quiet = not speaks(settings.processes)
    # Comparisons and pages draw figures, and their imports take a second: each form of the command imports its own.
    if settings.comparison is not None:
        from rfsep.app.compare import run_comparison

        _end(run_comparison(settings, settings.comparison))
    elif settings.landscape is not None:
        from rfsep.app.compare import run_landscape

        run_landscape(settings, settings.landscape)
    elif settings.timing_error is not None:
        from rfsep.app.networks.timing import run_timing_error

        run_timing_error(settings, settings.timing_error)
    elif settings.leaderboard is not None:
        from rfsep.app.score import make_leaderboard

        refused = make_leaderboard(settings.leaderboard, settings.signals)
        if settings.wandb is not None:
            _log_standings(settings.leaderboard, settings.wandb)
        _end(refused)
    else:
        _separate_or_score(settings)


def _separate_or_score(settings: EvaluateSettings) -> None:
    """Separates a test set and scores the result, or scores submissions."""
    testset, option, submissions = settings.testset, settings.separator, settings.submissions
    if testset is None or (option is None) == (not submissions):
        raise InputError(
            "give separator=NAME testset=DIR, or submission=DIR testset=DIR, or experiment=NAME, or leaderboard=DIR"
        )
    pairs = mixture_types(testset, settings.types)
    # faults of the truth are found before the work; scoring needs it, reads it first and says what is missing
    with_truth = bool(submissions) or all(read_truth(testset, *pair) is not None for pair in pairs)
    check_bounds(settings.bounds, testset, pairs, with_truth)
    if option is None:
        from rfsep.app.score import score_submissions

        _end(score_submissions(settings, testset, submissions))
        return
    folder, num_failed = separate_testset(settings, option, testset)
    if with_truth and folder is not None:
        from rfsep.app.score import score_submissions

        score_submissions(settings, testset, [folder], only=str(read_json(folder / "card.json")["id"]))
    _end(num_failed)


def _log_standings(place: Path, settings: dict[str, Any]) -> None:
    """Logs the rows of leaderboard.json as a table of Weights & Biases."""
    # This import takes a second, so only those who ask for it wait.
    import wandb

    from rfsep.pages.leaderboard import table

    columns, rows = table(read_json(place / "leaderboard.json")["boards"])
    with wandb.init(job_type="leaderboard", dir=place, **settings) as run:
        run.log({"leaderboard": wandb.Table(columns=[*columns], data=rows, allow_mixed_types=True)})


def _end(refused: int) -> None:
    """Exits with status 2 if anything was refused, after the rest was done."""
    if refused:
        sys.exit(2)
