"""The channel's least squares, whose sums over windows are recursive."""

import torch

from rfsep.identification.channel import _correlation, _gram


def test_products_of_windows_equal_the_products_of_a_matrix_of_windows() -> None:
    generator = torch.Generator().manual_seed(3)
    size, count = 37, 411
    piece = torch.randn(count + size - 1, dtype=torch.complex128, generator=generator)
    heard = torch.randn(count, dtype=torch.complex128, generator=generator)
    windows = piece.unfold(0, size, 1)  # [count, size]
    torch.testing.assert_close(_gram(piece, size), windows.mH @ windows, rtol=0, atol=1e-11)
    torch.testing.assert_close(_correlation(piece, heard, size), windows.mH @ heard, rtol=0, atol=1e-11)
