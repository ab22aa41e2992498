"""Measures frequency modulation: carrier, deviation, and the symbol rate where symbols step the frequency.

Steps come at multiples of the symbol period, so the squared change of the instantaneous frequency has a spectral line
at the symbol rate, as the power of a linear modulation has (Gardner 1991, see `rfsep.identification.cyclic`).
"""

import math
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import avg_pool1d

from rfsep.identification.cyclic import cycle_spectra, highest, standing_out
from rfsep.identification.kinds import below

MIN_PERIOD, MAX_PERIOD = 4.0, 512.0  # samples per symbol
_SPANS = (1, 2, 4, 8, 16, 32, 64)  # samples over which the frequency is averaged
_MAX_SAMPLES = 1 << 18
_LEAST_SCORE = 8.0  # least normal score of the line at the symbol rate
_HARMONIC = 0.35  # A line this strong, relative to the strongest, is the fundamental of which that is a harmonic.
_TONES = (2.1, 0.1)  # largest kurtosis at the middles of symbols: 1 for two tones, 1.64 for four, 3 for noise; tuned
_OUTER = 0.125  # quantile in the middle of the outer one of two or four equal tones: of two it is half of one
_RANGE = 0.01  # quantile at either end of an analogue message
_LIMIT = 0.98  # quantile to which steps are limited, because noise makes the frequency jump by a cycle
_WEAK = 0.2  # Below this share of a frame's usual power the frequency is not looked at.


class FrequencyModulation(NamedTuple):
    """A frequency modulation.

    Attributes:
        symbol_rate: symbols per sample; None where no symbols are seen.
        rate_confidence: 1 - the probability that noise shows such a line, times that the frequency has few tones.
        deviation: cycles per sample: half the distance of the outer tones at the middles of symbols, or, without
            symbols, half the range in which the frequency is 98 % of the time.
        carrier_offset: float64 [F], cycles per sample, the middle of that range.
    """

    symbol_rate: float | None
    rate_confidence: float
    deviation: float
    carrier_offset: Tensor


class Frequency(NamedTuple):
    """The frequency between samples.

    Attributes:
        values: float32 [F, T - 1], cycles per sample; the middle of the band during pauses.
        heard: bool [F, T - 1], not during pauses.
    """

    values: Tensor
    heard: Tensor


def instantaneous_frequency(frames: Tensor) -> Frequency:
    """Returns the frequency of frames complex64 [F, T] of constant envelope, which may pause."""
    step = frames[:, 1:] * frames[:, :-1].conj()
    # Frequencies near half a cycle wrap around: count from the middle of the band.
    middle = step.sum(1, keepdim=True).angle() / (2 * math.pi)
    away = step.angle() / (2 * math.pi) - middle
    size = step.abs()
    heard = size > _WEAK * size.square().sum(1, keepdim=True) / size.sum(1, keepdim=True).clamp(min=1e-30)
    return Frequency(torch.where(heard, away - away.round(), 0.0) + middle, heard)


def smoothed(frequency: Tensor, span: int) -> Tensor:
    """Averages over ``span`` samples: float32 [F, T] to float32 [F, T - span + 1]."""
    return avg_pool1d(frequency[:, None], span, 1)[:, 0]


