"""From the latents of tokens to digits, and from digits, or what is believed of them, to values."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

_COMMITMENT = 0.25  # weight of what draws latents to their vectors, beside what draws vectors to their latents


class Quantised(NamedTuple):
    """What a quantiser makes of latents.

    Attributes:
        values: float32 [B, K, V], of the digits, but with the gradient of the bounded latents.
        codes: int64 [B, K, D], the digits.
        penalty: float32 scalar, what the quantiser itself wants to be small.
    """

    values: Tensor
    codes: Tensor
    penalty: Tensor


class Quantiser(Protocol):
    """Latents float32 [B, K, V] to tokens of D digits, digit d having sizes[d] choices; V is the width."""

    sizes: tuple[int, ...]
    width: int

    def bounded(self, latents: Tensor) -> Tensor:
        """What takes the place of the values before quantisation begins: float32 [B, K, V]."""
        ...

    def rounding(self) -> Tensor:
        """Variance float32 [V] of noise that is uniform over a step of each value; 0 where no step is known."""
        ...

    def forward(self, latents: Tensor) -> Quantised:
        """The nearest values."""
        ...

    def start(self, latents: Tensor) -> None:
        """Make ready for what latents float32 [B, K, V] are when quantisation begins."""
        ...

    def values(self, codes: Tensor) -> Tensor:
        """Values float32 [B, K, V] of digits int64 [B, K, D]."""
        ...

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Mean values float32 [B, K, V], the digits being independent: D posteriors float32 [B, K, sizes[d]]."""
        ...


class FiniteScalar(nn.Module):
    """Every latent is bounded by tanh and rounded to one of its levels, which lie evenly from -1 to 1.

    Mentzer et al., "Finite Scalar Quantization" (ICLR 2024), in the form that is symmetric for even numbers of levels
    too (Parker et al., "Scaling Transformers for Low-Bitrate High-Quality Speech Coding", ICLR 2025, eq. 2): values
    have zero mean, so that no token outside a window, where a convolution pads zeros, is none.

    Args:
        levels: of each latent, two at least.
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
        """Tanh."""
        return latents.tanh()

    def rounding(self) -> Tensor:
        """Variance float32 [V] of uniform noise over a step."""
        return self.steps.pow(-2) / 3

    def forward(self, latents: Tensor) -> Quantised:
        """The nearest levels of latents float32 [B, K, V]."""
        bounded = latents.tanh()
        digits = torch.floor(self.steps * (bounded.detach() + 1) / 2 + 0.5).minimum(self.steps)
        values = bounded + (2 * digits / self.steps - 1 - bounded).detach()
        return Quantised(values, digits.long(), latents.new_zeros(()))

    def start(self, latents: Tensor) -> None:
        """Levels lie where they lie."""

    def values(self, codes: Tensor) -> Tensor:
        """Values float32 [B, K, V] of digits int64 [B, K, V]."""
        values: Tensor = 2 * codes / self.steps - 1
        return values

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Mean values float32 [B, K, V] of V posteriors float32 [B, K, sizes[d]]."""
        levels = [
            torch.linspace(-1, 1, size, device=one.device) for size, one in zip(self.sizes, probabilities, strict=True)
        ]
        return torch.stack([one @ level for level, one in zip(levels, probabilities, strict=True)], 2)


class VectorCodebook(nn.Module):
    """The nearest of some learned vectors.

    Van den Oord et al., "Neural Discrete Representation Learning" (NIPS 2017), eq. 3.

    Args:
        size: vectors in the codebook.
        width: V, of a vector.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.sizes = (size,)
        self.width = width
        self.vectors = nn.Parameter(torch.randn(size, width) / width**0.5)

    def bounded(self, latents: Tensor) -> Tensor:
        """The latents as they are."""
        return latents

    def rounding(self) -> Tensor:
        """Nothing: no step is known."""
        return torch.zeros_like(self.vectors[0])

    def forward(self, latents: Tensor) -> Quantised:
        """The nearest vectors to latents float32 [B, K, V]; the penalty draws both to each other."""
        codes = torch.cdist(latents.detach().flatten(0, 1), self.vectors.detach()).argmin(1).view(latents.shape[:2])
        vectors = self.vectors[codes]  # [B, K, V]
        penalty = (vectors - latents.detach()).square().mean() + _COMMITMENT * (
            latents - vectors.detach()
        ).square().mean()
        return Quantised(latents + (vectors - latents).detach(), codes[:, :, None], penalty)

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """Put each vector on that of the latents float32 [B, K, V] which is farthest from the vectors before it."""
        found = latents.flatten(0, 1)  # [B K, V]
        distances = torch.full((len(found),), torch.inf)
        for index in range(len(self.vectors)):
            self.vectors[index] = found[int(distances.argmax())]
            distances = distances.minimum((found - self.vectors[index]).square().sum(1))

    def values(self, codes: Tensor) -> Tensor:
        """Vectors float32 [B, K, V] of digits int64 [B, K, 1]."""
        return self.vectors[codes[:, :, 0]]

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Mean vectors float32 [B, K, V] of one posterior float32 [B, K, sizes[0]]."""
        (posterior,) = probabilities
        return posterior @ self.vectors
