"""A network that finds the timing of OFDM interference."""

import torch
from torch import Tensor, nn

_STRIDE = 4  # samples between neighbouring outputs of the convolutions


class _FoldedHead(nn.Module):
    """Logits float32 [B, delays] of features float32 [B, C, 1, T / 4], averaged over the periods of a window.

    A convolution around one period looks for every delay with the same weights, so that each window teaches all of
    them. Moving a window by four samples moves the logits by four, apart from the window's ends.

    Args:
        channels: C.
        delays: samples of a period.
    """

    order: Tensor

    def __init__(self, channels: int, delays: int) -> None:
        super().__init__()
        self.places = delays // _STRIDE
        self.look = nn.Conv1d(channels, delays, self.places, padding="same", padding_mode="circular")
        self.logits = nn.Conv1d(delays, _STRIDE, 1)
        # a period begins -d samples, modulo the period, behind the start of a window that is d samples into one
        self.register_buffer("order", -torch.arange(delays) % delays, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        period = features.reshape(*features.shape[:2], -1, self.places).mean(2)  # [B, C, places]
        logits: Tensor = self.logits(self.look(period).relu())  # [B, 4, places]
        return logits.transpose(1, 2).flatten(1)[:, self.order]


class TimingCnn(nn.Module):
    """Rates delays: logits float32 [B, delays] of a mixture float32 [B, 2, num_samples].

    Three convolutions, the last two of stride 2, and two dense layers; trained by cross-entropy (Lancho et al.,
    "Data-driven blind synchronization and interference rejection", GLOBECOM 2022). It is no separator: no waveform
    comes out. Defaults are the published 80 delays of an OFDM symbol with cyclic prefix.

    Args:
        num_samples: in a window, a multiple of 4; with ``folded`` also a multiple of ``delays``.
        delays: to choose from; a multiple of 4, the convolutions have ``delays``, half and a quarter as many channels.
        kernel: taps of the first convolution, a multiple of 4; the others have half and a quarter as many.
        folded: one set of weights looks for every delay, see `_FoldedHead`. The published dense layers learn each
            delay by itself, which takes far more windows before they learn any.
    """

    def __init__(self, num_samples: int = 640, delays: int = 80, kernel: int = 100, folded: bool = False) -> None:
        super().__init__()
        for name, value in (("num_samples", num_samples), ("delays", delays), ("kernel", kernel)):
            if value % _STRIDE:
                raise ValueError(f"{name} {value} must be a multiple of {_STRIDE}")
        if folded and num_samples % delays:
            raise ValueError(f"num_samples {num_samples} must be a multiple of the {delays} delays")
        self.num_samples = num_samples
        self.delays = delays
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
        dense = (
            nn.Flatten(),
            nn.Linear(delays // 4 * (num_samples // _STRIDE), delays),
            nn.ReLU(inplace=True),
            nn.Linear(delays, delays),
        )
        self.head = _FoldedHead(delays // 4, delays) if folded else nn.Sequential(*dense)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns logits float32 [B, delays] of the mixture float32 [B, 2, num_samples]."""
        x = self.normalise(mixture[:, :, None].contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.head(self.convolutions(x)).float()
        return logits
