"""Expectation propagation for two superposed linear modulations with discrete symbols.

The mixture is y = R a + A(h) b + w: SOI symbols a on their pulses, interference symbols b on the carriers of OFDM
blocks that are independent of each other, complex gain h, white noise w. Every symbol's discrete prior is replaced by
a Gaussian site exp(-lambda |x|^2 + 2 Re conj(gamma) x). A site is fitted so that the Gaussian posterior has the mean
and variance that the true prior gives in its cavity (Minka, UAI 2001; for symbol detection Cespedes et al., IEEE
Trans. Commun. 62(8), 2014, eqs. 24 to 33). All sites are updated in parallel, with damping.

The Gaussian posterior is never inverted as a whole: b is eliminated block by block (Schur complement, see
`rfsep.separators.inference.carrier_blocks`), which leaves one banded system of the SOI's symbols.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.carrier_blocks import CarrierBlocks, multiplied
from rfsep.separators.inference.grid import ABSENT, Blocks, SoiGrid, Window, gathered, scattered
from rfsep.separators.inference.kinds import Kinds
from rfsep.separators.inference.rows import put_rows, rows_of
from rfsep.separators.inference.tridiagonal import back_solve, half_solve, log_determinant
from rfsep.separators.inference.turns import Evidence, InterferenceTurn, SoiPhase, Turns, unit
from rfsep.signals.constellations import decide, posterior_mean_and_variance
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem

_LEAST_VARIANCE = 1e-7  # least variance of a decided symbol
_LEAST_PRECISION = 1e-6  # least precision of a cavity or a site
_EQUAL = 1e-5  # share of the largest power by which equal powers of waveforms differ, by rounding
_SETTLED = 0.02  # A symbol of unit power that changes less has settled.


class Sites(NamedTuple):
    """Gaussian stand-ins for the priors of N symbols per window: real precisions and complex shifts, [B, ...]."""

    precision: Tensor
    shift: Tensor


class Marginals(NamedTuple):
    """Complex means and real variances of symbols, [B, ...]."""

    mean: Tensor
    variance: Tensor


class Gaussian(NamedTuple):
    """Gaussian marginals of all symbols, given sites.

    Attributes:
        soi: [B, S].
        carriers: [B, K, D].
        log_det: real [B], log det of the precision of the SOI's symbols, the interference's eliminated.
    """

    soi: Marginals
    carriers: Marginals
    log_det: Tensor


class Start(NamedTuple):
    """What detection begins with.

    Attributes:
        window: the constants.
        gain: complex [B], of the interference.
        slopes: real [B, 2], see `Turns`.
        noise_power: real [B].
    """

    window: Window
    gain: Tensor
    slopes: Tensor
    noise_power: Tensor


class State(NamedTuple):
    """The state of windows during detection: sites and posteriors.

    Attributes:
        soi_sites: [B, S].
        carrier_sites: [B, K, D].
        soi: [B, S], posterior under the discrete prior.
        soi_cavity: [B, S], evidence on a SOI symbol from everything but its own prior: the soft output.
        carriers: [B, K, D], posterior of the interference's symbols.
        gain: complex [B], of the interference in the middle of the window.
        turns: phases of both constellations.
        kinds: int64 [B, K], the likeliest kind of each block of interference.
    """

    soi_sites: Sites
    carrier_sites: Sites
    soi: Marginals
    soi_cavity: Marginals
    carriers: Marginals
    gain: Tensor
    turns: Turns
    kinds: Tensor


class Schedule(NamedTuple):
    """A schedule of site updates.

    Attributes:
        damping: share of the new value in a site.
        iterations: at most.
        warmth: factor of the noise assumed at the start; it falls geometrically.
        cooling: iterations until the factor is 1.
    """

    damping: float
    iterations: int
    warmth: float
    cooling: int


def tilted(cavity: Marginals, points: Tensor) -> Marginals:
    """Returns mean and variance of discrete symbols given Gaussian evidence."""
    mean, variance = posterior_mean_and_variance(cavity.mean, points, cavity.variance)
    return Marginals(mean, variance.clamp_min(_LEAST_VARIANCE))


def turned(symbols: Marginals, turn: Tensor) -> Marginals:
    """Turns symbols by complex [...]."""
    return Marginals(symbols.mean * turn, symbols.variance)


def tilted_turned(cavity: Marginals, points: Tensor, turn: Tensor) -> Marginals:
    """As `tilted`, of a constellation that is turned by complex [...] for each symbol."""
    return turned(tilted(turned(cavity, turn.conj()), points), turn)


def cavity_of(marginal: Marginals, sites: Sites) -> Marginals:
    """Removes a marginal's own site."""
    precision = (1 / marginal.variance - sites.precision).clamp_min(_LEAST_PRECISION)
    return Marginals((marginal.mean / marginal.variance - sites.shift) / precision, 1 / precision)


