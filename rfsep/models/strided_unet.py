"""A U-Net of two rates for minutes of training: all of its layers run at a quarter of the sample rate, or slower."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rfsep.models.waveform_features import NUM_FEATURES, waveform_features

_STRIDE = 4  # ratio of the sample rate to the first rate, and of that to the second


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


def _down(width_in: int, width_out: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    """Returns the convolution to a quarter of the rate, its taps centred over the four samples of a vector."""
    return nn.Conv2d(width_in, width_out, (1, kernel), (1, _STRIDE), (0, (kernel - _STRIDE) // 2), bias=bias)


def _up(width_in: int, width_out: int, kernel: int) -> nn.ConvTranspose2d:
    """Returns the transpose of `_down`."""
    return nn.ConvTranspose2d(width_in, width_out, (1, kernel), (1, _STRIDE), (0, (kernel - _STRIDE) // 2))


def _images(waveforms: Tensor) -> Tensor:
    """Returns float32 [B, C, T] as images one sample high, [B, C, 1, T], in the fastest memory layout."""
    return waveforms[:, :, None].contiguous(memory_format=torch.channels_last)


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
        guided: the input has two more channels, another separator's estimate g: float32 [B, 4, T] to float32 [B, 2, T].
            The network sees g by a layer of its own, and returns ``g + w (e - g)`` with its own estimate e and a weight
            w of each sample, which starts at 0: an untrained guided network returns its guide. The other layers are
            those of an unguided network, so that either may start from the weights of the other.
    """

    def __init__(
        self,
        channels: int = 48,
        inner_channels: int = 128,
        outer: int = 2,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 1),
        first_kernel: int = 32,
        kernel: int = 5,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.enter = _down(NUM_FEATURES, channels, first_kernel)
        self.encoder = _stack(channels, kernel, [1] * outer)
        self.down = _down(channels, inner_channels, 2 * _STRIDE)
        self.middle = _stack(inner_channels, 3, dilations)
        self.up = _up(inner_channels, channels, 2 * _STRIDE)
        self.decoder = _stack(channels, kernel, [1] * outer)
        self.head = _up(channels, 2, 4 * _STRIDE)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.guided = guided
        if guided:
            self.enter_guide = _down(2, channels, first_kernel, bias=False)
            self.weigh = _up(channels, 1, 4 * _STRIDE)
            for parameter in (self.enter_guide.weight, *self.weigh.parameters()):
                nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _entered(self, mixture: Tensor) -> Tensor:
        """Returns the first vectors float32 [B, C, 1, T / 4] of mixtures (and guides) float32 [B, 2 or 4, T]."""
        x: Tensor = self.enter(_images(waveform_features(mixture[:, :2])))
        return (x + self.enter_guide(_images(mixture[:, 2:])) if self.guided else x).relu()

    def _estimate(self, x: Tensor, guide: Tensor) -> Tensor:
        """Returns estimates float32 [B, 2, T] of the last vectors [B, C, 1, T' / 4] and guides [B, 2, T]."""
        length = guide.shape[-1]
        estimate: Tensor = self.head(x)[:, :, 0, :length]
        if not self.guided:
            return estimate
        return torch.lerp(guide, estimate, self.weigh(x)[:, :, 0, :length])

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] from the mixture (and its guide) float32 [B, 2 or 4, T]."""
        mixture, device = mixture.float(), mixture.device.type
        with torch.autocast(device, enabled=False):
            x = self._entered(nn.functional.pad(mixture, (0, -mixture.shape[-1] % _STRIDE**2)))
        x = self.encoder(x)
        x = self.decoder(x + self.up(self.middle(self.down(x)).relu()))
        with torch.autocast(device, enabled=False):
            return self._estimate(x.float().relu(), mixture[:, -2:])
