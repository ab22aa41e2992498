"""Expectation propagation for two superposed linear modulations with discrete symbols.

The mixture is y = R a + A(h) b + w: SOI symbols a on their pulses, interference symbols b on the carriers of OFDM
blocks that are independent of each other, complex gain h, white noise w. Every symbol's discrete prior is replaced by
a Gaussian site exp(-lambda |x|^2 + 2 Re conj(gamma) x). A site is fitted so that the Gaussian posterior has the mean
and variance that the true prior gives in its cavity (Minka, UAI 2001; for symbol detection Cespedes et al., IEEE
Trans. Commun. 62(8), 2014, eqs. 24 to 33). All sites are updated in parallel, with damping.

The Gaussian posterior is never inverted as a whole: b is eliminated block by block (Schur complement), which leaves
one system as large as the number of SOI symbols. Within a whole block A^H A = alpha I + F^H F with as few rows in F as
the cyclic prefix has samples, so a block costs a system of that size.
"""

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.grid import (
    ABSENT,
    Blocks,
    SoiGrid,
    Window,
    gathered,
    gathered_matrix,
    scattered,
    scattered_matrix,
)
from rfsep.separators.inference.kinds import Kinds
from rfsep.separators.inference.tridiagonal import back_solve, factorise, half_solve, inverse_band, log_determinant
from rfsep.separators.inference.turns import Evidence, InterferenceTurn, SoiPhase, Turns, unit
from rfsep.signals.constellations import decide, posterior_mean_and_variance
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem

_LEAST_VARIANCE = 1e-7  # least variance of a decided symbol
_LEAST_PRECISION = 1e-6  # least precision of a cavity or a site
_SETTLED = 0.02  # A symbol of unit power that changes less has settled.


class Sites(NamedTuple):
    """Gaussian stand-ins for the priors of N symbols per window: real precisions and complex shifts, [B, ...]."""

    precision: Tensor
    shift: Tensor


class Marginals(NamedTuple):
    """Complex means and real variances of symbols, [B, ...]."""

    mean: Tensor
    variance: Tensor


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


def rows_of(batch: Any, index: Tensor) -> Any:
    """Returns rows of a tensor, or of every tensor in nested named tuples."""
    if isinstance(batch, Tensor):
        return batch[index]
    return type(batch)(*(rows_of(part, index) for part in batch))


def put_rows(batch: Any, index: Tensor, rows: Any) -> None:
    """Writes rows into a tensor, or into every tensor in nested named tuples."""
    if isinstance(batch, Tensor):
        batch[index] = rows
        return
    for part, row in zip(batch, rows, strict=True):
        put_rows(part, index, row)


