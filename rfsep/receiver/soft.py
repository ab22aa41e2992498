"""Soft bits of matched-filter outputs whose gain and noise nobody knows, calibrated by the outputs themselves.

An output is z = g a + n: a gain, a constellation point, and what is left of noise and interference. Gain and noise
variance belong to a stretch of some hundred symbols. The shape of the noise belongs to many stretches. Interference
comes and goes, or is a sum of few carriers, so the noise is no Gaussian: its phase is uniform, and its power is a
mixture of gamma distributions with fixed ladders of means and unknown weights. With shape 1 such a term is a circular
Gaussian; larger shapes are rings. Everything is found by expectation maximisation from unlabelled symbols
(Dempster, Laird and Rubin, J. R. Stat. Soc. B 39, 1977; weights of a mixture on a ladder: Laird, J. Am. Stat. Assoc.
73, 1978).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.types import InputError

# Ladders of noise powers relative to a stretch's, tuned on QPSK in white noise, OFDM and the training split of lte20.
_GAUSSIANS = 4.0 ** torch.arange(-2, 3, dtype=torch.float64)
_LADDERS = {
    1.0: _GAUSSIANS,
    2.0: 2.0 ** torch.arange(-2, 3, dtype=torch.float64),
    4.0: 2.0 ** torch.arange(-3, 3, dtype=torch.float64),
    8.0: 1.5 ** torch.arange(-5, 5, dtype=torch.float64),
    32.0: 1.2 ** torch.arange(-14, 6, dtype=torch.float64),
}
_MEANS = torch.cat(list(_LADDERS.values()))
_SHAPES = torch.cat([torch.full_like(means, shape) for shape, means in _LADDERS.items()])
_ITERATIONS = 60  # for gains and variances; more change the predicted error rate by less than 1 %
_SHAPE_ITERATIONS = 400
_STRETCHES = 32  # stretches that share a noise shape
_DOUBT = 30.0  # variance of a stretch's log noise power, times its symbols; 1 if all sent symbols were known, tuned
_NEAREST = 16  # Points beyond so many nearest ones do not matter for gain and noise.
_SETTLED = 1e-4  # Expectation maximisation ends where no step, in units of the scale or of one, is larger.
_FLOOR = 1e-9  # smallest noise variance, relative to the power of the outputs
_SHORTEST = 100  # symbols per stretch
Symbols = npt.NDArray[np.complex64]
Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


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

    gain: Tensor
    scale: Tensor
    weights: Tensor


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
        part = torch.from_numpy(np.array(symbols[begin:end]))
        yield _of_block(part, torch.from_numpy(points), torch.from_numpy(labels), stretch)


def _of_block(symbols: Tensor, points: Tensor, labels: Tensor, stretch: int) -> SoftBits:
    """Soft bits of the symbols of some stretches."""
    count = max(1, round(len(symbols) / stretch))
    places = torch.arange(len(symbols)) * count // max(len(symbols), 1)  # [S], number of each symbol's stretch
    z, points = symbols.to(torch.complex128), points.to(torch.complex128)
    gaussian = _gains(z, points, places, count)
    noise = gaussian._replace(weights=_shape(z, points, places, gaussian))
    llr = _ratios(z, points, places, noise, labels.bool())  # [S, width]
    variance = noise.scale * (noise.weights @ _MEANS)
    signal = squared(noise.gain) * squared(points).mean()
    held = torch.bincount(places, minlength=count)
    doubt = torch.sigmoid(-llr.abs()).mean(1)
    ber = torch.zeros(count, dtype=torch.float64).index_add_(0, places, doubt) / held
    ratio = signal / variance
    return SoftBits(
        llr.float().flatten().numpy(),
        held.cumsum(0).numpy(),
        noise.gain.to(torch.complex64).numpy(),
        variance.float().numpy(),
        (10 * ratio.log10()).float().numpy(),
        ratio.rsqrt().float().numpy(),
        ber.float().numpy(),
    )


def _gains(z: Tensor, points: Tensor, places: Tensor, count: int) -> _Noise:
    """Gain and noise variance of every stretch, with noise that is a mixture of Gaussians."""
    found, floor = _start(z, points, count)
    held = torch.bincount(places, minlength=count)
    for _ in range(_ITERATIONS):
        near, distance = _near(z, points, found.gain[places])  # [S, P'] each
        terms = -distance[..., None] / (found.scale[places, None, None] * _GAUSSIANS)  # [S, P', J]
        terms = terms + found.weights.log() - _GAUSSIANS.log()
        belief = torch.softmax(terms.flatten(1), 1).view_as(terms)
        precision = (belief / _GAUSSIANS).sum(-1)  # [S, P'], relative to the scale of the stretch
        match, energy, error = (
            torch.zeros(count, dtype=one.dtype).index_add_(0, places, one)
            for one in (
                (precision * near.conj()).sum(1) * z,
                (precision * squared(near)).sum(1),
                (precision * distance).sum(1),
            )
        )
        before, found = (
            found,
            _updated(found, match, energy, error, held, floor)._replace(weights=belief.sum(1).mean(0)),
        )
        if float((found.gain - before.gain).abs().max() ** 2) < _SETTLED**2 * float(found.scale.min()) and bool(
            ((found.scale / before.scale).log().abs() < _SETTLED).all()
        ):
            break
    return found


def _start(z: Tensor, points: Tensor, count: int) -> tuple[_Noise, float]:
    """First gain and noise from the second and fourth moment, and the smallest noise.

    With Gaussian noise E|z|^4 = kurtosis S^2 + 4 S N + 2 N^2 (Pauluzzi and Beaulieu, IEEE Trans. Commun. 48, 2000).
    """
    power, point_power = float(squared(z).mean()) or 1.0, squared(points).mean()
    kurtosis = squared(points).square().mean() / point_power**2
    fourth = squared(z).square().mean() / power**2
    signal = ((2 - fourth).clamp_min(0) / (2 - kurtosis)).sqrt().clamp(0.1, 0.999)  # of the power
    gain = (signal * power / point_power).sqrt().to(torch.complex128).expand(count)
    weights = torch.tensor([0.02, 0.06, 0.84, 0.06, 0.02], dtype=torch.float64)
    return _Noise(gain, ((1 - signal) * power).expand(count), weights), _FLOOR * power


def _near(z: Tensor, points: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Points complex128 [S, P'] nearest to each output, and squared distances float64 [S, P'] from them."""
    distance = squared(z[:, None] - gain[:, None] * points)
    if len(points) <= _NEAREST:
        return points.expand(len(z), -1), distance
    kept = distance.topk(_NEAREST, 1, largest=False)
    return points[kept.indices], kept.values


