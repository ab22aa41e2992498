"""The Wave-U-Net of the OFDM architecture study."""

import torch
from torch import Tensor, nn

_STEP = 24  # channels more a level
_KERNEL = 15  # of the encoder, behind the first level
_UP_KERNEL = 5  # of the decoder
_SLOPE = 0.3  # of the rectifiers


def _same(width_in: int, width_out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, (1, kernel), padding="same")


class WaveUNet(nn.Module):
    """Wave-U-Net for waveforms: float32 [B, 2, T] to float32 [B, 2, T], T any.

    ``depth`` levels of a convolution, skip and every second sample; a convolution in the middle; per level every sample
    twice, a convolution, concatenation with the skip and a convolution; at last a 1x1 convolution that sees the mixture
    too. Neither normalisation nor dropout. The study's finding is that the first kernel must reach over an OFDM symbol
    (Lee et al., "On neural architectures for deep learning-based source separation of co-channel OFDM signals",
    ICASSP 2023, arXiv 2303.06438): defaults are its proposal, 1.66 M parameters; ``first_kernel=15, width_factor=1,
    depth=12`` is the audio original, 12.6 M.

    Args:
        first_kernel: K, taps of the very first convolution.
        width_factor: F, the very first convolution has 24 F channels; level l behind it has 24 (l + 1).
        depth: levels.
        real: the study's signals are real: work on the real part alone, the imaginary part of the estimate is zero.
    """

    def __init__(self, first_kernel: int = 101, width_factor: int = 20, depth: int = 5, real: bool = True) -> None:
        super().__init__()
        self.parts = 1 if real else 2
        widths = [_STEP * (level + 1) for level in range(depth + 1)]
        skips = [_STEP * width_factor, *widths[1:depth]]
        self.encoder = nn.ModuleList(
            _same(self.parts if level == 0 else skips[level - 1], skips[level], _KERNEL if level else first_kernel)
            for level in range(depth)
        )
        self.middle = _same(skips[-1], widths[depth], _KERNEL)
        self.up = nn.ModuleList(_same(width, width, _UP_KERNEL) for width in widths[:0:-1])
        self.decoder = nn.ModuleList(
            _same(widths[level + 1] + skips[level], widths[level], _UP_KERNEL) for level in reversed(range(depth))
        )
        self.activation = nn.LeakyReLU(_SLOPE, inplace=True)
        self.head = nn.Conv2d(widths[0] + self.parts, self.parts, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimate float32 [B, 2, T] of the mixture float32 [B, 2, T]."""
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
