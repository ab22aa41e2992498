"""Finds the symbol rate and roll-off of a linearly modulated SOI of known carrier beneath interference.

The parts of such a signal half a symbol rate R above and below each frequency f carry the same symbols, so that the
cyclic spectrum S(f) = E X(f + R/2) X*(f - R/2) is not zero (Gardner, IEEE Signal Processing Magazine 8(2), 1991). For a
root-raised-cosine pulse of roll-off b it is half a cosine, cos(pi f / (b R)) for \\|f\\| < b R / 2, with one phase.
Interference that does not repeat with R adds nothing to it on average, whatever its spectrum, where it would change the
shoulder of the power spectrum.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import fft, ifft, next_fast_len, rfft
from scipy.ndimage import median_filter, uniform_filter1d

from rfsep.types import InputError

LOOKED_AT = 1 << 20  # samples that rate and roll-off are searched in
_SLOWEST, _FASTEST = 1 / 256, 1 / 1.2  # symbols per sample
_FEWEST = 256  # symbols
_STEP = math.sqrt(2)  # ratio of the rates that are searched in one band
_WIDEST = 1.6  # band of a signal in symbol rates; of a larger roll-off the flanks are cut
_WHITENING = 64  # cells of the spectrum that whitens a band
_LEVEL_SYMBOLS = 64  # Power counts as constant over so many symbols, longer than a pulse and shorter than a burst.
_CANDIDATES = 4  # lines per band that are compared with half a cosine
_CELLS = 96  # cells of the cyclic spectrum over a symbol rate
_ROLL_OFFS = np.arange(0.04, 1.001, 0.02)
_SHIFTS = np.linspace(-0.06, 0.06, 13)  # carrier errors that the fit allows, in symbol rates
# Tuned on recordings of LTE, Wi-Fi and FSK, with a SOI and without: strong lines of theirs differ from a half cosine by
# more than 2.2, a SOI by 1.6 and seldom by more, and what is left of theirs has a score of 26 at most.
_EXCESS = 1.6
_UNEXPLAINED = 0.15  # share of a strong SOI's likelihood: its pulse is not exactly that of the formula
_NARROWEST = 0.05  # roll-off
_SURE = 60.0  # score from which a rate counts
_CHANCE = 1e-4  # probability that noise shows a roll-off at a known rate
_RIVAL = 0.25  # A second rate whose score comes so near to the first's leaves the question open.
_TONE = 6.0  # A cell of more than so many times the mean power is a tone, and is cut down.
_BLOCK = 32  # cells whose median is their level
_FLOOR = 0.03  # Below this share of the largest density are the pulse's side lobes.
_UNSURE_CYCLES = 0.1  # standard error up to which the phase of a later stretch is told without ambiguity
Samples = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complexfloating[Any, Any]]
Read = Callable[[int, int], Samples]


class Shape(NamedTuple):
    """A half cosine fitted to a cyclic spectrum.

    Attributes:
        roll_off: roll-off of the pulse.
        error: its standard error.
        shift: carrier error in symbol rates.
        score: log-likelihood ratio to no signal.
        excess: mean square of the differences from it over their variance: 1 where it fits.
    """

    roll_off: float
    error: float
    shift: float
    score: float
    excess: float


class SymbolRate(NamedTuple):
    """A symbol rate that was found.

    Attributes:
        rate: symbols per sample.
        error: its standard error.
        shape: roll-off at that rate.
    """

    rate: float
    error: float
    shape: Shape


class _Candidate(NamedTuple):
    rate: float
    shape: Shape


def find_symbol_rate(read: Read, num_samples: int) -> SymbolRate:
    """Finds the rate of a SOI anywhere between 1/256 and 1/1.2 symbols per sample.

    The strongest lines in the power of half-octave bands are candidates. The one counts whose cyclic spectrum is most
    likely half a cosine around the carrier. Its rate is refined from the phases of the line over the whole capture.

    Args:
        read: returns samples complex64 [count] from sample ``start`` on, with the SOI's carrier at zero frequency.
        num_samples: length of the capture.

    Raises:
        InputError: no rate stands out, or two do.
    """
    samples = read(0, min(num_samples, LOOKED_AT))
    found = sorted(filter(_is_cosine, _candidates(samples)), key=_certainty, reverse=True)
    if not found or _certainty(found[0]) < _SURE:
        raise InputError("no symbol rate stands out at the SOI's carrier; give --symbol-rate (and --offset-hz)")
    best = found[0]
    for other in found[1:]:
        apart = abs(other.rate - best.rate) > 4 / len(samples)
        if apart and _certainty(other) > max(_SURE, _RIVAL * _certainty(best)):
            raise InputError(
                f"two symbol rates stand out, {best.rate:.6g} and {other.rate:.6g} symbols per sample; give"
                " --symbol-rate"
            )
    return refine(read, num_samples, best.rate)


def find_roll_off(read: Read, num_samples: int, rate: float) -> Shape:
    """Finds the roll-off of a SOI whose rate is known.

    Args:
        read: see `find_symbol_rate`.
        num_samples: length of the capture.
        rate: symbols per sample.

    Raises:
        InputError: the SOI does not show.
    """
    shape = _fitted(_halves(read(0, min(num_samples, LOOKED_AT)), rate))
    threshold = -math.log(_CHANCE / (len(_ROLL_OFFS) * len(_SHIFTS)))
    if shape.score < threshold or shape.error > 0.25:
        raise InputError("the SOI's roll-off cannot be told; give --soi-set roll_off=")
    return shape


def refine(read: Read, num_samples: int, rate: float) -> SymbolRate:
    """Returns a rate to the precision that the whole capture gives.

    Stretches of the capture, each twice as far as the one before, tell the phase of the line at the symbol rate, and
    the slope of the phases is the rate. Its standard error grows with their distance from a straight line.

    Args:
        read: see `find_symbol_rate`.
        num_samples: length of the capture.
        rate: symbols per sample, right to half a cycle over the stretch that is looked at.
    """
    length = min(num_samples, LOOKED_AT)
    halves = _halves(read(0, length), rate)
    shape = _fitted(halves)
    move, error = _peak(_line(halves, shape), length)
    rate += move
    begins, places, phases, errors = _begins(length, num_samples), list[float](), list[float](), list[float]()
    for begin in begins:
        place = begin + length / 2
        if places and error * (place - places[-1]) > _UNSURE_CYCLES:
            break
        phase, unsure = _phase(_line(_halves(read(begin, length), rate, begin), shape))
        # The rate so far has told the phase to less than half a cycle, and all are counted at that rate.
        places, errors = [*places, place], [*errors, unsure]
        phases = [*phases, phase if not phases else phases[-1] + (phase - phases[-1] + 0.5) % 1 - 0.5]
        if len(places) > 1:
            slope, error = _slope(np.array(places), np.array(phases), np.array(errors))
            phases = [one - slope * at for one, at in zip(phases, places, strict=True)]
            rate += slope
    return SymbolRate(rate, error, shape)


def _begins(length: int, num_samples: int) -> list[int]:
    """Returns the beginnings of stretches, each twice as far as the one before, and the capture's last."""
    begins = [0]
    while (ahead := max(length, 2 * begins[-1])) + length <= num_samples:
        begins.append(ahead)
    last = num_samples - length
    return [*begins, last] if last - begins[-1] > length // 4 else begins


