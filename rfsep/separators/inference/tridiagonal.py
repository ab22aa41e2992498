"""Factors, solves and partly inverts Hermitian positive definite matrices that are block tridiagonal.

The information matrix of SOI symbols is banded, because a symbol is coupled only to those that share a block of
interference with it. All costs are linear in the length of the window, and so is the memory of a `Band`'s matrices.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Factor(NamedTuple):
    """Block Cholesky factor: lower triangular blocks on the diagonal, full blocks below it.

    Attributes:
        roots: n of complex [B, m, m], L_i.
        below: n - 1 of complex [B, m, m], C_i = M_{i+1,i} L_i^{-H}.
        size: number of rows before padding to whole blocks.
    """

    roots: list[Tensor]
    below: list[Tensor]
    size: int


class Band:
    """The place of entries that couple symbols of the same block of interference, in block tridiagonal matrices.

    Such a matrix is complex [B, n, 3, m, m]: for each i the blocks M_{i,i}, M_{i+1,i} and M_{i,i+1}. It is padded to
    whole blocks.

    Args:
        num_symbols: symbols S per window.
        width: consecutive symbols that reach into one block of interference; the first one begins a period.
        density: symbols per period.
    """

    def __init__(self, num_symbols: int, width: int, density: int) -> None:
        self.size, self._width = num_symbols, width
        least = max(density, width - density)  # From any period on, two such blocks hold ``width`` symbols.
        self.block = density * -(-num_symbols // (density * max(1, num_symbols // least)))
        self.count = -(-num_symbols // self.block)
        self._tiled = self.block == density and width == 2 * density  # Such pairs of blocks are moved as a whole.

    def pairs(self, columns: Tensor) -> Tensor:
        """Returns the places int64 [B, n] of pairs of symbols int64 [B, K, c], of which S stands for none.

        There are K * c * c, or 4 K for pairs of whole periods where two periods reach into each block.
        """
        if self._tiled:
            row = torch.div(columns[..., :: self.block], self.block, rounding_mode="floor")  # [B, K, 2]
            none = columns[..., :: self.block] == self.size
            first, second = row.unbind(2)
            here = torch.stack((3 * first, 3 * first + 2, 3 * first + 1, 3 * second), 2)
            absent = torch.stack((none[..., 0], none.any(2), none.any(2), none[..., 1]), 2)
            tiles: Tensor = torch.where(absent, 3 * self.count, here)
            return tiles.flatten(1)
        place, within = torch.div(columns, self.block, rounding_mode="floor"), columns % self.block
        row, column = place[..., :, None], place[..., None, :]
        part = 3 * torch.minimum(row, column) + (row > column).long() + 2 * (row < column)
        entry = within[..., :, None] * self.block + within[..., None, :]
        none = columns == self.size
        beyond = none[..., :, None] | none[..., None, :]
        index: Tensor = torch.where(beyond, 3 * self.count * self.block**2, part * self.block**2 + entry)
        return index.flatten(1)

    def repeated(self, values: Tensor, which: Tensor, pairs: Tensor) -> Tensor:
        """Sums matrices [G, c, c] at the places of the blocks that have them.

        Args:
            values: the matrices.
            which: matrix of each block, int64 [B, K].
            pairs: places of the blocks, see `pairs`.

        Returns:
            complex [B, n, 3, m, m].
        """
        if self._tiled:
            tiles = values.reshape(-1, 2, self.block, 2, self.block).transpose(2, 3).flatten(0, 2)
            held = tiles[(4 * which[..., None] + torch.arange(4)).flatten()]
            total = values.new_zeros((len(which), 3 * self.count + 1, self.block, self.block))
            place = pairs + (3 * self.count + 1) * torch.arange(len(which))[:, None]
            total.view(-1, self.block, self.block).index_add_(0, place.flatten(), held)
            return total[:, :-1].view(-1, self.count, 3, self.block, self.block)
        total = values.new_zeros((len(which), 3 * self.count * self.block**2 + 1))
        total.scatter_add_(1, pairs, values[which].flatten(1))
        return total[:, :-1].reshape(-1, self.count, 3, self.block, self.block)

    def scattered(self, values: Tensor, pairs: Tensor) -> Tensor:
        """Sums matrices [B, K, c, c] at the places of their blocks, see `repeated`: complex [B, n, 3, m, m]."""
        which = torch.arange(values.shape[0] * values.shape[1]).view(values.shape[:2])
        return self.repeated(values.flatten(0, 1), which, pairs)

    def gathered(self, matrix: Tensor, pairs: Tensor) -> Tensor:
        """Gathers entries of a matrix [B, n, 3, m, m] at places from `pairs`: [B, K, c, c]; 0 for none."""
        if self._tiled:
            parts = torch.nn.functional.pad(matrix.flatten(1, 2), (0, 0, 0, 0, 0, 1))
            place = pairs + parts.shape[1] * torch.arange(len(parts))[:, None]
            tiles = parts.flatten(0, 1)[place.flatten()].view(len(parts), -1, 2, 2, self.block, self.block)
            return tiles.transpose(3, 4).reshape(len(parts), -1, 2 * self.block, 2 * self.block)
        found = torch.nn.functional.pad(matrix.flatten(1), (0, 1)).gather(1, pairs)
        return found.view(len(found), -1, self._width, self._width)

    def with_diagonal(self, matrix: Tensor, diagonal: Tensor) -> Tensor:
        """Adds real [B, S] to the diagonal of a matrix [B, n, 3, m, m] in place, and 1 where it is padded."""
        padded = torch.nn.functional.pad(diagonal, (0, self.count * self.block - self.size), value=1.0)
        matrix[:, :, 0].diagonal(dim1=2, dim2=3).add_(padded.reshape(-1, self.count, self.block))
        return matrix

    def factorise(self, matrix: Tensor) -> Factor:
        """Factors matrices complex [B, n, 3, m, m]; of their diagonal blocks the lower triangle counts."""
        above = [matrix[:, index, 2] for index in range(self.count - 1)]
        return _factored([matrix[:, index, 0] for index in range(self.count)], above, self.size)

    def inverse(self, factor: Factor) -> Tensor:
        """Returns the inverse inside the blocks: complex [B, n, 3, m, m]."""
        inverse = factor.roots[0].new_zeros((len(factor.roots[0]), self.count, 3, self.block, self.block))
        for index, (block, beside) in zip(range(self.count - 1, -1, -1), _inverse_blocks(factor), strict=True):
            inverse[:, index, 0] = block
            if beside is not None:
                inverse[:, index, 1] = beside
                inverse[:, index, 2] = beside.mH
        return inverse

    def diagonal(self, matrix: Tensor) -> Tensor:
        """Returns the diagonal real [B, S] of a Hermitian matrix complex [B, n, 3, m, m]."""
        return matrix[:, :, 0].diagonal(dim1=2, dim2=3).real.flatten(1)[:, : self.size]


def factorise(matrix: Tensor, bandwidth: int) -> Factor:
    """Factors matrices complex [B, S, S] that are zero more than ``bandwidth`` away from the diagonal."""
    size = matrix.shape[1]
    count = max(1, size // max(1, bandwidth))
    block = -(-size // count)
    parts = [slice(start, start + block) for start in range(0, size, block)]
    above = [matrix[:, here, behind] for here, behind in pairwise(parts)]
    return _factored([matrix[:, here, here] for here in parts], above, size)


def _factored(diagonal: list[Tensor], above: list[Tensor], size: int) -> Factor:
    """Factors matrices of blocks M_{i,i} and M_{i,i+1}."""
    roots, below = list[Tensor](), list[Tensor]()
    for index, block in enumerate(diagonal):
        schur = block - below[-1] @ below[-1].mH if index else block
        roots.append(torch.linalg.cholesky(schur))
        if index < len(diagonal) - 1:
            below.append(torch.linalg.solve_triangular(roots[-1], above[index], upper=False).mH)
    return Factor(roots, below, size)


def half_solve(factor: Factor, moment: Tensor) -> list[Tensor]:
    """Returns ``L^-1 moment`` of moments complex [B, S], block by block: n of [B, m, 1]."""
    solved: list[Tensor] = []
    start = 0
    moment = torch.nn.functional.pad(moment, (0, sum(root.shape[1] for root in factor.roots) - factor.size))
    for index, root in enumerate(factor.roots):
        part = moment[:, start : start + root.shape[1], None]
        start += root.shape[1]
        if index:
            part = part - factor.below[index - 1] @ solved[-1]
        solved.append(torch.linalg.solve_triangular(root, part, upper=False))
    return solved


def back_solve(factor: Factor, half: list[Tensor]) -> Tensor:
    """Applies ``L^-H`` to the result of `half_solve`: complex [B, S]."""
    solved: list[Tensor] = []
    for index in range(len(factor.roots) - 1, -1, -1):
        part = half[index]
        if solved:
            part = part - factor.below[index].mH @ solved[-1]
        solved.append(torch.linalg.solve_triangular(factor.roots[index].mH, part, upper=True))
    return torch.cat(solved[::-1], 1)[:, : factor.size, 0]


def log_determinant(factor: Factor) -> Tensor:
    """Returns the logarithms of the matrices' determinants, real [B]."""
    logs = [root.diagonal(dim1=1, dim2=2).real.log().sum(1) for root in factor.roots]
    return 2 * torch.stack(logs).sum(0)


