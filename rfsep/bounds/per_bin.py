"""What the ICASSP 2023 architecture study's mixtures of cosines give away, bin by bin, in closed form."""

import torch
from torch import Tensor

from rfsep.signals.cosines import Cosines
from rfsep.types import InputError, MixtureBatch, Modem, Separated, SignalSource


def _cosines(part: str, given: object) -> Cosines:
    """A part of the mixture that has to be a sum of cosines.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(given, Cosines):
        raise InputError(f"the bounds per bin need sums of cosines; the {part} is a {type(given).__name__}")
    return given


class _Bins:
    """Mixtures seen bin by bin: ``y_k = a_k + gain b_k`` where both have the bin.

    Args:
        soi: sum of cosines.
        interference: sum of cosines in phase with it.
    """

    def __init__(self, soi: Cosines, interference: Cosines) -> None:
        self.soi = soi
        self.shared = torch.tensor([bin_ in interference.bins for bin_ in soi.bins])  # bool [D]
        # both have power 1, so the fewer bins a sum has, the more is in each
        self.ratio = (len(soi.bins) / len(interference.bins)) ** 0.5

    def observe(self, batch: MixtureBatch) -> tuple[Tensor, Tensor]:
        """Bins float32 [B, D] of the mixtures in units of the SOI's amplitudes, and the interference's gain [B]."""
        return self.soi.analyse(batch.mixture).real, self.ratio * 10 ** (-batch.sinr_db / 20)

    def separated(self, amplitudes: Tensor, num_samples: int) -> Separated:
        """The SOI complex64 [B, T] of amplitudes float32 [B, D], without bits."""
        soi = self.soi.synthesise(amplitudes, num_samples)
        return Separated(soi, torch.zeros((len(soi), 0), dtype=torch.uint8))


class PerBinSlicer:
    """DFT bin to nearest point of the sum constellation to the SOI's amplitude: no error where points differ.

    Bins that the interference leaves free are taken as they are. With levels -3, -1, 1, 3 in both and a gain of 4 the
    sums are 16 equally spaced points, one for each pair, so a separator without error exists.

    Args:
        modem: the SOI's modem, sums of cosines.
        source: of the interference, sums of cosines.
        noise_power: power of the white noise in the mixtures; the nearest point is the likeliest whatever it is.

    Raises:
        InputError: other signals, or Gaussian amplitudes in bins that both have.
    """

    def __init__(self, modem: Modem, source: SignalSource, noise_power: float) -> None:
        soi, interference = _cosines("SOI", modem), _cosines("interference", source)
        self.bins = _Bins(soi, interference)
        self.levels = soi.constellation.real, interference.constellation.real
        if bool(self.bins.shared.any()) and not all(map(len, self.levels)):
            raise InputError("per_bin_slicer: Gaussian amplitudes in a bin of both signals have no points to decide on")

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Estimate complex64 [B, T] of mixtures without random phase."""
        seen, gain = self.bins.observe(batch)
        shared = self.bins.shared
        if bool(shared.any()):
            seen[:, shared] = self._sliced(seen[:, shared], gain)
        return self.bins.separated(seen, batch.mixture.shape[1])

    def _sliced(self, seen: Tensor, gain: Tensor) -> Tensor:
        """The SOI's level float32 [B, D] in the sum that is nearest to each bin float32 [B, D]."""
        own, other = self.levels
        sums = (own[:, None] + gain[:, None, None] * other).flatten(1)  # [B, P * Q]
        nearest = (seen[:, :, None] - sums[:, None]).abs().argmin(-1)  # [B, D]
        return own[nearest // len(other)]


class PerBinLinear:
    """The best linear estimate: every bin by its share of power, 1 / (1 + gain^2) where both signals have it.

    MSE ``gain^2 / (1 + gain^2)`` where all bins are shared: 16/17, -0.263 dB, at the published gain of 4.

    Args:
        modem: the SOI's modem, sums of cosines.
        source: of the interference, sums of cosines.
        noise_power: power of the white noise in the mixtures, whose share of a bin is neglected.

    Raises:
        InputError: other signals.
    """

    def __init__(self, modem: Modem, source: SignalSource, noise_power: float) -> None:
        self.bins = _Bins(_cosines("SOI", modem), _cosines("interference", source))

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Estimate complex64 [B, T] of mixtures without random phase."""
        seen, gain = self.bins.observe(batch)
        weights = torch.where(self.bins.shared, 1 / (1 + gain.square()[:, None]), 1.0)  # [B, D]
        return self.bins.separated(weights * seen, batch.mixture.shape[1])
