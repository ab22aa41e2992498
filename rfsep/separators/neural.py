"""A trained network as a separator."""

import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, to_channels
from rfsep.separators.windows import overlapped
from rfsep.types import Modem, Separated

_BATCH = 32  # windows at once


class Neural:
    """Runs a network over windows of the mixture and demodulates its estimate with the matched filter.

    Args:
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T]; not looked at: the network learned from them.
        model: float32 [B, 2, L] to float32 [B, 2, L], trained on windows that start on an SOI symbol.
        block: samples in a window.
        margin: samples at a window's inner edge that its neighbour estimates instead.
    """

    def __init__(self, modem: Modem, examples: Tensor, model: nn.Module, block: int, margin: int) -> None:
        self.modem = modem
        self.model = model.eval()
        self.block = block
        self.margin = margin

    def _apply(self, windows: Tensor) -> Tensor:
        """Estimate complex64 [W, L] of windows complex64 [W, L]."""
        with torch.inference_mode():
            return torch.cat([from_channels(self.model(to_channels(part))) for part in windows.split(_BATCH)])

    def separate(self, mixture: Tensor) -> Separated:
        """Estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        soi = overlapped(self._apply, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, (self.modem.demodulate(soi) > 0).byte())
