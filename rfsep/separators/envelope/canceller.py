"""Cancels interference of a constant envelope, by the statistics of its envelope and phase."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.separators.envelope.detection import Axes, Soft, update
from rfsep.separators.envelope.flips import Rest, improved
from rfsep.separators.envelope.linearised import Layout, linearise
from rfsep.separators.envelope.polar import learn_polar
from rfsep.separators.inference.expectation_propagation import put_rows, rows_of
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separated, Separator

_ORDER = 16
_FREEDOM = 4.0
_SETTLED = 0.02
_SEARCHES = 3
_SWEEPS = 8


class Schedule(NamedTuple):
    """A schedule of site updates.

    Attributes:
        damping: share of the new value in a site.
        iterations: at most.
        heat: factor of the noise assumed at the start; it falls geometrically.
        cooling: iterations until the factor is 1.
    """

    damping: float
    iterations: int
    heat: float
    cooling: int


FIRST = Schedule(0.5, 14, 30.0, 6)
SECOND = Schedule(0.3, 25, 1000.0, 16)
AGAIN = Schedule(0.5, 10, 1.0, 0)


class State(NamedTuple):
    """Windows during detection: sites, symbols, nuisance terms [B, N], local misfit of each symbol [B, S]."""

    sites: Axes
    soft: Soft
    terms: Tensor
    misfit: Tensor


class EnvelopeCanceller:
    """See the module."""

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        further: Separator | None = None,
        block: int = 2560,
        margin: int = 160,
    ) -> None:
        if not isinstance(modem, LinearModem):
            raise InputError("envelope: the SOI is no linear single-carrier modulation; choose bpsk, qpsk, qam16, ...")
        self.modem, self.block, self.margin = modem, block, margin
        self._model = learn_polar(examples, _ORDER, _FREEDOM)
        self._starts = [Lmmse(modem, examples), *([further] if further else [])]
        self._points = torch.view_as_real(modem.constellation.to(torch.complex128))
        self._soi_power = float(modem_autocorrelation(modem, 1).real)

    def _begun(self, soft: Soft) -> State:
        """The state before detection, from symbols with variances."""
        spread = self._points.square().mean(0).clamp_min(1e-6)
        shape = (*soft.symbols.shape, 2)
        sites = Axes((1 / spread).expand(shape).clone(), torch.zeros(shape, dtype=torch.float64))
        terms = self._model.nuisance.mean.repeat(len(soft.symbols), 1)
        return State(sites, soft, terms, torch.full(soft.symbols.shape, float("inf")))

    def _detect(self, layout: Layout, mixture: Tensor, soft: Soft, schedule: Schedule) -> State:
        state = self._begun(soft)
        active = torch.arange(len(mixture))
        for index in range(schedule.iterations):
            heat = max(1.0, schedule.heat ** (1 - index / max(1, schedule.cooling)))
            old = rows_of(state, active)
            new = self._step(layout, mixture[active], old, heat, schedule.damping, index < 3)
            put_rows(state, active, new)
            if index >= schedule.cooling:
                moved = (new.soft.symbols - old.soft.symbols).abs().amax(1)
                active = active[moved > _SETTLED]
                if not len(active):
                    break
        return state

    def _step(self, layout: Layout, mixture: Tensor, state: State, heat: float, damping: float, early: bool) -> State:
        sites, soft, terms, _ = state
        if early:
            total = power(mixture)
            level = (total - self._soi_power).maximum(0.1 * total).sqrt()
        else:
            level = (mixture - layout.synthesise(soft.symbols, layout.pulse)).abs().mean(1)
        level = level[:, None].expand(mixture.shape)
        said = linearise(layout, self._model, mixture, soft.symbols, soft.variance, terms, level, _FREEDOM, heat)
        sites, soft, terms = update(said, sites, self._points, 2 * layout.reach, damping)
        return State(sites, soft, terms, layout.local_mean(said.misfit))

    def _window(self, mixture: Tensor, begins: bool, ends: bool) -> Tensor:
        layout = Layout(self.modem, mixture.shape[1], begins=begins, ends=ends, order=_ORDER)
        size = (len(mixture), layout.num_symbols)
        zero = Soft(torch.zeros(size, dtype=torch.complex64), torch.ones(size))
        state = self._detect(layout, mixture, zero, FIRST)
        unsettled = (state.misfit > self._model.usual).any(1).nonzero()[:, 0]
        if len(unsettled):
            better = self._searched(layout, mixture[unsettled], rows_of(state, unsettled))
            put_rows(state, unsettled, better)
        return layout.synthesise(state.soft.symbols, layout.pulse)

    def _searched(self, layout: Layout, mixture: Tensor, state: State) -> State:
        """Tries further starts where the rest does not look like the interference."""
        size = state.soft.symbols.shape
        for start in self._starts:
            symbols = torch.zeros(size, dtype=torch.complex64)
            analysed = self.modem.analyse(start.separate(mixture).soi)
            symbols[:, -layout.first : -layout.first + analysed.shape[1]] = analysed
            variance = (1 - symbols.abs().square().mean(1, keepdim=True)).clamp(0.02, 1).expand(size)
            state = merged(state, self._detect(layout, mixture, Soft(symbols, variance), SECOND))
        for _ in range(_SEARCHES):
            active = (state.misfit > self._model.usual).any(1).nonzero()[:, 0]
            if not len(active):
                break
            part = rows_of(state, active)
            symbols = self._flipped(layout, mixture[active], part)
            variance = torch.where(part.misfit > self._model.usual, 0.1, part.soft.variance)
            put_rows(state, active, merged(part, self._detect(layout, mixture[active], Soft(symbols, variance), AGAIN)))
        return state

    def _flipped(self, layout: Layout, mixture: Tensor, state: State) -> Tensor:
        symbols, terms = state.soft.symbols, self._model.nuisance.terms
        rest = mixture - layout.synthesise(symbols, layout.pulse)
        unit = rest / rest.abs().clamp_min(1e-6)
        level = rest.abs().mean(1)[:, None].expand(mixture.shape)
        values = state.terms.to(torch.float32)
        waves = terms.waves(unit) * level[:, None]
        rest = rest - (terms.complex_part(values)[..., None] * waves).sum(1)
        drift = values[:, 2 * terms.count :] @ terms.drifts(layout.length).float()
        doubtful = torch.nn.functional.max_pool1d(state.misfit[:, None], 9, 1, 4)[:, 0] > self._model.usual
        points = self.modem.constellation.to(torch.complex64)
        return improved(layout, self._model, Rest(rest, level, drift), symbols, points, doubtful, _FREEDOM, _SWEEPS)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the SOI complex64 [B, T] and its bits uint8 [B, N] in mixtures complex64 [B, T]."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            return in_parallel(lambda part: self._window(part, begins, ends), windows, 16)

        soi = overlapped_ends(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))


def merged(one: State, other: State) -> State:
    """Takes each symbol from the state with less misfit about it."""
    better = other.misfit < one.misfit

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(better.reshape(*better.shape, *[1] * (new.ndim - 2)), new, old)

    total = (other.misfit.mean(1) < one.misfit.mean(1))[:, None]
    return State(
        Axes(*(choose(a, b) for a, b in zip(other.sites, one.sites, strict=True))),
        Soft(*(choose(a, b) for a, b in zip(other.soft, one.soft, strict=True))),
        torch.where(total, other.terms, one.terms),
        choose(other.misfit, one.misfit),
    )
