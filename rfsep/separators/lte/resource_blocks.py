"""Separates a narrow-band SOI from an LTE downlink whose resource elements have unknown powers.

An LTE downlink at 19.2 Msps is OFDM with 1,280 carriers of 15 kHz (3GPP TS 36.211 clause 6.12). Its power changes from
one resource block of 12 carriers (clause 6.2.3) and from one symbol to the next. Beneath a SOI of 160 carriers that is
all the structure there is. Expectation maximisation finds it. Given the powers, the SOI's symbols and the carriers of
the interference have a Gaussian posterior. Given the posterior, each power is the posterior mean square, shrunk towards
the power of its resource block. That one is shrunk towards the product of its symbol's and its carriers' mean powers.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from rfsep.iq import squared
from rfsep.separators.inference.band import DECIMATION, FIRST_TAP, NUM_TAPS, Band, fits_band, low_pass, make_band
from rfsep.separators.inference.dissection import Cut, Inverted, cut_between, fits_cut, inverted
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.expectation_propagation import Sites
from rfsep.separators.inference.symbol_posterior import (
    Information,
    Response,
    detected_symbols,
    make_response,
)
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.lte.equal_powers import likeliest_equal
from rfsep.separators.windows import overlapped
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated

# Physics: 19.2 Msps over 15 kHz; the prefix of all symbols but a slot's first, which is ten samples longer (TS 36.211
# clause 6.12). The floor stands for those ten samples. A resource block has 12 carriers (clause 6.2.3).
FFT_SIZE = 1280
PREFIX = 90
SYMBOL = FFT_SIZE + PREFIX
BLOCK_CARRIERS = 12

# Physics: beyond this many carriers from the middle the low-pass of `band` attenuates by more than 14 dB.
_REACH = 84

# Tuned; split not recorded. The high-pass for the timing: its cut-off lies above the edge of the QPSK SOI's band, at
# 0.75 / 16 = 0.047 cycles per sample.
_TIMING_CUT, _TIMING_TAPS = 0.06, 65

# Tuned; split not recorded. The samples of a prefix that its correlation leaves out, and the delay of its peak.
_TIMING_MARGIN = 8
_TIMING_LEAD = 6

# Physics: noise has a prefix of this score in one window of twenty, at the best of some thousand samples.
_LEAST_PREFIX = 10.0

# Tuned on the training split. The white part of the interference relative to its mean power, which is taken to be at
# least _LEAST_LEVEL.
_FLOOR = 0.2
_LEAST_LEVEL = 0.1

# Tuned on the training split. Each prior counts as this many resource elements in a mean: of a symbol, of carriers, of
# a block, of an element.
_SYMBOL_PRIOR, _CARRIER_PRIOR = 24.0, 6.0
_BLOCK_PRIOR, _ELEMENT_PRIOR = 6.0, 2.0

# Tuned on the training split. Iterations, the first of them that detects, and rounds of propagation in each.
_ITERATIONS = 7
_DETECT_AFTER, _DETECT_ROUNDS = 2, 2


def carrier_numbers() -> Tensor:
    """Returns the numbers of the carriers that the band passes: float64 [N]."""
    return torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)


def symbol_waves(band: Band, start: int, prefix: int, offset: float, carriers: Tensor | None = None) -> Tensor:
    """Returns the waveform of each carrier of a symbol in the band: complex128 [Q, N].

    Args:
        band: of the window.
        start: sample at which the symbol's prefix begins; it may lie outside the window.
        prefix: samples of the prefix.
        offset: carrier offset in carrier spacings.
        carriers: numbers float64 [N]; None for `carrier_numbers`.
    """
    num_rows, num_samples = band.decimator.shape
    carriers = carrier_numbers() if carriers is None else carriers
    low, high = max(start, 0), min(start + prefix + FFT_SIZE, num_samples)
    first = max(0, -(-(low - FIRST_TAP - NUM_TAPS + 1) // DECIMATION))
    last = min(num_rows, (high - 1 - FIRST_TAP) // DECIMATION + 1)
    waves = torch.zeros((num_rows, len(carriers)), dtype=torch.complex128)
    if last <= first or high <= low:
        return waves
    # A filter hears a tone with its response to that tone, and of one that begins or ends within it, a part of the sum.
    base = torch.arange(first, last) * DECIMATION + FIRST_TAP  # sample at which each row's filter begins
    rate = 2 * torch.pi / FFT_SIZE * (carriers + offset)  # radians per sample, [N]
    phase = torch.arange(NUM_TAPS)[:, None] * rate
    sums = torch.zeros((NUM_TAPS + 1, len(carriers)), dtype=torch.complex128)  # row n: sum of the first n taps
    sums[1:] = torch.polar(low_pass()[:, None].expand_as(phase) * FFT_SIZE**-0.5, phase).cumsum(0)
    heard = sums[(high - base).clamp(0, NUM_TAPS)] - sums[(low - base).clamp(0, NUM_TAPS)]  # [rows, N]
    begun = (base - start - prefix)[:, None] * rate
    waves[first:last] = heard * torch.polar(torch.ones_like(begun), begun)
    return waves


class Timing(NamedTuple):
    """Timing and carriers of an OFDM signal.

    Attributes:
        start: sample at which a prefix begins.
        offset: of the carriers, in carrier spacings.
        score: of the prefix; noise exceeds it at one sample with probability exp(-score). Without a bound where other
            evidence than the prefix told the timing.
    """

    start: int
    offset: float
    score: float = float("inf")


def find_timings(mixture: Tensor, count: int) -> list[Timing]:
    """Finds the likeliest timings in one mixture complex64 [T] outside the SOI's band, a prefix apart, best first."""
    time = torch.arange(_TIMING_TAPS) - _TIMING_TAPS // 2
    window = torch.hamming_window(_TIMING_TAPS, periodic=False)
    taps = (time == 0).float() - 2 * _TIMING_CUT * torch.sinc(2 * _TIMING_CUT * time) * window
    parts = torch.view_as_real(mixture).T[:, None]  # [2, 1, T]
    high = torch.view_as_complex(conv1d(parts, taps[None, None], padding=_TIMING_TAPS // 2)[:, 0].T.contiguous())
    first, second = high[:-FFT_SIZE].to(torch.complex128), high[FFT_SIZE:].to(torch.complex128)
    energy = (first.abs().square() + second.abs().square()) / 2
    width = PREFIX - _TIMING_MARGIN
    product = second * first.conj()
    total, power, noise = (pad(values.cumsum(0), (1, 0)) for values in (product, energy, squared(product)))
    correlation, variance = total[width:] - total[:-width], noise[width:] - noise[:-width]
    scale = power[width:] - power[:-width] + 0.1 * width * energy.mean() + 1e-12
    likelihood = correlation.abs().square() / scale  # log likelihood for an unknown level
    found = []
    for _ in range(count):
        best = int(likelihood.argmax())
        score = float(squared(correlation[best]) / variance[best].clamp_min(1e-12))
        found.append(Timing(best - _TIMING_LEAD, float(correlation[best].angle()) / (2 * torch.pi), score))
        likelihood[max(0, best - width) : best + width] = -1
    return found


class Known(NamedTuple):
    """The constants of windows of one length.

    Attributes:
        response: of the SOI.
        band: the SOI's, at a lower rate.
        soi: covariance of the decimated SOI, complex128 [Q, Q].
        coupled: samples of the band that SOI and white noise couple, bool [Q, Q].
        width: samples of the band that one symbol of the SOI reaches.
    """

    response: Response
    band: Band
    soi: Tensor
    coupled: Tensor
    width: int


class Lattice(NamedTuple):
    """The E resource elements that reach into a window, in resource blocks of one symbol each.

    Attributes:
        waves: waveform of each element in the band at unit power, complex128 [Q, E].
        block: number of its resource block, symbol * blocks per symbol + block: int64 [E].
        weight: visible share of each element, float64 [E], at most 1.
        shape: symbols, and blocks per symbol.
        rows: rows of the band that each symbol reaches.
    """

    waves: Tensor
    block: Tensor
    weight: Tensor
    shape: tuple[int, int]
    rows: list[slice]

    def parts(self) -> list[tuple[slice, slice]]:
        """Lists the rows that each symbol reaches, and its elements, of the symbols that reach any."""
        carriers = len(self.block) // self.shape[0]
        every = ((rows, slice(index * carriers, (index + 1) * carriers)) for index, rows in enumerate(self.rows))
        return [(rows, columns) for rows, columns in every if rows.stop > rows.start]

    def covariance(self, power: Tensor, rest: Tensor) -> Tensor:
        """Returns a covariance complex [Q, Q] and that of elements with powers float64 [E], in the waves' precision."""
        total = rest.clone()
        for rows, columns in self.parts():
            part = self.waves[rows, columns]
            total[rows, rows].addmm_(part * power[columns].to(part.real.dtype), part.mH)
        return total

    def cut(self, known: "Known") -> Cut | None:
        """Returns where a window can be cut between symbols; None if nowhere."""
        coupled, rows = known.coupled.clone(), [rows for rows, _ in self.parts()]
        for one in rows:
            coupled[one, one] = True
        cut = cut_between(rows, len(coupled), known.width)
        return cut if cut is not None and fits_cut(cut, coupled) else None

    def energy(self, power: Tensor, window: Inverted) -> Tensor:
        """Returns posterior mean squares float64 [E] of elements with powers float64 [E].

        Args:
            power: assumed before.
            window: the inverse of the covariance of all, the SOI's symbols included, and its product with the samples.
        """
        energy = torch.zeros_like(power)
        for rows, columns in self.parts():
            part, before = self.waves[rows, columns], power[columns]
            explained = torch.view_as_real(window.inverse[rows, rows] @ part) * torch.view_as_real(part)
            left = before - before.square() * explained.sum((0, 2))
            energy[columns] = squared(before * (part.mH @ window.weighed[rows])) + left.clamp_min(0)
        return energy

    def sums(self, values: Tensor) -> Tensor:
        """Sums values float64 [E] over resource blocks: float64 [symbols, blocks]."""
        total = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.float64).index_add(0, self.block, values)
        return total.view(self.shape)


def make_lattice(band: Band, timing: Timing) -> Lattice:
    """Lists the elements of all symbols in the window, on the grid of one symbol's timing."""
    first = timing.start % SYMBOL - SYMBOL
    waves = [
        symbol_waves(band, start, PREFIX, timing.offset) for start in range(first, band.decimator.shape[1], SYMBOL)
    ]
    number = carrier_numbers().long()
    block = torch.div(number - (number > 0).long(), BLOCK_CARRIERS, rounding_mode="floor")
    block = block - block.min()
    width = int(block.max()) + 1
    every = torch.cat(waves, 1)
    seen = squared(every).sum(0)
    reached = [squared(part).sum(1).nonzero()[:, 0].tolist() for part in waves]
    rows = [slice(part[0], part[-1] + 1) if part else slice(0, 0) for part in reached]
    index = torch.cat([block + symbol * width for symbol in range(len(waves))])
    return Lattice(every, index, seen / seen.max(), (len(waves), width), rows)


class Whitened(NamedTuple):
    """A window in which the interference has been made white.

    Attributes:
        response: of the SOI, complex [Q, S].
        samples: complex [Q].
        waves: of the elements that were asked for, complex [Q, E].
    """

    response: Tensor
    samples: Tensor
    waves: Tensor

    def information(self) -> Information:
        """Returns the information on the SOI's symbols in double precision, [1, ...]."""
        gram, moment = self.response.mH @ self.response, self.response.mH @ self.samples
        return Information(gram.to(torch.complex128)[None], moment.to(torch.complex128)[None])


def whitened(band: Band, samples: Tensor, covariance: Tensor, waves: Tensor) -> Whitened:
    """Whitens samples complex [Q] and waves [Q, E] of a band whose interference has a covariance [Q, Q]."""
    root = torch.linalg.cholesky(covariance)
    columns = torch.cat((band.response, samples[:, None], waves), 1)
    white = torch.linalg.solve_triangular(root, columns, upper=False)
    num_symbols = band.response.shape[1]
    return Whitened(white[:, :num_symbols], white[:, num_symbols], white[:, num_symbols + 1 :])


def _shrunk_powers(lattice: Lattice, energy: Tensor) -> Tensor:
    """Shrinks mean squares to powers float64 [E]: elements to blocks, blocks to the product of symbol and carriers."""
    total, count = lattice.sums(lattice.weight * energy), lattice.sums(lattice.weight)
    mean = (total.sum() / count.sum()).clamp_min(1e-12)
    of_symbol = (total.sum(1) + _SYMBOL_PRIOR * mean) / (count.sum(1) + _SYMBOL_PRIOR)
    of_carriers = (total.sum(0) + _CARRIER_PRIOR * mean) / (count.sum(0) + _CARRIER_PRIOR)
    expected = of_symbol[:, None] * of_carriers / mean
    block = (total + _BLOCK_PRIOR * expected) / (count + _BLOCK_PRIOR)
    powers: Tensor = (energy + _ELEMENT_PRIOR * block.flatten()[lattice.block]) / (1 + _ELEMENT_PRIOR)
    return powers


def _priors(num_symbols: int) -> Sites:
    """Returns the sites of symbols of unit power, [1, S]."""
    shape = (1, num_symbols)
    return Sites(torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.complex128))


