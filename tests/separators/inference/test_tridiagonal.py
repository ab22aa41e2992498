"""Block Cholesky of banded matrices against dense linear algebra."""

import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.tridiagonal import back_solve, factorise, half_solve, inverse_band, log_determinant

# size, bandwidth: whole blocks, blocks that do not divide the size, one block, a band wider than the matrix, diagonal
SHAPES = [(24, 6), (25, 6), (29, 6), (23, 5), (7, 3), (13, 12), (6, 6), (5, 9), (1, 3), (9, 1), (9, 0)]


def banded(size: int, bandwidth: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Three random Hermitian matrices [3, S, S] of condition around ten, of very different scales."""
    generator = torch.Generator().manual_seed(100 * size + bandwidth)
    lag = torch.arange(size)[:, None] - torch.arange(size)
    half = torch.randn((3, size, size), dtype=torch.complex128, generator=generator)
    matrix = (half + half.mH) * (lag.abs() <= bandwidth)
    lowest = torch.linalg.eigvalsh(matrix)[:, :1, None].clamp_max(0)
    matrix = matrix + (1 - 1.2 * lowest) * torch.eye(size)
    return (matrix * torch.tensor([1.0, 1e-3, 1e4])[:, None, None]).to(dtype)


def moments(size: int) -> Tensor:
    return torch.randn((3, size), dtype=torch.complex128, generator=torch.Generator().manual_seed(size))


def block_of(size: int, bandwidth: int) -> int:
    return len(factorise(banded(size, bandwidth), bandwidth).roots[0][0])


@pytest.mark.parametrize(("size", "bandwidth"), SHAPES)
@pytest.mark.parametrize(("dtype", "digits"), [(torch.complex128, 1e-12), (torch.complex64, 3e-5)])
def test_solution_determinant_and_root(size: int, bandwidth: int, dtype: torch.dtype, digits: float) -> None:
    matrix, moment = banded(size, bandwidth, dtype), moments(size).to(dtype)
    factor = factorise(matrix, bandwidth)
    half = half_solve(factor, moment)
    solved = back_solve(factor, half)
    assert solved.dtype == dtype
    exact = matrix.to(torch.complex128)
    expected = torch.linalg.solve(exact, moment.to(torch.complex128))
    assert ((solved - expected).norm(dim=1) < digits * expected.norm(dim=1)).all()
    assert torch.allclose(log_determinant(factor).double(), torch.linalg.slogdet(exact)[1], rtol=0, atol=digits * 50)
    # L^-1 v of the one Cholesky factor with a positive diagonal, and so |L^-1 v|^2 = v^H M^-1 v
    root = torch.linalg.solve_triangular(torch.linalg.cholesky(exact), moment.to(exact.dtype)[..., None], upper=False)
    assert ((torch.cat(half, 1) - root).norm(dim=1) < digits * root.norm(dim=1)).all()


@pytest.mark.parametrize(("size", "bandwidth"), SHAPES)
@pytest.mark.parametrize(("dtype", "digits"), [(torch.complex128, 1e-12), (torch.complex64, 3e-5)])
def test_inverse_within_the_band(size: int, bandwidth: int, dtype: torch.dtype, digits: float) -> None:
    """Every entry of the band is the inverse's; what lies outside the blocks is zero, never something else."""
    matrix = banded(size, bandwidth, dtype)
    inverse = torch.linalg.inv(matrix.to(torch.complex128))
    found = inverse_band(factorise(matrix, bandwidth))
    assert found.dtype == dtype
    lag = (torch.arange(size)[:, None] - torch.arange(size)).abs()
    block = torch.arange(size) // block_of(size, bandwidth)
    beside = (block[:, None] - block).abs() <= 1
    assert beside[lag <= bandwidth].all()
    error = (found - inverse * beside).abs().amax((1, 2))
    assert (error < digits * inverse.abs().amax((1, 2))).all()
    assert torch.equal(found != 0, (found != 0) & beside)


def test_blocks_are_hardly_larger_than_the_band() -> None:
    """Costs are linear in the size only if blocks are as long as the band; shorter ones would drop entries."""
    for size, bandwidth in ((24, 6), (25, 6), (150, 12), (151, 12)):
        assert bandwidth <= block_of(size, bandwidth) <= bandwidth + 2
        assert len(factorise(banded(size, bandwidth), bandwidth).roots) >= size // (bandwidth + 2)
