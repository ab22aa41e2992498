"""Fits a short channel, a delay and a clock to what a linear separator leaves of a SOI, given what was sent.

A linear separator leaves more of some parts of the SOI than of others, so what it leaves is not compared with what was
sent, but with what it leaves of what was sent: its response to each echo is measured, as the change of its estimate
when a little of that echo is added to what was received. The rest is the interference that came through, which is
whitened by its own spectrum.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import fft, fftfreq, ifft, next_fast_len

from rfsep.types import Separator

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]
REACH = 3  # taps on each side of the middle one
_CELLS = 256  # cells of the spectrum by which the rest is whitened
_LOCAL = 256  # samples over which the power of the rest is taken as constant
_FLOOR = 0.01  # least such power that counts, relative to its mean
_LITTLE = 0.1  # amplitude at which an echo is added
PIECES = 16  # parts of a stretch whose delays tell the clock
_ECHO = 0.1  # power expected of an echo
_DOUBT = 30.0  # such energy over that of the noise: of noise alone it is the number of taps, within a few
_LEAST_DELAY = 0.05  # samples, below which a delay is left alone
_LONGEST_STEP = 3.0  # samples by which one fit may move a delay


class Channel(NamedTuple):
    """A short channel.

    Attributes:
        taps: complex128 [2 * REACH + 1], the middle one at delay 0.
        information: inverse covariance of their errors, complex128 [2 * REACH + 1, 2 * REACH + 1]. What of a channel
            lies outside the signal's band has none, so this is also the measure by which two channels differ.
    """

    taps: Complexes
    information: Complexes

    def difference(self, taps: Complexes) -> float:
        """Returns the energy by which a signal through other taps differs, relative to that through these."""
        own = float(np.vdot(self.taps, self.information @ self.taps).real)
        apart = self.taps - taps
        return float(np.vdot(apart, self.information @ apart).real) / max(own, 1e-300)


class Clock(NamedTuple):
    """A delay in the middle of a stretch, in samples, and its growth per sample; 0 where in doubt.

    Attributes:
        delay: in samples.
        drift: samples per sample.
        delay_error: standard error of the delay.
        drift_error: standard error of the drift.
    """

    delay: float
    drift: float
    delay_error: float
    drift_error: float


class Left(NamedTuple):
    """What a linear separator leaves.

    Attributes:
        estimate: complex128 [n].
        responses: of the signals that were added, complex128 [J, n].
    """

    estimate: Complexes
    responses: Complexes


def left_of(separator: Separator, received: npt.NDArray[np.complex64], added: Complexes) -> Left:
    """Returns what a linear separator leaves of a stretch, and of each of the signals complex128 [J, n]."""
    # A quarter turn off, so that the power, from which a separator may tell the SINR, stays.
    scale = 1j * _LITTLE / np.maximum(np.sqrt(np.mean(np.square(np.abs(added)), 1, keepdims=True)), 1e-30)
    rows = np.concatenate((received[None], received + scale * added)).astype(np.complex64)
    found = separator.separate(torch.from_numpy(rows)).soi.numpy().astype(np.complex128)
    return Left(found[0], (found[1:] - found[0]) / scale)


def sampled_taps(taps: Complexes, spacing: int) -> npt.NDArray[np.complex64]:
    """Returns a channel's taps one sample apart, complex64 [n] with n odd: zero between the fitted ones."""
    sampled = np.zeros(2 * REACH * spacing + 1, np.complex64)
    sampled[::spacing] = taps
    return sampled


def echoes(sent: Complexes, spacing: int) -> Complexes:
    """Returns a signal complex128 [n] at the delays of a channel's taps: complex128 [2 * REACH + 1, n]."""
    size = len(sent)
    rows = np.zeros((2 * REACH + 1, size), np.complex128)
    for row, delay in zip(rows, range(-REACH * spacing, REACH * spacing + 1, spacing), strict=True):
        row[max(0, delay) : size + min(0, delay)] = sent[max(0, -delay) : size - max(0, delay)]
    return rows


def slope_of(sent: Complexes) -> Complexes:
    """Returns the derivative of a band-limited signal complex128 [n], per sample."""
    size = next_fast_len(len(sent))
    derivative: Complexes = ifft(2j * math.pi * fftfreq(size) * fft(sent, size))[: len(sent)]
    return derivative


def smoothed_density(rest: Complexes) -> Floats:
    """Returns the energy density float64 [n] of a signal complex128 [n], smoothed to 256 cells."""
    size = len(rest)
    density = np.square(np.abs(fft(rest)))
    edges = np.linspace(0, size, min(_CELLS, size) + 1).astype(np.int64)
    sums = np.add.reduceat(density, edges[:-1]) / np.diff(edges)
    around = (np.roll(sums, 1) + sums + np.roll(sums, -1)) / 3
    # What the separator stops altogether tells nothing, rather than everything.
    floored = np.maximum(around, 1e-3 * around.max())
    spread: Floats = np.interp(np.arange(size), (edges[:-1] + edges[1:]) / 2, floored, period=size)
    return spread


