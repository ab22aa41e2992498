"""Detects a narrow-band SOI and the 5G NR uplink above it jointly, blind in timing, channel, phase and SINR.

The standard fixes an NR uplink's carriers, prefixes and pilots (3GPP TS 38.211 clauses 5.3.1 and 6.4.1.1). Nothing
disturbs it beside the SOI's band. There prefixes show its timing and QPSK carriers show its channel
(`rfsep.separators.nr.nr_channel`). Within the band its carriers and the SOI's symbols are points of known
constellations. Expectation propagation detects them together (`rfsep.separators.inference.superposed`), and the decided
carriers improve the channel.
"""

import warnings
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.band import Band, fits_band, make_band
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.expectation_propagation import Marginals
from rfsep.separators.inference.superposed import FITS, SLOW, SOI, Model, Propagated, detected
from rfsep.separators.inference.symbol_posterior import Response, make_response
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.nr.nr_bodies import (
    Body,
    cut,
    cut_off_pilots,
    find_bodies,
    first_channel,
    noise_beside,
    said_of_channel,
    sliced,
    spectrum_of_slices,
    summed,
    whole_carriers,
)
from rfsep.separators.nr.nr_cell import find_cell
from rfsep.separators.nr.nr_channel import GAP, Channel, carrier_numbers, fit_taps
from rfsep.separators.nr.nr_known import find_synchronisation
from rfsep.separators.nr.nr_propagation import Share, make_model
from rfsep.separators.nr.nr_slots import Layout, read_slots
from rfsep.separators.nr.nr_timing import (
    SYMBOL,
    Acquired,
    Symbol,
    find_symbols,
    interference_density,
    otherwise,
    turning,
)
from rfsep.separators.nr.nr_told import held
from rfsep.separators.nr.nr_waves import NEAR
from rfsep.separators.nr.nr_windows import Piece, find_slots, moved, pieces, window_samples
from rfsep.separators.windows import check_finite, on_every_core
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_CELLS, NUM_SUBCARRIERS
from rfsep.signals.nr.pilots import pilot_grids
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separated

# Physics: a window of two symbols, one of them with the long prefix, holds a whole symbol wherever they begin.
_LEAST_SAMPLES = 2 * SYMBOL + 16

# Physics: a SOI symbol of 16 samples at unit power has this energy.
_PULSE_ENERGY = 16.0

# A guard against division by zero.
_SILENCE = 1e-12

# Tuned; split not recorded. The share of the interference's power that a channel model without echoes beyond the prefix
# may miss.
_MISFIT = 3e-4

# Tuned; split not recorded. Updates of the variances of the channel's taps.
_UPDATES = 4

# Tuned on a py3gpp downlink in noise and on synthetic uplinks in QPSK, 16-QAM and 64-QAM. Detection does not explain a
# window of larger misfit, or one whose carriers beside the SOI miss the points of QPSK by this share of the
# interference's power. Above it detection has more errors than `Lmmse`.
_MOST_MISFIT = 1000.0
_MOST_NOISE = 0.1

# Tuned on synthetic uplinks through all impairments of docs/honesty.py and on bursts of EMI. A window whose carriers
# beside the SOI miss their points by this share, and whose symbols do not fit either, is no uplink.
_DOUBTFUL_NOISE = 0.015


class Scene(NamedTuple):
    """The findings in a window before its symbols are detected.

    Attributes:
        symbols: of the interference.
        bodies: those symbols whose bodies lie in the window.
        pilots: of the symbols that carry them, complex128 [612] by place.
        channel: of the interference.
    """

    symbols: list[Symbol]
    bodies: list[Body]
    pilots: dict[int, Tensor]
    channel: Channel


def _checked_cell(told: int | None, found: int | None) -> int | None:
    """The cell that is told, or the one that was found.

    Raises:
        InputError: no cell has that number.
    """
    if told is not None and not 0 <= told < NUM_CELLS:
        raise InputError(f"nr_detection: cell_id is {told}, expected 0..{NUM_CELLS - 1}")
    if told is None or found is None or told == found:
        return told if found is None else found
    warnings.warn(
        f"nr_detection: cell_id is {told}, but the example frames carry the pilots of cell {found}: {found} is taken",
        stacklevel=3,
    )
    return found


