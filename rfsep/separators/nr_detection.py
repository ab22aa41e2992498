"""Joint detection of a narrow-band SOI and the 5G NR uplink above it, blind in timing, channel, phase and SINR.

The standard fixes an NR uplink's carriers, prefixes and pilots (3GPP TS 38.211 clauses 5.3.1 and 6.4.1.1). Beside the
SOI's band nothing disturbs it: prefixes give its timing, QPSK carriers its channel (`rfsep.separators.nr_channel`).
Within the band its carriers and the SOI's symbols, all points of known constellations, are detected together by
expectation propagation (`rfsep.separators.expectation_propagation`), and the decided carriers tell more of the channel.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.expectation_propagation import Sites, tilted, updated, Marginals
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.nr_channel import GAP, Channel, Observed, carrier_numbers, clear_carriers, fit_taps, gap_likelihood, guessed, joined_sides, smooth_sides
from rfsep.separators.nr_timing import Symbol, find_symbols, interference_density
from rfsep.separators.nr_waves import FAR_CARRIERS, FAR_POWERS, NEAR, Waves, carrier_waves, sent_waveform
from rfsep.separators.resource_blocks import Band, fits_band, make_band
from rfsep.separators.symbol_posterior import Response, make_response
from rfsep.separators.windows import in_parallel, overlapped
from rfsep.signals.nr import FFT_SIZE, NUM_SUBCARRIERS
from rfsep.signals.nr_pilots import pilot_grids
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated

_EARLY = 14  # samples inside the prefix at which a body is cut
_COMB = 0.2  # power between pilots over that on them, below which a symbol is taken for one of pilots
_EVEN_FLOOR = 3e-4  # of the interference, what a channel may miss
_ROUNDS = ((100.0, 5), (10.0, 4), (1.0, 6))  # warmth and iterations of expectation propagation, the channel fitted between
_DOUBT = 60.0  # nats that a channel found roughly may be off
_NOISE = 1e-2
_DAMPING = 0.6
_LEAST_SEEN = 64  # samples of a symbol that is cut off, in which its pilots are looked for
_LIKE = 0.5  # share of its power that pilots must explain
_BATCH_SAMPLES = 32 * 2560


class _Received(NamedTuple):
    """A symbol whose body lies in the window: its place in the list, its carriers complex128 [612], and what they are.

    ``sent`` is complex128 [612], the pilots, or None for data.
    """

    place: int
    carriers: Tensor
    sent: Tensor | None


class _Unknown(NamedTuple):
    """Symbols of a window that expectation propagation decides."""

    waves: Waves
    sites: Sites
    found: Marginals


def _spectrum_of_slices(modem: Modem) -> Tensor:
    """Mean power float64 [612] that a SOI's symbols of unit power put on the carriers of a body, leakage included."""
    lags = modem_autocorrelation(modem, FFT_SIZE)
    lags = lags * (1 - torch.arange(FFT_SIZE) / FFT_SIZE)
    density = torch.fft.fft(lags).real * 2 - lags[0].real
    return density[carrier_numbers() % FFT_SIZE].clamp_min(0).double() * NUM_SUBCARRIERS / FFT_SIZE


def _cut(window: Tensor, symbol: Symbol) -> Tensor:
    """Carriers complex128 [612] of a body inside a window complex128 [T]."""
    first = symbol.body - _EARLY
    number = carrier_numbers()
    phase = 2 * torch.pi / FFT_SIZE * number.double() * _EARLY
    spectrum = torch.fft.fft(window[first : first + FFT_SIZE])[number % FFT_SIZE]
    return spectrum * torch.polar(torch.full_like(phase, NUM_SUBCARRIERS**0.5 / FFT_SIZE), phase)


def _sliced(values: Tensor) -> Tensor:
    """QPSK points nearest to values complex128 [...]."""
    return torch.complex(values.real.sign(), values.imag.sign()) * 2**-0.5


