"""Equalises the carriers of an 802.11 packet beneath a SOI with a Gaussian posterior."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.symbol_posterior import Response
from rfsep.separators.wifi.packet_runs import Run
from rfsep.signals import wifi, wifi_code
from rfsep.signals.statistics import inverse_positive, solve_positive

# Tuned on the training split. The power that does not repeat at the first samples of a symbol, where the symbol before
# smears into it, as a share of the packet's level.
SMEARED = (1.8, 0.8, 0.1, 0.01)

# Physics: delays of the channel around a field's nominal begin. They span 16 samples, the guard interval (table 17-5).
# Half of them are negative: transmitters with several antennas shift their carriers cyclically by -200 ns, 4 samples,
# or more (19.3.9.3.2), and estimated begins are late by a sample or two in noise.
TAPS = range(-8, 8)

# Physics: numbers of the carriers (17.3.5.10, 19.3.7), and which of them are pilots (17.3.5.9).
NUMBER = wifi.carriers().double()
PILOT = torch.tensor([number in wifi.PILOTS for number in wifi.carriers().tolist()])

# Physics: a SOI of 16 samples per symbol and roll-off 0.5 reaches 64 * 1.5 / 32 = 3 carriers from the middle; twice
# that leaves room for leakage.
CLEAR = NUMBER.abs() >= 6

# Tuned; split not recorded. The share of a new phase step in the drift.
_DRIFT = 0.3


def data_carriers(ht: bool) -> Tensor:
    """Returns which carriers hold data: bool [56]."""
    return ~PILOT & (ht | (NUMBER.abs() <= wifi.LAST_LEGACY))


@cache
def carriers_of_taps() -> Tensor:
    """Returns the transform from taps to carriers: complex128 [56, taps]."""
    delay = NUMBER[:, None] * torch.tensor(TAPS, dtype=torch.float64)
    return torch.polar(torch.ones_like(delay), -2 * torch.pi * delay / wifi.FFT_SIZE)


class Piece(NamedTuple):
    """A field or symbol whose carriers are known.

    Attributes:
        start: sample at which it begins.
        length: samples.
        prefix: samples.
        values: of the carriers, complex128 [56].
        taps: of the channel, complex128 [taps].
    """

    start: int
    length: int
    prefix: int
    values: Tensor
    taps: Tensor


@cache
def _carrier_waves() -> Tensor:
    """Returns the carriers on the samples of a body: complex128 [64, 56]."""
    phase = 2 * torch.pi / wifi.FFT_SIZE * torch.arange(wifi.FFT_SIZE, dtype=torch.float64)[:, None] * NUMBER
    return torch.polar(torch.ones_like(phase), phase)


def offset_turn(offset: float, time: Tensor) -> Tensor:
    """Returns by how much an offset in carrier spacings turns samples int64 [n]: complex128 [n, 1]."""
    phase = 2 * torch.pi / wifi.FFT_SIZE * offset * time[:, None].double()
    return torch.polar(torch.ones_like(phase), phase)


def waves(start: int, low: int, high: int, offset: float, prefix: int) -> Tensor:
    """Returns the carriers on samples ``low`` to ``high`` of a symbol that begins at ``start``: complex128 [n, 56]."""
    time = torch.arange(low, high)
    return _carrier_waves()[(time - start - prefix) % wifi.FFT_SIZE] * offset_turn(offset, time)


def noise_power(start: int, low: int, high: int, run: Run) -> Tensor:
    """Returns the power that does not repeat, in samples ``low`` to ``high``: float64 [n]."""
    power = torch.full((high - low,), run.error * run.level, dtype=torch.float64)
    for sample, share in enumerate(SMEARED):
        if low <= start + sample < high:
            power[start + sample - low] += share * run.level
    return power


class Residual(NamedTuple):
    """A window without the SOI's posterior mean.

    Attributes:
        samples: complex128 [T].
        response: of the SOI.
        covariance: posterior covariance of its symbols, complex128 [S, S].
    """

    samples: Tensor
    response: Response
    covariance: Tensor

    def fitted(self, start: int, low: int, high: int, run: Run, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Returns Gram matrix and moment of columns complex128 [n, c] in the noise of SOI and error vector."""
        symbols = slice(self.response.first[low], max(self.response.last[low:high]))
        waveforms = self.response.waveforms[low:high, symbols]
        noise = waveforms @ self.covariance[symbols, symbols] @ waveforms.mH
        noise = noise + torch.diag(noise_power(start, low, high, run)).to(noise.dtype)
        both = torch.cat((columns, self.samples[low:high, None]), 1)
        product = columns.mH @ solve_positive(noise, both)
        return product[:, :-1], product[:, -1]


