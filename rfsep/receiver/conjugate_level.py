"""Level and timing of signals that repeat in E x[t + lag] x[t]: offset and minimum-shift keying."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem

_CONTEXT = 8  # symbol periods of signal on each side
_BLOCK = 32  # samples that are added up before the search; twice the largest carrier turns little within them
_PIECE = 1 << 14  # samples whose lags are held in memory together, a multiple of a block
_FINER = 8  # places per independent frequency
# Noise in two cycles of unknown phases reaches five to six standard errors so many times as often as in one.
_PHASES = 16
_LEAST = 0.02  # Cycles with a smaller share of the strongest one's energy are left out.


class Conjugate(NamedTuple):
    """What is searched for.

    Attributes:
        moments: complex128 [P, L], the modem's E x[t + lag] x[t], less the mean over P.
        length: samples of each part.
        parts: number of parts.
        carrier: largest carrier offset, cycles per sample.
        clock: largest error of the clock.
        steady: a clock counts as right if that loses no more of the level than this leaves.
    """

    moments: Tensor
    length: int
    parts: int
    carrier: float
    clock: float
    steady: float


class Place(NamedTuple):
    """The strongest place.

    Attributes:
        start: samples from the beginning to the first symbol, less than a symbol period.
        power: power of the SOI, relative to the modem's own.
        error: standard error of ``power``.
        places: number of carriers, clocks and phases that it is the strongest of.
    """

    start: int
    power: float
    error: float
    places: int


def conjugate_moments(modem: Modem, length: int) -> Tensor:
    """Returns E x[t + lag] x[t], by the place of t in a period, less its mean: complex128 [P, L].

    Zero unless the constellation has a mean square, as real ones have.
    """
    period = modem.symbol_period
    response = modem_waveforms(modem, length + period, _CONTEXT).T.to(torch.complex128)
    square = modem.constellation.to(torch.complex128).square().mean() if len(modem.constellation) else 0.0
    whole = response @ response.T * square
    moments = torch.stack([whole[place : place + length, place] for place in range(period)])
    return moments - moments.mean(0)


def find_conjugate(heard: Tensor, search: Conjugate, start: int | None) -> Place:
    """Finds level and timing from the cycles of x[t + lag] x[t], whose frequencies a carrier f moves by 2 f.

    The cycles k / P of a modem with period P stand at frequencies 2 f + k / P and their phases at 2 phi - 2 pi k s / P
    for the start s. So two cycles k and -k tell s modulo P / 2k and the carrier's phase phi up to half a turn, in four
    pairs; the pair with phi nearest to zero is taken (Ciblat et al., IEEE Trans. Signal Process. 50, 2002, on the
    carrier by conjugate cycles).

    Args:
        heard: complex64 [T].
        search: what to look for.
        start: beginning of the first symbol where it is known.
    """
    period = len(search.moments)
    cycles = torch.fft.fft(search.moments, dim=0) / period  # [P, L]
    energy = cycles.abs().square().sum(1)
    used = (energy > _LEAST * energy.max()).nonzero()[:, 0]
    numbers = torch.where(used > period // 2, used - period, used)  # signed
    filters = cycles[used].conj()
    sums = _block_sums(heard, filters, numbers, search, 0.0)
    size = 1 << (_FINER * sums.shape[1] - 1).bit_length()
    spectra = torch.fft.fft(sums, size).abs()  # [cycles, bins]
    resolution = 1 / (size * _BLOCK)
    reach = math.ceil(2 * search.carrier / resolution)
    drift = math.ceil(search.clock / period / resolution)
    offsets = torch.arange(-drift, drift + 1)
    bins = torch.arange(-reach, reach + 1)
    score = sum(
        (spectra[row][(bins + int(number) * offsets[:, None]) % size] for row, number in enumerate(numbers)),
        torch.zeros(len(offsets), len(bins), dtype=torch.float64),
    )
    if score[drift].max() >= search.steady * score.max():
        score, offsets = score[drift : drift + 1], offsets[drift : drift + 1]
    clock, carrier = divmod(int(score.argmax()), len(bins))
    frequency = float(bins[carrier]) * resolution
    moved = numbers * float(offsets[clock]) * resolution  # by the clock, cycles per sample
    sums = _block_sums(heard, filters, numbers, search, frequency / 2)
    middles = (torch.arange(sums.shape[1], dtype=torch.float64) + 0.5) * _BLOCK
    still = sums * torch.polar(torch.ones(sums.shape).double(), -2 * math.pi * torch.outer(moved.double(), middles))
    strength = still.mean(1)  # [cycles]
    turned = still * (strength.conj() / strength.abs())[:, None]
    parts = turned.real.sum(0)[: still.shape[1] // search.parts * search.parts].view(search.parts, -1).mean(1)
    parts = parts / energy[used].sum() / _BLOCK
    first = _start(strength, numbers, period) if start is None else start % period
    places = len(bins) * (2 * drift + 1) * _PHASES
    return Place(first, float(parts.mean()), float(parts.std() / search.parts**0.5), places)


def _block_sums(heard: Tensor, filters: Tensor, numbers: Tensor, search: Conjugate, carrier: float) -> Tensor:
    """Returns sums over blocks of x[t] (sum over lag of filter[lag] x[t + lag]), each cycle at 0: [cycles, blocks]."""
    length = filters.shape[1]
    total = search.length * search.parts // _BLOCK * _BLOCK
    time = torch.arange(total + length - 1, dtype=torch.float64)
    turn = torch.polar(torch.ones_like(time), -2 * math.pi * carrier * time).to(torch.complex64)
    still = heard[: total + length - 1] * turn if carrier else heard[: total + length - 1]
    windows = still.unfold(0, length, 1)  # [T, L]
    taps = filters.T.to(torch.complex64)
    found = []
    for part, place in zip(torch.split(windows, _PIECE), torch.split(time, _PIECE), strict=False):
        lagged = part @ taps  # [n, cycles]
        angle = -2 * math.pi / len(search.moments) * torch.outer(place[: len(part)], numbers.double())
        cycles = lagged * part[:, :1] * torch.polar(torch.ones_like(angle), angle)
        found.append(cycles.view(-1, _BLOCK, len(numbers)).sum(1))
    return torch.cat(found).T  # complex128 [cycles, blocks]


def _start(strength: Tensor, numbers: Tensor, period: int) -> int:
    """Returns the start whose turn of the cycles leaves the least phase, the first of equal ones."""
    starts = torch.arange(period, dtype=torch.float64)
    angle = 2 * math.pi / period * torch.outer(starts, numbers.double())
    left = (torch.polar(torch.ones_like(angle), angle) * strength).sum(1).real  # [P]
    # Half a period later the sum has the other sign; the carrier's phase is the nearest to zero that is possible.
    sizes = (torch.polar(torch.ones_like(angle), angle) * strength).sum(1).abs()
    likely = (sizes >= sizes.max() * (1 - 1e-6)) & (left >= 0)
    return int(likely.nonzero()[0, 0])
