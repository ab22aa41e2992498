"""Finds symbol rate, band and constellation of an unknown linear modulation.

The power of a linearly modulated signal has a spectral line at its symbol rate (Gardner 1991, see
`rfsep.identification.cyclic`), stronger when the flanks of its band are raised by whitening.
"""

import math
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import interpolate, max_pool1d

from rfsep.identification.cyclic import (
    cycle_spectra,
    highest,
    level,
    local_power,
    power_spectra,
    raised,
    standing_out,
    whiten,
)
from rfsep.identification.prefix import loudest
from rfsep.identification.symbol_statistics import Constellation, constellations_of_groups, decide_constellation
from rfsep.iq import squared

MIN_PERIOD, MAX_PERIOD = 1.8, 64.0  # samples per symbol
_MAX_SAMPLES = 1 << 19
_LEVEL_SPAN = 1024
_SHARED = 10.0  # normal score from which a line that all frames share counts
_CHANCE = 1e-4  # probability that noise shows such a line in a frame
_BAND_FIT = (0.65, 1.5)  # half-power bandwidth in symbol rates: 1 for a root-raised-cosine pulse
_BLOCK = 64  # cells per median
_SPECTRUM_SIZE = 512
_ROLL_OFFS = torch.arange(0.02, 1.0001, 0.02)
_UPSAMPLING = 8
_EDGE = 64  # samples at the ramps of bursts that are left out


class SymbolRate(NamedTuple):
    """A linear modulation that was found.

    Attributes:
        rates: symbols per sample, float64 [R], of the frames with a rate.
        common: whether one rate fits all of these frames.
        confidence: 1 - the probability that noise shows a rate in a frame. If frames differ in rate, it is multiplied
            by the share of the frames on the air whose rate fits their band.
        spread: standard error of a common mean rate, else standard deviation over frames.
        carrier_offset: float64 [R], cycles per sample: middle of the band.
        roll_off: median over frames.
        roll_off_spread: its standard deviation over frames, or the step of the search for a single frame.
        constellation: of the symbols.
        members: bool [F], the frames with a rate.
    """

    rates: Tensor
    common: bool
    confidence: float
    spread: float
    carrier_offset: Tensor
    roll_off: float
    roll_off_spread: float
    constellation: Constellation
    members: Tensor


