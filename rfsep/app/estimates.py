"""Estimates of a test set's mixtures, by one process or by several that work together."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rfsep.app.build import Parts, completed, export_name
from rfsep.app.config import console, in_sweep, option, plain, whole
from rfsep.app.priors import PRIORS, open_prior
from rfsep.app.runs import Run
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
    """The progress display of long work; nothing where output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class Job(NamedTuple):
    """A mixture type that a separator is ready for."""

    mixtures: MixtureFile
    num_bits: int
    parts: Parts


def network_settings(run: Run) -> Row:
    """What the figures of a network follow from, beside the separator around it."""
    guide = run.config.get("guide")
    return {
        "weights": weights_digest(run.model.state_dict()),
        "network": plain(run.config.model.network),
        "num_samples": run.config.data.num_samples,
        "guide": None if guide is None else plain(option("separator", guide).method),
    }


class Place(NamedTuple):
    """Where a submission goes, and the names that its files bear."""

    folder: Path
    id: str
    testset: str

    def write(self, job: Job, rows: Iterable[SeparatedRows]) -> None:
        """Both files of a mixture type."""
        mixtures = job.mixtures
        rows_and_samples = mixtures.mixture.shape
        names = (self.id, self.testset, mixtures.soi, mixtures.interference)
        write_submission(self.folder, *names, rows, rows_and_samples[0], rows_and_samples[1], job.num_bits)


def separate_alone(place: Place, job: Job) -> float:
    """Separate a mixture type in this process; returns the seconds that it took."""
    mixtures, num_bits, parts = job
    with progress() as bar:
        task = bar.add_task(f"{place.id}: {mixtures.soi} in {mixtures.interference}", total=len(mixtures.mixture))
        started = time.perf_counter()
        place.write(job, separate_file(parts.make, mixtures, num_bits, parts.oracle, partial(bar.advance, task)))
        return time.perf_counter() - started


def is_shared(config: Any) -> bool:
    """Whether several processes do the work of this command together."""
    return together(config) != (1, 1)


def together(config: Any) -> tuple[int, int]:
    """Processes a machine, and machines."""
    return whole(config, "devices"), whole(config, "num_nodes")


def speaks(config: Any) -> bool:
    """Whether this process tells of the work: the only one, or the first of those that do it together."""
    if not is_shared(config):
        return True
    from rfsep.training.predict import is_first  # an import of seconds

    return is_first()


def bound_names(config: Any) -> list[str]:
    """What ``bounds=`` asks for."""
    names = plain(config.bounds)
    return [names] if isinstance(names, str) else list(names or [])


def _identity(config: Any, jobs: Sequence[Job], runs: Sequence[Run | None]) -> str:
    """Digest of all that estimates follow from, so that those of something else are not taken for them."""
    separator, told = completed(config.separator, None), config.separator.get("interference")
    priors = [open_prior(str(separator[key])).prior for key in PRIORS if separator.get(key) is not None]
    settings: dict[str, Any] = {
        "separator": plain(separator),
        "examples": plain(config.examples),
        "mixtures": [listed_sha256(job.mixtures.path) for job in jobs],
        "networks": [None if run is None else network_settings(run) for run in runs],
        "exports": [export_name(separator, run) for run in runs],
        "priors": [weights_digest(prior.model.state_dict()) for prior in priors],
        "interference": None if told is None else sha256(Path(str(told))),
    }
    settings["code"] = code_version(["rfsep.challenge.separate", *targets(settings)])
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def separate_together(config: Any, place: Place, jobs: Sequence[Job], runs: Sequence[Run | None]) -> float | None:
    """Separate all mixture types in several processes, which keep their parts in the submission until all is done.

    Returns:
        The seconds that it took all of them; None in processes that have nothing more to do.
    """
    from rfsep.training.predict import share  # an import of seconds

    identity = _identity(config, jobs, runs)
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

    if not share(work, len(pieces), *together(config), identity, in_sweep()):
        return None
    seconds = list[float]()
    for number, job in enumerate(jobs):
        place.write(job, _parts_kept(kept, [piece for piece, (of, _) in enumerate(pieces) if of == number], seconds))
    shutil.rmtree(kept.parent)
    return sum(seconds)


def _parts_kept(kept: Path, pieces: Iterable[int], seconds: list[float]) -> Iterator[SeparatedRows]:
    """The rows of a mixture type from the files that hold them, in order; adds to ``seconds`` what they took."""
    for piece in pieces:
        part = read_npz(kept / f"{piece}.npz")
        seconds.append(float(part["seconds"]))
        yield SeparatedRows(part["soi"], part["bits"])
