"""A transformer over tokens that corrects log-likelihood ratios."""

import torch
from torch import Tensor, nn


class PhaseLinear(nn.Module):
    """A linear map that all phases share, plus a difference per phase, zero at first."""

    def __init__(self, num_phases: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.shared = nn.Linear(num_inputs, num_outputs)
        self.own = nn.Parameter(torch.zeros(num_phases, num_inputs, num_outputs))

    def forward(self, x: Tensor, phase: Tensor) -> Tensor:
        """Maps [B, K, I] with phases int64 [B, K] to [B, K, O]."""
        common: Tensor = self.shared(x)
        if bool((phase == phase[:, :1]).all()):  # One map per window, if the grid's period is a multiple of the SOI's.
            return torch.baddbmm(common, x.to(common.dtype), self.own[phase[:, 0]].to(common.dtype))
        own = torch.zeros_like(common)
        for index in range(len(self.own)):
            here = phase == index
            if bool(here.any()):
                own = own.masked_scatter(here[:, :, None], (x[here] @ self.own[index]).to(common.dtype))
        return common + own


class _Block(nn.Module):
    """Pre-norm attention with relative positions, then an MLP."""

    def __init__(self, width: int, heads: int, span: int) -> None:
        super().__init__()
        self.heads, self.span = heads, span
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.distance = nn.Parameter(torch.zeros(heads, 2 * span + 1))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for last in (self.out, self.down):  # An untrained block passes its input on.
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, K, W] to [B, K, W]."""
        batch, count, width = x.shape
        place = torch.arange(count, device=x.device)
        bias = self.distance[:, (place - place[:, None]).clamp(-self.span, self.span) + self.span]  # [H, K, K]
        query, key, value = self.mixed(self.norm(x)).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        x = x + self.out(seen.transpose(1, 2).reshape(batch, count, width))
        corrected: Tensor = x + self.down(nn.functional.gelu(self.up(self.mlp_norm(x))))
        return corrected


class TokenTransformer(nn.Module):
    """Computes bit logits of tokens: float32 [B, K, D], phases and edges to float32 [B, K, N].

    The logits are ``prior * gate + correction``, with both terms from the transformer; untrained it returns the prior.
    Input and output maps depend on the phase, because a token looks different at each place of the SOI in it. All other
    weights are shared.

    Args:
        num_inputs: numbers D per token.
        num_phases: places of the SOI's symbols in a token.
        num_bits: logits N per token.
        period: samples per token. Every number of samples in an incomplete token is an edge of its own; 0 is complete.
        width: width of the transformer.
        depth: number of blocks.
        heads: attention heads.
        span: distance in tokens that relative positions distinguish.
    """

    def __init__(
        self,
        num_inputs: int,
        num_phases: int = 16,
        num_bits: int = 10,
        period: int = 80,
        width: int = 256,
        depth: int = 4,
        heads: int = 8,
        span: int = 4,
    ) -> None:
        super().__init__()
        self.num_inputs, self.num_bits, self.num_phases, self.period = num_inputs, num_bits, num_phases, period
        self.input = PhaseLinear(num_phases, num_inputs, width)
        self.edge = nn.Embedding(2 * period + 1, width)
        nn.init.normal_(self.edge.weight, std=0.02)
        self.blocks = nn.ModuleList(_Block(width, heads, span) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.correction = PhaseLinear(num_phases, width, num_bits)
        nn.init.zeros_(self.correction.shared.weight)
        nn.init.zeros_(self.correction.shared.bias)
        self.gate = nn.Linear(width, num_bits)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)

    def example_inputs(self, num_samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns zero inputs of one window of ``num_samples`` samples."""
        count = -(-num_samples // self.period)
        place = torch.zeros((1, count), dtype=torch.int64)
        return torch.zeros((1, count, self.num_inputs)), place, place, torch.zeros((1, count, self.num_bits))

    def forward(self, inputs: Tensor, phase: Tensor, edge: Tensor, prior: Tensor) -> Tensor:
        """Logits float32 [B, K, N] of inputs [B, K, D], phase and edge int64 [B, K] and prior float32 [B, K, N]."""
        x = self.input(inputs, phase) + self.edge(edge)  # [B, K, W]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits: Tensor = self.correction(x, phase).float() + self.gate(x).float() * prior
        return logits
