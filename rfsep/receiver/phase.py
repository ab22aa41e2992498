"""Finds and follows the carrier of a SOI from its symbols, whatever they carry.

The M-th power of an M-fold symmetric constellation has a mean, which turns with M times the carrier (Viterbi and
Viterbi, IEEE Trans. Inf. Theory 29, 1983). The carrier is the line in its spectrum; the phase is the angle of the
power's local mean. How local is not set by hand: of several lengths the one whose mean, without the symbol itself,
predicts the symbols' powers best is taken. The same prediction is the lock figure, since nothing predicts the phases
of powers of noise.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from rfsep.types import InputError

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]
_ORDERS = (2, 4, 8)
_LEAST_MEAN = 0.05  # least mean of the M-th power of a constellation of unit power
_LENGTHS = tuple(2**power for power in range(3, 21))  # symbols over which the phase may be averaged, each way
_NEAR = 17  # symbols over which a local power is taken
_MOST = 2.0  # largest weight of a symbol, over the median
_SEGMENT = 1024  # symbols per transform: phase noise leaves them coherent
_BLOCKS = 8  # Lengths are compared by sums over an eighth of each.
_PADDING = 8  # cells of the transform per resolvable carrier
_AS_WELL = 2.0  # standard deviations of noise by which a longer mean may predict worse
LOCKED = 6.0  # standard deviations of noise from which symbols count as locked


class Line(NamedTuple):
    """A carrier.

    Attributes:
        carrier: cycles per symbol.
        error: its standard error.
        score: power of its line in standard deviations above that of noise.
    """

    carrier: float
    error: float
    score: float


class Followed(NamedTuple):
    """The phase of symbols.

    Attributes:
        phase: rad, continuous, float64 [S].
        agreement: each symbol's own power against its prediction by the others, in units whose mean is 0 and whose
            variance is 1 where nothing is received: float64 [S].
        score: of all symbols together, in standard deviations.
        length: symbols over which the phase was averaged, each way.
    """

    phase: Floats
    agreement: Floats
    score: float
    length: int


class Symmetry(NamedTuple):
    """The M-th power of a constellation: its order, and the angle of its mean in rad."""

    order: int
    angle: float


def symmetry_of(points: npt.NDArray[np.complexfloating]) -> Symmetry:
    """Returns the lowest power of a constellation complex [P] that has a mean.

    Raises:
        InputError: none up to the eighth has one.

    >>> symmetry_of(np.array([1, 1j, -1, -1j]))
    Symmetry(order=4, angle=0.0)
    """
    unit = points / math.sqrt(np.mean(np.abs(points) ** 2))
    for order in _ORDERS:
        mean = complex(np.mean(unit**order))
        if abs(mean) > _LEAST_MEAN:
            return Symmetry(order, float(np.angle(mean)))
    raise InputError(f"a constellation of {len(points)} points has no power with a mean to follow the carrier by")


def powers(symbols: Complexes, symmetry: Symmetry) -> Complexes:
    """Returns M-th powers complex128 [S], weighted by squared magnitudes over the local power.

    Beyond twice the median magnitudes count no more: a stronger symbol is likely to be interference, and so are its
    neighbours where their power is high.
    """
    magnitude = np.abs(symbols)
    power = np.square(magnitude)
    median = max(float(np.median(power)), 1e-30)
    near = min(_NEAR, len(power))
    around = np.convolve(power, np.ones(near), "same") / np.convolve(np.ones(len(power)), np.ones(near), "same")
    calm = max(float(np.median(around)), 1e-30)
    weight = np.minimum(power, _MOST * median) / np.maximum(around / calm, 0.5)
    unit = symbols / np.maximum(magnitude, 1e-30)
    for _ in range(symmetry.order.bit_length() - 1):  # Orders are powers of two.
        unit = unit * unit
    turned: Complexes = weight * np.complex128(np.exp(-1j * symmetry.angle)) * unit
    return turned


def find_carrier(symbols: Complexes, symmetry: Symmetry, widest: float, groups: int = 1) -> Line:
    """Returns the carrier of symbols, in cycles per symbol period.

    Args:
        symbols: complex128 [S].
        symmetry: of their constellation.
        widest: largest carrier searched for, at most 1 / (2 M).
        groups: symbols that share a period, as the carriers of OFDM do.
    """
    values = powers(symbols, symmetry)
    values = values[: len(values) // groups * groups].reshape(-1, groups).sum(1)
    length = min(_SEGMENT, len(values))
    count = len(values) // length
    size = _PADDING << (length - 1).bit_length()
    spectra = np.fft.fft(values[: count * length].reshape(count, length), size)
    density = np.square(np.abs(spectra)).sum(0)
    cells = np.fft.fftfreq(size) / symmetry.order
    inside = np.abs(cells) <= widest + 1e-12
    best = int(np.where(inside, density, -1).argmax())
    carrier = float(cells[best])
    ratio = float(density[best]) / max(float(np.square(np.abs(values[: count * length])).sum()), 1e-300)
    error = math.sqrt(6 / (max(ratio - 1, 1e-3) * length**2 * count)) / (2 * math.pi * symmetry.order)
    score = (ratio - 1) * math.sqrt(count)
    left, middle, right = (float(density[(best + step) % size]) for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    move = 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -1, 1))
    return Line(carrier + move / size / symmetry.order, error, score)


def turning_score(symbols: Complexes, symmetry: Symmetry) -> float:
    """Returns the score of the phases of symbols complex128 [S] behind their carrier, see `Followed`."""
    carrier = find_carrier(symbols, symmetry, 0.5 / symmetry.order).carrier
    return follow_phase(symbols * np.exp(-2j * np.pi * carrier * np.arange(len(symbols))), symmetry).score


def follow_phase(symbols: Complexes, symmetry: Symmetry, before: float = 0.0) -> Followed:
    """Returns the phase of every symbol; the first one's is the one nearest to ``before`` of the M possible.

    Args:
        symbols: complex128 [S], without their carrier.
        symmetry: of their constellation.
        before: expected phase of the first symbol, in rad.
    """
    values = powers(symbols, symmetry)
    size = np.abs(values)
    # Weights keep a few strong symbols, as a burst of interference leaves them, from deciding alone.
    values = values / max(float(np.sqrt(np.mean(size**2))), 1e-30)
    lengths = [length for length in _LENGTHS if length <= max(len(values), _LENGTHS[0])]
    agreed = [_agreed(values, length) for length in lengths]
    # A longer mean that predicts about as well slips less often.
    least = max(agreed) - _AS_WELL * math.sqrt(len(values) / 2)
    best = max(length for length, one in zip(lengths, agreed, strict=True) if one >= least)
    others = _neighbours(values, math.exp(-1 / best))
    predicted = others / np.maximum(np.abs(others), 1e-30)
    agreement = math.sqrt(2) * (values * predicted.conj()).real
    score = float(agreement.sum() / math.sqrt(len(agreement)))
    return Followed(_unwrapped(others + values, symmetry.order, before), agreement, score, best)


def _agreed(values: Complexes, length: int) -> float:
    """Returns by how much M-th powers agree with their neighbours, in blocks of an eighth of a length."""
    size = max(1, length // _BLOCKS)
    sums = values[: len(values) // size * size].reshape(-1, size).sum(1)
    others = _neighbours(sums, math.exp(-size / length))
    return float(((sums * others.conj()).real / np.maximum(np.abs(others), 1e-30)).sum())


def _neighbours(values: Complexes, share: float) -> Complexes:
    """Returns the sum of both sides' neighbours, by exponential weights, without each value itself."""
    back = lfilter([0.0, share], [1.0, -share], values)
    ahead = lfilter([0.0, share], [1.0, -share], values[::-1])[::-1]
    total: Complexes = back + ahead
    return total


