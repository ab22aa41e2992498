"""Returns the mixture itself, demodulated, without any separation."""

from torch import Tensor

from rfsep.types import Modem, Separated


class Passthrough:
    """Returns the mixture as the estimate, which is the error that separation starts from.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T]; not used.
    """

    def __init__(self, modem: Modem, examples: Tensor) -> None:
        self.modem = modem

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the mixture complex64 [B, T] and its hard bits."""
        return Separated(mixture, self.modem.decide(mixture))
