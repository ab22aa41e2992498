"""The diffusion network of alpha-RGS, a WaveNet with the noise level as a second input."""

import torch
from torch import Tensor, nn

from rfsep.models.wavenet import WaveNet

_FREQUENCIES = 64


def step_table(num_steps: int, rounded: bool = False) -> Tensor:
    """Returns sines, then cosines, of step * 10^(4 k / 63), k = 0 ... 63: float32 [num_steps, 128].

    Args:
        num_steps: number of rows.
        rounded: compute exponents, frequencies and angles in float32, as published; entries are up to 0.03 off.
    """
    dtype = torch.float32 if rounded else torch.float64
    exponents = 4 * torch.arange(_FREQUENCIES, dtype=dtype) / (_FREQUENCIES - 1)
    frequencies = (10 ** exponents.double()).to(dtype)  # A float64 power is the same on every processor.
    angles = torch.arange(num_steps, dtype=dtype)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1).float()


class StepEmbedding(nn.Module):
    """An embedding of diffusion steps [B], also fractional ones: float32 [B, W].

    Args:
        num_steps: steps of the schedule.
        width: W.
        rounded: see `step_table`.
    """

    table: Tensor

    def __init__(self, num_steps: int, width: int, rounded: bool = False) -> None:
        super().__init__()
        self.register_buffer("table", step_table(num_steps, rounded), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, step: Tensor) -> Tensor:
        """Returns the embedding float32 [B, W] of steps float32 or int64 [B]; the table is interpolated linearly.

        It stays in float32 under bfloat16 too, because steps differ by small amounts. This costs nothing.
        """
        step = step.float().clamp(0, len(self.table) - 1)
        low = step.long()
        high = (low + 1).clamp(max=len(self.table) - 1)
        entry = torch.lerp(self.table[low], self.table[high], (step - low)[:, None])  # [B, 128]
        with torch.autocast(step.device.type, enabled=False):
            embedding: Tensor = self.layers(entry)
        return embedding


class DiffWave(nn.Module):
    """Estimates the noise in a signal: float32 [B, 2, T] and steps [B] to float32 [B, 2, T], T any.

    It is `WaveNet` with a linear map of the step's embedding added before every block's dilated convolution (Z. Kong et
    al., "DiffWave", ICLR 2021), as T. Jayashankar et al. (NeurIPS 2023, arXiv 2306.14411) use it for radio signals. It
    has 2.31 M parameters with 64 channels (QPSK), 6.26 M with 128 (OFDM-BPSK) and 20.1 M with 256 (OFDM-QPSK). An
    output depends on 6,139 samples.

    Args:
        channels: C of the residual and skip paths.
        blocks: residual blocks.
        cycle: number of blocks after which the dilation starts again at 1.
        num_steps: steps of the schedule.
        width: width of the step's embedding.
        rounded: compute step embeddings in float32, see `step_table`; weights published for alpha-RGS need it.
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
        self.shifts = nn.Linear(width, blocks * channels)  # The maps of all blocks form one product.

    def example_inputs(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Returns zero inputs of one window of ``num_samples`` samples."""
        return torch.zeros((1, 2, num_samples)), torch.zeros(1)

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        """Noise float32 [B, 2, T] of unit variance in ``noisy`` float32 [B, 2, T] at steps float32 or int64 [B]."""
        shifts = self.shifts(self.embedding(step)).unflatten(1, (-1, self.wavenet.channels))  # [B, blocks, C]
        return self.wavenet.estimate(self.wavenet.features(noisy, shifts[..., None, None].unbind(1)))
