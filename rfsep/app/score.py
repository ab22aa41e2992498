"""The work of a challenge's host: scoring submissions beside baselines and bounds, and writing their pages."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import UnionType
from typing import NamedTuple

import numpy as np
import torch

from rfsep.app.build import frames_to_learn_from, interference_in, separator_parts
from rfsep.app.config import (
    bound_of,
    build_modem,
    build_source,
    console,
    errors,
    instantiate,
    one_line,
    separator_of,
    soi_named,
)
from rfsep.app.estimates import progress
from rfsep.app.settings import EvaluateSettings, Frames
from rfsep.challenge.kept_errors import ERRORS, TypeErrors, row_errors, write_errors
from rfsep.challenge.measured import Powers, powers_of
from rfsep.challenge.scoring import (
    SCHEMA,
    Beside,
    Estimates,
    Pair,
    Row,
    baselines_path,
    keep_baselines,
    kept_baselines,
    noise_power,
    score_row,
    separated_errors,
    submission_errors,
    truth_batches,
    zero_mse_db,
)
from rfsep.challenge.separate import SeparatedRows, separate_file
from rfsep.pages.examples import EXAMPLES, write_examples
from rfsep.pages.leaderboard import write_leaderboard
from rfsep.pages.published import published_curves
from rfsep.pages.report import Example, Published, write_page
from rfsep.pages.table import score_table, shortfalls
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.faults import fault
from rfsep.storage.locks import alone_in
from rfsep.storage.npy import read_complex
from rfsep.storage.seal import is_sealed, sealed
from rfsep.storage.submissions import Entry, Submission, find_submissions, list_submissions
from rfsep.storage.test_set import list_mixtures, read_mixtures, read_truth, set_name, verify
from rfsep.types import InputError

# Rows beside every submission: option of conf/separator, and overrides of its YAML.
BASELINES = {
    "passthrough": ("passthrough", {}),
    "matched_filter": ("matched_filter", {}),
    "matched_filter:hard": ("matched_filter", {"remodulation": "hard"}),
    "lmmse": ("lmmse", {}),
}
# The page shows a mixture of the level nearest to this one.
_EXAMPLE_SINR_DB = -12.0
_EXAMPLE_SAMPLES = 40960
_LARGEST_CARD_BYTES = 1 << 16
_LARGEST_NUMBER = 1e30
_LONGEST_WORDS = 100

_CARD_FIELDS: dict[str, type | UnionType] = {
    "blind": bool,
    "parameters": int,
    "macs_per_sample": float | int,
    "seconds_per_mixture": float | int,
    "train_minutes": float | int,
    "train_flops": float | int,
    "export": str,
    "commit": str,
    "seed": int,
    "date": str,
}


def declared_card(path: Path, name: str) -> Row:
    """Returns the card that came with a submission; missing fields, and fields of another type, are None.

    ``measured`` says whether evaluate.py wrote it here; else its figures are what the team declares. A card that names
    another id is of another method, whose files lie in the same folder.
    """
    if path.is_symlink() or (path.is_file() and path.stat().st_size > _LARGEST_CARD_BYTES):
        raise fault(path, f"is a link or has more than {_LARGEST_CARD_BYTES} bytes; refused")
    found = read_json(path) if path.is_file() else {}
    given = found if isinstance(found, dict) and found.get("id", name) == name else {}
    known = {key: given.get(key) for key in _CARD_FIELDS}
    fields = {key: value if _told(value, _CARD_FIELDS[key]) else None for key, value in known.items()}
    measured = is_sealed(given) and "id" in given
    return {"schema": SCHEMA, "id": name, **fields, "measured": measured}


def _told(value: object, kind: type | UnionType) -> bool:
    """Tells whether a card's value can be shown: its type is right, a number is a count or cost, text is one line."""
    if isinstance(value, str):
        return kind is str and value.isprintable() and len(value) <= _LONGEST_WORDS
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) and isinstance(value, kind) and 0 <= value < _LARGEST_NUMBER


