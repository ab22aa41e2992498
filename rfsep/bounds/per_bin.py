"""Closed-form estimators, bin by bin, for the cosine mixtures of the ICASSP 2023 architecture study."""

import torch
from torch import Tensor

from rfsep.signals.cosines import Cosines
from rfsep.types import InputError, MixtureBatch, Modem, Separated, SignalSource


def _cosines(part: str, given: object) -> Cosines:
    """Returns a part of the mixture as a sum of cosines.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(given, Cosines):
        raise InputError(f"the bounds per bin need sums of cosines; the {part} is a {type(given).__name__}")
    return given


class _Bins:
    """Mixtures in terms of bins: ``y_k = a_k + gain b_k`` where both have the bin.

    Args:
        soi: sum of cosines.
        interference: sum of cosines in phase with it.
    """

    def __init__(self, soi: Cosines, interference: Cosines) -> None:
        self.soi = soi
        self.shared = torch.tensor([bin_ in interference.bins for bin_ in soi.bins])  # bool [D]
        # Both sums have power 1, so the power per bin falls with the number of bins.
        self.ratio = (len(soi.bins) / len(interference.bins)) ** 0.5

    def observe(self, batch: MixtureBatch) -> tuple[Tensor, Tensor]:
        """Returns bins float32 [B, D] of the mixtures over the SOI's amplitudes, and the interference's gain [B]."""
        return self.soi.analyse(batch.mixture).real, self.ratio * 10 ** (-batch.sinr_db / 20)

    def separated(self, amplitudes: Tensor, num_samples: int) -> Separated:
        """Returns the SOI complex64 [B, T] of amplitudes float32 [B, D], without bits."""
        soi = self.soi.synthesise(amplitudes, num_samples)
        return Separated(soi, torch.zeros((len(soi), 0), dtype=torch.uint8))


class PerBinSlicer:
    """Maps each DFT bin to the nearest point of the sum constellation, and that to the SOI's amplitude.

    There is no error if all points differ. Bins that the interference leaves free are kept unchanged. With levels -3,
    -1, 1, 3 in both and a gain of 4 the sums are 16 equally spaced points, one for each pair, so a separator without
    error exists.

    Args:
        modem: the SOI's modem, sums of cosines.
        source: the interference's source, sums of cosines.
        noise_power: power of the white noise in the mixtures; the nearest point is the likeliest at any power.

    Raises:
        InputError: the signals are others, or have Gaussian amplitudes in shared bins.
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
        """Returns the SOI's level float32 [B, D] in the sum nearest to each bin float32 [B, D]."""
        own, other = self.levels
        sums = (own[:, None] + gain[:, None, None] * other).flatten(1)  # [B, P * Q]
        nearest = (seen[:, :, None] - sums[:, None]).abs().argmin(-1)  # [B, D]
        return own[nearest // len(other)]


class PerBinLinear:
    """The best linear estimate, which weighs a shared bin by the SOI's share of its power, 1 / (1 + gain^2).

    If all bins are shared, the MSE is ``gain^2 / (1 + gain^2)``: 16/17, -0.263 dB, at the published gain of 4.

    Args:
        modem: the SOI's modem, sums of cosines.
        source: the interference's source, sums of cosines.
        noise_power: power of the white noise in the mixtures, whose share of a bin is neglected.

    Raises:
        InputError: the signals are others.
    """

    def __init__(self, modem: Modem, source: SignalSource, noise_power: float) -> None:
        self.bins = _Bins(_cosines("SOI", modem), _cosines("interference", source))

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Estimate complex64 [B, T] of mixtures without random phase."""
        seen, gain = self.bins.observe(batch)
        weights = torch.where(self.bins.shared, 1 / (1 + gain.square()[:, None]), 1.0)  # [B, D]
        return self.bins.separated(weights * seen, batch.mixture.shape[1])
