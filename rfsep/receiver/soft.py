"""Soft bits of matched-filter outputs whose gain and noise nobody knows, calibrated by the outputs themselves.

An output is z = g a + n: a gain, a constellation point, and what is left of noise and interference. Gain and noise
variance belong to a stretch of some hundred symbols. The shape of the noise belongs to many stretches. Interference
comes and goes, or is a sum of few carriers, so the noise is no Gaussian: its phase is uniform, and its power is a
mixture of gamma distributions with fixed ladders of means and unknown weights. With shape 1 such a term is a circular
Gaussian; larger shapes are rings. Everything is found by expectation maximisation from unlabelled symbols
(Dempster, Laird and Rubin, J. R. Stat. Soc. B 39, 1977; weights of a mixture on a ladder: Laird, J. Am. Stat. Assoc.
73, 1978). The steps that take many rounds see every fourth symbol or fewer, evenly spread; all symbols have the last
word on gain and noise. The density of the noise depends on the distance alone, so soft bits are read from a table.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from rfsep.types import InputError

# Ladders of noise powers relative to a stretch's, tuned on QPSK in white noise, OFDM and the training split of lte20.
_RATIO = 4  # Each Gaussian has so many times the power of the one before.
_GAUSSIANS = float(_RATIO) ** np.arange(-2, 3)
_LADDERS = {
    1.0: _GAUSSIANS,
    2.0: 2.0 ** np.arange(-2, 3),
    4.0: 2.0 ** np.arange(-3, 3),
    8.0: 1.5 ** np.arange(-5, 5),
    32.0: 1.2 ** np.arange(-14, 6),
}
_MEANS = np.concatenate(list(_LADDERS.values()))
_SHAPES = np.concatenate([np.full(len(means), shape) for shape, means in _LADDERS.items()])
_ITERATIONS = 200  # most updates of gains and variances
_SHAPE_ITERATIONS = 400
_STRETCHES = 32  # stretches that share a noise shape
_DOUBT = 30.0  # variance of a stretch's log noise power, times its symbols; 1 if all sent symbols were known, tuned
_LOOKED_AT = 256  # symbols per stretch that many rounds see
_PAIRS = 4096  # pairs of a symbol and a point per stretch that many rounds see, for large constellations
_LAST_ROUNDS = 2  # updates that see all symbols
_SHAPED = 8192  # symbols that tell the shape of the noise
_NEAREST = 16  # Points beyond so many nearest ones do not matter for the shape.
_FARTHEST = 80.0  # exponent of e beyond which the widest Gaussian tells nothing
_TABLE = np.linspace(np.log(1e-12), np.log(1e6), 4096)  # log powers relative to the scale
_BLOCK = 1 << 13  # symbols whose soft bits are read at once
_SETTLED = 1e-4  # Expectation maximisation ends where no step, in units of the scale or of one, is larger.
_FLOOR = 1e-9  # smallest noise variance, relative to the power of the outputs
_SHORTEST = 100  # symbols per stretch
Symbols = npt.NDArray[np.complex64]
Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Complexes = npt.NDArray[np.complex128]
Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class SoftBits(NamedTuple):
    """Soft bits of some symbols, and gain and noise of their stretches.

    Attributes:
        llr: log P(bit = 1) / P(bit = 0), float32 [S * width].
        ends: number of symbols up to the end of each stretch, int64 [K].
        gain: complex64 [K].
        noise_variance: E|n|^2, float32 [K].
        esn0_db: power of the signal over that of the noise, float32 [K].
        evm: error vector magnitude, root mean square of noise over signal, float32 [K].
        ber: mean over the bits of 1 / (1 + exp|llr|), the error rate that the soft bits predict, float32 [K].
    """

    llr: Floats
    ends: npt.NDArray[np.int64]
    gain: Symbols
    noise_variance: Floats
    esn0_db: Floats
    evm: Floats
    ber: Floats


class _Noise(NamedTuple):
    """Gain complex128 [K] and scale of the noise's power float64 [K] of stretches, weights float64 [J] of its shape."""

    gain: Complexes
    scale: Doubles
    weights: Doubles


