"""Gray-labelled constellations of unit power, hard and soft demapping."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from rfsep.types import InputError


def _labels(bits_per_symbol: int) -> Tensor:
    """Returns the bits of every index, first bit most significant: int64 [2**bits_per_symbol, bits_per_symbol]."""
    shifts = torch.arange(bits_per_symbol - 1, -1, -1)
    return (torch.arange(2**bits_per_symbol)[:, None] >> shifts) & 1  # [P, bits]


def _square_qam(bits_per_symbol: int) -> Tensor:
    """Square QAM of 3GPP TS 38.211 clause 5.1: even bits on I, odd bits on Q, bit 0 on the positive side."""
    signs = 1 - 2 * _labels(bits_per_symbol).double()  # [P, bits]
    axes = []
    for axis in range(2):
        level = torch.ones(len(signs), dtype=torch.float64)
        for index, bit in enumerate(range(bits_per_symbol - 2 + axis, -1, -2)):
            level = signs[:, bit] * (level if index == 0 else 2**index - level)
        axes.append(level)
    points = torch.complex(*axes)
    return points / points.abs().square().mean().sqrt()


def _psk(angles_deg: list[float]) -> Tensor:
    return torch.polar(torch.ones(len(angles_deg), dtype=torch.float64), torch.tensor(angles_deg).double().deg2rad())


def constellation(name: str) -> Tensor:
    """Returns the points of a constellation; entry i carries the bits of i, first bit most significant.

    ``bpsk``, ``qpsk``, ``qam16``, ``qam64`` are those of 3GPP TS 38.211 clause 5.1 (BPSK on the real axis) and of
    the RF Challenge; ``pam4`` is the in-phase axis of ``qam16``. ``qpsk_axes`` has its points on the axes (0, 90, 180,
    270 degrees) in Gray order, as newer CommPy has. ``qpsk_axes_natural`` has them in natural order, index i at
    90 (i - 1) degrees, as CommPy 0.6.0 has. ``psk8`` continues the Gray order of ``qpsk_axes``: the point at 45 k
    degrees carries k ^ (k >> 1) (binary-reflected Gray code; Proakis and Salehi, Digital Communications, 5th ed.,
    section 3.2-2).

    Returns:
        complex64 [2**bits_per_symbol] of unit mean power.

    >>> constellation("qpsk")[0]
    tensor(0.7071+0.7071j)
    """
    if name in ("qpsk", "qam16", "qam64"):
        points = _square_qam({"qpsk": 2, "qam16": 4, "qam64": 6}[name])
    elif name == "bpsk":
        points = torch.tensor([1.0 + 0j, -1.0 + 0j], dtype=torch.complex128)
    elif name == "pam4":
        points = torch.tensor([1.0 + 0j, 3.0 + 0j, -1.0 + 0j, -3.0 + 0j], dtype=torch.complex128) / math.sqrt(5)
    elif name == "qpsk_axes":
        points = _psk([0.0, 90.0, 270.0, 180.0])
    elif name == "qpsk_axes_natural":
        points = _psk([-90.0, 0.0, 90.0, 180.0])
    elif name == "psk8":
        points = _psk([0.0, 45.0, 135.0, 90.0, 315.0, 270.0, 180.0, 225.0])
    else:
        choices = "bpsk, qpsk, qam16, qam64, pam4, psk8, qpsk_axes, qpsk_axes_natural"
        raise InputError(f"unknown constellation '{name}'; choose one of {choices}")
    return points.to(torch.complex64)


def bits_per_symbol(points: Tensor) -> int:
    """Returns the bits per symbol of a constellation with ``len(points)`` points."""
    return int(math.log2(len(points)))


def random_bits(batch_size: int, num_bits: int, generator: torch.Generator) -> Tensor:
    """Draws fair independent bits uint8 [batch_size, num_bits], five times as fast as torch.randint.

    The generator's 63-bit numbers are cut into bytes, and one bit of each byte is kept.
    """
    count = batch_size * num_bits
    numbers = torch.empty(-(-count // 8), dtype=torch.int64).random_(generator=generator)
    return numbers.view(torch.uint8)[:count].bitwise_and_(1).view(batch_size, num_bits)


def map_bits(bits: Tensor, points: Tensor) -> Tensor:
    """Maps bits to symbols: uint8 [..., S * bits_per_symbol] to complex64 [..., S]."""
    width = bits_per_symbol(points)
    index = bits[..., 0::width]  # [..., S]; eight bits suffice for every index here
    for place in range(1, width):
        index = 2 * index + bits[..., place::width]
    return points.to(bits.device)[index.int()]  # [..., S]


def demap(symbols: Tensor, points: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
    """Returns exact log-likelihood ratios log P(bit = 1) / P(bit = 0) of symbols in circular Gaussian noise.

    They are calibrated, P(bit = 1) = 1 / (1 + exp(-llr)), where ``noise_variance`` is the true one and the symbols are
    not scaled. Another variance only scales the ratios of BPSK and QPSK. For constellations with several levels it
    also moves the places where the ratios change their sign, so `hard_bits` decides bits, not these signs.

    Args:
        symbols: complex64 [..., S].
        points: complex64 [P], see `constellation`; all equally likely.
        noise_variance: E|noise|^2 of a complex symbol, a number or a tensor broadcast against [..., S].

    Returns:
        float32 [..., S * bits_per_symbol]; positive means that bit 1 is likelier.

    >>> demap(torch.tensor([-1 + 0j]), constellation("bpsk"), noise_variance=0.5)
    tensor([8.])
    """
    labels = _labels(bits_per_symbol(points)).bool().to(symbols.device)  # [P, bits]
    distance = torch.view_as_real(symbols[..., None] - points.to(symbols.device)).square().sum(-1)  # [..., S, P]
    metric = -distance / torch.as_tensor(noise_variance, device=symbols.device)[..., None]  # [..., S, P]
    ones = [torch.logsumexp(metric[..., labels[:, bit]], -1) for bit in range(labels.shape[1])]
    zeros = [torch.logsumexp(metric[..., ~labels[:, bit]], -1) for bit in range(labels.shape[1])]
    llr = torch.stack(ones, -1) - torch.stack(zeros, -1)  # [..., S, bits]
    return llr.flatten(-2)


def _nearest(symbols: Tensor, points: Tensor) -> Tensor:
    """Returns the index of the nearest constellation point to each symbol, the first of equals: int64 [..., S]."""
    distance = torch.view_as_real(symbols[..., None] - points.to(symbols.device)).square().sum(-1)  # [..., S, P]
    return distance.argmin(-1)


def decide(symbols: Tensor, points: Tensor) -> Tensor:
    """Returns the nearest constellation point to each symbol: complex64 [..., S] to complex64 [..., S]."""
    return points.to(symbols.device)[_nearest(symbols, points)]


def hard_bits(symbols: Tensor, points: Tensor) -> Tensor:
    """Returns bits of the nearest point to each symbol, which is the likeliest in white noise of any variance.

    Args:
        symbols: complex64 [..., S], not scaled: the estimate of a symbol is the symbol plus noise.
        points: complex64 [P], see `constellation`.

    Returns:
        uint8 [..., S * bits_per_symbol].

    >>> hard_bits(torch.tensor([0.64 + 0.62j]), constellation("qam16"))  # levels 1 and 3 over sqrt(10) meet at 0.632
    tensor([0, 0, 1, 0], dtype=torch.uint8)
    """
    labels = _labels(bits_per_symbol(points)).byte().to(symbols.device)  # [P, bits]
    return labels[_nearest(symbols, points)].flatten(-2)


def posterior_mean_and_variance(
    symbols: Tensor, points: Tensor, noise_variance: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Returns E[symbol | observation] and E|symbol - mean|^2 for equally likely points in circular Gaussian noise.

    Arguments are those of `demap`; results are complex [..., S] and real [..., S]. If the points are all pairs of a few
    real and a few imaginary levels, as for BPSK, QPSK and square QAM, the parts are independent, and each is a small
    sum.
    """
    levels = _levels(tuple(points.tolist()))
    if levels is not None:
        parts = torch.view_as_real(symbols.resolve_conj()).unbind(-1)
        (real, in_phase), (imaginary, quadrature) = (
            _real_mean_and_variance(part, axis, noise_variance) for part, axis in zip(parts, levels, strict=True)
        )
        return torch.complex(real, imaginary), in_phase + quadrature
    points = points.to(symbols.device, symbols.dtype)
    distance = torch.view_as_real(symbols[..., None] - points).square().sum(-1)  # [..., S, P]
    variance = torch.as_tensor(noise_variance, dtype=distance.dtype, device=symbols.device)
    weights = torch.softmax(-distance / variance[..., None], -1)
    mean = weights.to(points.dtype) @ points  # [..., S]
    return mean, weights @ points.abs().square() - mean.abs().square()


