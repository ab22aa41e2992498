"""The page of a separated capture: mixture, estimate, power over time, and how the SOI was followed."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from rfsep.app.captures.telling import LOCKED, lock_figure, locked_parts
from rfsep.app.captures.tracking import COLUMNS
from rfsep.pages.pictures import Complex, Floats, constellation, over_time, power_limits_db, spectrogram, spectrum
from rfsep.pages.report import decibels
from rfsep.signals.resampling import INTERPOLATION_REACH, interpolated
from rfsep.storage.atomic import write_atomically

_POINTS = 1000  # most points of a curve
_LEAST = 1e-12
_MOST_EVM = 1e3  # per cent; beyond it the EVM tells nothing
_PHASE_NOTE = "of the SOI beside its carrier, of each stretch that is locked."
_DELAY_NOTE = "of the symbols in the capture: it falls with a fast clock and rises with a slow one."
_LOCK_NOTE = "by how many standard deviations of noise symbols agree with their constellation; locked is above 3."
_EVM_NOTE = "(error vector magnitude) of the symbols behind the first, linear separator."
_RARE = 1e-9  # error rates below it say nothing more
_NO_ERROR = 1e-9  # errors below this share of a value are rounding
Raw = Callable[[int, int], Complex]  # samples of the tuned capture from a place on


class Stretch(NamedTuple):
    """Samples from the middle of a capture.

    Attributes:
        start: sample, counted from the first symbol.
        sample_rate_hz: in Hz.
        ideal: complex64 [P], the constellation.
        mixture: complex64 [T].
        estimate: complex64 [T].
        mixture_symbols: complex64 [S], matched-filter outputs of the mixture.
        estimate_symbols: complex64 [S], matched-filter outputs of the estimate.
    """

    start: int
    sample_rate_hz: float
    ideal: Complex
    mixture: Complex
    estimate: Complex
    mixture_symbols: Complex
    estimate_symbols: Complex


class Picture(NamedTuple):
    """A picture of the page.

    Attributes:
        uri: data URI.
        title: of the caption.
        alt: its content in words.
        note: rest of the caption.
    """

    uri: str
    title: str
    alt: str
    note: str


class Followed(NamedTuple):
    """How a SOI was followed, in parts of a capture.

    Attributes:
        edges_s: edges of the parts in seconds, float64 [n + 1].
        phase_deg: phase beside the carrier, float64 [n]; not a number in parts that are not locked.
        delay: of the SOI's symbols, in samples, float64 [n].
        lock: lock figure, in standard deviations of noise, float64 [n].
        evm_percent: float64 [n].
        unlocked: bool [n].
    """

    edges_s: Floats
    phase_deg: Floats
    delay: Floats
    lock: Floats
    evm_percent: Floats
    unlocked: npt.NDArray[np.bool_]


def write_separation_page(
    path: Path,
    figures: Mapping[str, Any],
    stretch: Stretch,
    powers: npt.NDArray[np.float32],
    ends_s: Floats,
    track: Floats | None = None,
) -> None:
    """Writes the page; it needs no other file and no network.

    Args:
        path: HTML file, replaced as a whole or not at all.
        figures: separate.json as a dict.
        stretch: samples to show.
        powers: powers of mixture and estimate in equal parts of each chunk, float32 [chunks, parts, 2].
        ends_s: end of each chunk in seconds, float64 [chunks].
        track: track.npy, float64 [chunks, parts, columns]; None where the SOI was not followed.
    """
    environment = Environment(
        loader=PackageLoader("rfsep", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    signals = {"before": stretch.mixture, "after": stretch.estimate}
    symbols = {"before": stretch.mixture_symbols, "after": stretch.estimate_symbols}
    limits = power_limits_db(list(signals.values()))
    html = environment.get_template("separation.html.j2").render(
        figures=figures,
        facts=[*_facts(figures), *([] if track is None else reception_facts(figures))],
        constellations=[(constellation(values, stretch.ideal), name) for name, values in symbols.items()],
        spectrograms=[(spectrogram(values, stretch.sample_rate_hz, limits), name) for name, values in signals.items()],
        limits=[decibels(limit, 0) for limit in limits],
        power=power_over_time(powers, ends_s),
        followed=None if track is None else _followed_pictures(followed(track, ends_s)),
        spectrum=None if track is None else spectrum(signals, stretch.sample_rate_hz),
        shown_s=f"{stretch.start / stretch.sample_rate_hz:.6g}",
    )

    def write(stream: BinaryIO) -> None:
        stream.write(html.encode())

    write_atomically(path, write)


def power_over_time(powers: npt.NDArray[np.float32], ends_s: Floats) -> str:
    """Draws the power of mixture and estimate in dB as a PNG data URI, averaged over chunks so that few points remain.

    Args:
        powers: float32 [chunks, parts, 2].
        ends_s: float64 [chunks], in seconds.
    """
    begins_s = np.concatenate(([0.0], ends_s[:-1]))
    if powers[..., 0].size <= _POINTS:
        edges = np.linspace(begins_s, ends_s, powers.shape[1] + 1, axis=1)[:, :-1].ravel()
        means = powers.reshape(-1, 2)
    else:
        groups = np.linspace(0, len(powers), min(len(powers), _POINTS) + 1).astype(np.int64)
        edges = begins_s[groups[:-1]]
        means = np.stack([powers[low:high].mean((0, 1)) for low, high in pairwise(groups)])
    levels = 10 * np.log10(np.maximum(means, _LEAST))
    curves = {"mixture": levels[:, 0], "estimate": levels[:, 1]}
    return over_time(np.append(edges, ends_s[-1]), curves, "power (dB)")


def followed(track: Floats, ends_s: Floats) -> Followed:
    """Returns how a SOI was followed, in at most 1,000 parts; parts that are joined show the worst lock among them.

    Args:
        track: track.npy, float64 [chunks, parts, columns].
        ends_s: end of each chunk in seconds, float64 [chunks].
    """
    rows = track.reshape(-1, track.shape[2])
    column = {name: rows[:, place] for place, name in enumerate(COLUMNS)}
    begins_s = np.concatenate(([0.0], ends_s[:-1]))
    edges = np.append(np.linspace(begins_s, ends_s, track.shape[1] + 1, axis=1)[:, :-1].ravel(), ends_s[-1])
    locked = locked_parts(column["lock"])
    groups = np.linspace(0, len(rows), min(len(rows), _POINTS) + 1).astype(np.int64)
    begins, sizes = groups[:-1], np.diff(groups)
    held = np.add.reduceat(locked.astype(np.float64), begins)
    phase = np.degrees(np.where(locked, _unwrapped(column["phase_rad"], column["carrier"], locked), 0.0))
    return Followed(
        edges_s=edges[groups],
        phase_deg=np.where(held > 0, np.add.reduceat(phase, begins) / np.maximum(held, 1), np.nan),
        delay=np.add.reduceat(column["delay_samples"], begins) / sizes,
        lock=np.minimum.reduceat(lock_figure(column["lock"]), begins),
        evm_percent=np.minimum(100 * np.add.reduceat(column["evm"], begins) / sizes, _MOST_EVM),
        unlocked=np.logical_or.reduceat(~locked, begins),
    )


def _unwrapped(phase: Floats, carrier: Floats, locked: npt.NDArray[np.bool_]) -> Floats:
    """Returns phases float64 [n] of locked parts without jumps by whole turns, wherever the carrier stays the same."""
    found = phase.copy()
    for one in np.unique(carrier[locked]):
        places = np.flatnonzero(locked & (carrier == one))
        found[places] = np.unwrap(phase[places])
    return found


def mixture_along(
    read: Raw, track: Floats, spans: npt.NDArray[np.int64], origin: int, start: int, count: int
) -> Complex:
    """Returns a stretch of a capture as the SOI's own time has it, without the SOI's carrier and phase.

    Args:
        read: reads the tuned capture.
        track: track.npy, float64 [chunks, parts, columns].
        spans: first and end of the kept part of each chunk in samples, int64 [chunks, 2].
        origin: sample of the capture at which the first symbol begins, from which its carrier does not count.
        start: first sample, counted from the first symbol.
        count: samples.

    Returns:
        complex64 [count].
    """
    pieces = []
    for (first, end), rows in zip(spans, track, strict=True):
        low, high = max(int(first), start), min(int(end), start + count)
        if low >= high:
            continue
        edges = np.linspace(first, end, len(rows) + 1)
        middles, own = (edges[:-1] + edges[1:]) / 2, np.arange(low, high)
        column = {name: rows[:, place] for place, name in enumerate(COLUMNS)}
        drift, delay = np.polyfit(middles - first, column["delay_samples"], 1)
        places = own + delay + drift * (own - first)
        begin = math.floor(places[0]) - INTERPOLATION_REACH
        held = read(begin, math.ceil(places[-1]) + INTERPOLATION_REACH + 1 - begin)
        phase = np.interp(own, middles, np.unwrap(column["phase_rad"])) / (2 * math.pi)
        turn = column["carrier"][0] * (places + origin) + phase
        pieces.append(interpolated(held, places, begin) * np.exp(-2j * np.pi * (turn % 1.0)).astype(np.complex64))
    return np.concatenate(pieces)


def _followed_pictures(found: Followed) -> list[Picture]:
    """Returns pictures of how a SOI was followed."""

    def picture(title: str, values: Floats, label: str, note: str, threshold: float | None = None) -> Picture:
        uri = over_time(found.edges_s, {title: values}, label, shaded=found.unlocked, threshold=threshold, small=True)
        known = values[np.isfinite(values)]
        told = f"from {known.min():.4g} to {known.max():.4g}" if len(known) else "unknown, for no part is locked"
        return Picture(uri, title, f"{title} over time: {told}, {label}", note)

    return [
        picture("Phase", found.phase_deg, "phase (degrees)", _PHASE_NOTE),
        picture("Delay", found.delay, "delay (samples)", _DELAY_NOTE),
        picture("Lock figure", found.lock, "lock figure", _LOCK_NOTE, LOCKED),
        picture("EVM", found.evm_percent, "EVM (%)", _EVM_NOTE),
    ]


def _facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the tiles as pairs of a name and a value."""
    tuning = figures["identity"]["tuning"]
    return [
        ("Signal", f"{figures['signal_seconds']:.4g} s at {figures['sample_rate_hz'] / 1e6:.6g} Msamples/s"),
        ("Real-time factor", f"{figures['real_time_factor']:.3g}"),
        ("Bits", f"{figures['num_bits']:,}"),
        ("SOI in the capture", f"{decibels(10 * np.log10(tuning['soi_power']))} dB"),
        ("First symbol at sample", f"{tuning['start']:,}"),
        ("Carrier offset", f"{tuning['offset_hz']:,.6g} Hz"),
    ]


