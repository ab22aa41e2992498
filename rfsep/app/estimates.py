"""Estimates of a test set's mixtures, by one process or by several that work together."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rfsep.app.build import Parts, completed, export_name
from rfsep.app.config import console, in_sweep, separator_of
from rfsep.app.networks.priors import open_beside
from rfsep.app.networks.runs import Run
from rfsep.app.settings import EvaluateSettings, Frames, Processes, SeparatorOption
from rfsep.challenge.provenance import code_version, targets
from rfsep.challenge.scoring import Row
from rfsep.challenge.separate import SeparatedRows, file_chunks, separate_chunk, separate_file
from rfsep.storage.atomic import sha256
from rfsep.storage.manifest import listed_sha256
from rfsep.storage.npy import check_finite
from rfsep.storage.npz import read_npz, write_npz
from rfsep.storage.submissions import write_submission
from rfsep.storage.test_set import MixtureFile
from rfsep.storage.weights import weights_digest


def progress() -> Progress:
    """Returns the progress display of long work; nothing where output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class TypeJob(NamedTuple):
    """A mixture type that a separator is ready for."""

    mixtures: MixtureFile
    num_bits: int
    parts: Parts


def network_settings(run: Run) -> Row:
    """Returns the settings that determine a network's figures, apart from the separator around it."""
    guide = run.config.guide
    return {
        "weights": weights_digest(run.model.state_dict()),
        "network": run.config.model.network,
        "num_samples": run.config.num_samples,
        "guide": None if guide is None else separator_of(guide).method,
    }


class SubmissionPlace(NamedTuple):
    """The folder of a submission and the names of its files."""

    folder: Path
    id: str
    testset: str

    def write(self, job: TypeJob, rows: Iterable[SeparatedRows]) -> None:
        """Writes both files of a mixture type."""
        mixtures = job.mixtures
        rows_and_samples = mixtures.mixture.shape
        names = (self.id, self.testset, mixtures.soi, mixtures.interference)
        write_submission(self.folder, *names, rows, rows_and_samples[0], rows_and_samples[1], job.num_bits)


def separate_alone(place: SubmissionPlace, job: TypeJob) -> float:
    """Separates a mixture type in this process, and returns the seconds that it took."""
    mixtures, num_bits, parts = job
    with progress() as bar:
        task = bar.add_task(f"{place.id}: {mixtures.soi} in {mixtures.interference}", total=len(mixtures.mixture))
        started = time.perf_counter()
        place.write(job, separate_file(parts.make, mixtures, num_bits, parts.oracle, partial(bar.advance, task)))
        return time.perf_counter() - started


def speaks(processes: Processes) -> bool:
    """Tells whether this process reports on the work: it is the only one, or the first of several."""
    if not processes.several:
        return True
    # This import takes seconds.
    from rfsep.training.predict import is_first

    return is_first()


def _identity(option: SeparatorOption, examples: Frames, jobs: Sequence[TypeJob], runs: Sequence[Run | None]) -> str:
    """Returns a digest of everything that determines the estimates, so that kept parts of other runs are not used."""
    told, named = option.interference, [(key, run) for key, run in option.beside.items() if run is not None]
    settings: dict[str, Any] = {
        "separator": completed(option, None).identity(),
        "examples": asdict(examples),
        "mixtures": [listed_sha256(job.mixtures.path) for job in jobs],
        "networks": [None if run is None else network_settings(run) for run in runs],
        "exports": [export_name(option, run) for run in runs],
        "priors": [weights_digest(open_beside(*one).model.state_dict()) for one in named],
        "interference": None if told is None else sha256(Path(told)),
    }
    settings["code"] = code_version(["rfsep.challenge.separate", *targets(settings)])
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def separate_together(
    settings: EvaluateSettings,
    option: SeparatorOption,
    place: SubmissionPlace,
    jobs: Sequence[TypeJob],
    runs: Sequence[Run | None],
) -> float | None:
    """Separates all mixture types in several processes, which keep their parts in the submission until all is done.

    Returns:
        The seconds that all of them took; None in processes that have nothing more to do.
    """
    # This import takes seconds.
    from rfsep.training.predict import share

    identity, processes = _identity(option, settings.examples, jobs, runs), settings.processes
    kept = place.folder / ".parts" / identity
    pieces = [
        (number, chunk) for number, job in enumerate(jobs) for chunk in file_chunks(job.mixtures, job.parts.oracle)
    ]
    made = lru_cache(1)(lambda number, level: jobs[number].parts.make(level))

    def work(piece: int) -> None:
        number, chunk = pieces[piece]
        path, job = kept / f"{piece}.npz", jobs[number]
        if path.is_file():
            return
        check_finite(job.mixtures.path, job.mixtures.mixture[chunk.first : chunk.end])
        separator = made(number, chunk.sinr_db)
        started = time.perf_counter()
        rows = separate_chunk(separator, job.mixtures, chunk, job.num_bits)
        write_npz(path, {**rows._asdict(), "seconds": np.array(time.perf_counter() - started)})

    if not share(work, len(pieces), processes.devices, processes.num_nodes, identity, in_sweep()):
        return None
    seconds = list[float]()
    for number, job in enumerate(jobs):
        place.write(job, _parts_kept(kept, [piece for piece, (of, _) in enumerate(pieces) if of == number], seconds))
    shutil.rmtree(kept.parent)
    return sum(seconds)


def _parts_kept(kept: Path, pieces: Iterable[int], seconds: list[float]) -> Iterator[SeparatedRows]:
    """Yields the rows of a mixture type from their files in order, and appends their times to ``seconds``."""
    for piece in pieces:
        part = read_npz(kept / f"{piece}.npz")
        seconds.append(float(part["seconds"]))
        yield SeparatedRows(part["soi"], part["bits"])
