"""Takes away the strongest signal of a steady envelope, whatever its phase does: what a receiver begins with.

Beneath interference A exp(j phi) far above it, a SOI s changes the envelope by its part in the direction of the
interference alone: |y| = A + Re s exp(-j phi). So twice (|y| - A) exp(j phi) is s + conj(s) exp(2 j phi): the SOI at
its own level, and an image of it that the interference's phase scatters (the limiter of Baghdady, Proc. IRE 43, 1955,
turned to the weaker signal).
"""

import torch
from torch import Tensor

from rfsep.types import Modem, Separated

_LEAST = 1e-12


class Limiter:
    """The weaker signal beside interference of a steady envelope, without its phase being known.

    Args:
        modem: the SOI's modem.
        examples: not used; separators learn from such frames complex64 [F, T].
        span: samples, an odd number, over which the envelope is averaged.
    """

    def __init__(self, modem: Modem, examples: Tensor, span: int = 257) -> None:
        self.modem = modem
        self.span = span

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the SOI with its image complex64 [B, T], and hard bits uint8 [B, N] of its matched filter."""
        envelope = mixture.abs()
        reach = self.span // 2
        ones = torch.ones((1, 1, self.span), dtype=envelope.dtype)
        total = torch.nn.functional.conv1d(envelope[:, None], ones, padding=reach)[:, 0]
        held = torch.nn.functional.conv1d(torch.ones_like(envelope)[:1, None], ones, padding=reach)[:, 0]
        soi = 2 * (envelope - total / held) * mixture / envelope.clamp_min(_LEAST)
        return Separated(soi, self.modem.decide(soi))
