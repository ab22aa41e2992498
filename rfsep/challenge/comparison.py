"""Published comparisons of several separators on the same mixtures; finished levels are kept."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rfsep.metrics import Floats, recordings_of, row_bit_errors, row_mse, score, told_beside
from rfsep.storage.atomic import read_json, write_json
from rfsep.types import InputError, MixtureBatch, Modem, Separated

Row = dict[str, Any]
Estimate = Callable[[MixtureBatch], Separated]
"""An entry's estimator: a separator, which sees the mixture alone, or a bound, which sees the truth."""

_PART_SAMPLES = 64 * 1280  # samples per part, which bounds memory and shows progress
_FIELDS = ("mse", "bit_errors", "num_bits", "origin")


class Data(NamedTuple):
    """The mixtures of a comparison.

    Attributes:
        sir_db: levels.
        num_mixtures: mixtures per level.
        batches: returns the mixtures of a level, the same ones at every call.
        modem: modem of a SOI at any offset, whose symbols are read at the true offset, in estimate and truth alike.
            None if symbols start at sample 0 and a separator's own bits count.
    """

    sir_db: Sequence[float]
    num_mixtures: int
    batches: Callable[[float], Iterable[MixtureBatch]]
    modem: Modem | None


class Contender(NamedTuple):
    """A separator or bound of a comparison.

    Attributes:
        name: name of the row.
        make: makes the estimator for a level.
        blind: whether it is given the mixture only.
        bound: whether it sees the truth and is drawn as a limit.
        label: label of a bound in figures.
        settings: everything that determines its figures, as JSON.
    """

    name: str
    make: Callable[[float], Estimate]
    blind: bool
    bound: bool
    label: str
    settings: Row


class _Level(NamedTuple):
    """Errors of one entry at one level.

    Attributes:
        mse: float64 [M].
        bit_errors: float64 [M].
        num_bits: int64 [M], 0 without known bits.
        origin: int64 [M], recording of the interference, -1 for synthetic sources.
        seconds: time spent on estimating.
    """

    mse: Floats
    bit_errors: Floats
    num_bits: NDArray[np.int64]
    origin: NDArray[np.int64]
    seconds: float


