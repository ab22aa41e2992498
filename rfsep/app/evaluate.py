"""What evaluate.py does with a separator: run it over a test set, and say what that cost."""

import datetime
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfsep.app.config import (
    CONFIG_ERRORS,
    ROOT,
    build_modem,
    build_source,
    console,
    example_frames,
    instantiate,
    one_line,
    option,
    option_named,
    plain,
)
from rfsep.app.estimates import Job, Parts, Place, is_shared, separate_alone, separate_together, speaks
from rfsep.app.priors import PRIORS, open_prior
from rfsep.app.runs import Run, export_name, flops_per_sample, network_arguments, open_run, own_separator
from rfsep.app.trust import read_interference
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.separators.selected import Selected
from rfsep.storage.atomic import write_json
from rfsep.storage.locks import alone_in
from rfsep.storage.mixture_files import Pair
from rfsep.storage.seal import sealed
from rfsep.storage.test_set import MixtureFile, list_mixtures, read_mixtures, set_name
from rfsep.types import InputError, Modem, Separator


def separator_parts(config: Any, modem: Modem, examples: torch.Tensor, extra: Mapping[str, Any]) -> Parts:
    """Factory of the separator that a conf/separator config names.

    Args:
        config: of the separator; ``interference`` of those that have it names a file of ``rfsep identify``, and its
            priors runs that learned them.
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T].
        extra: what else its constructor takes: a model, a given autocorrelation, the interference's modem.
    """
    oracle = config.method.get("sinr") == "known"
    arguments = dict(extra)
    if (identified := config.get("interference")) is not None:
        arguments["interference"] = read_interference(Path(str(identified)))
    for name in PRIORS:
        if (run := config.get(name)) is not None:
            arguments[name] = open_prior(str(run)).prior

    def make(sinr_db: float | None) -> Any:
        told = {"sinr_db": sinr_db} if oracle else {}
        made = instantiate(config.method, modem=modem, examples=examples, **arguments, **told)
        if isinstance(made, Selected):
            tried = ", ".join(f"{name} {error:.2f}" for name, error in made.errors_db.items())
            console.print(f"{config.name}: {made.chosen} ({tried} dB on trial)")
        return made

    return Parts(make, oracle)


def commit() -> str:
    """Commit of this checkout, with + where files differ from it; unknown outside of one."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() or "unknown"


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


def frames_to_learn_from(config: Any, interference: str, needed: bool) -> torch.Tensor:
    """Frames of the interference for a separator that learns from them, none for others."""
    if not needed:
        return torch.zeros((0, 0), dtype=torch.complex64)
    return example_frames(option_named("interference", interference), **config.examples)


def _job(config: Any, testset: Path, soi: str, interference: str, opened: Run | None) -> Job:
    mixtures = read_mixtures(testset, soi, interference)
    modem = build_modem(option_named("soi", soi))
    separator = own_separator(config.separator, opened)
    guide = None if opened is None else opened.config.get("guide")
    told = separator.get("interference") is not None
    learns = (separator.learns and not told) or (guide is not None and option("separator", guide).learns)
    examples = frames_to_learn_from(config, interference, learns)
    arguments = network_arguments(separator.method, opened, modem, examples)
    parts = separator_parts(separator, modem, examples, arguments)
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


def _fitting(config: Any, testset: Path, runs: Mapping[Pair, Run | None]) -> list[Job]:
    """The mixture types for which the separator can be made and is not too slow; what it says of the others is told.

    Raises:
        InputError: it can be made for none.
    """
    jobs, refusals = list[Job](), list[str]()
    for pair, run in runs.items():
        try:
            job = _job(config, testset, *pair, run)
            made = job.parts.make(float(job.mixtures.sinr_db[0]))
            _check_pace(made, job.mixtures, config.max_seconds_per_mixture)
        except (InputError, *CONFIG_ERRORS) as error:
            if not isinstance(error, InputError) and not isinstance(error.__cause__, InputError):
                raise  # a fault of ours, not a refusal
            refusals.append(f"{'_'.join(pair)}: {one_line(error)}")
            continue
        jobs.append(job if job.parts.oracle else job._replace(parts=Parts(partial(_already, made), False)))
    if not jobs:
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


def separate_testset(config: Any, testset: Path) -> Path | None:
    """Run a separator over the mixture types of a test set.

    Args:
        config: of evaluate.py.
        testset: folder of the test set.

    Returns:
        The submission's folder; None in a process that helped another one with it.
    """
    if is_shared(config) and config.max_seconds_per_mixture is not None:
        raise InputError("max_seconds_per_mixture goes with one process: of several each would find another pace")
    runs = _open_runs(config, mixture_types(config, testset))
    opened = next(iter(runs.values()))
    name = str(config.id or (config.separator.name if opened is None else opened.config.model.name))
    folder = Path(str(config.out or f"runs/evaluations/{set_name(testset)}/{name}"))
    if config.fitting:
        jobs = _fitting(config, testset, runs)
    else:  # faults show before anything is written
        jobs = [_job(config, testset, *pair, run) for pair, run in runs.items()]
    place = Place(folder, name, set_name(testset))
    with alone_in(folder) if speaks(config) else nullcontext():  # one for all of those that work together
        if is_shared(config):
            seconds = separate_together(config, place, jobs, list(runs.values()))
        else:
            seconds = sum(separate_alone(place, job) for job in jobs)
        if seconds is None:
            return None
        count = sum(len(job.mixtures.mixture) for job in jobs)
        blind = bool(config.separator.blind) and not any(job.parts.oracle for job in jobs)
        card = _card(name, blind, list(runs.values()), seconds / count)
        write_json(folder / "card.json", sealed({**card, "export": export_name(config.separator, opened)}))
    console.print(f"{name}: estimates of {count} mixtures in {folder}")
    return folder


def bound_names(config: Any) -> list[str]:
    """What ``bounds=`` asks for."""
    names = plain(config.bounds)
    return [names] if isinstance(names, str) else list(names or [])


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
