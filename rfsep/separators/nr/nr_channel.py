"""The channel of a 5G NR uplink in QPSK, found blindly on carriers that nothing else disturbs.

On a carrier beside the SOI's band a received symbol is H b, b one of four points: its fourth power leaves H up to a
quarter turn. H hardly bends from one carrier to the next, so the quarter turns are those of the path with the smallest
second differences, found exactly by dynamic programming on either side of the SOI. What both sides and the decided
carriers say is joined by a few taps in time, each Gaussian of a variance of its own that is fitted (sparse Bayesian
learning, M. E. Tipping, JMLR 1, 2001), which also fills the gap beneath the SOI and says how sure that is.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.nr import FFT_SIZE, NUM_SUBCARRIERS

FIRST_LAG, NUM_TAPS = -28, 120  # in samples, about a timing that may be late by a part of the delay spread
GAP = 52  # carriers from the middle on which the SOI is

_ONSETS, _DECAYS = tuple(range(-27, 4, 3)), (1.5, 3.0, 6.0, 12.0)  # samples, of delay profiles
_RISE, _SPREAD = 0.7, 0.02
_FAINT = 1e-3  # noise power, of a response's
_LEAST_VARIANCE = 1e-8  # of a tap, of all taps' power
_NEGLIGIBLE = 1e-30


def carrier_numbers() -> Tensor:
    """Numbers of the carriers in units of their spacing: int64 [612]."""
    return torch.arange(NUM_SUBCARRIERS) - NUM_SUBCARRIERS // 2


@cache
def clear_carriers() -> Tensor:
    """Which carriers lie beside the SOI, as many on either side: bool [612]."""
    number = carrier_numbers()
    return (number.abs() >= GAP) & (number > number[0])


@cache
def delays() -> Tensor:
    """What taps do to carriers: complex128 [612, L]."""
    lags = torch.arange(FIRST_LAG, FIRST_LAG + NUM_TAPS)
    phase = -2 * torch.pi / FFT_SIZE * (carrier_numbers()[:, None] * lags).double()
    return torch.polar(torch.ones_like(phase), phase)


class Channel(NamedTuple):
    """Posterior of a channel's taps.

    Attributes:
        taps: complex128 [L], from `FIRST_LAG` on.
        covariance: complex128 [L, L].
        variances: float64 [L], prior.
        evidence: log-likelihood of what was seen, up to what does not depend on the channel.
    """

    taps: Tensor
    covariance: Tensor
    variances: Tensor
    evidence: float

    def response(self) -> Tensor:
        """Complex128 [612]."""
        return delays() @ self.taps

    def doubt(self) -> Tensor:
        """Posterior variance of the response, float64 [612]."""
        waves = delays()
        doubt: Tensor = ((waves @ self.covariance) * waves.conj()).sum(1).real
        return doubt.clamp_min(0)


class Observed(NamedTuple):
    """What is said of a channel on carriers, as sums over symbols.

    Attributes:
        precision: float64 [612], of the response in it; 0 where nothing is said.
        moment: complex128 [612], precision times response.
    """

    precision: Tensor
    moment: Tensor


def fit_taps(said: Observed, variances: Tensor, iterations: int) -> Channel:
    """Taps, with the variances that make what is said likeliest (expectation maximisation)."""
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
    """Roots complex128 [B, K] of a smooth curve's fourth power, turned by quarters so that they are smooth."""
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
    """Response complex128 [612] of one symbol's carriers complex128 [612], up to a quarter turn on each side.

    Zero in the gap.
    """
    number = carrier_numbers()
    fourth = -(received**4)  # all points' fourth power is -1
    clear = clear_carriers()
    pairs = clear[1:] & clear[:-1]
    slope = float(torch.angle((fourth[1:] * fourth[:-1].conj())[pairs].sum())) / 4  # of the phase: the mean delay
    ramp = torch.polar(torch.ones(NUM_SUBCARRIERS, dtype=torch.float64), -slope * number.double())
    turned = received * ramp
    roots = torch.polar(squared(turned).sqrt(), torch.angle(-(turned**4)) / 4)
    count = NUM_SUBCARRIERS // 2 - GAP  # carriers on the upper side; the lower has one more
    sides = torch.stack((roots[1 : count + 1], roots[-count:]))
    smooth = quarter_turns(sides)
    response = torch.zeros_like(received)
    response[1 : count + 1], response[-count:] = smooth[0], smooth[1]
    return response * ramp.conj()


class _Bank(NamedTuple):
    """Channels that are tried.

    Attributes:
        variances: float64 [n, L], of sum 1.
        covariances: complex128 [n, L, L], posterior.
        log_determinants: float64 [n].
    """

    variances: Tensor
    covariances: Tensor
    log_determinants: Tensor


@cache
def _bank() -> _Bank:
    """Exponential delay profiles of several onsets and decays, against carriers outside the gap in faint noise."""
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
    """A response complex128 [612] seen beside the SOI, zero in the gap, and the channel that it is likeliest of."""

    response: Tensor
    channel: Channel


def joined_sides(response: Tensor) -> list[Guess]:
    """The two sides of `smooth_sides` turned against each other by each number of quarters."""
    upper = carrier_numbers() > 0
    return guessed(torch.stack([torch.where(upper, response * turn, response) for turn in (1, 1j, -1, -1j)]))


def guessed(responses: Tensor) -> list[Guess]:
    """Guesses at responses complex128 [n, 612] that are zero outside `clear_carriers`, all of the same power."""
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
    """Log-likelihood of received carriers complex128 [612] in the gap: QPSK in the channel beneath the SOI.

    Args:
        channel: posterior.
        carriers: received.
        variance: of the SOI on them, float64 [612].
    """
    gap = carrier_numbers().abs() < GAP
    points = torch.tensor([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], dtype=torch.complex128) * 2**-0.5
    spread = (variance + channel.doubt())[gap]
    distance = squared(carriers[gap] - points[:, None] * channel.response()[gap]) / spread  # [4, gap]
    return float((torch.logsumexp(-distance, 0) - spread.log()).sum())