class _Inverse(NamedTuple):
    """The inverse J^-1 of every block: its diagonal [B, K, D], and its products with coupling and moment."""

    diagonal: Tensor
    coupling: Tensor
    moment: Tensor


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
        waveforms = two[: len(two) // 2, : grid.period].T / power**0.5
        self.carriers = waveforms.to(self.dtype)  # A, [P, D]
        every = [self.points.expand(waveforms.shape[1], -1)] if kinds is None else kinds
        self.kinds = Kinds([points.to(self.dtype) for points in every])
        gram = waveforms.mH @ waveforms
        values, vectors = torch.linalg.eigh(gram)
        self._alpha = float(values[0])
        extra = values > self._alpha + 1e-9
        factor = (vectors[:, extra] * (values[extra] - self._alpha).sqrt()).mH
        self._factor = factor.resolve_conj().to(self.dtype)  # F, [r, D]
        self._diagonal = self.carriers.abs().square().sum(0)
        self._pulses = grid.pulses.to(self.dtype)
        self._edges = [0, grid.num_blocks - 2, grid.num_blocks - 1]
        self._inner = list(range(1, grid.num_blocks - 2))

    @cached_property
    def _coupling(self) -> Tensor:
        """A^H R of whole blocks, complex [step, D, c]."""
        coupling: Tensor = self.carriers.mH @ self._pulses
        return coupling

    def prepare(self, blocks: Blocks, exists: Tensor) -> Window:
        """Computes matched filters and their products for windows cut into blocks."""
        grid, edges = self.grid, self._edges
        pulses = self._pulses[blocks.phase]  # [B, K, P, c]
        samples = blocks.samples.to(self.dtype)
        pulses[:, edges] *= blocks.inside[:, edges, :, None]
        soi = (pulses.mH @ samples[..., None])[..., 0]
        coupling = self._coupling[blocks.phase]
        coupling[:, edges] = self.carriers.mH @ pulses[:, edges]
        partial = self.carriers * blocks.inside[:, edges, :, None]  # [B, 3, P, D]
        return Window(
            carriers=samples @ self.carriers.conj(),
            coupling=coupling,
            adjoint=coupling.mH.resolve_conj().contiguous(),
            soi=scattered(soi, blocks.columns, grid.num_symbols),
            soi_gram=scattered_matrix(pulses.mH @ pulses, blocks.columns, grid.num_symbols),
            edge_gram=partial.mH @ partial,
            columns=blocks.columns,
            exists=exists,
            inside=blocks.inside,
            samples=samples,
            pulses=pulses,
        )

    def _inverse(self, window: Window, precision: Tensor, moment: Tensor, scale: Tensor) -> _Inverse:
        """J^-1 with J = diag(precision) + scale A^H A, for the moment [B, K, D] and the coupling."""
        diagonal, product = torch.empty_like(precision), torch.empty_like(moment)
        coupling = torch.empty_like(window.coupling)
        # Whole blocks have J = diag(t) + scale F^H F.
        inner, edges, factor = self._inner, self._edges, self._factor
        flat = 1 / (precision[:, inner] + self._alpha * scale[:, None, None])  # 1 / t, [B, Ki, D]
        scaled = factor * flat[..., None, :]  # F / t
        small = scaled @ factor.mH + torch.eye(len(factor)) / scale[:, None, None, None]
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(small), scaled, upper=False)  # [B, Ki, r, D]
        diagonal[:, inner] = flat - squared(half).sum(2)
        held = moment[:, inner, :, None]
        back = half.mH.resolve_conj()
        product[:, inner] = (flat[..., None] * held - back @ (half @ held))[..., 0]
        held = window.coupling[:, inner]
        coupling[:, inner] = flat[..., None] * held - back @ (half @ held)
        # Blocks that may lie partly outside are inverted directly.
        dense = torch.diag_embed(precision[:, edges].to(moment.dtype)) + scale[:, None, None, None] * window.edge_gram
        identity = torch.eye(dense.shape[2], dtype=dense.dtype).expand_as(dense)
        root = torch.linalg.solve_triangular(torch.linalg.cholesky(dense), identity, upper=False)  # L^-1
        diagonal[:, edges] = squared(root).sum(2)
        product[:, edges] = (root.mH @ (root @ moment[:, edges, :, None]))[..., 0]
        coupling[:, edges] = root.mH @ (root @ window.coupling[:, edges])
        return _Inverse(diagonal, coupling, product)

    def marginals(
        self, window: Window, soi: Sites, interference: Sites, gain: Tensor, noise_power: Tensor
    ) -> tuple[Marginals, Marginals, Tensor]:
        """Returns Gaussian marginals of all symbols given the sites, at gains complex [B] and noise powers [B].

        The third is log det [B] of the precision of the SOI's symbols, the interference's eliminated.
        """
        num_symbols, columns = self.grid.num_symbols, window.columns
        factor = (gain.conj() / noise_power)[:, None, None]
        scale = (squared(gain) / noise_power).clamp_min(_LEAST_PRECISION)
        inverse = self._inverse(window, interference.precision, interference.shift + factor * window.carriers, scale)
        adjoint = window.adjoint
        taken = scattered((adjoint @ inverse.moment[..., None])[..., 0] * factor.conj(), columns, num_symbols)
        schur = scattered_matrix(adjoint @ inverse.coupling, columns, num_symbols)
        schur = schur * (scale / noise_power)[:, None, None]
        precision = (
            window.soi_gram / noise_power[:, None, None] - schur + torch.diag_embed(soi.precision.to(schur.dtype))
        )
        factored = factorise((precision + precision.mH) / 2, columns.shape[2] - 1)
        covariance = inverse_band(factored)
        moment = soi.shift + window.soi / noise_power[:, None] - taken
        mean = back_solve(factored, half_solve(factored, moment))
        near, spread = gathered(mean, columns), gathered_matrix(covariance, columns)
        carriers = inverse.moment - factor * (inverse.coupling @ near[..., None])[..., 0]
        added = ((inverse.coupling @ spread) * inverse.coupling.conj()).sum(3).real
        variance = inverse.diagonal + added * (scale / noise_power)[:, None, None]
        own = Marginals(mean, covariance.diagonal(dim1=1, dim2=2).real)
        return own, Marginals(carriers, variance), log_determinant(factored)

    def block_log_determinant(self, window: Window, precision: Tensor, scale: Tensor) -> Tensor:
        """Returns log det [B] of J = diag(precision) + scale A^H A, over all blocks."""
        inner, edges, factor = self._inner, self._edges, self._factor
        flat = precision[:, inner] + self._alpha * scale[:, None, None]  # t, [B, Ki, D]
        small = (factor / flat[..., None, :]) @ factor.mH * scale[:, None, None, None] + torch.eye(len(factor))
        dense = torch.diag_embed(precision[:, edges].to(small.dtype)) + scale[:, None, None, None] * window.edge_gram
        roots = torch.linalg.cholesky(small), torch.linalg.cholesky(dense)
        logs = [root.diagonal(dim1=2, dim2=3).real.log().sum((1, 2)) for root in roots]
        found: Tensor = flat.log().sum((1, 2)) + 2 * torch.stack(logs).sum(0)
        return found

    def fitted_gain(self, window: Window, soi: Tensor, interference: Marginals, gain: Tensor) -> Tensor:
        """The complex gain [B] that explains the whole blocks best (the M step of expectation maximisation).

        Blocks that lie partly outside are left out, because undecided symbols would bias the gain. Without whole blocks
        the gain stays as it is.
        """
        inner = self._inner
        if not inner:
            return gain
        near = gathered(soi, window.columns)[:, inner, :, None]
        rest = window.carriers[:, inner] - (window.coupling[:, inner] @ near)[..., 0]
        mean, variance = interference.mean[:, inner], interference.variance[:, inner]
        power = self._alpha * squared(mean).sum((1, 2)) + squared(mean @ self._factor.T).sum((1, 2))
        fitted: Tensor = (mean.conj() * rest).sum((1, 2)) / (power + (variance * self._diagonal).sum((1, 2)))
        return fitted

    def residuals(self, window: Window, soi: Tensor, interference: Tensor, gain: Tensor) -> Tensor:
        """Returns the residual of each block: the mean of |y - R a - h A b|^2 over its samples, real [B, K]."""
        signal = (window.pulses @ gathered(soi, window.columns)[..., None])[..., 0]
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

    def acquired(self, window: Window, gain: Tensor, noise_power: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the complex gain [B], up to the constellation's symmetry, and slopes real [B, 2] of `Turns`.

        They come from the M-th power of the carriers that the Gaussian priors alone make clear.

        Args:
            window: the constants.
            gain: float64 [B], power of the interference.
            noise_power: real [B].
        """
        start = self.start(window, gain.sqrt().to(self.dtype), gain.new_zeros((len(gain), 2)))
        _, carriers, _ = self.marginals(window, start.soi_sites, start.carrier_sites, start.gain, noise_power)
        phase, slopes = self.turn.acquired(carriers.mean, carriers.variance, self.points)
        return torch.polar(gain.sqrt(), phase.double()).to(self.dtype), slopes

    def decided(self, state: State) -> tuple[Tensor, Tensor]:
        """Returns the nearest points, as turned, of SOI complex [B, S] and interference complex [B, K, D]."""
        soi, carriers = unit(state.turns.soi), self.turn(state.turns.slopes)
        return (
            decide(state.soi.mean * soi.conj(), self.soi_points) * soi,
            self.kinds.decide(state.carriers.mean * carriers.conj(), state.kinds) * carriers,
        )

    def step(self, window: Window, state: State, noise_power: Tensor, damping: float) -> State:
        """Runs one round: Gaussian posterior, cavities, discrete posteriors, new sites, new gain."""
        marginals = self.marginals(window, state.soi_sites, state.carrier_sites, state.gain, noise_power)
        cavity, carrier_cavity = cavity_of(marginals[0], state.soi_sites), cavity_of(marginals[1], state.carrier_sites)
        turn = self.turn(state.turns.slopes)
        found = self.kinds.tilted(*turned(carrier_cavity, turn.conj()))
        carriers = turned(Marginals(found.mean, found.variance), turn)
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
        return State(absent, carrier_sites, soi, cavity, carriers, gain, Turns(slopes, phase), found.kind)

    def detect(self, window: Window, gain: Tensor, slopes: Tensor, noise_power: Tensor, schedule: Schedule) -> State:
        """Iterates until the SOI's symbols settle; settled windows cost nothing more."""
        state = self.start(window, gain, slopes)
        result: State = rows_of(state, torch.arange(len(gain)))
        active = torch.arange(len(gain))
        for iteration in range(schedule.iterations):
            heat = schedule.warmth ** max(0.0, 1 - iteration / schedule.cooling)
            before = state.soi.mean
            state = self.step(window, state, noise_power * heat, schedule.damping)
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