def updated(sites: Sites, cavity: Marginals, posterior: Marginals, damping: float) -> Sites:
    """Moves sites towards the values at which the Gaussian marginal equals the tilted one."""
    precision = 1 / posterior.variance - 1 / cavity.variance
    shift = posterior.mean / posterior.variance - cavity.mean / cavity.variance
    fits = precision > _LEAST_PRECISION
    return Sites(
        torch.where(fits, torch.lerp(sites.precision, precision, damping), sites.precision),
        torch.where(fits, sites.shift + damping * (shift - sites.shift), sites.shift),
    )


def _split(waveforms: Tensor) -> tuple[Tensor, float, Tensor]:
    """Returns waveforms A complex128 [P, D], alpha and F [r, D] with A^H A = alpha I + F^H F and the fewest rows in F.

    The carriers' waveforms are known to single precision. All directions in which they are equally strong are made so
    to double precision, or else each would count.
    """
    values, vectors = torch.linalg.eigh(waveforms.mH @ waveforms)
    flat = values < values[0] + _EQUAL * values[-1]
    alpha, same = values[flat].mean(), vectors[:, flat]
    waveforms = waveforms + (waveforms @ same * ((alpha / values[flat]).sqrt() - 1)) @ same.mH
    factor = (vectors[:, ~flat] * (values[~flat] - alpha).sqrt()).mH
    return waveforms, float(alpha), factor.resolve_conj()


