"""The matched filter, optimal in white noise."""

from typing import Literal

from torch import Tensor

from rfsep.signals.constellations import decide, posterior_mean
from rfsep.types import Modem, Separated


class MatchedFilter:
    """Correlates with the SOI's pulse or carriers, decides, and modulates the symbols again.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T]; not used.
        remodulation: the symbols that are modulated again. ``soft``: the posterior mean of each symbol, if the error
            after the filter is Gaussian with the variance that the symbols' power shows; never much worse than silence.
            ``hard``: the decided symbols; exact if all are right, with an error of about 4 p of the power at error
            rate p. ``none``: the filter's outputs as they are.
    """

    def __init__(self, modem: Modem, examples: Tensor, remodulation: Literal["soft", "hard", "none"] = "soft") -> None:
        self.modem = modem
        self.remodulation = remodulation

    def separate(self, mixture: Tensor) -> Separated:
        """Re-modulated estimate complex64 [B, T] and hard bits uint8 [B, N]."""
        points = self.modem.constellation
        symbols = self.modem.analyse(mixture)  # [B, S]
        bits = self.modem.decide(mixture)
        if self.remodulation == "soft":
            excess = symbols.abs().square().mean(1, keepdim=True) - points.abs().square().mean()  # [B, 1]
            symbols = posterior_mean(symbols, points, excess.clamp_min(1e-4))
        elif self.remodulation == "hard":
            symbols = decide(symbols, points)
        return Separated(self.modem.synthesise(symbols, mixture.shape[1]), bits)


def remodulated(modem: Modem, waveform: Tensor) -> Tensor:
    """Returns the matched filter's decisions as a waveform complex64 [B, T]."""
    return modem.synthesise(decide(modem.analyse(waveform), modem.constellation), waveform.shape[1])