def baseline_errors(pair: Pair, names: Sequence[str], examples: torch.Tensor) -> list[tuple[str, Estimates]]:
    """Returns the errors of the baselines ``names`` on all rows of a mixture type."""
    modem, found = build_modem(soi_named(pair.mixtures.soi)), []
    num_bits = modem.num_bits(pair.mixtures.mixture.shape[1])
    for name in names:
        base, changes = BASELINES[name]
        usual = separator_of(base)
        separator = replace(usual, method={**usual.method, **changes})
        parts = separator_parts(separator, modem, examples, {})
        with progress() as bar:
            task = bar.add_task(f"baseline {name}", total=len(pair.mixtures.mixture))
            separated = separate_file(parts.make, pair.mixtures, num_bits, False, partial(bar.advance, task))
            found.append((name, separated_errors(separated, pair.truth)))
    return found


def baselines_here(frames: Frames, pair: Pair) -> tuple[list[str], torch.Tensor]:
    """Returns the names of the baselines that can be made here for a mixture type, and frames that they learn from.

    Those that learn are left out where the recordings of the interference are missing.
    """
    try:
        return list(BASELINES), frames_to_learn_from(pair.mixtures, frames, needed=True)
    except InputError as error:
        console.print(f"baseline lmmse is left out, it learns from recordings: {error}")
        names = [name for name in BASELINES if not separator_of(BASELINES[name][0]).learns]
        return names, torch.zeros((0, 0), dtype=torch.complex64)


def _beside(settings: EvaluateSettings, testset: Path, pair: Pair) -> Beside:
    """Returns a mixture type's baselines, kept or made now, except those whose recordings are missing."""
    path = baselines_path(testset)

    def followed(names: Sequence[str]) -> Row:
        methods = {name: separator_of(BASELINES[name][0]).identity() | BASELINES[name][1] for name in names}
        return {"baselines": methods, "examples": asdict(settings.examples)}

    if (kept := kept_baselines(path, pair, followed(list(BASELINES)))) is not None:
        return kept
    names, examples = baselines_here(settings.examples, pair)
    if (kept := kept_baselines(path, pair, followed(names))) is not None:
        return kept
    made = Beside([], {}, powers_of(pair.truth.soi, pair.truth.interference))
    for name, found in baseline_errors(pair, names, examples):
        made.rows.append(score_row(name, pair, found.mse, found.bit_errors, made.powers))
        made.errors[name] = row_errors(found.mse, found.bit_errors)
    return keep_baselines(path, pair, followed(names), made)


def _bounds(settings: EvaluateSettings, pair: Pair, powers: Powers) -> list[Row]:
    """Returns the rows of the requested bounds on a mixture type; they see its truth."""
    rows = []
    for name in settings.bounds:
        entry = bound_of(name)
        modem = build_modem(soi_named(pair.mixtures.soi))
        source = build_source(interference_in(pair.mixtures), "test")
        bound = instantiate(entry.method, modem=modem, source=source, noise_power=noise_power(pair))
        estimates = (bound.estimate(batch) for batch in truth_batches(pair))
        errors = separated_errors((SeparatedRows(soi.numpy(), bits.numpy()) for soi, bits in estimates), pair.truth)
        row = score_row(name, pair, errors.mse, errors.bit_errors, powers)
        rows.append(row | {"blind": False, "bound": True, "label": entry.label})
    return rows


def _example(settings: EvaluateSettings, submission: Submission, pair: Pair) -> Example:
    """Returns the mixture that the page shows before and after separation."""
    mixtures, truth = pair.mixtures, pair.truth
    row = int(np.abs(mixtures.sinr_db - _EXAMPLE_SINR_DB).argmin()) if settings.mixture is None else settings.mixture
    if row >= len(mixtures.mixture):
        raise fault(mixtures.path, f"has no mixture={row}, its rows are 0 to {len(mixtures.mixture) - 1}")
    modem = build_modem(soi_named(mixtures.soi))
    soi = read_complex(submission.soi_path, mixtures.mixture.shape)
    mixture, estimate = (np.array(file[row]) for file in (mixtures.mixture, soi))
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
        row=row,
    )


