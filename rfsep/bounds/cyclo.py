"""The three estimators of MLSP 2022's cyclostationary Gaussian example."""

import torch
from torch import Tensor

from rfsep.bounds.cyclo_mixtures import CycloMixtures
from rfsep.bounds.gaussian import lmmse, posterior_mmse, sync_mmse
from rfsep.iq import from_db
from rfsep.types import MixtureBatch, Separated


def _separated(estimate: Tensor) -> Separated:
    """Wraps an estimate complex128 [B, T] without bits."""
    return Separated(estimate.to(torch.complex64), torch.zeros((len(estimate), 0), dtype=torch.uint8))


class CycloLmmse:
    """LMMSE that is told the SIR, with covariances averaged over the offsets.

    Args:
        mixtures: the test set, whose covariances are known.
    """

    def __init__(self, mixtures: CycloMixtures) -> None:
        self.mixtures = mixtures

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Returns the estimate of a batch of one level."""
        known, gain = self.mixtures, from_db(-float(batch.sinr_db[0]))
        covariances = known.soi_covariances, known.interference_covariances
        return _separated(lmmse(batch.mixture, *covariances, gain, known.noise_power))


class CycloMmse:
    """Posterior mean over all SIRs and offsets, told neither.

    Args:
        mixtures: the test set, whose covariances and levels are known.
        temper: exponent of the likelihood, see `rfsep.bounds.gaussian.posterior_mmse`.
    """

    def __init__(self, mixtures: CycloMixtures, temper: float = 1.0) -> None:
        self.mixtures = mixtures
        self.temper = temper

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Returns the estimate of a batch."""
        known, gains = self.mixtures, torch.tensor([from_db(-level) for level in self.mixtures.sir_db])
        covariances = known.soi_covariances, known.interference_covariances
        return _separated(posterior_mmse(batch.mixture, *covariances, gains, known.noise_power, self.temper))


class CycloSyncMmse:
    """The bound: an estimator that is told the SIR and both offsets.

    Args:
        mixtures: the test set, whose covariances are known.
    """

    def __init__(self, mixtures: CycloMixtures) -> None:
        self.mixtures = mixtures

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Returns the estimate of a batch."""
        known, gain = self.mixtures, 10 ** (-batch.sinr_db.double() / 10)
        covariances, offsets = (
            (known.soi_covariances, known.interference_covariances),
            (batch.soi_offset, batch.interference_offset),
        )
        return _separated(sync_mmse(batch.mixture, *covariances, *offsets, gain, known.noise_power))