def fit_channel(left: Left) -> Channel:
    """Returns the weighted least-squares channel; the responses are those of `echoes`, the middle one first guess.

    The rest is whitened over time first, for interference comes and goes, then over frequency.
    """
    weight = _calm(left.estimate, left.responses[REACH])
    columns, heard = fft(left.responses * weight), fft(left.estimate * weight)
    rest = ifft(heard - _gain_of(columns[REACH], heard) * columns[REACH])
    taps: Complexes = np.zeros(len(columns), np.complex128)
    gram: Complexes = np.eye(len(columns), dtype=np.complex128)
    prior = np.full(len(columns), 1 / _ECHO)
    prior[REACH] = 0
    for _ in range(2):
        density = 1 / np.maximum(smoothed_density(rest), 1e-300)
        gram = (columns.conj() * density) @ columns.T
        taps = np.linalg.solve(gram + np.diag(prior), (columns.conj() * density) @ heard).astype(np.complex128)
        rest = ifft(heard - taps @ columns)
    return Channel(taps, gram)


def _gain_of(sent: Complexes, heard: Complexes) -> complex:
    """Returns the gain at which a signal complex128 [n] explains another best."""
    return complex(np.vdot(sent, heard)) / max(float(np.vdot(sent, sent).real), 1e-300)


def _calm(heard: Complexes, sent: Complexes) -> Floats:
    """Returns amplitudes float64 [n] that even out the power over time of what a sent signal leaves unexplained."""
    power = np.square(np.abs(heard - _gain_of(sent, heard) * sent))
    local = np.convolve(power, np.full(_LOCAL, 1 / _LOCAL), "same")
    mean = max(float(local.mean()), 1e-300)
    even: Floats = 1 / np.sqrt(local / mean + _FLOOR)
    return even


def plain_channel() -> Complexes:
    """Returns the taps of a channel that changes nothing."""
    taps = np.zeros(2 * REACH + 1, np.complex128)
    taps[REACH] = 1
    return taps


def beyond_doubt(channel: Channel, least: float) -> Complexes:
    """Returns taps complex128 of unit energy: those of a channel that changes nothing where no echo is beyond doubt.

    Args:
        channel: as fitted.
        least: relative energy of what one path cannot explain, below which echoes are left alone.
    """
    plain = plain_channel()
    own = channel.information @ channel.taps
    direct = complex(own[REACH]) / channel.information[REACH, REACH].real  # the best that no echo can explain
    energy = float(np.vdot(channel.taps, own).real)
    misfit = channel.difference(direct * plain)
    if direct == 0 or misfit < least or misfit * energy < _DOUBT:
        return plain
    # Of unit energy in the signal's band.
    taps: Complexes = channel.taps * math.sqrt(channel.information[REACH, REACH].real / energy)
    return taps


def fit_clock(left: Left, certainty: float, known: Floats, middles: Floats | None = None) -> Clock:
    """Returns the delay and drift of a stretch; the responses are those of what was sent and of its `slope_of`.

    Delayed by d, the signal s becomes s - d s' to first order.

    Args:
        left: what a separator leaves.
        certainty: standard errors from which a delay or a drift counts.
        known: delays in samples that are there anyway and do not count, float64 [n].
        middles: of 16 equal pieces, in samples from the middle of the stretch, float64 [16], where they do not follow
            one another; None where they do.
    """
    size = left.estimate.shape[0] // PIECES
    times = (np.arange(PIECES) + 0.5) * size - left.estimate.shape[0] / 2 if middles is None else middles
    delays, errors = np.zeros(PIECES), np.zeros(PIECES)
    for number in range(PIECES):
        part = slice(number * size, (number + 1) * size)
        sent, slope = left.responses[:, part]
        heard = left.estimate[part]
        energy = max(np.vdot(sent, sent).real, 1e-300)
        gain = np.vdot(sent, heard) / energy
        # Where the separator makes them alike, what the gain explains of a delay is none.
        slope = slope - np.vdot(sent, slope) / energy * sent
        rest = heard - gain * sent
        bend = max(abs(gain) ** 2 * np.vdot(slope, slope).real, 1e-300)
        delays[number] = -np.vdot(gain * slope, rest).real / bend
        # The rest that came through is coloured as the signal is, so one symbol's samples are about one.
        errors[number] = math.sqrt(np.vdot(rest, rest).real / len(rest) * _correlated(slope) / bend)
        delays[number] -= float(known[part].mean())
    weights = 1 / np.maximum(errors, 1e-3)
    matrix = np.stack((np.ones(PIECES), times), 1) * weights[:, None]
    covariance = np.linalg.inv(matrix.T @ matrix)
    held = np.clip(delays, -_LONGEST_STEP, _LONGEST_STEP)
    mean, drift = covariance @ matrix.T @ (held * weights)
    misfit = float(np.sum(np.square(weights * (held - mean - drift * times)))) / (PIECES - 2)
    error, drift_error = np.sqrt(np.diagonal(covariance) * max(misfit, 0.3)).tolist()
    return Clock(
        float(mean) if abs(mean) > max(certainty * error, _LEAST_DELAY) else 0.0,
        float(drift) if abs(drift) > certainty * drift_error else 0.0,
        error,
        drift_error,
    )


def _correlated(signal: Complexes) -> float:
    """Returns the number of samples over which a signal's samples are alike: its inverse relative bandwidth."""
    density = np.square(np.abs(fft(signal)))
    return float(len(signal) * np.square(density).sum() / max(float(density.sum()) ** 2, 1e-300))
