"""Writes the report page: one self-contained HTML file of a submission's scores, figures and example signals."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.ticker import EngFormatter

from rfsep.pages.figures import Metric, Published, Row, error_limits, has_metric, power_of_ten, waterfall
from rfsep.pages.measured import MeasuredCurves, measured_curves
from rfsep.pages.pictures import Complex, constellation, power_limits_db, spectrogram
from rfsep.storage.atomic import write_text

__all__ = ["Example", "Published", "write_page"]

DASH = "–"


class Example(NamedTuple):
    """One mixture of a test set with a separator's estimate.

    Attributes:
        soi: name of the signal of interest.
        interference: name of the interference.
        sinr_db: nominal level in dB.
        sample_rate_hz: in Hz.
        ideal: complex64 [P], the constellation; P = 0 without one.
        mixture: complex64 [T].
        truth: complex64 [T], the signal of interest.
        estimate: complex64 [T].
        mixture_symbols: complex64 [S], matched-filter outputs of the mixture.
        estimate_symbols: complex64 [S], the same of the estimate.
        row: its row in the mixture file; -1 in scores of before it was kept.
    """

    soi: str
    interference: str
    sinr_db: float
    sample_rate_hz: float
    ideal: Complex
    mixture: Complex
    truth: Complex
    estimate: Complex
    mixture_symbols: Complex
    estimate_symbols: Complex
    row: int = -1


class ScoreText(NamedTuple):
    """One score in the summary table: its text, its interval, its sorting key, and whether none is better."""

    text: str
    interval: str
    value: float | None
    best: bool


class _Summary(NamedTuple):
    """One row of the summary table."""

    soi: str
    interference: str
    separator: str
    kind: str
    mse: ScoreText
    ber: ScoreText


class Level(NamedTuple):
    """One row of a mixture type's table, formatted."""

    sinr: str
    measured_sinr: str
    mse: str
    mse_interval: str
    ber: str
    ber_interval: str
    num_mixtures: str


class _Table(NamedTuple):
    """The levels of one separator on one mixture type."""

    separator: str
    kind: str
    levels: list[Level]


class _Gallery(NamedTuple):
    """The pictures of one example, each as (data URI, description)."""

    sinr: str
    constellations: list[tuple[str, str]]
    spectrograms: list[tuple[str, str]]
    limits: tuple[str, str]


class _Section(NamedTuple):
    """Everything on one mixture type."""

    soi: str
    interference: str
    ber: Markup | None
    mse: Markup
    over_measured: MeasuredCurves | None
    tables: list[_Table]
    galleries: list[_Gallery]


def write_page(
    path: Path,
    scores: Mapping[str, Any],
    published: Mapping[tuple[str, str], Sequence[Published]],
    examples: Sequence[Example],
) -> None:
    """Writes the page of one submission, which needs no other file and no network.

    Args:
        path: HTML file, replaced as a whole or not at all.
        scores: scores.json as a dict.
        published: curves beside the measured ones, by (soi, interference).
        examples: example signals; those of a mixture type without scores are left out.
    """
    types = list(dict.fromkeys((row["soi"], row["interference"]) for row, _ in _rows(scores)))
    render(
        path,
        "report.html.j2",
        scores=scores,
        facts=_facts(scores["card"]),
        summary=[entry for mixture_type in types for entry in _summary(scores, *mixture_type)],
        sections=[_section(scores, *mixture_type, published.get(mixture_type, ()), examples) for mixture_type in types],
        dash=DASH,
    )


def render(path: Path, template: str, **context: Any) -> None:
    """Writes a page from a template of this package; everything in the context is escaped.

    Args:
        path: HTML file, replaced as a whole or not at all.
        template: file name of the template.
        context: names that the template uses.
    """
    write_text(path, page(template, **context))


