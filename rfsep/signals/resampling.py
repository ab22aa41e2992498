"""From one sample rate to another: a polyphase filter whose samples do not depend on how a signal is cut."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, upfirdn

from rfsep.types import InputError

REACH = 20  # samples at the lower rate on each side of the conversion filter
PARTS_PER_MILLION = 0.1  # largest error of the ratio up / down that stands for two sample rates
_LARGEST_FACTOR = 4096  # largest up or down; the filter has 40 taps per phase, so its length grows with it
_SIDELOBES = 8.0  # Kaiser's beta: about 80 dB
Samples = npt.NDArray[np.complex64]


class Conversion(NamedTuple):
    """A change of sample rate by ``up / down``.

    Attributes:
        up: factor.
        down: factor, without a common divisor.
        taps: float32 [n], low-pass filter at ``up`` times the input's rate, delayed by ``delay`` of its samples.
        delay: a multiple of ``down``.
        error_ppm: by which ``up / down`` lies above the ratio of the two rates.
    """

    up: int
    down: int
    taps: npt.NDArray[np.float32]
    delay: int
    error_ppm: float


def conversion(from_hz: float, to_hz: float) -> Conversion:
    """The polyphase conversion between two sample rates, by the nearest ratio of two numbers up to 4,096.

    Raises:
        InputError: that ratio is off by more than ``PARTS_PER_MILLION``.

    >>> conversion(19.2e6, 20e6)[:2], conversion(100e6 / 3, 25e6)[:2]
    ((25, 24), (3, 4))
    >>> round(conversion(2000000.052982, 2e6).error_ppm, 6)
    0.026491
    """
    wanted = Fraction(to_hz) / Fraction(from_hz)
    small = min(wanted, 1 / wanted).limit_denominator(_LARGEST_FACTOR)
    ratio = wanted if small == 0 else small if wanted <= 1 else 1 / small
    error_ppm = float((ratio / wanted - 1) * 1_000_000)
    if abs(error_ppm) > PARTS_PER_MILLION or small == 0:
        raise InputError(
            f"no conversion from {from_hz:.12g} to {to_hz:.12g} samples/s: no ratio of two numbers up to"
            f" {_LARGEST_FACTOR} is within {PARTS_PER_MILLION:g} ppm of it"
        )
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return Conversion(1, 1, np.ones(1, np.float32), 0, error_ppm)
    half = REACH * max(up, down)
    taps = up * firwin(2 * half + 1, 0.9 / max(up, down), window=("kaiser", _SIDELOBES))
    padding = -half % down
    delayed = np.concatenate((np.zeros(padding), taps)).astype(np.float32)
    return Conversion(up, down, delayed, half + padding, error_ppm)


def converted(piece: Samples, place: int, plan: Conversion, start: int, count: int) -> Samples:
    """Samples ``start`` to ``start + count`` at the new rate.

    Every sample is the same sum in the same order, however a signal is cut.

    Args:
        piece: complex64 [n] at the old rate, enough of it: see `needed`.
        place: of its first sample, a multiple of ``plan.down``.
        plan: the conversion.
        start: first sample wanted.
        count: how many.
    """
    if plan.up == plan.down:
        return piece[start - place : start - place + count]
    first = start + (plan.delay - place * plan.up) // plan.down
    return filtered(piece, plan)[first : first + count]


def needed(plan: Conversion, start: int, count: int) -> tuple[int, int]:
    """First sample, a multiple of ``plan.down``, and end of what `converted` needs of the old rate."""
    if plan.up == plan.down:
        return start, start + count
    reach = len(plan.taps) // plan.up + 1
    first = (start * plan.down // plan.up - reach) // plan.down * plan.down
    return first, (start + count) * plan.down // plan.up + reach + 1


def filtered(signal: Samples, plan: Conversion) -> Samples:
    """The conversion's filter over the last axis; part by part, for scipy's loop takes twice as long over both."""
    parts = [upfirdn(plan.taps, np.ascontiguousarray(part), plan.up, plan.down) for part in (signal.real, signal.imag)]
    return np.stack(parts, -1).view(np.complex64)[..., 0]


def resampled(signal: Samples, plan: Conversion) -> Samples:
    """A whole signal complex64 [T] at the new rate, as many samples as fit into its time."""
    if plan.up == plan.down:
        return signal
    first = plan.delay // plan.down
    return filtered(signal, plan)[first : first + len(signal) * plan.up // plan.down]
