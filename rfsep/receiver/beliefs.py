"""Soft bits of posterior means, which detectors and the soft matched filter give instead of linear estimates."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.constellations import posterior_mean

_RIM = 1e-6  # share of a level by which means stay inside it
_SURE = 1e-3  # Means are drawn inwards by this share, as no point of the rim is the mean of any belief.
_NEAR = 0.83  # share of the outermost amplitude that the next ring of no constellation reaches
_APART = 0.05  # share of the amplitude beyond which a symbol is off its point, more than a pulse's own error
_ONE_SIDED = 6  # times as many symbols inside as outside show means
_TAIL = 0.65  # distance of the highest of 1,000 to that of 10, over that to the median; Gaussian noise has 1.4
_NEWTON = 40  # steps; ten suffice but next to the rim
_HALVINGS = 40
_LEAST = -5.0  # exponent of e of the smallest noise variance; the means of smaller ones tell sure bits
_DRAWS = 512  # noise samples per point, for the power of posterior means
_STRETCH = 1000  # symbols that share a noise variance
Symbols = npt.NDArray[np.complex64]
Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def are_means(symbols: Symbols, points: Symbols) -> bool:
    """Tells posterior means from linear estimates by the outermost points, beyond which no mean can lie.

    The noise of linear estimates has tails, and puts as many symbols beyond the outermost points as inside. A
    detector's doubts only draw symbols inwards, and most of its symbols lie at the same outermost amplitude.

    Args:
        symbols: complex64 [S], turned as the constellation is.
        points: complex64 [P].
    """
    if len(symbols) == 0:
        return False
    outer = np.abs(points).max()
    ring = points[np.abs(points) > (1 - _SURE) * outer]
    along = (symbols[:, None] * ring.conj()).real.max(1)  # towards the nearest of the outermost points
    along = along[along > _NEAR * np.quantile(along, 0.9)]
    middle, high, highest = np.quantile(along, [0.5, 0.9, 0.999])
    outside, inside = (along > (1 + _APART) * middle).sum(), (along < (1 - _APART) * middle).sum()
    cut = highest - high < _TAIL * (high - middle)
    return bool(inside > _ONE_SIDED * (outside + 1) or (cut and outside > _APART * len(along)))


def llr_of_means(symbols: Symbols, points: Symbols, labels: Bits) -> Floats:
    """Returns the soft bits that posterior means imply, if they are those of points in circular Gaussian noise.

    Such an observation y gives point a the weight exp(2 Re(conj(y) a) / v - |a|^2 / v), so the mean determines y / v
    once the variance v is known. For PSK v does not matter. For several levels v is the variance with which the means
    of a stretch have their power. The ratios are as calibrated as the detector was, which takes its guesses of the
    interference for known: behind ``lte_pilots`` in LTE at -6 dB shares of right bits are up to .1 below what is told.

    Args:
        symbols: complex64 [S], posterior means at the modem's own gain.
        points: complex64 [P], all equally likely.
        labels: bits uint8 [P, width] that the sender gives to each point.

    Returns:
        float32 [S * width].

    >>> from rfsep.signals.constellations import constellation
    >>> bpsk = constellation("bpsk").numpy()
    >>> llr_of_means(np.array([0.5], np.complex64), bpsk, np.array([[0], [1]], np.uint8)).round(4)  # -2 atanh(.4995)
    array([-1.0973], dtype=float32)
    """
    ideal, bits = torch.from_numpy(points).to(torch.complex128), torch.from_numpy(labels).bool()
    parts = [
        _ratios(torch.from_numpy(np.array(symbols[begin : begin + _STRETCH])).to(torch.complex128), ideal, bits)
        for begin in range(0, len(symbols), _STRETCH)
    ]
    return torch.cat(parts).float().flatten().numpy() if parts else np.zeros(0, np.float32)


def _ratios(means: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Log-likelihood ratios float64 [S, width] of the posterior means of one stretch."""
    energy = squared(points)
    prior = -energy / _variance(means, points) if float(energy.std()) > 1e-6 * float(energy.mean()) else 0 * energy
    logs = torch.log_softmax(prior + _tilt(means, points, prior), 1)  # [S, P]
    ones = [torch.logsumexp(logs[:, labels[:, bit]], 1) for bit in range(labels.shape[1])]
    zeros = [torch.logsumexp(logs[:, ~labels[:, bit]], 1) for bit in range(labels.shape[1])]
    return torch.stack(ones, 1) - torch.stack(zeros, 1)


def _variance(means: Tensor, points: Tensor) -> float:
    """The noise variance with which posterior means have the power that they have, by bisection."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(points), _DRAWS, dtype=torch.complex128, generator=generator)
    wanted, low, high = float(squared(means).mean()), _LEAST, -_LEAST  # exponents of e
    power = float(squared(points).mean())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        variance = power * math.exp(middle)
        given = posterior_mean(points[:, None] + variance**0.5 * noise, points, variance)
        low, high = (middle, high) if float(squared(given).mean()) > wanted else (low, middle)
    return power * math.exp(low)


def _tilt(means: Tensor, points: Tensor, prior: Tensor) -> Tensor:
    """Re(conj(tilt) a) float64 [S, P] with which the points' weights have the given means.

    The tilt maximises a concave function whose gradient is the difference of the means: Newton's method, with a step
    that is halved where it did not help.
    """
    plane = torch.view_as_real(points)
    centre = torch.softmax(prior, 0) @ plane
    wanted = centre + (1 - _SURE) * (torch.view_as_real(means) - centre)  # [S, 2]
    half = plane.abs().amax(0)  # [2]
    if len(points) == 2 ** int((half > 1e-6).sum()) and torch.allclose(plane.abs(), half.expand_as(plane), atol=1e-6):
        # Two levels on each axis: every part is a bit of its own, and its mean a hyperbolic tangent.
        share = (wanted / half.clamp_min(1e-6)).clamp(-1 + _RIM, 1 - _RIM)
        return torch.where(half > 1e-6, torch.atanh(share) / half.clamp_min(1e-6), 0.0) @ plane.T
    tilt, length = torch.zeros_like(wanted), torch.ones(len(wanted), 1, dtype=torch.float64)
    height = _height(tilt, wanted, plane, prior)
    flat = 1e-4 * float(squared(points).mean())
    products = torch.stack((plane[:, 0].square(), plane[:, 1].square(), plane[:, 0] * plane[:, 1]), 1)  # [P, 3]
    for _ in range(_NEWTON):
        weights = torch.softmax(prior + tilt @ plane.T, 1)  # [S, P]
        mean = weights @ plane
        first, second, cross = (weights @ products - torch.stack((*mean.T.square(), mean.prod(1)), 1)).T  # [S] each
        first, second, (missing, lacking) = first + flat, second + flat, (wanted - mean).T
        step = torch.stack((second * missing - cross * lacking, first * lacking - cross * missing), 1)
        step = step / (first * second - cross.square())[:, None]
        tried = tilt + length * step
        reached = _height(tried, wanted, plane, prior)
        better = (reached >= height)[:, None]
        tilt, height = torch.where(better, tried, tilt), torch.maximum(reached, height)
        length = torch.where(better, (2 * length).clamp_max(1), length / 4)
    return tilt @ plane.T


def _height(tilt: Tensor, wanted: Tensor, plane: Tensor, prior: Tensor) -> Tensor:
    return (tilt * wanted).sum(1) - torch.logsumexp(prior + tilt @ plane.T, 1)