def reception_facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the tiles that tell how the SOI was received, as pairs of a name and a value."""
    told, mode = figures["receiver"], figures["identity"]["track"]["mode"]
    found = told["locked_share"] > 0
    carrier = _with_error(told["carrier_hz"], told["carrier_error_hz"], "Hz") if found else "not found"
    clock = _with_error(told["clock_ppm"], told["clock_error_ppm"], "ppm") if found else "not found"
    echoes = [one for one in told["echoes"] if one["power_db"] < 0]
    tiles = [
        ("Carrier beside the offset", carrier),
        ("Clock", clock if mode == "full" else "not followed"),
        ("Es/N0", f"{decibels(told['esn0_db'])} dB"),
        ("EVM", f"{100 * told['evm']:.3g} %"),
        ("Share that is locked", f"{100 * told['locked_share']:.0f} %"),
        ("Echoes", "; ".join(_echo(one) for one in echoes) or "none" if mode == "full" else "not followed"),
    ]
    if "predicted_ber" in told:
        rate = told["predicted_ber"]
        tiles.append(("Predicted BER", f"{rate:.2g}" if rate > _RARE else f"below {_RARE:.0e}"))
    if "preambles" in told:
        bits = told["preambles"] * told["preamble_bits"]
        tiles.append(("Preambles found", f"{told['preambles']:,}; {told['preamble_errors']:,} of {bits:,} bits wrong"))
    return tiles


def _with_error(value: float, error: float | None, unit: str) -> str:
    """Returns a value with its standard error, to two digits of that error.

    >>> _with_error(2404.544583, 0.5747, "Hz"), _with_error(-0.0, None, "ppm"), _with_error(-1e-7, 0.02, "ppm")
    ('+2,404.54\\xa0Hz ±\\xa00.57', '+0\\xa0ppm', '+0.000\\xa0ppm ±\\xa00.020')
    """
    if error is not None and error < _NO_ERROR * abs(value):
        error = None
    digits = 0 if not error else max(0, 1 - math.floor(math.log10(error)))
    shown = f"{round(value, digits) + 0.0:+,.{digits}f}" if error else f"{value + 0.0:+,.6g}"
    return f"{shown}\N{NO-BREAK SPACE}{unit}" + (f" ±\N{NO-BREAK SPACE}{error:.{digits}f}" if error else "")


def _echo(one: Mapping[str, float]) -> str:
    return f"{decibels(one['power_db'])} dB at {one['delay_samples']:+g} samples"
