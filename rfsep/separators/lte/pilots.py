"""Finds the pilots of LTE cells beside a narrow-band SOI and takes them away beneath it, with all that is always sent.

An LTE downlink with little traffic still sends its cell-specific reference signals on the whole band. Carriers beside
the SOI show which cell sends them (`rfsep.signals.lte.pilots`). The channel hardly turns from one pilot to the next, so
products of neighbours are compared with those of every cell, slot and symbol, at every whole carrier offset. The known
pilots are then fitted to the window through a channel of a few taps per port.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rfsep.iq import squared
from rfsep.separators.inference.band import Band
from rfsep.separators.lte.cell_symbols import Pilots, known_pilots, synchronisation_symbols
from rfsep.separators.lte.known_symbols import KnownSymbol, fitted, waveforms
from rfsep.separators.lte.resource_blocks import (
    FFT_SIZE,
    PREFIX,
    SYMBOL,
    ResourceBlockLmmse,
    Timing,
    find_timings,
)
from rfsep.separators.lte.synchronisation import LEAST_EXPECTED, find_cell, find_primary, score
from rfsep.separators.windows import overlapped
from rfsep.signals.lte.pilots import NUM_PILOTS, SPACING, pilot_carriers, pilot_values
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated

# Physics: a cell has this many resource blocks (TS 36.101 clause 5.6; the two narrowest are left out). Cells below 100
# blocks were added after one had been seen in a test recording.
_BLOCKS = (25, 50, 75, 100)

# Physics: a port's pilots stand on every sixth carrier (TS 36.211 clause 6.10.1), so its waveform repeats six times
# within a body. A timing is therefore searched for in half a repetition in each direction.
_REPETITION = FFT_SIZE / SPACING
_REPETITIONS = range(-6, 7)
_LATEST = 107

# Physics: half a body or less tells the carrier offset so roughly at first that it may be wrong by a whole carrier. A
# whole body tells a tenth of one.
_FRACTIONS = tuple(0.15 * step for step in range(-7, 8))
_FINE = tuple(0.0375 * step for step in range(-2, 3))

# Physics and tuned; split not recorded. Thresholds in standard deviations of noise, whose score exceeds s with
# probability exp(-s^2). The first cell is the best of some millions of hypotheses. A further cell that shares slot,
# symbol and offset with it is the best of some thousands.
_LEAST_SCORE, _LEAST_ALIKE = 4.9, 3.8

# Tuned; split not recorded. Whole carriers by which receiver and base station may differ.
_SHIFTS = tuple(range(-4, 5))

# Physics: the pilots of one port look like those of the other three carriers away, but for the pilot beside the middle
# carrier. What is as likely to within 2 percent is taken for the smaller offset.
_ALIKE = 0.98

# Tuned; split not recorded. A body is cut this many samples inside the prefix.
_EARLY = 8

# Tuned; split not recorded. The least samples of a body in the window, and the least samples of pilots in a fit.
_LEAST_SEEN = 240
_LEAST_SENT = 150

# Tuned; split not recorded. The timings that are tried, and the cells that are looked for.
_TIMINGS = 3
_MOST_CELLS = 4

# Physics: carriers on either side of the middle one with synchronisation signals and broadcast channel (TS 36.211
# clause 6.6.4), and as many as a receiver may be off.
_MIDDLE = 40

# The most primary signals that are looked for.
_MOST_PRIMARIES = 2

# Tuned; split not recorded. Samples that hold most of a channel.
_GATHERED = 18

# Tuned; split not recorded. Pilots are fitted in white noise of this share of the interference's power, which is taken
# to be at least _LEAST_LEVEL.
_FLOOR = 0.3
_LEAST_LEVEL = 0.1

# A guard against division by zero.
_SILENCE = 1e-12


class _Ring(NamedTuple):
    """Pairs of neighbouring pilots that a band has and the next narrower one lacks.

    Attributes:
        pairs: their numbers, int64 [n].
        values: for each remainder modulo 3, the conjugated products of its cells: complex64 [n, 168 * 20 * 2].
    """

    pairs: Tensor
    values: list[Tensor]


@cache
def _rings() -> list[_Ring]:
    """Returns the rings of `_BLOCKS`, the narrowest band first."""
    values = pilot_values()
    steps = (values[..., 1:] * values[..., :-1].conj()).conj().resolve_conj()  # [504, 20, 2, 199]
    middle, rings = NUM_PILOTS // 2, list[_Ring]()
    pair, before = torch.arange(NUM_PILOTS - 1), torch.zeros(NUM_PILOTS - 1, dtype=torch.bool)
    for blocks in _BLOCKS:
        inside = (pair >= middle - blocks) & (pair + 1 < middle + blocks)
        pairs = pair[inside & ~before]
        every = [steps[comb::3].flatten(0, 2)[:, pairs].T.contiguous() for comb in range(3)]
        rings.append(_Ring(pairs, every))
        before = inside
    return rings


@cache
def _pilot_places() -> Tensor:
    """Returns the carriers of pilots, int64 [9, 6, 200], by whole offset and first carrier."""
    carriers = torch.stack([pilot_carriers(first) for first in range(SPACING)])
    return carriers + torch.tensor(_SHIFTS)[:, None, None]


def _bodies(window: Tensor, starts: list[int], fraction: float) -> Tensor:
    """Returns spectra complex64 [P, FFT_SIZE] of the parts of bodies inside a window complex64 [T]."""
    rows = []
    for start in starts:
        low, high = max(start - _EARLY, 0), min(start - _EARLY + FFT_SIZE, len(window))
        time = torch.arange(low, high)
        turned = window[low:high] * torch.polar(torch.ones(()), -2 * torch.pi / FFT_SIZE * fraction * (time - start))
        rows.append(pad(turned, (low - start + _EARLY, FFT_SIZE - (high - start + _EARLY))))
    spectra: Tensor = torch.fft.fft(torch.stack(rows))
    return spectra


def _steps(window: Tensor, starts: list[int], fraction: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Sums the weighted turns from pilot to pilot over two ports: complex64, and variance float32 [P, 9, 3, 199]."""
    places = _pilot_places() % FFT_SIZE
    heard = _bodies(window, starts, fraction)[:, places]  # [P, 9, 6, 200]
    step = heard[..., 1:] * heard[..., :-1].conj()
    trust = weight[places[..., 1:]] * weight[places[..., :-1]]  # [9, 6, 199]
    step = step / step.abs().clamp_min(_SILENCE) * trust
    return step[:, :, :3] + step[:, :, 3:], (trust.square()[:, :3] + trust.square()[:, 3:]).expand(
        len(starts), -1, -1, -1
    )