def fitted_taps(residual: Residual, pieces: list[Piece], run: Run, skip: int, prior: float) -> Tensor:
    """Estimates a channel complex128 [taps] from pieces whose carriers are known.

    Args:
        residual: the window.
        pieces: of one channel.
        run: their packet.
        skip: number of samples left out at the begin of each piece.
        prior: power of the taps, relative to the power that the packet's level implies.
    """
    count = len(TAPS)
    gram = torch.eye(count, dtype=torch.complex128) * (2 * wifi.LAST_LEGACY * count / run.level / prior)
    moment = torch.zeros(count, dtype=torch.complex128)
    for piece in pieces:
        low, high = max(piece.start + skip, 0), min(piece.start + piece.length, len(residual.samples))
        if high - low < 8:
            continue
        sent = (waves(piece.start, low, high, run.offset, piece.prefix) * piece.values) @ carriers_of_taps()
        one, other = residual.fitted(piece.start, low, high, run, sent)
        gram, moment = gram + one, moment + other
    return solve_positive(gram, moment[:, None])[:, 0]


class Equalised(NamedTuple):
    """Carriers of J symbols: unbiased values complex128 [J, 56] and noise variances float64 [J, 56]."""

    values: Tensor
    variance: Tensor


def equalise(residual: Residual, starts: list[int], channel: Tensor, run: Run) -> Equalised:
    """Equalises unit-power carriers after a channel complex128 [56], in symbols that begin at ``starts``."""
    values, variances = [], []
    for start in starts:
        low, high = max(start, 0), min(start + wifi.SYMBOL, len(residual.samples))
        sent = waves(start, low, high, run.offset, wifi.PREFIX) * channel
        gram, moment = residual.fitted(start, low, high, run, sent)
        posterior = inverse_positive(gram + torch.eye(len(channel), dtype=gram.dtype))
        variance = posterior.diagonal().real.clamp(1e-9, 1 - 1e-6)
        values.append(posterior @ moment / (1 - variance))
        variances.append(variance / (1 - variance))
    return Equalised(torch.stack(values), torch.stack(variances))


def fit(values: Tensor, variance: Tensor, bits: int, extra: float) -> Tensor:
    """Returns the log likelihood float64 [..., 56] of values complex128 [..., 56] in the constellation of ``bits``.

    ``extra`` is added to their variance.
    """
    points = torch.from_numpy(wifi_code.points(bits))
    total = variance + extra
    metric = -(values[..., None] - points).abs().square() / total[..., None]
    return torch.logsumexp(metric, -1) - float(np.log(len(points))) - total.log()


def decided(values: Tensor, bits: int) -> Tensor:
    """Returns the points of the constellation of ``bits`` nearest to values complex128 [..., 56]."""
    points = torch.from_numpy(wifi_code.points(bits))
    nearest: Tensor = points[squared(values[..., None] - points).argmin(-1)]
    return nearest


def turned(values: Tensor, phase: Tensor) -> Tensor:
    """Rotates values complex128 [J, 56] back by phases float64 [J]."""
    return values * torch.polar(torch.ones_like(phase), -phase)[:, None]


def track_phase(found: Equalised, bits: int, chosen: Tensor, extra: float = 2e-3) -> Tensor:
    """Tracks the common phase float64 [J] of symbols and its drift, by decisions on ``chosen`` carriers bool [56]."""
    phase, drift, phases = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64), list[Tensor]()
    for values, variance in zip(*found, strict=True):
        weight = chosen / (variance + extra)
        for _ in range(2):
            back = values * torch.polar(torch.ones_like(phase), -phase)
            phase = phase + (weight * back * decided(back, bits).conj()).sum().angle()
        if phases:
            drift = (1 - _DRIFT) * drift + _DRIFT * (phase - phases[-1])
        phases.append(phase)
        phase = phase + drift
    return torch.stack(phases)
