"""From one sample rate to another: a polyphase filter whose samples do not depend on how a signal is cut."""

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import firwin, upfirdn

from rfsep.types import InputError

REACH = 20  # samples at the lower rate on each side of the conversion filter
PARTS_PER_MILLION = 0.1  # largest error of the ratio up / down that stands for two sample rates
_LARGEST_FACTOR = 4096  # largest up or down; the filter has 40 taps per phase, so its length grows with it
_SIDELOBES = 8.0  # Kaiser's beta: about 80 dB
INTERPOLATION_REACH = 24  # samples on each side of a position that `interpolated` reads
_PHASES = 512  # rows of a kernel per sample; lines between the rows are right to -100 dB
_ROWS = 2048  # positions at a time: their windows stay in the processor's cache
Samples = npt.NDArray[np.complex64]
Positions = npt.NDArray[np.float64]


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


class _Kernel(NamedTuple):
    """A windowed sinc, sampled at ``_PHASES`` fractions of a sample.

    Attributes:
        rows: float32 [P, K], values at the K samples around a position, which lies p / P behind sample K / 2 - 1.
        slopes: float32 [P, K], by which the next row differs.
    """

    rows: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.float32]


@lru_cache(maxsize=8)
def _kernel(reach: int, cutoff: float) -> _Kernel:
    """Returns the kernel of ``2 * reach`` samples that cuts off at ``cutoff`` of half the sample rate."""
    distances = np.arange(1 - reach, reach + 1) - np.arange(_PHASES + 1)[:, None] / _PHASES  # [P + 1, K]
    window = np.i0(_SIDELOBES * np.sqrt(np.maximum(0.0, 1 - (distances / reach) ** 2))) / np.i0(_SIDELOBES)
    rows = cutoff * np.sinc(cutoff * distances) * window
    return _Kernel(rows[:-1].astype(np.float32), np.diff(rows, axis=0).astype(np.float32))


def interpolated(samples: Samples, positions: Positions, place: int = 0) -> Samples:
    """Returns a signal's values between its samples, at any positions.

    A sinc in Kaiser's window over 48 samples, linear between 512 tabulated fractions. Tones up to .875 of half the
    sample rate are right to -80 dB, all that lies below .8 on average to -85 dB, and at whole positions the samples
    come back as they are. A value depends on its position and the samples around it alone, to the last bit, so a signal
    may be cut anywhere. Read 10 to 14 million positions per second on one core.

    Args:
        samples: complex64 [n]; zero outside. `INTERPOLATION_REACH` samples on each side of a position matter.
        positions: float64 [m] in samples, from wherever ``place`` counts. They may drift, stand still or run backwards.
        place: position of ``samples[0]``. Who cuts a signal passes it instead of subtracting it from ``positions``,
            whose fractions would be rounded differently.

    Returns:
        complex64 [m].

    >>> interpolated(np.ones(100, np.complex64), np.array([50.0, 50.25])).round(3)
    array([1.+0.j, 1.+0.j], dtype=complex64)
    """
    whole = np.floor(positions)
    fractions = positions - whole
    return _read(samples, whole.astype(np.int64) - place, fractions, _kernel(INTERPOLATION_REACH, 1.0))


def _read(samples: Samples, whole: npt.NDArray[np.int64], fractions: Positions, kernel: _Kernel) -> Samples:
    """Returns the values at ``whole + fractions``, complex64 [m]: every one is the same sum in the same order.

    Numpy's einsum over gathered windows takes a quarter of the time of a sparse matrix, and half of a loop over taps.
    """
    phases, taps = kernel.rows.shape
    padded = np.pad(samples, taps)
    parts = [sliding_window_view(np.ascontiguousarray(part), taps) for part in (padded.real, padded.imag)]  # [n, K]
    first = np.clip(whole + (taps // 2 + 1), 0, len(samples) + taps)
    found = np.empty((len(whole), 2), np.float32)
    size = max(1, _ROWS * 2 * INTERPOLATION_REACH // taps)
    for start in range(0, len(whole), size):
        some = slice(start, start + size)
        rows = (fractions[some] * phases).astype(np.int64)
        between = (fractions[some] * phases - rows).astype(np.float32)
        weights = kernel.slopes[rows]  # [m, K]
        weights *= between[:, None]
        weights += kernel.rows[rows]
        for part, windows in enumerate(parts):
            found[some, part] = np.einsum("mk,mk->m", windows[first[some]], weights)
    return found.view(np.complex64)[:, 0]
