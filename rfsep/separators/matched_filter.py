"""The matched filter: optimal in white noise, blind to everything else."""

from typing import Literal

from torch import Tensor

from rfsep.signals.constellations import decide, posterior_mean
from rfsep.types import Modem, Separated


class MatchedFilter:
    """Correlates with the SOI's pulse (or carriers), decides, and modulates the symbols again.

    Args:
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T]; not looked at.
        remodulation: what the waveform estimate is made of. ``soft``: the posterior mean of each symbol, taking the
            error after the filter as Gaussian with the variance that the symbols' power shows; never much worse than
            silence. ``hard``: the decided symbols; exact where all are right, at error rate p about 4 p of the power.
            ``none``: the filter's outputs as they are.
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
    """The matched filter's decisions as a waveform complex64 [B, T]."""
    return modem.synthesise(decide(modem.analyse(waveform), modem.constellation), waveform.shape[1])
