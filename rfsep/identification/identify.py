"""Identifies the kind of signal in example frames, and its parameters, from the frames alone."""

import math
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from rfsep.identification.carriers import Carriers, find_carriers
from rfsep.identification.cyclic import level, local_power
from rfsep.identification.prefix import Prefix, find_prefix
from rfsep.identification.symbol_rate import SymbolRate, find_symbol_rate
from rfsep.identification.symbol_statistics import Constellation
from rfsep.signals.distinct import distinct_samples
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError, Modem

V = TypeVar("V")

MIN_SAMPLES = 512
_POWER_SPAN = 256  # samples over which power is averaged to see bursts
_SILENCE_DB = -60.0  # A power this far below the mean is silence.
_LEAST_STEP_DB = 6.0  # least step between bursts and pauses
_GAUSSIAN_KURTOSIS = 0.15  # largest deviation of a Gaussian's kurtosis from 2
_WEAKEST = 0.02  # correlation coefficient of the weakest feature that would be seen
_THRESHOLD = 5.0  # least normal score of a feature among thousands of lags
_SAME = 0.05  # Frames share a carrier offset within this many carriers or symbol rates.
_NEW = 0.2  # A frame counts if no earlier frame holds this share of its samples.
_SURE = 0.5  # least confidence of each part of a modem


class Finding(NamedTuple, Generic[V]):
    """A value and its confidence.

    Attributes:
        value: None if it is unknown or does not apply.
        confidence: 0 to 1; each field of `Identified` defines its own.
    """

    value: V | None
    confidence: float


class Identified(NamedTuple):
    """The result of identification.

    Attributes:
        kind: ``ofdm``, ``single_carrier``, ``noise`` (Gaussian, no cycles) or ``unknown``. The confidence
            of OFDM is 1 - the probability that noise shows such a prefix; of a single carrier see
            `rfsep.identification.symbol_rate.SymbolRate`; of noise and unknown it is the probability that a correlation
            coefficient of 0.02 would be seen in this number of samples.
        fft_size: samples; 1 - the probability that noise correlates as much at any lag, or that the correlation of
            another lag varies as clearly as this one's.
        cyclic_prefix_length: samples, of all symbols but the first of a slot; posterior probability among the layouts
            near the period found.
        first_cyclic_prefix_length: samples, of the first symbol of a slot; equal to the others in uniform OFDM.
        symbols_per_slot: 1 for uniform OFDM.
        statistical_period: samples after which the statistics repeat: a slot, an OFDM symbol, or a single carrier's
            symbol rounded to whole samples.
        symbol_period: samples, on average over a slot.
        num_guard_carriers: unused carriers at the lowest and highest frequencies; 1 - the probability that the
            steps in power at the edges are scatter between carriers.
        dc_null: whether the carrier in the middle is empty; the confidence of the guards.
        constellation: bpsk, qpsk, qam16 or qam64; see `rfsep.identification.symbol_statistics.Constellation`. If
            frames, or parts of them, hold several, it is the most frequent one, with at most its share as confidence.
        constellations: all constellations, the most frequent first, if there are several; the share of their symbols.
        constellation_shares: share of each of them; the same confidence.
        samples_per_symbol: of a single carrier, mean; if frames differ, their median with confidence 0.
        samples_per_symbol_range: lowest and highest over frames.
        roll_off: of a root-raised-cosine pulse; 1 - twice its standard deviation over frames.
        duty_cycle: share of the time in which the power, averaged over 256 samples, is on the upper side of the best
            split of its levels in dB; 1 if the sides differ by less than 6 dB. Confidence: 1 - the overlap of normal
            distributions fitted to both sides.
        carrier_offset: cycles per sample, median; share of the frames within 0.05 carriers or symbol rates of it, times
            the confidence of the middle carrier.
        carrier_offset_hz: the same in Hz, if the sample rate is known.
    """

    kind: Finding[str]
    fft_size: Finding[int] = Finding(None, 0.0)
    cyclic_prefix_length: Finding[int] = Finding(None, 0.0)
    first_cyclic_prefix_length: Finding[int] = Finding(None, 0.0)
    symbols_per_slot: Finding[int] = Finding(None, 0.0)
    statistical_period: Finding[int] = Finding(None, 0.0)
    symbol_period: Finding[float] = Finding(None, 0.0)
    num_guard_carriers: Finding[tuple[int, int]] = Finding(None, 0.0)
    dc_null: Finding[bool] = Finding(None, 0.0)
    constellation: Finding[str] = Finding(None, 0.0)
    constellations: Finding[tuple[str, ...]] = Finding(None, 0.0)
    constellation_shares: Finding[tuple[float, ...]] = Finding(None, 0.0)
    samples_per_symbol: Finding[float] = Finding(None, 0.0)
    samples_per_symbol_range: Finding[tuple[float, float]] = Finding(None, 0.0)
    roll_off: Finding[float] = Finding(None, 0.0)
    duty_cycle: Finding[float] = Finding(None, 0.0)
    carrier_offset: Finding[float] = Finding(None, 0.0)
    carrier_offset_hz: Finding[float] = Finding(None, 0.0)