@lru_cache(maxsize=32)
def _levels(points: tuple[complex, ...]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns the real and imaginary levels whose pairs are the points, or None if the points form no grid."""
    real, imaginary = (sorted({round(part, 6): part for part in parts}.values()) for parts in _parts(points))
    return (tuple(real), tuple(imaginary)) if len(real) * len(imaginary) == len(points) else None


def _parts(points: tuple[complex, ...]) -> tuple[list[float], list[float]]:
    return [point.real for point in points], [point.imag for point in points]


def _real_mean_and_variance(
    part: Tensor, levels: tuple[float, ...], noise_variance: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Returns posterior mean and variance of one part, real [..., S]; ``noise_variance`` counts both parts."""
    variance = torch.as_tensor(noise_variance, dtype=part.dtype, device=part.device)
    if len(levels) == 1:
        return torch.full_like(part, levels[0]), torch.zeros_like(part)
    if len(levels) == 2:
        middle, half = (levels[0] + levels[1]) / 2, (levels[1] - levels[0]) / 2
        doubt = torch.tanh(2 * half * (part - middle) / variance)
        return middle + half * doubt, half**2 * (1 - doubt.square())
    values = torch.tensor(levels, dtype=part.dtype, device=part.device)
    weights = torch.softmax(-(part[..., None] - values).square() / variance[..., None], -1)  # [..., S, levels]
    mean = weights @ values
    return mean, (weights * (values - mean[..., None]).square()).sum(-1)


def posterior_mean(symbols: Tensor, points: Tensor, noise_variance: Tensor | float) -> Tensor:
    """Returns E[symbol | observation]; see `posterior_mean_and_variance`."""
    return posterior_mean_and_variance(symbols, points, noise_variance)[0]


def bit_means(logits: Tensor, points: Tensor) -> Tensor:
    """E[symbol] of independent bits with log-likelihood ratios float32 [..., S * bits_per_symbol]: complex [..., S].

    >>> bit_means(torch.tensor([0.0, 40.0]), constellation("bpsk"))
    tensor([ 0.+0.j, -1.+0.j])
    """
    ones = logits.sigmoid().view(*logits.shape[:-1], -1, bits_per_symbol(points))  # [..., S, bits]
    labels = _labels(bits_per_symbol(points)).bool().to(logits.device)  # [P, bits]
    weights = torch.where(labels, ones[..., None, :], 1 - ones[..., None, :]).prod(-1)  # [..., S, P]
    return weights.to(points.dtype) @ points.to(logits.device)
