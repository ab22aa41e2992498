"""Estimates a channel from carriers beside the SOI, for packets whose training field lies outside the window."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.wifi.packet_runs import Run
from rfsep.separators.wifi.packet_symbols import (
    CLEAR,
    NUMBER,
    TAPS,
    Equalised,
    Residual,
    carriers_of_taps,
    data_carriers,
    decided,
    equalise,
    fit,
    track_phase,
    turned,
)
from rfsep.signals import wifi
from rfsep.signals.statistics import solve_positive

# Tuned; split not recorded. The first and last delay that are tried, in samples, and their number.
_DELAYS = (-6.0, 6.0, 121)

# Tuned; split not recorded. The outer carriers are in use if their power exceeds this share of the others' power.
_HT_SHARE = 0.1

# Tuned; split not recorded. Rounds of decisions and channel fits, and the ridge of a fit relative to the mean power.
_REFINEMENTS = 4
_RIDGE = 1e-2

# A guard against division by zero: the least amplitude of a channel, relative to a flat one.
_LEAST = 1e-6

# Tuned; split not recorded. The packet begins after the first symbol if that fits worse than the median by this much.
_WORSE_FIRST = 1.5


class Unseen(NamedTuple):
    """Symbols of one alphabet, and a channel up to a quarter turn.

    Attributes:
        starts: samples at which the symbols begin.
        ht: whether the outer carriers are used.
        bits: per carrier.
        taps: complex128 [taps].
    """

    starts: list[int]
    ht: bool
    bits: int
    taps: Tensor


class _Guess(NamedTuple):
    """Taps of a channel relative to a flat one of the packet's level, and the fit float64 [J] of each symbol."""

    taps: Tensor
    fits: Tensor


def _through(found: Equalised, channel: Tensor) -> Equalised:
    """Removes a channel complex128 [56] from values."""
    return Equalised(found.values / channel, found.variance / channel.abs().square())


def _delayed(found: Equalised, shape: Tensor, scale: Tensor, bits: int, chosen: Tensor) -> Tensor:
    """Returns ``shape`` complex128 [56] with the delay and phase that the second or fourth power of values shows."""
    order = 2 if bits == 1 else 4
    powers = (found.values[:, chosen] / shape[chosen] / scale) ** order / (1 + found.variance[:, chosen]) ** order
    delay = torch.linspace(*_DELAYS[:2], int(_DELAYS[2]), dtype=torch.float64)
    phase = 2 * torch.pi * order * delay[:, None] * NUMBER[chosen] / wifi.FFT_SIZE
    sums = torch.polar(torch.ones_like(phase), phase) @ powers.T  # [delays, J]
    best = int(sums.abs().sum(1).argmax())
    turn = (sums[best].sum().angle() + (torch.pi if bits > 1 else 0.0)) / order  # The fourth power of QAM is negative.
    angle = turn - 2 * torch.pi * delay[best] * NUMBER / wifi.FFT_SIZE
    return shape * scale * torch.polar(torch.ones_like(angle), angle)


def _refined(found: Equalised, channel: Tensor, bits: int, chosen: Tensor, error: float) -> _Guess:
    """Estimates a channel's taps by decisions, and the fit of the symbols with it."""
    transform = carriers_of_taps() / math.sqrt(len(TAPS))
    weight, taps = chosen / (found.variance + 2e-3), torch.zeros(len(TAPS), dtype=torch.complex128)
    for _ in range(_REFINEMENTS):
        behind = _through(found, channel)
        phase = track_phase(behind, bits, chosen)
        points = turned(decided(turned(behind.values, phase), bits), -phase)
        moment = (weight * points.conj() * found.values).sum(0)
        power = (weight * points.abs().square()).sum(0)
        ridge = _RIDGE * power.mean() * torch.eye(len(TAPS), dtype=torch.complex128)
        gram = (transform.mH * power) @ transform + ridge
        taps = solve_positive(gram, (transform.mH @ moment)[:, None])[:, 0]
        channel = transform @ taps
    behind = _through(found, channel)
    phase = track_phase(behind, bits, chosen)
    likelihood = fit(turned(behind.values, phase), behind.variance, bits, 1.5 * error + 1e-3)
    density = likelihood - 2 * channel.abs().log()  # density of the received values
    return _Guess(taps, (density * chosen).sum(1) / chosen.sum())


def unseen_group(residual: Residual, starts: list[int], run: Run, guess: Tensor | None) -> Unseen | None:
    """Estimates alphabet and channel of symbols that begin at ``starts``; None for fewer than two.

    Args:
        residual: the window.
        starts: samples at which the symbols begin.
        run: their packet.
        guess: taps complex128 [taps] of a similar packet.
    """
    if len(starts) < 2:
        return None
    level = math.sqrt(run.level / (2 * wifi.LAST_LEGACY))
    flat = torch.full((len(NUMBER),), level, dtype=torch.complex128)
    found = equalise(residual, starts, flat, run)
    power = (found.values.abs().square() - found.variance).clamp_min(0).mean(0)  # [56]
    outer = NUMBER.abs() > wifi.LAST_LEGACY
    ht = bool(power[outer].mean() > _HT_SHARE * power[~outer & CLEAR].mean())
    chosen = data_carriers(ht) & CLEAR
    shape = torch.ones_like(flat) if guess is None else carriers_of_taps() @ guess / flat
    scale = (power[chosen] / shape[chosen].abs().square().clamp_min(_LEAST)).mean().sqrt().clamp_min(_LEAST)
    guesses = {
        bits: _refined(found, _delayed(found, shape, scale, bits, chosen), bits, chosen, run.error)
        for bits in (1, 2, 4, 6)
    }
    bits = max(guesses, key=lambda one: guesses[one].fits.median().item())
    fits = guesses[bits].fits
    begin = 1 if fits[0] <= fits.median() - _WORSE_FIRST else 0
    return Unseen(starts[begin:], ht, bits, guesses[bits].taps * level / math.sqrt(len(TAPS)))
