"""Measures the envelope of frames without the noise in their band: steady, modulated, Gaussian, or pulses.

The kurtosis E|x|^4 / (E|x|^2)^2 of a signal is 1 at a constant envelope, 1.15 to 1.6 for PSK and QAM, 2 for OFDM and
Gaussian noise, and above that for pulses. Gaussian noise of power N on a signal of power S adds 4 S N + 2 N^2 to the
fourth moment (S. O. Rice, "Mathematical analysis of random noise", Bell System Technical Journal 24, 1945, section
3.10). The level beside the occupied band tells N.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool1d

from rfsep.identification.cyclic import effective_bandwidth, lag_product, local_power, power_spectra
from rfsep.iq import squared

_CELLS = 128  # cells of a spectrum, so that their scatter is small
_SMOOTH, _MARGIN = 5, 7  # cells that are averaged, and cells over which a band is widened
_FLOOR = 0.1  # quantile of the cells that counts as noise
_ABOVE = 2.0  # A cell at this multiple of the noise is occupied.
_FULL = 0.9  # A band beyond this share leaves no room to see the noise.
_STRETCH = 512  # samples over which power counts as steady, where the band is wide
_DEGREES = 48.0  # independent samples in a stretch at least
_ON_AIR = 0.2  # A stretch is on the air above this share of the recording's power while on the air.
_SHORT = 16  # samples over which power is averaged to see single pulses
_PULSE = 0.25  # A pulse is on above this share of the power at the top of all pulses.
_LAGS = (8, 32, 128)  # samples apart at which a keyed tone keeps its phase
_EDGE = 8  # samples at the edges of a pulse that are left out
_LONG = 256  # samples from which pulses are bursts
_BURST = 128  # samples over which power counts as steady within pulses
MOSTLY_ON = 0.75  # Signals whose power is high for this share of the time are steady, those of less are pulses.
_FEW = 0.05  # least share of the samples within pulses that shows the coherence at a lag


class Band(NamedTuple):
    """Frames behind a filter of their occupied bands.

    Attributes:
        frames: complex64 [F, T].
        noise: float32 [F], power of the noise within the band; 0 where the band is full and nothing shows it.
    """

    frames: Tensor
    noise: Tensor


class Envelope(NamedTuple):
    """What the envelopes of frames say, float32 [F] each.

    Attributes:
        kurtosis: without the noise, over the stretches on the air; 2 where a frame has none.
        correction: by how much the noise raises it, which is as uncertain as the level of the noise.
        on_air: share of the stretches that are on the air.
        on: share of the time on the air in which the power over 16 samples is high: 1 for steady signals.
        coherence: of a carrier within pulses: 1 for a keyed tone; 0 where ``on`` is `MOSTLY_ON` or more.
        within: kurtosis as above, but of the samples within bursts alone, if ``on`` is below that and they last 256
            samples on average, else 2.
    """

    kurtosis: Tensor
    correction: Tensor
    on_air: Tensor
    on: Tensor
    coherence: Tensor
    within: Tensor


def _around(cells: Tensor, count: int) -> Tensor:
    """The ``count`` cells around each cell of spectra [F, cells], on a circle: [F, cells, count]."""
    half = count // 2
    return torch.cat((cells[:, -half:], cells, cells[:, :half]), 1).unfold(1, count, 1)


def occupied_band(frames: Tensor) -> Band:
    """Finds the occupied band of each frame complex64 [F, T] and removes everything outside it."""
    density, length = power_spectra(frames, _CELLS), frames.shape[1]
    smooth = _around(density, _SMOOTH).mean(2)  # [F, cells]
    floor = smooth.quantile(_FLOOR, 1, keepdim=True)
    used = _around((smooth > _ABOVE * floor).float(), _MARGIN).amax(2)
    full = (used.mean(1, keepdim=True) > _FULL) | (used.sum(1, keepdim=True) == 0)
    used = torch.where(full, 1.0, used)
    wrapped = torch.cat((used, used[:, :1]), 1)[:, None]
    fine = interpolate(wrapped, length + 1, mode="linear", align_corners=True)[:, 0, :length]
    filtered: Tensor = torch.fft.ifft(torch.fft.fft(frames) * fine)
    return Band(filtered, torch.where(full, 0.0, floor * used.mean(1, keepdim=True))[:, 0])


def stretch_length(band: Band) -> int:
    """Samples per stretch: 512, or more for narrow bands, but at most a frame."""
    wide = _DEGREES / max(effective_bandwidth(band.frames), _DEGREES / band.frames.shape[1])
    length = _STRETCH
    while length < wide:
        length *= 2
    return min(length, band.frames.shape[1])


def envelope(band: Band) -> Envelope:
    """Measures the envelopes of frames behind `occupied_band`."""
    square = squared(band.frames)
    length = stretch_length(band)
    pieces = square[:, : square.shape[1] // length * length].reshape(len(square), -1, length)
    power, fourth = pieces.mean(2), pieces.square().mean(2)  # [F, pieces]
    usual = power.square().sum() / power.sum().clamp(min=1e-30)
    on = (power > _ON_AIR * usual).float()
    noise = band.noise[:, None]
    signal = (power - noise).clamp(min=0)
    weight = (signal.square() * on).sum(1)
    pure = ((fourth - 4 * signal * noise - 2 * noise.square()) * on).sum(1) / weight.clamp(min=1e-30)
    raw = (fourth * on).sum(1) / (power.square() * on).sum(1).clamp(min=1e-30)
    there = weight > 0
    high, coherence, within = _pulses(band, on.repeat_interleave(length, 1))
    return Envelope(
        kurtosis=torch.where(there, pure, 2.0),
        correction=torch.where(there, (raw - pure).abs(), 0.0),
        on_air=on.mean(1),
        on=high,
        coherence=coherence,
        within=within,
    )


def _pulses(band: Band, on_air: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ``on``, ``coherence`` and ``within`` of `Envelope`; ``on_air``: float32 [F, T']."""
    length = on_air.shape[1]
    short = local_power(band.frames, _SHORT)[:, :length]
    usual = short.square().sum() / short.sum().clamp(min=1e-30)  # power at the top of the pulses
    high = (short > _PULSE * usual).float()
    on = (high * on_air).sum(1) / on_air.sum(1).clamp(min=1)
    coherence, within = torch.zeros(len(high)), torch.full((len(high),), 2.0)
    pulsed = (on < MOSTLY_ON).nonzero()[:, 0]
    if len(pulsed):
        noise = band.noise[pulsed]
        coherence[pulsed], within[pulsed] = _inside(Band(band.frames[pulsed, :length], noise), high[pulsed])
    return on, coherence, within


