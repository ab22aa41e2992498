"""Receives a single carrier of known rate and constellation in windows of one length, with or without a SOI."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.rows import put_rows, rows_of
from rfsep.separators.single_carrier.detection import Channel, Detector, Found, Prior
from rfsep.separators.single_carrier.pulses import BLOCK, delayed, make_basis
from rfsep.separators.single_carrier.synchronise import Lock, Locked
from rfsep.separators.single_carrier.system import System
from rfsep.signals.constellations import constellation

ORDERS = {"bpsk": 2, "qpsk": 4, "qam16": 4, "psk8": 8}  # powers of the symbols that have a line
_LEAST_NOISE = 1e-5  # Without any noise, detection would never doubt a decision.
_CARRIER_STEP = 0.06  # symbol rates between carriers that are tried; the line is found to half of it on each side
_BEYOND = 1.0  # ranges beyond the examples' carriers where another transmitter's may lie, tuned (on train and val)
_LOOSE = 0.02  # variance of a pulse's coefficients about the learned ones, at unit power; tuned (on val)
_MISFIT = 1.5  # noise over that of the examples from which a second start is tried, tuned (on val)
_ROUNDS, _DAMPING = 6, 0.6  # tuned (on val)


class Carrier(NamedTuple):
    """A single carrier as learned.

    Attributes:
        period: samples per symbol.
        name: constellation.
        pulse: complex128 [M], for interference of unit power, without carrier and delay.
        lowest: carriers to begin with lie between this and ``highest``, cycles per sample.
        highest: see ``lowest``.
        noise: density of the noise beside interference of unit power.
        colour: see `Prior`.
    """

    period: float
    name: str
    pulse: Tensor
    lowest: float
    highest: float
    noise: float
    colour: float

    def candidates(self, beyond: float) -> Tensor:
        """Carriers to begin with, float64 [n]; ``beyond`` the examples' by so many times their range on each side."""
        spread = self.highest - self.lowest
        number = math.ceil((1 + 2 * beyond) * spread * self.period / _CARRIER_STEP) + 1
        return torch.linspace(self.lowest - beyond * spread, self.highest + beyond * spread, number).double()


class Surroundings(NamedTuple):
    """What is known of the SOI.

    Attributes:
        response: waveforms of its symbols, complex128 [T, S].
        points: its constellation.
        autocorrelation: complex128 [lags].
    """

    response: Tensor
    points: Tensor
    autocorrelation: Tensor


def silence(num_samples: int) -> Surroundings:
    """Returns the surroundings of a carrier alone."""
    nothing = torch.zeros((num_samples, 0), dtype=torch.complex128)
    return Surroundings(nothing, constellation("bpsk"), torch.zeros(2, dtype=torch.complex128))


class Receiver:
    """Finds a carrier in windows and detects its symbols together with the SOI's.

    Args:
        carrier: as learned.
        soi: what is known of the SOI in windows of this length.
    """

    def __init__(self, carrier: Carrier, soi: Surroundings) -> None:
        self.carrier = carrier
        points, order = constellation(carrier.name), ORDERS[carrier.name]
        reference = float((points.to(torch.complex128) ** order).mean().angle())
        num_samples = len(soi.response)
        self.lock = Lock(carrier.period, order, reference, num_samples, soi.autocorrelation)
        self.system = System(soi.response, soi.points, make_basis(carrier.period, num_samples), points)
        self.detector = Detector(self.system)

    def receive(self, mixture: Tensor, gain: Tensor) -> Found:
        """Detects all symbols of windows complex128 [B, T] with interference of powers float64 [B].

        Where more is left than the noise of the examples, there are two more starts: synchronisation without the SOI
        that the first one has found, at carriers beyond
        the examples' too, and the middle of the examples' carriers. Where the SOI is strong, the power of
        symbols of many points may have no line.
        """
        found = self.detect(mixture, gain, self.locked(mixture, gain))
        for start in (self._without_soi, self._in_the_middle):
            rows = (found.channel.noise_power > _MISFIT * self._noise(gain)).nonzero()[:, 0]
            if not len(rows):
                break
            there = start(mixture[rows], gain[rows], rows_of(found, rows))
            again = self.detect(mixture[rows], gain[rows], there)
            wins = (again.channel.noise_power < found.channel.noise_power[rows]).nonzero()[:, 0]
            put_rows(found, rows[wins], rows_of(again, wins))
        return found

    def _without_soi(self, mixture: Tensor, gain: Tensor, found: Found) -> Locked:
        return self.locked(mixture - self.soi(found), gain, _BEYOND)

    def _in_the_middle(self, mixture: Tensor, gain: Tensor, found: Found) -> Locked:
        middle = torch.full_like(gain, (self.carrier.lowest + self.carrier.highest) / 2)
        pulse = self.carrier.pulse * gain.sqrt()[:, None]
        return self.lock.at(mixture - self.soi(found), pulse, self._noise(gain), middle, exact=True)

    def soi(self, found: Found) -> Tensor:
        """Returns the SOI's expected waveform complex128 [B, T]."""
        return self.system.symbols(found.unknowns.mean, self.system.soi_place) @ self.system.response.T

    def locked(self, mixture: Tensor, gain: Tensor, beyond: float = 0.0) -> Locked:
        """Synchronises windows complex128 [B, T] with interference of powers float64 [B].

        ``beyond``: see `Carrier.candidates`.
        """
        pulse = self.carrier.pulse * gain.sqrt()[:, None]
        return self.lock(mixture, pulse, self._noise(gain), self.carrier.candidates(beyond))

    def detect(self, mixture: Tensor, gain: Tensor, locked: Locked) -> Found:
        """Detects all symbols of windows complex128 [B, T]."""
        start = delayed(self.carrier.pulse * gain.sqrt()[:, None], locked.delay)
        channel = Channel(start, self._phase(locked), torch.zeros_like(gain), self._noise(gain))
        prior = Prior(start, 1 / (_LOOSE * gain), self.carrier.colour)
        return self.detector.detect(self.system.cut(mixture), channel, prior, _ROUNDS, _DAMPING)

    def _noise(self, gain: Tensor) -> Tensor:
        return (self.carrier.noise * gain).clamp_min(_LEAST_NOISE)

    def _phase(self, locked: Locked) -> Tensor:
        """Phases float64 [B, K, P] of carriers."""
        time = torch.arange(self.system.num_blocks * BLOCK, dtype=torch.float64)
        turned = 2 * math.pi * locked.carrier[:, None] * time + locked.phase[:, None]
        return turned.view(len(turned), -1, BLOCK)
