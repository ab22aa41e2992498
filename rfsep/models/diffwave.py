"""The diffusion network of alpha-RGS: a WaveNet that is told how much noise it sees."""

import torch
from torch import Tensor, nn

from rfsep.models.wavenet import WaveNet

_FREQUENCIES = 64


def step_table(num_steps: int, rounded: bool = False) -> Tensor:
    """Sines, then cosines of step * 10^(4 k / 63), k = 0 ... 63: float32 [num_steps, 128].

    Args:
        num_steps: rows.
        rounded: exponents, frequencies and angles are float32, as published: entries are up to 0.03 off.
    """
    dtype = torch.float32 if rounded else torch.float64
    exponents = 4 * torch.arange(_FREQUENCIES, dtype=dtype) / (_FREQUENCIES - 1)
    frequencies = (10 ** exponents.double()).to(dtype)  # the power is a double's, on every processor the same
    angles = torch.arange(num_steps, dtype=dtype)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1).float()


class StepEmbedding(nn.Module):
    """What a diffusion step means to a network: float32 [B, W] of steps [B], between whole steps too.

    Args:
        num_steps: of the schedule.
        width: W.
        rounded: see `step_table`.
    """

    table: Tensor

    def __init__(self, num_steps: int, width: int, rounded: bool = False) -> None:
        super().__init__()
        self.register_buffer("table", step_table(num_steps, rounded), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, step: Tensor) -> Tensor:
        """Embedding float32 [B, W] of steps float32 or int64 [B]; the table is interpolated linearly.

        In float32 even where bfloat16 is on: two steps are told apart by small differences, and this costs nothing.
        """
        step = step.float().clamp(0, len(self.table) - 1)
        low = step.long()
        high = (low + 1).clamp(max=len(self.table) - 1)
        entry = torch.lerp(self.table[low], self.table[high], (step - low)[:, None])  # [B, 128]
        with torch.autocast(step.device.type, enabled=False):
            embedding: Tensor = self.layers(entry)
        return embedding


class DiffWave(nn.Module):
    """The noise in a noisy signal: float32 [B, 2, T] and steps [B] to float32 [B, 2, T], T any.

    `WaveNet` with a linear map of the step's embedding added in front of every block's dilated convolution (Z. Kong et
    al., "DiffWave", ICLR 2021), as T. Jayashankar et al. (NeurIPS 2023, arXiv 2306.14411) learn radio signals: 2.31 M
    parameters with 64 channels (QPSK), 6.26 M with 128 (OFDM-BPSK), 20.1 M with 256 (OFDM-QPSK); sees 6,139 samples.

    Args:
        channels: C of the residual and skip paths.
        blocks: residual blocks.
        cycle: blocks after which the dilation starts again at 1.
        num_steps: of the schedule.
        width: of the step's embedding.
        rounded: steps are told in float32 throughout, see `step_table`; weights published for alpha-RGS need it.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 30,
        cycle: int = 10,
        num_steps: int = 50,
        width: int = 512,
        rounded: bool = False,
    ) -> None:
        super().__init__()
        self.wavenet = WaveNet(channels, blocks, cycle)
        self.embedding = StepEmbedding(num_steps, width, rounded)
        self.shifts = nn.Linear(width, blocks * channels)  # the map of every block, in one product

    def example_inputs(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Inputs of one window of ``num_samples`` samples, all zero."""
        return torch.zeros((1, 2, num_samples)), torch.zeros(1)

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        """Noise float32 [B, 2, T] of unit variance in ``noisy`` float32 [B, 2, T] at steps float32 or int64 [B]."""
        shifts = self.shifts(self.embedding(step)).unflatten(1, (-1, self.wavenet.channels))  # [B, blocks, C]
        return self.wavenet.estimate(self.wavenet.features(noisy, shifts[..., None, None].unbind(1)))
