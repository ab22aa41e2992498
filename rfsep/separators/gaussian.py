"""Gaussian SOI symbols in periodic Gaussian interference: likelihood and estimate, exactly and without large matrices.

With y = R a + b + w, a ~ CN(0, I), b ~ CN(0, gain C_b) block-diagonal and w ~ CN(0, noise I), the covariance of b + w
is diagonal in the eigenvectors U_k of each block, for every gain at once; the matrix inversion lemma then leaves one
system as large as the number of SOI symbols, M = I + R^H D^-1 R:

    D^-1 = U diag(1 / (gain lambda + noise)) U^H
    a_hat = M^-1 R^H D^-1 y
    log p(y) = -y^H D^-1 y + |L^-1 R^H D^-1 y|^2 - log det D - log det M,    M = L L^H

(Woodbury; Kay, Fundamentals of Statistical Signal Processing I, 1993, section 10.6 and 12.5).
"""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.grid import Blocks, SoiGrid, scattered, scattered_matrix
from rfsep.signals.periodic_covariance import PeriodicCovariance

_ABSENT = 1e12  # precision of a symbol that does not exist


class Reduced(NamedTuple):
    """Blocks in the eigenvectors of the interference, for one timing of SOI and interference.

    Attributes:
        samples: complex128 [B, K, P], U^H y.
        pulses: complex128 [B, K, P, c], U^H R.
        values: float64 [B, K, P], eigenvalues of the interference at unit gain.
        missing: int64 [B], samples of the blocks that lie outside the window.
        columns: see `Blocks`.
        exists: bool [B, S].
    """

    samples: Tensor
    pulses: Tensor
    values: Tensor
    missing: Tensor
    columns: Tensor
    exists: Tensor


class Solved(NamedTuple):
    """What the Gaussian model says of windows at one timing, gain and noise.

    Attributes:
        log_likelihood: float64 [B], up to a constant common to all hypotheses.
        symbols: complex128 [B, S], posterior means of the SOI's symbols.
    """

    log_likelihood: Tensor
    symbols: Tensor


class GaussianModel:
    """SOI of a modem in interference of a periodic covariance, in windows of one length.

    Args:
        grid: SOI symbols against blocks; blocks are one period where periods are independent, else the whole window.
        covariance: of the interference.
    """

    def __init__(self, grid: SoiGrid, covariance: PeriodicCovariance) -> None:
        self.grid = grid
        self.covariance = covariance
        self._bases: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def basis(self, phase: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues [P] and vectors [P, P] of a block that is inside the window from ``first`` to ``last``."""
        key = (phase, first, last)
        if key not in self._bases:
            period = self.grid.period
            inside = torch.zeros(period)
            inside[first:last] = 1
            covariance = self.covariance.window(phase, period) * (inside[:, None] * inside)
            values, vectors = torch.linalg.eigh(covariance)
            self._bases[key] = values.clamp_min(0), vectors
        return self._bases[key]

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
        """Change of basis of mixtures complex [B, T] at timings int64 [B] and [B]."""
        if self.covariance.independent:
            blocks, phase = self.grid.cut(mixture, soi_offset, interference_offset), torch.zeros_like(soi_offset)
        else:  # one block, which is the window
            blocks, phase = self.grid.cut(mixture, soi_offset, torch.zeros_like(soi_offset)), interference_offset
        return self._reduced(blocks, phase, self.grid.exists(soi_offset))

    def _reduced(self, blocks: Blocks, phase: Tensor, exists: Tensor) -> Reduced:
        inside = blocks.inside
        whole = self.basis(0, 0, self.grid.period)
        values = whole[0].expand(inside.shape).clone()
        samples = blocks.samples @ whole[1].conj()
        pulses = self._common_pulses[blocks.phase]  # [B, K, P, c]
        edge = (~inside).any(2) | (phase[:, None] > 0)  # blocks that the common basis does not fit
        if edge.any():
            which = phase[:, None].expand(edge.shape)[edge]
            values[edge], vectors = self._bases_of(inside[edge], which)
            samples[edge] = (vectors.mH @ blocks.samples[edge][..., None])[..., 0]
            pulses[edge] = vectors.mH @ (self.grid.pulses[blocks.phase[edge]] * inside[edge][..., None])
        return Reduced(samples, pulses, values, (~inside).sum((1, 2)), blocks.columns, exists)

    def solve(self, reduced: Reduced, gain: Tensor, noise_power: Tensor) -> Solved:
        """Likelihood and posterior means at interference gains (powers) and noise powers float64 [B]."""
        noise = noise_power[:, None, None]
        variance = gain[:, None, None] * reduced.values + noise  # [B, K, P]
        weighted = reduced.samples / variance
        weighted_pulses = reduced.pulses / variance[..., None]
        matched = (reduced.pulses.mH @ weighted[..., None])[..., 0]  # [B, K, c]
        moment = scattered(matched, reduced.columns, self.grid.num_symbols)  # R^H D^-1 y
        gram = scattered_matrix(reduced.pulses.mH @ weighted_pulses, reduced.columns, self.grid.num_symbols)
        prior = torch.where(reduced.exists, 1.0, _ABSENT).to(gram.dtype)
        root = torch.linalg.cholesky(gram + torch.diag_embed(prior))  # L
        half = torch.linalg.solve_triangular(root, moment[..., None], upper=False)
        symbols = torch.linalg.solve_triangular(root.mH, half, upper=True)[..., 0]
        explained = half[..., 0].abs().square().sum(1)
        residual = (weighted * reduced.samples.conj()).real.sum((1, 2))
        absent = (~reduced.exists).sum(1) * torch.log(torch.tensor(_ABSENT, dtype=torch.float64))
        log_det = variance.log().sum((1, 2)) - reduced.missing * noise_power.log()
        log_det = log_det + 2 * root.diagonal(dim1=1, dim2=2).real.log().sum(1) - absent
        return Solved(explained - residual - log_det, symbols)
