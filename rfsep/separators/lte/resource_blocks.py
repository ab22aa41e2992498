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
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.expectation_propagation import Sites
from rfsep.separators.inference.symbol_posterior import (
    Information,
    Response,
    detected_symbols,
    gaussian_posterior,
    linear_symbols,
    make_response,
)
from rfsep.separators.lmmse import Lmmse
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

# Tuned on the training split: nats by which powers of resource blocks have to be likelier than an equal one. In a
# window of equal powers some forty fitted ones reach 12. Equal powers that are tried, as shares of the mean.
_LEAST_STRUCTURE = 15.0
_EQUAL = (0.7, 0.85, 1.0, 1.2)


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
    sums = torch.zeros((NUM_TAPS + 1, len(carriers)), dtype=torch.complex128)  # of the taps before each
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

    def covariance(self, power: Tensor) -> Tensor:
        """Returns the covariance complex [Q, Q] of elements with powers float64 [E], in the precision of the waves."""
        total = torch.zeros((len(self.waves), len(self.waves)), dtype=self.waves.dtype)
        carriers = len(power) // self.shape[0]
        for symbol, rows in enumerate(self.rows):
            columns = slice(symbol * carriers, (symbol + 1) * carriers)
            part = self.waves[rows, columns]
            total[rows, rows] += (part * power[columns].to(part.real.dtype)) @ part.mH
        return total

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


def _element_energy(power: Tensor, white: Whitened, mean: Tensor, covariance: Tensor) -> Tensor:
    """Returns posterior mean squares of the elements: float64 [E].

    Args:
        power: assumed powers of the elements, float64 [E].
        white: the window in which elements and floor together are white.
        mean: posterior mean of the SOI's symbols, complex128 [S].
        covariance: posterior covariance of the symbols, complex128 [S, S].
    """
    waves = white.waves
    coupling = waves.mH @ white.response  # [E, S]
    found = power * (waves.mH @ white.samples - coupling @ mean.to(waves.dtype))
    spread = torch.view_as_real(coupling @ covariance.to(waves.dtype)) * torch.view_as_real(coupling)
    explained = squared(waves).sum(0) - spread.sum((1, 2))
    left = power - power.square() * explained
    energy: Tensor = squared(found) + left.clamp_min(0)
    return energy


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


def _log_likelihood(samples: Tensor, covariance: Tensor) -> float:
    """Returns the log likelihood of Gaussian samples complex [Q], without -Q log pi."""
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, samples[:, None], upper=False)
    return -float(squared(white).sum()) - 2 * float(root.diagonal().real.log().sum())


class _Equal(NamedTuple):
    """Interference of equal powers: its power, and whether it is white noise or the elements."""

    power: float
    white: bool


def _equal_powers(lattice: Lattice, power: Tensor, samples: Tensor, band: Band, floor: float) -> _Equal | None:
    """Returns the likeliest equal powers, or None where samples speak for resource blocks.

    Powers that are fitted to a window of equal ones follow its noise, and lose what the matched filter keeps. Likewise
    a prefix costs bits where there is none, so that equal elements have to be likelier than white noise.

    Args:
        lattice: of the elements.
        power: of each, float64 [E].
        samples: of the band, complex [Q].
        band: of the SOI, in the precision of the samples.
        floor: power of the white part of the interference.
    """
    total, count = lattice.sums(lattice.weight * power), lattice.sums(lattice.weight)
    block = (total / count.clamp_min(1e-12)).flatten()[lattice.block]
    mean = float(total.sum() / count.sum())
    rest = band.response @ band.response.mH + floor * band.noise
    flat = {True: band.noise, False: lattice.covariance(torch.ones_like(power))}
    equal = [_Equal(share * mean, white) for white in flat for share in _EQUAL]
    likely = [_log_likelihood(samples, rest + one.power * flat[one.white]) for one in equal]
    best = max(likely)
    blocks = _log_likelihood(samples, rest + lattice.covariance(block))
    return None if blocks - best > _LEAST_STRUCTURE else equal[likely.index(best)]


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
        self.response = lru_cache(maxsize=4)(self._make_response)

    def _make_response(self, num_samples: int, whole: bool) -> tuple[Response, Band]:
        """Returns response and band of a window; ``whole`` says that the signal begins and ends with it."""
        response = make_response(self.modem, num_samples, whole)
        return response, make_band(response)

    def fits(self, num_samples: int) -> bool:
        """Tells whether mixtures of ``num_samples`` are estimated here, not left to `Lmmse`."""
        return self._narrow and num_samples >= 2 * SYMBOL - FFT_SIZE // 2

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        length = mixture.shape[1]
        if not self.fits(length):
            return self._stationary.separate(mixture)

        def estimate(windows: Tensor) -> Tensor:
            response, band = self.response(windows.shape[1], length <= self.block)
            timings = [find_timings(window, 1)[0] for window in windows]
            symbols = torch.stack([self.symbols(one, band, at) for one, at in zip(windows, timings, strict=True)])
            return self.honest(windows, (symbols @ response.waveforms.T).to(torch.complex64), timings)

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def honest(self, windows: Tensor, soi: Tensor, timings: list[Timing]) -> Tensor:
        """Returns estimates complex64 [B, T], those of ``soi`` where timings show LTE and no bits are against them."""
        misfit = torch.tensor([timing.score < _LEAST_PREFIX for timing in timings])
        return self._fallback.honest(windows, soi, misfit)

    def symbols(self, window: Tensor, band: Band, timing: Timing) -> Tensor:
        """Estimates the symbols complex128 [S] of one window complex64 [T], given the interference's timing."""
        lattice = make_lattice(band, timing)
        samples = band.decimated(window)
        level = max(float(squared(window).mean()) - self._soi_power, _LEAST_LEVEL)
        power = torch.full(lattice.weight.shape, level, dtype=torch.float64)
        prior = _priors(band.response.shape[1])
        sites, floor = prior, _FLOOR * level * band.noise
        # Powers are found in single precision; the symbols are estimated once, in double precision.
        rough, waves, heard = (
            band.single(),
            lattice._replace(waves=lattice.waves.to(torch.complex64)),
            samples.to(torch.complex64),
        )
        for iteration in range(_ITERATIONS - 1):
            covariance = _FLOOR * level * rough.noise + waves.covariance(power)
            white = whitened(rough, heard, covariance, waves.waves)
            said = white.information()
            if self.detect and iteration >= _DETECT_AFTER:
                sites = detected_symbols(said, self.points, sites, _DETECT_ROUNDS).sites
            mean, spread = gaussian_posterior(said, sites)
            power = _shrunk_powers(lattice, _element_energy(power, white, mean[0], spread[0]))
        equal = _equal_powers(waves, power, heard, rough, _FLOOR * level)
        if equal is None:
            covariance = floor + lattice.covariance(power)
        else:
            flat = band.noise if equal.white else lattice.covariance(torch.ones_like(power))
            covariance, sites = floor + equal.power * flat, prior
        said = whitened(band, samples, covariance, lattice.waves[:, :0]).information()
        if self.detect:
            return detected_symbols(said, self.points, sites, _DETECT_ROUNDS).symbols.mean[0]
        return linear_symbols(said)[0]