def find_frequency_modulation(frames: Tensor) -> FrequencyModulation:
    """Measures frames complex64 [F, T] of constant envelope behind `rfsep.identification.envelope.occupied_band`."""
    frequency = instantaneous_frequency(frames[: max(1, _MAX_SAMPLES // frames.shape[1])])
    rate, sure, span = _symbol_rate(frequency.values)
    if rate is not None:
        middles = _middles(frequency, rate, span)
        away = middles - middles.nanmean(1, keepdim=True)
        kurtosis = float((away**4).nanmean() / away.square().nanmean().square().clamp(min=1e-30))
        sure *= below(kurtosis, _TONES)
        if sure > 0.5:
            return FrequencyModulation(rate, sure, *_outer(middles, _OUTER))
    values = smoothed(torch.where(frequency.heard, frequency.values, math.nan), 2).double()
    return FrequencyModulation(None, 0.0, *_outer(values, _RANGE))


def _outer(frequency: Tensor, quantile: float) -> tuple[float, Tensor]:
    """Returns half the range between quantiles of float64 [F, K], the median over frames, and its middle in each."""
    low, high = frequency.nanquantile(quantile, 1), frequency.nanquantile(1 - quantile, 1)
    heard = ~low.isnan()
    return float((high - low)[heard].median() / 2) if heard.any() else 0.0, ((high + low) / 2)[heard]


def _steps(frequency: Tensor, span: int) -> Tensor:
    """Squared changes of the frequency from one ``span`` to the next: float32 [F, T'], sample n behind n + span - 1."""
    mean = smoothed(frequency, span)
    step = (mean[:, span:] - mean[:, :-span]).square()
    return torch.minimum(step, step[:, :: max(1, step.shape[1] // 4096)].quantile(_LIMIT, 1, keepdim=True))


def _symbol_rate(frequency: Tensor) -> tuple[float | None, float, int]:
    """Returns symbols per sample or None, the confidence of the line, and the span that shows it best."""
    best = (0.0, 0.0, 0.0, 1)  # score, cycles per sample, confidence, span
    for span in _SPANS:
        if 8 * span > frequency.shape[1]:
            break
        steps = _steps(frequency, span)
        size = int(next_fast_len(2 * steps.shape[1]))
        scores = standing_out(cycle_spectra(steps, size))
        first, last = math.ceil(size / MAX_PERIOD), int(size / MIN_PERIOD)
        peaks = highest(scores[: last + 1], first, 8)
        if not peaks or peaks[0].z <= best[0]:
            continue
        strong = [peak.cell for peak in peaks if peak.z > max(_LEAST_SCORE, _HARMONIC * peaks[0].z)]
        cell = min([cell for cell in strong if _divides(cell, peaks[0].cell)], default=peaks[0].cell)
        best = (peaks[0].z, _refined(scores, cell) / size, peaks[0].confidence, span)
    score, rate, sure, span = best
    return (rate if score > _LEAST_SCORE else None), sure, span


def _refined(scores: Tensor, cell: int) -> float:
    """Returns the top of the parabola through a line and its neighbours, in cells."""
    left, middle, right = scores[cell - 1 : cell + 2].clamp(min=0).double().sqrt().tolist()
    bend = left - 2 * middle + right
    return cell + (max(-0.5, min(0.5, 0.5 * (left - right) / bend)) if bend < 0 else 0.0)


def _divides(cell: int, other: int) -> bool:
    """Tells whether a line is the fundamental of another one, both known to a cell."""
    ratio = other / cell
    return abs(ratio - round(ratio)) * cell < 1.5 + ratio / 2


def _middles(frequency: Frequency, rate: float, span: int) -> Tensor:
    """Returns the frequency in the middle of each symbol, averaged over half of it; NaN in pauses: float64 [F, K]."""
    width = max(1, round(0.5 / rate))
    values = smoothed(frequency.values, width)
    whole = smoothed(frequency.heard.float(), width) > 0.99
    mean = torch.where(whole, values.double(), math.nan)
    steps = _steps(frequency.values, span)
    time = torch.arange(steps.shape[1], dtype=torch.float64)
    turn = torch.polar(torch.ones(()).double(), -2 * math.pi * (rate * time).frac())
    phase = -(steps * turn).sum(1).angle() / (2 * math.pi) % 1.0  # [F], symbols before the first step
    count = int(rate * (mean.shape[1] - 2 * span)) - 2
    # A step lies between two spans; the middle of a symbol lies half a symbol later.
    instants = (phase[:, None] + 0.5 + torch.arange(max(count, 1))) / rate + span - width / 2
    return mean.gather(1, instants.round().long().clamp(0, mean.shape[1] - 1))
