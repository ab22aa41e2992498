"""The recurrent U-Net of audio denoising, as entered in the RF Challenge."""

from itertools import pairwise

import torch
from torch import Tensor, nn

_ZEROS = 56  # zero crossings of the interpolator on each side


def _half_sample_filter() -> Tensor:
    """Returns taps [1, 1, 2 * zeros] for values half-way between samples: a sinc with a Hann window."""
    t = torch.arange(-_ZEROS, _ZEROS, dtype=torch.float64) + 0.5
    return (torch.sinc(t) * torch.cos(torch.pi * t / (2 * _ZEROS)).square()).float()[None, None]


def _half_way(x: Tensor, taps: Tensor, behind: bool) -> Tensor:
    """Interpolates x [B, 2, T], zero outside, half a sample after (or before) each sample."""
    rows = nn.functional.pad(x.reshape(-1, 1, x.shape[-1]), (_ZEROS - behind, _ZEROS - (not behind)))
    return nn.functional.conv1d(rows, taps).reshape(x.shape)


def _upsample(x: Tensor, taps: Tensor) -> Tensor:
    """Band-limited interpolation [B, 2, 2 T] of x [B, 2, T]."""
    return torch.stack((x, _half_way(x, taps, behind=True)), -1).flatten(-2)


def _downsample(x: Tensor, taps: Tensor) -> Tensor:
    """Returns every second sample [B, 2, T / 2] of x [B, 2, T] after a half-band filter."""
    return 0.5 * (x[..., ::2] + _half_way(x[..., 1::2], taps, behind=False))


class Demucs(nn.Module):
    """Recurrent U-Net for waveforms: float32 [B, 2, T] to float32 [B, 2, T], T any.

    It upsamples by sinc interpolation. Then come ``depth`` levels of a strided convolution, ReLU, a 1x1 convolution and
    a gated linear unit; a bidirectional LSTM of two layers; the levels in reverse, each with the encoder's output
    added; and downsampling. The input is not normalised. Defaults are those of Yapar et al., "DEMUCS for data-driven RF
    signal denoising", ICASSP 2024 challenge; layers as in Défossez et al., "Real time speech enhancement in the
    waveform domain", Interspeech 2020.

    Args:
        hidden: channels of the first level.
        depth: levels.
        kernel: taps of the strided convolutions.
        stride: their stride.
        growth: ratio of channels between successive levels.
        resample: factor of the upsampling, a power of two.
    """

    taps: Tensor

    def __init__(
        self, hidden: int = 64, depth: int = 5, kernel: int = 8, stride: int = 2, growth: int = 2, resample: int = 2
    ) -> None:
        super().__init__()
        if resample < 1 or resample & (resample - 1):
            raise ValueError(f"resample {resample} is no power of two")
        self.kernel, self.stride = kernel, stride
        self.doublings = resample.bit_length() - 1
        widths = [2, *(hidden * growth**level for level in range(depth))]
        self.encoder = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width_in, width, (1, kernel), (1, stride)),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, 2 * width, 1),
                nn.GLU(1),
            )
            for width_in, width in pairwise(widths)
        )
        self.recurrent = nn.LSTM(widths[-1], widths[-1], num_layers=2, bidirectional=True)
        self.merge = nn.Linear(2 * widths[-1], widths[-1])
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, 2 * width, 1),
                nn.GLU(1),
                nn.ConvTranspose2d(width, width_out, (1, kernel), (1, stride)),
                nn.ReLU(inplace=True) if width_out != 2 else nn.Identity(),
            )
            for width, width_out in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.register_buffer("taps", _half_sample_filter(), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _whole_length(self, length: int) -> int:
        """Returns the shortest length from ``length`` on that the strided convolutions cover completely."""
        for _ in self.encoder:
            length = max(-(-(length - self.kernel) // self.stride), 0) + 1
        for _ in self.encoder:
            length = (length - 1) * self.stride + self.kernel
        return length

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] of the mixture float32 [B, 2, T]."""
        x = mixture
        with torch.autocast(mixture.device.type, enabled=False):  # Resampling in bfloat16 limits the accuracy to 50 dB.
            for _ in range(self.doublings):
                x = _upsample(x, self.taps)  # [B, 2, R T]
        length = x.shape[-1]
        x = nn.functional.pad(x, (0, self._whole_length(length) - length))[:, :, None]
        x, skips = x.contiguous(memory_format=torch.channels_last), []
        for layer in self.encoder:
            x = layer(x)  # [B, C, 1, T']
            skips.append(x)
        steps, _ = self.recurrent(x[:, :, 0].permute(2, 0, 1))  # [T', B, 2 C]
        x = self.merge(steps).permute(1, 2, 0)[:, :, None].contiguous(memory_format=torch.channels_last)
        for layer in self.decoder:
            x = layer(x + skips.pop())
        x = x[:, :, 0, :length].float()
        with torch.autocast(mixture.device.type, enabled=False):
            for _ in range(self.doublings):
                x = _downsample(x, self.taps)
        return x