def inverse_band(factor: Factor) -> Tensor:
    """Returns the inverse inside the blocks of the band, zero elsewhere: complex [B, S, S]."""
    inverse = factor.roots[0].new_zeros((len(factor.roots[0]), factor.size, factor.size))
    last, end = slice(0, 0), factor.size
    for block, beside in _inverse_blocks(factor):
        here = slice(end - block.shape[1], end)
        inverse[:, here, here] = block
        if beside is not None:
            inverse[:, last, here] = beside
            inverse[:, here, last] = beside.mH
        last, end = here, here.start
    return inverse


def _inverse_blocks(factor: Factor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yields V_{i,i} and V_{i+1,i} of the inverse, from the last block, which has none below, to the first.

    This recursion (Takahashi, Fagan & Chen, 8th PICA conf., 1973) is that of the Rauch-Tung-Striebel smoother's
    covariances. With S_i = L_i L_i^H and G_i = C_i L_i^-1, it is V_{i,i} = S_i^-1 + G_i^H V_{i+1,i+1} G_i and
    V_{i+1,i} = -V_{i+1,i+1} G_i.
    """
    behind: Tensor | None = None
    for index in range(len(factor.roots) - 1, -1, -1):
        root = factor.roots[index]
        identity = torch.eye(root.shape[1], dtype=root.dtype).expand_as(root)
        whitener = torch.linalg.solve_triangular(root, identity, upper=False)  # L_i^-1
        block, below = whitener.mH @ whitener, None
        if behind is not None:
            gain = factor.below[index] @ whitener
            below = -(behind @ gain)
            block = block - gain.mH @ below
        yield block, below
        behind = block
