"""Takes the interference's timing from a network that sees short windows, for windows of any length."""

import torch
from torch import Tensor

from rfsep.iq import power, to_channels
from rfsep.models.timing_cnn import TimingCnn
from rfsep.types import InputError

_BATCH = 64  # pieces at once
_SILENCE = 1e-20  # power below which nothing is scaled


def timing_input(mixture: Tensor) -> Tensor:
    """Returns mixtures complex64 [B, T] as a timing network sees them: float32 [B, 2, T], each scaled to unit power.

    >>> timing_input(torch.tensor([[3j, -3j]])).tolist()
    [[[0.0, -0.0], [1.0, -1.0]]]
    """
    return to_channels(mixture / power(mixture).clamp_min(_SILENCE).sqrt()[:, None])


class TimingNetwork:
    """Tells the timing of windows by a network that was trained on shorter ones (Lancho et al., GLOBECOM 2022).

    A window of any length is cut into pieces of the network's own length, the last of which ends with the window. A
    window that is d samples into a period makes a piece that starts at sample n be d + n samples into one, so the
    log-probabilities of the pieces are added at delays moved by n.

    Args:
        model: logits of the delays, as `rfsep.training.timing.Timing` trains it.
    """

    def __init__(self, model: TimingCnn) -> None:
        self.model = model.eval()

    def check(self, period: int) -> None:
        """Checks that the network was made for an interference.

        Args:
            period: of the interference, in samples.

        Raises:
            InputError: it was made for another period.
        """
        if self.model.delays != period:
            raise InputError(
                f"timing_network tells {self.model.delays} delays apart, and the interference repeats every"
                f" {period} samples"
            )

    def log_probability(self, mixture: Tensor) -> Tensor:
        """Returns log-probabilities float32 [B, P], up to a constant: sample 0 lies 0, 1, ... samples into a period.

        Args:
            mixture: complex64 [B, T].

        Raises:
            InputError: T is shorter than the windows that the network sees.
        """
        size, length = self.model.num_samples, mixture.shape[1]
        if length < size:
            raise InputError(f"timing_network sees {size} samples, and the mixture has {length}")
        total = torch.zeros((len(mixture), self.model.delays), device=mixture.device)
        for start in sorted({*range(0, length - size + 1, size), length - size}):
            found = self._of_pieces(mixture[:, start : start + size])
            total = total + found.roll(-start, 1)  # [B, P]
        return total

    def _of_pieces(self, pieces: Tensor) -> Tensor:
        """Returns log-probabilities float32 [B, P] for windows of the network's own length."""
        with torch.inference_mode():
            logits = [self.model(timing_input(part)) for part in torch.split(pieces, _BATCH)]
        return torch.cat(logits).log_softmax(1)
