"""The SOI in a capture: its modem as described, and the rate at which the modem has its samples per symbol."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.app.config import build_modem, console, errors
from rfsep.app.settings import SoiOption
from rfsep.app.soi import described_soi, samples_per_symbol, takes
from rfsep.receiver.symbol_rate import LOOKED_AT, SymbolRate, find_roll_off, find_symbol_rate
from rfsep.signals.resampling import Conversion, conversion
from rfsep.storage.captures.facts import Capture
from rfsep.types import InputError, Modem

AUTO = "auto"
_ROLL_OFF = "roll_off"
_AGREEING = 1e-9  # relative difference of two rates that are the same


class Wanted(NamedTuple):
    """What a command line says about the SOI; see the options of ``rfsep separate``."""

    soi: str
    settings: Sequence[str] = ()
    symbol_rate: str | None = None
    resample: float | None = None
    offset_hz: float = 0.0
    sample_rate: float | None = None


class Heard(NamedTuple):
    """A SOI in a capture.

    Attributes:
        soi: its settings.
        modem: its modem.
        rate_hz: sample rate of the capture.
        soi_rate_hz: sample rate of the modem.
        plan: conversion from one to the other.
    """

    soi: SoiOption
    modem: Modem
    rate_hz: float
    soi_rate_hz: float
    plan: Conversion


def heard_soi(wanted: Wanted, capture: Capture) -> Heard:
    """Returns the SOI of a capture, its symbol rate and roll-off estimated where they are ``auto``, and prints those.

    Raises:
        InputError: the SOI, a rate or a carrier cannot be meant, two of them contradict each other, or an estimate
            cannot be made.
    """
    known = [setting for setting in wanted.settings if setting.replace(" ", "") != f"{_ROLL_OFF}={AUTO}"]
    soi, blind = described_soi(wanted.soi, known), len(known) < len(wanted.settings)
    linear = takes(soi, _ROLL_OFF) and takes(soi, "samples_per_symbol")
    if blind and not linear:
        raise InputError(f"--soi-set {_ROLL_OFF}={AUTO}: soi {wanted.soi} has no {_ROLL_OFF} that can be found")
    rate, period = _capture_rate(wanted, capture), samples_per_symbol(soi)
    told = _told_rate(wanted, rate, period)
    if told is None:
        if not linear:
            raise InputError(f"--symbol-rate {AUTO}: soi {wanted.soi} is not linearly modulated on one carrier")
        found = _found_rate(wanted, capture, rate)
        # Twelve digits are the same on every machine.
        told = float(f"{found.rate * rate * period:.12g}")
        if blind:
            soi = described_soi(wanted.soi, [*known, _estimate(found.shape.roll_off, found.shape.error)])
    elif blind:
        shape = find_roll_off(_reader(wanted, capture, rate), capture.facts.num_samples, told / period / rate)
        soi = described_soi(wanted.soi, [*known, _estimate(shape.roll_off, shape.error)])
    return Heard(soi, build_modem(soi), rate, told, conversion(rate, told))


def _capture_rate(wanted: Wanted, capture: Capture) -> float:
    """Returns the capture's sample rate in Hz."""
    told, facts = wanted.sample_rate, capture.facts
    rate = told or facts.sample_rate_hz
    if rate is None:
        raise InputError(f"{facts.source}: does not say its sample rate; give --sample-rate")
    if told is not None and facts.sample_rate_hz is not None and told != facts.sample_rate_hz:
        errors.print(f"warning: {facts.source}: says {facts.sample_rate_hz:.12g} samples/s; {told:.12g} is believed")
    if abs(wanted.offset_hz) > rate / 2:
        raise InputError(f"--offset-hz {wanted.offset_hz:g} lies outside a capture of {rate:g} samples/s")
    return rate


