"""Exact likelihood and estimate of Gaussian SOI symbols in periodic Gaussian interference, with small matrices.

With y = R a + b + w, a ~ CN(0, I), b ~ CN(0, gain C_b) block-diagonal and w ~ CN(0, noise I), the covariance of b + w
is diagonal in the eigenvectors U_k of each block, for every gain at once; the matrix inversion lemma then leaves one
system as large as the number of SOI symbols, M = I + R^H D^-1 R:

    D^-1 = U diag(1 / (gain lambda + noise)) U^H
    a_hat = M^-1 R^H D^-1 y
    log p(y) = -y^H D^-1 y + |L^-1 R^H D^-1 y|^2 - log det D - log det M,    M = L L^H

(Woodbury; Kay, Fundamentals of Statistical Signal Processing I, 1993, section 10.6 and 12.5).
"""

import math
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.grid import ABSENT, Blocks, SoiGrid, scattered
from rfsep.separators.inference.tridiagonal import Factor, back_solve, half_solve, log_determinant
from rfsep.signals.periodic_covariance import PeriodicCovariance

_TOGETHER = 2**20  # entries of blocks that are solved together; small ones cost little more than a call
_SEEN = 1e-3  # A symbol of which less is kept counts as unseen.


class Reduced(NamedTuple):
    """Blocks in the eigenbasis of the interference, for one timing of SOI and interference.

    Attributes:
        samples: complex128 [B, K, P], U^H y.
        values: float64 [B, K, P], eigenvalues of the interference at unit gain.
        missing: number of samples of the blocks outside the window, int64 [B].
        phase: int64 [B, K], see `Blocks`.
        columns: int64 [B, K, c], see `Blocks`.
        pairs: int64 [B, n], places of their products in the band of the grid.
        edge: bool [B, K], blocks with eigenvectors of their own: partly outside, or at another phase.
        edge_pulses: complex128 [n, P, c], U^H R of the edge blocks.
        exists: bool [B, S].
    """

    samples: Tensor
    values: Tensor
    missing: Tensor
    phase: Tensor
    columns: Tensor
    pairs: Tensor
    edge: Tensor
    edge_pulses: Tensor
    exists: Tensor


class Solved(NamedTuple):
    """The Gaussian model's result for windows at one timing, gain and noise.

    Attributes:
        log_likelihood: float64 [B], up to a constant common to all hypotheses.
        symbols: complex128 [B, S], posterior means of the SOI's symbols.
    """

    log_likelihood: Tensor
    symbols: Tensor


class Unbiased(NamedTuple):
    """Symbols in noise: complex128 [B, S], and the variances float64 [B, S] of the noise."""

    mean: Tensor
    variance: Tensor


