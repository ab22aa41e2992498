"""Detects a narrow-band SOI and the 5G NR uplink above it jointly, blind in timing, channel, phase and SINR.

The standard fixes an NR uplink's carriers, prefixes and pilots (3GPP TS 38.211 clauses 5.3.1 and 6.4.1.1). Nothing
disturbs it beside the SOI's band. There prefixes show its timing and QPSK carriers show its channel
(`rfsep.separators.nr.nr_channel`). Within the band its carriers and the SOI's symbols are points of known
constellations. Expectation propagation detects them together (`rfsep.separators.nr.nr_propagation`), and the decided
carriers improve the channel.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.band import Band, fits_band, make_band
from rfsep.separators.inference.expectation_propagation import Marginals
from rfsep.separators.inference.symbol_posterior import Response, make_response
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.nr.nr_bodies import (
    Body,
    cut,
    cut_off_pilots,
    find_bodies,
    first_channel,
    said_of_channel,
    sliced,
    spectrum_of_slices,
    summed,
)
from rfsep.separators.nr.nr_cell import find_cell
from rfsep.separators.nr.nr_channel import GAP, Channel, carrier_numbers, fit_taps
from rfsep.separators.nr.nr_propagation import SOI, Model, Propagated, Schedule, Share, make_model, priors, propagate
from rfsep.separators.nr.nr_timing import SYMBOL, Symbol, find_symbols, interference_density, otherwise
from rfsep.separators.nr.nr_waves import NEAR
from rfsep.separators.windows import in_parallel, overlapped
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS
from rfsep.signals.nr.pilots import NUM_CELLS, pilot_grids
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

# Tuned; split not recorded. The channel is fitted again between the quick schedules. Each slow schedule starts anew.
QUICK = (Schedule(100.0, 5, 0.6), Schedule(10.0, 4, 0.6), Schedule(1.0, 6, 0.6))
SLOW = (Schedule(1e4, 40, 0.3), Schedule(1e4, 100, 0.2))

# Tuned; split not recorded. A smaller misfit does not point to wrong symbols. It is mostly 0.1 to 0.5 where symbols are
# right, and 5 to 500 where some are wrong.
FITS = 3.0

# Tuned; split not recorded. Updates of the variances of the channel's taps.
_UPDATES = 4

# A limit of memory: samples per batch.
_BATCH_SAMPLES = 32 * 2560


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


def detected(model_after: Callable[[Propagated | None], Model], points: Tensor) -> Propagated:
    """Detects a window's symbols quickly, and slowly again if they do not fit; returns the best fit.

    Propagation that cools too fast may end in symbols that are wrong with high confidence. They do not fit the window.

    Args:
        model_after: returns the window's model, given the last result.
        points: the SOI's constellation complex128 [P].
    """
    reached: Propagated | None = None
    for schedule in QUICK:
        model = model_after(reached)
        reached = propagate(model, reached.sites if reached else priors(model), points, schedule)
    assert reached is not None
    best = reached
    for schedule in SLOW:
        if best.misfit < FITS:
            break
        model = model_after(reached)
        reached = propagate(model, priors(model), points, schedule)
        best = min(best, reached, key=lambda one: one.misfit)
    return best


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


class NrDetection:
    """Estimates a narrow-band SOI in a 5G NR uplink (30 kHz, 612 carriers, QPSK) at 30.72 Msps.

    A SOI that fills more than an eighth of the band, or a mixture shorter than two OFDM symbols, is left to `Lmmse`.

    Args:
        modem: the SOI's modem; a symbol starts at sample 0 and the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], for `Lmmse` and to find the cell.
        cell_id: number of the cell whose pilots are sent, 0..1007; None: found in the examples. If the examples show
            another cell than the one given, that cell is taken, with a warning. An unknown cell's pilots are not used.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
    """

    def __init__(
        self, modem: Modem, examples: Tensor, cell_id: int | None = None, block: int = 2560, margin: int = 160
    ) -> None:
        self.modem = modem
        self.block = block
        self.margin = margin
        self.points = modem.constellation
        self.cell_id = _checked_cell(cell_id, find_cell(examples))
        grids = torch.zeros((0, 0, NUM_SUBCARRIERS)) if self.cell_id is None else pilot_grids(self.cell_id)
        self.pilots = grids.flatten(0, 1).to(torch.complex128)
        self._stationary = Lmmse(modem, examples)
        self._soi_power = float(modem_autocorrelation(modem, 1).real)
        self._narrow = fits_band(modem)
        self._spectrum = spectrum_of_slices(modem)
        self.response = lru_cache(maxsize=4)(self._make_response)

    def _make_response(self, num_samples: int, whole: bool) -> tuple[Response, Band]:
        """Returns response and band of a window; ``whole`` says that the signal begins and ends with it."""
        response = make_response(self.modem, num_samples, whole)
        return response, make_band(response)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        length = mixture.shape[1]
        if not self._narrow or length < _LEAST_SAMPLES:
            return self._stationary.separate(mixture)
        whole = length <= self.block

        def estimate(windows: Tensor) -> Tensor:
            most = max(1, _BATCH_SAMPLES // windows.shape[1])
            return in_parallel(lambda part: self._estimate(part, whole), windows, most)

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _estimate(self, windows: Tensor, whole: bool) -> Tensor:
        response, band = self.response(windows.shape[1], whole)
        windows = windows.to(torch.complex128)
        density = interference_density(windows, self._soi_power)
        linear = self._linear(windows, response, density)
        weakened = windows - linear @ response.waveforms.T
        rows = zip(windows, weakened, find_symbols(weakened), density.tolist(), strict=True)
        found = [self._symbols(*row, response, band) for row in rows]
        symbols = torch.stack([one if one is not None else row for one, row in zip(found, linear, strict=True)])
        return (symbols @ response.waveforms.T).to(torch.complex64)

    def _linear(self, windows: Tensor, response: Response, density: Tensor) -> Tensor:
        """Estimates the SOI's symbols complex128 [B, S] linearly in white noise of densities [B]."""
        waves = response.waveforms
        values, vectors = torch.linalg.eigh(waves.mH @ waves)
        estimate: Tensor = (
            (windows @ waves.conj() @ vectors.conj()) / (values + density[:, None] + _SILENCE) @ vectors.T
        )
        return estimate

    def _symbols(
        self, window: Tensor, clean: Tensor, symbols: list[Symbol], density: float, response: Response, band: Band
    ) -> Tensor | None:
        """Detects the SOI's symbols complex128 [S] of one window complex128 [T]; its SOI is weakened in ``clean``.

        Returns None in silence, and where no channel of an uplink explains the window.
        """
        if not bool(window.any()):
            return None
        try:
            return self._detected(window, clean, symbols, density, response, band)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None

    def _detected(
        self, window: Tensor, clean: Tensor, symbols: list[Symbol], density: float, response: Response, band: Band
    ) -> Tensor:
        level = density * NUM_SUBCARRIERS / FFT_SIZE
        remains = density / (density + _PULSE_ENERGY)  # The linear estimate leaves this variance.
        variance, soi = self.variance(remains, level), self.variance(1.0, level)
        best: Propagated | None = None
        for timing in otherwise(symbols, len(window)):
            scene = self.scene(window, clean, timing, variance, soi)
            reached = self._reached(window, clean, scene, level, response, band)
            if best is None or reached.misfit < best.misfit:
                best = reached
            if best.misfit < FITS:
                break
        assert best is not None
        return best.found[SOI].mean.to(torch.complex128)

    def _reached(
        self, window: Tensor, clean: Tensor, scene: Scene, level: float, response: Response, band: Band
    ) -> Propagated:
        """Detects a window's symbols, given its scene."""

        def model_after(reached: Propagated | None) -> Model:
            nonlocal scene, clean
            if reached is not None:
                clean = window - response.waveforms @ reached.found[SOI].mean.to(torch.complex128)
                scene = self._refitted(scene, clean, reached.found, level)
            return make_model(window, band, scene.symbols, self.shares(scene, clean), scene.channel)

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
                shares.append(Share(None, number[number.abs() <= NEAR]))
        return shares

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
