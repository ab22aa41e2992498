"""Marginals of tokens equal those of the dense matrices."""

import pytest
import torch
from torch import Tensor

from rfsep.separators.tokens.token_blocks import CutTokens, TokenBlocks, WholeTokens
from rfsep.separators.tokens.tokens import TokenGrid
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem

GRID = TokenGrid(LinearModem(), 80)
OFDM = OfdmModem()
CARRIERS = OFDM.synthesise(torch.eye(len(OFDM.carriers), dtype=torch.complex128), 80).T  # [80, 56]
PULSES = GRID.pulses.to(torch.complex128)


def assert_dense(blocks: TokenBlocks, dense: Tensor) -> None:
    """Compares all that blocks say with a matrix complex128 [W, N, N]."""
    generator = torch.Generator().manual_seed(0)
    precision = 10 ** (4 * torch.rand(dense.shape[:2], generator=generator, dtype=torch.float64) - 1)
    moment = torch.randn(dense.shape[:2], generator=generator, dtype=torch.complex128)
    covariance = torch.linalg.inv(dense + torch.diag_embed(precision).to(dense.dtype))
    found = blocks.marginals(precision, moment)
    torch.testing.assert_close(found.variance, covariance.diagonal(dim1=1, dim2=2).real, rtol=1e-9, atol=0)
    mean = (covariance @ moment[:, :, None])[:, :, 0]
    assert bool(((found.mean - mean).abs() <= 1e-9 * mean.abs().amax(1, keepdim=True)).all())
    torch.testing.assert_close(blocks.diagonal(), dense.diagonal(dim1=1, dim2=2).real, rtol=1e-12, atol=0)
    torch.testing.assert_close(blocks.times(moment), (dense @ moment[:, :, None])[:, :, 0], rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("echo", [0, 0.3j])
def test_whole_tokens_equal_the_dense_matrix(echo: complex) -> None:
    """At pulses that are real or, behind a filter, complex."""
    pulses = PULSES + echo * PULSES.roll(5, 1)
    beside = (3 + 4j) * CARRIERS[:, 22:34].expand(len(pulses), -1, -1)
    response = torch.cat((pulses, beside), 2) / 0.1
    dense, count = response.mH @ response, GRID.num_seen
    own = dense[:, :count, :count]
    assert bool(own.imag.any()) == (echo != 0)
    blocks = WholeTokens(own if echo else own.real, dense[:, :count, count:], dense[:, count:, count:])
    assert_dense(blocks, dense)


@pytest.mark.parametrize("first", [True, False])
def test_cut_tokens_equal_the_dense_matrix(first: bool) -> None:
    """With any number of samples inside, more or fewer than carriers: the body lacks some, or has some twice."""
    count = torch.arange(1, 80)[:, None]
    inside = torch.arange(80) >= 80 - count if first else torch.arange(80) < count
    pulses = PULSES[torch.arange(79) % 16]
    gain = torch.polar(torch.full((79,), 5.0), torch.arange(79.0)).to(torch.complex128)
    noise = torch.linspace(0.01, 1, 79, dtype=torch.float64)
    response = torch.cat((pulses, gain[:, None, None] * CARRIERS.expand(79, -1, -1)), 2) * inside[:, :, None]
    dense = response.mH @ response / noise[:, None, None]
    assert_dense(CutTokens(pulses, CARRIERS, gain, inside, noise, OFDM.fft_size), dense)
