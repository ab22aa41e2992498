"""Finds the pilots of LTE cells beside a narrow-band SOI and takes them away beneath it, with all that is always sent.

An LTE downlink with little traffic still sends its cell-specific reference signals on the whole band. Carriers beside
the SOI show which cell sends them (`rfsep.signals.lte.pilots`). The channel hardly turns from one pilot to the next, so
products of neighbours are compared with those of every cell, slot and symbol, at every whole carrier offset. The known
pilots are then fitted to the window through a channel of a few taps per port.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.superposed import SOI
from rfsep.separators.lte.broadcast import broadcast
from rfsep.separators.lte.cell_symbols import Pilots, further_pilots, known_pilots, synchronisation_symbols
from rfsep.separators.lte.data_channel import leakage
from rfsep.separators.lte.data_detection import Soi, detected_data
from rfsep.separators.lte.known_symbols import KnownSymbol, fitted, waveforms
from rfsep.separators.lte.pilot_search import likeliest
from rfsep.separators.lte.resource_blocks import (
    FFT_SIZE,
    PREFIX,
    SYMBOL,
    Known,
    ResourceBlockLmmse,
    Timing,
    find_timings,
)
from rfsep.separators.lte.synchronisation import LEAST_EXPECTED, find_cell, find_primary, score
from rfsep.separators.windows import overlapped
from rfsep.signals.lte.pilots import SPACING
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated

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

# Physics: the pilots of one port look like those of the other three carriers away, but for the pilot beside the middle
# carrier. What is as likely to within 2 percent is taken for the smaller offset.
_ALIKE = 0.98

# Tuned; split not recorded. The least samples of a body in the window, and the least samples of pilots in a fit.
_LEAST_SEEN = 240
_LEAST_SENT = 150

# Physics: a shorter rest of a synchronisation signal has too few dimensions in its band to be any evidence.
_LEAST_EXPECTED_SEEN = 60

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


class PilotFit(NamedTuple):
    """What is known in a window.

    Attributes:
        found: the cells in the order in which they were found.
        taps: of the pilots' two ports as they were fitted, complex64 [2, taps] for each of ``found``, or None where
            synchronisation signals told the cell.
        timings: of the primary signals.
        pilots: waveform of all that is known, complex64 [T].
        rest: the window without it, complex64 [T].
    """

    found: list[Pilots]
    taps: list[Tensor | None]
    timings: list[Timing]
    pilots: Tensor
    rest: Tensor


class _Known:
    """Known symbols of a window, fitted again with each that comes.

    Attributes:
        rest: the window without them, complex64 [T].
        taps: of each symbol.
    """

    def __init__(self, window: Tensor, weigh: Callable[[Tensor], Tensor]) -> None:
        self.window, self.rest, self._weigh = window, window, weigh
        self.symbols, self.taps = list[KnownSymbol](), list[Tensor]()

    def add(self, symbols: list[KnownSymbol]) -> None:
        """Fits further symbols with the others, in noise like the rest that these left."""
        if symbols:
            self.symbols += symbols
            fit = fitted(self.window, self.symbols, self._weigh(self.rest))
            self.rest, self.taps = self.window - fit.waveform, fit.taps


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
        known, timings = _Known(window, self._weight), list[Timing]()
        found, place = list[Pilots](), list[int | None]()
        while len(timings) < _MOST_PRIMARIES and (primary := find_primary(known.rest, self.size)) is not None:
            timings.append(Timing(primary.start - PREFIX, primary.fraction))
            if (cell := find_cell(known.rest, primary)) is not None:
                found.append(cell)
                place.append(None)
            known.add([primary.symbol()])
        known.add([one for cell in found for one in self._expected(known.rest, cell)])
        for _ in range(_MOST_CELLS):
            weight = self._weight(known.rest)
            spectrum = torch.fft.fft(known.rest, self.size)
            beside = torch.fft.ifft(spectrum * weight)[: self.num_samples]
            one = self._next(beside, window, found, timings)
            if one is None:
                break
            sure = [cell for cell, at in zip(found, place, strict=True) if at is None]
            one = self._aligned(one, sure) or self._refined(one, spectrum * weight.square())
            place.append(len(known.symbols))
            known.add([known_pilots(one)])
            if one.cell not in {cell.cell for cell in found}:
                known.add(self._expected(known.rest, one))
            found.append(one)
        taps = [None if at is None else known.taps[at] for at in place]
        return PilotFit(found, taps, timings, window - known.rest, known.rest)

    def _weight(self, rest: Tensor) -> Tensor:
        """Returns amplitudes float32 [F] that whiten what is left of a window: the SOI and interference of two levels.

        The middle of the band holds synchronisation signals and the broadcast channel also where the rest is silent.
        """
        level = max(float(squared(rest).mean()) - self.soi_power, _LEAST_LEVEL)
        density = squared(torch.fft.fft(rest, self.size)) / self.num_samples
        excess = float((density - self.soi)[self.middle].mean()) - _FLOOR * level
        return _whitening(self.soi + max(excess, 0.0) * self.middle, level)

    def _expected(self, rest: Tensor, cell: Pilots) -> list[KnownSymbol]:
        """Lists the synchronisation signals of a cell that are left in a window complex64 [T]."""
        return [
            symbol
            for symbol in synchronisation_symbols(cell, self.num_samples, _LEAST_EXPECTED_SEEN)
            if score(rest, symbol, self.size, cell.shift) > LEAST_EXPECTED
        ]

    def _next(self, beside: Tensor, window: Tensor, found: list[Pilots], told: list[Timing]) -> Pilots | None:
        """Returns the next cell of what is left beside the SOI, complex64 [T], of a window complex64 [T], or None."""
        level = max(float(squared(window).mean()) - self.soi_power, _LEAST_LEVEL)
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

    def _aligned(self, one: Pilots, sure: list[Pilots]) -> Pilots | None:
        """Returns pilots at the timing and carrier offset that their cell's synchronisation signals tell, or None."""
        for cell in sure:
            for told in (cell, *further_pilots(cell, self.num_samples, 1)):
                if (told.cell, told.slot, told.symbol) == (one.cell, one.slot, one.symbol):
                    return told._replace(blocks=one.blocks, score=one.score)
        return None

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
        self._leakage = leakage(modem)
        self._finder = lru_cache(maxsize=4)(self._make_finder)

    def _make_finder(self, num_samples: int) -> PilotFinder:
        return PilotFinder(self.modem, num_samples)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        length = mixture.shape[1]
        if not self.beneath.fits(length):
            return self.beneath.separate(mixture)

        def estimate(windows: Tensor) -> Tensor:
            known = self.beneath.known(windows.shape[1], length <= self.block)
            finder = self._finder(windows.shape[1])
            found = [self._data(one, finder, known) for one in windows]
            symbols, timings = zip(*found, strict=True)
            soi = (torch.stack(symbols) @ known.response.waveforms.T).to(torch.complex64)
            return self.beneath.honest(windows, soi, list(timings))

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _data(self, window: Tensor, finder: PilotFinder, known: Known) -> tuple[Tensor, Timing]:
        """Estimates the symbols complex128 [S] of a window, together with its data where these can be read."""
        fit, timing = finder.separate(window), find_timings(window, 1)[0]
        soi = Soi(known.response.waveforms, self.beneath.points, self._leakage)
        data = detected_data(window, known.band, soi, timing, fit.found)
        if data is None:
            return self._symbols(fit, known)
        return data.found[SOI].mean.to(torch.complex128), timing._replace(score=float("inf"))

    def _symbols(self, fit: PilotFit, known: Known) -> tuple[Tensor, Timing]:
        """Estimates the symbols complex128 [S] of a window without what is known, and without the broadcast channel.

        The timing is that of the first cell, because the prefixes that show it went with the pilots.
        """
        rest = fit.rest
        told = ((cell, taps) for cell, taps in zip(fit.found, fit.taps, strict=True) if taps is not None)
        for cell, taps in {one[0].cell: one for one in reversed(list(told))}.values():
            rest = rest - broadcast(rest, known.band, cell, taps)
        if fit.timings:
            timing = fit.timings[0]
        elif fit.found:
            timing = Timing(fit.found[0].start - PREFIX, fit.found[0].fraction)
        else:
            timing = find_timings(rest, 1)[0]
        return self.beneath.symbols(rest, known, timing), timing