def _updated(before: _Noise, match: Tensor, energy: Tensor, error: Tensor, held: Tensor, floor: float) -> _Noise:
    """The maximisation: gains and scales from sums over the stretches [K].

    Both are drawn towards the mean of all stretches as far as these agree, as random effects with a variance of their
    own (Laird and Ware, Biometrics 38, 1982).
    """
    sure = energy / before.scale  # [K], inverse variance of a gain
    common = (match / before.scale).sum() / sure.sum()
    spread = (squared(before.gain - common) + 1 / sure).mean()
    gain = (match / before.scale + common / spread) / (sure + 1 / spread)
    own = (error / held).clamp_min(floor).log()
    doubt = _DOUBT / held
    kept = (own - own.mean()).square().mean() / ((own - own.mean()).square().mean() + doubt)
    return before._replace(gain=gain, scale=(own.mean() + kept * (own - own.mean())).exp())


def _densities(distance: Tensor, scale: Tensor) -> Tensor:
    """Log densities of the terms of the noise's shape: float64 [...] and scale [...] to [..., J]."""
    power = (distance / scale).clamp_min(1e-12)[..., None]
    rate = _SHAPES / _MEANS
    # The density over the plane is that of the power over pi.
    return (_SHAPES - 1) * power.log() - rate * power + _SHAPES * rate.log() - torch.lgamma(_SHAPES)


def _shape(z: Tensor, points: Tensor, places: Tensor, found: _Noise) -> Tensor:
    """Weights float64 [J] of the noise's shape, where gains and scales are known."""
    _, distance = _near(z, points, found.gain[places])
    logs = _densities(distance, found.scale[places, None])  # [S, P', J]
    likelihood = (logs - logs.amax((1, 2), keepdim=True)).exp().sum(1)  # [S, J]
    weights = torch.full_like(_MEANS, 1 / len(_MEANS))
    for _ in range(_SHAPE_ITERATIONS):
        belief = likelihood * weights
        before, weights = weights, (belief / belief.sum(1, keepdim=True)).mean(0)
        if float((weights - before).abs().max()) < _SETTLED:
            break
    return weights


def _ratios(z: Tensor, points: Tensor, places: Tensor, noise: _Noise, labels: Tensor) -> Tensor:
    """Log-likelihood ratios float64 [S, width]."""
    parts = []
    for part in torch.split(torch.arange(len(z)), 1 << 12):
        distance = squared(z[part, None] - noise.gain[places[part], None] * points)  # [S, P]
        logs = torch.logsumexp(_densities(distance, noise.scale[places[part], None]) + noise.weights.log(), -1)
        ones = [torch.logsumexp(logs[:, labels[:, bit]], 1) for bit in range(labels.shape[1])]
        zeros = [torch.logsumexp(logs[:, ~labels[:, bit]], 1) for bit in range(labels.shape[1])]
        parts.append(torch.stack(ones, 1) - torch.stack(zeros, 1))
    return torch.cat(parts) if parts else torch.zeros((0, labels.shape[1]), dtype=torch.float64)
