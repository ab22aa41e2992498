"""Learns how envelope and phase of an interference vary, from example frames."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import Innovations, fit_innovations, whitened
from rfsep.separators.envelope.nuisance import PERIOD, Nuisance, learn_nuisance
from rfsep.types import InputError

BUSY = 0.5  # Where the local level is below this share of the high level, the interference pauses.

_SMOOTHING = 64  # samples over which the level of examples is taken
_SIZES = (PERIOD, 1024, 512, 256)  # samples per frame without a pause, the longest that there are
_LEAST_FRAMES, _MOST_FRAMES = 8, 60
_MOST_SPREAD = 0.4  # largest deviation of an envelope over its mean; a complex Gaussian signal has 0.52
_LEAST_NOISE = 3e-3  # by choice: -50 dB, about a receiver of 8 bits; an exact signal would tell infinitely much
_LEAST_FLOOR = 1e-2  # noise in pauses over the level
_LOCAL = 129  # samples of a local misfit
_HARDLY, _ALLOWANCE = 0.99, 1.1  # tuned on val: quantile of the examples' own misfit, and a factor


class Polar(NamedTuple):
    """An interference in polar coordinates.

    Attributes:
        envelope: of the magnitude over its mean level.
        frequency: of the phase's increments, radians per sample.
        nuisance: deviations with few unknowns per window.
        floor: noise in pauses, as a share of the level; None where the interference never pauses.
        freedom: degrees of freedom of the innovations.
        usual: local misfit (see `rfsep.separators.envelope.linearised.Errors`) that the interference hardly exceeds.
    """

    envelope: Innovations
    frequency: Innovations
    nuisance: Nuisance
    floor: float | None
    freedom: float
    usual: float


def busy_samples(samples: Tensor, smoothing: int) -> Tensor:
    """Tells where signals complex [B, T] do not pause, by their level over ``smoothing`` samples: bool [B, T]."""
    size = min(smoothing, samples.shape[1])
    power = samples.abs().square()
    padded = torch.nn.functional.pad(power[:, None], (size // 2, size - 1 - size // 2), mode="replicate")[:, 0]
    total = torch.nn.functional.pad(padded.double().cumsum(1), (1, 0))
    local = (total[:, size:] - total[:, :-size]) / size
    return local > BUSY**2 * local.quantile(0.9, 1, keepdim=True)


def _frames(examples: Tensor) -> tuple[Tensor, float | None]:
    """Returns frames complex128 [F, T] of level 1 without pauses, and the noise in the pauses.

    Raises:
        InputError: see `learn_polar`.
    """
    if examples.numel() == 0 or not torch.isfinite(torch.view_as_real(examples)).all() or not examples.any():
        raise InputError("envelope: the example frames are empty, hold nothing but zeros, or hold NaN or infinity")
    signal = examples.to(torch.complex128)
    whole = signal.abs().square().mean(1, keepdim=True) > 0
    busy = busy_samples(signal, _SMOOTHING) & whole
    level = ((signal.abs() * busy).sum(1) / busy.sum(1).clamp_min(1)).clamp_min(1e-12)
    floor = None
    if (~busy).double().mean() > 1e-3:
        quiet = (signal.abs() / level[:, None])[~busy]
        floor = max(_LEAST_FLOOR, float(quiet.square().quantile(0.5).sqrt()))
    for size in _SIZES:
        count = examples.shape[1] // size
        cut = signal[:, : count * size].reshape(-1, size)
        kept = cut[busy[:, : count * size].reshape(-1, size).all(1)]
        if len(kept) >= _LEAST_FRAMES:
            kept = kept[:: -(-len(kept) // _MOST_FRAMES)]
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(kept.shape, dtype=kept.dtype, generator=generator)
            return kept / kept.abs().mean(1, keepdim=True) + _LEAST_NOISE * noise, floor
    raise InputError(
        f"envelope: the examples hold fewer than {_LEAST_FRAMES} stretches of {_SIZES[-1]} samples without a pause"
    )


def learn_polar(examples: Tensor, order: int, freedom: float) -> Polar:
    """Learns the model from frames complex64 [F, T].

    Args:
        examples: the frames.
        order: of the autoregressions.
        freedom: degrees of freedom of the innovations.

    Raises:
        InputError: the frames are empty, silent or not finite, pause too often, or their envelope is not constant.
    """
    frames, floor = _frames(examples)
    spread = float(frames.abs().std(1).median())
    if spread > _MOST_SPREAD:
        raise InputError(
            f"envelope: the examples' envelope is not constant: it deviates by {100 * spread:.0f} % of its mean, "
            f"more than {100 * _MOST_SPREAD:.0f} %"
        )
    nuisance, rest = learn_nuisance(frames)
    level = rest.abs()
    steps = torch.angle(rest[:, 1:] * rest[:, :-1].conj())
    envelope, frequency = fit_innovations(level, order, freedom), fit_innovations(steps, order, freedom)
    error = whitened(level - envelope.mean, envelope.taps)[:, 1:].square() / envelope.variance
    error_in_phase = whitened(steps - frequency.mean, frequency.taps).square() / frequency.variance
    misfit = torch.log1p(error / freedom) + torch.log1p(error_in_phase / freedom)
    local = misfit.unfold(1, _LOCAL, 16).mean(2).flatten()
    usual = _ALLOWANCE * float(local.quantile(_HARDLY))
    return Polar(envelope, frequency, nuisance, floor, freedom, max(usual, math.log1p(1 / freedom)))