def _slope(places: Floats, phases: Floats, errors: Floats) -> tuple[float, float]:
    """Returns the slope of a line through phases in cycles, and its standard error."""
    weights = 1 / errors**2
    centred = places - np.average(places, weights=weights)
    spread = float(np.sum(weights * centred**2))
    slope = float(np.sum(weights * centred * phases)) / spread
    rest = phases - np.average(phases, weights=weights) - slope * centred
    excess = float(np.sum(weights * rest**2)) / max(1, len(places) - 2) if len(places) > 2 else 1.0
    return slope, math.sqrt(max(1.0, excess) / spread)


class _Halves(NamedTuple):
    """The spectrum of a stretch half a symbol rate above and below each frequency.

    Attributes:
        upper: complex [N], X(f + R/2) for frequencies f of ``frequencies``.
        lower: complex [N], X(f - R/2).
        frequencies: float64 [N], in symbol rates.
        powers: float64 [2, N], their smoothed power densities.
    """

    upper: Spectrum
    lower: Spectrum
    frequencies: Floats
    powers: Floats


def _halves(samples: Samples, rate: float, begin: int = 0) -> _Halves:
    """Returns the halves of samples complex64 [T] from sample ``begin`` on; frequencies up to .55 symbol rates."""
    number = len(samples)
    half: Spectrum = np.exp(-1j * np.pi * ((rate * (np.arange(number) + float(begin))) % 2))
    kept = np.arange(-int(0.55 * rate * number), int(0.55 * rate * number) + 1)
    clean = np.nan_to_num(samples)
    upper, lower = (_limited(fft(clean * turn)[kept] / math.sqrt(number)) for turn in (half, half.conj()))
    span = max(3, len(kept) // (_CELLS // 4)) | 1
    powers = np.stack([uniform_filter1d(np.abs(part) ** 2, span, mode="nearest") for part in (upper, lower)])
    floor = _FLOOR * max(float(powers.max()), 1e-300)
    return _Halves(upper, lower, kept / (rate * number), np.maximum(powers, floor))


def _limited(spectrum: Spectrum) -> Spectrum:
    """Returns a spectrum complex128 [N] whose cells exceed none of their neighbours' level by far.

    A pair of tones, of a receiver's spurs for example, repeats with the distance between them, but a signal is spread.
    """
    squares = np.abs(spectrum) ** 2
    block = min(_BLOCK, len(squares))
    whole = len(squares) // block * block
    medians = np.median(squares[:whole].reshape(-1, block), 1)
    most = np.append(medians.repeat(block), np.full(len(squares) - whole, medians[-1])) * (_TONE / math.log(2))
    limited: Spectrum = spectrum * np.sqrt(np.minimum(1, most / np.maximum(squares, 1e-300)))
    return limited


def _half_cosine(frequencies: Floats, roll_off: Floats | float, shift: Floats | float) -> Floats:
    """Returns the cyclic spectrum of a root-raised-cosine pulse; frequencies in symbol rates, float64."""
    place = (frequencies - shift) / roll_off
    return np.cos(np.pi * place) * (np.abs(place) < 0.5)


def _fitted(halves: _Halves) -> Shape:
    """Fits half a cosine of any phase to the cyclic spectrum, by likelihood."""
    cells = np.linspace(0, len(halves.frequencies), min(_CELLS, len(halves.frequencies)) + 1).astype(int)[:-1]
    count = np.diff(np.append(cells, len(halves.frequencies)))
    product = np.add.reduceat(halves.upper * halves.lower.conj(), cells) / count
    variance = np.add.reduceat(halves.powers[0] * halves.powers[1], cells) / count**2
    frequencies = np.add.reduceat(halves.frequencies, cells) / count

    def scores(roll_offs: Floats, shifts: Floats) -> Floats:
        models = _half_cosine(frequencies, roll_offs[:, None, None], shifts[:, None])  # [roll-offs, shifts, cells]
        along, energy = models @ (product / variance), models**2 @ (1 / variance)
        likely: Floats = np.abs(along) ** 2 / np.maximum(energy, 1e-300)
        return likely

    coarse = scores(_ROLL_OFFS, _SHIFTS)
    first, second = np.unravel_index(int(coarse.argmax()), coarse.shape)
    near = np.clip(_ROLL_OFFS[first] + np.arange(-0.06, 0.0601, 0.002), 0.03, 1.0)
    shift = _SHIFTS[second]
    fine = scores(near, np.array([shift]))[:, 0]
    best = int(fine.argmax())
    roll_off = float(near[best])
    model = _half_cosine(frequencies, roll_off, shift)
    gain = (model @ (product / variance)) / (model**2 @ (1 / variance))
    excess = float(np.mean(np.abs(product - gain * model) ** 2 / variance))
    bend = -float(np.polyfit(near - roll_off, fine, 2)[0]) * 2
    error = math.sqrt(max(1.0, excess) / bend) if bend > 0 else 1.0
    return Shape(roll_off, error, float(shift), float(fine[best]), excess)


def _line(halves: _Halves, shape: Shape) -> Spectrum:
    """Returns a series complex128 [L] whose mean is the line at the symbol rate, weighted for the least noise."""
    weights = np.sqrt(_half_cosine(halves.frequencies, shape.roll_off, shape.shift))
    inside = int(np.max(np.abs(np.flatnonzero(weights) - len(weights) // 2), initial=1))
    size = next_fast_len(4 * inside + 2)
    middle = len(weights) // 2
    some = slice(middle - inside, middle + inside + 1)
    cells = np.arange(-inside, inside + 1)
    series = []
    for part, power in ((halves.upper, halves.powers[0]), (halves.lower, halves.powers[1])):
        padded = np.zeros(size, np.complex128)
        padded[cells] = (part * weights / power)[some]
        series.append(ifft(padded))
    return series[0] * series[1].conj()


def _spectrum(line: Spectrum, padding: int) -> tuple[Spectrum, float]:
    """Returns the spectrum of a line's series around zero, ``padding`` cells per cell of it, and the noise's power."""
    spectrum = fft(line, padding * len(line))
    width = max(8, min(400, len(line) // 8))
    cells = padding * np.concatenate((np.arange(-width, -3), np.arange(4, width + 1)))
    return spectrum, max(float(np.median(np.abs(spectrum[cells]) ** 2)) / math.log(2), 1e-300)


def _peak(line: Spectrum, length: int) -> tuple[float, float]:
    """Returns the frequency of a line near zero in cycles per sample, and its standard error (the Cramer-Rao bound)."""
    padding = 16
    spectrum, noise = _spectrum(line, padding)
    cells = np.arange(-padding, padding + 1)
    strength = np.abs(spectrum[cells])
    best = min(max(int(strength.argmax()), 1), len(cells) - 2)
    left, middle, right = strength[best - 1 : best + 2]
    bend = min(left - 2 * middle + right, -1e-12 * middle)
    place = (cells[best] + float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))) / padding
    return place / length, math.sqrt(6 * noise / max(float(middle) ** 2, 1e-300)) / (2 * math.pi * length)


def _phase(line: Spectrum) -> tuple[float, float]:
    """Returns the phase of a line in cycles, and its standard error."""
    spectrum, noise = _spectrum(line, 1)
    ratio = noise / max(abs(spectrum[0]) ** 2, 1e-300)
    return float(np.angle(spectrum[0])) / (2 * math.pi), min(1.0, math.sqrt(ratio / 2) / (2 * math.pi))


def _certainty(candidate: _Candidate) -> float:
    """Returns the score of a candidate over what its differences from the half cosine exceed their variance by."""
    return candidate.shape.score / max(1.0, candidate.shape.excess)


def _is_cosine(candidate: _Candidate) -> bool:
    """Tells whether a cyclic spectrum looks like that of a SOI, and not like a pair of tones or another's slots."""
    shape = candidate.shape
    fits = (shape.excess - _EXCESS) * _CELLS < _UNEXPLAINED * shape.score
    return fits and shape.roll_off > _NARROWEST and abs(shape.shift) < _SHIFTS[-1]


def _candidates(samples: Samples) -> list[_Candidate]:
    """Returns lines in the power of half-octave bands around the carrier, with their likelihood."""
    size = next_fast_len(len(samples))
    spectrum = fft(np.nan_to_num(samples), size)
    slowest, found = max(_SLOWEST, _FEWEST / len(samples)), list[_Candidate]()
    while slowest < _FASTEST:
        found += _in_band(spectrum, slowest)
        slowest *= _STEP
    return found


def _in_band(spectrum: Spectrum, slowest: float) -> list[_Candidate]:
    """Returns the strongest lines between ``slowest`` and half an octave more, in a band that holds such signals."""
    size = len(spectrum)
    half = min(int(_WIDEST / 2 * _STEP * slowest * size), (size - 1) // 2)
    cells = np.arange(-half, half + 1)
    length = next_fast_len(max(3 * half, 2 * half + 1))
    band = np.zeros(length, np.complex64)
    band[cells] = spectrum[cells]
    density = uniform_filter1d(np.abs(spectrum[cells]) ** 2, max(3, len(cells) // _WHITENING) | 1, mode="nearest")
    flat = np.zeros(length, np.complex64)
    flat[cells] = spectrum[cells] / np.sqrt(density + 1e-4 * density.max() + 1e-30)
    white = ifft(flat)
    power = np.abs(white) ** 2
    local = uniform_filter1d(power, max(3, round(_LEVEL_SYMBOLS * length / (slowest * size))) | 1, mode="nearest")
    power /= local + 0.01 * local.mean() + 1e-30
    squares = np.abs(rfft(power - power.mean())) ** 2
    # Bands overlap, so that none misses a line at the edge of two.
    first, last = int(slowest * size) - 2, min(int(_STEP * slowest * size) + 3, len(squares) - 2, int(_FASTEST * size))
    if last - first < 3:
        return []
    searched = squares[first:last]
    units = math.log(2) * searched / (median_filter(searched, min(65, len(searched)), mode="nearest") + 1e-30)
    samples, found = ifft(band), list[_Candidate]()
    for _ in range(_CANDIDATES):
        place = int(units.argmax())
        if units[place] < 0.5 * math.log(len(units)):
            break
        around = np.sqrt(squares[first + place - 1 : first + place + 2])
        bend = min(around[0] - 2 * around[1] + around[2], -1e-30)
        exact = first + place + float(np.clip(0.5 * (around[0] - around[2]) / bend, -0.5, 0.5))
        shape = _fitted(_halves(samples, exact / length))
        found.append(_Candidate(exact / size, shape))
        units[max(0, place - 3) : place + 4] = 0
    return found
