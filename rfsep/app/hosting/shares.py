"""The public and the private share of a test set's mixtures, and the rows of scores on each."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.app.hosting.rules import SHARES, HostSettings, Share
from rfsep.app.score import baseline_errors, baselines_here
from rfsep.challenge.kept_errors import RowErrors, TypeErrors, row_errors
from rfsep.challenge.measured import Powers, powers_of
from rfsep.challenge.scoring import Estimates, Pair, Row, score_row
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.faults import fault
from rfsep.storage.manifest import listed_sha256
from rfsep.storage.test_set import list_mixtures, read_mixtures, read_truth
from rfsep.types import InputError

Rows = NDArray[np.int64]
_SEED_BITS = 63


class TypeShares(NamedTuple):
    """A mixture type with its truth and its shares.

    Attributes:
        pair: mixtures and truth.
        rows: int64 row numbers, rising, of each share.
        powers: of all mixtures.
        baselines: rows of the baselines on each share.
        errors: of the baselines on all mixtures, by name.
    """

    pair: Pair
    rows: dict[Share, Rows]
    powers: Powers
    baselines: dict[Share, list[Row]]
    errors: dict[str, RowErrors]


def draw_public(
    sinr_db: NDArray[np.floating[Any]], origin: Rows, share: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Returns which rows are public: ``share`` of each level and of each recording in it, to within one mixture.

    The rows of a level are put in random order, recording after recording, and every (1 / share)-th of them is taken
    from a random beginning (systematic sampling).

    Args:
        sinr_db: level of each row.
        origin: number of each row's recording; -1 for synthetic interference.
        share: above 0, below 1.
        random: the generator.
    """
    public = np.zeros(len(sinr_db), np.bool_)
    for level in np.unique(sinr_db):
        rows = random.permutation(np.flatnonzero(sinr_db == level))
        _, recording = np.unique(origin[rows], return_inverse=True)
        turn = random.permutation(recording.max() + 1)[recording]
        rows = rows[np.argsort(turn, kind="stable")]
        steps = np.floor(np.arange(len(rows) + 1) * share + random.uniform())
        public[rows] = np.diff(steps) > 0
    return public


def open_shares(settings: HostSettings, folder: Path) -> dict[str, TypeShares]:
    """Returns every mixture type with its shares, by its label; they are drawn by the first call and kept.

    Args:
        settings: the rules.
        folder: the host's secret folder.

    Raises:
        InputError: no truth, another test set or share than those of earlier calls, a level too small to be shared.
    """
    pairs = {"_".join(pair): _pair(settings.testset, *pair) for pair in list_mixtures(settings.testset)}
    files = {
        label: {"mixture": listed_sha256(pair.mixtures.path), "truth": listed_sha256(pair.truth.path)}
        for label, pair in pairs.items()
    }
    path = folder / "shares.json"
    kept = read_json(path) if path.is_file() else None
    if kept is None:
        seed = secrets.randbits(_SEED_BITS) if settings.seed is None else settings.seed
        random = np.random.default_rng(seed)
        rows = {label: _drawn(label, pair, settings.public, random) for label, pair in pairs.items()}
        kept = {"seed": seed, "public": settings.public, "files": files, "rows": rows}
        write_json(path, kept)
    if kept["files"] != files:
        raise fault(path, f"{settings.testset} is not the test set that this challenge began with; give another out=")
    if kept["public"] != settings.public or settings.seed not in (None, kept["seed"]):
        raise fault(path, f"the public share is {kept['public']} from the first call on; give another out=")
    return {label: _shared(label, pair, kept["rows"][label], settings, folder) for label, pair in pairs.items()}


def share_row(name: str, one: TypeShares, share: Share, errors: Estimates) -> Row:
    """Returns a row of scores.json on one share of a mixture type.

    Args:
        name: name of the separator.
        one: the mixture type.
        share: public or private.
        errors: errors of all its mixtures.
    """
    rows = one.rows[share]
    part = Estimates(errors.mse[rows], errors.bit_errors[rows])
    powers = Powers(*(power[rows] for power in one.powers))
    return score_row(name, _part(one.pair, rows), part.mse, part.bit_errors, powers)


