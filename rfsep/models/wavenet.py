"""The WaveNet of the RF Challenge, and its form with learnable dilations."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_KERNEL = 3
_MAX_DILATION = 1024.0


class _Gate(torch.autograd.Function):
    """The gate sigmoid(first half of the channels) * tanh(second half).

    tanh(v) = 2 sigmoid(2 v) - 1 costs less than half of PyTorch's tanh on CPUs, which is a tenth of a training step.
    The difference is computed in float32, because bfloat16 would lose small values.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor) -> Tensor:
        gate, value = gates.chunk(2, 1)  # [B, C, 1, T] each
        opened = gate.sigmoid()
        bent = (2 * value).float().sigmoid_().mul_(2).sub_(1).to(gates.dtype)
        ctx.save_for_backward(opened, bent)
        return opened * bent

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        opened, bent = ctx.saved_tensors
        to_gate = torch.ops.aten.sigmoid_backward(gradients[0] * bent, opened)
        to_value = torch.ops.aten.tanh_backward(gradients[0] * opened, bent)
        return torch.cat((to_gate, to_value), 1)  # [B, 2 C, 1, T]


def _between(padded: Tensor, start: int, towards: int, fraction: Tensor, length: int) -> Tensor:
    """Returns samples from ``start`` on, moved by ``fraction`` of a sample in the direction ``towards`` (1 or -1)."""
    whole = padded[..., start : start + length]
    return whole + fraction * (padded[..., start + towards : start + towards + length] - whole)


class _Block(nn.Module):
    """Dilated convolution, gate, and 1x1 convolution to residual and skip (van den Oord et al. 2016, section 2.4)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv2d(channels, 2 * channels, (1, _KERNEL), dilation=(1, dilation), padding="same")
        self.mix = nn.Conv2d(channels, 2 * channels, 1)

    def interpolated(self, x: Tensor, whole: int, fraction: Tensor) -> Tensor:
        """Returns the dilated convolution [B, 2 C, 1, T] of x with dilation ``whole + fraction``.

        Convolution is linear: interpolating x between samples interpolates the result between the two dilations.
        """
        length = x.shape[-1]
        padded = nn.functional.pad(x, (whole + 1, whole + 1))
        before = _between(padded, 1, -1, fraction, length)
        after = _between(padded, 2 * whole + 1, 1, fraction, length)
        weight = self.dilated.weight.permute(0, 3, 1, 2).flatten(1)[:, :, None, None]  # [2 C, 3 C, 1, 1]
        return nn.functional.conv2d(torch.cat((before, x, after), 1), weight, self.dilated.bias)

    def forward(
        self, x: Tensor, dilation: tuple[int, Tensor] | None, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the next x and the skip, both [B, C, 1, T], from x [B, C, 1, T].

        Args:
            x: the residual path.
            dilation: whole part and fraction, or None for the fixed one.
            shift: [B, C, 1, 1], added to the convolution's input but not to the residual path.
        """
        seen = x if shift is None else x + shift.to(x.dtype)
        gates = self.dilated(seen) if dilation is None else self.interpolated(seen, *dilation)  # [B, 2 C, 1, T]
        gated = _Gate.apply(gates)  # type: ignore[no-untyped-call]  # [B, C, 1, T]
        residual, skip = self.mix(gated).chunk(2, 1)
        return (x + residual).mul_(1 / math.sqrt(2)), skip


class WaveNet(nn.Module):
    """Non-causal WaveNet for waveforms: float32 [B, 2, T] to float32 [B, 2, T], T any.

    It has a 1x1 convolution; residual blocks with kernel 3 and dilations 1, 2, 4, ... that start again every ``cycle``
    blocks; and two 1x1 convolutions of the summed skips, the last one zero at first. The defaults are the baseline of
    the ICASSP 2024 challenge: 3.96 M parameters, 6,139 samples per output. With ``channels=256`` and
    ``learnable_dilation`` it is the winner's network (Tian et al., arXiv 2402.09461). A dilation d is then a real
    number up to 1024, and linear interpolation between two samples gives d a gradient.

    Weights are those of 1-D convolutions with an axis of length 1 in the middle. Images one sample high, channels last,
    make bfloat16 fast on CPUs.

    Args:
        channels: C of the residual and skip paths.
        blocks: residual blocks.
        cycle: number of blocks after which the dilation starts again at 1.
        learnable_dilation: make dilations parameters, which start at the fixed ones.
    """

    def __init__(
        self, channels: int = 128, blocks: int = 30, cycle: int = 10, learnable_dilation: bool = False
    ) -> None:
        super().__init__()
        dilations = [2 ** (block % cycle) for block in range(blocks)]
        if max(dilations) > _MAX_DILATION:
            raise ValueError(f"cycle {cycle} leads to dilation {max(dilations)}; at most {_MAX_DILATION:g}")
        self.channels = channels
        self.cycle = cycle
        self.enter = nn.Conv2d(2, channels, 1)
        self.blocks = nn.ModuleList(_Block(channels, dilation) for dilation in dilations)
        self.collect = nn.Conv2d(channels, channels, 1)
        self.head = nn.Conv2d(channels, 2, 1)
        self.dilations = nn.Parameter(torch.tensor(dilations, dtype=torch.float32)) if learnable_dilation else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.head.weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _dilations(self) -> list[tuple[int, Tensor] | None]:
        """Per block None if it is fixed, else whole part and fraction, read at once because a GPU waits here."""
        if self.dilations is None:
            return [None] * len(self.blocks)
        dilations = self.dilations.clamp(1, _MAX_DILATION)
        return [(int(whole), d - int(whole)) for whole, d in zip(dilations.tolist(), dilations, strict=True)]

    def features(self, mixture: Tensor, shifts: Sequence[Tensor | None] | None = None) -> Tensor:
        """Returns features [B, C, 1, T] of the mixture float32 [B, 2, T], the input of the last convolution.

        Args:
            mixture: float32 [B, 2, T].
            shifts: shift of every block, see `_Block`.
        """
        x = mixture[:, :, None].contiguous(memory_format=torch.channels_last)  # [B, 2, 1, T]
        x = self.enter(x).relu_()  # [B, C, 1, T]
        total: Tensor | None = None
        shifts = shifts or [None] * len(self.blocks)
        for block, dilation, shift in zip(self.blocks, self._dilations(), shifts, strict=True):
            x, skip = block(x, dilation, shift)
            # The sums stay in float32 under bfloat16: rounding each of them costs up to 5 dB, and this costs no time.
            total = skip.to(torch.float32, copy=True) if total is None else total.add_(skip)
        assert total is not None
        features: Tensor = self.collect(total / math.sqrt(len(self.blocks))).relu_()
        return features

    def estimate(self, features: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] of the features [B, C, 1, T].

        It stays in float32 under bfloat16, which costs little and leaves the output unrounded.
        """
        with torch.autocast(features.device.type, enabled=False):
            estimate: Tensor = self.head(features.float())[:, :, 0]  # [B, 2, T]
        return estimate

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] of the mixture float32 [B, 2, T]."""
        return self.estimate(self.features(mixture))
