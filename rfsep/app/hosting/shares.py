"""The public and the private share of a test set's mixtures, and the rows of scores on each."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.app.hosting.rules import SHARES, HostSettings, Share
from rfsep.app.score import baseline_errors, baselines_here
from rfsep.challenge.scoring import Estimates, Pair, Row, measured_sinr_db, score_row
from rfsep.metrics import row_mse
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
        measured: measured SINR in dB per level, of each share.
        baselines: rows of the baselines on each share.
    """

    pair: Pair
    rows: dict[Share, Rows]
    measured: dict[Share, list[float | None]]
    baselines: dict[Share, list[Row]]


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
    return score_row(name, _part(one.pair, rows), part.mse, part.bit_errors, one.measured[share])


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
        measured = {share: _measured(pair, rows[share]) for share in SHARES}
        bare = TypeShares(pair, rows, measured, {})
        names, examples = baselines_here(settings.examples, pair)
        errors = baseline_errors(pair, names, examples)
        found = {share: [share_row(name, bare, share, one) for name, one in errors] for share in SHARES}
        kept[label] = {"measured_sinr_db": measured, "rows": found}
        write_json(path, kept)
    return TypeShares(pair, rows, kept[label]["measured_sinr_db"], kept[label]["rows"])


def _measured(pair: Pair, rows: Rows) -> list[float | None]:
    """Returns the measured SINR in dB of some rows, per level.

    A sample with the power of a row's waveform stands in place of it, so that memory stays bounded.
    """
    part = _part(pair, rows)
    soi, interference = (_amplitudes(waveform)[rows] for waveform in (pair.truth.soi, pair.truth.interference))
    return measured_sinr_db(part._replace(truth=part.truth._replace(soi=soi, interference=interference)))


def _amplitudes(waveform: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Returns the root of the mean power of each row: complex64 [M, T] to [M, 1]."""
    silence = np.broadcast_to(np.zeros(waveform.shape[1], np.complex64), waveform.shape)
    return np.sqrt(row_mse(waveform, silence)).astype(np.complex64)[:, None]