def as_lists(errors: RowErrors) -> Row:
    """Returns the errors of all mixtures of a type as JSON."""
    return {name: column.tolist() for name, column in errors._asdict().items()}


def share_errors(one: TypeShares, share: Share, errors: Row) -> TypeErrors:
    """Returns the errors on one share of a mixture type, for paired comparisons.

    Args:
        one: the mixture type.
        share: public or private.
        errors: of all its mixtures, see `as_lists`.
    """
    rows, pair = one.rows[share], one.pair
    own = _of_lists(errors)
    return TypeErrors(
        np.asarray(pair.mixtures.sinr_db, np.float32)[rows],
        np.asarray(pair.truth.interference_origin, np.int32)[rows],
        np.asarray(pair.truth.num_bits, np.int32)[rows],
        RowErrors(own.mse[rows], own.wrong_bits[rows]),
        {name: RowErrors(found.mse[rows], found.wrong_bits[rows]) for name, found in one.errors.items()},
    )


def _of_lists(errors: Row) -> RowErrors:
    return RowErrors(np.array(errors["mse"], np.float32), np.array(errors["wrong_bits"], np.int32))


def _pair(testset: Path, soi: str, interference: str) -> Pair:
    truth = read_truth(testset, soi, interference)
    if truth is None:
        raise InputError(f"{testset}: no truth for {soi} in {interference}: cannot score")
    return Pair(read_mixtures(testset, soi, interference), truth)


def _drawn(label: str, pair: Pair, share: float, random: np.random.Generator) -> list[int]:
    sinr_db = np.asarray(pair.mixtures.sinr_db)
    public = draw_public(sinr_db, np.asarray(pair.truth.interference_origin), share, random)
    for level in np.unique(sinr_db):
        here = public[sinr_db == level]
        if here.all() or not here.any():
            raise InputError(f"public={share:g} leaves one share of {label} without a mixture at {level:g} dB")
    return [int(row) for row in np.flatnonzero(public)]


def _part(pair: Pair, rows: Rows) -> Pair:
    """Returns some rows of a mixture type, with all that scores need but without the waveforms and bits."""
    mixtures, truth = pair
    names = ("num_bits", "soi_offset", "interference_offset", "interference_origin")
    chosen: Mapping[str, Any] = {name: np.asarray(getattr(truth, name))[rows] for name in names}
    return Pair(mixtures._replace(sinr_db=np.asarray(mixtures.sinr_db)[rows]), truth._replace(**chosen))


def _shared(label: str, pair: Pair, public: Sequence[int], settings: HostSettings, folder: Path) -> TypeShares:
    """Returns a mixture type with what its baselines reach, which is computed once per challenge."""
    everything = np.arange(len(pair.mixtures.mixture))
    rows: dict[Share, Rows] = {
        "public": np.array(public, np.int64),
        "private": np.setdiff1d(everything, public),
    }
    path = folder / "baselines.json"
    kept = read_json(path) if path.is_file() else {}
    if label not in kept:
        powers = powers_of(pair.truth.soi, pair.truth.interference)
        bare = TypeShares(pair, rows, powers, {}, {})
        names, examples = baselines_here(settings.examples, pair)
        errors = baseline_errors(pair, names, examples)
        kept[label] = {
            "powers": [one.tolist() for one in powers],
            "rows": {share: [share_row(name, bare, share, one) for name, one in errors] for share in SHARES},
            "errors": {name: as_lists(row_errors(one.mse, one.bit_errors)) for name, one in errors},
        }
        write_json(path, kept)
    found = kept[label]
    powers = Powers(*(np.array(one, np.float64) for one in found["powers"]))
    errors_of = {name: _of_lists(one) for name, one in found["errors"].items()}
    return TypeShares(pair, rows, powers, found["rows"], errors_of)
