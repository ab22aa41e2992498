"""Identifies the kind of signal in example frames, and its parameters, from the frames alone."""

import math
from typing import Any

import torch
from torch import Tensor

from rfsep.identification.carriers import find_carriers
from rfsep.identification.cyclic import local_power, unit_power
from rfsep.identification.describe import Part, constant_envelope, like_noise, ofdm, single_carrier, steady
from rfsep.identification.findings import Finding, Identified
from rfsep.identification.kinds import STEADY, Sorting, sort_frames
from rfsep.identification.prefix import find_prefix
from rfsep.identification.symbol_rate import find_symbol_rate
from rfsep.signals.distinct import distinct_samples
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError, Modem

MIN_SAMPLES = 512
_POWER_SPAN = 256  # samples over which power is averaged to see bursts
_SILENCE_DB = -60.0  # A power this far below the mean is silence.
_LEAST_STEP_DB = 6.0  # least step between bursts and pauses
_NEW = 0.2  # A frame counts if no earlier frame holds this share of its samples.
_SURE = 0.5  # least confidence of a kind, and of each part of a modem
_RARE = 0.05  # A kind is absent below this share of the time on the air.
_REST = 0.1  # Frames without the prefix that others have are looked at on their own from this share on.
_LIKE_NOISE = 0.15  # Frames this close to a Gaussian's kurtosis may be noise between those of a single carrier.
_MODULATED = 1.65  # A frame of this kurtosis or less is no OFDM; tuned, see `rfsep.identification.kinds`.
_OWN = 3.0  # log Bayes factor that shows the prefix in a single frame


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
    _check(frames, sample_rate_hz)
    frames = frames[distinct_samples(frames).float().mean(1) >= _NEW]
    frames = unit_power(frames)
    found = _together(_parts(frames, sort_frames(frames)))._replace(duty_cycle=duty_cycle(frames))
    if sample_rate_hz is not None and found.carrier_offset.value is not None:
        offset_hz = found.carrier_offset.value * sample_rate_hz
        found = found._replace(carrier_offset_hz=Finding(offset_hz, found.carrier_offset.confidence))
    return found


def _parts(frames: Tensor, sorting: Sorting) -> list[Part]:
    """Identifies each group of frames complex64 [F, T]."""
    parts, kind = list[Part](), sorting.kind.clone()
    rest = (kind != STEADY.index("constant_envelope")) & (kind != STEADY.index("chirp"))
    if sorting.share(rest) >= _RARE:
        parts, members = _linear(frames, sorting, rest)
        kind[members] = len(STEADY)
    for place, name in enumerate(STEADY):
        chosen, sure = kind == place, sorting.confidence[place]
        if sorting.share(chosen) < _RARE:
            continue
        found = (
            constant_envelope(sorting.band.frames[chosen], sure)
            if name == "constant_envelope"
            else steady(name, sure, sorting.chirp_rate)
        )
        parts.append(Part(found, sorting.share(chosen)))
    return [part for part in parts if part.share >= _RARE]


def _linear(frames: Tensor, sorting: Sorting, rest: Tensor) -> tuple[list[Part], Tensor]:
    """Identifies OFDM, single carriers and noise among the frames of ``rest``, bool [F]; returns which frames they are.

    Pulses may turn out to be bursts of OFDM, but neither a single carrier nor noise.
    """
    plain = rest & (sorting.kind < 0)
    found, own = _ofdm(frames, sorting, rest)
    if found is None:
        return _without_prefix(frames, sorting, plain), plain
    left = plain & ~own
    others = _without_prefix(frames, sorting, left) if sorting.share(left) > _REST * sorting.share(rest) else []
    if not any(part.found.kind.value == "single_carrier" for part in others):
        others, own = [], own | left  # OFDM that fades, or sends little
    return [Part(found, sorting.share(own)), *others], own | plain


