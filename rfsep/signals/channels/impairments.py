"""A signal as a receiver hears it: another clock, a delay, rays, another oscillator and its phase noise.

The order is that of the radio: the transmitter's clock and the delay on the way, then the rays of the channel, then the
difference between the oscillators of transmitter and receiver.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfsep.signals.channels.delay_line import HALF_WIDTH, Waveform, filtered, ray_taps
from rfsep.signals.resampling import INTERPOLATION_REACH, interpolated
from rfsep.types import InputError

_STEPS = 4096  # phase steps drawn at once, so that a walk does not depend on how a signal is cut
# Bounds on what anyone could mean; the band of 0.4 cycles/sample leaves room for a clock that is off by 1 %.
_MOST_PPM = 1e4
_LONGEST_DELAY = 1e5


class Impairments(NamedTuple):
    """What lies between a transmitter and a receiver; the default is nothing.

    Sample n of the received signal is the sent one at place ``n (1 + clock_ppm 1e-6) - delay``, filtered by the rays,
    times ``exp(1j (2 pi carrier n + phase_rad + walk[n]))``.

    Attributes:
        carrier: offset of the carrier in cycles/sample.
        phase_rad: phase of the carrier at sample 0.
        clock_ppm: by which the transmitter's clock is faster than the receiver's, so that symbols come sooner.
        delay: in samples, any fraction.
        rays: (delay in samples, complex gain) of each path; none means one path without delay, of gain 1.
        phase_noise: standard deviation of a random walk's step from sample to sample, rad; it starts at 0.
    """

    carrier: float = 0.0
    phase_rad: float = 0.0
    clock_ppm: float = 0.0
    delay: float = 0.0
    rays: tuple[tuple[float, complex], ...] = ()
    phase_noise: float = 0.0


class PhaseWalk:
    """The random walk of an oscillator's phase, drawn as far as it is asked for, from front to back.

    Args:
        step_rad: standard deviation of a step.
        generator: generator of the steps; untouched where ``step_rad`` is 0.
        batch_size: number of independent walks.
    """

    def __init__(self, step_rad: float, generator: torch.Generator, batch_size: int = 1) -> None:
        self._step_rad = step_rad
        self._generator = generator
        self._place = 0
        self._known = torch.zeros((batch_size, 1), dtype=torch.float64)  # from ``_place`` on

    def phases(self, start: int, count: int) -> Tensor:
        """Returns phases float64 [B, count] in rad from sample ``start`` on, which never goes back between calls."""
        if self._step_rad == 0:
            return torch.zeros((len(self._known), count), dtype=torch.float64)
        pieces = [self._known]
        end = self._place + self._known.shape[1]
        while end < start + count:
            shape = (len(self._known), _STEPS)
            steps = torch.randn(shape, dtype=torch.float64, generator=self._generator)
            pieces.append(pieces[-1][:, -1:] + self._step_rad * steps.cumsum(1))
            end += _STEPS
        phases = torch.cat(pieces, 1)
        first = start - self._place
        kept = min(first + count, phases.shape[1] - 1)
        self._known, self._place = phases[:, kept:], self._place + kept
        return phases[:, first : first + count]


def check_impairments(impairments: Impairments) -> Impairments:
    """Returns impairments that are finite and within bounds.

    Raises:
        InputError: one is not; names it.
    """
    bounds = {
        "carrier": (-0.5, 0.5, "cycles/sample"),
        "phase_rad": (-1e6, 1e6, "rad"),
        "clock_ppm": (-_MOST_PPM, _MOST_PPM, "ppm"),
        "delay": (-_LONGEST_DELAY, _LONGEST_DELAY, "samples"),
        "phase_noise": (0.0, math.pi, "rad per step"),
    }
    for name, (low, high, unit) in bounds.items():
        if not low <= (value := impairments._asdict()[name]) <= high:
            raise InputError(f"{name} is {value}, expected {low:g} to {high:g} {unit}")
    for delay, gain in impairments.rays:
        if not abs(delay) <= _LONGEST_DELAY or not abs(gain) < math.inf:
            raise InputError(f"rays: a delay of {delay} samples with gain {gain}; expected finite numbers")
    return impairments


def needed(impairments: Impairments, start: int, count: int) -> tuple[int, int]:
    """Returns the first sample and the end of the sent signal that `impaired_stretch` needs; the first may be < 0."""
    delays = [delay for delay, _ in impairments.rays] or [0.0]
    rate = 1 + impairments.clock_ppm * 1e-6
    low = math.floor((start - max(delays) - HALF_WIDTH) * rate - impairments.delay) - INTERPOLATION_REACH
    high = math.ceil((start + count - min(delays) + HALF_WIDTH) * rate - impairments.delay) + INTERPOLATION_REACH
    return low, high + 1


def impaired_stretch(
    sent: Waveform, first: int, impairments: Impairments, start: int, count: int, walk: PhaseWalk
) -> Tensor:
    """Returns received samples ``start`` to ``start + count`` complex64 [B, count].

    Every sample is the same sum in the same order, however a signal is cut.

    Args:
        sent: complex128 [B, n], a piece of the sent signal, see `needed`; outside it counts as zero.
        first: number of the piece's first sample.
        impairments: what to do to it.
        start: first sample wanted.
        count: how many.
        walk: the phase noise, which goes on from stretch to stretch.
    """
    rays = impairments.rays or ((0.0, 1.0 + 0.0j),)
    if impairments.clock_ppm == 0:  # one filter for the delay and the rays
        first_lag, taps = ray_taps([(impairments.delay + delay, gain) for delay, gain in rays])
        received = filtered(sent, first_lag, taps, start - first, count)
    else:
        first_lag, taps = ray_taps(rays)
        begin = start - first_lag - len(taps) + 1
        clocked = _clocked(sent, first, impairments, begin, count + len(taps) - 1)
        received = filtered(clocked, first_lag, taps, start - begin, count)
    return _turned(received, impairments, start, walk.phases(start, count))


def impaired(waveform: Tensor, impairments: Impairments, generator: torch.Generator) -> Tensor:
    """Returns a whole signal complex64 [B, T] as it is received, as long as it was; it is zero before and behind.

    For signals within +-0.4 cycles/sample the error is below -80 dB with a clock error, and below -90 dB without, apart
    from 24 samples at either end where the signal starts or stops abruptly.

    Args:
        waveform: complex64 [B, T].
        impairments: the same for all rows.
        generator: generator of the phase noise, independent from row to row; untouched where there is none.

    Raises:
        InputError: an impairment is not finite or out of bounds.
    """
    check_impairments(impairments)
    walk = PhaseWalk(impairments.phase_noise, generator, len(waveform))
    sent = waveform.numpy().astype(np.complex128)
    return impaired_stretch(sent, 0, impairments, 0, waveform.shape[1], walk)


def _clocked(sent: Waveform, first: int, impairments: Impairments, start: int, count: int) -> Waveform:
    """Returns samples ``start`` to ``start + count`` of a signal at another clock and delay, complex128 [B, count]."""
    number = np.arange(start, start + count)
    positions = number + (number * (impairments.clock_ppm * 1e-6) - impairments.delay)
    return np.stack([interpolated(row, positions, first) for row in sent.astype(np.complex64)]).astype(np.complex128)


def _turned(received: Waveform, impairments: Impairments, start: int, walk: Tensor) -> Tensor:
    """Turns samples from ``start`` on by the carrier, its phase and its walk float64 [B, n]: complex64 [B, n]."""
    number = np.arange(start, start + received.shape[1])
    turns = number * impairments.carrier % 1.0
    angle = 2 * math.pi * turns + impairments.phase_rad + walk.numpy()
    turn = np.empty(angle.shape, np.complex128)
    turn.real, turn.imag = np.cos(angle), np.sin(angle)
    return torch.from_numpy((received * turn).astype(np.complex64))
