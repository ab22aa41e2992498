"""The page of a learning: what the interference is, what was tried, what came out, before and after."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from rfsep.pages.figures import waterfall
from rfsep.pages.pictures import Complex, constellation, power_limits_db, spectrogram
from rfsep.pages.report import DASH, decibels, interval_of, quantity, rate, render


class Candidate(NamedTuple):
    """A candidate of a learning.

    Attributes:
        name: name of the candidate.
        figures: a row as results.json has it; None where it is left out.
        seconds: processor time per mixture; None where it is left out.
        left_out: why it is left out; None where it was measured.
    """

    name: str
    figures: Mapping[str, Any] | None
    seconds: float | None
    left_out: str | None


class Look(NamedTuple):
    """A mixture before and after.

    Attributes:
        sinr_db: nominal level in dB.
        sample_rate_hz: in Hz; None where it is unknown.
        ideal: complex64 [P], the constellation; P = 0 without one.
        mixture: complex64 [T].
        estimate: complex64 [T].
        mixture_symbols: complex64 [S], matched-filter outputs of several mixtures.
        estimate_symbols: complex64 [S], the same of their estimates.
    """

    sinr_db: float
    sample_rate_hz: float | None
    ideal: Complex
    mixture: Complex
    estimate: Complex
    mixture_symbols: Complex
    estimate_symbols: Complex


class _Line(NamedTuple):
    """A line of the table of candidates."""

    name: str
    values: list[str]
    seconds: str
    left_out: str


def write_learned_page(
    path: Path, facts: Mapping[str, Any], candidates: Sequence[Candidate], look: Look, picture: bytes | None
) -> None:
    """Writes the page; it needs no other file and no network.

    Args:
        path: HTML file, replaced as a whole or not at all.
        facts: learn.json as a dict.
        candidates: every candidate, the best first.
        look: a mixture before and after.
        picture: the interference as rfsep identify draws it, PNG; None where it could not be identified.
    """
    rows = facts["rows"]
    with_bits = rows[0]["ber"] is not None
    waveforms = {"before": look.mixture, "after": look.estimate}
    symbols = {"before": look.mixture_symbols, "after": look.estimate_symbols} if len(look.ideal) else {}
    limits = power_limits_db(list(waveforms.values()))
    render(
        path,
        "learned.html.j2",
        facts=facts,
        levels=[decibels(level, 0) for level in rows[0]["sinr_db"]],
        results=[(row["separator"], _cells(row, with_bits)) for row in rows],
        measure="BER" if with_bits else "MSE (dB)",
        candidates=[_line(one, with_bits) for one in candidates],
        ber=Markup(waterfall(rows, "ber", ())) if with_bits else None,  # our own markup, names escaped
        mse=Markup(waterfall(rows, "mse_db", ())),
        constellations=[(constellation(values, look.ideal), name) for name, values in symbols.items()],
        spectrograms=[(spectrogram(one, look.sample_rate_hz, limits), name) for name, one in waveforms.items()],
        limits=[decibels(limit, 0) for limit in limits],
        shown_db=decibels(look.sinr_db, 0),
        picture=None if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode()}",
    )


def _cells(row: Mapping[str, Any], with_bits: bool) -> list[tuple[str, str]]:
    """Returns value and interval of each level."""
    if not with_bits:
        columns = zip(row["mse_db"], row["mse_db_low"], row["mse_db_high"], strict=True)
        return [(decibels(value), interval_of(decibels(low), decibels(high))) for value, low, high in columns]
    columns = zip(row["ber"], row["ber_low"], row["ber_high"], strict=True)
    return [
        (f"< {rate(high)}", "no error") if value == 0 else (rate(value), interval_of(rate(low), rate(high)))
        for value, low, high in columns
    ]


def _line(one: Candidate, with_bits: bool) -> _Line:
    if one.figures is None:
        return _Line(one.name, [], DASH, one.left_out or "")
    return _Line(one.name, [value for value, _ in _cells(one.figures, with_bits)], quantity(one.seconds, "s"), "")