def _parts(batches: Iterable[MixtureBatch]) -> Iterator[MixtureBatch]:
    """Splits rows into batches small enough for any separator."""
    for batch in batches:
        size, length = batch.mixture.shape
        step = max(1, _PART_SAMPLES // length)
        for start in range(0, size, step):
            yield MixtureBatch(*(field[start : start + step] for field in batch))


class BitErrors(NamedTuple):
    """Wrong bits float64 [B] and compared bits int64 [B] of each row."""

    wrong: Floats
    compared: NDArray[np.int64]


def bit_errors(estimate: Separated, batch: MixtureBatch, modem: Modem | None) -> BitErrors:
    """Counts the bit errors of each row.

    The studies with a SOI at any offset demodulate the estimate and the clean SOI from the first whole symbol,
    ``(period - offset) % period``, with the offset known to the scorer: 79 or 80 of 80 symbols.

    Args:
        estimate: estimate of the batch.
        batch: the batch with its truth; without known bits nothing is counted.
        modem: the SOI's modem; None where symbols start at sample 0, so that the estimate's bits count as they are.
    """
    found = BitErrors(np.zeros(len(batch.mixture)), np.zeros(len(batch.mixture), dtype=np.int64))
    if batch.bits.shape[1] == 0:
        return found
    if modem is None:
        num_bits = batch.num_bits.numpy()
        return BitErrors(row_bit_errors(estimate.bits.numpy(), batch.bits.numpy(), num_bits), num_bits)
    for offset in sorted(set(batch.soi_offset.tolist())):
        rows = batch.soi_offset == offset
        start = (modem.symbol_period - offset) % modem.symbol_period
        decided, sent = (modem.decide(waveform[rows, start:]) for waveform in (estimate.soi, batch.soi))
        found.wrong[rows.numpy()] = (decided != sent).sum(1).numpy()
        found.compared[rows.numpy()] = sent.shape[1]
    return found


def _measure(entry: Contender, data: Data, level: float, advance: Callable[[int], None]) -> _Level:
    """Runs an entry over the mixtures of a level."""
    estimator, seconds = entry.make(level), 0.0
    mse, wrong, compared, origin = [], [], [], []
    for batch in _parts(data.batches(level)):
        started = time.perf_counter()
        estimate = estimator(batch)
        seconds += time.perf_counter() - started
        if not torch.isfinite(torch.view_as_real(estimate.soi)).all():
            raise InputError(f"{entry.name} gave NaN or infinity at {level:g} dB")
        errors = bit_errors(estimate, batch, data.modem)
        mse.append(row_mse(estimate.soi.contiguous().numpy(), batch.soi.contiguous().numpy()))
        wrong.append(errors.wrong)
        compared.append(errors.compared)
        origin.append(batch.interference_origin.numpy())
        advance(len(batch.mixture))
    columns = np.concatenate(mse), np.concatenate(wrong), np.concatenate(compared), np.concatenate(origin)
    return _Level(*columns, seconds)


def _path(folder: Path, name: str, level: float) -> Path:
    return folder / "levels" / name.replace(":", "-") / f"{level:g}.json"


def _keep(path: Path, settings: Row, found: _Level) -> None:
    columns = {field: getattr(found, field).tolist() for field in _FIELDS}
    write_json(path, {"settings": settings, **columns, "seconds": found.seconds})


def _kept(path: Path, settings: Row, num_mixtures: int) -> _Level | None:
    """Reads a kept level; None if there is none with these settings."""
    if not path.is_file() or not isinstance(content := read_json(path), dict) or content.get("settings") != settings:
        return None
    columns = [np.asarray(content.get(field)) for field in _FIELDS]
    if any(column.shape != (num_mixtures,) for column in columns):
        return None
    mse, wrong = (column.astype(np.float64) for column in columns[:2])
    compared, origin = (column.astype(np.int64) for column in columns[2:])
    return _Level(mse, wrong, compared, origin, content["seconds"])


def kept_levels(entry: Contender, data: Data, folder: Path) -> int:
    """Returns how many levels of an entry need not be computed again."""
    found = (_kept(_path(folder, entry.name, level), entry.settings, data.num_mixtures) for level in data.sir_db)
    return sum(level is not None for level in found)


def forget(entry: Contender, folder: Path) -> None:
    """Removes all kept levels of an entry."""
    for path in (folder / "levels" / entry.name.replace(":", "-")).glob("*.json"):
        path.unlink()


def measure_level(entry: Contender, level: float, data: Data, folder: Path) -> None:
    """Measures an entry at a level and keeps the result for `compare`, unless it is kept already."""
    path = _path(folder, entry.name, level)
    if _kept(path, entry.settings, data.num_mixtures) is None:
        _keep(path, entry.settings, _measure(entry, data, level, lambda number: None))


class _Work(NamedTuple):
    """The state that the processes of `_measure_together` inherit, because it cannot be sent to them."""

    entry: Contender
    data: Data
    folder: Path
    done: Any  # multiprocessing.Value, number of mixtures done by all processes


_work: list[_Work] = []  # the running comparison, one at most


def _measure_and_keep(level: float) -> None:
    """Measures a level of the inherited comparison, in a process of its own and on one thread."""
    torch.set_num_threads(1)
    entry, data, folder, done = _work[-1]

    def advance(number: int) -> None:
        with done.get_lock():
            done.value += number

    _keep(_path(folder, entry.name, level), entry.settings, _measure(entry, data, level, advance))


def _measure_together(
    entry: Contender, data: Data, folder: Path, levels: Sequence[float], advance: Callable[[int], None]
) -> None:
    """Measures and keeps levels, each in a process, because small matrices leave torch's own threads idle."""
    cores = min(torch.get_num_threads(), len(levels))
    context = multiprocessing.get_context("fork")  # Children inherit everything and use one thread each.
    entry.make(levels[0])  # This builds shared parts once.
    _work.append(_Work(entry, data, folder, context.Value("q", 0)))
    try:
        with ProcessPoolExecutor(cores, mp_context=context) as pool:
            pending = {pool.submit(_measure_and_keep, level) for level in levels}
            shown = 0
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                now = _work[-1].done.value
                advance(now - shown)
                shown = now
                for one in finished:
                    one.result()
    finally:
        _work.pop()


def compare(entry: Contender, data: Data, folder: Path, advance: Callable[[int], None]) -> Row:
    """Returns an entry's row of results.json: MSE and BER with intervals at every level, cost and blindness.

    Every finished level is kept in ``folder``/levels, so that an interrupted comparison resumes with the same figures.
    A level with other settings or other code is computed again. Levels are computed in parallel, one per thread of
    torch.

    Args:
        entry: the separator or bound.
        data: the mixtures, the same for every entry.
        folder: folder of the experiment's results.
        advance: called with the number of mixtures done.
    """
    missing = [
        level
        for level in sorted(data.sir_db)
        if _kept(_path(folder, entry.name, level), entry.settings, data.num_mixtures) is None
    ]
    if len(missing) > 1 and torch.get_num_threads() > 1:
        _measure_together(entry, data, folder, missing, advance)
        advance(-len(missing) * data.num_mixtures)  # Kept levels are counted again.
    levels = []
    for level in sorted(data.sir_db):
        path = _path(folder, entry.name, level)
        found = _kept(path, entry.settings, data.num_mixtures)
        if found is None:
            found = _measure(entry, data, level, advance)
            _keep(path, entry.settings, found)
        else:
            advance(data.num_mixtures)
        levels.append(found)
    return _row(entry, data, levels)


def _row(entry: Contender, data: Data, levels: Sequence[_Level]) -> Row:
    """Builds the row of results.json from its levels, lowest first."""
    sir_db = np.repeat(sorted(data.sir_db), data.num_mixtures).astype(np.float64)
    mse, wrong, compared, origin = (np.concatenate([getattr(level, field) for level in levels]) for field in _FIELDS)
    groups = recordings_of(origin)
    scores = score(mse, wrong, compared, sir_db, groups)
    row: Row = {
        "separator": entry.name,
        "sir_db": scores.sinr_db.tolist(),
        "mse_db": [value.value for value in scores.mse_db],
        "mse_db_low": [value.low for value in scores.mse_db],
        "mse_db_high": [value.high for value in scores.mse_db],
        "ber": None,
        "ber_low": None,
        "ber_high": None,
        "num_mixtures": scores.num_mixtures,
        "num_bits": scores.num_bits,
        "interval_over": "mixtures" if groups is None else "recordings",
        **told_beside(scores),
        "seconds_per_mixture": sum(level.seconds for level in levels) / sum(scores.num_mixtures),
        "blind": entry.blind,
        "bound": entry.bound,
    }
    if entry.bound:
        row["label"] = entry.label
    if scores.ber is not None:
        row["ber"] = [value.value for value in scores.ber]
        row["ber_low"] = [value.low for value in scores.ber]
        row["ber_high"] = [value.high for value in scores.ber]
    return row
