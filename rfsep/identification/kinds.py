"""Sorts frames by their envelopes: constant, chirps, pulses, or none of them, with confidences."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.identification.chirps import Chirp, find_chirp
from rfsep.identification.envelope import MOSTLY_ON, Band, Envelope, envelope, occupied_band
from rfsep.iq import squared

STEADY = ("constant_envelope", "chirp", "pulses")  # kinds that the envelope and its lag product tell

# The middles and widths of the logistic curves are tuned on synthetic recordings of other seeds than those of the
# reliability study (tests/heard.py, noise at 20 to 5 dB); the closed forms of the kurtosis are physics.
_CONSTANT = (1.10, 0.015)  # kurtosis; 8PSK of the widest roll-off has 1.12
_CHIRP = (0.30, 0.04)  # share of the power in chirps; FM has .15 at most, chirps in noise of 5 dB .4 and more
_CHIRP_KURTOSIS = (1.60, 0.05)  # Pulses of a chirp that begin or end within a stretch have 1.3.
_PULSES = (2.40, 0.08)  # kurtosis; Gaussian signals whose power changes with the traffic have up to 2.3
_SWITCHED = (MOSTLY_ON, 0.04)  # share of the time with high power; steady signals have .85 and more
_CARRIER = (0.40, 0.05)  # coherence within pulses; noise and modulations have .2 at most
_KEYED = (0.85, 0.03)  # coherence that tells on-off keying, whatever the kurtosis
_SHORT = 1.06  # kurtosis within pulses of a constant envelope; the gate takes some of that of PSK away
_TONE = (0.2, 0.5)  # amplitude of a tone above that of the signal itself, and of a second one relative to the first
_DOUBT = 0.3  # relative uncertainty of the noise that is removed
_ALONE = 0.02  # standard deviation of the kurtosis between frames, where there is one frame


class Sorting(NamedTuple):
    """Frames by their envelopes.

    Attributes:
        kind: int64 [F], place in `STEADY`, or -1 for none of them.
        weight: float32 [F], share of each frame's time on the air.
        confidence: of each kind in `STEADY`, from the frames of that kind; 0 without any.
        kurtosis: float32 [F], without noise, see `rfsep.identification.envelope`.
        chirp_rate: cycles per sample per sample, absolute; the median over the chirps.
        band: the frames behind a filter of their band.
    """

    kind: Tensor
    weight: Tensor
    confidence: tuple[float, float, float]
    kurtosis: Tensor
    chirp_rate: float
    band: Band

    def share(self, chosen: Tensor) -> float:
        """Returns the share of frames, bool [F], in the time on the air."""
        return float(self.weight[chosen].sum() / self.weight.sum().clamp(min=1e-9))


def above(value: float, curve: tuple[float, float]) -> float:
    """Returns a logistic curve of a value with a middle and a width: .5 in the middle, .95 three widths above.

    >>> round(above(1.3, (1.0, 0.1)), 2)
    0.95
    """
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, (value - curve[0]) / curve[1]))))


def below(value: float, curve: tuple[float, float]) -> float:
    """Returns 1 - `above`."""
    return 1 - above(value, curve)


def sort_frames(frames: Tensor) -> Sorting:
    """Sorts frames complex64 [F, T] of about unit power."""
    band = occupied_band(frames)
    shape, chirp = envelope(band), find_chirp(band.frames)
    switched = shape.on < _SWITCHED[0]
    short = switched & (shape.coherence < _KEYED[0])  # bursts too short for whole stretches
    shape = shape._replace(kurtosis=torch.where(short & (shape.within < _SHORT), shape.within, shape.kurtosis))
    upper = shape.kurtosis + _DOUBT * shape.correction
    is_chirp = (chirp.strength > _CHIRP[0]) & (upper < _CHIRP_KURTOSIS[0])
    is_pulses = switched & (
        ((shape.kurtosis > _PULSES[0]) & (shape.coherence > _CARRIER[0])) | (shape.coherence > _KEYED[0])
    )
    kind = torch.full((len(frames),), -1)
    constant = (upper < _CONSTANT[0]).nonzero()[:, 0]
    if len(constant):
        kind[constant[~_phase_steps(band.frames[constant])]] = STEADY.index("constant_envelope")
    kind[is_pulses] = STEADY.index("pulses")
    kind[is_chirp] = STEADY.index("chirp")
    kind[shape.on_air == 0] = -1
    slopes = chirp.slope[kind == STEADY.index("chirp")]
    return Sorting(
        kind=kind,
        weight=shape.on_air,
        confidence=(
            _sure_of_constant(shape, kind == 0),
            _sure_of_chirp(shape, chirp, kind == 1),
            _sure_of_pulses(shape, kind == 2),
        ),
        kurtosis=shape.kurtosis,
        chirp_rate=float(slopes.median()) if len(slopes) else 0.0,
        band=band,
    )


def _phase_steps(frames: Tensor) -> Tensor:
    """Tells whether the square or the fourth power of frames complex64 [F, T] is one tone, but the frames are not.

    PSK of rectangular pulses has a constant envelope as FM has. Its data vanish in that power. MSK leaves two tones.
    """
    units = frames / frames.abs().clamp(min=1e-12)
    own, _ = _tones(units)
    found = torch.zeros(len(frames), dtype=torch.bool)
    for _ in range(2):
        units = units.square()
        first, second = _tones(units)
        found |= (first > own + _TONE[0]) & (second < _TONE[1] * first)
    return found


def _tones(units: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the amplitudes of the two strongest tones, float32 [F] each."""
    amplitudes = squared(torch.fft.fft(units, 2 * units.shape[1])).sqrt() / units.shape[1]
    first, place = amplitudes.max(1)
    beside = (place[:, None] + torch.arange(-4, 5)) % amplitudes.shape[1]
    return first, amplitudes.scatter(1, beside, 0.0).amax(1)


def _sure_of_constant(shape: Envelope, chosen: Tensor) -> float:
    if not chosen.any():
        return 0.0
    values = shape.kurtosis[chosen]
    scatter = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else _ALONE
    return below(float(values.median()) + _DOUBT * float(shape.correction[chosen].median()) + 2 * scatter, _CONSTANT)


def _sure_of_chirp(shape: Envelope, chirp: Chirp, chosen: Tensor) -> float:
    if not chosen.any():
        return 0.0
    steady = below(float(shape.kurtosis[chosen].median()), _CHIRP_KURTOSIS)
    return above(float(chirp.strength[chosen].median()), _CHIRP) * steady


def _sure_of_pulses(shape: Envelope, chosen: Tensor) -> float:
    if not chosen.any():
        return 0.0
    kurtosis, on, coherence = (float(values[chosen].median()) for values in (shape.kurtosis, shape.on, shape.coherence))
    peaks = above(kurtosis, _PULSES) * above(coherence, _CARRIER)
    return max(peaks, above(coherence, _KEYED)) * below(on, _SWITCHED)
