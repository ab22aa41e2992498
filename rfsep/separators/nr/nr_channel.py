"""Estimates the channel of a QPSK 5G NR uplink blindly, on carriers that nothing else disturbs.

On a carrier beside the SOI's band a received symbol is H b, where b is one of four points. Its fourth power gives H up
to a quarter turn. H hardly bends from one carrier to the next, so the right quarter turns belong to the path with the
smallest second differences. Dynamic programming finds it exactly on either side of the SOI. A few taps in time then
join both sides and the decided carriers. Each tap is Gaussian with a variance that is fitted (sparse Bayesian learning,
M. E. Tipping, JMLR 1, 2001). The taps also fill the gap beneath the SOI, with a posterior variance.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS

# Tuned; split not recorded. First tap and number of taps, in samples from a timing that may be late by a part of the
# delay spread.
FIRST_LAG, NUM_TAPS = -28, 120

# Physics: the QPSK SOI reaches 0.75 / 16 cycles per sample, 48 carriers of 1/1024, from the middle; four more are left
# for leakage.
GAP = 52

# Tuned; split not recorded. Delay profiles in samples: their onsets, decays and rise, and the share of their power that
# is spread evenly over all taps.
_ONSETS, _DECAYS = tuple(range(-27, 4, 3)), (1.5, 3.0, 6.0, 12.0)
_RISE, _SPREAD = 0.7, 0.02

# Tuned; split not recorded. The noise power relative to the response's.
_FAINT = 1e-3

# A numerical guard: the least variance of a tap relative to the power of all taps.
_LEAST_VARIANCE = 1e-8


def carrier_numbers() -> Tensor:
    """Returns the numbers of the carriers in units of their spacing: int64 [612]."""
    return torch.arange(NUM_SUBCARRIERS) - NUM_SUBCARRIERS // 2


@cache
def clear_carriers() -> Tensor:
    """Returns which carriers lie beside the SOI, equally many on either side: bool [612]."""
    number = carrier_numbers()
    return (number.abs() >= GAP) & (number > number[0])


@cache
def delays() -> Tensor:
    """Returns the transform from taps to carriers: complex128 [612, L]."""
    lags = torch.arange(FIRST_LAG, FIRST_LAG + NUM_TAPS)
    phase = -2 * torch.pi / FFT_SIZE * (carrier_numbers()[:, None] * lags).double()
    return torch.polar(torch.ones_like(phase), phase)


class Channel(NamedTuple):
    """The posterior of a channel's taps.

    Attributes:
        taps: posterior means, complex128 [L], from `FIRST_LAG` on.
        covariance: posterior covariance, complex128 [L, L].
        variances: prior variances, float64 [L].
        evidence: log likelihood of the observations, up to terms that do not depend on the channel.
    """

    taps: Tensor
    covariance: Tensor
    variances: Tensor
    evidence: float

    def response(self) -> Tensor:
        """Returns the frequency response, complex128 [612]."""
        return delays() @ self.taps

    def doubt(self) -> Tensor:
        """Returns the posterior variance of the response, float64 [612]."""
        waves = delays()
        doubt: Tensor = ((waves @ self.covariance) * waves.conj()).sum(1).real
        return doubt.clamp_min(0)


class Observed(NamedTuple):
    """Observations of a channel on carriers, as sums over symbols.

    Attributes:
        precision: of the observed response, float64 [612]; 0 where nothing is observed.
        moment: precision times response, complex128 [612].
    """

    precision: Tensor
    moment: Tensor


def fit_taps(said: Observed, variances: Tensor, iterations: int) -> Channel:
    """Fits taps and their variances to observations by expectation maximisation."""
    waves = delays()
    gram = waves.mH @ (waves * said.precision[:, None])
    moment = waves.mH @ said.moment
    least = _LEAST_VARIANCE * float(variances.sum())
    for iteration in range(iterations):
        root = variances.sqrt()
        matrix = root[:, None] * gram * root + torch.eye(NUM_TAPS)
        factor = torch.linalg.cholesky(matrix)
        covariance = root[:, None] * torch.cholesky_inverse(factor) * root
        taps = covariance @ moment
        if iteration + 1 < iterations:
            variances = (squared(taps) + covariance.diagonal().real).clamp_min(least)
    evidence = float((moment.conj() @ taps).real) - 2 * float(factor.diagonal().real.log().sum())
    return Channel(taps, covariance, variances, evidence)


def quarter_turns(roots: Tensor) -> Tensor:
    """Turns roots complex128 [B, K] of a smooth curve's fourth power by quarters, so that they become smooth."""
    turns = torch.tensor([1, 1j, -1, -1j], dtype=roots.dtype)
    choices = roots[:, :, None] * turns  # [B, K, 4]
    cost = squared(choices[:, 0, :, None] - choices[:, 1, None, :])  # [B, first, second]
    history = []
    for place in range(2, roots.shape[1]):
        expected = 2 * choices[:, place - 1, None, :] - choices[:, place - 2, :, None]
        bend = squared(expected[..., None] - choices[:, place, None, None, :])  # [B, first, second, third]
        cost, before = (cost[..., None] + bend).min(1)
        history.append(before)
    best, rows = cost.flatten(1).argmin(1), torch.arange(len(roots))
    path = [best % 4, best // 4]
    for before in reversed(history):
        path.append(before[rows, path[-1], path[-2]])
    return roots * turns[torch.stack(path[::-1], 1)]


def smooth_sides(received: Tensor) -> Tensor:
    """Returns the response complex128 [612] that one symbol's carriers complex128 [612] show.

    It is known up to a quarter turn on each side, and zero in the gap.
    """
    number = carrier_numbers()
    fourth = -(received**4)  # The fourth power of every point is -1.
    clear = clear_carriers()
    pairs = clear[1:] & clear[:-1]
    slope = float(torch.angle((fourth[1:] * fourth[:-1].conj())[pairs].sum())) / 4  # phase slope, from the mean delay
    ramp = torch.polar(torch.ones(NUM_SUBCARRIERS, dtype=torch.float64), -slope * number.double())
    turned = received * ramp
    roots = torch.polar(squared(turned).sqrt(), torch.angle(-(turned**4)) / 4)
    count = NUM_SUBCARRIERS // 2 - GAP  # number of carriers on the upper side
    sides = torch.stack((roots[1 : count + 1], roots[-count:]))
    smooth = quarter_turns(sides)
    response = torch.zeros_like(received)
    response[1 : count + 1], response[-count:] = smooth[0], smooth[1]
    return response * ramp.conj()


class _Bank(NamedTuple):
    """Channels that are tried.

    Attributes:
        variances: prior variances, float64 [n, L], each row of sum 1.
        covariances: posterior covariances, complex128 [n, L, L].
        log_determinants: float64 [n].
    """

    variances: Tensor
    covariances: Tensor
    log_determinants: Tensor


@cache
def _bank() -> _Bank:
    """Returns exponential delay profiles of several onsets and decays, seen on clear carriers in faint noise."""
    lags = torch.arange(FIRST_LAG, FIRST_LAG + NUM_TAPS).double()
    since = lags - torch.tensor(_ONSETS).double()[:, None, None]
    profile = torch.exp(torch.where(since < 0, since / _RISE, -since / torch.tensor(_DECAYS).double()[:, None]))
    profile = profile.flatten(0, 1) / profile.flatten(0, 1).sum(1, keepdim=True)
    variances = (1 - _SPREAD) * profile + _SPREAD / NUM_TAPS
    waves = delays()[clear_carriers()]
    root = variances.sqrt()[:, None, :]
    matrix = root.mT * (waves.mH @ waves / _FAINT) * root + torch.eye(NUM_TAPS)
    factor = torch.linalg.cholesky(matrix)
    covariances = root.mT * torch.cholesky_inverse(factor) * root
    return _Bank(variances, covariances, 2 * factor.diagonal(dim1=1, dim2=2).real.log().sum(1))


class Guess(NamedTuple):
    """A response complex128 [612] seen beside the SOI, zero in the gap, and its likeliest channel."""

    response: Tensor
    channel: Channel


def joined_sides(response: Tensor) -> list[Guess]:
    """Turns the two sides of `smooth_sides` against each other by zero to three quarters, and guesses channels."""
    upper = carrier_numbers() > 0
    return guessed(torch.stack([torch.where(upper, response * turn, response) for turn in (1, 1j, -1, -1j)]))


def guessed(responses: Tensor) -> list[Guess]:
    """Guesses channels of responses complex128 [n, 612] of equal power that are zero outside `clear_carriers`."""
    bank = _bank()
    power = float(squared(responses[0]).sum()) / int(clear_carriers().sum())
    moment = responses @ delays().conj() / (_FAINT * power**0.5)  # [n, L]
    taps = torch.einsum("blm,nm->nbl", bank.covariances, moment)
    fit = (moment.conj()[:, None] * taps).sum(2).real - bank.log_determinants
    guesses = []
    for row, best in enumerate(fit.argmax(1).tolist()):
        channel = Channel(
            taps[row, best] * power**0.5,
            bank.covariances[best] * power,
            bank.variances[best] * power,
            float(fit[row, best]),
        )
        guesses.append(Guess(responses[row], channel))
    return guesses


def gap_likelihood(channel: Channel, carriers: Tensor, variance: Tensor) -> float:
    """Returns the log likelihood of received carriers complex128 [612] in the gap, as QPSK beneath the SOI.

    Args:
        channel: posterior of the channel.
        carriers: received carriers.
        variance: of the SOI on them, float64 [612].
    """
    gap = carrier_numbers().abs() < GAP
    points = torch.tensor([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], dtype=torch.complex128) * 2**-0.5
    spread = (variance + channel.doubt())[gap]
    distance = squared(carriers[gap] - points[:, None] * channel.response()[gap]) / spread  # [4, gap]
    return float((torch.logsumexp(-distance, 0) - spread.log()).sum())
