"""Measures which tokens occur, and the dimension of their latents."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_JOINTLY = 4096  # Digits of a token are counted together up to this number of choices.


class CodeUse(NamedTuple):
    """The frequencies of tokens.

    Attributes:
        counts: count of every possible token, int64 [C], or of every choice of the digits if tokens are too many.
        entropy_bits: entropy per token; the sum of its digits' entropies if these are counted separately.
        tokens: number of counted tokens.
    """

    counts: Tensor
    entropy_bits: float
    tokens: int

    @property
    def share_used(self) -> float:
        """The share of counts above zero."""
        return float((self.counts > 0).double().mean())


def code_use(codes: Tensor, sizes: Sequence[int]) -> CodeUse:
    """Counts tokens int64 [N, D] with sizes[d] choices for digit d; above 4,096 choices digits are separate.

    >>> use = code_use(torch.tensor([[0, 1], [1, 1], [0, 1], [1, 1]]), [2, 2])
    >>> use.counts.tolist(), use.entropy_bits, use.share_used
    ([0, 2, 0, 2], 1.0, 0.5)
    """
    if math.prod(sizes) <= _JOINTLY:
        index = torch.zeros_like(codes[:, 0])
        for digit, size in zip(codes.unbind(1), sizes, strict=True):
            index = index * size + digit
        counts = torch.bincount(index, minlength=math.prod(sizes))
    else:
        digits = zip(codes.unbind(1), sizes, strict=True)
        counts = torch.cat([torch.bincount(digit, minlength=size) for digit, size in digits])
    shares = counts.double() / len(codes)
    entropy = -(shares * shares.clamp_min(1e-300).log2()).sum()
    return CodeUse(counts, float(entropy), len(codes))


def participation(values: Tensor) -> float:
    """Effective dimension of rows float32 [N, V]: (sum of the covariance's eigenvalues)^2 / sum of their squares.

    >>> round(participation(torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])), 6)
    2.0
    """
    centred = values.double() - values.double().mean(0)
    covariance = centred.T @ centred
    return float(covariance.trace() ** 2 / covariance.square().sum())
