"""What evaluate.py does: separate a test set, score a submission, run a published comparison."""

import datetime
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rfsep.challenge.published import published_curves
from rfsep.challenge.report import Example, Published, write_page
from rfsep.challenge.scoring import (
    SCHEMA,
    Pair,
    Row,
    Submitted,
    baseline_rows,
    baselines_path,
    measured_sinr_db,
    noise_power,
    open_submission,
    score_row,
    separated_errors,
    submission_errors,
    truth_batches,
)
from rfsep.challenge.separate import SeparatedRows, SeparatorFactory, separate_file
from rfsep.challenge.table import score_table
from rfsep.cli import (
    ROOT,
    build_modem,
    build_source,
    console,
    example_frames,
    instantiate,
    option,
    option_named,
    plain,
    read_interference,
)
from rfsep.networks import Run, flops_per_sample, network_arguments, open_run, own_separator
from rfsep.priors import PRIORS, open_prior
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.submissions import Submission, list_submissions, write_submission
from rfsep.storage.test_set import MixtureFile, list_mixtures, read_mixtures, read_truth, set_name, verify
from rfsep.types import InputError, Modem

BASELINES = {  # rows that stand beside every submission: option of conf/separator and what differs from its YAML
    "passthrough": ("passthrough", {}),
    "matched_filter": ("matched_filter", {}),
    "matched_filter:hard": ("matched_filter", {"remodulation": "hard"}),
    "lmmse": ("lmmse", {}),
}
_EXAMPLE_SINR_DB = -12.0  # the page shows a mixture of the level next to this
_EXAMPLE_SAMPLES = 40960


