"""The periodic covariance of a cyclostationary signal, in closed form or from examples."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.distinct import distinct_samples
from rfsep.signals.statistics import frames_autocorrelation, modem_covariance, modem_waveforms
from rfsep.types import InputError, Modem

_SPAN = 1e-9  # A smaller share of the largest eigenvalue counts as zero, a direction without signal.
_INDEPENDENT = 1.5  # Periods are independent if the correlation across a boundary is below this multiple of chance.
_ROUNDS = 4  # rounds of aligning and averaging
_REFINED = 2  # offsets on each side that the likelihood compares


class PeriodicCovariance(NamedTuple):
    """Covariance of unit mean power that repeats every P samples.

    Attributes:
        lags: complex128 [P, L], ``lags[n, l] = E x[n + l] conj(x[n])``; zero from lag L on.
        independent: whether periods that start at phase 0 are uncorrelated, as OFDM symbols are.
    """

    lags: Tensor
    independent: bool

    @property
    def period(self) -> int:
        """Number of samples after which the statistics repeat."""
        return len(self.lags)

    def window(self, phase: int, length: int) -> Tensor:
        """Covariance complex128 [length, length] of a window that starts ``phase`` samples into a period."""
        row = torch.arange(length)
        lag = row[:, None] - row  # [length, length]
        inside = lag.abs() < self.lags.shape[1]
        earlier = (phase + torch.minimum(row[:, None], row)) % self.period
        values = self.lags[earlier, lag.abs() * inside] * inside
        return torch.where(lag >= 0, values, values.conj())


def modem_periodic_covariance(modem: Modem) -> PeriodicCovariance:
    """Returns the closed form for independent symbols of unit power: C = R R^H over the modem's mean power.

    >>> from rfsep.signals.ofdm_modem import OfdmModem
    >>> covariance = modem_periodic_covariance(OfdmModem())
    >>> covariance.independent, covariance.window(0, 80).diagonal().real.mean().round(decimals=6)
    (True, tensor(1., dtype=torch.float64))
    """
    period = modem.symbol_period
    alone = modem_waveforms(modem, 17 * period, 0)  # waveforms from the first symbol on
    energy = alone[: len(alone) // 17].abs().square().sum(0)  # energy of the first period's symbols over time
    reach = int((energy > 1e-12 * energy.max()).nonzero().max()) + 1
    independent = reach <= period
    length = period if independent else 2 * reach
    covariance = modem_covariance(modem, period + length, 8)
    column = torch.arange(period)[:, None] + torch.arange(length)
    lags = covariance[column, torch.arange(period)[:, None].expand_as(column)]
    if independent:
        lags = lags * (column < period)
    return PeriodicCovariance(lags / lags[:, 0].real.mean(), independent)


class _Seen(NamedTuple):
    """Example frames.

    Attributes:
        frames: complex64 [F, T].
        distinct: bool [F, T], see `rfsep.signals.distinct.distinct_samples`.
    """

    frames: Tensor
    distinct: Tensor


def _unfolded(seen: _Seen, offsets: Tensor, period: int, length: int) -> Tensor:
    """Cuts all frames into pieces of ``length`` samples that start on a period: complex128 [N, length].

    A piece without a new sample is part of an earlier frame too. It is left out, so that pieces count observations.
    """
    pieces = []
    for frame, new, offset in zip(*seen, offsets.tolist(), strict=True):
        rest = frame[-offset % period :]
        if len(rest) >= length:
            once = new[-offset % period :].unfold(0, length, period).any(1)
            pieces.append(rest.unfold(0, length, period)[once])
    if not pieces:
        raise InputError(f"frames of {seen.frames.shape[1]} samples are too short for a period of {period}")
    return torch.cat(pieces).to(torch.complex128)


def _lag_products(frames: Tensor, period: int, lag: int) -> Tensor:
    """Returns the correlation at one lag folded over the period, for each frame: complex128 [F, P]."""
    product = (frames[:, lag:] * frames[:, : frames.shape[1] - lag].conj()).to(torch.complex128)
    count = product.shape[1] // period * period
    return product[:, :count].reshape(len(frames), -1, period).mean(1)


def _cyclic_lag(frames: Tensor, period: int, longest: int) -> int:
    """Returns the lag whose correlation varies most over the period, relative to chance."""
    turn = torch.exp(-2j * torch.pi * torch.arange(frames.shape[1]) / period).to(torch.complex64)
    size = 2 * frames.shape[1]
    spectrum = torch.fft.fft(frames, size)
    cyclic = torch.fft.ifft(spectrum * torch.fft.fft(frames * turn.conj(), size).conj())[:, :longest]
    return int(squared(cyclic).sqrt().sum(0).argmax())


def align(frames: Tensor, period: int) -> Tensor:
    """Returns offsets int64 [F], samples into a common period at sample 0 of each frame, up to one shift for all.

    The correlation at the most cyclic lag is folded over the period, which random phases do not affect. Frames are
    aligned to the mean of the aligned ones in a few rounds.

    Args:
        frames: complex64 [F, T].
        period: samples P.
    """
    lag = _cyclic_lag(frames, period, min(period, frames.shape[1] // 2))
    profile = _lag_products(frames, period, lag)  # [F, P]
    profile = profile - profile.mean(1, keepdim=True)
    spectrum = torch.fft.fft(profile)
    template = spectrum[squared(profile).sum(1).argmax()]
    offsets = torch.zeros(len(frames), dtype=torch.int64)
    frequency = torch.arange(period, dtype=torch.float64) / period
    for _ in range(_ROUNDS):
        # frame(n) = template(n + offset)
        match = torch.fft.ifft(template.conj() * spectrum).real
        offsets = -match.argmax(1) % period
        turned = spectrum * torch.exp(-2j * torch.pi * frequency * offsets[:, None])
        template = turned.mean(0)
    return offsets


def _refined(frames: Tensor, offsets: Tensor, covariance: Tensor) -> Tensor:
    """Moves offsets by up to `_REFINED` samples to the likeliest places of independent blocks of ``covariance``."""
    period = len(covariance)
    values, vectors = torch.linalg.eigh(covariance)
    # A sum over thousands of samples decides, for which single precision is enough.
    whitening = (vectors.conj() / (values.clamp_min(0) + 1e-3).sqrt()).to(torch.complex64)
    count = (frames.shape[1] - 2 * period) // period
    steps = torch.arange(-_REFINED, _REFINED + 1)
    costs = []
    for step in steps.tolist():
        start = (-offsets - step) % period
        place = start[:, None] + torch.arange(count * period)
        blocks = frames.gather(1, place).reshape(len(frames), count, period)
        costs.append(squared(blocks @ whitening).sum((1, 2)))
    return (offsets + steps[torch.stack(costs, 1).argmin(1)]) % period


def _shrunk(covariance: Tensor, pieces: Tensor) -> Tensor:
    """Shrinks a covariance towards equal power within its span, by the amount that its estimation noise calls for.

    Ledoit & Wolf, J. Multivariate Anal. 88 (2004). The projection on the span replaces the identity if enough pieces
    show the span, because a null space is the most valuable part of the matrix.
    """
    count, size = pieces.shape
    values, vectors = torch.linalg.eigh(covariance)
    seen = values > _SPAN * values[-1] if count >= 2 * size else torch.ones_like(values, dtype=torch.bool)
    target = torch.where(seen, values.sum() / seen.sum(), 0.0)
    fourth = squared(pieces).sum(1).square().mean()
    noise = (fourth - covariance.abs().square().sum()) / count
    intensity = float((noise / (values - target).square().sum().clamp_min(1e-300)).clamp(0, 1))
    shrunk: Tensor = (vectors * ((1 - intensity) * values + intensity * target)) @ vectors.mH
    return shrunk


def _boundary(lags: Tensor) -> tuple[int, float]:
    """Returns the phase whose boundary the fewest correlations cross, and their ratio to chance there."""
    period = len(lags)
    energy = lags[:, 1:period].abs().square()  # [P, L - 1]
    phase = torch.arange(period)
    reach = (phase[:, None] + torch.arange(1, period)[None]) % period
    chance = lags[:, 0].real[:, None] * lags[:, 0].real[reach]
    crossed, expected = [], []
    for cut in range(period):
        until = (cut - phase - 1) % period + 1  # number of samples from each phase to the cut
        crosses = torch.arange(1, period)[None] >= until[:, None]
        crossed.append(float((energy * crosses).sum()))
        expected.append(float((chance * crosses).sum()))
    best = min(range(period), key=lambda cut: crossed[cut])
    return best, crossed[best] / expected[best]


def learn_periodic_covariance(frames: Tensor, period: int, longest_lag: int) -> PeriodicCovariance:
    """Learns a periodic covariance from example frames at unknown times and phases, by aligning and averaging.

    Frames may overlap, as random crops of one recording do: each sample counts once.

    Args:
        frames: complex64 [F, T].
        period: samples P, 1 for a stationary signal.
        longest_lag: number L of lags to estimate if periods are not independent.

    Raises:
        InputError: frames are shorter than three periods, or their samples fewer than the covariance's unknowns.
    """
    frames = frames / squared(frames).mean().sqrt()
    if period == 1:
        lags = frames_autocorrelation(frames, min(longest_lag, frames.shape[1]))[None]
        return PeriodicCovariance(lags / lags[0, 0].real, False)
    if frames.shape[1] < 3 * period:
        raise InputError(f"frames of {frames.shape[1]} samples are too short for a period of {period}")
    seen = _Seen(frames, distinct_samples(frames))
    offsets = align(frames, period)
    pieces = _unfolded(seen, offsets, period, 2 * period)
    column = torch.arange(period)[:, None] + torch.arange(period)
    lags = (pieces.T @ pieces.conj() / len(pieces))[column, torch.arange(period)[:, None].expand_as(column)]
    cut, excess = _boundary(lags)
    offsets = (offsets - cut) % period
    if excess * len(pieces) > _INDEPENDENT:
        length = min(longest_lag, frames.shape[1] // 2)
        pieces = _unfolded(seen, offsets, period, period + length)
        column = torch.arange(period)[:, None] + torch.arange(length)
        whole = pieces.T @ pieces[:, :period].conj() / len(pieces)  # [P + L, P]
        lags = whole[column, torch.arange(period)[:, None].expand_as(column)]
        return PeriodicCovariance(lags / lags[:, 0].real.mean(), False)
    return _learn_blocks(seen, offsets, period)


def _learn_blocks(seen: _Seen, offsets: Tensor, period: int) -> PeriodicCovariance:
    """Learns the covariance of independent periods, whose timing its own likelihood refines."""
    for _ in range(_ROUNDS):
        pieces = _unfolded(seen, offsets, period, period)
        if 2 * len(pieces) < period:  # complex samples against the real numbers of a Hermitian matrix
            raise InputError(
                f"the covariance of a period of {period} samples has {period**2} unknowns, but the example frames hold"
                f" {len(pieces)} distinct periods; give at least {-(-period // 2)}"
            )
        covariance = pieces.T @ pieces.conj() / len(pieces)
        moved = _refined(seen.frames, offsets, covariance)
        if torch.equal(moved, offsets):
            break
        offsets = moved
    covariance = _shrunk(covariance, pieces)
    column = torch.arange(period)[:, None] + torch.arange(period)
    lags = covariance[column % period, torch.arange(period)[:, None].expand_as(column)] * (column < period)
    return PeriodicCovariance(lags / lags[:, 0].real.mean(), True)