def _without_prefix(frames: Tensor, sorting: Sorting, plain: Tensor) -> list[Part]:
    """Identifies a single carrier, noise beside it, or noise alone in the frames of ``plain``, bool [F]."""
    if not plain.any():
        return []
    rate = find_symbol_rate(frames[plain])
    quiet = plain.clone()
    if rate is not None:
        quiet[plain] = ~rate.members
        quiet &= (sorting.kurtosis - 2).abs() < _LIKE_NOISE
        if sorting.share(quiet) < _REST or _typical(sorting, plain & ~quiet) > 2 - 2 * _LIKE_NOISE:
            quiet[:] = False
    carrier = plain & ~quiet
    parts = []
    if rate is not None:
        parts.append(Part(single_carrier(rate, _typical(sorting, carrier)), sorting.share(carrier)))
    if quiet.any():
        parts.append(Part(like_noise(frames[quiet], _typical(sorting, quiet)), sorting.share(quiet)))
    return parts


def _typical(sorting: Sorting, chosen: Tensor) -> float:
    """The median kurtosis of frames on the air."""
    heard = sorting.kurtosis[chosen & (sorting.weight > 0)]
    return float(heard.median()) if len(heard) else 2.0


def _ofdm(frames: Tensor, sorting: Sorting, rest: Tensor) -> tuple[Identified | None, Tensor]:
    """Looks for OFDM in the frames of ``rest``, bool [F]; returns also which frames show its prefix."""
    own = torch.zeros_like(rest)
    prefix = find_prefix(frames[rest])
    carriers = None if prefix is None else find_carriers(frames[rest], prefix)
    if prefix is None or carriers is None:
        return None, own
    own[rest] = (prefix.frame_log_ratio > _OWN) & (sorting.kurtosis[rest] > _MODULATED)
    found = ofdm(prefix, carriers, _typical(sorting, own if own.any() else rest))
    if found.num_guard_carriers.value is None and (rate := find_symbol_rate(frames[rest])) is not None:
        # A prefix without carriers may be the pulse of a single carrier.
        found = found._replace(kind=Finding("ofdm", 0.0)) if rate.common else found
    return (found, own) if found.kind.confidence > _SURE else (None, torch.zeros_like(rest))


def _together(parts: list[Part]) -> Identified:
    """Returns the findings about the part that is longest on the air, with the shares of all."""
    parts = sorted(parts, key=lambda part: -part.share)
    if not parts or (sure := parts[0].found.kind.confidence) <= _SURE:
        highest = max((part.found.kind.confidence for part in parts), default=0.0)
        return Identified(Finding("unknown", 1 - min(highest, _SURE)))
    found = parts[0].found
    if len(parts) == 1:
        return found
    names = tuple(str(part.found.kind.value) if part.found.kind.confidence > _SURE else "unknown" for part in parts)
    shares = tuple(part.share / sum(part.share for part in parts) for part in parts)
    least = min(part.found.kind.confidence for part in parts if part.found.kind.confidence > _SURE)
    return found._replace(kinds=Finding(names, min(sure, least)), kind_shares=Finding(shares, min(sure, least)))


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
    one = identified.constellations.value is None and identified.kinds.value is None
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


def _check(frames: Tensor, sample_rate_hz: float | None) -> None:
    if sample_rate_hz is not None and not 0 < sample_rate_hz < math.inf:
        raise InputError(f"sample_rate_hz is {sample_rate_hz}, expected a positive number")
    if frames.dtype != torch.complex64 or frames.ndim != 2 or len(frames) == 0:
        raise InputError(f"frames are {frames.dtype} {tuple(frames.shape)}, expected complex64 [F, T]")
    if frames.shape[1] < MIN_SAMPLES:
        raise InputError(f"frames have {frames.shape[1]} samples, expected at least {MIN_SAMPLES}")
    if not torch.isfinite(torch.view_as_real(frames)).all():
        row = int((~torch.isfinite(torch.view_as_real(frames)).flatten(1).all(1)).nonzero()[0])
        raise InputError(f"frame {row} holds NaN or infinity")
    if not frames.any():
        raise InputError("frames hold nothing but zeros")
