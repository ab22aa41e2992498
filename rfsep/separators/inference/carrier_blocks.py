"""Eliminates the carriers of OFDM blocks from a Gaussian model, which leaves the SOI's symbols alone.

The carriers b of a block have the information matrix J = diag(precision) + scale A^H A, and are coupled to the SOI's
symbols by C = A^H R. In a whole block A^H A = alpha I + F^H F with as few rows in F as the cyclic prefix has samples.
With 1 / t = precision + alpha scale, the matrix inversion lemma gives

    J^-1 = diag(t) - diag(t) F^H S^-1 F diag(t),    S = I / scale + F diag(t) F^H.

All products that this needs are in G^H diag(t) G with G = [F^H, C], and the carriers' variances are the diagonal of
G M G^H for a small matrix M. G depends on nothing but the phase of the block in a SOI period, so that the first is
linear in t and the second in M with fixed coefficients.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.grid import Window

_WIDEST = 48  # columns of G up to which coefficients are kept for every phase; their number is the square
_TABLES = 64  # phases


class Eliminated(NamedTuple):
    """Blocks whose carriers are eliminated.

    Attributes:
        flat: t of the whole blocks, real [B, Ki, D].
        whitener: inverse Cholesky factor of S, complex [B, Ki, r, r].
        weight: S^-1 F diag(t) C, complex [B, Ki, r, c].
        edge_whitener: inverse Cholesky factor of J of the blocks at the ends, complex [B, E, D, D].
        edge_coupling: J^-1 C of these, complex [B, E, D, c].
        schur: C^H J^-1 C of all blocks, complex [B, K, c, c].
    """

    flat: Tensor
    whitener: Tensor
    weight: Tensor
    edge_whitener: Tensor
    edge_coupling: Tensor
    schur: Tensor


def by_phase(phase: Tensor) -> Iterator[tuple[int, Tensor | slice]]:
    """Yields the phases in int64 [N], each with the rows that have it."""
    present = torch.unique(phase).tolist()
    for one in present:
        yield one, slice(None) if len(present) == 1 else (phase == one).nonzero()[:, 0]


def multiplied(values: Tensor, phase: Tensor, table: Tensor) -> Tensor:
    """Multiplies rows [B, K, a] of blocks with the matrices [step, a, b] of their phases int64 [B, K]: [B, K, b]."""
    rows, found = values.flatten(0, 1), values.new_empty((phase.numel(), table.shape[2]))
    for one, here in by_phase(phase.flatten()):
        found[here] = rows[here] @ table[one]
    return found.view(*phase.shape, table.shape[2])


class CarrierBlocks:
    """The carriers of a window's blocks.

    Args:
        carriers: A of a whole block, complex [P, D].
        alpha: see above.
        factor: F, complex [r, D].
        pulses: R of whole blocks, complex [step, P, c].
        num_blocks: blocks K per window.
        num_edges: blocks at the window's ends that may lie partly outside: the first, and all but one at the end.
    """

    def __init__(
        self, carriers: Tensor, alpha: float, factor: Tensor, pulses: Tensor, num_blocks: int, num_edges: int
    ) -> None:
        self.carriers = carriers
        self.factor = factor
        self.coupling = carriers.mH @ pulses  # C, [step, D, c]
        self.entries = num_blocks * (len(factor) + pulses.shape[2]) ** 2  # size of a window's largest matrices
        self._alpha = alpha
        self._first, self._last = slice(0, 1), slice(num_blocks - num_edges + 1, num_blocks)
        self.inner = slice(1, num_blocks - num_edges + 1)
        self._table = lru_cache(maxsize=_TABLES)(self._make_table)

    def edges(self, values: Tensor) -> Tensor:
        """Returns the blocks [B, E, ...] at the ends of [B, K, ...]."""
        return torch.cat((values[:, self._first], values[:, self._last]), 1)

    def joined(self, inner: Tensor, edges: Tensor) -> Tensor:
        """Inverts `edges`: [B, K, ...]."""
        return torch.cat((edges[:, :1], inner, edges[:, 1:]), 1)

    def _make_table(self, phase: int) -> tuple[Tensor, Tensor, Tensor]:
        """For each carrier the products of pairs of G's columns: F with F, F with C, C with C; real [D, 2 n]."""
        factor, coupling = self.factor.mH, self.coupling[phase]
        pairs = (factor, factor), (factor, coupling), (coupling, coupling)
        first, second, third = (
            torch.view_as_real(one.conj()[:, :, None] * other[:, None]).flatten(1) for one, other in pairs
        )
        return first, second, third

    def _grams(self, flat: Tensor, phase: Tensor) -> list[Tensor]:
        """The parts F t F^H, F t C and C^H t C of G^H diag(t) G, for t real [B, Ki, D] at phases int64 [B, Ki]."""
        rows, (rank, width) = flat.flatten(0, 1), (len(self.factor), self.coupling.shape[2])
        shapes = (rank, rank), (rank, width), (width, width)
        found = [self.factor.new_empty((len(rows), *shape)) for shape in shapes]
        for one, here in by_phase(phase.flatten()):
            if rank + width <= _WIDEST:
                for part, shape, table in zip(found, shapes, self._table(one), strict=True):
                    product = rows[here] @ table
                    part[here] = torch.view_as_complex(product.view(len(product), *shape, 2))
            else:
                held, coupling = rows[here][:, None], self.coupling[one]
                weighted = self.factor * held
                found[0][here], found[1][here] = weighted @ self.factor.mH, weighted @ coupling
                found[2][here] = (coupling.mH * held) @ coupling
        return [part.view(*flat.shape[:2], *part.shape[1:]) for part in found]

    def _forms(self, own: Tensor, beside: Tensor, inner: Tensor, phase: Tensor) -> Tensor:
        """The diagonals real [B, Ki, D] of G M G^H for Hermitian M, given its parts [B, Ki, ...] and phases."""
        parts = [part.flatten(0, 1) for part in (own, 2 * beside, inner)]  # The part below the diagonal is as large.
        found = torch.empty((phase.numel(), self.factor.shape[1]), dtype=own.dtype.to_real())
        for one, here in by_phase(phase.flatten()):
            held = [part[here] for part in parts]
            if own.shape[2] + inner.shape[2] <= _WIDEST:
                each = zip(held, self._table(one), strict=True)
                found[here] = sum(torch.view_as_real(part).flatten(1) @ table.T for part, table in each)
            else:
                coupling = self.coupling[one].mH.resolve_conj()
                first, second = held[0] @ self.factor + held[1] @ coupling, held[2] @ coupling
                found[here] = _overlap(first, self.factor) + _overlap(second, coupling)
        return found.view(*phase.shape, self.factor.shape[1])

    def eliminate(self, window: Window, precision: Tensor, scale: Tensor) -> Eliminated:
        """Eliminates carriers with precisions real [B, K, D] at scales real [B]."""
        flat = 1 / (precision[:, self.inner] + self._alpha * scale[:, None, None])
        small, cross, whole = self._grams(flat, window.phase[:, self.inner])
        small.diagonal(dim1=2, dim2=3).add_(1 / scale[:, None, None])
        whitener = _whitener(small)
        half = whitener @ cross
        dense = torch.diag_embed(self.edges(precision).to(small.dtype))
        edge_whitener = _whitener(dense + scale[:, None, None, None] * window.edge_gram)
        edge_half = edge_whitener @ window.edge_coupling
        schur = self.joined(whole - half.mH @ half, edge_half.mH @ edge_half)
        return Eliminated(flat, whitener, whitener.mH @ half, edge_whitener, edge_whitener.mH @ edge_half, schur)

    def solve(self, done: Eliminated, moment: Tensor) -> Tensor:
        """Returns J^-1 v of complex [B, K, D]."""
        scaled = done.flat * moment[:, self.inner]
        held = done.whitener @ (scaled @ self.factor.T)[..., None]
        back = (done.whitener.mH @ held)[..., 0] @ self.factor.conj()
        edges = done.edge_whitener.mH @ (done.edge_whitener @ self.edges(moment)[..., None])
        return self.joined(scaled - done.flat * back, edges[..., 0])

    def variance(self, window: Window, done: Eliminated, spread: Tensor, factor: Tensor) -> Tensor:
        """Returns the diagonal of J^-1 + factor J^-1 C V C^H J^-1, real [B, K, D].

        Args:
            window: the constants.
            done: from `eliminate`.
            spread: V, covariance of the SOI's symbols in each block, complex [B, K, c, c].
            factor: real [B].
        """
        factor = factor[:, None, None]
        inner = spread[:, self.inner] * factor[..., None]
        beside = done.weight @ inner
        own = beside @ done.weight.mH - done.whitener.mH @ done.whitener
        forms = self._forms(own, -beside, inner, window.phase[:, self.inner])
        found = done.flat + done.flat.square() * forms
        added = _overlap((done.edge_coupling @ self.edges(spread)).mT, done.edge_coupling.mT)
        return self.joined(found, squared(done.edge_whitener).sum(2) + factor * added)

    def log_determinant(self, window: Window, precision: Tensor, scale: Tensor) -> Tensor:
        """Returns log det J [B] of all blocks."""
        flat = precision[:, self.inner] + self._alpha * scale[:, None, None]  # 1 / t, [B, Ki, D]
        small = (self.factor / flat[..., None, :]) @ self.factor.mH * scale[:, None, None, None]
        dense = torch.diag_embed(self.edges(precision).to(small.dtype))
        dense = dense + scale[:, None, None, None] * window.edge_gram
        roots = torch.linalg.cholesky(small + torch.eye(len(self.factor))), torch.linalg.cholesky(dense)
        logs = [root.diagonal(dim1=2, dim2=3).real.log().sum((1, 2)) for root in roots]
        found: Tensor = flat.log().sum((1, 2)) + 2 * torch.stack(logs).sum(0)
        return found

    def heard(self, window: Window, near: Tensor) -> Tensor:
        """Returns C a of symbols complex [B, K, c] in each block: complex [B, K, D]."""
        inner = multiplied(near[:, self.inner], window.phase[:, self.inner], self.coupling.mT)
        return self.joined(inner, (window.edge_coupling @ self.edges(near)[..., None])[..., 0])

    def told(self, window: Window, carriers: Tensor) -> Tensor:
        """Returns C^H b of carriers complex [B, K, D]: complex [B, K, c]."""
        inner = multiplied(carriers[:, self.inner], window.phase[:, self.inner], self.coupling.conj())
        return self.joined(inner, (window.edge_coupling.mH @ self.edges(carriers)[..., None])[..., 0])


def _overlap(left: Tensor, right: Tensor) -> Tensor:
    """Returns the real part of sum_i left[..., i, d] conj(right[..., i, d]): real [..., d]."""
    (real, imaginary), (other, beside) = (torch.view_as_real(one).unbind(-1) for one in (left, right))
    return (real * other + imaginary * beside).sum(-2)


def _whitener(matrix: Tensor) -> Tensor:
    """Returns L^-1 of L L^H, complex [..., n, n]."""
    root = torch.linalg.cholesky(matrix)
    identity = torch.eye(root.shape[-1], dtype=root.dtype).expand_as(root)
    found: Tensor = torch.linalg.solve_triangular(root, identity, upper=False)
    return found
