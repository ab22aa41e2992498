"""Quantisers: latents of tokens to digits, and digits or their probabilities to values."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

_COMMITMENT = 0.25  # weight of the term that draws latents to vectors, beside that which draws vectors to latents


class Quantised(NamedTuple):
    """The output of a quantiser.

    Attributes:
        values: values of the digits with the gradient of the bounded latents, float32 [B, K, V].
        codes: int64 [B, K, D], the digits.
        penalty: the quantiser's own loss, float32 scalar.
    """

    values: Tensor
    codes: Tensor
    penalty: Tensor


class Quantiser(Protocol):
    """Maps latents float32 [B, K, V] to tokens of D digits with sizes[d] choices for digit d; V is the width."""

    sizes: tuple[int, ...]
    width: int

    def bounded(self, latents: Tensor) -> Tensor:
        """Returns bounded latents, which replace the values before quantisation begins: float32 [B, K, V]."""
        ...

    def rounding(self) -> Tensor:
        """Returns the variance float32 [V] of noise uniform over a step of each value; 0 without a known step."""
        ...

    def forward(self, latents: Tensor) -> Quantised:
        """Returns the nearest values."""
        ...

    def start(self, latents: Tensor) -> None:
        """Initialises the quantiser by the latents float32 [B, K, V] at the start of quantisation."""
        ...

    def values(self, codes: Tensor) -> Tensor:
        """Returns values float32 [B, K, V] of digits int64 [B, K, D]."""
        ...

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Returns mean values float32 [B, K, V] of independent digits with D posteriors float32 [B, K, sizes[d]]."""
        ...


class FiniteScalar(nn.Module):
    """Bounds every latent by tanh and rounds it to one of its levels, which are evenly spaced from -1 to 1.

    Mentzer et al., "Finite Scalar Quantization" (ICLR 2024), in the form that is symmetric for even numbers of levels
    too (Parker et al., "Scaling Transformers for Low-Bitrate High-Quality Speech Coding", ICLR 2025, eq. 2). Values
    have zero mean, so the zeros that a convolution pads outside a window mean the absence of a token.

    Args:
        levels: number of levels of each latent, at least two.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if min(levels) < 2:
            raise ValueError(f"levels {list(levels)}: a digit has two levels at least")
        self.sizes = tuple(levels)
        self.width = len(levels)
        self.register_buffer("steps", torch.tensor(levels, dtype=torch.float32) - 1, persistent=False)
        self.steps: Tensor

    def bounded(self, latents: Tensor) -> Tensor:
        """Returns the tanh of latents."""
        return latents.tanh()

    def rounding(self) -> Tensor:
        """Returns the variance float32 [V] of uniform noise over a step."""
        return self.steps.pow(-2) / 3

    def forward(self, latents: Tensor) -> Quantised:
        """Returns the nearest levels of latents float32 [B, K, V]."""
        bounded = latents.tanh()
        digits = torch.floor(self.steps * (bounded.detach() + 1) / 2 + 0.5).minimum(self.steps)
        values = bounded + (2 * digits / self.steps - 1 - bounded).detach()
        return Quantised(values, digits.long(), latents.new_zeros(()))

    def start(self, latents: Tensor) -> None:
        """Does nothing, because levels are fixed."""

    def values(self, codes: Tensor) -> Tensor:
        """Returns values float32 [B, K, V] of digits int64 [B, K, V]."""
        values: Tensor = 2 * codes / self.steps - 1
        return values

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Returns mean values float32 [B, K, V] of V posteriors float32 [B, K, sizes[d]]."""
        levels = [
            torch.linspace(-1, 1, size, device=one.device) for size, one in zip(self.sizes, probabilities, strict=True)
        ]
        return torch.stack([one @ level for level, one in zip(levels, probabilities, strict=True)], 2)


class VectorCodebook(nn.Module):
    """Replaces latents by the nearest of some learned vectors.

    Van den Oord et al., "Neural Discrete Representation Learning" (NIPS 2017), eq. 3.

    Args:
        size: number of vectors in the codebook.
        width: length V of a vector.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.sizes = (size,)
        self.width = width
        self.vectors = nn.Parameter(torch.randn(size, width) / width**0.5)

    def bounded(self, latents: Tensor) -> Tensor:
        """Returns the latents unchanged."""
        return latents

    def rounding(self) -> Tensor:
        """Returns zeros, because no step is known."""
        return torch.zeros_like(self.vectors[0])

    def forward(self, latents: Tensor) -> Quantised:
        """Returns the nearest vectors to latents float32 [B, K, V]; the penalty draws both together."""
        codes = torch.cdist(latents.detach().flatten(0, 1), self.vectors.detach()).argmin(1).view(latents.shape[:2])
        vectors = self.vectors[codes]  # [B, K, V]
        penalty = (vectors - latents.detach()).square().mean() + _COMMITMENT * (
            latents - vectors.detach()
        ).square().mean()
        return Quantised(latents + (vectors - latents).detach(), codes[:, :, None], penalty)

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """Puts each vector on the latent of float32 [B, K, V] farthest from the vectors before it."""
        found = latents.flatten(0, 1)  # [B K, V]
        distances = torch.full((len(found),), torch.inf)
        for index in range(len(self.vectors)):
            self.vectors[index] = found[int(distances.argmax())]
            distances = distances.minimum((found - self.vectors[index]).square().sum(1))

    def values(self, codes: Tensor) -> Tensor:
        """Returns vectors float32 [B, K, V] of digits int64 [B, K, 1]."""
        return self.vectors[codes[:, :, 0]]

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Returns mean vectors float32 [B, K, V] of one posterior float32 [B, K, sizes[0]]."""
        (posterior,) = probabilities
        return posterior @ self.vectors
