"""A discrete autoencoder of one signal, from its waveform to tokens of a few digits and back."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rfsep.models.quantisers import FiniteScalar, Quantiser, VectorCodebook

_CHUNK = 32  # tokens per chunk of attention
_SHARE = 0.1  # factor of the corrections; at 1, their large early steps by Adam take long to unlearn
_LEAST_POWER = 1e-4  # least power of a principal component relative to the strongest one


class Tokenized(NamedTuple):
    """A waveform after encoding to tokens and decoding.

    Attributes:
        waveform: float32 [B, 2, T], the reconstruction.
        codes: int64 [B, K, D], the digits.
        latents: bounded latents before quantisation, float32 [B, K, V].
        penalty: the quantiser's own loss beside the waveform's error, float32 scalar.
    """

    waveform: Tensor
    codes: Tensor
    latents: Tensor
    penalty: Tensor


class _Residual(nn.Module):
    """ELU and a dilated convolution, ELU and a 1x1 convolution, added to the input: [B, C, T] to [B, C, T]."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mixed = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, T] to [B, C, T]."""
        added: Tensor = x + self.mixed(nn.functional.elu(self.wide(nn.functional.elu(x))))
        return added


class _Down(nn.Module):
    """A convolution that keeps one of ``stride`` samples, then two residual units."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.pad = (stride // 2, stride - stride // 2)
        self.strided = nn.Conv1d(channels, width, 2 * stride, stride)
        self.units = nn.Sequential(_Residual(width, 1), _Residual(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, T] to [B, W, T / stride]."""
        fewer: Tensor = self.units(self.strided(nn.functional.pad(x, self.pad)))
        return fewer


