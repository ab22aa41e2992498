"""A U-Net with a transformer at its bottom."""

import torch
from torch import Tensor, nn

_ROTARY_BASE = 10000.0


def _rotated(x: Tensor) -> Tensor:
    """Applies rotary position encoding to x [B, H, K, D]: token k turns channel pairs by k times their frequency.

    Su et al., "RoFormer", arXiv 2104.09864, equation 34. Attention then depends on distances only, for any number of
    tokens.
    """
    tokens, half = x.shape[-2], x.shape[-1] // 2
    rates = _ROTARY_BASE ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(tokens, device=x.device)[:, None] * rates  # [K, D / 2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)


class _Layer(nn.Module):
    """Attention of all tokens and a two-layer perceptron, each after a normalisation and added to its input."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.queries_keys_values = nn.Linear(dim, 3 * dim, bias=False)
        self.merge = nn.Linear(dim, dim, bias=False)
        self.perceptron = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.queries_keys_values(self.attention_norm(x)).chunk(3, -1)  # [B, K, dim] each
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # [B, H, K, D]
        attended = nn.functional.scaled_dot_product_attention(_rotated(query), _rotated(key), value)
        x = x + self.merge(attended.transpose(1, 2).flatten(-2))  # [B, K, dim]
        out: Tensor = x + self.perceptron(x)
        return out


def _double(width_in: int, width_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, (1, kernel), padding="same"),
        nn.ReLU(inplace=True),
        nn.Conv2d(width_out, width_out, (1, 3), padding="same"),
        nn.ReLU(inplace=True),
    )


class TransformerUNet(nn.Module):
    """U-Net with a transformer bottleneck: float32 [B, 2, T] to float32 [B, 2, T], T any.

    Levels of two convolutions, a skip and a strided convolution turn 16 samples, a symbol of the challenge's QPSK, into
    a token. A pre-normalised transformer connects all tokens. Transposed convolutions with the skips lead back. The
    defaults (313 M parameters) follow team OneInAMillion's entry to the ICASSP 2024 challenge: its bottleneck has
    ``depth`` 24 and ``dim`` 1024. Its convolutions are not published, so these are our own.

    Args:
        channels: channels of each level, the uppermost first; a level halves the rate.
        first_kernel: taps of the very first convolution.
        dim: width of a token.
        depth: transformer layers.
        heads: attention heads, which divide ``dim`` into even parts.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (64, 128, 256, 512),
        first_kernel: int = 101,
        dim: int = 1024,
        depth: int = 24,
        heads: int = 16,
    ) -> None:
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim {dim} does not divide into {heads} heads of an even number of channels")
        below = [*channels[1:], dim]
        self.encoder = nn.ModuleList(
            _double(channels[level - 1] if level else 2, width, 3 if level else first_kernel)
            for level, width in enumerate(channels)
        )
        self.down = nn.ModuleList(nn.Conv2d(width, width, (1, 2), (1, 2)) for width in channels)
        self.enter = nn.Conv2d(channels[-1], dim, 1)
        self.layers = nn.ModuleList(_Layer(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width_in, width, (1, 2), (1, 2))
            for width_in, width in zip(below[::-1], channels[::-1], strict=True)
        )
        self.decoder = nn.ModuleList(_double(2 * width, width, 3) for width in channels[::-1])
        self.head = nn.Conv2d(channels[0], 2, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] of the mixture float32 [B, 2, T]."""
        length = mixture.shape[-1]
        x = nn.functional.pad(mixture[:, :, None], (0, -length % 2 ** len(self.encoder)))  # [B, 2, 1, T']
        x, skips = x.contiguous(memory_format=torch.channels_last), []
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(block(x))  # [B, C, 1, T' / 2**level]
            x = down(skips[-1])
        tokens = self.enter(x)[:, :, 0].transpose(1, 2)  # [B, K, dim]
        for layer in self.layers:
            tokens = layer(tokens)
        x = self.norm(tokens).transpose(1, 2)[:, :, None]  # [B, dim, 1, K]
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat((up(x), skips.pop()), 1))
        estimate: Tensor = self.head(x)[:, :, 0, :length].float()  # [B, 2, T]
        return estimate