def block_medians(values: Tensor, block: int = _BLOCK) -> Tensor:
    """Returns medians over blocks of cells, interpolated to every cell: float32 [F, L] to float32 [F, L]."""
    length = values.shape[1]
    block = min(block, max(1, length // 2))
    medians = values[:, : length - length % block].reshape(len(values), -1, block).median(2).values
    return interpolate(medians[:, None], length, mode="linear")[:, 0]


class _Lines(NamedTuple):
    rates: Tensor  # float64 [F], strongest line of the power
    found: Tensor  # bool [F], significant, without a line at half or twice the rate


def power_lines(levelled: Tensor) -> _Lines:
    """Finds the strongest line in the spectrum of each frame's power, between the extreme symbol rates."""
    size = int(next_fast_len(2 * levelled.shape[1]))
    squares = cycle_spectra(squared(levelled), size)
    units = squares / (block_medians(squares) / math.log(2)).clamp(min=1e-30)  # [F, cells]
    first, last = math.ceil(size / MAX_PERIOD), min(int(size / MIN_PERIOD), units.shape[1] - 1)
    strength, place = units[:, first:last].max(1)
    place = place + first
    rates = _refined(squares, place) / size
    threshold = -math.log(_CHANCE / (last - first))
    found = strength > threshold
    for multiple in (0.5, 2.0, 1 / 3, 2 / 3, 1.5):
        company = (rates * multiple * size).round().long()[:, None] + torch.arange(-1, 2)  # [F, 3]
        inside = (company < units.shape[1] - 1).all(1)
        other = units.gather(1, company.clamp(max=units.shape[1] - 1)).amax(1)
        found &= ~(inside & (other > threshold / 2) & (other > strength / 10))
    return _Lines(rates, found)


def _refined(squares: Tensor, place: Tensor) -> Tensor:
    """Returns the peak between cells by a parabola through three amplitudes, float64 [F]."""
    cells = (place[:, None] + torch.arange(-1, 2)).clamp(0, squares.shape[1] - 1)
    left, middle, right = squares.gather(1, cells).double().sqrt().unbind(1)
    bend = (left - 2 * middle + right).clamp(max=-1e-12)
    return place + (0.5 * (left - right) / bend).clamp(-0.5, 0.5)


class _Band(NamedTuple):
    centre: Tensor  # float64 [F], cycles per sample
    width: Tensor  # float64 [F], between half-power points


def half_power_band(density: Tensor) -> _Band:
    """Returns the half-power band of power spectra float32 [F, size] in FFT order."""
    size = density.shape[1]
    reference = density.amax(1, keepdim=True)
    for _ in range(8):  # mean over the cells above half the mean
        above = density > reference / 2
        reference = (density * above).sum(1, keepdim=True) / above.sum(1, keepdim=True).clamp(min=1)
    above = density > reference / 2
    angle = 2 * math.pi * torch.arange(size) / size
    direction = (above * torch.polar(torch.ones(size), angle)).sum(1)
    return _Band(direction.angle().double() / (2 * math.pi), above.sum(1).double() / size)


def find_symbol_rate(frames: Tensor) -> SymbolRate | None:
    """Finds the linear modulation of frames complex64 [F, T], or returns None.

    Half of the frames have to show a rate. In much noise only the sum over the frames may show it: one line, which fits
    the band.
    """
    levelled = level(frames, _LEVEL_SPAN)
    chosen = loudest(levelled, _MAX_SAMPLES)
    members = torch.ones(len(frames), dtype=torch.bool)
    frames, levelled = frames[chosen], levelled[chosen]
    flat = whiten(levelled)
    lines = power_lines(flat)
    size = min(_SPECTRUM_SIZE, 1 << (frames.shape[1] // 8).bit_length() - 1)
    density = power_spectra(levelled, size)
    widths = half_power_band(density).width
    on_air = squared(levelled).mean(1) > 0.1
    found = lines.found & _fits(widths / lines.rates)
    share = float(found.sum() / on_air.sum().clamp(min=1))
    if share < 0.5:
        rate = _shared_line(flat)
        if rate is None or not _fits(widths.median() / rate):
            return None
        rates = torch.full((int(on_air.sum()),), rate, dtype=torch.float64)
        members[chosen] = on_air
        return _describe(frames[on_air], density[on_air], rates, members, True, 1 - _CHANCE, 0.5 / frames.shape[1])
    members[chosen] = found
    rates, density, frames = lines.rates[found], density[found], frames[found]
    near = (rates - rates.median()).abs() < 1 / frames.shape[1]
    common = bool(near.double().mean() > 0.8)
    if common:
        spread = float(rates[near].std() / math.sqrt(int(near.sum()))) if near.sum() > 1 else 1 / frames.shape[1]
        rates = rates[near].mean().expand(len(rates))
    else:
        spread = float(rates.std())
    return _describe(frames, density, rates, members, common, (1.0 if common else min(1.0, share)) - _CHANCE, spread)


def _fits(ratio: Tensor) -> Tensor:
    """Tells whether half-power bandwidths in symbol rates are those of a linear modulation."""
    return (ratio > _BAND_FIT[0]) & (ratio < _BAND_FIT[1])


def _shared_line(flat: Tensor) -> float | None:
    """Returns the one strong line in the power of all whitened frames complex64 [F, T] together, or None."""
    size = int(next_fast_len(2 * flat.shape[1]))
    squares = cycle_spectra(squared(flat), size)
    peaks = highest(standing_out(squares)[: int(size / MIN_PERIOD)], math.ceil(size / MAX_PERIOD), 9)
    if not peaks or peaks[0].z < _SHARED:
        return None
    others = [peak.z for peak in peaks if abs(peak.cell - peaks[0].cell) > 8]
    if max(others, default=0.0) > peaks[0].z / 2:
        return None
    return float(_refined(squares.mean(0, keepdim=True), torch.tensor([peaks[0].cell]))) / size


def _describe(
    frames: Tensor,
    density: Tensor,
    rates: Tensor,
    members: Tensor,
    common: bool,
    confidence: float,
    spread: float,
) -> SymbolRate:
    """Finds roll-off, carrier offset and constellation at known rates."""
    band = half_power_band(density)
    roll_offs, centres = _fit_pulse(density, rates, band.centre)
    roll_off = roll_offs.median()
    symbols, valid = _symbols(frames, rates, centres, roll_off.expand(len(rates)))
    streams = symbols[:, :, None]
    decided = constellations_of_groups(streams, valid) or decide_constellation(streams, valid)
    # The rotation from symbol to symbol is the rest of the carrier offset.
    centres = centres + _turns(symbols, valid, decided.symmetry) * rates
    return SymbolRate(
        rates=rates,
        common=common,
        confidence=confidence,
        spread=spread,
        carrier_offset=centres,
        roll_off=float(roll_off),
        roll_off_spread=float(roll_offs.std()) if len(roll_offs) > 1 else 0.02,
        constellation=decided,
        members=members,
    )


def _turns(symbols: Tensor, valid: Tensor, symmetry: int) -> Tensor:
    """Returns cycles float64 [F] by which symbols complex64 [F, K] turn per symbol, modulo 1 / symmetry.

    Raised to the power of the symmetry, the symbols lose their data and become a tone.
    """
    units = torch.where(valid, symbols / symbols.abs().clamp(min=1e-12), 0)
    size = int(next_fast_len(4 * symbols.shape[1]))
    squares = squared(torch.fft.fft(raised(units, symmetry), size))
    cycles = _refined(squares, squares.argmax(1)) / size
    return (cycles - cycles.round()) / symmetry


def raised_cosine_spectrum(frequency: Tensor, roll_off: Tensor) -> Tensor:
    """Returns the power spectrum of a root-raised-cosine pulse, 1 in the middle; frequencies in symbol rates."""
    slope = (0.5 + (frequency.abs() - 0.5) / roll_off.clamp(min=1e-3)).clamp(0, 1)
    return torch.cos(slope * (math.pi / 2)).square()


def _fit_pulse(density: Tensor, rates: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Fits roll-offs float32 [F] and band centres float64 [F] to spectra [F, size] over white noise."""
    size = density.shape[1]
    cells = torch.arange(size) / size
    shifts = torch.linspace(-0.1, 0.1, 21, dtype=torch.float64)  # symbol rates
    best = torch.full((len(density),), math.inf)
    roll_offs, middles = torch.full((len(density),), 0.25), centres.clone()
    target = density - density.mean(1, keepdim=True)
    for shift in shifts.tolist():
        middle = centres + shift * rates
        distance = cells - middle[:, None]
        distance = ((distance - distance.round()) / rates[:, None]).float()
        for roll_off in _ROLL_OFFS:
            model = raised_cosine_spectrum(distance, roll_off)
            model = model - model.mean(1, keepdim=True)
            gain = (model * target).sum(1) / model.square().sum(1).clamp(min=1e-12)
            error = (target - gain[:, None] * model).square().sum(1)
            better = error < best
            best = torch.where(better, error, best)
            roll_offs = torch.where(better, roll_off, roll_offs)
            middles = torch.where(better, middle, middles)
    return roll_offs, middles


def _symbols(frames: Tensor, rates: Tensor, centres: Tensor, roll_offs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns matched-filter outputs at symbol instants, complex64 [F, K] of unit power, and which are on the air."""
    num_samples = frames.shape[1]
    size = int(next_fast_len(num_samples + 64))
    frequency = torch.fft.fftfreq(size, dtype=torch.float64) - centres[:, None]
    frequency = frequency - frequency.round()
    pulse = raised_cosine_spectrum((frequency / rates[:, None]).float(), roll_offs[:, None]).sqrt()
    filtered = torch.fft.ifft(torch.fft.fft(frames, size) * pulse)[:, :num_samples]
    time = torch.arange(num_samples, dtype=torch.float64)
    filtered = filtered * torch.polar(torch.ones(()).double(), -2 * math.pi * (centres[:, None] * time).frac()).to(
        torch.complex64
    )
    power = squared(filtered)
    line = (power * torch.polar(torch.ones(()).double(), -2 * math.pi * (rates[:, None] * time).frac())).sum(1)
    timing = (-line.angle() / (2 * math.pi)) % 1.0  # symbols
    number = int((num_samples * rates.min()).floor()) - 2
    instants = (timing[:, None] + torch.arange(number)) / rates[:, None]  # samples, float64 [F, K]
    values = _interpolated(filtered, instants)
    envelope = local_power(filtered, 65)
    on_air = (envelope > 0.4 * envelope.quantile(0.8, 1, keepdim=True)).float()
    on_air = -max_pool1d(-on_air[:, None], 2 * _EDGE + 1, 1, _EDGE)[:, 0] > 0  # away from the ramps of bursts
    valid = on_air.gather(1, instants.long().clamp(max=num_samples - 1))
    valid[:, :8], valid[:, -8:] = False, False  # The filter has not filled there.
    mean = (squared(values) * valid).sum(1) / valid.sum(1).clamp(min=1)
    return values / mean.clamp(min=1e-30).sqrt()[:, None], valid


def _interpolated(frames: Tensor, instants: Tensor) -> Tensor:
    """Interpolates band-limited frames complex64 [F, T] between samples: complex64 [F, K]."""
    num_samples = frames.shape[1]
    spectrum = torch.fft.fft(frames)
    half = num_samples // 2
    padded = spectrum.new_zeros((len(frames), num_samples * _UPSAMPLING))
    padded[:, :half], padded[:, half - num_samples :] = spectrum[:, :half], spectrum[:, half:]
    fine = torch.fft.ifft(padded) * _UPSAMPLING
    place = (instants * _UPSAMPLING).clamp(max=fine.shape[1] - 2)
    left = place.long()
    share = (place - left).float()
    values: Tensor = fine.gather(1, left) * (1 - share) + fine.gather(1, left + 1) * share
    return values
