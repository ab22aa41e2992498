"""A trained network as a separator."""

from typing import Protocol

import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, to_channels
from rfsep.separators.windows import overlapped
from rfsep.types import Modem, Separated, Separator

_BATCH = 32  # windows per batch


def network_input(mixture: Tensor, guide: Separator | None) -> Tensor:
    """Returns a network's input for mixtures complex64 [B, T]: float32 [B, 2, T], or [B, 4, T] with a guide."""
    channels = to_channels(mixture)
    if guide is None:
        return channels
    return torch.cat((channels, to_channels(guide.separate(mixture).soi)), 1)


class FastNetwork(Protocol):
    """A network compiled for windows of one length; see `rfsep.app.networks.export`."""

    num_samples: int
    name: str

    def __call__(self, mixture: Tensor) -> Tensor:
        """Estimate float32 [B, 2, L] of windows float32 [B, 2 or 4, L], L being ``num_samples``."""
        ...


class Neural:
    """Runs a network over windows of the mixture and demodulates its estimate with the matched filter.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T]; not used, because the network has learned from them.
        model: float32 [B, 2, L], or [B, 4, L] with a guide, to float32 [B, 2, L]; trained on windows that start on
            a SOI symbol.
        block: samples per window.
        margin: samples at a window's inner edge that its neighbour estimates instead; a quarter window by default.
        guide: a separator whose estimate the network was trained to improve.
        fast: replaces the model for windows of its length; the last window of a mixture may be longer.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        model: nn.Module,
        block: int,
        margin: int | None = None,
        guide: Separator | None = None,
        fast: FastNetwork | None = None,
    ) -> None:
        self.modem = modem
        self.model = model.eval()
        self.block = block
        self.margin = block // 4 if margin is None else margin
        self.guide = guide
        self.fast = fast

    def _apply(self, windows: Tensor) -> Tensor:
        """Estimate complex64 [W, L] of windows complex64 [W, L]."""
        fast = self.fast
        network = self.model if fast is None or fast.num_samples != windows.shape[1] else fast
        with torch.inference_mode():
            parts = [network(network_input(part, self.guide)) for part in torch.split(windows, _BATCH)]
            return torch.cat([from_channels(part) for part in parts])

    def separate(self, mixture: Tensor) -> Separated:
        """Estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        soi = overlapped(self._apply, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))