class NrDetection:
    """Estimates a narrow-band SOI in a 5G NR uplink (30 kHz, 612 carriers, QPSK) at 30.72 Msps.

    A SOI that fills more than an eighth of the band, or a mixture shorter than two and a half symbols' bodies, is left
    to `Lmmse`.

    Args:
        modem: of the SOI; a symbol starts at sample 0 and the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], for `Lmmse`.
        cell_id: of the cell whose pilots are sent.
        block: samples in a window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
    """

    def __init__(
        self, modem: Modem, examples: Tensor, cell_id: int = 1, block: int = 2560, margin: int = 160
    ) -> None:
        self.modem = modem
        self.cell_id = cell_id
        self.block = block
        self.margin = margin
        self.points = modem.constellation.to(torch.complex128)
        self._stationary = Lmmse(modem, examples)
        self._soi_power = float(modem_autocorrelation(modem, 1).real)
        self._narrow = fits_band(modem)
        self._spectrum = _spectrum_of_slices(modem)
        self._setup = lru_cache(maxsize=4)(self._make_setup)

    def _make_setup(self, num_samples: int, whole: bool) -> tuple[Response, Band]:
        response = make_response(self.modem, num_samples, whole)
        return response, make_band(response)

    def separate(self, mixture: Tensor) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        length = mixture.shape[1]
        if not self._narrow or length < 5 * FFT_SIZE // 2 - 400:
            return self._stationary.separate(mixture)

        def estimate(windows: Tensor) -> Tensor:
            return in_parallel(
                lambda part: self._estimate(part, length <= self.block),
                windows,
                max(1, _BATCH_SAMPLES // windows.shape[1]),
            )

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, (self.modem.demodulate(soi) > 0).byte())

    def _estimate(self, windows: Tensor, whole: bool) -> Tensor:
        response, band = self._setup(windows.shape[1], whole)
        windows = windows.to(torch.complex128)
        density = interference_density(windows, self._soi_power)
        weakened = self._weakened(windows, response, density)
        symbols = torch.stack(
            [
                self._symbols(row, clean, found, response, band, float(level))
                for row, clean, found, level in zip(windows, weakened, find_symbols(weakened), density, strict=True)
            ]
        )
        return (symbols @ response.waveforms.T).to(torch.complex64)

    def _weakened(self, windows: Tensor, response: Response, density: Tensor) -> Tensor:
        """Windows complex128 [B, T] without the linear estimate of the SOI in white noise of the density [B]."""
        waves = response.waveforms
        values, vectors = torch.linalg.eigh(waves.mH @ waves)
        symbols = (windows @ waves.conj() @ vectors.conj()) / (values + density[:, None]) @ vectors.T
        return windows - symbols @ waves.T

    def _symbols(
        self, window: Tensor, clean: Tensor, symbols: list[Symbol], response: Response, band: Band, density: float
    ) -> Tensor:
        """SOI's symbols complex128 [S] of one window complex128 [T]."""
        level = density * NUM_SUBCARRIERS / FFT_SIZE
        received = self._received(clean, symbols)
        channel, grids = self._first_channel(window, symbols, received, density / (density + 16.0), level)
        self._edge_pilots(clean, symbols, received, channel, grids)
        return self._detect(window, symbols, received, channel, grids, response, band, level)

    def _received(self, clean: Tensor, symbols: list[Symbol]) -> list[_Received]:
        """Symbols whose bodies lie in the window."""
        found = []
        clear = clear_carriers()
        for place, symbol in enumerate(symbols):
            if symbol.body < _EARLY or symbol.body - _EARLY + FFT_SIZE > len(clean):
                continue
            carriers = _cut(clean, symbol)
            energy = squared(carriers) * clear
            sent = None
            if float(energy[1::2].sum()) < _COMB * float(energy[::2].sum()):
                pilots = pilot_grids(self.cell_id).flatten(0, 1).to(torch.complex128)
                even = (carriers * pilots.conj() * clear)[:, ::2]
                likeness = (even[:, 1:] * even[:, :-1].conj()).sum(1).abs()
                sent = pilots[likeness.argmax()]
            found.append(_Received(place, carriers, sent))
        return found

    def _variance(self, remains: float, level: float) -> Tensor:
        """Of what is on a body's carriers besides the interference: float64 [612], where SOI symbols have a variance."""
        return remains * self._spectrum + _EVEN_FLOOR * level

    def _first_channel(
        self, window: Tensor, symbols: list[Symbol], received: list[_Received], remains: float, level: float
    ) -> tuple[Channel, dict[int, Tensor]]:
        """Channel from the carriers beside the SOI, and grids complex128 [612] of the symbols decided there."""
        clear = clear_carriers()
        precision = clear / self._variance(remains, level)
        pilots = [one for one in received if one.sent is not None]
        if pilots:
            response = torch.where(clear, pilots[0].carriers * pilots[0].sent.conj() / 2, 0)
            said = _said(pilots[0].carriers, pilots[0].sent, precision)
            channel = fit_taps(said, guessed(response[None])[0].channel.variances)
        else:
            above = self._spectrum + _EVEN_FLOOR * level
            bodies = [_cut(window, symbols[one.place]) for one in received]

            def score(channel: Channel) -> float:
                return channel.evidence + sum(gap_likelihood(channel, body, above) for body in bodies)

            guesses = joined_sides(smooth_sides(received[0].carriers))
            scores = [score(one.channel) for one in guesses]
            fits = [
                fit_taps(Observed(precision, precision * one.response), one.channel.variances)
                for one, reached in zip(guesses, scores, strict=True)
                if reached > max(scores) - _DOUBT
            ]
            channel = max(fits, key=score)
        grids = {}
        for one in received:
            grids[one.place] = one.sent if one.sent is not None else _sliced(one.carriers * channel.response().conj())
        said = Observed(
            sum(_said(one.carriers, grids[one.place], precision).precision for one in received),
            sum(_said(one.carriers, grids[one.place], precision).moment for one in received),
        )
        return fit_taps(said, channel.variances, 4), grids

    def _edge_pilots(
        self, clean: Tensor, symbols: list[Symbol], received: list[_Received], channel: Channel, grids: dict[int, Tensor]
    ) -> None:
        """Pilots in symbols that are cut off, into ``grids``."""
        if any(one.sent is not None for one in received):
            return  # the next ones are nine symbols away
        pilots = pilot_grids(self.cell_id).flatten(0, 1).to(torch.complex128)
        for place, symbol in enumerate(symbols):
            low, high = max(0, symbol.body - symbol.prefix), min(len(clean), symbol.body + FFT_SIZE)
            if place in grids or high - low < _LEAST_SEEN:
                continue
            sent = sent_waveform(symbol, pilots, channel.taps, len(clean))[:, low:high]
            both = torch.fft.fft(torch.cat((clean[None, low:high], sent)), 2 * FFT_SIZE)[:, 2 * carrier_numbers()]
            both = both[:, clear_carriers()]
            product = both[1:].conj() @ both[0]
            energy = squared(both).sum(1)
            likeness = squared(product) / (energy[0] * energy[1:])
            best = int(likeness.argmax())
            if float(likeness[best]) > _LIKE:
                turn = torch.round(torch.angle(product[best]) / (torch.pi / 2)) * (torch.pi / 2)
                grids[place] = pilots[best] * torch.polar(torch.ones_like(turn), turn)

    def _detect(
        self,
        window: Tensor,
        symbols: list[Symbol],
        received: list[_Received],
        channel: Channel,
        grids: dict[int, Tensor],
        response: Response,
        band: Band,
        level: float,
    ) -> Tensor:
        num_soi = response.waveforms.shape[1]
        decimator = band.decimator.real.contiguous()
        number = carrier_numbers()
        samples = decimator.to(torch.complex128) @ window
        sites = {None: _prior(num_soi)}
        data = {one.place for one in received if one.sent is None}
        means = {}
        for turn, (warmth, iterations) in enumerate(_ROUNDS):
            power, doubt = squared(channel.response()), channel.doubt()
            unknown = {None: Waves(slice(0, len(samples)), band.response)}
            noise = _NOISE * band.noise
            rest = samples
            for place, symbol in enumerate(symbols):
                if place in grids:
                    grid = grids[place]
                    if place in data:
                        grid = torch.where(number.abs() >= GAP, grid, 0)
                    wave = sent_waveform(symbol, grid, channel.taps, len(window))
                    rest = rest - decimator.to(torch.complex128) @ wave
                    if place not in data:
                        continue
                    carriers = number[number.abs() < GAP]
                else:
                    carriers = number[number.abs() <= NEAR]
                    far = carrier_waves(decimator, symbol, channel.taps, FAR_CARRIERS)
                    noise[far.rows, far.rows] += (far.values * FAR_POWERS) @ far.values.mH
                waves = carrier_waves(decimator, symbol, channel.taps, carriers)
                unknown[place] = waves
                relative = doubt[carriers + 306] / torch.maximum(power[carriers + 306], 0.01 * power.mean())
                noise[waves.rows, waves.rows] += (waves.values * relative) @ waves.values.mH
                if place not in sites:
                    sites[place] = _prior(len(carriers))
            for iteration in range(iterations):
                heat = warmth ** (1 - iteration / iterations)
                found = self._propagate(unknown, sites, rest, noise + (heat - 1) * _NOISE * band.noise)
            if turn == len(_ROUNDS) - 1:
                break
            clean = window - response.waveforms @ found[None].mean
            remains = float(found[None].variance.mean())
            variance = self._variance(remains, level)
            precision, moment = torch.zeros_like(variance), torch.zeros_like(clean[:NUM_SUBCARRIERS])
            for one in received:
                carriers = _cut(clean, symbols[one.place])
                if one.sent is None:
                    grids[one.place] = _sliced(carriers * channel.response().conj())
                    sent = grids[one.place].clone()
                    sent[number.abs() < GAP] = found[one.place].mean
                else:
                    sent = one.sent
                said = _said(carriers, sent, 1 / variance)
                precision, moment = precision + said.precision, moment + said.moment
                if one.sent is None:
                    precision[number.abs() < GAP] += found[one.place].variance / variance[number.abs() < GAP]
            channel = fit_taps(Observed(precision, moment), channel.variances, 4)
        return found[None].mean

    def _propagate(self, unknown: dict, sites: dict, rest: Tensor, noise: Tensor) -> dict:
        """One round of expectation propagation; new sites into ``sites``."""
        covariance = noise.clone()
        for place, (rows, waves) in unknown.items():
            covariance[rows, rows] += (waves / sites[place].precision) @ waves.mH
            rest = rest - 0
        expected = torch.zeros_like(rest)
        for place, (rows, waves) in unknown.items():
            expected[rows] += waves @ (sites[place].shift / sites[place].precision)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        left = inverse @ (rest - expected)
        found = {}
        for place, (rows, waves) in unknown.items():
            site = sites[place]
            gain = ((inverse[rows, rows] @ waves) * waves.conj()).sum(0).real.clamp_min(1e-12)
            variance = (1 / gain - 1 / site.precision).clamp_min(1e-9)
            cavity = Marginals(site.shift / site.precision + (waves.mH @ left[rows]) / gain, variance)
            points = self.points if place is None else _QPSK
            found[place] = tilted(cavity, points)
            sites[place] = updated(site, cavity, found[place], _DAMPING)
        return found


_QPSK = torch.tensor([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], dtype=torch.complex128) * 2**-0.5


def _prior(count: int) -> Sites:
    return Sites(torch.ones(count, dtype=torch.float64), torch.zeros(count, dtype=torch.complex128))


def _said(carriers: Tensor, sent: Tensor, precision: Tensor) -> Observed:
    """What received carriers say of the channel: all complex128 [612], precision float64 [612]."""
    return Observed(precision * squared(sent), precision * sent.conj() * carriers)
