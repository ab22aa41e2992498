"""The U-Net of the cyclostationary study and of the RF Challenge."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _double(width_in: int, width_out: int, first_kernel: int, kernel: int) -> nn.Sequential:
    """Returns two convolutions with ReLU; 1-D signals are images one sample high, for the fastest memory layout."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, (1, first_kernel), padding="same"),
        nn.ReLU(),
        nn.Conv2d(width_out, width_out, (1, kernel), padding="same"),
        nn.ReLU(),
    )


def _start_as_keras(module: nn.Module) -> None:
    """Sets Glorot's uniform kernel and a zero bias, if a module has them; for ``torch.nn.Module.apply``."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class UNet(nn.Module):
    """U-Net for waveforms: float32 [B, 2, T] to float32 [B, 2, T], T any.

    It has input normalisation; ``depth`` levels of two convolutions, skip, max-pooling by 2 and dropout; two
    convolutions in the middle; per level a transposed convolution, concatenation with the skip, dropout and two
    convolutions; and a final 1x1 convolution. The first kernel is decisive: it must cover an OFDM symbol (Lancho et
    al., "Data-driven blind synchronization and interference rejection", GLOBECOM 2022; MLSP 2022 figure 3). Defaults
    are the published 4.22 M parameters.

    Args:
        channels: channels of every encoder level.
        depth: number of levels.
        first_kernel: taps of the very first convolution.
        kernel: taps of all other convolutions.
        decoder_divisors: a decoder level has ``channels // divisor`` channels, deepest level first.
        dropout: rates after the first pooling, and everywhere else.
        normalise: ``batch``: batch normalisation over the training mixtures, as published. ``window``: scaling of each
            window to unit power, so that levels 30 dB apart look alike to the first layer.
        guided: the input has two more channels, another separator's estimate, and the network learns a correction to
            it: float32 [B, 4, T] to float32 [B, 2, T]. An untrained guided network returns its guide.
        keras: build the published network as Keras does. A transposed convolution drops its last sample instead of its
            first, batch normalisation has epsilon 1e-3 and forgets a hundredth per step, kernels start as Glorot's
            uniform numbers and biases at zero. False keeps the function of weights that were trained without it.
    """

    def __init__(
        self,
        channels: int = 256,
        depth: int = 5,
        first_kernel: int = 101,
        kernel: int = 3,
        decoder_divisors: Sequence[int] = (1, 1, 2, 4, 8),
        dropout: tuple[float, float] = (0.25, 0.5),
        normalise: str = "batch",
        guided: bool = False,
        keras: bool = False,
    ) -> None:
        super().__init__()
        if len(decoder_divisors) != depth:
            raise ValueError(f"decoder_divisors {list(decoder_divisors)} must name one divisor a level: depth {depth}")
        if normalise not in ("batch", "window"):
            raise ValueError(f"unknown normalise '{normalise}'; choose batch or window")
        self.guided = guided
        width = 4 if guided else 2
        norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01) if keras else nn.BatchNorm2d(width)
        self.normalise = norm if normalise == "batch" else nn.Identity()
        self.per_window = normalise == "window"
        widths = [channels // divisor for divisor in decoder_divisors]
        self.encoder = nn.ModuleList(
            _double(width if level == 0 else channels, channels, first_kernel if level == 0 else kernel, kernel)
            for level in range(depth)
        )
        self.pool = nn.MaxPool2d((1, 2))
        self.dropouts = nn.ModuleList(nn.Dropout(dropout[0] if level == 0 else dropout[1]) for level in range(depth))
        self.middle = _double(channels, channels, kernel, kernel)
        dropped = 0 if keras else 1  # dropped samples at the begin; `forward` cuts off the last one
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width_in, width, (1, 3), (1, 2), padding=(0, dropped), output_padding=(0, dropped))
            for width_in, width in zip([channels, *widths], widths, strict=False)
        )
        self.up_dropout = nn.Dropout(dropout[1])
        self.decoder = nn.ModuleList(_double(width + channels, width, kernel, kernel) for width in widths)
        self.head = nn.Conv2d(widths[-1], 2, 1)
        if keras:
            self.apply(_start_as_keras)
        if guided:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] from the mixture (and its guide) float32 [B, 2 or 4, T]."""
        length = mixture.shape[-1]
        x = mixture[:, :, None]  # [B, 2 or 4, 1, T]
        if self.per_window:
            rms = x[:, :2].square().sum(1, keepdim=True).mean(-1, keepdim=True).clamp_min(1e-12).sqrt()
            x = torch.cat((x[:, :2] / rms, x[:, 2:]), 1)
        x = nn.functional.pad(x, (0, -length % 2 ** len(self.encoder)))  # [B, 2, 1, T']
        x = self.normalise(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for block, dropout in zip(self.encoder, self.dropouts, strict=True):
            x = block(x)  # [B, C, 1, T' / 2**level]
            skips.append(x)
            x = dropout(self.pool(x))
        x = self.middle(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            skip = skips.pop()
            raised = up(x)[..., : skip.shape[-1]]  # [B, C', 1, T' / 2**level]
            x = block(self.up_dropout(torch.cat((raised, skip), 1)))
        estimate: Tensor = self.head(x)[:, :, 0, :length]  # [B, 2, T]
        return mixture[:, 2:] + estimate.float() if self.guided else estimate.float()
