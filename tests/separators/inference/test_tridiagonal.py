"""Block Cholesky of banded matrices against dense linear algebra."""

import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.grid import scattered_matrix
from rfsep.separators.inference.tridiagonal import (
    Band,
    back_solve,
    factorise,
    half_solve,
    inverse_band,
    log_determinant,
)

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


@pytest.mark.parametrize(
    ("num_symbols", "width", "density", "hop", "first"),
    [
        (23, 6, 1, 2, -3),  # single symbols, of which some are missing at both ends
        (24, 6, 2, 4, -2),  # pairs of symbols
        (20, 8, 4, 4, -4),  # two whole periods reach into each block
        (7, 9, 1, 0, -1),  # every symbol reaches into every block
    ],
)
def test_band_is_the_dense_matrix(num_symbols: int, width: int, density: int, hop: int, first: int) -> None:
    """Sums of blocks, their solution, determinant and the inverse at the same places, without any dense matrix."""
    generator = torch.Generator().manual_seed(num_symbols)
    columns = first + hop * torch.arange(8)[None, :, None] + torch.arange(width)  # [1, K, c]
    columns = torch.cat((columns, columns + density))
    columns = torch.where((columns >= 0) & (columns < num_symbols), columns, num_symbols)
    half = torch.randn((2, 8, width, width), dtype=torch.complex128, generator=generator)
    parts, diagonal = half @ half.mH, torch.linspace(0.5, 3.0, num_symbols, dtype=torch.float64).expand(2, -1)
    dense = scattered_matrix(parts, columns, num_symbols) + torch.diag_embed(diagonal)
    band = Band(num_symbols, width, density)
    pairs = band.pairs(columns)
    factor = band.factorise(band.with_diagonal(band.scattered(parts, pairs), diagonal))
    moment = torch.randn((2, num_symbols), dtype=torch.complex128, generator=generator)
    solved = back_solve(factor, half_solve(factor, moment))
    assert torch.allclose(solved, torch.linalg.solve(dense, moment), rtol=0, atol=1e-10)
    assert torch.allclose(log_determinant(factor), torch.linalg.slogdet(dense)[1], rtol=0, atol=1e-10)
    inverse = torch.nn.functional.pad(torch.linalg.inv(dense), (0, 1, 0, 1))
    expected = torch.stack(
        [one[place[:, :, None], place[:, None]] for one, place in zip(inverse, columns, strict=True)]
    )
    assert torch.allclose(band.gathered(band.inverse(factor), pairs), expected, rtol=0, atol=1e-10)
    assert torch.allclose(band.diagonal(band.inverse(factor)), inverse.diagonal(dim1=1, dim2=2).real[:, :-1])


def test_blocks_that_share_a_matrix() -> None:
    columns = (torch.arange(5)[:, None] + torch.arange(2))[None]
    band = Band(6, 2, 1)
    values = torch.randn((3, 2, 2), dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    which, pairs = torch.tensor([[0, 1, 1, 1, 2]]), band.pairs(columns)
    assert torch.equal(band.repeated(values, which, pairs), band.scattered(values[which], pairs))