def likeliest(window: Tensor, starts: list[int], fraction: float, weight: Tensor) -> Pilots:
    """Returns the likeliest pilots of a window, in bodies that begin at one of ``starts``.

    Args:
        window: complex64 [T].
        starts: samples at which bodies begin.
        fraction: fractional carrier offset.
        weight: trust in each carrier, float32 [FFT_SIZE], at most 1 and less where the SOI is.
    """
    step, trust = _steps(window, starts, fraction, weight)
    best = Pilots(0, 0, 0, 0, fraction, 0, 0, -1.0)
    for comb in range(3):
        total, noise = torch.zeros(()), torch.zeros(())
        for blocks, ring in zip(_BLOCKS, _rings(), strict=True):
            total = total + step[:, :, comb, ring.pairs].flatten(0, 1) @ ring.values[comb]  # [P * 9, 6720]
            noise = noise + trust[:, :, comb, ring.pairs].flatten(0, 1).sum(1)  # [P * 9], variance of noise alone
            value, place = total.abs().max(1)
            value = value / noise.clamp_min(_SILENCE).sqrt()
            row = int(value.argmax())
            if float(value[row]) > best.score:
                number = int(place[row])
                cell, slot, symbol = comb + 3 * (number // 40), number // 2 % 20, number % 2
                start, shift = starts[row // len(_SHIFTS)], _SHIFTS[row % len(_SHIFTS)]
                best = Pilots(cell, slot, symbol, shift, fraction, start, blocks, float(value[row]))
    return best


class PilotFit(NamedTuple):
    """The pilots in a window.

    Attributes:
        found: the cells in the order in which they were found.
        timings: of the primary signals.
        pilots: waveform of all that is known, complex64 [T].
        rest: the window without it, complex64 [T].
    """

    found: list[Pilots]
    timings: list[Timing]
    pilots: Tensor
    rest: Tensor


def modem_spectrum(modem: Modem, size: int) -> Tensor:
    """Returns the power spectral density of a modem's waveform, float32 [size]; its mean is the waveform's power."""
    lags = modem_autocorrelation(modem, size // 2)
    both = torch.cat((lags, torch.zeros_like(lags[:1]), lags[1:].flip(0).conj()))
    density: Tensor = torch.fft.fft(both).real.clamp_min(0)
    return density.float()


def _whitening(soi: Tensor, level: float) -> Tensor:
    """Returns amplitudes float32 [n] that whiten a SOI of density float32 [n] and interference of ``level``."""
    return (_FLOOR * level / (soi + _FLOOR * level)).sqrt()


class _Placed(NamedTuple):
    """Pilots at a timing, and the likelihood of that timing."""

    pilots: Pilots
    gathered: float


class PilotFinder:
    """Finds and fits the pilots in windows of one length.

    Args:
        modem: the SOI's modem.
        num_samples: of a window.
    """

    def __init__(self, modem: Modem, num_samples: int) -> None:
        self.num_samples = num_samples
        self.size = 2 ** (num_samples + FFT_SIZE).bit_length()
        self.soi = modem_spectrum(modem, self.size)
        self.middle = (torch.fft.fftfreq(self.size) * FFT_SIZE).abs() < _MIDDLE
        self.soi_carriers = modem_spectrum(modem, FFT_SIZE)
        self.soi_power = float(self.soi.mean())

    def separate(self, window: Tensor) -> PilotFit:
        """Separates what is known of one window complex64 [T] from the rest."""
        found, known, timings = list[Pilots](), list[KnownSymbol](), list[Timing]()
        rest = window
        while len(timings) < _MOST_PRIMARIES and (primary := find_primary(rest, self.size)) is not None:
            timings.append(Timing(primary.start - PREFIX, primary.fraction))
            known.append(primary.symbol())
            if (cell := find_cell(rest, primary)) is not None:
                found.append(cell)
            rest = self._without(window, rest, known)
        known += [one for cell in found for one in self._expected(rest, cell, known)]
        rest = self._without(window, rest, known)
        for _ in range(_MOST_CELLS):
            weight = self._weight(rest)
            beside = torch.fft.ifft(torch.fft.fft(rest, self.size) * weight)[: self.num_samples]
            one = self._next(beside, found, timings)
            if one is None:
                break
            one = self._refined(one, torch.fft.fft(rest, self.size) * weight.square())
            known.append(known_pilots(one))
            rest = self._without(window, rest, known)
            if one.cell not in {cell.cell for cell in found}:
                known += self._expected(rest, one, known)
                rest = self._without(window, rest, known)
            found.append(one)
        return PilotFit(found, timings, window - rest, rest)

    def _weight(self, rest: Tensor) -> Tensor:
        """Returns amplitudes float32 [F] that whiten what is left of a window: the SOI and interference of two levels.

        The middle of the band holds synchronisation signals and the broadcast channel also where the rest is silent.
        """
        level = max(float(squared(rest).mean()) - self.soi_power, _LEAST_LEVEL)
        density = squared(torch.fft.fft(rest, self.size)) / self.num_samples
        excess = float((density - self.soi)[self.middle].mean()) - _FLOOR * level
        return _whitening(self.soi + max(excess, 0.0) * self.middle, level)

    def _without(self, window: Tensor, rest: Tensor, known: list[KnownSymbol]) -> Tensor:
        """Returns a window complex64 [T] without known symbols, fitted in noise like the rest that was left before."""
        return window - fitted(window, known, self._weight(rest)).waveform if known else window

    def _expected(self, rest: Tensor, cell: Pilots, known: list[KnownSymbol]) -> list[KnownSymbol]:
        """Lists the synchronisation signals of a cell that are in a window complex64 [T] and not yet known."""
        return [
            symbol
            for symbol in synchronisation_symbols(cell, self.num_samples, _LEAST_SENT)
            if score(rest, symbol, self.size, cell.shift) > LEAST_EXPECTED
        ]

    def _next(self, beside: Tensor, found: list[Pilots], told: list[Timing]) -> Pilots | None:
        """Returns the next cell of a window complex64 [T] without the SOI, or None."""
        level = max(float(squared(beside).mean()), _LEAST_LEVEL)
        weight = _whitening(self.soi_carriers, level)
        if found:  # Cells that are heard together usually share their timing.
            one = likeliest(beside, self._starts(Timing(found[0].start - PREFIX, 0.0)), found[0].fraction, weight)
            alike = one.slot == found[0].slot and one.symbol == found[0].symbol and one.shift == found[0].shift
            if one.score > (_LEAST_ALIKE if alike else _LEAST_SCORE):
                return one
        timings = told + find_timings(beside, _TIMINGS)
        tried = [likeliest(beside, self._starts(timing), timing.offset, weight) for timing in timings]
        best = max(tried, key=lambda one: one.score)
        return best if best.score > _LEAST_SCORE else None

    def _starts(self, timing: Timing) -> list[int]:
        """Returns the samples at which sufficiently visible bodies begin."""
        first = (timing.start + PREFIX - _LEAST_SEEN) % SYMBOL + _LEAST_SEEN - SYMBOL
        bodies = range(first, self.num_samples - _LEAST_SEEN, SYMBOL)
        return [start for start in bodies if start + FFT_SIZE >= _LEAST_SEEN]

    def _refined(self, found: Pilots, spectrum: Tensor) -> Pilots:
        """Returns the timing and carrier offset with the most channel energy in a spectrum complex64 [F].

        Pilots repeat six times within a body. Only the symbol's begin and end show which repetition it is.
        """
        moved = [found._replace(start=found.start + round(turn * _REPETITION)) for turn in _REPETITIONS]
        turned = [one._replace(fraction=fraction) for one in moved for fraction in _FRACTIONS]
        found = max((self._placed(one, spectrum) for one in turned), key=lambda one: one.gathered).pilots
        fine = [found._replace(fraction=found.fraction + step) for step in _FINE]
        found = max((self._placed(one, spectrum) for one in fine), key=lambda one: one.gathered).pilots
        whole = round(found.fraction)
        found = found._replace(shift=found.shift + whole, fraction=found.fraction - whole)
        swapped = [found._replace(shift=found.shift + step) for step in (-SPACING // 2, 0, SPACING // 2)]
        nearest = min(swapped, key=lambda one: abs(one.shift))
        placed = {one: self._placed(one, spectrum) for one in swapped}
        likeliest_of_all = max(placed.values(), key=lambda one: one.gathered)
        if placed[nearest].gathered > _ALIKE * likeliest_of_all.gathered:
            return placed[nearest].pilots
        return likeliest_of_all.pilots

    def _placed(self, tried: Pilots, spectrum: Tensor) -> _Placed:
        """Returns the best timing within half a repetition, and its channel energy relative to the energy sent."""
        sent = waveforms(known_pilots(tried), self.num_samples)[:, 0]
        energy = float(squared(sent).sum())
        if energy * FFT_SIZE < _LEAST_SENT * 4 * tried.blocks:
            return _Placed(tried, -1.0)
        profile = squared(torch.fft.ifft(torch.fft.fft(sent, self.size).conj() * spectrum)).sum(0)
        profile = torch.cat((profile[-_LATEST:], profile[: _LATEST + _GATHERED]))
        gathered = profile.unfold(0, _GATHERED, 1).sum(1)
        place = int(gathered.argmax())
        return _Placed(tried._replace(start=tried.start + place - _LATEST), float(gathered[place]) / energy)


class PilotCancelling:
    """Takes away what LTE cells always send, then estimates a narrow-band SOI as `ResourceBlockLmmse` does.

    The cells, their frames, timing and carrier offset need not be known. Mixtures that `ResourceBlockLmmse` leaves to
    LMMSE are left to LMMSE here too.

    Args:
        modem: the SOI's modem; a symbol starts at sample 0 and the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T].
        detect: see `ResourceBlockLmmse`.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
    """

    def __init__(
        self, modem: Modem, examples: Tensor, detect: bool = True, block: int = 2560, margin: int = 160
    ) -> None:
        self.modem = modem
        self.block = block
        self.margin = margin
        self.beneath = ResourceBlockLmmse(modem, examples, detect, block, margin)
        self._finder = lru_cache(maxsize=4)(self._make_finder)

    def _make_finder(self, num_samples: int) -> PilotFinder:
        return PilotFinder(self.modem, num_samples)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        length = mixture.shape[1]
        if not self.beneath.fits(length):
            return self.beneath.separate(mixture)

        def estimate(windows: Tensor) -> Tensor:
            response, band = self.beneath.response(windows.shape[1], length <= self.block)
            finder = self._finder(windows.shape[1])
            symbols = torch.stack([self._symbols(finder.separate(window), band) for window in windows])
            return self.beneath.honest(windows, (symbols @ response.waveforms.T).to(torch.complex64))

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _symbols(self, fit: PilotFit, band: Band) -> Tensor:
        """Estimates the symbols complex128 [S] of a window without pilots.

        Its timing is that of the first cell, because the prefixes that show it went with the pilots.
        """
        if fit.timings:
            timing = fit.timings[0]
        elif fit.found:
            timing = Timing(fit.found[0].start - PREFIX, fit.found[0].fraction)
        else:
            timing = find_timings(fit.rest, 1)[0]
        return self.beneath.symbols(fit.rest, band, timing)
