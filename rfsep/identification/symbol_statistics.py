"""Decides the constellation of data symbols with unknown phase and noise level."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.identification.cyclic import raised
from rfsep.iq import squared
from rfsep.signals.constellations import constellation

CANDIDATES = ("qpsk", "qam16", "qam64")  # BPSK has the magnitudes of QPSK
_SNR_DB = torch.arange(2.0, 46.0, 2.0)
_LEAST_SNR_DB = (6.0, 12.0, 18.0)  # At a lower SNR the points of each candidate run together and look Gaussian.
_MAX_SYMBOLS = 6000
_GOOD_FIT, _BAD_FIT = 0.02, 0.08  # Wasserstein distances of a perfect and a useless fit
_GROUP = 256  # symbols of one frame and one stretch of time that are decided together
_MAX_GROUPS = 240
_ROUNDS = 30  # rounds of expectation maximisation
_GAIN = 10.0  # nats by which several constellations must explain more than the best one
_RARE = 0.05  # A constellation is absent below this share of the groups.
_STEPS = 8.0  # Points lie on a line from this squared mean step on, relative to random steps: e**-8 by chance.


class Constellation(NamedTuple):
    """The constellation of some symbols.

    Attributes:
        name: bpsk, qpsk, qam16, qam64, or None if Gaussian symbols fit as well.
        confidence: posterior probability among the three alphabets of magnitudes and Gaussian symbols, times the
            goodness of the fit: 1 up to a Wasserstein distance of 0.02 between magnitudes, 0 from 0.08 on.
        snr_db: SNR of the fit.
        symmetry: number of turns that map the points onto themselves.
        shares: share of the groups of symbols with each constellation, the most frequent first; empty if all groups
            have the named one.
    """

    name: str | None
    confidence: float
    snr_db: float
    symmetry: int
    shares: tuple[tuple[str, float], ...] = ()


def _rings(name: str) -> tuple[Tensor, Tensor]:
    """Returns the magnitudes of a constellation and their shares."""
    radii, counts = torch.unique((constellation(name).abs() * 1e4).round() / 1e4, return_counts=True)
    return radii, counts / counts.sum()


def _log_density(magnitudes: Tensor, name: str, noise: Tensor) -> Tensor:
    """Returns the log density of magnitudes [S] of unit-power symbols for shares of noise [N]: float32 [N, S].

    Magnitudes of a point in circular Gaussian noise follow Rice's distribution.
    """
    radii, shares = _rings(name)
    noise = noise[:, None, None]
    radii = radii[None, :, None] * (1 - noise).sqrt()
    argument = 2 * magnitudes * radii / noise  # [N, rings, S]
    log_rice = (2 * magnitudes / noise).log() - (magnitudes - radii).square() / noise
    log_rice = log_rice + torch.special.i0e(argument).log()
    return torch.logsumexp(log_rice + shares.log()[None, :, None], 1)


def _grid() -> Tensor:
    """Magnitudes of unit-power symbols, finer than the least noise spreads them: float32 [cells]."""
    return torch.linspace(1e-3, 3.5, 3500)


def _distance(magnitudes: Tensor, name: str, noise: Tensor) -> float:
    """Returns the Wasserstein distance of magnitudes [S] from the fitted model, the area between distributions."""
    grid = _grid()
    model = _log_density(grid, name, noise[None])[0].exp().cumsum(0)
    observed = torch.searchsorted(magnitudes.sort().values, grid) / len(magnitudes)
    return float((model / model[-1] - observed).abs().sum() * (grid[1] - grid[0]))


def _gaussian_log_density(magnitudes: Tensor) -> Tensor:
    """Log density of magnitudes of circular Gaussian symbols of unit power."""
    return magnitudes.log() + math.log(2) - magnitudes.square()


def _goodness(magnitudes: Tensor, name: str, level: int) -> float:
    """1 where magnitudes [S] are as the model at a level of `_SNR_DB` has them, 0 where it does not fit."""
    misfit = _distance(magnitudes, name, 10 ** (-_SNR_DB[level] / 10))
    return min(1.0, max(0.0, (_BAD_FIT - misfit) / (_BAD_FIT - _GOOD_FIT)))


class _Groups(NamedTuple):
    """Symbols of one frame that follow each other.

    Attributes:
        symbols: complex64 [G, n, D].
        valid: bool [G, n].
    """

    symbols: Tensor
    valid: Tensor

    def of(self, chosen: Tensor) -> "_Groups":
        """Some of the groups."""
        return _Groups(self.symbols[chosen], self.valid[chosen])

    def magnitudes(self) -> Tensor:
        """All that are valid, thinned out where they are many: float32 [S]."""
        magnitudes = self.symbols[self.valid].flatten().abs().clamp(min=1e-3)
        return magnitudes[:: -(-len(magnitudes) // _MAX_SYMBOLS)]


def _grouped(symbols: Tensor, valid: Tensor) -> _Groups:
    """Groups of about `_GROUP` symbols, evenly chosen where there are many, without those that are mostly pauses."""
    num_frames, number, streams = symbols.shape
    length = min(number, max(2, -(-_GROUP // streams)))
    count = number // length
    values = symbols[:, : count * length].reshape(num_frames * count, length, streams)
    there = valid[:, : count * length].reshape(num_frames * count, length)
    kept = (2 * there.sum(1) > length).nonzero()[:, 0]
    kept = kept[:: max(1, -(-len(kept) // _MAX_GROUPS))]
    return _Groups(values[kept], there[kept])


def _group_evidence(groups: _Groups) -> tuple[Tensor, Tensor]:
    """Log evidence of every group: float64 [G, c, N] for the candidates at each noise, [G] for Gaussian symbols.

    Magnitudes are counted in cells, as wide as `_grid` is fine.
    """
    grid, noise = _grid(), 10 ** (-_SNR_DB / 10)
    cell = ((groups.symbols.abs() - grid[0]) / (grid[1] - grid[0])).round().long().clamp(0, len(grid) - 1)  # [G, n, D]
    place = cell.flatten(1) + len(grid) * torch.arange(len(cell))[:, None]
    counted = groups.valid.repeat_interleave(cell.shape[2], 1).double()
    counts = torch.bincount(place.flatten(), counted.flatten(), len(cell) * len(grid)).view(len(cell), -1)
    densities = torch.stack([_log_density(grid, name, noise).double() for name in CANDIDATES])  # [c, N, cells]
    return torch.einsum("gm,cnm->gcn", counts, densities), counts @ _gaussian_log_density(grid).double()


def _on_a_line(groups: _Groups) -> Tensor:
    """Which groups step from a point to the next by 0 or 180 degrees alone, as BPSK does: bool [G]."""
    second, fourth = (step_moment(*groups, order).abs() for order in (2, 4))
    steps = (groups.valid[:, 1:] & groups.valid[:, :-1]).sum(1) * groups.symbols.shape[2]
    return (second > fourth / 2) & (second.square() * steps > _STEPS)


def constellations_of_groups(symbols: Tensor, valid: Tensor) -> Constellation | None:
    """The constellations of symbols that hold several; None where one explains them as well. Arguments as below.

    The shares are fitted by expectation maximisation to what each group's magnitudes say; groups of constant magnitude
    are BPSK where their steps lie on a line. The confidence is the share of the most frequent, times its goodness.
    """
    groups = _grouped(symbols, valid)
    if len(groups.symbols) < 2:
        return None
    evidence, gaussian = _group_evidence(groups)
    totals = torch.cat((torch.logsumexp(evidence, 2) - math.log(len(_SNR_DB)), gaussian[:, None]), 1)  # [G, c + 1]
    shares = torch.full((totals.shape[1],), 1 / totals.shape[1], dtype=torch.float64)
    for _ in range(_ROUNDS):
        shares = torch.softmax(totals + shares.clamp_min(1e-12).log(), 1).mean(0)
    weighted = totals + shares.clamp_min(1e-12).log()
    decided = weighted.argmax(1)
    if float(torch.logsumexp(weighted, 1).sum() - totals.sum(0).max()) < _GAIN:
        decided = totals.sum(0).argmax().expand(len(totals))
    line = (decided == 0) & _on_a_line(groups)
    found = list[tuple[str, float, Tensor, int, int]]()  # name, share, groups, place among the candidates, level
    kinds = [(name, (decided == place) & ~line, place) for place, name in enumerate(CANDIDATES)]
    for name, own, place in [("bpsk", line, 0), *kinds]:
        share, level = float(own.double().mean()), int(evidence[own, place].sum(0).argmax())
        if share >= _RARE and _SNR_DB[level] >= _LEAST_SNR_DB[place]:
            found.append((name, share, own, place, level))
    if len(found) < 2:
        return None
    found.sort(key=lambda one: -one[1])
    name, share, own, place, level = found[0]
    goodness = _goodness(groups.of(own).magnitudes(), CANDIDATES[place], level)
    every = tuple((one[0], one[1]) for one in found)
    return Constellation(name, share * goodness, float(_SNR_DB[level]), 4, every)


def decide_constellation(symbols: Tensor, valid: Tensor) -> Constellation:
    """Decides the constellation of symbols at unknown phases.

    Magnitudes tell QPSK, 16-QAM and 64-QAM apart by their likelihood over all noise levels. The squared step from one
    symbol to the next tells BPSK and QPSK apart; a constant phase and a carrier offset only turn it.

    Args:
        symbols: complex64 [F, K, D], D streams of K symbols in each of F frames, unit power where valid.
        valid: bool [F, K], which symbols are on the air.
    """
    magnitudes = symbols[valid].flatten().abs().clamp(min=1e-3)
    nothing = Constellation(None, 0.0, -math.inf, 4)
    if len(magnitudes) < 50:
        return nothing
    stride = -(-len(magnitudes) // _MAX_SYMBOLS)
    magnitudes = magnitudes[::stride]
    noise = 10 ** (-_SNR_DB / 10)
    evidence = {name: _log_density(magnitudes, name, noise).sum(1) for name in CANDIDATES}  # [N] each
    gaussian = float(_gaussian_log_density(magnitudes).sum())
    totals = [float(torch.logsumexp(values, 0)) - math.log(len(noise)) for values in evidence.values()]
    posterior = torch.softmax(torch.tensor([*totals, gaussian], dtype=torch.float64), 0)
    best = int(posterior.argmax())
    if best == len(CANDIDATES):
        return nothing
    name = CANDIDATES[best]
    level = int(evidence[name].argmax())
    if _SNR_DB[level] < _LEAST_SNR_DB[best]:
        return nothing
    goodness = _goodness(magnitudes, name, level)
    second, fourth = (step_moment(symbols, valid, order) for order in (2, 4))
    if name == "qpsk" and second.abs().mean() > 0.5 * fourth.abs().mean():
        name = "bpsk"
    symmetry = 2 if name == "bpsk" else 4
    return Constellation(name, float(posterior[best]) * goodness, float(_SNR_DB[level]), symmetry)


def step_moment(symbols: Tensor, valid: Tensor, order: int) -> Tensor:
    """Returns the mean unit step from symbol to symbol, to the power of ``order``: complex64 [F]; shapes as above."""
    steps = symbols[:, 1:] * symbols[:, :-1].conj()
    both = (valid[:, 1:] & valid[:, :-1])[:, :, None]
    units = torch.where(both, raised(steps / squared(steps).sqrt().clamp(min=1e-12), order), 0)
    return units.sum((1, 2)) / (both.sum((1, 2)) * symbols.shape[2]).clamp(min=1)
