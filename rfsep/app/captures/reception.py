"""Presents any stretch of a capture at the SOI's carrier, rate, timing, phase and level."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.resampling import REACH, Conversion, converted, filtered, needed
from rfsep.signals.statistics import modem_covariance
from rfsep.storage.captures.facts import Capture
from rfsep.types import InputError, Modem

_LOOKED_AT = 1 << 20  # number of samples that level and timing are estimated from
_LONGEST = 32  # samples per window, unless a symbol period is longer
# The samples are cut into so many parts, to give the estimate's standard error.
_PARTS = 16
_SURE = 3.0  # The level must exceed this many standard errors.
Samples = npt.NDArray[np.complex64]


class Tuning(NamedTuple):
    """The corrections that turn a capture into the mixture that a separator expects.

    Attributes:
        offset_hz: offset of the SOI's carrier from the capture's centre.
        dc: complex level of the receiver, taken away first.
        start: sample at the new rate at which the SOI's first symbol begins.
        phase_rad: phase of the SOI's carrier.
        soi_power: power of the SOI in the capture; it is scaled to that of the modem.
    """

    offset_hz: float
    dc: complex
    start: int
    phase_rad: float
    soi_power: float


class Found(NamedTuple):
    """A SOI's level and timing.

    Attributes:
        start: samples from the beginning to the first symbol, less than a symbol period.
        power: power of the SOI, relative to the modem's own.
        error: standard error of ``power``.
    """

    start: int
    power: float
    error: float


class Reception:
    """A tuned capture: `read` returns any stretch, with the same samples however it is divided.

    Args:
        capture: the samples.
        sample_rate_hz: sample rate of the capture.
        plan: conversion to the SOI's rate.
        tuning: the other corrections.
        modem_power: power of the modem's own waveform.
    """

    def __init__(
        self, capture: Capture, sample_rate_hz: float, plan: Conversion, tuning: Tuning, modem_power: float
    ) -> None:
        self.capture = capture
        self.plan = plan
        self.tuning = tuning
        self._turn = tuning.offset_hz / sample_rate_hz  # carrier cycles per sample
        level = math.sqrt(modem_power / tuning.soi_power)
        self._factor = np.complex64(level * np.exp(-1j * tuning.phase_rad))
        self.num_samples = max(0, capture.facts.num_samples * plan.up // plan.down - tuning.start)

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on, counted from the first symbol."""
        begin = start + self.tuning.start
        low, high = needed(self.plan, begin, count)
        first, end = max(low, 0), min(high, self.capture.facts.num_samples)
        piece = self.capture.read(first, end - first) - np.complex64(self.tuning.dc)
        if self._turn:
            cycles = np.arange(first, end, dtype=np.float64) * self._turn
            piece = piece * np.exp(-2j * np.pi * (cycles % 1.0)).astype(np.complex64)
        piece = np.pad(piece, (first - low, high - end))
        return converted(piece, low, self.plan, begin, count) * self._factor


def convert_frames(frames: Tensor, sample_rate_hz: float, plan: Conversion, offset_hz: float) -> Tensor:
    """Returns example frames complex64 [F, T] at the SOI's carrier and rate, without the filter's transients."""
    turn = offset_hz / sample_rate_hz
    carrier = np.exp(-2j * np.pi * ((np.arange(frames.shape[1]) * turn) % 1.0)).astype(np.complex64)
    turned = frames.numpy() * carrier if turn else frames.numpy()
    if plan.up == plan.down:
        return torch.from_numpy(turned)
    edge = -(-REACH * max(plan.up, plan.down) // plan.down)  # the transient's length, counted at the new rate
    count = frames.shape[1] * plan.up // plan.down - 2 * edge
    if count < 1:
        raise InputError(f"example frames of {frames.shape[1]} samples are too short for the change of sample rate")
    first = edge + plan.delay // plan.down
    return torch.from_numpy(filtered(turned, plan)[:, first : first + count])


def find_soi(samples: Samples, modem: Modem, start: int | None) -> Found:
    """Estimates the level and timing of a SOI from the statistics that repeat with its symbol period.

    Interference that does not repeat with that period adds the same to every timing. With K the SOI's covariance less
    its mean over a period, the power is the mean of y^H K y at the right timing, relative to that of a SOI of the
    modem's power. For root raised cosines this is the estimator of Oerder and Meyr (IEEE Trans. Commun. 36, 1988),
    weighted.

    Args:
        samples: complex64 [T]; only the first ones are used.
        modem: modem of the SOI.
        start: beginning of the first symbol where it is known.

    Raises:
        InputError: the level does not exceed three standard errors.
    """
    period = modem.symbol_period
    length = max(period, _LONGEST)
    whole = modem_covariance(modem, length + period, 8)
    at = torch.stack([whole[m : m + length, m : m + length] for m in range(period)])  # [P, L, L]
    kernels = at - at.mean(0)
    kernel = kernels[0].to(torch.complex64)
    # The response of a SOI depends on its place in the period.
    response = torch.stack([(kernel * one.T).sum() for one in at]).real
    samples = samples[:_LOOKED_AT]
    count = (len(samples) - length + 1) // (period * _PARTS) * period
    if count <= 0:
        raise InputError(
            f"{len(samples)} samples are too few to find the SOI's level; give --soi-power-db, --soi-start"
        )
    windows = torch.from_numpy(samples).unfold(0, length, 1)
    parts = torch.split(windows[: count * _PARTS], count)
    sums = torch.stack([_forms(part, kernel).view(-1, period).mean(0) for part in parts])  # [parts, period]
    centred = sums - sums.mean(1, keepdim=True)
    pattern = torch.stack([response[(torch.arange(period) - m) % period] for m in range(period)])  # [timing, place]
    pattern = pattern - pattern.mean(1, keepdim=True)
    powers = centred.double() @ pattern.T / pattern[0].square().sum()  # [parts, timing]
    best = int(powers.mean(0).argmax()) if start is None else start % period
    power, error = float(powers[:, best].mean()), float(powers[:, best].std() / _PARTS**0.5)
    if power < _SURE * error or power <= 0:
        raise InputError(
            f"the SOI's level cannot be told: {power:.3g} with a standard error of {error:.2g}; give --soi-power-db"
            " (and --soi-start)"
        )
    return Found(best, power, error)


def _forms(windows: Tensor, kernel: Tensor) -> Tensor:
    """Returns y^H K y of windows complex64 [N, L]: float32 [N]."""
    return torch.cat([(part.conj() * (part @ kernel.T)).sum(1).real for part in torch.split(windows, 1 << 14)])


def mean_power(samples: Samples) -> float:
    """Returns the mean power of samples complex64 [T]; 0 where there are none."""
    return float(squared(torch.from_numpy(samples)).sum(dtype=torch.float64)) / max(1, len(samples))
