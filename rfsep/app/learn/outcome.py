"""The figures of a learning, learn.json, and its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rfsep.app.learn.folder import FACTS, PAGE, PICTURE, SCHEMA, Part, make_part
from rfsep.app.learn.material import Material
from rfsep.app.learn.request import LEVELS_DB, LearnRequest
from rfsep.app.places import commit
from rfsep.metrics import Estimated, score
from rfsep.pages.learned import Candidate, Look, write_learned_page
from rfsep.separators.trials import Errors
from rfsep.storage.atomic import read_json, write_json

_SHOWN_DB = -12.0  # level of the mixtures on the page
_SHOWN = 4
_SHOWN_SEED = 3


def figures(name: str, errors: Errors, sinr_db: Sequence[float]) -> dict[str, Any]:
    """Returns BER and MSE of each level with 95 % intervals, as a row of results.json has them."""
    levels, number = errors.wrong.shape
    bits = np.full(levels * number, errors.num_bits, np.int64)
    found = score(
        errors.squared.flatten().numpy(),
        errors.wrong.flatten().numpy() * errors.num_bits,
        bits,
        np.repeat(np.asarray(sinr_db), number),
    )
    row: dict[str, Any] = {"separator": name, "sinr_db": list(sinr_db), "num_mixtures": found.num_mixtures}
    row |= {"num_bits": found.num_bits, **_columns("mse_db", found.mse_db)}
    return row | (dict.fromkeys(("ber", "ber_low", "ber_high")) if found.ber is None else _columns("ber", found.ber))


def _columns(name: str, values: Sequence[Estimated]) -> dict[str, list[float]]:
    return {
        name: [one.value for one in values],
        f"{name}_low": [one.low for one in values],
        f"{name}_high": [one.high for one in values],
    }


def write_outcome(
    out: Path,
    request: LearnRequest,
    material: Material,
    tried: Sequence[Candidate],
    chosen: str,
    rows: Sequence[dict[str, Any]],
    parts: Sequence[tuple[float, Part]],
    minutes: float,
) -> None:
    """Writes learn.json and report.html.

    Args:
        out: folder of the learning.
        request: what was asked for.
        material: what was learned from.
        tried: every candidate.
        chosen: the result in words.
        rows: figures of the result, then of the baselines, on fresh mixtures.
        parts: the separators of the result.
        minutes: time since this command started.
    """
    identified = read_json(out / "work" / "identify.json")
    content = {
        "schema": SCHEMA,
        "request": request.told(),
        "interference": material.option.name,
        "identified": identified.get("lines", [identified.get("refused") or identified.get("broke")]),
        "chosen": chosen,
        "rows": list(rows),
        "candidates": [one._asdict() for one in tried],
        "num_samples": material.num_samples,
        "minutes_of_last_start": minutes,
        "commit": commit(),
    }
    write_json(out / FACTS, content)
    picture = out / "work" / PICTURE
    shown = picture.read_bytes() if picture.is_file() else None
    write_learned_page(out / PAGE, content, tried, _look(out, material, parts), shown)


def _look(out: Path, material: Material, parts: Sequence[tuple[float, Part]]) -> Look:
    """Returns a few mixtures before and after separation, by the separator of their level."""
    trials = material.trials(_SHOWN, _SHOWN_SEED)
    level = LEVELS_DB.index(_SHOWN_DB)
    mixture = trials.mixture[level]
    part = [part for start, part in parts if start <= _SHOWN_DB][-1]
    estimate = make_part(part, material.modem, material.known, out).separate(mixture).soi
    symbols = [material.modem.analyse(one).flatten().numpy() for one in (mixture, estimate)]
    return Look(
        _SHOWN_DB, material.rate_hz(), material.modem.constellation.numpy(), mixture[0].numpy(),
        estimate[0].numpy(), symbols[0], symbols[1],
    )  # fmt: skip
