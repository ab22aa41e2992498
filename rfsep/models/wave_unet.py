"""The Wave-U-Net of the OFDM architecture study."""

import math
from typing import cast

import torch
from torch import Tensor, nn

_STEP = 24  # additional channels per level
_KERNEL = 15  # taps in the encoder after the first level
_UP_KERNEL = 5  # taps in the decoder
_SLOPE = 0.3  # slope of the rectifiers
_PERIOD = 64  # samples per OFDM symbol of the study
_BINS = 28  # frequencies in that symbol


class _Same(nn.Conv2d):
    """A convolution float [B, C, 1, T] to [B, C', 1, T] over windows padded with zeros or wrapped around."""

    def __init__(self, width_in: int, width_out: int, kernel: int, circular: bool) -> None:
        self.around = ((kernel - 1) // 2, kernel // 2) if circular else None
        super().__init__(width_in, width_out, (1, kernel), padding="valid" if circular else "same")

    def forward(self, x: Tensor) -> Tensor:
        if self.around:  # torch's circular padding refuses kernels that wrap more than once.
            before, behind = self.around
            samples = torch.arange(-before, x.shape[-1] + behind, device=x.device) % x.shape[-1]
            x = x[..., samples].contiguous(memory_format=torch.channels_last)
        return super().forward(x)


class WaveUNet(nn.Module):
    """Wave-U-Net for waveforms: float32 [B, 2, T] to float32 [B, 2, T], T any.

    It has ``depth`` levels of a convolution, skip and decimation by 2; a convolution in the middle; per level
    repetition of every sample, a convolution, concatenation with the skip and a convolution; and finally a 1x1
    convolution that also sees the mixture. There is neither normalisation nor dropout. The study found that the first
    kernel must cover an OFDM symbol (Lee et al., "On neural architectures for deep learning-based source separation of
    co-channel OFDM signals", ICASSP 2023, arXiv 2303.06438): defaults are its proposal, 1.66 M parameters;
    ``first_kernel=15, width_factor=1, depth=12`` is the audio original, 12.6 M.

    Args:
        first_kernel: taps K of the very first convolution.
        width_factor: F; the very first convolution has 24 F channels, and level l after it has 24 (l + 1).
        depth: number of levels.
        real: work on the real part only, as the study's signals are real; the estimate's imaginary part is zero.
        circular: wrap the window around in every convolution, where the published network pads zeros. A window of one
            period is then equal to the inside of a longer one.
        tuned: start the first kernels from cosines, see `_tune`, instead of torch's random numbers.
    """

    def __init__(
        self,
        first_kernel: int = 101,
        width_factor: int = 20,
        depth: int = 5,
        real: bool = True,
        circular: bool = False,
        tuned: bool = False,
    ) -> None:
        super().__init__()
        self.parts = 1 if real else 2
        widths = [_STEP * (level + 1) for level in range(depth + 1)]
        skips = [_STEP * width_factor, *widths[1:depth]]
        inputs, kernels = [self.parts, *skips[:-1]], [first_kernel, *(depth - 1) * [_KERNEL]]
        shapes = zip(inputs, skips, kernels, strict=True)
        self.encoder = nn.ModuleList(_Same(*shape, circular) for shape in shapes)
        self.middle = _Same(skips[-1], widths[depth], _KERNEL, circular)
        self.up = nn.ModuleList(_Same(width, width, _UP_KERNEL, circular) for width in widths[:0:-1])
        self.decoder = nn.ModuleList(
            _Same(widths[level + 1] + skips[level], widths[level], _UP_KERNEL, circular)
            for level in reversed(range(depth))
        )
        self.activation = nn.LeakyReLU(_SLOPE, inplace=True)
        self.head = nn.Conv2d(widths[0] + self.parts, self.parts, 1)
        if tuned:
            _tune(cast(nn.Conv2d, self.encoder[0]))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] of the mixture float32 [B, 2, T]."""
        length = mixture.shape[-1]
        padded = nn.functional.pad(mixture[:, : self.parts, None], (0, -length % 2 ** len(self.encoder)))
        padded = padded.contiguous(memory_format=torch.channels_last)  # [B, 1 or 2, 1, T']
        x, skips = padded, []
        for layer in self.encoder:
            x = self.activation(layer(x))  # [B, C, 1, T' / 2**level]
            skips.append(x)
            x = x[..., ::2].contiguous(memory_format=torch.channels_last)
        x = self.activation(self.middle(x))
        for up, layer in zip(self.up, self.decoder, strict=True):
            x = up(x.repeat_interleave(2, -1))
            x = self.activation(layer(torch.cat((x, skips.pop()), 1)))
        estimate: Tensor = self.head(torch.cat((x, padded), 1))[:, :, 0, :length].float()  # [B, 1 or 2, T]
        return torch.cat((estimate, torch.zeros_like(estimate)), 1) if self.parts == 1 else estimate


@torch.no_grad()
def _tune(first: nn.Conv2d) -> None:
    """Starts the first convolution as cosines of 1 to 28 periods in 64 samples, with thresholds in equal steps.

    Kernel i has i % 28 + 1 periods, is even around its centre, and spans 64 samples or fewer if it is shorter. At its
    norm of 1/2 the study's loudest cosine gives 5. Kernels of one frequency differ in their biases, from -5 to 5. This
    start contains the study's frequencies, but not its amplitudes or decisions. All weights are learned.
    """
    weight, bias = first.weight, cast(Tensor, first.bias)  # [C, 1 or 2, 1, K], [C]
    index = torch.arange(len(weight))
    offset = torch.arange(weight.shape[-1]) - weight.shape[-1] // 2
    window = (_PERIOD / 2 + 0.5 - offset.abs()).clamp(0, 1)  # The window is 1/2 at both ends of 65 samples.
    waves = window * torch.cos(2 * math.pi / _PERIOD * (index % _BINS + 1)[:, None] * offset)  # [C, K]
    weight.copy_((0.5 * waves / waves.norm(dim=1, keepdim=True))[:, None, None].expand_as(weight))
    bias.copy_(5 * (2 * (index // _BINS + 0.5) * _BINS / len(index) - 1))
