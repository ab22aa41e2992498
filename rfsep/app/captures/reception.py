"""Presents any stretch of a capture at the SOI's carrier, rate, timing, phase and level."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.resampling import Conversion, converted, needed, resampled, transient
from rfsep.storage.captures.facts import Capture
from rfsep.types import InputError

_MOST = 1 << 22  # samples of the capture that are held at once
Samples = npt.NDArray[np.complex64]
PARTS = 8  # Powers and the like are kept for so many parts of a chunk.


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
        self.sample_rate_hz = sample_rate_hz
        self.modem_power = modem_power
        self.rate_hz = sample_rate_hz * plan.up / plan.down
        self.plan = plan
        self.tuning = tuning
        self._turn = tuning.offset_hz / sample_rate_hz  # carrier cycles per sample
        level = math.sqrt(modem_power / tuning.soi_power)
        self._factor = np.complex64(level * np.exp(-1j * tuning.phase_rad))
        self.num_samples = max(0, capture.facts.num_samples * plan.up // plan.down - tuning.start)

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on, counted from the first symbol."""
        most = max(1, _MOST * self.plan.up // self.plan.down)
        if count <= most:
            return self._read(start, count)
        cuts = range(start, start + count, most)
        return np.concatenate([self._read(cut, min(most, start + count - cut)) for cut in cuts])

    def _read(self, start: int, count: int) -> Samples:
        """Returns a stretch whose samples in the capture fit into memory."""
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
    edge = transient(plan)
    count = frames.shape[1] * plan.up // plan.down - 2 * edge
    if count < 1:
        raise InputError(f"example frames of {frames.shape[1]} samples are too short for the change of sample rate")
    return torch.from_numpy(resampled(turned, plan)[:, edge : edge + count])


def mean_power(samples: Samples) -> float:
    """Returns the mean power of samples complex64 [T]; 0 where there are none."""
    return float(squared(torch.from_numpy(samples)).sum(dtype=torch.float64)) / max(1, len(samples))