def _pair(testset: Path, soi: str, interference: str) -> Pair:
    """Returns a mixture type with its truth."""
    mixtures, truth = read_mixtures(testset, soi, interference), read_truth(testset, soi, interference)
    if truth is None:
        raise InputError(f"{testset}: no truth for {soi} in {interference}: cannot score")
    return Pair(mixtures, truth)


class _Scored(NamedTuple):
    """A submitted mixture type: its row, the rows beside it, its example on the page, and where it falls short."""

    row: Row
    errors: TypeErrors
    beside: list[Row]
    limits: list[Row]
    example: Example
    published: list[Published]
    shortfalls: str


def _is_listed(testset: Path) -> bool:
    """Tells whether a test set is one of ours, whose files stay on the disk and are listed with their SHA-256."""
    return (testset / "manifest.json").is_file()


def _errors(testset: Path, submission: Submission) -> Estimates:
    """Returns the errors of a submitted mixture type."""
    return submission_errors(submission, _pair(testset, submission.soi, submission.interference))


def _scored(settings: EvaluateSettings, testset: Path, submission: Submission, errors: Estimates) -> _Scored:
    pair = _pair(testset, submission.soi, submission.interference)
    example = _example(settings, submission, pair)
    beside = _beside(settings, testset, pair)
    row = score_row(submission.id, pair, errors.mse, errors.bit_errors, beside.powers)
    limits = _bounds(settings, pair, beside.powers)
    curves = published_curves(submission.soi, submission.interference, pair.mixtures.mixture.shape[1])
    (filtered,) = [one for one in beside.rows if one["separator"] == "matched_filter"]
    worse = shortfalls(row, filtered, zero_mse_db(pair, beside.powers))
    kept = _kept(pair, errors, beside)
    return _Scored(row, kept, beside.rows, limits, example, curves, worse)


def _kept(pair: Pair, errors: Estimates, beside: Beside) -> TypeErrors:
    """Returns the errors of every mixture of a type, for paired comparisons with other submissions."""
    return TypeErrors(
        np.asarray(pair.mixtures.sinr_db, np.float32),
        np.asarray(pair.truth.interference_origin, np.int32),
        np.asarray(pair.truth.num_bits, np.int32),
        row_errors(errors.mse, errors.bit_errors),
        beside.errors,
    )


def _show(one: _Scored) -> None:
    """Prints the table of a mixture type, and below it where the submission is useless."""
    console.print(score_table(f"{one.row['soi']} in {one.row['interference']}", [*one.beside, one.row, *one.limits]))
    if one.shortfalls:
        console.print(one.shortfalls, soft_wrap=True)


def _scores_folder(settings: EvaluateSettings, folder: Path, card: Row, testset: Path, several: bool) -> Path:
    """Returns the folder for scores: ``out=``, else the submission if its card bears our seal, else one below runs/."""
    id = str(card["id"])
    if settings.out is not None:
        return settings.out / id if several else settings.out
    return folder if card["measured"] else Path("runs/scores") / set_name(testset) / id


