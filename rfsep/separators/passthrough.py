"""No separation at all: the mixture itself, demodulated."""

from torch import Tensor

from rfsep.types import Modem, Separated


class Passthrough:
    """Returns the mixture as the estimate; the error that separation starts from.

    Args:
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T]; not looked at.
    """

    def __init__(self, modem: Modem, examples: Tensor) -> None:
        self.modem = modem

    def separate(self, mixture: Tensor) -> Separated:
        """The mixture complex64 [B, T] and its hard bits."""
        return Separated(mixture, self.modem.decide(mixture))