def identify(frames: Tensor, sample_rate_hz: float | None = None) -> Identified:
    """Identifies kind and parameters of the signal that all frames hold.

    Args:
        frames: complex64 [F, T], at least 512 samples each, without DC offset of the receiver. Frames may differ in
            time, phase and power, and may hold pauses. A slot structure needs frames of several symbols; a
            constellation needs thousands of symbols.
        sample_rate_hz: turns the carrier offset into Hz.

    Raises:
        InputError: frames have another dtype or shape, are too short, or hold NaN, infinity, or only zeros.

    >>> from rfsep.signals.random_crop import RandomCrop
    >>> source = RandomCrop(OfdmModem(fft_size=128, cyclic_prefix_length=32))
    >>> found = identify(source.sample(8, 4096, torch.Generator().manual_seed(0)).waveform)
    >>> found.fft_size.value, found.cyclic_prefix_length.value, found.constellation.value
    (128, 32, 'qpsk')
    """
    _check(frames)
    frames = frames[distinct_samples(frames).float().mean(1) >= _NEW]
    duty = duty_cycle(frames)
    prefix = find_prefix(frames)
    found = Identified(_without_cycles(frames))
    if prefix is not None and prefix.fft_size_confidence > _SURE:
        found = _ofdm(prefix, find_carriers(frames, prefix))
    # A prefix without carriers may be the pulse of a single carrier.
    if found.num_guard_carriers.value is None and (rate := find_symbol_rate(frames)) is not None:
        single = _single_carrier(rate)
        if found.kind.value != "ofdm" or single.samples_per_symbol.confidence > _SURE:
            found = single
    found = found._replace(duty_cycle=duty)
    if sample_rate_hz is not None and found.carrier_offset.value is not None:
        offset_hz = found.carrier_offset.value * sample_rate_hz
        found = found._replace(carrier_offset_hz=Finding(offset_hz, found.carrier_offset.confidence))
    return found


def identified_modem(identified: Identified) -> Modem | None:
    """Returns the identified modem, or None if a part is unknown or no modem of this package sends such a signal.

    Where frames hold several constellations there is no single one: `identified_modems` has them all.

    Prefixes that differ within a slot, and symbols that do not last a whole number of samples, have no modem here. The
    modem has its own power, see `OfdmModem`, and no carrier offset.
    """
    arguments = modem_arguments(identified)
    if arguments is None:
        return None
    return OfdmModem(**arguments) if identified.kind.value == "ofdm" else LinearModem(**arguments)


def identified_modems(identified: Identified) -> list[Modem]:
    """A modem for each constellation that was found, the most frequent first; empty as `identified_modem` is None."""
    names = identified.constellations.value
    if names is None:
        found = [identified_modem(identified)]
    else:
        alone = identified._replace(constellations=Finding(None, 0.0))
        sure = identified.constellations.confidence
        found = [identified_modem(alone._replace(constellation=Finding(name, sure))) for name in names]
    return [modem for modem in found if modem is not None]