class _Sums(NamedTuple):
    """What an expectation tells the maximisation: sums over the stretches [K], and the new weights float64 [J]."""

    match: Complexes
    energy: Doubles
    error: Doubles
    weights: Doubles


def soft_bits(symbols: Symbols, points: Symbols, labels: Bits, stretch: int = 1000) -> Iterator[SoftBits]:
    """Yields calibrated soft bits of matched-filter outputs, of a bounded number of symbols at a time.

    The outputs must be linear in the capture: those of posterior means, as detectors give, are too sure of themselves,
    see `rfsep.receiver.beliefs`.

    Args:
        symbols: complex64 [S], turned as the constellation is; gain and noise are free; may be a memory map.
        points: complex64 [P], all equally likely.
        labels: bits uint8 [P, width] that the sender gives to each point.
        stretch: symbols during which gain and noise variance are constant.

    Raises:
        InputError: a stretch of fewer than 100 symbols.
    """
    if stretch < _SHORTEST:
        raise InputError(f"a stretch of {stretch} symbols is too short to find its noise, expected {_SHORTEST} or more")
    size = stretch * _STRETCHES
    begins = range(0, max(len(symbols) - size // 2, 1), size)
    for begin, end in zip(begins, [*begins[1:], len(symbols)], strict=True):
        yield _of_block(np.array(symbols[begin:end], np.complex64), points, labels.astype(bool), stretch)


def _of_block(symbols: Symbols, points: Symbols, labels: npt.NDArray[np.bool_], stretch: int) -> SoftBits:
    """Soft bits of the symbols of some stretches."""
    count = max(1, round(len(symbols) / stretch))
    held = np.diff(-(-np.arange(count + 1) * len(symbols) // count))  # [K], symbols of each stretch
    gaussian = _gains(symbols, points, held)
    gain, scale = np.repeat(gaussian.gain.astype(np.complex64), held), np.repeat(gaussian.scale, held)
    noise = gaussian._replace(weights=_shape(symbols, points, gain, scale))
    llr = _ratios(symbols, points, gain, scale, noise.weights, labels)  # [S, width]
    variance = noise.scale * (noise.weights @ _MEANS)
    signal = np.square(np.abs(noise.gain)) * float(np.mean(_squared(points)))
    doubt = (1 / (1 + np.exp(np.minimum(np.abs(llr), _FARTHEST)))).astype(np.float64) @ np.ones(labels.shape[1])
    ratio = signal / variance
    return SoftBits(
        llr.reshape(-1),
        np.cumsum(held),
        noise.gain.astype(np.complex64),
        variance.astype(np.float32),
        (10 * np.log10(ratio)).astype(np.float32),
        (ratio**-0.5).astype(np.float32),
        (_summed(doubt, held) / np.maximum(held, 1) / labels.shape[1]).astype(np.float32),
    )


def _squared(values: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.floating]:
    """Squared magnitudes, without the square root of abs."""
    power: npt.NDArray[np.floating] = values.real**2 + values.imag**2
    return power


def _summed(values: npt.NDArray[np.floating], held: Counts) -> Doubles:
    """Sums float64 [K] over stretches of values [S]."""
    if len(values) == 0:
        return np.zeros(len(held))
    sums: Doubles = np.add.reduceat(values.astype(np.float64), np.cumsum(held) - held)
    return sums


def _gains(z: Symbols, points: Symbols, held: Counts) -> _Noise:
    """Gain and noise variance of every stretch, with noise that is a mixture of Gaussians."""
    found, floor = _start(z, points, len(held))
    most = max(_SHORTEST // 2, min(_LOOKED_AT, _PAIRS // len(points)))
    seen = np.minimum(held, most)
    inside = np.arange(seen.sum()) - np.repeat(np.cumsum(seen) - seen, seen)
    some = z[np.repeat(np.cumsum(held) - held, seen) + inside * np.repeat(held, seen) // np.repeat(seen, seen)]
    for _ in range(_ITERATIONS):
        before, found = found, _updated(found, _expected(some, points, found, seen), seen, floor)
        still = float(np.abs(found.gain - before.gain).max()) ** 2 < _SETTLED**2 * float(found.scale.min())
        if still and np.abs(np.log(found.scale / before.scale)).max() < _SETTLED:
            break
    for _ in range(_LAST_ROUNDS if len(some) < len(z) else 0):
        found = _updated(found, _expected(z, points, found, held), held, floor)
    return found


def _start(z: Symbols, points: Symbols, count: int) -> tuple[_Noise, float]:
    """First gain and noise from the second and fourth moment, and the smallest noise.

    With Gaussian noise E|z|^4 = kurtosis S^2 + 4 S N + 2 N^2 (Pauluzzi and Beaulieu, IEEE Trans. Commun. 48, 2000).
    """
    energy, own = _squared(z).astype(np.float64), _squared(points).astype(np.float64)
    power, point_power = float(energy.sum()) / max(len(z), 1) or 1.0, float(own.mean())
    kurtosis = float(np.square(own).mean()) / point_power**2
    fourth = float(np.square(energy).sum()) / max(len(z), 1) / power**2
    signal = min(max((max(2 - fourth, 0) / (2 - kurtosis)) ** 0.5, 0.1), 0.999)
    gain = np.full(count, (signal * power / point_power) ** 0.5, np.complex128)
    weights = np.array([0.02, 0.06, 0.84, 0.06, 0.02])
    return _Noise(gain, np.full(count, (1 - signal) * power), weights), _FLOOR * power


def _expected(z: Symbols, points: Symbols, found: _Noise, held: Counts) -> _Sums:
    """The expectation: beliefs in points and Gaussians, and what follows from them.

    The exponentials of one Gaussian are the fourth powers of those of the next wider one.
    """
    away = z - np.repeat(found.gain.astype(np.complex64), held) * points[:, None]  # [P, S]
    distance = _squared(away).astype(np.float32)
    power = distance * np.repeat((1 / (found.scale * _GAUSSIANS[-1])).astype(np.float32), held)
    term = np.exp(-np.minimum(power, np.float32(_FARTHEST)))
    density, precision, shares = np.zeros_like(term), np.zeros_like(term), []
    for size, weight in zip(_GAUSSIANS[::-1], found.weights[::-1], strict=True):
        share = term * np.float32(weight / size)
        shares.append(share.sum(0))
        density += share
        precision += share * np.float32(1 / size)
        term = np.square(np.square(term))
    total = 1 / (density.sum(0) + np.float32(1e-37))
    weights = np.array([float((share * total).mean()) for share in shares[::-1]])
    precision *= total
    columns = np.stack((points.real, points.imag, _squared(points))).astype(np.float32)
    real, imaginary, energy = columns @ precision
    match = (real - 1j * imaginary) * z
    error = np.einsum("ps,ps->s", precision, distance)
    return _Sums(
        _summed(match.real, held) + 1j * _summed(match.imag, held),
        _summed(energy, held),
        _summed(error, held),
        np.maximum(weights, 1e-12) / np.maximum(weights, 1e-12).sum(),
    )


def _updated(before: _Noise, sums: _Sums, held: Counts, floor: float) -> _Noise:
    """The maximisation: gains and scales from sums over the stretches [K].

    Both are drawn towards the mean of all stretches as far as these agree, as random effects with a variance of their
    own (Laird and Ware, Biometrics 38, 1982).
    """
    sure = np.maximum(sums.energy / before.scale, 1e-30)  # [K], inverse variance of a gain
    common = (sums.match / before.scale).sum() / sure.sum()
    spread = float((np.square(np.abs(before.gain - common)) + 1 / sure).mean())
    gain = (sums.match / before.scale + common / spread) / (sure + 1 / spread)
    own = np.log(np.maximum(sums.error / np.maximum(held, 1), floor))
    varied = float(np.square(own - own.mean()).mean())
    kept = varied / (varied + _DOUBT / np.maximum(held, 1))
    return _Noise(gain, np.exp(own.mean() + kept * (own - own.mean())), sums.weights)


def _densities(log_power: Doubles) -> Doubles:
    """Log densities float64 [..., J] of the terms of the noise's shape, at log powers relative to the scale."""
    rate = _SHAPES / _MEANS
    power = np.exp(log_power)[..., None]
    # The density over the plane is that of the power over pi.
    found: Doubles = (_SHAPES - 1) * log_power[..., None] - rate * power + _SHAPES * np.log(rate) - gammaln(_SHAPES)
    return found


def _log_powers(z: Symbols, points: Symbols, gain: Symbols, scale: Doubles) -> Floats:
    """Log powers float32 [P, S] of outputs about every point, relative to the scale."""
    power = _squared(z - gain * points[:, None]) * (1 / scale).astype(np.float32)
    found: Floats = np.log(np.maximum(power, np.float32(1e-12)))
    return found


def _shape(z: Symbols, points: Symbols, gain: Symbols, scale: Doubles) -> Doubles:
    """Weights float64 [J] of the noise's shape, where gains and scales are known."""
    weights = np.full(len(_MEANS), 1 / len(_MEANS))
    some = slice(None, None, max(1, len(z) // _SHAPED))
    near = _log_powers(z[some], points, gain[some], scale[some])
    if len(points) > _NEAREST:
        near = np.partition(near, _NEAREST - 1, 0)[:_NEAREST]
    logs = _densities(near.astype(np.float64)).astype(np.float32)  # [P', S, J]
    if logs.size == 0:
        return weights
    likelihood = np.exp(logs - logs.max((0, 2))[:, None]).sum(0)  # [S, J]
    backwards = np.ascontiguousarray(likelihood.T)
    for _ in range(_SHAPE_ITERATIONS):
        share = 1 / (likelihood @ weights.astype(np.float32))
        before, weights = weights, weights * (backwards @ share) / len(likelihood)
        weights /= weights.sum()
        if float(np.abs(weights - before).max()) < _SETTLED:
            break
    return weights


def _ratios(
    z: Symbols, points: Symbols, gain: Symbols, scale: Doubles, weights: Doubles, labels: npt.NDArray[np.bool_]
) -> Floats:
    """Log-likelihood ratios float32 [S, width]."""
    with np.errstate(divide="ignore"):
        terms = _densities(_TABLE) + np.log(weights)
    table = np.logaddexp.reduce(terms, 1).astype(np.float32)
    slopes, step = np.append(np.diff(table), np.float32(0)), float(_TABLE[1] - _TABLE[0])
    found = np.empty((len(z), labels.shape[1]), np.float32)
    for begin in range(0, len(z), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        place = (_log_powers(z[part], points, gain[part], scale[part]) - np.float32(_TABLE[0])) * np.float32(1 / step)
        place = np.clip(place, 0, len(table) - 1)
        cell = place.astype(np.int32)
        logs = table[cell] + slopes[cell] * (place - cell)  # [P, S]
        for bit in range(labels.shape[1]):
            found[part, bit] = _log_sum(logs[labels[:, bit]]) - _log_sum(logs[~labels[:, bit]])
    return found


def _log_sum(logs: Floats) -> Floats:
    """Logs float32 [S] of the sums of exponentials of float32 [P, S]."""
    top = logs.max(0)
    found: Floats = top + np.log(np.exp(logs - top).sum(0))
    return found
