"""Detects symbols from several starts, and searches on where what is left does not look like the interference."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.detection import Axes, Soft, update
from rfsep.separators.envelope.flips import improved
from rfsep.separators.envelope.layout import Layout
from rfsep.separators.envelope.linearised import Rest, errors_of, linearise, misfit_of, rest_of
from rfsep.separators.envelope.polar import Polar
from rfsep.separators.inference.rows import put_rows, rows_of

_SETTLED = 0.02  # A symbol of unit power that changes less has settled.
_EARLY = 3  # iterations in which the level is that of the mixture, not of the rest
_SMOOTHING = (64, 8)  # samples over which pauses are found, in early iterations and later
_STRONG = 16.0  # interference over SOI, in power, beyond which detection from nothing finds what estimates would
_WEAK = 2.5  # interference over SOI, in power, below which detection from nothing fails
_SEARCHES = 3
_SWEEPS = 8
_NO_BETTER = 0.84  # tuned on val: misfit over that of linear symbols from which the structure explains nothing
_NEARBY = 9  # symbols about a misfit that may be wrong


Estimate = Callable[[Tensor], Tensor]


class Schedule(NamedTuple):
    """A schedule of site updates; all were tuned on val.

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


_FROM_NOTHING = Schedule(0.5, 14, 30.0, 6)
_FROM_ESTIMATE = Schedule(0.3, 25, 1000.0, 16)
_AFTER_CHANGES = Schedule(0.5, 10, 1.0, 0)


class State(NamedTuple):
    """Windows during detection: sites, symbols, nuisance terms [B, N] and the local misfit of each symbol [B, S]."""

    sites: Axes
    soft: Soft
    terms: Tensor
    misfit: Tensor