def modem_arguments(identified: Identified) -> dict[str, Any] | None:
    """Returns the arguments of `OfdmModem` or `LinearModem`, or None as `identified_modem` does."""
    if identified.kind.value == "ofdm":
        parts: tuple[Finding[Any], ...] = (
            identified.constellation,
            identified.fft_size,
            identified.cyclic_prefix_length,
            identified.num_guard_carriers,
            identified.dc_null,
        )
        names: tuple[str, ...] = (
            "constellation_name",
            "fft_size",
            "cyclic_prefix_length",
            "num_guard_carriers",
            "dc_null",
        )
        fits = identified.symbols_per_slot.value == 1
    elif identified.kind.value == "single_carrier":
        whole = Finding(identified.statistical_period.value, identified.samples_per_symbol.confidence)
        parts = (identified.constellation, whole, identified.roll_off)
        names = ("constellation_name", "samples_per_symbol", "roll_off")
        exact = identified.samples_per_symbol.value or 0.0
        fits = whole.value is not None and abs(exact - whole.value) < 1e-3 * exact
    else:
        return None
    one = identified.constellations.value is None
    if not one or not fits or any(part.value is None or part.confidence < _SURE for part in parts):
        return None
    return dict(zip(names, (part.value for part in parts), strict=True))


def duty_cycle(frames: Tensor) -> Finding[float]:
    """Returns the share of the time that frames complex64 [F, T] are on the air; see `Identified`."""
    power = local_power(frames, _POWER_SPAN)[:, :: _POWER_SPAN // 2].flatten()
    level_db = 10 * (power / power.mean()).clamp(min=10 ** (_SILENCE_DB / 10)).log10()
    ordered = level_db.sort().values
    number = len(ordered)
    below = torch.arange(1, number)
    means = ordered.cumsum(0)[:-1] / below, ordered.flip(0).cumsum(0).flip(0)[1:] / (number - below)
    split = int((below * (number - below) * (means[1] - means[0]).square()).argmax()) + 1
    low, high = ordered[:split], ordered[split:]
    step = float(high.mean() - low.mean())
    width = math.sqrt(float(low.var(correction=0) + high.var(correction=0)) / 2 + 1e-3)
    overlap = math.erfc(step / width / 2 / math.sqrt(2))  # overlap of two normal distributions of the mean width
    if step < _LEAST_STEP_DB or 1 - overlap < 0.9:
        return Finding(1.0, overlap if step >= _LEAST_STEP_DB else 1 - step / (2 * _LEAST_STEP_DB))
    return Finding(len(high) / number, 1 - overlap)


def _check(frames: Tensor) -> None:
    if frames.dtype != torch.complex64 or frames.ndim != 2 or len(frames) == 0:
        raise InputError(f"frames are {frames.dtype} {tuple(frames.shape)}, expected complex64 [F, T]")
    if frames.shape[1] < MIN_SAMPLES:
        raise InputError(f"frames have {frames.shape[1]} samples, expected at least {MIN_SAMPLES}")
    if not torch.isfinite(torch.view_as_real(frames)).all():
        row = int((~torch.isfinite(torch.view_as_real(frames)).flatten(1).all(1)).nonzero()[0])
        raise InputError(f"frame {row} holds NaN or infinity")
    if not frames.any():
        raise InputError("frames hold nothing but zeros")


def _agreement(values: Tensor, tolerance: float) -> Finding[float]:
    """Returns the median, and the share of the values within ``tolerance`` of it."""
    median = values.median()
    return Finding(float(median), float(((values - median).abs() <= tolerance).double().mean()))


def _ofdm(prefix: Prefix, carriers: Carriers) -> Identified:
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


def _single_carrier(rate: SymbolRate) -> Identified:
    periods = 1 / rate.rates
    period = float(periods.median())
    sure = rate.confidence if rate.common else 0.0
    return Identified(
        kind=Finding("single_carrier", rate.confidence),
        statistical_period=Finding(round(period) if rate.common else None, sure),
        symbol_period=Finding(period, sure),
        **_constellations(rate.constellation),
        samples_per_symbol=Finding(period, sure),
        samples_per_symbol_range=Finding((float(periods.min()), float(periods.max())), rate.confidence),
        roll_off=Finding(rate.roll_off, max(0.0, 1 - 2 * rate.roll_off_spread)),
        carrier_offset=_agreement(rate.carrier_offset, _SAME / period),
    )


def _without_cycles(frames: Tensor) -> Finding[str]:
    """Decides between noise and unknown: noise has kurtosis E|x|^4 / (E|x|^2)^2 = 2 at constant local power."""
    square = level(frames, 1024).abs().square()
    kurtosis = float(square.square().mean() / square.mean().square())
    seen = 0.5 * math.erfc((_THRESHOLD - _WEAKEST * math.sqrt(frames.numel())) / math.sqrt(2))
    if abs(kurtosis - 2) < _GAUSSIAN_KURTOSIS:
        return Finding("noise", seen)
    return Finding("unknown", seen)
