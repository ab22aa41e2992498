"""A U-Net of two rates for minutes of training: all of its layers run at a quarter of the sample rate, or slower."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rfsep.models.waveform_features import NUM_FEATURES, waveform_features

_STRIDE = 4  # of each of the two rates


class _Residual(nn.Module):
    """Convolution, ReLU and a 1x1 convolution that starts at zero, beside the identity: [B, C, 1, T] to the same."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, (1, kernel), padding="same", dilation=(1, dilation))
        self.mix = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Returns x plus its correction."""
        corrected: Tensor = x + self.mix(self.look(x).relu())
        return corrected


def _stack(channels: int, kernel: int, dilations: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(_Residual(channels, kernel, dilation) for dilation in dilations))


class StridedUNet(nn.Module):
    """U-Net on features of the mixture: float32 [B, 2, T] to float32 [B, 2, T], T any.

    A SOI of 16 samples per symbol occupies a tenth of the band, so its estimate needs no layer at the full rate. One
    convolution of stride 4 sees `waveform_features`; ``outer`` residual blocks follow, a convolution of stride 4 to one
    vector per 16 samples, ``len(dilations)`` residual blocks there, and the way back with a skip. First and last layer
    stay in float32 under bfloat16. With a SOI of 16 samples per symbol and windows that start on a symbol, vectors
    and symbols coincide.

    Args:
        channels: channels at a quarter of the rate.
        inner_channels: channels at a sixteenth of the rate.
        outer: residual blocks on each side at a quarter of the rate.
        dilations: dilation of every residual block at a sixteenth of the rate.
        first_kernel: taps of the first convolution, a multiple of 4.
        kernel: taps of the outer blocks; the inner ones have 3.
        guided: the input has two more channels, another separator's estimate, and the network learns a correction to
            it: float32 [B, 4, T] to float32 [B, 2, T]. An untrained guided network returns its guide.
    """

    def __init__(
        self,
        channels: int = 48,
        inner_channels: int = 128,
        outer: int = 2,
        dilations: Sequence[int] = (1, 2, 4, 8, 1, 2),
        first_kernel: int = 32,
        kernel: int = 5,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.guided = guided
        width = NUM_FEATURES + 2 * guided
        self.enter = nn.Conv2d(width, channels, (1, first_kernel), (1, _STRIDE), (0, (first_kernel - _STRIDE) // 2))
        self.encoder = _stack(channels, kernel, [1] * outer)
        self.down = nn.Conv2d(channels, inner_channels, (1, 2 * _STRIDE), (1, _STRIDE), (0, _STRIDE // 2))
        self.middle = _stack(inner_channels, 3, dilations)
        self.up = nn.ConvTranspose2d(inner_channels, channels, (1, 2 * _STRIDE), (1, _STRIDE), (0, _STRIDE // 2))
        self.decoder = _stack(channels, kernel, [1] * outer)
        self.head = nn.ConvTranspose2d(channels, 2, (1, 4 * _STRIDE), (1, _STRIDE), (0, 3 * _STRIDE // 2))
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        if guided:
            nn.init.zeros_(self.head.weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] from the mixture (and its guide) float32 [B, 2 or 4, T]."""
        length, device = mixture.shape[-1], mixture.device.type
        padded = nn.functional.pad(mixture, (0, -length % _STRIDE**2))
        with torch.autocast(device, enabled=False):
            seen = torch.cat((waveform_features(padded[:, :2].float()), padded[:, 2:].float()), 1)  # [B, F, 1, T]
            x = self.enter(seen[:, :, None].contiguous(memory_format=torch.channels_last)).relu()  # [B, C, 1, T / 4]
        x = self.encoder(x)
        x = x + self.up(self.middle(self.down(x)).relu())
        x = self.decoder(x)
        with torch.autocast(device, enabled=False):
            estimate: Tensor = self.head(x.float().relu())[:, :, 0, :length]  # [B, 2, T]
        return mixture[:, 2:] + estimate if self.guided else estimate