def page(template: str, **context: Any) -> str:
    """Returns a page from a template of this package, as `render` writes it."""
    environment = Environment(
        loader=PackageLoader("rfsep", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**context)


def _rows(scores: Mapping[str, Any]) -> Iterator[tuple[Row, str]]:
    """Yields every row with its kind: the submission first, then baselines, then bounds."""
    for kind, key in (("submission", "results"), ("baseline", "baselines"), ("bound", "bounds")):
        for row in scores.get(key, ()):
            yield row, kind


def _rows_of(scores: Mapping[str, Any], soi: str, interference: str) -> list[tuple[Row, str]]:
    """Returns the rows of one mixture type."""
    return [(row, kind) for row, kind in _rows(scores) if (row["soi"], row["interference"]) == (soi, interference)]


def _facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the card's tiles as (label, value), with a dash for missing values."""
    minutes = card["train_minutes"]
    return [
        ("Parameters", DASH if card["parameters"] is None else f"{card['parameters']:,}"),
        ("Multiply-accumulates per sample", quantity(card["macs_per_sample"], "")),
        ("Time per mixture", quantity(card["seconds_per_mixture"], "s")),
        ("Training time", DASH if minutes is None else f"{minutes:,.1f} min"),
        ("Training compute", quantity(card["train_flops"], "FLOP")),
    ]


def _measured(value: float | None) -> str:
    """Formats a measured SINR; a dash if the interference is silent."""
    return DASH if value is None else decibels(value)


def quantity(value: float | None, unit: str) -> str:
    """Formats a value in engineering notation with an SI prefix.

    Example:
        >>> quantity(40.13e9, "FLOP"), quantity(None, "s")
        ('40.1 GFLOP', '–')
    """
    return DASH if value is None else EngFormatter(unit, places=1)(value).strip()


def _summary(scores: Mapping[str, Any], soi: str, interference: str) -> list[_Summary]:
    """Returns the rows of one mixture type in the summary table, best scores marked; bounds do not compete."""
    rows = [(row, kind) for row, kind in _rows_of(scores, soi, interference) if kind != "bound"]
    best = {
        key: min((row[key] for row, _ in rows if row[key] is not None), default=None)
        for key in ("mse_score", "ber_score")
    }
    return [
        _Summary(
            soi,
            interference,
            row["separator"],
            kind,
            _score_text(row, "mse_score", best),
            _score_text(row, "ber_score", best),
        )
        for row, kind in rows
    ]


def _score_text(row: Row, key: str, best: Mapping[str, float | None]) -> ScoreText:
    """Formats a score in dB for the summary table, with its interval if there is one."""
    value = row[key]
    if value is None:
        return ScoreText(DASH, "", None, False)
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    interval = "" if low is None or high is None else interval_of(decibels(low), decibels(high))
    return ScoreText(decibels(value), interval, value, value == best[key])


def _section(
    scores: Mapping[str, Any], soi: str, interference: str, published: Sequence[Published], examples: Sequence[Example]
) -> _Section:
    """Builds figures, tables and pictures of one mixture type."""
    rows = _rows_of(scores, soi, interference)
    submitted = {row["separator"] for row, kind in rows if kind == "submission"}
    curves = [
        {**row, "separator": f"{row['separator']} (baseline)"}
        if kind == "baseline" and row["separator"] in submitted
        else row
        for row, kind in rows
    ]

    def draw(metric: Metric) -> Markup:
        return Markup(waterfall(curves, metric, published))  # our own markup, names escaped

    return _Section(
        soi,
        interference,
        draw("ber") if has_metric(curves, "ber", published) else None,
        draw("mse_db"),
        measured_curves(curves),
        [_Table(row["separator"], kind, levels_of(row)) for row, kind in rows],
        [_gallery(example) for example in examples if (example.soi, example.interference) == (soi, interference)],
    )


def levels_of(row: Row) -> list[Level]:
    """Formats the table of one separator on one mixture type."""
    limits = error_limits(row)
    levels = []
    for i, sinr_db in enumerate(row["sinr_db"]):
        ber, ber_interval = DASH, ""
        if row["ber"] is not None:
            unseen = row["ber"][i] == 0
            ber = "< " + rate(float(limits[i])) if unseen else rate(row["ber"][i])
            ends = "" if unseen else interval_of(rate(row["ber_low"][i]), rate(row["ber_high"][i]))
            ber_interval = ends + (_by_bits(row, i) if unseen else _held_by(row, "ber", i))
        mse_interval = interval_of(decibels(row["mse_db_low"][i]), decibels(row["mse_db_high"][i]))
        mse_interval += _held_by(row, "mse", i)
        measured, mse = _measured(row["measured_sinr_db"][i]), decibels(row["mse_db"][i])
        level = decibels(sinr_db, 0 if float(sinr_db).is_integer() else 1)
        levels.append(Level(level, measured, mse, mse_interval, ber, ber_interval, f"{row['num_mixtures'][i]:,}"))
    return levels


def _by_bits(row: Row, level: int) -> str:
    """Tells the limit 3 / bits beside that of a level without errors; older rows have no other."""
    limits = row.get("ber_limit_bits")
    return "" if limits is None else f"3 / bits: {rate(limits[level])}"


def _held_by(row: Row, metric: str, level: int) -> str:
    """Tells that few mixtures hold nearly all of a level's error; older rows do not know."""
    number, share = ((row.get(f"{metric}_{key}") or {level: 0})[level] for key in ("failing", "failing_share"))
    held = f"mixtures hold{'s' if number == 1 else ''} {100 * share:.0f} % of the error"
    return f"; {number} of {row['num_mixtures'][level]:,} {held}" if number else ""


def _gallery(example: Example) -> _Gallery:
    """Draws the pictures of one example."""
    waveforms = {"mixture": example.mixture, "estimate": example.estimate, "truth": example.truth}
    limits = power_limits_db(list(waveforms.values()))
    symbols = {"mixture": example.mixture_symbols, "estimate": example.estimate_symbols}
    shown = {name: values for name, values in symbols.items() if len(values) and len(example.ideal)}
    return _Gallery(
        decibels(example.sinr_db, 0 if float(example.sinr_db).is_integer() else 1),
        [(constellation(values, example.ideal), name) for name, values in shown.items()],
        [(spectrogram(values, example.sample_rate_hz, limits), name) for name, values in waveforms.items()],
        (decibels(limits[0], 0), decibels(limits[1], 0)),
    )


def decibels(value: float, digits: int = 2) -> str:
    """Formats a level in dB with a true minus sign and without a negative zero.

    Example:
        >>> decibels(-12.345, 1), decibels(-0.001)
        ('−12.3', '0.00')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def rate(value: float) -> str:
    """Formats an error rate with two significant digits.

    Example:
        >>> rate(0.000317), rate(0.5), rate(0.0)
        ('3.2×10⁻⁴', '5.0×10⁻¹', '0')
    """
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×{power_of_ten(int(exponent))}"


def interval_of(low: str, high: str) -> str:
    """Formats both ends of an interval."""
    return f"[{low}, {high}]"
