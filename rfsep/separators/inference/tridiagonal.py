"""Factors, solves and partly inverts Hermitian positive definite matrices that are block tridiagonal.

The information matrix of SOI symbols is banded, because a symbol is coupled only to those that share a block of
interference with it. All costs are linear in the length of the window.
"""

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


def factorise(matrix: Tensor, bandwidth: int) -> Factor:
    """Factors matrices complex [B, S, S] that are zero more than ``bandwidth`` away from the diagonal."""
    size = matrix.shape[1]
    count = max(1, size // max(1, bandwidth))
    block = -(-size // count)
    count = -(-size // block)
    roots: list[Tensor] = []
    below: list[Tensor] = []
    for index in range(count):
        here, behind = slice(index * block, (index + 1) * block), slice((index + 1) * block, (index + 2) * block)
        schur = matrix[:, here, here]
        if index:
            schur = schur - below[-1] @ below[-1].mH
        roots.append(torch.linalg.cholesky(schur))
        if index < count - 1:
            half = torch.linalg.solve_triangular(roots[-1], matrix[:, here, behind], upper=False)
            below.append(half.mH)
    return Factor(roots, below, size)


def half_solve(factor: Factor, moment: Tensor) -> list[Tensor]:
    """Returns ``L^-1 moment`` of moments complex [B, S], block by block: n of [B, m, 1]."""
    solved: list[Tensor] = []
    start = 0
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
    return torch.cat(solved[::-1], 1)[..., 0]


def log_determinant(factor: Factor) -> Tensor:
    """Returns the logarithms of the matrices' determinants, real [B]."""
    logs = [root.diagonal(dim1=1, dim2=2).real.log().sum(1) for root in factor.roots]
    return 2 * torch.stack(logs).sum(0)


def inverse_band(factor: Factor) -> Tensor:
    """Returns the inverse inside the blocks of the band, zero elsewhere: complex [B, S, S].

    The recursion runs backwards from the last block (Takahashi, Fagan & Chen, 8th PICA conf., 1973), as for the
    covariances of the Rauch-Tung-Striebel smoother. With S_i = L_i L_i^H and G_i = C_i L_i^-1, it is
    V_{i,i} = S_i^-1 + G_i^H V_{i+1,i+1} G_i and V_{i+1,i} = -V_{i+1,i+1} G_i.
    """
    first = factor.roots[0]
    inverse = first.new_zeros((len(first), factor.size, factor.size))
    end = factor.size
    behind, last = first, slice(0, 0)
    for index in range(len(factor.roots) - 1, -1, -1):
        root = factor.roots[index]
        here = slice(end - root.shape[1], end)
        end -= root.shape[1]
        identity = torch.eye(root.shape[1], dtype=root.dtype).expand_as(root)
        whitener = torch.linalg.solve_triangular(root, identity, upper=False)  # L_i^-1
        block = whitener.mH @ whitener
        if index < len(factor.roots) - 1:
            gain = factor.below[index] @ whitener
            beside = behind @ gain
            block = block + gain.mH @ beside
            inverse[:, last, here] = -beside
            inverse[:, here, last] = -beside.mH
        inverse[:, here, here] = block
        behind, last = block, here
    return inverse