def progress() -> Progress:
    """The progress display of long work; nothing where output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class Parts(NamedTuple):
    """A separator ready to be made, and what its card tells.

    Attributes:
        make: factory, see `SeparatorFactory`.
        oracle: it is told the SINR.
    """

    make: SeparatorFactory
    oracle: bool


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
        return instantiate(config.method, modem=modem, examples=examples, **arguments, **told)

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


_CARD_FIELDS: dict[str, type | UnionType] = {
    "blind": bool,
    "parameters": int,
    "macs_per_sample": float | int,
    "seconds_per_mixture": float | int,
    "train_minutes": float | int,
    "train_flops": float | int,
    "commit": str,
    "seed": int,
    "date": str,
}


def _read_card(path: Path, name: str) -> Row:
    """The card that came with a submission; what it does not tell, or tells in another type, is None."""
    found = read_json(path) if path.is_file() else {}
    given = found if isinstance(found, dict) else {}
    known = {key: given.get(key) for key in _CARD_FIELDS}
    fields = {key: value if isinstance(value, _CARD_FIELDS[key]) else None for key, value in known.items()}
    return {"schema": SCHEMA, "id": name, **fields}


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


def _examples(config: Any, interference: str, needed: bool) -> torch.Tensor:
    """Frames of the interference for a separator that learns from them, none for others."""
    if not needed:
        return torch.zeros((0, 0), dtype=torch.complex64)
    return example_frames(option_named("interference", interference), **config.examples)


class _Job(NamedTuple):
    """A mixture type that a separator is ready for."""

    mixtures: MixtureFile
    num_bits: int
    parts: Parts


def _job(config: Any, testset: Path, soi: str, interference: str, opened: Run | None) -> _Job:
    mixtures = read_mixtures(testset, soi, interference)
    modem = build_modem(option_named("soi", soi))
    separator = own_separator(config.separator, opened)
    guide = None if opened is None else opened.config.get("guide")
    told = separator.get("interference") is not None
    learns = (separator.learns and not told) or (guide is not None and option("separator", guide).learns)
    examples = _examples(config, interference, learns)
    arguments = network_arguments(separator.method, opened, modem, examples)
    parts = separator_parts(separator, modem, examples, arguments)
    return _Job(mixtures, modem.num_bits(mixtures.mixture.shape[1]), parts)


def separate_testset(config: Any, testset: Path) -> Path:
    """Run a separator over every mixture type of a test set; returns the submission's folder.

    Args:
        config: of evaluate.py.
        testset: folder of the test set.
    """
    runs = _open_runs(config, list_mixtures(testset))
    opened = next(iter(runs.values()))
    name = str(config.id or (config.separator.name if opened is None else opened.config.model.name))
    folder = Path(str(config.out or f"runs/evaluations/{set_name(testset)}/{name}"))
    jobs = [_job(config, testset, *pair, run) for pair, run in runs.items()]  # faults show before anything is written
    count, seconds = 0, 0.0
    for mixtures, num_bits, parts in jobs:
        rows, length = mixtures.mixture.shape
        with progress() as bar:
            task = bar.add_task(f"{name}: {mixtures.soi} in {mixtures.interference}", total=rows)
            started = time.perf_counter()
            separated = separate_file(parts.make, mixtures, num_bits, parts.oracle, partial(bar.advance, task))
            names = (name, set_name(testset), mixtures.soi, mixtures.interference)
            write_submission(folder, *names, separated, rows, length, num_bits)
            seconds += time.perf_counter() - started
        count += rows
    blind = bool(config.separator.blind) and not any(job.parts.oracle for job in jobs)
    write_json(folder / "card.json", _card(name, blind, list(runs.values()), seconds / count))
    console.print(f"{name}: estimates of {count} mixtures in {folder}")
    return folder


def _baselines(pair: Pair, names: Sequence[str], examples: torch.Tensor, measured: Sequence[float | None]) -> list[Row]:
    """Rows of the baselines ``names`` on a mixture type."""
    modem = build_modem(option_named("soi", pair.mixtures.soi))
    num_bits, rows = modem.num_bits(pair.mixtures.mixture.shape[1]), []
    for name in names:
        base, changes = BASELINES[name]
        separator = option("separator", base)
        separator.method.update(changes)
        parts = separator_parts(separator, modem, examples, {})
        with progress() as bar:
            task = bar.add_task(f"baseline {name}", total=len(pair.mixtures.mixture))
            separated = separate_file(parts.make, pair.mixtures, num_bits, False, partial(bar.advance, task))
            errors = separated_errors(separated, pair.truth)
        rows.append(score_row(name, pair, errors.mse, errors.bit_errors, measured))
    return rows


def _beside(config: Any, testset: Path, pair: Pair, measured: Sequence[float | None]) -> list[Row]:
    """Baseline rows of a mixture type, kept or made now; without those whose recordings are not here."""
    names = list(BASELINES)
    try:
        examples = _examples(config, pair.mixtures.interference, needed=True)
    except InputError as error:
        console.print(f"baseline lmmse is left out, it learns from recordings: {error}")
        examples = torch.zeros((0, 0), dtype=torch.complex64)
        names = [name for name in names if not option("separator", BASELINES[name][0]).learns]
    methods = {name: plain(option("separator", BASELINES[name][0])) | BASELINES[name][1] for name in names}
    settings = {"baselines": methods, "examples": plain(config.examples)}
    path = baselines_path(testset)
    return baseline_rows(path, pair, settings, lambda: _baselines(pair, names, examples, measured))


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


def _bounds(config: Any, pair: Pair, measured: Sequence[float | None]) -> list[Row]:
    """Rows of the bounds that were asked for on a mixture type; they see its truth."""
    rows = []
    for name in bound_names(config):
        entry = option("bound", name)
        modem = build_modem(option_named("soi", pair.mixtures.soi))
        source = build_source(option_named("interference", pair.mixtures.interference), "test")
        bound = instantiate(entry.method, modem=modem, source=source, noise_power=noise_power(pair))
        estimates = (bound.estimate(batch) for batch in truth_batches(pair))
        errors = separated_errors((SeparatedRows(soi.numpy(), bits.numpy()) for soi, bits in estimates), pair.truth)
        row = score_row(name, pair, errors.mse, errors.bit_errors, measured)
        rows.append(row | {"blind": False, "bound": True, "label": entry.label})
    return rows


def _example(submitted: Submitted, pair: Pair) -> Example:
    """The mixture that the page shows before and after separation."""
    mixtures, truth = pair.mixtures, pair.truth
    modem = build_modem(option_named("soi", mixtures.soi))
    row = int(np.abs(mixtures.sinr_db - _EXAMPLE_SINR_DB).argmin())
    mixture, estimate = (np.array(file[row]) for file in (mixtures.mixture, submitted.soi))
    symbols = [modem.analyse(torch.from_numpy(waveform)[None])[0].numpy() for waveform in (mixture, estimate)]
    part = slice(0, _EXAMPLE_SAMPLES)
    return Example(
        soi=mixtures.soi,
        interference=mixtures.interference,
        sinr_db=float(mixtures.sinr_db[row]),
        sample_rate_hz=mixtures.sample_rate_hz,
        ideal=modem.constellation.numpy(),
        mixture=mixture[part],
        truth=np.array(truth.soi[row])[part],
        estimate=estimate[part],
        mixture_symbols=symbols[0],
        estimate_symbols=symbols[1],
    )


def _pair(testset: Path, soi: str, interference: str) -> Pair:
    """A mixture type with its truth."""
    mixtures, truth = read_mixtures(testset, soi, interference), read_truth(testset, soi, interference)
    if truth is None:
        raise InputError(f"{testset}: no truth for {soi} in {interference}: cannot score")
    return Pair(mixtures, truth)


class _Scored(NamedTuple):
    """A submitted mixture type: its row, and what the page shows of it."""

    row: Row
    example: Example
    published: list[Published]


def _scored(submission: Submission, testset: Path) -> _Scored:
    pair = _pair(testset, submission.soi, submission.interference)
    submitted = open_submission(submission, pair)
    errors = submission_errors(submitted, pair.truth)
    row = score_row(submission.id, pair, errors.mse, errors.bit_errors, measured_sinr_db(pair))
    curves = published_curves(submission.soi, submission.interference, pair.mixtures.mixture.shape[1])
    return _Scored(row, _example(submitted, pair), curves)


def score_submission(config: Any, folder: Path, testset: Path, out: Path) -> None:
    """Score a submission beside the baselines: tables, scores.json and index.html.

    Args:
        config: of evaluate.py.
        folder: of the submission.
        testset: folder of the test set, with truth.
        out: folder of the results.
    """
    submissions = list_submissions(folder, set_name(testset))
    if (testset / "manifest.json").is_file():
        verify(testset)
    scored = [_scored(submission, testset) for submission in submissions]  # every file is looked at before the work
    baselines, bounds = list[Row](), list[Row]()
    for row, *_ in scored:
        pair = _pair(testset, row["soi"], row["interference"])
        beside = _beside(config, testset, pair, row["measured_sinr_db"])
        limits = _bounds(config, pair, row["measured_sinr_db"])
        console.print(score_table(f"{row['soi']} in {row['interference']}", [*beside, row, *limits]))
        baselines += beside
        bounds += limits
    missing = set(list_mixtures(testset)) - {(one.soi, one.interference) for one in submissions}
    if missing:
        console.print(f"not in this submission: {', '.join('_'.join(pair) for pair in sorted(missing))}")
    scores = {
        "schema": SCHEMA,
        "id": submissions[0].id,
        "testset": set_name(testset),
        "card": _read_card(folder / "card.json", submissions[0].id),
        "results": [one.row for one in scored],
        "baselines": baselines,
        "bounds": bounds,
    }
    write_json(out / "scores.json", scores)
    published = {(one.row["soi"], one.row["interference"]): one.published for one in scored}
    write_page(out / "index.html", scores, published, [one.example for one in scored])
    console.print(f"scores in {out / 'scores.json'}, page: {out / 'index.html'}")
