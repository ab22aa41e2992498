"""Which tokens occur, and in how many dimensions their latents lie."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_JOINTLY = 4096  # choices of a token up to which all its digits are counted together


class CodeUse(NamedTuple):
    """How often tokens occur.

    Attributes:
        counts: int64 [C] of every token that could, or where these are too many, of every choice of the digits.
        entropy_bits: of a token, the sum of its digits' entropies where these are counted apart.
        tokens: that were counted.
    """

    counts: Tensor
    entropy_bits: float
    tokens: int

    @property
    def share_used(self) -> float:
        """Of the counts, those above zero."""
        return float((self.counts > 0).double().mean())


def code_use(codes: Tensor, sizes: Sequence[int]) -> CodeUse:
    """How often the tokens int64 [N, D] with sizes[d] choices for digit d occur; digits apart above 4,096 choices.

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
