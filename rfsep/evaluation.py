"""What evaluate.py does: separate a test set, score a submission, run a published comparison."""

import datetime
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rfsep.challenge.comparison import Setting, compare
from rfsep.challenge.figures import write_figure
from rfsep.challenge.published import published_curves
from rfsep.challenge.report import Example, Published, write_page
from rfsep.challenge.scoring import (
    SCHEMA,
    Pair,
    Row,
    baseline_rows,
    baselines_path,
    measured_sinr_db,
    score_row,
    separated_errors,
    submission_errors,
)
from rfsep.challenge.separate import SeparatorFactory, separate_file
from rfsep.challenge.table import score_table
from rfsep.cli import (
    ROOT,
    Run,
    build_modem,
    build_source,
    console,
    example_frames,
    instantiate,
    open_run,
    option,
    option_named,
    plain,
)
from rfsep.mixtures.mix import Mixer
from rfsep.models.cost import forward_flops
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.submissions import Submission, list_submissions, read_submission, write_submission
from rfsep.storage.test_set import list_mixtures, read_mixtures, read_truth, set_name, verify
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
        config: of the separator.
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T].
        extra: what else its constructor takes: a model, a given autocorrelation.
    """
    oracle = config.method.get("sinr") == "known"

    def make(sinr_db: float | None) -> Any:
        told = {"sinr_db": sinr_db} if oracle else {}
        return instantiate(config.method, modem=modem, examples=examples, **extra, **told)

    return Parts(make, oracle)


def _commit() -> str:
    """Commit of this checkout, with + where files differ from it; unknown outside of one."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _card(name: str, blind: bool, runs: Sequence[Run | None], seconds: float) -> Row:
    """card.json: what a submission is and what it cost; minutes and FLOPs of all its networks together."""
    networks = {id(run): run for run in runs if run is not None}.values()
    opened = next(iter(networks), None)
    parameters, macs = 0, None
    if opened is not None:
        parameters = sum(parameter.numel() for parameter in opened.model.parameters())
        macs = forward_flops(opened.model, opened.config.data.num_samples, opened.config.guide is not None) / 2
    return {
        "schema": SCHEMA,
        "id": name,
        "blind": blind,
        "parameters": parameters,
        "macs_per_sample": macs,
        "seconds_per_mixture": seconds,
        "train_minutes": sum(run.facts["minutes"] for run in networks) if networks else None,
        "train_flops": sum(run.facts["flops"] for run in networks) if networks else None,
        "commit": _commit(),
        "seed": None if opened is None else opened.config.seed,
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
            raise InputError(f"separator={config.separator.name} needs run=FOLDER, a folder that train.py made")
        return dict.fromkeys(pairs)
    base = Path(config.run)
    single = (base / "config.yaml").is_file() or not any((base / "_".join(pair)).is_dir() for pair in pairs)
    folders = {pair: base if single else base / "_".join(pair) for pair in pairs}
    opened = {folder: open_run(folder, config.separator.checkpoint) for folder in set(folders.values())}
    return {pair: opened[folder] for pair, folder in folders.items()}


def _network_arguments(opened: Run | None, modem: Modem, examples: torch.Tensor) -> dict[str, Any]:
    """What a neural separator's constructor takes of its run."""
    if opened is None:
        return {}
    guide = opened.config.guide
    guided = None if guide is None else instantiate(option("separator", guide).method, modem=modem, examples=examples)
    return {"model": opened.model, "block": opened.config.data.num_samples, "guide": guided}


def separate_testset(config: Any, testset: Path) -> Path:
    """Run a separator over every mixture type of a test set; returns the submission's folder.

    Args:
        config: of evaluate.py.
        testset: folder of the test set.
    """
    runs = _open_runs(config, list_mixtures(testset))
    opened = next(iter(runs.values()))
    name = config.id or (config.separator.name if opened is None else opened.config.model.name)
    folder = Path(config.out or f"runs/evaluations/{set_name(testset)}/{name}")
    oracle, count, seconds = False, 0, 0.0
    for (soi, interference), run in runs.items():
        mixtures = read_mixtures(testset, soi, interference)
        modem = build_modem(option_named("soi", soi))
        examples = example_frames(option_named("interference", interference), **config.examples)
        parts = separator_parts(config.separator, modem, examples, _network_arguments(run, modem, examples))
        oracle |= parts.oracle
        rows, length = mixtures.mixture.shape
        num_bits = modem.num_bits(length)
        with progress() as bar:
            task = bar.add_task(f"{name}: {soi} in {interference}", total=rows)
            started = time.perf_counter()
            separated = separate_file(parts.make, mixtures, num_bits, parts.oracle, partial(bar.advance, task))
            write_submission(folder, name, set_name(testset), soi, interference, separated, rows, length, num_bits)
            seconds += time.perf_counter() - started
        count += rows
    blind = bool(config.separator.blind) and not oracle
    write_json(folder / "card.json", _card(name, blind, list(runs.values()), seconds / count))
    return folder


def _baselines(pair: Pair, config: Any, measured: Sequence[float]) -> list[Row]:
    """Rows of the baselines on a mixture type."""
    modem = build_modem(option_named("soi", pair.mixtures.soi))
    examples = example_frames(option_named("interference", pair.mixtures.interference), **config.examples)
    num_bits, rows = modem.num_bits(pair.mixtures.mixture.shape[1]), []
    for name, (base, changes) in BASELINES.items():
        separator = option("separator", base)
        separator.method.update(changes)
        parts = separator_parts(separator, modem, examples, {})
        with progress() as bar:
            task = bar.add_task(f"baseline {name}", total=len(pair.mixtures.mixture))
            separated = separate_file(parts.make, pair.mixtures, num_bits, False, partial(bar.advance, task))
            errors = separated_errors(separated, pair.truth)
        rows.append(score_row(name, pair, errors.mse, errors.bit_errors, measured))
    return rows


def _example(submission: Submission, pair: Pair) -> Example:
    """The mixture that the page shows before and after separation."""
    mixtures, truth = pair.mixtures, pair.truth
    modem = build_modem(option_named("soi", mixtures.soi))
    row = int(np.abs(mixtures.sinr_db - _EXAMPLE_SINR_DB).argmin())
    shape = mixtures.mixture.shape
    estimates, _ = read_submission(submission, shape[0], shape[1], truth.bits.shape[1])
    mixture, estimate = (np.array(file[row]) for file in (mixtures.mixture, estimates))
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
    results, baselines, examples = [], [], []
    for submission in submissions:
        mixtures = read_mixtures(testset, submission.soi, submission.interference)
        truth = read_truth(testset, submission.soi, submission.interference)
        if truth is None:
            raise InputError(f"{testset}: no truth for {submission.soi} in {submission.interference}: cannot score")
        pair = Pair(mixtures, truth)
        errors = submission_errors(submission, pair)
        measured = measured_sinr_db(pair)
        row = score_row(submission.id, pair, errors.mse, errors.bit_errors, measured)
        beside = baseline_rows(baselines_path(testset), pair, lambda p=pair, m=measured: _baselines(p, config, m))  # type: ignore[misc]
        console.print(score_table(f"{submission.soi} in {submission.interference}", [*beside, row]))
        results.append(row)
        baselines += beside
        examples.append(_example(submission, pair))
    card = _read_card(folder / "card.json", submissions[0].id)
    scores = {
        "schema": SCHEMA,
        "id": submissions[0].id,
        "testset": set_name(testset),
        "card": card,
        "results": results,
        "baselines": baselines,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "scores.json", scores)
    published = {
        (row["soi"], row["interference"]): published_curves(row["soi"], row["interference"]) for row in results
    }
    write_page(out / "index.html", scores, published, examples)
    console.print(f"scores in {out / 'scores.json'}, page: {out / 'index.html'}")


def _comparison_parts(entry: Any, setting: Any, source: Any, soi: Modem) -> Parts:
    """Separator of an entry of a comparison's YAML: ``use`` names its option, the rest differs from that."""
    changes = dict(entry)
    config = option("separator", changes.pop("use"))
    modem = build_modem(option("soi", changes.pop("modem"))) if "modem" in changes else soi
    given = changes.pop("interference_autocorrelation", None) == "given"
    config.method.update(changes)
    extra = {"interference_autocorrelation": source.autocorrelation(config.method.block)} if given else {}
    examples = example_frames(option("interference", setting.interference), **setting.examples)
    return separator_parts(config, modem, examples, extra)


def _wanted(names: Iterable[str], only: str | None) -> Iterator[str]:
    """Entries of a comparison that ``separator=NAME`` asks for: NAME and its variants NAME:..."""
    for name in names:
        if only is None or name.split(":")[0] == only:
            yield name


def run_comparison(config: Any) -> None:
    """A published comparison: results.json and a figure in runs/<experiment>/.

    Args:
        config: of evaluate.py with an experiment; all settings are in ``config.comparison``.
    """
    setting = config.comparison
    soi = build_modem(option("soi", setting.soi))
    source = build_source(option("interference", setting.interference), "test")
    mixer = Mixer(
        soi,
        source,
        empirical=setting.empirical,
        random_phase=setting.random_phase,
        noise_power=setting.noise_power,
    )
    number = config.num_mixtures or setting.num_mixtures
    data = Setting(list(setting.sir_db), number, setting.num_samples, setting.seed)
    folder = Path(config.out or f"runs/{config.name}")
    path = folder / "results.json"
    only = None if config.separator is None else config.separator.name
    wanted = list(_wanted(setting.separators, only))
    if not wanted:
        raise InputError(f"separator={only} is not in this experiment; choose one of {', '.join(setting.separators)}")
    kept = read_json(path) if path.is_file() else {"rows": []}
    rows: dict[str, Row] = {row["separator"]: row for row in kept["rows"]}
    published = [Published(**{str(key): plain(value) for key, value in curve.items()}) for curve in setting.published]
    for name in wanted:
        parts = _comparison_parts(setting.separators[name], setting, source, soi)
        with progress() as bar:
            task = bar.add_task(name, total=len(data.sir_db) * number)
            rows[name] = compare(name, parts.make, not parts.oracle, mixer, data, partial(bar.advance, task))
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": SCHEMA,
            "experiment": config.name,
            "rows": [rows[key] for key in setting.separators if key in rows],
            "published": [curve._asdict() for curve in published],
        }
        write_json(path, content)
    shown = [rows[key] for key in setting.separators if key in rows]
    console.print(score_table(config.name, shown, level_key="sir_db"))
    write_figure(folder / "figure.png", shown, published, config.name, level="sir_db")
    console.print(f"results in {path}, figure: {folder / 'figure.png'}")