class _Window(NamedTuple):
    """The constants of windows of one length.

    Attributes:
        response: of the SOI.
        band: the SOI's, at a lower rate.
        values: eigenvalues of the Gram matrix of the SOI's waveforms, float64 [S].
        vectors: its eigenvectors, complex128 [S, S].
    """

    response: Response
    band: Band
    values: Tensor
    vectors: Tensor

    def turned(self, turn: Tensor) -> "_Window":
        """Returns the constants of windows that are multiplied by ``turn`` complex128 [T] of unit magnitude."""
        if bool((turn == 1).all()):
            return self
        response = self.response._replace(waveforms=self.response.waveforms * turn[:, None])
        band = self.band._replace(response=self.band.decimator @ response.waveforms)
        return self._replace(response=response, band=band)


class NrDetection:
    """Estimates a narrow-band SOI in a 5G NR uplink or downlink (30 kHz, 612 carriers) at 30.72 Msps.

    Data are QPSK, or in a mixture whose slots are read of any constellation in `rfsep.separators.inference.elements`.
    A SOI that fills more than an eighth of the band, or a mixture shorter than two OFDM symbols, is left to `Lmmse`. So
    are windows that detection does not explain: their misfit says so. Windows whose bits contradict sure linear ones
    are left to `Lmmse` or the matched filter (`rfsep.separators.inference.evidence`).

    Args:
        modem: the SOI's modem; a symbol starts at sample 0 and the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], for `Lmmse` and to find the cell.
        cell_id: number of the cell whose pilots are sent, 0..1007; None: found in the examples. If the examples show
            another cell than the one given, that cell is taken, with a warning. An unknown cell's pilots are not used.
    """

    def __init__(self, modem: Modem, examples: Tensor, cell_id: int | None = None) -> None:
        self.modem = modem
        self.points = modem.constellation
        self.cell_id = _checked_cell(cell_id, find_cell(examples))
        grids = torch.zeros((0, 0, NUM_SUBCARRIERS)) if self.cell_id is None else pilot_grids(self.cell_id)
        self.pilots = grids.flatten(0, 1).to(torch.complex128)
        self.sync = find_synchronisation(examples)
        self._stationary = Lmmse(modem, examples)
        self._fallback = Fallback(modem, examples)
        self._soi_power = float(modem_autocorrelation(modem, 1).real)
        self._narrow = fits_band(modem)
        self._spectrum = spectrum_of_slices(modem)
        self.window = lru_cache(maxsize=4)(self._make_window)

    def _make_window(self, num_samples: int, whole: bool) -> _Window:
        """Returns the constants of a window; ``whole`` says that the signal begins and ends with it."""
        response = make_response(self.modem, num_samples, whole)
        waves = response.waveforms
        return _Window(response, make_band(response), *torch.linalg.eigh(waves.mH @ waves))

    def separate(self, mixture: Tensor) -> Separated:
        """Returns re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        if not self._narrow or mixture.shape[1] < _LEAST_SAMPLES:
            return self._stationary.separate(mixture)
        check_finite(mixture)
        if mixture.shape[1] <= window_samples(self.modem.symbol_period):
            soi = self._fallback.honest(mixture, torch.stack(on_every_core(self._alone, mixture.unbind())))
        else:
            soi = torch.stack(on_every_core(self._row, mixture.unbind()))
        return Separated(soi, self.modem.decide(soi))

    def _alone(self, row: Tensor) -> Tensor:
        """Estimates the SOI of a mixture complex64 [T] that is one window."""
        found = self._estimate(row.to(torch.complex128), self.window(len(row), True), None)
        return self._simpler(row) if found is None else found

    def _row(self, row: Tensor) -> Tensor:
        """Estimates the SOI of one mixture complex64 [T] of several windows."""
        length, mixture = len(row), row.to(torch.complex128)
        at = find_slots(mixture)
        symbols, carrier = at.symbols, at.carrier + whole_carriers(mixture, at) / FFT_SIZE
        turn = turning(-carrier, length)
        cuts = pieces(symbols, length, self.modem.symbol_period)
        layout, found = self._layout(mixture, turn, symbols, cuts), dict[Piece, Tensor]()
        for piece in cuts:
            inside = slice(piece.start, piece.stop)
            window, known = mixture[inside], self.window(piece.stop - piece.start, False)
            own = self._told(window, known, turn[inside], layout, piece)
            if own is None:
                own = self._estimate(window, known, Acquired(moved(symbols, piece), carrier))
            if own is not None:
                found[piece] = own
        soi = torch.empty_like(row) if len(found) == len(cuts) else self._simpler(row)
        for piece, own in self._honest(row, found).items():
            soi[piece.first : piece.last] = own[piece.first - piece.start : piece.last - piece.start]
        return soi

    def _honest(self, row: Tensor, found: dict[Piece, Tensor]) -> dict[Piece, Tensor]:
        """Returns the estimates complex64 [L] of pieces, linear ones where the evidence is against detection."""
        kept = dict[Piece, Tensor]()
        for length in {piece.stop - piece.start for piece in found}:
            same = [piece for piece in found if piece.stop - piece.start == length]
            windows = torch.stack([row[piece.start : piece.stop] for piece in same])
            own = self._fallback.honest(windows, torch.stack([found[piece] for piece in same]))
            kept |= dict(zip(same, own, strict=True))
        return kept

    def _layout(self, mixture: Tensor, turn: Tensor, symbols: list[Symbol], cuts: list[Piece]) -> Layout | None:
        """Reads the slots of a mixture complex128 [T], which ``turn`` [T] frees of its carrier; None if it cannot."""
        if self.cell_id is None:
            return None
        density = float(interference_density(mixture[None], self._soi_power))
        clean = torch.empty_like(mixture)
        for piece in cuts:
            known, window = self.window(piece.stop - piece.start, False), mixture[piece.start : piece.stop]
            left = window - known.response.waveforms @ self._linear(window, known, density)
            clean[piece.first : piece.last] = left[piece.first - piece.start : piece.last - piece.start]
        level = density * NUM_SUBCARRIERS / FFT_SIZE
        remains = self.variance(density / (density + _PULSE_ENERGY), level)
        variance = torch.where(carrier_numbers().abs() < GAP, self.variance(1.0, level), remains)
        heard = mixture * turn, clean * turn
        try:
            layout = read_slots(*heard, symbols, self.cell_id, self.sync, variance, level)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        return layout if layout is not None and layout.noise < _MOST_NOISE * level else None

    def _told(self, window: Tensor, known: _Window, turn: Tensor, layout: Layout | None, piece: Piece) -> Tensor | None:
        """Estimates the SOI of a piece complex128 [T] as complex64 [T]; None where its layout does not explain it."""
        if layout is None:
            return None
        symbols, shares = held(layout, piece)
        band = known.turned(turn).band
        try:
            model = make_model(window * turn, band, symbols, shares, layout.channel, layout.noise)
            reached = detected(lambda _: model, self.points, SLOW[:1])
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        if reached.misfit > _MOST_MISFIT:
            return None
        return (known.response.waveforms @ reached.found[SOI].mean.to(torch.complex128)).to(torch.complex64)

    def _simpler(self, row: Tensor) -> Tensor:
        """Estimates the SOI of one mixture complex64 [T] where detection cannot."""
        return self._stationary.separate(row[None]).soi[0]

    def _estimate(self, window: Tensor, known: _Window, timing: Acquired | None) -> Tensor | None:
        """Estimates the SOI of a window complex128 [T] as complex64 [T].

        Returns None in silence, and where no channel of an uplink explains the window.
        """
        if not bool(window.any()):
            return None
        density = float(interference_density(window[None], self._soi_power))
        waves = known.response.waveforms
        clean = window - waves @ self._linear(window, known, density)
        at = find_symbols(clean) if timing is None else timing
        readings = otherwise(at.symbols, len(window)) if timing is None else [at.symbols]
        carrier = at.carrier + whole_carriers(clean, at) / FFT_SIZE if timing is None else at.carrier
        turn = turning(-carrier, len(window))
        try:
            found = self._detected(window * turn, clean * turn, readings, density, known.turned(turn))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        return None if found is None else (waves @ found).to(torch.complex64)

    def _linear(self, window: Tensor, known: _Window, density: float) -> Tensor:
        """Estimates the SOI's symbols complex128 [S] linearly in white noise of a density."""
        heard = known.vectors.mH @ (known.response.waveforms.mH @ window)
        estimate: Tensor = known.vectors @ (heard / (known.values + density + _SILENCE))
        return estimate

    def _detected(
        self, window: Tensor, clean: Tensor, readings: list[list[Symbol]], density: float, known: _Window
    ) -> Tensor | None:
        """Detects the SOI's symbols complex128 [S] of one window complex128 [T]; its SOI is weakened in ``clean``."""
        level = density * NUM_SUBCARRIERS / FFT_SIZE
        remains = density / (density + _PULSE_ENERGY)  # The linear estimate leaves this variance.
        variance, soi = self.variance(remains, level), self.variance(1.0, level)
        best: Propagated | None = None
        for timing in readings:
            scene = self.scene(window, clean, timing, variance, soi)
            noise = self._noise(scene, clean)
            if noise > _MOST_NOISE * level:
                continue
            reached = self._reached(window, clean, scene, level, known)
            if reached.misfit > FITS and noise > _DOUBTFUL_NOISE * level:
                continue
            if best is None or reached.misfit < best.misfit:
                best = reached
            if best.misfit < FITS:
                break
        if best is None or best.misfit > _MOST_MISFIT:
            return None
        return best.found[SOI].mean.to(torch.complex128)

    def _reached(self, window: Tensor, clean: Tensor, scene: Scene, level: float, known: _Window) -> Propagated:
        """Detects a window's symbols, given its scene."""

        def model_after(reached: Propagated | None) -> Model:
            nonlocal scene, clean
            if reached is not None:
                clean = window - known.response.waveforms @ reached.found[SOI].mean.to(torch.complex128)
                scene = self._refitted(scene, clean, reached.found, level)
            shares, noise = self.shares(scene, clean), self._noise(scene, clean)
            return make_model(window, known.band, scene.symbols, shares, scene.channel, noise)

        return detected(model_after, self.points)

    def scene(self, window: Tensor, clean: Tensor, symbols: list[Symbol], variance: Tensor, soi: Tensor) -> Scene:
        """Builds a window's scene from the carriers of ``clean`` beside the SOI; see `first_channel`."""
        bodies = find_bodies(clean, symbols, self.pilots)
        channel = first_channel(window, clean, symbols, bodies, variance, soi)
        pilots = cut_off_pilots(clean, symbols, bodies, channel, self.pilots)
        pilots |= {body.place: body.pilots for body in bodies if body.pilots is not None}
        return Scene(symbols, bodies, pilots, channel)

    def variance(self, remains: float, level: float) -> Tensor:
        """Returns the variance of everything but the interference on a body's carriers: float64 [612].

        Args:
            remains: variance that is left of each SOI symbol.
            level: power of the interference.
        """
        return remains * self._spectrum + _MISFIT * level

    def shares(self, scene: Scene, clean: Tensor) -> list[Share]:
        """Lists the known carriers of each symbol: pilots, and those beside the SOI for bodies in the window."""
        number = carrier_numbers()
        bodies = {body.place for body in scene.bodies}
        response = scene.channel.response().conj()
        shares = []
        for place, symbol in enumerate(scene.symbols):
            if place in scene.pilots:
                shares.append(Share(scene.pilots[place], number[:0]))
            elif place in bodies:
                beside = torch.where(number.abs() >= GAP, sliced(cut(clean, symbol) * response), 0)
                shares.append(Share(beside, number[number.abs() < GAP]))
            else:
                shares.append(Share(None, number[number.abs() <= NEAR], far=True))
        return shares

    def _noise(self, scene: Scene, clean: Tensor) -> float:
        """Returns the power of white noise in a window, as bodies of data show it."""
        response = scene.channel.response()
        found = [
            noise_beside(cut(clean, scene.symbols[body.place]), response)
            for body in scene.bodies
            if body.pilots is None
        ]
        return sum(found) / len(found) if found else 0.0

    def _refitted(self, scene: Scene, clean: Tensor, found: dict[int, Marginals], level: float) -> Scene:
        """Fits the channel to all carriers of the bodies; those beneath the SOI count as far as they are decided."""
        precision = 1 / self.variance(float(found[SOI].variance.mean()), level)
        gap = carrier_numbers().abs() < GAP
        response = scene.channel.response().conj()
        said = []
        for body in scene.bodies:
            carriers, spread = cut(clean, scene.symbols[body.place]), torch.zeros_like(precision)
            sent = body.pilots
            if sent is None:
                sent = sliced(carriers * response)
                decided = found[body.place]
                sent[gap], spread[gap] = decided.mean.to(sent.dtype), decided.variance.double()
            said.append(said_of_channel(carriers, sent, spread, precision))
        return scene._replace(channel=fit_taps(summed(said), scene.channel.variances, _UPDATES))
