"""From one sample rate to another, and between the samples of one: values that do not depend on how a signal is cut.

Rates in a ratio of two small numbers take a polyphase filter. Every other ratio, and any position, is read through a
windowed sinc, tabulated at 512 fractions of a sample with lines between them. soxr 1.1.0 is better and faster, but
reads a signal from its beginning only, where a capture is read from any place on. ``resample_poly`` of scipy takes
the nearest ratio of two small numbers, and drifts. Noise below .7 of half the lower rate, error over 60,000 samples and
million output samples per second on one core:

| from, to in samples/s | soxr HQ | resample_poly, factors up to 4,096 | here |
| --- | --- | --- | --- |
| 1,000,000 to 1,000,020 | -112 dB, 52 | -1.8 dB (a copy) | -92 dB, 12 |
| 30,720,000 to 25,000,001 | -116 dB, 53 | -55 dB, 11 | -92 dB, 13 |
| 25,000,000 to 30,864,195 | -114 dB, 62 | -48 dB, 17 | -92 dB, 14 |
| 25,000,000 to 1,012,300 | -97 dB, 2.6 | -52 dB, .3 | -93 dB, 1.1 |
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from rfsep.types import InputError

REACH = 20  # samples at the lower rate on each side of the conversion filter
INTERPOLATION_REACH = 24  # samples on each side of a position that `interpolated` reads
_EXACT_PPM = 1e-6  # error of a ratio of small numbers that counts as rounding: a thousandth of a sample in 1e9
_LARGEST_FACTOR = 4096  # largest up or down of the polyphase filter, whose length grows with it
_LARGEST_RATIO = 1 << 16  # largest ratio of two rates; the kernel grows with it, and nobody means more
_SIDELOBES = 8.0  # Kaiser's beta: about 80 dB
_CUTOFF = 0.88  # cut-off as a share of half the lower rate, where -80 dB is reached
_PHASES = 512  # rows of a kernel per sample of the lower rate; lines between the rows are right to -100 dB
_ROWS = 2048  # positions at a time: their windows stay in the processor's cache
_TAPS = 4096  # taps of a row that are summed at a time: the linear algebra library divides longer sums among threads
_ANCHORS = 1024  # Every so many positions are counted in whole numbers, and those between from there.
Samples = npt.NDArray[np.complex64]
Positions = npt.NDArray[np.float64]


class Conversion(NamedTuple):
    """A change of sample rate by ``up / down``.

    Attributes:
        up: factor.
        down: factor, without a common divisor.
        taps: float32 [n], low-pass filter at ``up`` times the input's rate, delayed by ``delay`` of its samples; empty
            where the factors are too large for one.
        delay: a multiple of ``down``.
        error_ppm: by which ``up / down`` lies above the ratio of the two rates; no more than rounding.
    """

    up: int
    down: int
    taps: npt.NDArray[np.float32]
    delay: int
    error_ppm: float


SAME_RATE = Conversion(1, 1, np.ones(1, np.float32), 0, 0.0)


def conversion(from_hz: float, to_hz: float) -> Conversion:
    """The conversion between two sample rates in any ratio.

    Factors up to 4,096 make a polyphase filter, flat to .75 of half the lower rate. For others `converted` reads the
    signal at positions that are counted exactly, so that nothing drifts: tones up to .75 of half the lower rate keep
    their level within .001 dB, their images lie below -94 dB, aliases of tones from half the lower rate on below -86
    dB, and noise up to .7 comes out right to -90 dB.

    Raises:
        InputError: one rate is more than 65,536 times the other.

    >>> conversion(19.2e6, 20e6)[:2], conversion(100e6 / 3, 25e6)[:2]
    ((25, 24), (3, 4))
    >>> plan = conversion(1e6, 1e6 + 1)
    >>> plan.up, plan.down, len(plan.taps)
    (1000001, 1000000, 0)
    """
    wanted = Fraction(to_hz) / Fraction(from_hz)
    if max(wanted, 1 / wanted) > _LARGEST_RATIO:
        raise InputError(
            f"no conversion from {from_hz:.12g} to {to_hz:.12g} samples/s: one is more than {_LARGEST_RATIO} times the"
            " other"
        )
    small = min(wanted, 1 / wanted).limit_denominator(_LARGEST_FACTOR)
    ratio = wanted if small == 0 else small if wanted <= 1 else 1 / small
    error_ppm = float((ratio / wanted - 1) * 1_000_000)
    if abs(error_ppm) > _EXACT_PPM or small == 0:
        return Conversion(wanted.numerator, wanted.denominator, np.zeros(0, np.float32), 0, 0.0)
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return Conversion(1, 1, np.ones(1, np.float32), 0, error_ppm)
    half = REACH * max(up, down)
    from scipy.signal import firwin  # This import takes a second.

    taps = up * firwin(2 * half + 1, 0.9 / max(up, down), window=("kaiser", _SIDELOBES))
    padding = -half % down
    delayed = np.concatenate((np.zeros(padding), taps)).astype(np.float32)
    return Conversion(up, down, delayed, half + padding, error_ppm)


def converted(piece: Samples, place: int, plan: Conversion, start: int, count: int) -> Samples:
    """Samples ``start`` to ``start + count`` at the new rate.

    Every sample is the same sum in the same order, however a signal is cut.

    Args:
        piece: complex64 [n] at the old rate, enough of it: see `needed`.
        place: of its first sample, as `needed` has it.
        plan: the conversion.
        start: first sample wanted.
        count: how many.
    """
    if plan.up == plan.down:
        return piece[start - place : start - place + count]
    if not len(plan.taps):
        whole, fractions = _positions(plan, start, count)
        return _read(piece, whole - place, fractions, _lowpass(plan))
    first = start + (plan.delay - place * plan.up) // plan.down
    return _filtered(piece, plan)[first : first + count]


def needed(plan: Conversion, start: int, count: int) -> tuple[int, int]:
    """First sample and end of what `converted` needs of the old rate."""
    if plan.up == plan.down:
        return start, start + count
    end = (start + count) * plan.down // plan.up
    if not len(plan.taps):
        reach = _lowpass(plan).rows.shape[1] // 2
        return start * plan.down // plan.up - reach, end + reach + 1
    reach = len(plan.taps) // plan.up + 1
    # The polyphase filter begins at a multiple of ``down``.
    first = (start * plan.down // plan.up - reach) // plan.down * plan.down
    return first, end + reach + 1


def _filtered(signal: Samples, plan: Conversion) -> Samples:
    """The conversion's filter over the last axis; part by part, for scipy's loop takes twice as long over both."""
    from scipy.signal import upfirdn  # This import takes a second.

    parts = [upfirdn(plan.taps, np.ascontiguousarray(part), plan.up, plan.down) for part in (signal.real, signal.imag)]
    return np.stack(parts, -1).view(np.complex64)[..., 0]


def resampled(signal: Samples, plan: Conversion) -> Samples:
    """Whole signals complex64 [..., T] at the new rate, as many samples as fit into their time."""
    if plan.up == plan.down:
        return signal
    count = signal.shape[-1] * plan.up // plan.down
    if not len(plan.taps):
        rows = [converted(row, 0, plan, 0, count) for row in signal.reshape(-1, signal.shape[-1])]
        return np.stack(rows).reshape(*signal.shape[:-1], count)
    first = plan.delay // plan.down
    return _filtered(signal, plan)[..., first : first + count]


def transient(plan: Conversion) -> int:
    """Returns how many samples at either end of `resampled` signals lack a part of the filter's input."""
    if plan.up == plan.down:
        return 0
    reach = REACH if len(plan.taps) else INTERPOLATION_REACH + 1
    return -(-reach * max(plan.up, plan.down) // plan.down)


def _positions(plan: Conversion, start: int, count: int) -> tuple[npt.NDArray[np.int64], Positions]:
    """Returns where samples ``start`` to ``start + count`` at the new rate lie at the old: whole samples and fractions.

    Every `_ANCHORS`-th position is exact, and rounding errors between them stay below 1e-12 samples however far the
    signal goes.
    """
    first = start // _ANCHORS
    anchors = [divmod(_ANCHORS * block * plan.down, plan.up) for block in range(first, (start + count) // _ANCHORS + 1)]
    step, rest = divmod(plan.down, plan.up)
    steps = np.arange(_ANCHORS)
    fractions = np.array([over / plan.up for _, over in anchors])[:, None] + steps * (rest / plan.up)  # [blocks, 1024]
    carried = np.floor(fractions)
    whole = np.array([begin for begin, _ in anchors])[:, None] + steps * step + carried.astype(np.int64)
    some = slice(start - first * _ANCHORS, start - first * _ANCHORS + count)
    return whole.ravel()[some], (fractions - carried).ravel()[some]


class _Kernel(NamedTuple):
    """A windowed sinc, sampled at P fractions of a sample.

    Attributes:
        rows: float32 [P, K], values at the K samples around a position, which lies p / P behind sample K / 2 - 1.
        slopes: float32 [P, K], by which the next row differs.
    """

    rows: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.float32]


@lru_cache(maxsize=8)
def _kernel(stretch: float, cutoff: float) -> _Kernel:
    """Returns a kernel that is ``stretch`` times as long as that of `interpolated`.

    Args:
        stretch: at least 1.
        cutoff: share of half the sample rate, over ``stretch``, at which it has half its gain.
    """
    reach, phases = math.ceil(INTERPOLATION_REACH * stretch), math.ceil(_PHASES / stretch)
    distances = np.arange(1 - reach, reach + 1) - np.arange(phases + 1)[:, None] / phases  # [P + 1, K]
    scaled = np.minimum(np.abs(distances) / (INTERPOLATION_REACH * stretch), 1)
    window = np.i0(_SIDELOBES * np.sqrt(1 - scaled**2)) * (scaled < 1) / np.i0(_SIDELOBES)
    rows = cutoff / stretch * np.sinc(cutoff / stretch * distances) * window
    return _Kernel(rows[:-1].astype(np.float32), np.diff(rows, axis=0).astype(np.float32))


def _lowpass(plan: Conversion) -> _Kernel:
    """Returns the kernel of a conversion whose factors are too large for a filter."""
    return _kernel(max(1.0, plan.down / plan.up), _CUTOFF)


def interpolated(samples: Samples, positions: Positions, place: int = 0) -> Samples:
    """Returns a signal's values between its samples, at any positions.

    A sinc in Kaiser's window over 48 samples, linear between 512 tabulated fractions. Tones up to .875 of half the
    sample rate are right to -80 dB, all that lies below .8 on average to -85 dB, and at whole positions the samples
    come back as they are. A value depends on its position and the samples around it alone, to the last bit, so a signal
    may be cut anywhere. One core reads some 10 million positions per second.

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
    return _read(samples, whole.astype(np.int64) - place, fractions, _kernel(1.0, 1.0))


def _read(samples: Samples, whole: npt.NDArray[np.int64], fractions: Positions, kernel: _Kernel) -> Samples:
    """Returns the values at ``whole + fractions``, complex64 [m]: every one is the same sum in the same order.

    Products of gathered windows take a third of the time of a sparse matrix, and half of that of a loop over taps.
    """
    phases, taps = kernel.rows.shape
    padded = np.pad(samples, taps)
    parts = [sliding_window_view(np.ascontiguousarray(part), taps) for part in (padded.real, padded.imag)]  # [n, K]
    first = np.clip(whole + (taps // 2 + 1), 0, len(samples) + taps)
    found = np.empty((len(whole), 2), np.float32)
    size = max(1, _ROWS * 2 * INTERPOLATION_REACH // taps)
    for start in range(0, len(whole), size):
        some = slice(start, start + size)
        # A fraction just below zero is rounded to 1.
        rows = np.minimum((fractions[some] * phases).astype(np.int64), phases - 1)
        between = (fractions[some] * phases - rows).astype(np.float32)
        weights = kernel.slopes[rows]  # [m, K]
        weights *= between[:, None]
        weights += kernel.rows[rows]
        for part, windows in enumerate(parts):
            found[some, part] = _products(windows[first[some]], weights)
    return found.view(np.complex64)[:, 0]


def _products(windows: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the sums over the rows of both [m, K], float32 [m].

    A row's sum depends on no other row, as einsum's does in long rows, nor on the number of threads, as a whole one's.
    """
    cuts = range(0, windows.shape[1], _TAPS)
    sums = [np.vecdot(windows[:, cut : cut + _TAPS], weights[:, cut : cut + _TAPS]) for cut in cuts]
    return np.asarray(sum(sums[1:], sums[0]), np.float32)
