"""A network that finds the timing of OFDM interference."""

import torch
from torch import Tensor, nn


class TimingCnn(nn.Module):
    """Rates delays: logits float32 [B, delays] of a mixture float32 [B, 2, num_samples].

    Three convolutions, the last two of stride 2, and two dense layers; trained by cross-entropy (Lancho et al.,
    "Data-driven blind synchronization and interference rejection", GLOBECOM 2022). No separator: no waveform comes
    out, so it has no YAML in conf/model. Defaults are the published 80 delays of an OFDM symbol with cyclic prefix.

    Args:
        num_samples: in a window, a multiple of 4.
        delays: to choose from; a multiple of 4, the convolutions have ``delays``, half and a quarter as many channels.
        kernel: taps of the first convolution, a multiple of 4; the others have half and a quarter as many.
    """

    def __init__(self, num_samples: int = 640, delays: int = 80, kernel: int = 100) -> None:
        super().__init__()
        for name, value in (("num_samples", num_samples), ("delays", delays), ("kernel", kernel)):
            if value % 4:
                raise ValueError(f"{name} {value} must be a multiple of 4")
        self.normalise = nn.BatchNorm2d(2)
        # padded to "same" lengths as Keras does it: of an odd number of zeros, the larger part behind
        self.convolutions = nn.Sequential(
            nn.ZeroPad2d(((kernel - 1) // 2, kernel // 2, 0, 0)),
            nn.Conv2d(2, delays, (1, kernel)),
            nn.ReLU(inplace=True),
            nn.ZeroPad2d(((kernel // 2 - 2) // 2, (kernel // 2 - 1) // 2, 0, 0)),
            nn.Conv2d(delays, delays // 2, (1, kernel // 2), (1, 2)),
            nn.ReLU(inplace=True),
            nn.ZeroPad2d(((kernel // 4 - 2) // 2, (kernel // 4 - 1) // 2, 0, 0)),
            nn.Conv2d(delays // 2, delays // 4, (1, kernel // 4), (1, 2)),
            nn.ReLU(inplace=True),
        )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(delays // 4 * (num_samples // 4), delays),
            nn.ReLU(inplace=True),
            nn.Linear(delays, delays),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns logits float32 [B, delays] of the mixture float32 [B, 2, num_samples]."""
        x = self.normalise(mixture[:, :, None].contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.dense(self.convolutions(x)).float()
        return logits
