"""The bound of joint detection with a single carrier, given the carrier's waveform."""

import torch
from torch import Tensor

from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.single_carrier.learning import learn, remodulated
from rfsep.types import MixtureBatch, Modem, Separated, SignalSource

_FRAMES, _FRAME_SAMPLES = 40, 8192
_ROWS = 8  # windows that are received together


class SingleCarrierGenie:
    """The matched filter on SOI and the noise that belongs to the interference.

    The interference's symbols are detected without the SOI, modulated again by the pulse that fits them best in each
    window, and subtracted. What a receiver recorded beside the carrier is left: no separator that knows the carrier
    alone can remove that.

    Args:
        modem: the SOI's modem.
        source: of the interference, a single carrier; its rate, pulse and constellation are learned from it.
        noise_power: power of the white noise in the mixtures; not used.

    Raises:
        InputError: the source is not of a single carrier.
    """

    def __init__(self, modem: Modem, source: SignalSource, noise_power: float) -> None:
        frames = source.sample(_FRAMES, _FRAME_SAMPLES, torch.Generator().manual_seed(0)).waveform
        self.carrier = learn(frames)
        self._receiver = MatchedFilter(modem, torch.zeros((0, 0), dtype=torch.complex64))

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        return self._receiver.separate(batch.mixture - self.waveform(batch.interference))

    def waveform(self, interference: Tensor) -> Tensor:
        """Returns the modulated part complex64 [B, T] of interference complex64 [B, T]."""
        return torch.cat([remodulated(rows, self.carrier) for rows in torch.split(interference, _ROWS)])