class Detector:
    """Expectation propagation on one layout of SOI and OFDM interference.

    Args:
        grid: SOI symbols against the interference's blocks.
        interference: a modem with one symbol per block, as OFDM has.
        power: mean power of its waveform, which is divided out.
        dtype: complex64, or complex128 where the noise is so weak that eliminating the interference's symbols would
            lose all digits.
        tracked: whether the SOI's phase varies slowly and is followed.
        kinds: points complex [D, P] of the kinds of blocks, see `Kinds`; None for the modem's constellation alone,
            which in any case shows the interference's phase.
    """

    def __init__(
        self,
        grid: SoiGrid,
        interference: Modem,
        power: float,
        dtype: torch.dtype,
        tracked: bool = False,
        kinds: list[Tensor] | None = None,
    ) -> None:
        self.grid = grid
        self.dtype = dtype
        self.soi_points = grid.modem.constellation.to(self.dtype)
        self.points = interference.constellation.to(self.dtype)
        self._tracked = tracked
        two = modem_waveforms(interference, 2 * grid.period, 0).to(torch.complex128)
        self.turn = InterferenceTurn(two, grid.num_blocks, dtype)
        self.soi_phase = SoiPhase(grid.num_symbols, grid.density, dtype)
        waveforms, self._alpha, factor = _split(two[: len(two) // 2, : grid.period].T / power**0.5)
        self.carriers = waveforms.to(self.dtype)  # A, [P, D]
        every = [self.points.expand(waveforms.shape[1], -1)] if kinds is None else kinds
        self.kinds = Kinds([points.to(self.dtype) for points in every])
        self._factor = factor.to(self.dtype)  # F, [r, D]
        self._diagonal = self.carriers.abs().square().sum(0)
        self._pulses = grid.pulses.to(self.dtype)
        # The last block but one is whole at any timing if the blocks before the last one fit into the window.
        whole = (grid.num_blocks - 1) * grid.period <= grid.num_samples
        num_edges = min(grid.num_blocks, 2 if whole else 3)
        self.blocks = CarrierBlocks(self.carriers, self._alpha, self._factor, self._pulses, grid.num_blocks, num_edges)
        self._fitted = slice(1, max(1, grid.num_blocks - 2))  # blocks that are whole at any timing and window length

    @cached_property
    def _pulse_grams(self) -> Tensor:
        """R^H R of whole blocks, complex [step, c, c]."""
        return self._pulses.mH @ self._pulses

    def prepare(self, blocks: Blocks, exists: Tensor) -> Window:
        """Computes matched filters and their products for windows cut into blocks."""
        grid, edges = self.grid, self.blocks.edges
        samples, inside = blocks.samples.to(self.dtype), edges(blocks.inside)[..., None]
        pulses = self._pulses[edges(blocks.phase)] * inside  # [B, E, P, c]
        partial = self.carriers * inside  # [B, E, P, D]
        pairs = grid.band.pairs(blocks.columns)
        grams = self.blocks.joined(self._pulse_grams[blocks.phase[:, self.blocks.inner]], pulses.mH @ pulses)
        return Window(
            carriers=samples @ self.carriers.conj(),
            phase=blocks.phase,
            soi=scattered(multiplied(samples, blocks.phase, self._pulses.conj()), blocks.columns, grid.num_symbols),
            soi_gram=grid.band.scattered(grams, pairs),
            edge_gram=partial.mH @ partial,
            edge_coupling=self.carriers.mH @ pulses,
            columns=blocks.columns,
            pairs=pairs,
            exists=exists,
            inside=blocks.inside,
            samples=samples,
        )

    def marginals(self, window: Window, soi: Sites, interference: Sites, gain: Tensor, noise_power: Tensor) -> Gaussian:
        """Returns Gaussian marginals of all symbols given the sites, at gains complex [B] and noise powers [B]."""
        band, blocks = self.grid.band, self.blocks
        factor = (gain.conj() / noise_power)[:, None, None]
        scale = (squared(gain) / noise_power).clamp_min(_LEAST_PRECISION)
        done = blocks.eliminate(window, interference.precision, scale)
        moment = interference.shift + factor * window.carriers
        told = blocks.told(window, blocks.solve(done, moment)) * factor.conj()
        ratio = scale / noise_power
        matrix = band.scattered(done.schur * -ratio[:, None, None, None], window.pairs)
        matrix += window.soi_gram / noise_power[:, None, None, None, None]
        factored = band.factorise(band.with_diagonal(matrix, soi.precision))
        covariance = band.inverse(factored)
        taken = scattered(told, window.columns, self.grid.num_symbols)
        mean = back_solve(factored, half_solve(factored, soi.shift + window.soi / noise_power[:, None] - taken))
        near = gathered(mean, window.columns)
        carriers = blocks.solve(done, moment - factor * blocks.heard(window, near))
        spread = band.gathered(covariance, window.pairs)
        variance = blocks.variance(window, done, spread, ratio)
        own = Marginals(mean, band.diagonal(covariance))
        return Gaussian(own, Marginals(carriers, variance), log_determinant(factored))

    def fitted_gain(self, window: Window, soi: Tensor, interference: Marginals, gain: Tensor) -> Tensor:
        """The complex gain [B] that explains the whole blocks best (the M step of expectation maximisation).

        Blocks that lie partly outside are left out, because undecided symbols would bias the gain. Without whole blocks
        the gain stays as it is.
        """
        inner = self._fitted
        if inner.start == inner.stop:
            return gain
        near = gathered(soi, window.columns)[:, inner]
        rest = window.carriers[:, inner] - multiplied(near, window.phase[:, inner], self.blocks.coupling.mT)
        mean, variance = interference.mean[:, inner], interference.variance[:, inner]
        power = self._alpha * squared(mean).sum((1, 2)) + squared(mean @ self._factor.T).sum((1, 2))
        fitted: Tensor = (mean.conj() * rest).sum((1, 2)) / (power + (variance * self._diagonal).sum((1, 2)))
        return fitted

    def residuals(self, window: Window, soi: Tensor, interference: Tensor, gain: Tensor) -> Tensor:
        """Returns the residual of each block: the mean of |y - R a - h A b|^2 over its samples, real [B, K]."""
        signal = multiplied(gathered(soi, window.columns), window.phase, self._pulses.mT)
        rest = window.samples - signal - gain[:, None, None] * (interference @ self.carriers.T)
        return (squared(rest) * window.inside).sum(2) / window.inside.sum(2).clamp_min(1)

    def start(self, window: Window, gain: Tensor, slopes: Tensor) -> State:
        """Returns the state of the priors alone, symbols of unit power, at slopes real [B, 2] of `Turns`."""
        soi = torch.where(window.exists, 1.0, ABSENT).to(self.dtype.to_real())
        carriers = torch.ones(window.carriers.shape, dtype=self.dtype.to_real())
        none, nothing = torch.zeros_like(window.soi), torch.zeros_like(window.carriers)
        return State(
            Sites(soi, none),
            Sites(carriers, nothing),
            Marginals(none, 1 / soi),
            Marginals(none, 1 / soi),
            Marginals(nothing, carriers),
            gain,
            Turns(slopes.to(soi.dtype), torch.zeros_like(soi)),
            torch.zeros(carriers.shape[:2], dtype=torch.int64),
        )

    def acquired(self, window: Window, gain: Tensor, noise_power: Tensor) -> tuple[Start, Gaussian]:
        """Finds the interference's turn from the M-th power of the carriers that Gaussian priors alone make clear.

        The gain's phase is known up to the constellation's symmetry. The second result is the posterior of these priors
        at that gain, with which detection begins.

        Args:
            window: the constants.
            gain: float64 [B], power of the interference.
            noise_power: real [B].
        """
        start = self.start(window, gain.sqrt().to(self.dtype), gain.new_zeros((len(gain), 2)))
        found = self.marginals(window, start.soi_sites, start.carrier_sites, start.gain, noise_power)
        phase, slopes = self.turn.acquired(found.carriers.mean, found.carriers.variance, self.points)
        turned_back = Marginals(found.carriers.mean * unit(-phase)[:, None, None], found.carriers.variance)
        turn = torch.polar(gain.sqrt(), phase.double()).to(self.dtype)
        return Start(window, turn, slopes, noise_power), found._replace(carriers=turned_back)

    def decided(self, state: State) -> tuple[Tensor, Tensor]:
        """Returns the nearest points, as turned, of SOI complex [B, S] and interference complex [B, K, D]."""
        soi, carriers = unit(state.turns.soi), self.turn(state.turns.slopes)
        return (
            decide(state.soi.mean * soi.conj(), self.soi_points) * soi,
            self.kinds.decide(state.carriers.mean * carriers.conj(), state.kinds) * carriers,
        )

    def step(
        self, window: Window, state: State, noise_power: Tensor, damping: float, known: Gaussian | None = None
    ) -> State:
        """Runs one round: Gaussian posterior, unless it is known, cavities, discrete posteriors, new sites and gain."""
        found = known or self.marginals(window, state.soi_sites, state.carrier_sites, state.gain, noise_power)
        cavity, carrier_cavity = cavity_of(found.soi, state.soi_sites), cavity_of(found.carriers, state.carrier_sites)
        turn = self.turn(state.turns.slopes)
        tilt = self.kinds.tilted(*turned(carrier_cavity, turn.conj()))
        carriers = turned(Marginals(tilt.mean, tilt.variance), turn)
        soi = (
            tilted_turned(cavity, self.soi_points, unit(state.turns.soi))
            if self._tracked
            else tilted(cavity, self.soi_points)
        )
        soi = Marginals(soi.mean * window.exists, soi.variance)
        sites = updated(state.soi_sites, cavity, soi, damping)
        absent = Sites(torch.where(window.exists, sites.precision, ABSENT), sites.shift * window.exists)
        carrier_sites = updated(state.carrier_sites, carrier_cavity, carriers, damping)
        gain = self.fitted_gain(window, soi.mean, carriers, state.gain)
        slopes = self.turn.fitted(state.turns.slopes, Evidence(*carrier_cavity, carriers.mean))
        phase = state.turns.soi
        if self._tracked:
            phase = self.soi_phase.fitted(phase, Evidence(*cavity, soi.mean))
        return State(absent, carrier_sites, soi, cavity, carriers, gain, Turns(slopes, phase), tilt.kind)

    def detect(
        self,
        window: Window,
        gain: Tensor,
        slopes: Tensor,
        noise_power: Tensor,
        schedule: Schedule,
        priors: Gaussian | None = None,
    ) -> State:
        """Iterates until the SOI's symbols settle; settled windows cost nothing more.

        Args:
            window: the constants.
            gain: complex [B], to start with.
            slopes: real [B, 2], to start with, see `Turns`.
            noise_power: real [B].
            schedule: of the rounds.
            priors: the posterior of the priors alone at that gain and noise power, if it is known.
        """
        state = self.start(window, gain, slopes)
        result: State = rows_of(state, torch.arange(len(gain)))
        active = torch.arange(len(gain))
        for iteration in range(schedule.iterations):
            heat = schedule.warmth ** max(0.0, 1 - iteration / schedule.cooling)
            before = state.soi.mean
            known = priors if iteration == 0 and heat == 1 else None
            state = self.step(window, state, noise_power * heat, schedule.damping, known)
            change = (state.soi.mean - before).abs().amax(1)
            settled = (change < _SETTLED) & (heat == 1)
            if iteration == schedule.iterations - 1:
                settled = torch.ones_like(settled)
            if settled.any():
                put_rows(result, active[settled], rows_of(state, settled))
                if settled.all():
                    break
                going = ~settled
                active, noise_power = active[going], noise_power[going]
                state, window = rows_of(state, going), rows_of(window, going)
        return result
