"""Describes groups of frames by what was found in them, each with the confidence of its kind."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rfsep.identification.carriers import Carriers
from rfsep.identification.cyclic import highest, lag_scores, standing_out
from rfsep.identification.findings import Finding, Identified
from rfsep.identification.frequency import find_frequency_modulation
from rfsep.identification.kinds import above, below
from rfsep.identification.prefix import MAX_FFT_SIZE, Prefix, flattened
from rfsep.identification.symbol_rate import SymbolRate
from rfsep.identification.symbol_statistics import Constellation
from rfsep.iq import squared

_SAME = 0.05  # Frames share a carrier offset within this many carriers or symbol rates.
_WEAKEST = 0.02  # correlation coefficient of the weakest feature that would be seen
_THRESHOLD = 5.0  # least normal score of a feature among thousands of lags
_WHOLE = 1e-3  # A symbol lasts a whole number of samples within this share of a sample, per symbol.

# Tuned as those of `rfsep.identification.kinds`.
_GAUSSIAN = (1.70, 0.025)  # least kurtosis of OFDM: BPSK in noise has up to 1.6
_NO_PULSES = (3.20, 0.10)  # largest kurtosis of OFDM, on the air, where traffic changes its power
_STRONG = (200.0, 60.0)  # log Bayes factor of prefixes that need no carriers beside them: equal ones, those of slots
_STRONG_FRAME, _STRONG_FEW = 12.0, 40.0  # the same per frame, where bursts have 6, and at least, of few frames
_MODULATED = (1.08, 0.01)  # least kurtosis of a linear modulation
_NOISE = (0.12, 0.015)  # largest deviation of a Gaussian's kurtosis from 2
_LINE = (12.0, 1.0)  # largest normal score that noise has at a lag, or in the spectrum of its square
_NEVER_SURE = 0.95  # A signal may always hide below what could be seen.
_FIRST_LAG = 64  # The correlation of a narrow band reaches up to here.


class Part(NamedTuple):
    """A group of frames.

    Attributes:
        found: what is known about it.
        share: of the time on the air.
    """

    found: Identified
    share: float


def ofdm(prefix: Prefix, carriers: Carriers, kurtosis: float) -> Identified:
    """Describes OFDM. A prefix alone is none: the envelope, and carriers, symbols or a long look have to agree."""
    return _layout(prefix, carriers)._replace(kind=Finding("ofdm", _sure_of_ofdm(prefix, carriers, kurtosis)))


def _sure_of_ofdm(prefix: Prefix, carriers: Carriers, kurtosis: float) -> float:
    guards = carriers.guard_confidence if carriers.num_guard_carriers is not None else 0.0
    ratio = prefix.log_ratio
    per_frame = min(ratio / (_STRONG_FRAME * len(prefix.offset)), ratio / _STRONG_FEW)
    cycles = prefix.layout_confidence * min(1.0, max(ratio / _STRONG[prefix.layout.symbols_per_slot > 1], per_frame))
    structure = max(guards * min(1.0, 2 * prefix.layout_confidence), carriers.constellation.confidence, cycles)
    return prefix.fft_size_confidence * structure * above(kurtosis, _GAUSSIAN) * below(kurtosis, _NO_PULSES)


def _agreement(values: Tensor, tolerance: float) -> Finding[float]:
    """Returns the median, and the share of the values within ``tolerance`` of it."""
    median = values.median()
    return Finding(float(median), float(((values - median).abs() <= tolerance).double().mean()))


def _layout(prefix: Prefix, carriers: Carriers) -> Identified:
    layout, sure = prefix.layout, prefix.layout_confidence
    offset = _agreement(carriers.carrier_offset, _SAME / layout.fft_size)
    middle = carriers.guard_confidence if carriers.num_guard_carriers is not None else 0.5
    return Identified(
        kind=Finding("ofdm", prefix.fft_size_confidence),
        fft_size=Finding(layout.fft_size, prefix.fft_size_confidence),
        cyclic_prefix_length=Finding(layout.cyclic_prefix_length, sure),
        first_cyclic_prefix_length=Finding(layout.cyclic_prefix_length + layout.extra, sure),
        symbols_per_slot=Finding(layout.symbols_per_slot, sure),
        statistical_period=Finding(layout.period, sure),
        symbol_period=Finding(layout.period / layout.symbols_per_slot, sure),
        num_guard_carriers=Finding(carriers.num_guard_carriers, carriers.guard_confidence),
        dc_null=Finding(carriers.dc_null if carriers.num_guard_carriers else None, carriers.guard_confidence),
        **_constellations(carriers.constellation),
        carrier_offset=offset._replace(confidence=offset.confidence * middle),
    )


def _constellations(found: Constellation) -> dict[str, Finding[Any]]:
    """The findings about the constellation."""
    one = {"constellation": Finding(found.name, found.confidence)}
    if not found.shares:
        return one
    names, shares = zip(*found.shares, strict=True)
    sure = min(1.0, sum(shares))
    return one | {"constellations": Finding(names, sure), "constellation_shares": Finding(shares, sure)}


def single_carrier(rate: SymbolRate, kurtosis: float) -> Identified:
    """Describes a single carrier."""
    periods = 1 / rate.rates
    period = float(periods.median())
    sure = rate.confidence if rate.common else 0.0
    return Identified(
        kind=Finding("single_carrier", rate.confidence * above(kurtosis, _MODULATED)),
        statistical_period=Finding(round(period) if rate.common else None, sure),
        symbol_period=Finding(period, sure),
        **_constellations(rate.constellation),
        samples_per_symbol=Finding(period, sure),
        samples_per_symbol_range=Finding((float(periods.min()), float(periods.max())), rate.confidence),
        roll_off=Finding(rate.roll_off, max(0.0, 1 - 2 * rate.roll_off_spread)),
        carrier_offset=_agreement(rate.carrier_offset, _SAME / period),
    )


def constant_envelope(frames: Tensor, sure: float) -> Identified:
    """Describes a constant envelope, of frames complex64 [F, T] behind a filter of their band."""
    modulation = find_frequency_modulation(frames)
    deviation, scale = Finding(modulation.deviation, sure), max(modulation.deviation, 1 / frames.shape[1])
    found = Identified(
        Finding("constant_envelope", sure),
        deviation=deviation,
        carrier_offset=_agreement(modulation.carrier_offset, 4 * _SAME * scale),
    )
    if modulation.symbol_rate is None:
        return found
    period, rate_sure = 1 / modulation.symbol_rate, sure * modulation.rate_confidence
    return found._replace(
        symbol_period=Finding(period, rate_sure),
        samples_per_symbol=Finding(period, rate_sure),
        samples_per_symbol_range=Finding((period, period), rate_sure),
        statistical_period=Finding(round(period), rate_sure),
    )


def steady(kind: str, sure: float, chirp_rate: float) -> Identified:
    """Describes chirps and pulses."""
    found = Identified(Finding(kind, sure))
    return found._replace(chirp_rate=Finding(chirp_rate, sure)) if kind == "chirp" else found


def like_noise(frames: Tensor, kurtosis: float) -> Identified:
    """Decides between noise and unknown for frames complex64 [F, T] without cycles.

    Noise has the kurtosis 2, no line in the spectrum of its square (as BPSK and MSK have) and no correlation at a lag.
    """
    seen = 0.5 * math.erfc((_THRESHOLD - _WEAKEST * math.sqrt(frames.numel())) / math.sqrt(2))
    doubled = squared(torch.fft.fft(frames.square()))
    lags = lag_scores(flattened(frames), min(frames.shape[1] // 2, MAX_FFT_SIZE + 1))
    lines = [*highest(standing_out(doubled), 0, 1), *highest(lags, _FIRST_LAG, 1)]
    plain = below(max((line.z for line in lines), default=0.0), _LINE)
    sure = _NEVER_SURE * seen * plain * below(abs(kurtosis - 2), _NOISE)
    return Identified(Finding("noise", sure))
