"""Finds the level and timing of a SOI from the statistics that repeat with its symbol period."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.receiver.conjugate_level import Conjugate, conjugate_moments, find_conjugate
from rfsep.signals.statistics import modem_covariance
from rfsep.types import InputError, Modem

_LOOKED_AT = 1 << 20  # number of samples that level and timing are estimated from
_LONGEST = 32  # lags in samples, unless a symbol period is longer
# The samples are cut into parts, to give the estimate's standard error: many, or fewer of few samples.
_MANY_PARTS, _FEW_PARTS = 64, 16
_LONG_PART = 4  # periods in each of many parts, at least
_SURE = 3.0  # A level at one known place must exceed this many standard errors.
_CARRIER = 1.2e-3  # largest carrier offset in cycles per sample
_CARRIER_STEPS = 9
_CLOCK = 1e-4  # largest error of the clock
_FINER = 4  # timings per sample
_STEADY = 0.985  # A clock counts as right if that loses no more than this leaves.
# Ordinary moments are used unless those without conjugation repeat so many times as strongly.
_WEAKER = 10.0
_CLEAN = 1 << 17  # samples of a clean SOI whose level is measured for comparison
_ODD = 0.05  # A modem whose clean signal comes out by more than this off is corrected for it.
Samples = npt.NDArray[np.complex64]


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


class _Seen(NamedTuple):
    """An estimate, and how many different places it is the largest of."""

    found: Found
    places: int


class _Moments(NamedTuple):
    """A modem's moments complex128 [P, L] by the place in a period and the lag, less their means over the place.

    ``ordinary`` are E x[t + lag] conj(x[t]), ``conjugate`` E x[t + lag] x[t].
    """

    ordinary: Tensor
    conjugate: Tensor


def find_soi(samples: Samples, modem: Modem, start: int | None) -> Found:
    """Estimates the level and timing of a SOI from the statistics that repeat with its symbol period.

    Interference that does not repeat with that period adds the same to every timing. With T[p, lag] the SOI's moments
    E x[t + lag] conj(x[t]), p samples into a period, less their mean over p, and M those of the samples, the power is
    the projection of M on T at the right timing. For root raised cosines this is the estimator of Oerder and Meyr
    (IEEE Trans. Commun. 36, 1988), weighted. Offset and minimum-shift keying repeat so in E x[t + lag] x[t] alone,
    which turns with twice the carrier; see `rfsep.receiver.conjugate_level.find_conjugate`.

    Carriers up to 1.2e-3 cycles per sample and clocks up to 100 ppm off are searched. Through a channel of several
    rays, the power is what these moments show of it, and the timing that of a mean ray.

    Statistics of some modems repeat with a part of their period, such as those of pi/4-QPSK after each of two symbols.
    Then the earliest of the possible starts is returned.

    Args:
        samples: complex64 [T]; only the first ones are used.
        modem: modem of the SOI.
        start: beginning of the first symbol where it is known.

    Raises:
        InputError: the level does not exceed three standard errors, or more if many timings are compared.
    """
    period = modem.symbol_period
    length = max(period, _LONGEST)
    whole = modem_covariance(modem, length + period, 8)
    # Row p: lags 0, 1, ... from the sample p samples into the period.
    ordinary = torch.stack([whole[place : place + length, place] for place in range(period)])  # [P, L]
    moments = _Moments(ordinary - ordinary.mean(0), conjugate_moments(modem, length))
    if len(samples) <= length + _FEW_PARTS * period:
        raise InputError(
            f"{len(samples)} samples are too few to find the SOI's level; give --soi-power-db, --soi-start"
        )
    seen = _seen(torch.from_numpy(samples[:_LOOKED_AT]), moments, start)
    # The moments are those of independent symbols, which a tone or pilots are not.
    clean = modem.sample(1, _CLEAN, torch.Generator().manual_seed(0)).waveform[0]
    share = _seen(clean, moments, 0).found.power
    if abs(share - 1) > _ODD:
        seen = _Seen(Found(seen.found.start, seen.found.power / share, seen.found.error / share), seen.places)
    power, error = seen.found.power, seen.found.error
    # Noise alone reaches about sqrt(2 ln n) standard errors in the largest of n independent places.
    if power < math.sqrt(_SURE**2 + 2 * math.log(seen.places)) * error or power <= 0:
        raise InputError(
            f"the SOI's level cannot be told: {power:.3g} with a standard error of {error:.2g}; give --soi-power-db"
            " (and --soi-start)"
        )
    return seen.found


def _seen(heard: Tensor, moments: _Moments, start: int | None) -> _Seen:
    """Returns the level in samples complex64 [T] from the moments that repeat more strongly."""
    period, length = moments.ordinary.shape
    room = len(heard) - length
    parts = _MANY_PARTS if room > _MANY_PARTS * _LONG_PART * period else _FEW_PARTS
    count = room // (period * parts) * period  # samples of a part
    ordinary, conjugate = (float(one.abs().square().sum()) for one in moments)
    if conjugate > _WEAKER * ordinary:
        place = find_conjugate(heard, Conjugate(moments.conjugate, count, parts, _CARRIER, _CLOCK, _STEADY), start)
        return _Seen(Found(place.start, place.power, place.error), place.places)
    return _find_ordinary(heard, moments.ordinary, count, parts, start)


def _find_ordinary(heard: Tensor, moments: Tensor, count: int, parts: int, start: int | None) -> _Seen:
    """Finds the level from E x[t + lag] conj(x[t]); ``moments`` complex128 [P, L] are the modem's, without mean."""
    period = len(moments)
    powers = _powers(_folded(heard, moments.shape, count, parts), moments)  # [parts, timings, carriers]
    timings = torch.arange(_FINER * period)
    if start is not None:  # A channel may move it a little.
        timings = torch.arange(_FINER * (start - 1), _FINER * (start + 1) + 1) % len(timings)
    # A clock that is off moves the timing from part to part.
    most = math.ceil(_CLOCK * count * parts)
    drifts = torch.arange(-most, most + 1)  # samples over all parts
    moved = (_FINER * torch.outer((torch.arange(parts) + 0.5) / parts, drifts.double())).round().long()
    around = _FINER * period
    total = powers.new_zeros((len(timings), len(drifts), _CARRIER_STEPS))
    for part, shift in zip(powers, moved, strict=True):
        total += part[(timings[:, None] + shift) % around]
    steady = total[:, most : most + 1]  # [timings, 1, carriers]
    if steady.max() >= _STEADY * total.max():
        total, moved = steady, moved[:, most : most + 1]
    at = total.flatten(1).amax(1)  # [timings]
    if not torch.isfinite(at).all():
        raise InputError("the SOI's level comes out as no number: are these samples of their datatype?")
    # Timings after which the statistics repeat are equal but for rounding; the one of the first start is taken.
    equal = (at >= at.max() - 1e-6 * at.max().abs()).nonzero()[:, 0].tolist()
    best = min(equal, key=lambda one: round(int(timings[one]) / _FINER) % period)
    drift, carrier = divmod(int(total[best].argmax()), _CARRIER_STEPS)
    values = powers[torch.arange(parts), (timings[best] + moved[:, drift]) % around, carrier]
    first = round(int(timings[best]) / _FINER) % period if start is None else start % period
    found = Found(first, float(values.mean()), float(values.std() / parts**0.5))
    return _Seen(found, (1 if start is not None else period) * len(drifts))