class ResourceBlockLmmse:
    """Estimates a narrow-band SOI in an LTE downlink at 19.2 Msps with unknown timing, level and allocation.

    A SOI that fills more than an eighth of the band, or a mixture shorter than two LTE symbols, is left to `Lmmse`.
    Windows that do not speak for unequal powers of resource blocks get equal ones. Windows that show no prefix, or
    whose bits contradict sure linear ones, are left to linear estimators
    (`rfsep.separators.inference.evidence.Fallback`).

    Args:
        modem: the SOI's modem; a symbol starts at sample 0 and the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], for `Lmmse`.
        detect: estimate the SOI's symbols as points of the modem's constellation, in every iteration.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
    """

    def __init__(
        self, modem: Modem, examples: Tensor, detect: bool = False, block: int = 2560, margin: int = 160
    ) -> None:
        self.modem = modem
        self.detect = detect
        self.block = block
        self.margin = margin
        self.points = modem.constellation.to(torch.complex128)
        self._stationary = Lmmse(modem, examples)
        self._fallback = Fallback(modem, examples)
        self._soi_power = float(modem_autocorrelation(modem, 1).real)
        self._narrow = fits_band(modem)
        self.known = lru_cache(maxsize=4)(self._make_known)

    def _make_known(self, num_samples: int, whole: bool) -> Known:
        """Returns the constants of a window; ``whole`` says that the signal begins and ends with it."""
        response = make_response(self.modem, num_samples, whole)
        band = make_band(response)
        soi, reached = band.response @ band.response.mH, (band.response != 0).float()
        coupled = (reached @ reached.T > 0) | (band.noise != 0)
        return Known(response, band, soi, coupled, int(reached.sum(0).max()))

    def fits(self, num_samples: int) -> bool:
        """Tells whether mixtures of ``num_samples`` are estimated here, not left to `Lmmse`."""
        return self._narrow and num_samples >= 2 * SYMBOL - FFT_SIZE // 2

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        length = mixture.shape[1]
        if not self.fits(length):
            return self._stationary.separate(mixture)

        def estimate(windows: Tensor) -> Tensor:
            known = self.known(windows.shape[1], length <= self.block)
            timings = [find_timings(window, 1)[0] for window in windows]
            symbols = torch.stack([self.symbols(one, known, at) for one, at in zip(windows, timings, strict=True)])
            return self.honest(windows, (symbols @ known.response.waveforms.T).to(torch.complex64), timings)

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def honest(self, windows: Tensor, soi: Tensor, timings: list[Timing]) -> Tensor:
        """Returns estimates complex64 [B, T], those of ``soi`` where timings show LTE and no bits are against them."""
        misfit = torch.tensor([timing.score < _LEAST_PREFIX for timing in timings])
        return self._fallback.honest(windows, soi, misfit)

    def symbols(self, window: Tensor, known: Known, timing: Timing) -> Tensor:
        """Estimates the symbols complex128 [S] of one window complex64 [T], given the interference's timing."""
        band, lattice = known.band, make_lattice(known.band, timing)
        samples, cut = band.decimated(window), lattice.cut(known)
        level = max(float(squared(window).mean()) - self._soi_power, _LEAST_LEVEL)
        floor, prior = _FLOOR * level * band.noise, _priors(band.response.shape[1])
        # Powers are found in single precision; the symbols are estimated once, in double precision.
        rough = lattice._replace(waves=lattice.waves.to(torch.complex64))
        power, sites = self._powers(rough, band.single(), samples.to(torch.complex64), level, cut, known)
        total, count = lattice.sums(lattice.weight * power), lattice.sums(lattice.weight)
        block = (total / count.clamp_min(1e-12)).flatten()[lattice.block]
        rest, even = (known.soi + floor).to(torch.complex64), torch.ones_like(power)
        equal = likeliest_equal(
            samples.to(torch.complex64),
            rest,
            {True: band.noise.to(torch.complex64), False: rough.covariance(even, torch.zeros_like(rest))},
            float(total.sum() / count.sum()),
            rough.covariance(block, rest),
            cut,
        )
        if equal is None:
            covariance = lattice.covariance(power, floor)
        else:
            covariance, sites = floor + equal.power * band.noise, prior
            if not equal.white:
                covariance = lattice.covariance(equal.power * even, floor)
        if self.detect:
            said = whitened(band, samples, covariance, lattice.waves[:, :0]).information()
            return detected_symbols(said, self.points, sites, _DETECT_ROUNDS).symbols.mean[0]
        return band.response.mH @ inverted(covariance + known.soi, samples, cut).weighed

    def _powers(
        self, lattice: Lattice, band: Band, samples: Tensor, level: float, cut: Cut | None, known: Known
    ) -> tuple[Tensor, Sites]:
        """Finds powers float64 [E] of the elements of samples complex64 [Q], and the sites of the SOI's symbols."""
        power = torch.full(lattice.weight.shape, level, dtype=torch.float64)
        sites = _priors(band.response.shape[1])
        floor, soi, left = _FLOOR * level * band.noise, known.soi.to(torch.complex64), samples
        for iteration in range(_ITERATIONS - 1):
            covariance = lattice.covariance(power, floor)
            if self.detect and iteration >= _DETECT_AFTER:
                said = whitened(band, samples, covariance, lattice.waves[:, :0]).information()
                sites = detected_symbols(said, self.points, sites, _DETECT_ROUNDS).sites
                soi = (band.response / sites.precision[0].float()) @ band.response.mH
                left = samples - band.response @ (sites.shift / sites.precision)[0].to(torch.complex64)
            power = _shrunk_powers(lattice, lattice.energy(power, inverted(covariance + soi, left, cut)))
        return power, sites
