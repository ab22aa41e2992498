"""Sums up how a SOI was received, and tells it: carrier, clock, level, echoes, lock, and what is in doubt."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.app.captures.reception import PARTS
from rfsep.app.captures.tracking import COLUMNS
from rfsep.app.config import console, errors
from rfsep.receiver.channel import REACH
from rfsep.receiver.phase import powers, symmetry_of
from rfsep.types import InputError

Floats = npt.NDArray[np.float64]
LOCKED = 3.0  # standard deviations of noise above which a part of a chunk and its neighbours count as locked
_FEW = 0.9  # share of locked parts below which a warning is due
_BAD = 0.3  # predicted bit error rate from which a warning is due
_FAINT_DB = -20.0  # echoes below the strongest path by more are not told


_UNKNOWN_PPM = 1e5  # error of a clock that was not followed


class Line(NamedTuple):
    """A value that changes evenly: its slope and that slope's standard error."""

    slope: float
    error: float


def fitted_line(times: Floats, values: Floats) -> Line:
    """Returns the line through values float64 [n] at times float64 [n]; of two values or fewer the error is unknown.

    >>> fitted_line(np.arange(4.0), 2 * np.arange(4.0) + 1)
    Line(slope=2.0, error=0.0)
    """
    centred = times - times.mean()
    spread = float(centred @ centred)
    if spread == 0:
        return Line(0.0, math.nan)
    slope = float(centred @ values) / spread
    rest = values - values.mean() - slope * centred
    error = math.sqrt(float(rest @ rest) / (len(times) - 2) / spread) if len(times) > 2 else math.nan
    return Line(round(slope, 15), round(error, 15))


def lock_figure(lock: Floats) -> Floats:
    """Returns the lock figure of each part with its neighbours, in standard deviations of noise, float64 [n].

    Args:
        lock: that of each part alone, float64 [n].
    """
    three = np.ones(min(3, len(lock)))
    around: Floats = np.convolve(lock, three, "same") / np.sqrt(np.convolve(np.ones(len(lock)), three, "same"))
    return around


def locked_parts(lock: Floats) -> npt.NDArray[np.bool_]:
    """Returns which parts are locked, bool [n], from their scores in standard deviations of noise, float64 [n]."""
    found: npt.NDArray[np.bool_] = lock_figure(lock) > LOCKED
    return found


def receiver_summary(
    track: Floats, times_s: Floats, rate_hz: float, spacing: int, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what separate.json tells of the reception.

    Args:
        track: rows of track.npy, float64 [n, columns].
        times_s: middle of each row in seconds.
        rate_hz: sample rate of the SOI's modem.
        spacing: samples between the taps of the channel.
        found: what the end of the run told, see `rfsep.app.captures.work.finished`.
    """
    column = {name: track[:, place] for place, name in enumerate(COLUMNS)}
    locked = locked_parts(column["lock"])
    share = float(locked.mean())
    held = locked if locked.any() else np.ones_like(locked)
    turn = column["phase_rad"] / (2 * math.pi)
    carrier, delay = fitted_line(times_s[held], turn[held]), fitted_line(times_s[held], column["delay_samples"][held])
    # The chunks' own errors shrink as those of a line through as many delays do.
    clock_error = float(np.median(column["pace_error"])) / max(1.0, len(track) / PARTS) ** 1.5
    taps = track[-1, len(COLUMNS) :].view(np.complex128)
    plain = {
        "locked_share": share,
        "carrier_hz": float(np.median(column["carrier"][held])) * rate_hz + carrier.slope,
        "carrier_error_hz": carrier.error,
        "clock_ppm": -delay.slope / rate_hz * 1e6,
        "clock_error_ppm": 1e6 * clock_error,
        "first_symbol": float(column["delay_samples"][0]),
        "esn0_db": float(np.median(column["esn0_db"][held])),
        "evm": float(np.median(column["evm"][held])),
        "echoes": _echoes(taps, spacing),
    }
    numbers = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in plain.items()
    }
    return dict(found) | numbers


def _echoes(taps: npt.NDArray[np.complex128], spacing: int) -> list[dict[str, float]]:
    """Returns the taps that stand out: delay in samples, power in dB relative to the strongest."""
    power = np.square(np.abs(taps))
    levels = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-30), 1e-12))
    return [
        {"delay_samples": float((place - REACH) * spacing), "power_db": round(float(level), 2)}
        for place, level in enumerate(levels)
        if level > _FAINT_DB
    ]


def doubts(summary: Mapping[str, Any], preamble: bool) -> list[str]:
    """Returns what a user has to know about a reception, a line each.

    Args:
        summary: see `receiver_summary`; of an untracked run what its end told.
        preamble: a preamble was given.
    """
    found, share, ber = list[str](), summary.get("locked_share", 1.0), summary.get("predicted_ber")
    if share == 0:
        found.append("the SOI was not found in this capture: its bits are guesses")
    elif share < _FEW:
        found.append(f"the SOI is locked in {100 * share:.0f} % of the capture: bits elsewhere are guesses")
    if ber is not None and ber > _BAD and share > 0:
        found.append(f"about {100 * ber:.0f} % of the bits are wrong, by what the symbols tell")
    if preamble and summary.get("preambles", 0) == 0:
        found.append("the preamble was not found: the turn of the constellation is not known")
    if (slips := summary.get("cycle_slips", 0)) > 0:
        found.append(f"the phase slipped {slips} times; bits between two preambles of different turns are in doubt")
    if summary.get("standing") is False:
        found.append("the symbols do not stand where the constellation is: carrier or phase are not as told")
    return found


def standing(symbols: npt.NDArray[np.complex64], points: npt.NDArray[np.complex64]) -> bool | None:
    """Tells whether symbols complex64 [S] stand at a constellation's own phase; None where no phase can be told."""
    try:
        symmetry = symmetry_of(points)
    except InputError:
        return None
    turned = powers(symbols.astype(np.complex128), symmetry)
    score = math.sqrt(2) * float(turned.real.sum()) / max(float(np.sqrt(np.square(np.abs(turned)).sum())), 1e-30)
    return score > LOCKED


def tell(summary: Mapping[str, Any], found: list[str]) -> None:
    """Prints a reception, and its doubts as warnings."""
    if "locked_share" in summary:
        carrier, clock = summary["carrier_error_hz"], summary["clock_error_ppm"]
        followed = clock is not None and clock < _UNKNOWN_PPM
        console.print(
            f"SOI: carrier {summary['carrier_hz']:+.6g} Hz" + (f" (± {carrier:.2g})" if carrier is not None else "")
            + (f", clock {summary['clock_ppm']:+.3g} ppm (± {clock:.2g})" if followed else "")
            + f", Es/N0 {summary['esn0_db']:.1f} dB, EVM {100 * summary['evm']:.1f} %,"
            f" locked in {100 * summary['locked_share']:.0f} % of the capture",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        if len(summary["echoes"]) > 1:
            told = ", ".join(f"{one['power_db']:.1f} dB at {one['delay_samples']:+g}" for one in summary["echoes"])
            console.print(f"channel, as taps half a symbol apart: {told} samples", markup=False, soft_wrap=True)
    if "preambles" in summary:
        console.print(
            f"preamble: found {summary['preambles']} times, {summary['preamble_errors']} bit errors in"
            f" {summary['preambles'] * summary['preamble_bits']}; {summary['frames']} frames of"
            f" {summary['frame_bits']} bits",
            markup=False,
        )
    for doubt in found:
        errors.print(f"warning: {doubt}", markup=False)