def _powers(folded: Tensor, moments: Tensor) -> Tensor:
    """Returns the level of each part at every timing and carrier: float64 [parts, P * _FINER, carriers].

    Args:
        folded: the samples' moments, complex128 [parts, P, L].
        moments: the modem's, complex128 [P, L].
    """
    period, length = moments.shape
    lags = torch.arange(length, dtype=torch.float64)
    carriers = torch.linspace(-_CARRIER, _CARRIER, _CARRIER_STEPS, dtype=torch.float64)
    turns = torch.polar(torch.ones(length, _CARRIER_STEPS).double(), -2 * math.pi * torch.outer(lags, carriers))
    cycles = (torch.fft.fft(folded, dim=1) * torch.fft.fft(moments, dim=0).conj()) @ turns  # [parts, P, carriers]
    low = (period + 1) // 2
    middle = cycles.new_zeros((len(cycles), (_FINER - 1) * period, _CARRIER_STEPS))
    finer = torch.cat((cycles[:, :low], middle, cycles[:, low:]), 1)
    powers: Tensor = torch.fft.ifft(finer, dim=1).real
    return powers * (_FINER / float(moments.abs().square().sum()))


def _folded(heard: Tensor, shape: tuple[int, ...], count: int, parts: int) -> Tensor:
    """Returns mean x[t + lag] conj(x[t]) of each part, by the place of t in a period: complex128 [parts, P, L]."""
    period, length = shape
    total = count * parts
    here, product = heard[:total].conj(), torch.empty(total, dtype=heard.dtype)
    folded = torch.empty((parts, period, length), dtype=torch.complex128)
    for lag in range(length):  # One product after the other in the same place: they are as long as the samples.
        torch.mul(heard[lag : lag + total], here, out=product)
        folded[:, :, lag] = product.view(parts, -1, period).mean(1)
    return folded - folded.mean(1, keepdim=True)
