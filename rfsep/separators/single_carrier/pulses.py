"""Pulses of an unknown single carrier, linear in few coefficients, at any symbol rate."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

OVERSAMPLING = 3  # coefficients per symbol; the kernel is flat up to once the symbol rate
_HALF_SPAN = 5.5  # symbols on each side of a pulse's centre; half a symbol is left to the timing
_REACH = 4  # coefficients on each side that a kernel reaches
_KAISER = 6.0
_TABLE_STEPS = 512  # frequencies per inverse distance of coefficients
BLOCK = 32  # samples per block of a window


def num_coefficients() -> int:
    """Returns the number of coefficients of a pulse, odd."""
    return 2 * math.ceil(_HALF_SPAN * OVERSAMPLING) + 1


def kernel(place: Tensor) -> Tensor:
    """Returns the interpolating kernel, a sinc in a Kaiser window, at distances in coefficients: float64 [...]."""
    inside = (1 - (place / _REACH).square()).clamp_min(0)
    window = torch.special.i0(_KAISER * inside.sqrt()) / torch.special.i0(torch.tensor(_KAISER, dtype=torch.float64))
    found: Tensor = torch.sinc(place) * window * (place.abs() < _REACH)
    return found


def coefficient_times() -> Tensor:
    """Returns the times of a pulse's coefficients in coefficients: float64 [M], 0 in the middle."""
    half = num_coefficients() // 2
    return torch.arange(-half, half + 1, dtype=torch.float64)


def delayed(pulse: Tensor, delay: Tensor) -> Tensor:
    """Delays pulses complex128 [B, M] by times float64 [B], in symbols."""
    return (delays(delay).to(pulse.dtype) @ pulse[..., None])[..., 0]


def delays(delay: Tensor) -> Tensor:
    """Returns matrices float64 [..., M, M] that delay a pulse by times float64 [...], in symbols."""
    time = coefficient_times()
    return kernel(time[:, None] - time - OVERSAMPLING * delay[..., None, None])


def spectrum(pulse: Tensor, frequency: Tensor, period: float) -> Tensor:
    """Fourier transforms of pulses.

    Args:
        pulse: complex128 [B, M].
        frequency: cycles per sample, float64 [B, F].
        period: samples per symbol.

    Returns:
        complex128 [B, F], the sum over samples of pulse times exp(-2j pi f t).
    """
    place = frequency * period / OVERSAMPLING
    turn = torch.exp(-2j * math.pi * place)
    total = torch.zeros_like(turn)
    for coefficient in pulse.flip(1).unbind(1):  # Horner's rule
        total = total * turn + coefficient[:, None]
    total = total * torch.exp(2j * math.pi * place * (pulse.shape[1] // 2))
    response = kernel_spectrum()
    cell = place.abs() * _TABLE_STEPS
    left = cell.long().clamp(max=len(response) - 2)
    share = (cell - left).clamp(max=1)
    return total * (response[left] * (1 - share) + response[left + 1] * share) * (period / OVERSAMPLING)


@cache
def kernel_spectrum() -> Tensor:
    """Returns the kernel's Fourier transform, which is real, in steps of 1 / `_TABLE_STEPS`, up to its end: float64."""
    fine = torch.linspace(-_REACH, _REACH, 64 * _REACH + 1, dtype=torch.float64)
    frequency = torch.arange(int(1.5 * _TABLE_STEPS), dtype=torch.float64) / _TABLE_STEPS
    table: Tensor = torch.cos(2 * math.pi * frequency[:, None] * fine) @ kernel(fine) / 32
    table[-1] = 0.0
    return table


class Basis(NamedTuple):
    """The symbols of a carrier in a window, and the kernels that their pulses are sums of.

    Symbol n has its centre at n times the period, up to a delay that the pulse holds.

    Attributes:
        number: n of each symbol, int64 [N].
        columns: int64 [K, c], symbols that reach into each block; N for none.
        kernels: float64 [K, P, c, M].
        gram: float64 [M, M], sum over the samples of a symbol of products of kernels.
        inside: share of each symbol's kernels that is inside the window, float64 [N].
        period: samples per symbol.
    """

    number: Tensor
    columns: Tensor
    kernels: Tensor
    gram: Tensor
    inside: Tensor
    period: float


def make_basis(period: float, num_samples: int) -> Basis:
    """Returns the basis for windows of ``num_samples`` samples, in blocks of `BLOCK` samples."""
    step = period / OVERSAMPLING
    reach = (num_coefficients() // 2 + _REACH) * step
    first, last = math.ceil(-reach / period), math.floor((num_samples - 1 + reach) / period)
    number = torch.arange(first, last + 1)
    num_blocks = -(-num_samples // BLOCK)
    begin = torch.arange(num_blocks) * BLOCK
    low = ((begin - reach) / period).ceil().long() - first  # [K]
    width = int((BLOCK - 1 + 2 * reach) / period) + 1
    columns = low[:, None] + torch.arange(width)
    time = begin[:, None] + torch.arange(BLOCK)  # [K, P]
    centre = (columns + first) * period  # [K, c]
    distance = (time[:, :, None] - centre[:, None, :].double()) / step  # [K, P, c]
    kernels = kernel(distance[..., None] - coefficient_times())
    kernels = kernels * (time < num_samples)[:, :, None, None]
    columns = torch.where((columns >= 0) & (columns < len(number)), columns, len(number))
    flat = kernels.reshape(-1, kernels.shape[-1])
    gram = flat.T @ flat * (period / num_samples)
    energy = kernels.square().sum((1, 3)).flatten()  # [K * c]
    inside = torch.zeros(len(number) + 1, dtype=torch.float64).index_add(0, columns.flatten(), energy)[:-1]
    return Basis(number, columns, kernels, gram, (inside / gram.trace()).clamp(max=1), period)