class Search:
    """Detection of a modem's symbols in windows of one length.

    Args:
        layout: of the window.
        model: of the interference.
        points: constellation complex64 [P].
        soi_power: mean power of the SOI.
    """

    def __init__(self, layout: Layout, model: Polar, points: Tensor, soi_power: float) -> None:
        self.layout, self.model, self.soi_power = layout, model, soi_power
        self._points = points
        self._axes = torch.view_as_real(points.to(torch.complex128).contiguous())

    def detected(self, mixture: Tensor, estimates: Sequence[Estimate]) -> State:
        """Detects the symbols of mixtures complex64 [B, T].

        Args:
            mixture: complex64 [B, T].
            estimates: give symbols [B, S] of mixtures, from which detection starts where the interference is weak.
        """
        size = (len(mixture), self.layout.num_symbols)
        state = self._begun(Soft(torch.zeros(size, dtype=torch.complex64), torch.ones(size)))
        state = state._replace(misfit=torch.full(size, torch.inf))
        ratio = mixture.abs().square().mean(1) / self.soi_power - 1
        rows = (ratio >= _WEAK).nonzero()[:, 0]
        if len(rows):
            put_rows(state, rows, self._detect(mixture[rows], rows_of(state, rows).soft, _FROM_NOTHING))
        for estimate in estimates:
            rows = ((state.misfit > self.model.usual).any(1) & (ratio < _STRONG)).nonzero()[:, 0]
            if len(rows):
                found = self._from_estimate(mixture[rows], estimate(mixture[rows]))
                put_rows(state, rows, _merged(rows_of(state, rows), found))
        for _ in range(_SEARCHES):
            rows = (state.misfit > self.model.usual).any(1).nonzero()[:, 0]
            if not len(rows):
                break
            put_rows(state, rows, self._searched(mixture[rows], rows_of(state, rows)))
        return state

    def unexplained(self, mixture: Tensor, state: State, symbols: Tensor) -> Tensor:
        """Tells windows complex64 [B, T] in which detected symbols fit hardly better than linear ones [B, S]: bool [B].

        A SOI is found in any interference, for its symbols are chosen to fit. But where the interference has another
        structure, they fit hardly better than symbols that were not.
        """
        other = self._misfit(mixture, state._replace(soft=state.soft._replace(symbols=symbols)))
        found = state.misfit.mean(1)
        return (found > self.model.usual) & (found > _NO_BETTER * other.mean(1))

    def _from_estimate(self, mixture: Tensor, symbols: Tensor) -> State:
        variance = (1 - symbols.abs().square().mean(1, keepdim=True)).clamp(0.02, 1).expand(symbols.shape)
        return self._detect(mixture, Soft(symbols, variance.clone()), _FROM_ESTIMATE)

    def _searched(self, mixture: Tensor, state: State) -> State:
        """Changes pairs of symbols, and detects again from there."""
        state = _merged(state, self._changed(mixture, state))
        variance = torch.where(state.misfit > self.model.usual, 0.1, 0.01)
        return _merged(state, self._detect(mixture, Soft(state.soft.symbols, variance), _AFTER_CHANGES))

    def _begun(self, soft: Soft) -> State:
        power = self._axes.square().mean(0).clamp_min(1e-6)
        shape = (*soft.symbols.shape, 2)
        sites = Axes((1 / power).expand(shape).clone(), torch.zeros(shape, dtype=torch.float64))
        terms = self.model.nuisance.mean.repeat(len(soft.symbols), 1)
        return State(sites, soft, terms, torch.zeros(soft.symbols.shape))

    def _detect(self, mixture: Tensor, soft: Soft, schedule: Schedule) -> State:
        state = self._begun(soft)
        active = torch.arange(len(mixture))
        for index in range(schedule.iterations):
            heat = max(1.0, schedule.heat ** (1 - index / max(1, schedule.cooling)))
            old = rows_of(state, active)
            new = self._step(mixture[active], old, heat, schedule.damping, index < _EARLY)
            put_rows(state, active, new)
            moved = (new.soft.symbols - old.soft.symbols).abs().amax(1)
            if index >= schedule.cooling:
                active = active[moved > _SETTLED]
            if not len(active):
                break
        return state._replace(misfit=self._misfit(mixture, state))

    def _rest(self, mixture: Tensor, state: State, early: bool = False) -> Rest:
        level = None
        if early and self.model.floor is None:
            total = mixture.abs().square().mean(1, keepdim=True)
            level = (total - self.soi_power).maximum(0.1 * total).sqrt().clamp_min(1e-4)
        soi = self.layout.synthesise(state.soft.symbols, self.layout.pulse)
        return rest_of(self.model, mixture, soi, state.terms, level, _SMOOTHING[not early])

    def _step(self, mixture: Tensor, state: State, heat: float, damping: float, early: bool) -> State:
        layout = self.layout
        rest = self._rest(mixture, state, early)
        spread = layout.synthesise(state.soft.variance / 2, layout.pulse.square())
        errors = errors_of(self.model, rest, spread, heat)
        said = linearise(layout, self.model, rest, errors, state.soft.symbols, state.terms)
        new = update(said, state.sites, self._axes, 2 * layout.reach, damping)
        return State(new.sites, new.soft, new.terms, state.misfit)

    def _misfit(self, mixture: Tensor, state: State) -> Tensor:
        rest = self._rest(mixture, state)
        errors = errors_of(self.model, rest, torch.zeros_like(rest.drift), 1.0)
        return self.layout.local_mean(misfit_of(self.model, rest, errors))

    def _changed(self, mixture: Tensor, state: State) -> State:
        near = torch.nn.functional.max_pool1d(state.misfit[:, None], _NEARBY, 1, _NEARBY // 2)[:, 0]
        symbols = improved(
            self.layout,
            self.model,
            self._rest(mixture, state),
            state.soft.symbols,
            self._points,
            near > self.model.usual,
            _SWEEPS,
        )
        changed = state._replace(soft=state.soft._replace(symbols=symbols))
        return changed._replace(misfit=self._misfit(mixture, changed))


def _merged(one: State, other: State) -> State:
    """Takes each symbol from the state with less misfit about it, and the terms from that with less misfit in all."""
    better = other.misfit < one.misfit
    total = (other.misfit.mean(1) < one.misfit.mean(1))[:, None]

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(better.reshape(*better.shape, *[1] * (new.ndim - 2)), new, old)

    return State(
        Axes(*(choose(new, old) for new, old in zip(other.sites, one.sites, strict=True))),
        Soft(*(choose(new, old) for new, old in zip(other.soft, one.soft, strict=True))),
        torch.where(total, other.terms, one.terms),
        choose(other.misfit, one.misfit),
    )