def _inside(band: Band, high: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``coherence`` and ``within`` of `Envelope` from where the power is ``high``, float32 [F, T]."""
    length = high.shape[1]
    amplitude = squared(band.frames).sqrt()
    switched = (high[:, 1:] != high[:, :-1]).float().mean(1)  # share of the samples
    inner = 1 - max_pool1d(1 - high[:, None], 2 * _EDGE + 1, 1, _EDGE)[:, 0]
    coherence = torch.ones(len(high))
    for lag in _LAGS:
        if lag >= length:
            continue
        both = -max_pool1d(-inner[:, None], lag + 1, 1)[:, 0]  # within one pulse: [F, length - lag]
        product = (lag_product(band.frames, lag) * both).sum(1).abs()
        there = both.sum(1) > _FEW * high.sum(1)
        value = product / (amplitude[:, lag:] * amplitude[:, : length - lag] * both).sum(1).clamp(min=1e-30)
        coherence = torch.where(there, torch.minimum(coherence, value), coherence)
    long = high.mean(1) / switched.clamp(min=1e-9) > _LONG / 2  # Two switches per pulse.
    within = torch.where(long, _kurtosis_within(band, inner), 2.0)
    return coherence * (switched > 0), within


def _kurtosis_within(band: Band, inner: Tensor) -> Tensor:
    """Returns the kurtosis of the samples ``inner``, float32 [F, T'], without noise: float32 [F]; 2 without enough."""
    inner = inner[:, : inner.shape[1] // _BURST * _BURST].reshape(len(inner), -1, _BURST)
    square = squared(band.frames)[:, : inner.shape[1] * _BURST].reshape(inner.shape)
    number = inner.sum(2)
    enough = (2 * number > _BURST).float()
    power, fourth = (
        (square * inner).sum(2) / number.clamp(min=1),
        (square.square() * inner).sum(2) / number.clamp(min=1),
    )
    noise = band.noise[:, None]
    signal = (power - noise).clamp(min=0)
    weight = (signal.square() * enough).sum(1)
    pure = ((fourth - 4 * signal * noise - 2 * noise.square()) * enough).sum(1) / weight.clamp(min=1e-30)
    return torch.where(weight > 0, pure, 2.0)
