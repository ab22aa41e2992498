"""A diffusion network for signals on a known grid, which sees whole symbol periods."""

from typing import cast

import torch
from torch import Tensor, nn

from rfsep.models.diffwave import StepEmbedding


class _Block(nn.Module):
    """A convolution over tokens, the step's scale and shift, SiLU, and a residual 1x1 convolution, zero at first.

    At first every unit sees one coordinate or its negative, and little of the others. With dense initial weights,
    discrete symbols are one direction among hundreds, and training did not find it within minutes.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(width, 2 * width, (1, kernel), padding="same")
        self.down = nn.Conv2d(2 * width, width, 1)
        nn.init.zeros_(self.down.weight)
        with torch.no_grad():
            cast(Tensor, self.up.bias).normal_(std=0.5)
            own = nn.init.dirac_(torch.empty_like(self.up.weight), groups=2)
            own[width:] *= -1
            self.up.weight.mul_(0.1).add_(own)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Maps [B, W, 1, K] with the step's scale and shift [B, 2 W, 1, 1] to [B, W, 1, K]."""
        hidden = torch.addcmul(shift, self.up(x), scale)
        added: Tensor = x + self.down(nn.functional.silu(hidden))
        return added


class TokenPrior(nn.Module):
    """Estimates noise in a signal: float32 [B, 2, T] and steps [B] to float32 [B, 2, T], T a multiple of the period.

    A token holds the samples of one symbol period. If windows start on the grid, symbols have the same places in every
    token. A network that slides over samples has to find them at every offset anew. The step scales input and output:
    if the noise is a hundredth of the signal, the output has to be a hundred times the difference that the network
    sees.

    Args:
        period: samples per token, P.
        width: channels of a token, at least 2 P.
        depth: number of blocks.
        kernel: tokens that a block sees.
        num_steps: steps of the schedule.
        step_width: width of the step's embedding.
    """

    def __init__(
        self,
        period: int,
        width: int = 160,
        depth: int = 3,
        kernel: int = 1,
        num_steps: int = 50,
        step_width: int = 128,
    ) -> None:
        super().__init__()
        if width < 2 * period:
            raise ValueError(f"width {width} is too narrow for tokens of {period} complex samples")
        self.period = period
        self.embedding = StepEmbedding(num_steps, step_width)
        self.enter = nn.Conv2d(2 * period, width, (1, kernel), padding="same")
        nn.init.dirac_(self.enter.weight)
        self.blocks = nn.ModuleList(_Block(width, kernel) for _ in range(depth))
        self.modulation = nn.Linear(step_width, 4 * width * depth)  # scales and shifts of all blocks
        self.gains = nn.Linear(step_width, 3)
        self.leave = nn.Conv2d(width, 2 * period, (1, kernel), padding="same")
        for layer in (self.gains, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(cast(Tensor, layer.bias))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def example_inputs(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Returns zero inputs of one window of the whole tokens in ``num_samples`` samples."""
        return torch.zeros((1, 2, num_samples // self.period * self.period)), torch.zeros(1)

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        """Noise float32 [B, 2, T] of unit variance in ``noisy`` float32 [B, 2, T] at steps float32 or int64 [B]."""
        batch, _, length = noisy.shape
        samples = noisy.view(batch, 2, -1, self.period).transpose(2, 3).reshape(batch, 2 * self.period, -1)
        with torch.autocast(noisy.device.type, enabled=False):
            embedding = self.embedding(step)
            modulation, gains = self.modulation(embedding), self.gains(embedding)[:, :, None, None]
            tokens = samples[:, :, None] * gains[:, :1].exp()  # [B, 2 P, 1, K]
        scales, shifts = modulation[:, :, None, None].unflatten(1, (2, len(self.blocks), -1)).unbind(1)
        x = self.enter(tokens.contiguous(memory_format=torch.channels_last))  # [B, W, 1, K]
        for index, block in enumerate(self.blocks):
            x = block(x, 1 + scales[:, index], shifts[:, index])
        with torch.autocast(noisy.device.type, enabled=False):
            found = self.leave(x.float())[:, :, 0]  # [B, 2 P, K]
        found = found.view(batch, 2, self.period, -1).transpose(2, 3).reshape(batch, 2, length)
        noise: Tensor = gains[:, 1] * noisy + gains[:, 2].exp() * found
        return noise
