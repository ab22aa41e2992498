"""Parts of transformers: rotary attention with a cache, norms, and accelerated blocks."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

_SMALL = 0.02  # standard deviation of the weights of residual outputs
_LONGEST = 10_000.0  # ratio of the slowest to the fastest rotation


def rotation(place: Tensor, count: int) -> Tensor:
    """Angles [..., n, count] of places [..., n]: rotary position embeddings (Su et al., arXiv 2104.09864, eq. 15)."""
    rate = _LONGEST ** (-torch.arange(count, device=place.device) / count)
    return place[..., None] * rate


def _rotated(x: Tensor, angle: Tensor) -> Tensor:
    """Rotates the pairs of [B, H, n, 2 h] by angles [n, h] or [B, n, h]."""
    angle = angle if angle.ndim == 2 else angle[:, None]
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)


class Cache:
    """Keys and values [B, H, n, h] of tokens seen so far, of at most ``count``."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.length = 0
        self._kept: tuple[Tensor, Tensor] | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Appends tokens and returns all so far."""
        if self._kept is None:
            shape = (*keys.shape[:2], self.count, keys.shape[3])
            self._kept = keys.new_empty(shape), values.new_empty(shape)
        end = self.length + keys.shape[2]
        for kept, new in zip(self._kept, (keys, values), strict=True):
            kept[:, :, self.length : end] = new
        self.length = end
        return self._kept[0][:, :, :end], self._kept[1][:, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Replaces row i by row ``rows[i]``, int64 [B]."""
        if self._kept is not None:
            self._kept = self._kept[0][rows], self._kept[1][rows]


class Attention(nn.Module):
    """Multi-head attention of queries to keys at places; its output is small at first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.out.weight, std=_SMALL)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # [B, H, n, h]

    def heard(self, x: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Returns keys and values [B, H, n, h] of tokens [B, n, W] at angles [.., n, h / 2]."""
        keys, values = self.key_value(x).chunk(2, -1)
        return _rotated(self._split(keys), angle), self._split(values)

    def forward(
        self, x: Tensor, angle: Tensor, heard: tuple[Tensor, Tensor], cache: Cache | None, causal: bool
    ) -> Tensor:
        """Attends from queries [B, n, W] at angles [.., n, h / 2]: [B, n, W].

        Args:
            x: queries.
            angle: their places.
            heard: keys and values; with a cache, those of the queries' own tokens.
            cache: keys and values of the tokens before, which are visible too.
            causal: whether a token sees only itself and those before it.
        """
        query = _rotated(self._split(self.query(x)), angle)
        before = 0 if cache is None else cache.length
        keys, values = heard if cache is None else cache.extend(*heard)
        mask = None
        if causal and before and x.shape[1] > 1:
            shape = (x.shape[1], keys.shape[2])
            mask = torch.ones(shape, dtype=torch.bool, device=x.device).tril(before)
        whole = causal and before == 0 and x.shape[1] > 1
        found = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=whole)
        return cast(Tensor, self.out(found.transpose(1, 2).flatten(2)))


class Residual(nn.Module):
    """``x + f(norm(x))``, or ``x + norm(f(norm(x)))`` (peri-normalisation, Kim et al., arXiv 2502.02732)."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.behind = nn.LayerNorm(width) if norm == "peri" else nn.Identity()

    def forward(self, x: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
        """Maps [B, n, W] to [B, n, W]."""
        return x + cast(Tensor, self.behind(apply(self.before(x))))


class Accelerated(nn.Module):
    """``x + momentum (x - before)``, the point where Nesterov's method takes its gradient; the momentum is learned.

    A residual block acts as a gradient step. This is Nesterov's accelerated method of 1983; the momentum begins at 0.
    """

    def __init__(self, active: bool) -> None:
        super().__init__()
        self.momentum = nn.Parameter(torch.zeros(())) if active else None

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Returns the point [B, n, W] that a block starts from."""
        return x if self.momentum is None else x + self.momentum * (x - before)


def feed_forward(width: int) -> nn.Sequential:
    """Returns an MLP of four times the width with a small output at first."""
    layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    nn.init.normal_(cast(nn.Linear, layers[2]).weight, std=_SMALL)
    return layers