class _Up(nn.Module):
    """The mirror image of `_Down`."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.units = nn.Sequential(_Residual(width, 1), _Residual(width, 3), nn.ELU())
        self.strided = nn.ConvTranspose1d(width, channels, 2 * stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, W, T / stride] to [B, C, T]."""
        more: Tensor = self.strided(self.units(x))[:, :, self.stride // 2 :]
        return more[:, :, : x.shape[2] * self.stride]


class _Neighbours(nn.Module):
    """Pre-norm attention to the tokens at most ``reach`` away, then an MLP.

    It runs over any length, and no token depends on farther ones. Queries come in chunks that share their keys.
    """

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.distance = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def _bias(self, chunks: int, count: int) -> Tensor:
        """Returns the bias of distances, float32 [N, H, chunk, chunk + 2 reach]; minus infinity hides a token."""
        device = self.distance.device
        query, key = torch.arange(_CHUNK, device=device)[:, None], torch.arange(_CHUNK + 2 * self.reach, device=device)
        distance = key - query  # [chunk, chunk + 2 reach], 0 for the farthest token before
        place = torch.arange(chunks, device=device)[:, None] * _CHUNK + key - self.reach  # [N, chunk + 2 reach]
        near = (distance >= 0) & (distance <= 2 * self.reach)
        own = distance == self.reach  # keeps every row non-empty, also in the padding
        seen = near & ((place >= 0) & (place < count))[:, None] | own
        bias = self.distance[:, distance.clamp(0, 2 * self.reach)]  # [H, chunk, chunk + 2 reach]
        return bias.masked_fill(~seen[:, None], -math.inf)

    def _seen(self, x: Tensor) -> Tensor:
        """Attends from every token of [B, K, W] to its neighbours: [B, K, W]."""
        batch, count, width = x.shape
        chunks = -(-count // _CHUNK)
        padded = nn.functional.pad(self.mixed(x), (0, 0, self.reach, self.reach + chunks * _CHUNK - count))
        query, key, value = padded.unfold(1, _CHUNK + 2 * self.reach, _CHUNK).chunk(3, 2)  # [B, N, W, keys]
        query = query[:, :, :, self.reach : self.reach + _CHUNK]
        query, key, value = (
            part.reshape(batch, chunks, self.heads, width // self.heads, -1).mT for part in (query, key, value)
        )
        bias = self._bias(chunks, count).expand(batch, -1, -1, -1, -1)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # [B, N, H, chunk, W / H]
        merged: Tensor = seen.transpose(2, 3).reshape(batch, -1, width)
        return merged[:, :count]

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, K, W] to [B, K, W]."""
        x = x + self.out(self._seen(self.norm(x)))
        corrected: Tensor = x + self.down(nn.functional.gelu(self.up(self.mlp_norm(x))))
        return corrected


def _widths(strides: Sequence[int], channels: int) -> list[tuple[int, int, int]]:
    """Returns channels in, channels out and stride of the convolutions; each stride after the first doubles them."""
    widths = [2, *(channels * 2**index for index in range(len(strides)))]
    return list(zip(widths[:-1], widths[1:], strides, strict=True))


class _Reader(nn.Module):
    """The nonlinear part of a window's latents, zero at first: float32 [B, 2, T] to [B, K, V]."""

    def __init__(self, strides: Sequence[int], channels: int, depth: int, heads: int, reach: int, width: int) -> None:
        super().__init__()
        stages = _widths(strides, channels)
        tokens = stages[-1][1]
        self.convolutions = nn.Sequential(*(_Down(*stage) for stage in stages))
        self.blocks = nn.Sequential(*(_Neighbours(tokens, heads, reach) for _ in range(depth)), nn.LayerNorm(tokens))
        self.last = nn.Linear(tokens, width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps [B, 2, T] to [B, K, V]."""
        latents: Tensor = self.last(self.blocks(self.convolutions(waveform).transpose(1, 2)))
        return latents


class _Writer(nn.Module):
    """The nonlinear part of a reconstruction, zero at first: float32 [B, K, V] to [B, 2, T]."""

    def __init__(self, strides: Sequence[int], channels: int, depth: int, heads: int, reach: int, width: int) -> None:
        super().__init__()
        stages = _widths(strides, channels)
        tokens = stages[-1][1]
        self.first = nn.Linear(width, tokens)
        self.blocks = nn.Sequential(*(_Neighbours(tokens, heads, reach) for _ in range(depth)), nn.LayerNorm(tokens))
        self.convolutions = nn.Sequential(*(_Up(*stage) for stage in reversed(stages)))
        last = cast(_Up, self.convolutions[-1]).strided
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))

    def forward(self, values: Tensor) -> Tensor:
        """Maps [B, K, V] to [B, 2, T]."""
        waveform: Tensor = self.convolutions(self.blocks(self.first(values)).transpose(1, 2))
        return waveform


class Tokenizer(nn.Module):
    """Encodes a signal on a known grid: float32 [B, 2, T] to int64 [B, K, D] and back, T a multiple of the stride.

    Encoder and decoder each consist of a linear map, from the samples of ``span`` tokens to the latents of one and
    back, plus a nonlinear correction that starts at zero. The correction has strided convolutions with residual units
    and a transformer over tokens, as in SoundStream (Zeghidour et al., 2021). A modem's waveform is linear in its
    symbols, so the maps alone reach -90 dB. The corrections are for other signals.

    Convolutions pad zeros, so a signal that is silent outside the window is reconstructed up to its ends.

    Args:
        strides: strides of the convolutions; their product is the number of samples per token.
        levels: levels of the finite scalar quantiser's digits.
        repeats: repetitions of these levels, for tokens of many equal digits.
        codebook: number of vectors of a plain vector quantiser; None for the finite scalar one.
        embedding: width of these vectors.
        span: odd number of tokens that the linear maps cover.
        channels: channels after the first stride; each further stride doubles them.
        depth: transformer blocks in the encoder, and in the decoder.
        heads: attention heads.
        reach: number of visible tokens on each side.
        corrected: False leaves the nonlinear corrections out.
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 4),
        levels: Sequence[int] = (2, 2),
        repeats: int = 1,
        codebook: int | None = None,
        embedding: int = 2,
        span: int = 9,
        channels: int = 16,
        depth: int = 1,
        heads: int = 4,
        reach: int = 8,
        corrected: bool = True,
    ) -> None:
        super().__init__()
        if span % 2 == 0:
            raise ValueError(f"span {span} is no odd number of tokens")
        self.stride = math.prod(strides)
        quantiser = FiniteScalar(repeats * list(levels)) if codebook is None else VectorCodebook(codebook, embedding)
        self.quantiser = cast(Quantiser, quantiser)
        self.sizes, self.width_of_values = self.quantiser.sizes, self.quantiser.width
        self.quantise = True  # Training may begin without.
        self.linear = False  # Training may begin with the linear maps alone.
        size, pad = span * self.stride, (span - 1) // 2 * self.stride
        self.analysis = nn.Conv1d(2, self.width_of_values, size, self.stride, pad, bias=False)
        self.synthesis = nn.ConvTranspose1d(self.width_of_values, 2, size, self.stride, pad, bias=False)
        parts = (strides, channels, depth, heads, reach, self.width_of_values)
        self.reader = _Reader(*parts) if corrected else None
        self.writer = _Writer(*parts) if corrected else None

    def latents(self, waveform: Tensor) -> Tensor:
        """Returns latents float32 [B, K, V] of windows float32 [B, 2, T], not yet bounded."""
        with torch.autocast(waveform.device.type, enabled=False):  # bfloat16 limits the accuracy to 50 dB.
            linear: Tensor = self.analysis(waveform.float()).transpose(1, 2)
            return linear if self.reader is None or self.linear else linear + _SHARE * self.reader(waveform.float())

    def codes(self, waveform: Tensor) -> Tensor:
        """Returns digits int64 [B, K, D] of windows float32 [B, 2, T]."""
        codes: Tensor = self.quantiser.forward(self.latents(waveform)).codes
        return codes

    def values(self, codes: Tensor) -> Tensor:
        """Returns values float32 [B, K, V] of digits int64 [B, K, D]."""
        return self.quantiser.values(codes)

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Mean values float32 [B, K, V]; digit d has the posterior probabilities[d], float32 [B, K, sizes[d]]."""
        return self.quantiser.expected_values(probabilities)

    def decode(self, values: Tensor) -> Tensor:
        """Returns the waveform float32 [B, 2, T] of values float32 [B, K, V]."""
        with torch.autocast(values.device.type, enabled=False):
            linear: Tensor = self.synthesis(values.float().transpose(1, 2))
            return linear if self.writer is None or self.linear else linear + _SHARE * self.writer(values.float())

    def forward(self, waveform: Tensor) -> Tokenized:
        """Sends windows float32 [B, 2, T] through their tokens, or through bounded latents if ``quantise`` is False."""
        latents = self.latents(waveform)
        quantised, bounded = self.quantiser.forward(latents), self.quantiser.bounded(latents)
        if self.quantise:
            return Tokenized(self.decode(quantised.values), quantised.codes, bounded, quantised.penalty)
        return Tokenized(self.decode(bounded), quantised.codes, bounded, latents.new_zeros(()))

    def rounding_error(self) -> Tensor:
        """Returns the error power per sample, float32 scalar, of noise uniform over a step of each value.

        Added to the waveform's error, it makes latents use the whole range of their values. If values are far apart,
        discrete latents use it best, so the axes of independent digits are found before rounding. Without it, any
        rotation of these axes is as good.
        """
        gains = self.synthesis.weight.square().sum((1, 2)) / self.stride  # [V]
        return (gains * self.quantiser.rounding()).sum()

    @torch.no_grad()
    def start(self, waveform: Tensor) -> None:
        """Initialises the linear maps by the principal components of a token's samples in windows float32 [B, 2, T].

        From random weights, two digits of one symbol can settle in two tokens. That costs one of them at an end of
        every window, and training does not move them into one token later.
        """
        blocks = waveform.reshape(len(waveform), 2, -1, self.stride).transpose(1, 2)  # [B, K, 2, stride]
        samples = blocks.reshape(-1, 2 * self.stride)  # [B K, 2 stride]
        powers, components = torch.linalg.eigh(samples.T @ samples / len(samples))
        powers, components = powers[-self.width_of_values :], components[:, -self.width_of_values :]
        deviation = powers.clamp_min(_LEAST_POWER * float(powers[-1])).sqrt()  # [V]
        first = (self.analysis.weight.shape[2] - self.stride) // 2
        for layer, maps in ((self.analysis, components / deviation), (self.synthesis, components * deviation)):
            layer.weight.zero_()
            layer.weight[:, :, first : first + self.stride] = maps.T.reshape(-1, 2, self.stride)

    def start_quantising(self, waveform: Tensor) -> None:
        """Switches quantisation and corrections on, initialised by windows float32 [B, 2, T]."""
        with torch.no_grad():
            self.quantiser.start(self.latents(waveform))
        self.quantise, self.linear = True, False