def _unwrapped(means: Complexes, order: int, before: float) -> Floats:
    """Returns an M-th of the continuous angle of means complex128 [S]."""
    angle = np.unwrap(np.angle(means)) / order
    step = 2 * math.pi / order
    turned: Floats = angle + step * round((before - float(angle[0])) / step)
    return turned


def straight(times: Floats, values: Floats) -> tuple[float, float]:
    """Returns slope and offset of the line through values float64 [n] at times float64 [n], by least squares."""
    middle, mean = float(np.mean(times)), float(np.mean(values))
    away = times - middle
    slope = float(away @ (values - mean)) / max(float(away @ away), 1e-300)
    return slope, mean - slope * middle


def turning_back(phase: Floats, density: int, period: int, count: int) -> npt.NDArray[np.complex64]:
    """Returns factors complex64 [count] that take away the phases of symbols, linear between their middles.

    Args:
        phase: of every symbol, in rad, float64 [S].
        density: symbols that share a symbol period.
        period: samples of it; the first one begins at sample 0.
        count: samples.
    """
    turns = np.exp(-1j * phase[density // 2 :: density]).astype(np.complex64)
    turns = np.pad(turns, (1, max(1, -(-count // period) + 1 - len(turns))), mode="edge")
    share = ((np.arange(period) + (period % 2) / 2) / period).astype(np.float32)
    factors = (turns[:-1, None] * (1 - share) + turns[1:, None] * share).reshape(-1)
    return factors[period // 2 :][:count].astype(np.complex64, copy=False)