def score_submission(settings: EvaluateSettings, entry: Entry, testset: Path, several: bool = False) -> str:
    """Scores a submission beside the baselines, writes the scores, their errors, examples and page, and returns its id.

    Args:
        settings: settings of evaluate.py.
        entry: the submission.
        testset: folder of the test set, with truth, verified.
        several: the submission is one of several, and each gets a folder named by its id below ``out=``.
    """
    submissions = list_submissions(entry, set_name(testset))
    id = submissions[0].id
    card = declared_card(entry.folder / "card.json", id)
    out = _scores_folder(settings, entry.folder, card, testset, several)
    # Official truth takes a gigabyte of memory per file.
    threads = torch.get_num_threads() if _is_listed(testset) else 1
    # Every file is checked before the work.
    with ThreadPoolExecutor(threads) as pool:
        errors = list(pool.map(partial(_errors, testset), submissions))
    scored = []
    for submission, found in zip(submissions, errors, strict=True):
        one = _scored(settings, testset, submission, found)
        _show(one)
        scored.append(one)
    missing = sorted(set(list_mixtures(testset)) - {(one.soi, one.interference) for one in submissions})
    if missing:
        console.print(f"not in this submission: {', '.join('_'.join(pair) for pair in missing)}")
    examples = [one.example for one in scored]
    published = {(one.row["soi"], one.row["interference"]): one.published for one in scored}
    scores = {
        "schema": SCHEMA,
        "id": id,
        "testset": set_name(testset),
        "card": card,
        "results": [one.row for one in scored],
        "missing": ["_".join(pair) for pair in missing],
        "baselines": [row for one in scored for row in one.beside],
        "bounds": [row for one in scored for row in one.limits],
    }
    with alone_in(out):
        scores["examples"] = write_examples(out / EXAMPLES, examples)
        kept = {f"{one.row['soi']}_{one.row['interference']}": one.errors for one in scored}
        scores["errors"] = write_errors(out / ERRORS, kept)
        write_json(out / "scores.json", sealed(scores))
        write_page(out / "index.html", scores, published, examples)
    console.print(f"scores in {out / 'scores.json'}, page: {out / 'index.html'}")
    return id


def score_submissions(
    settings: EvaluateSettings, testset: Path, places: Sequence[Path], only: str | None = None
) -> int:
    """Scores submissions; of several, faulty ones are refused in one line each, and the others are scored.

    Args:
        settings: settings of evaluate.py.
        testset: folder of the test set, with truth.
        places: submissions, side by side in a folder or each in its own, and folders of such folders.
        only: the id to score; None to score all.

    Returns:
        The number of refused submissions.

    Raises:
        InputError: the test set is damaged, or the only submission is faulty.
    """
    if _is_listed(testset):
        record = None if settings.fresh else baselines_path(testset).with_name("verified.json")
        verify(testset, record, torch.get_num_threads())
    found = [entry for place in places for entry in find_submissions(place, set_name(testset))]
    entries = [entry for entry in found if only in (None, entry.id)]
    if len(entries) == 1:
        score_submission(settings, entries[0], testset)
        return 0
    seen: dict[str | None, Path] = {}
    refused = 0
    for entry in entries:
        try:
            _check_one_of_several(entry, places, seen)
            seen[score_submission(settings, entry, testset, several=True)] = entry.folder
        except (InputError, OSError) as error:
            errors.print(f"error: {one_line(error)}")
            refused += 1
    console.print(f"{len(seen)} of {len(entries)} submissions scored")
    return refused


def _check_one_of_several(entry: Entry, places: Sequence[Path], seen: dict[str | None, Path]) -> None:
    """Refuses links inside a folder of submissions, and ids that another submission has."""
    if entry.folder.is_symlink() and entry.folder not in places:
        raise fault(entry.folder, "is a symbolic link, which a folder of submissions may not hold")
    if entry.id in seen:
        raise fault(entry.folder, f"its id {entry.id} is that of {seen[entry.id]}, which is scored already")


def make_leaderboard(place: Path, signals: bool = True) -> int:
    """Compares all scores of this host below a folder; returns how many scores.json were refused, in one line each.

    Args:
        place: the folder.
        signals: show one mixture per type, with its truth and estimates.
    """
    refused = write_leaderboard(place, signals)
    for line in refused:
        errors.print(f"error: {line}")
    console.print(f"leaderboard: {place / 'index.html'}, leaderboard.json and leaderboard.csv beside it")
    return len(refused)