class Bases:
    """Eigenvectors of the blocks of one covariance, each computed once for all models and threads.

    Args:
        covariance: of the interference.
    """

    def __init__(self, covariance: PeriodicCovariance) -> None:
        self.covariance = covariance
        self._found: dict[tuple[int, int, int, int], tuple[Tensor, Tensor]] = {}
        self._lock = Lock()

    def __call__(self, length: int, phase: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues [P] and vectors [P, P] of a block of ``length`` that is inside the window from ``first`` on."""
        key = (length, phase, first, last)
        with self._lock:
            if key not in self._found:
                inside = torch.zeros(length)
                inside[first:last] = 1
                covariance = self.covariance.window(phase, length) * (inside[:, None] * inside)
                values, vectors = torch.linalg.eigh(covariance)
                self._found[key] = values.clamp_min(0), vectors
            return self._found[key]


class GaussianModel:
    """A modem's SOI in interference with a periodic covariance, in windows of one length.

    Args:
        grid: SOI symbols against blocks. A block is one period if periods are independent, else the whole window.
        covariance: covariance of the interference.
        bases: eigenvectors of that covariance, shared with the models of other places in a signal.
    """

    def __init__(self, grid: SoiGrid, covariance: PeriodicCovariance, bases: Bases | None = None) -> None:
        self.grid = grid
        self.covariance = covariance
        self._bases = Bases(covariance) if bases is None else bases

    def basis(self, phase: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues [P] and vectors [P, P] of a block that is inside the window from ``first`` to ``last``."""
        return self._bases(self.grid.period, phase, first, last)

    @cached_property
    def _common_pulses(self) -> Tensor:
        """SOI pulses in the eigenvectors of a whole block: complex128 [step, P, c]."""
        return self.basis(0, 0, self.grid.period)[1].mH @ self.grid.pulses

    def _bases_of(self, inside: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Stacked bases of blocks bool [N, P] at phases int64 [N]: values [N, P] and vectors [N, P, P]."""
        first, length = inside.int().argmax(1), inside.sum(1)
        keys = torch.stack((phase, first, first + length), 1)
        unique, index = torch.unique(keys, dim=0, return_inverse=True)
        found = [self.basis(*key) for key in unique.tolist()]
        return torch.stack([one[0] for one in found])[index], torch.stack([one[1] for one in found])[index]

    def reduce(self, mixture: Tensor, soi_offset: Tensor, interference_offset: Tensor) -> Reduced:
        """Changes the basis of mixtures complex [B, T] at timings int64 [B] and [B]."""
        if self.covariance.independent:
            blocks, phase = self.grid.cut(mixture, soi_offset, interference_offset), torch.zeros_like(soi_offset)
        else:  # The window is the only block.
            blocks, phase = self.grid.cut(mixture, soi_offset, torch.zeros_like(soi_offset)), interference_offset
        return self._reduced(blocks, phase, self.grid.exists(soi_offset))

    def _reduced(self, blocks: Blocks, phase: Tensor, exists: Tensor) -> Reduced:
        inside = blocks.inside
        whole = self.basis(0, 0, self.grid.period)
        values = whole[0].expand(inside.shape).clone()
        samples = blocks.samples @ whole[1].conj()
        edge = (~inside).any(2) | (phase[:, None] > 0)  # blocks with a basis of their own
        which = phase[:, None].expand(edge.shape)[edge]
        values[edge], vectors = self._bases_of(inside[edge], which)
        adjoint = vectors.mH.resolve_conj()
        samples[edge] = (adjoint @ blocks.samples[edge][..., None])[..., 0]
        pulses = adjoint @ (self.grid.pulses[blocks.phase[edge]] * inside[edge][..., None])
        missing = (~inside).sum((1, 2))
        pairs = self.grid.band.pairs(blocks.columns)
        return Reduced(samples, values, missing, blocks.phase, blocks.columns, pairs, edge, pulses, exists)

    def _moment_and_grams(self, reduced: Reduced, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """R^H D^-1 y of each block [B, K, c], and R^H D^-1 R [G, c, c] with the place of each block's, int64 [B, K].

        D^-1 is ``weight`` [B, K, P].
        """
        moment = reduced.samples.new_empty((*reduced.phase.shape, reduced.columns.shape[2]))
        weighted, which = reduced.samples * weight, torch.empty_like(reduced.phase)
        adjoint, whole = reduced.edge_pulses.mH, ~reduced.edge
        moment[reduced.edge] = (adjoint @ weighted[reduced.edge][..., None])[..., 0]
        grams = [(adjoint * weight[reduced.edge][:, None, :]) @ reduced.edge_pulses]
        which[reduced.edge] = torch.arange(len(reduced.edge_pulses))
        count, row = len(grams[0]), torch.arange(len(weight))[:, None].expand(reduced.phase.shape)
        for phase in torch.unique(reduced.phase[whole]).tolist():
            pulses = self._common_pulses[phase]
            here = whole & (reduced.phase == phase)
            moment[here] = weighted[here] @ pulses.conj()
            # Whole blocks of a window at one phase share a weight, so its product is made once.
            rows, place = torch.unique(row[here], return_inverse=True)
            first = here[rows].int().argmax(1)
            grams.append((pulses.mH * weight[rows, first][:, None, :]) @ pulses)  # [rows, c, c]
            which[here] = count + place
            count += len(rows)
        return moment, torch.cat(grams), which

    def _factored(self, reduced: Reduced, variance: Tensor) -> tuple[Factor, Tensor]:
        """The factor L of M, and R^H D^-1 y complex128 [B, S], with D = ``variance`` [B, K, P]."""
        moments, grams, which = self._moment_and_grams(reduced, 1 / variance)
        band = self.grid.band
        matrix = band.repeated(grams, which, reduced.pairs)
        factor = band.factorise(band.with_diagonal(matrix, torch.where(reduced.exists, 1.0, ABSENT)))
        return factor, scattered(moments, reduced.columns, self.grid.num_symbols)

    def solve(self, reduced: Reduced, gain: Tensor, noise_power: Tensor) -> Solved:
        """Likelihood and posterior means at interference gains (powers) and noise powers float64 [B]."""
        variance = gain[:, None, None] * reduced.values + noise_power[:, None, None]  # [B, K, P]
        factor, moment = self._factored(reduced, variance)
        half = half_solve(factor, moment)
        symbols = back_solve(factor, half)
        residual = (squared(reduced.samples) / variance).sum((1, 2))
        absent = (~reduced.exists).sum(1) * math.log(ABSENT)
        log_det = variance.log().sum((1, 2)) - reduced.missing * noise_power.log()
        log_det = log_det + log_determinant(factor) - absent
        explained = torch.stack([squared(part).sum((1, 2)) for part in half]).sum(0)
        return Solved(explained - residual - log_det, symbols)

    def log_likelihoods(self, reduced: Reduced, gain: Tensor, noise_power: Tensor) -> Tensor:
        """Likelihoods float64 [J, B], see `solve`, at gains and noise powers float64 [J, B]."""
        rows, entries = len(reduced.samples), reduced.columns.numel() * reduced.columns.shape[2]
        most = max(1, _TOGETHER // max(1, entries))
        found = list[Tensor]()
        for gains, noises in zip(torch.split(gain, most), torch.split(noise_power, most), strict=True):
            every = Reduced(*(torch.cat([value] * len(gains)) for value in reduced))
            found.append(self.solve(every, gains.flatten(), noises.flatten()).log_likelihood.view(-1, rows))
        return torch.cat(found)

    def log_likelihood_bound(self, interference_offset: Tensor, gain: Tensor, noise_power: Tensor) -> Tensor:
        """Bounds `solve`'s likelihoods float64 [B] from above at next to no cost, whatever the mixtures are.

        No quadratic form is negative, and a SOI only adds to the determinant: log p(y) <= -log det D.
        """
        length, period = self.grid.num_samples, self.grid.period
        if not self.covariance.independent:
            return -length * noise_power.log()
        whole = (length - (-interference_offset) % period).clamp_min(0) // period
        values, _ = self.basis(0, 0, period)
        each = (gain[:, None] * values + noise_power[:, None]).log().sum(1)
        return -whole * each - (length - whole * period) * noise_power.log()

    def unbiased(self, reduced: Reduced, gain: Tensor, noise_power: Tensor) -> Unbiased:
        """Evidence on every symbol without its own prior, as a symbol in noise, and that noise's variance.

        The model may be wrong. If the symbols' power shows more noise than it expects, that counts.
        """
        variance = gain[:, None, None] * reduced.values + noise_power[:, None, None]
        factor, moment = self._factored(reduced, variance)
        symbols = back_solve(factor, half_solve(factor, moment))
        share = 1 - self.grid.band.diagonal(self.grid.band.inverse(factor))  # kept share of each symbol's power
        seen = reduced.exists & (share > _SEEN)
        share = share.clamp_min(_SEEN)
        mean, spread = symbols / share, (1 - share) / share
        excess = ((squared(mean) - 1) * seen).sum(1) / (spread * seen).sum(1).clamp_min(_SEEN)
        return Unbiased(mean, spread * excess.clamp_min(1)[:, None])