def _told_rate(wanted: Wanted, rate_hz: float, period: int) -> float | None:
    """Returns the modem's sample rate as the command line tells it; None where it has to be found."""
    resample = wanted.resample
    if wanted.symbol_rate is None:
        return resample or rate_hz
    if wanted.symbol_rate == AUTO:
        if resample is not None:
            raise InputError(f"--symbol-rate {AUTO} and --resample {resample:.12g}: give one of them")
        return None
    symbol_rate = symbol_rate_number(wanted.symbol_rate)
    if symbol_rate > rate_hz:
        raise InputError(f"--symbol-rate {symbol_rate:.12g} is more than the capture's {rate_hz:.12g} samples/s")
    told = symbol_rate * period
    if resample is not None and abs(resample / told - 1) > _AGREEING:
        raise InputError(
            f"--symbol-rate {symbol_rate:.12g} with {period} samples per symbol is {told:.12g} samples/s, and"
            f" --resample says {resample:.12g}: give one of them"
        )
    return told


def soi_plan(soi: SoiOption, symbol_rate: str | None, rate_hz: float) -> Conversion:
    """Returns the conversion of a SOI that is sent at a symbol rate to a recording's sample rate.

    Args:
        soi: its settings.
        symbol_rate: in baud; None for the modem's samples per symbol at the recording's rate.
        rate_hz: sample rate of the recording.

    Raises:
        InputError: no such symbol rate, or one that has no place in the recording's band.
    """
    if symbol_rate == AUTO:
        raise InputError(f"--symbol-rate is {AUTO}: that of an embedded signal has to be told in baud")
    told = _told_rate(Wanted(soi.name, symbol_rate=symbol_rate), rate_hz, samples_per_symbol(soi))
    return conversion(told or rate_hz, rate_hz)


def symbol_rate_number(text: str) -> float:
    """Returns a symbol rate in baud, or a quotient of two numbers.

    >>> symbol_rate_number("1e6"), symbol_rate_number("270833.25"), symbol_rate_number("13e6/48")
    (1000000.0, 270833.25, 270833.3333333333)

    Raises:
        InputError: it is neither, or not positive.
    """
    try:
        above, _, below = text.partition("/")
        value = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"--symbol-rate is {text}, expected a positive number of baud such as 1e6, or {AUTO}")
    return value


def _found_rate(wanted: Wanted, capture: Capture, rate_hz: float) -> SymbolRate:
    """Returns the symbol rate of the SOI at its carrier, and prints it."""
    found = find_symbol_rate(_reader(wanted, capture, rate_hz), capture.facts.num_samples)
    slip = found.error * capture.facts.num_samples
    console.print(
        f"symbol rate: {found.rate * rate_hz:.10g} baud (estimated, standard error {found.error * rate_hz:.2g}:"
        f" {slip:.2g} symbols over the capture), {1 / found.rate:.6g} samples of the capture per symbol",
        markup=False,
    )
    return found


def _estimate(roll_off: float, error: float) -> str:
    """Prints an estimated roll-off, and returns it as a setting."""
    console.print(f"roll-off: {roll_off:.3f} (estimated, standard error {error:.2g})", markup=False)
    return f"{_ROLL_OFF}={roll_off:.3f}"


class _Tuned:
    """Reads a capture with the SOI's carrier at zero frequency and without its DC offset."""

    def __init__(self, capture: Capture, turn: float) -> None:
        self._capture = capture
        self._turn = turn
        head = capture.read(0, min(capture.facts.num_samples, LOOKED_AT))
        self._dc = np.complex64(np.nan_to_num(head).mean(dtype=np.complex128))

    def __call__(self, start: int, count: int) -> npt.NDArray[np.complex64]:
        """Returns samples complex64 [count] from sample ``start`` on."""
        samples = self._capture.read(start, count) - self._dc
        if not self._turn:
            return samples
        cycles = np.arange(start, start + count, dtype=np.float64) * self._turn
        tuned: npt.NDArray[np.complex64] = samples * np.exp(-2j * np.pi * (cycles % 1.0)).astype(np.complex64)
        return tuned


def _reader(wanted: Wanted, capture: Capture, rate_hz: float) -> _Tuned:
    return _Tuned(capture, wanted.offset_hz / rate_hz)
