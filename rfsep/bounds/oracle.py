"""Bounds: the linear estimator that is told all timings, and the exact MMSE of Gaussian signals."""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.inference.interference import Setup, make_setup
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import MixtureBatch, Modem, Separated

_LEAST_NOISE = 1e-9  # keeps the covariance regular without noise
_BATCH = 64


class OracleLmmse:
    """LMMSE given both timings, nominal SINR and noise: SyncMMSE of MLSP 2022, the bound for Gaussian signals.

    Args:
        modem: the SOI's modem.
        source: the interference's source, a modem's signal at a random time.
        noise_power: power of the white noise in the mixtures.
        soi_timing: ``known``: the SOI begins and ends with the mixture. ``estimated``: it goes on beyond; its timing is
            still given.
    """

    def __init__(
        self,
        modem: Modem,
        source: RandomCrop,
        noise_power: float,
        soi_timing: Literal["known", "estimated"] = "known",
    ) -> None:
        self.modem = modem
        self.covariance = modem_periodic_covariance(source.modem)
        self.noise_power = max(noise_power, _LEAST_NOISE)
        self.bounded = soi_timing == "known"
        self._setup = lru_cache(maxsize=2)(self._make_setup)

    def _make_setup(self, length: int) -> Setup:
        return make_setup(
            self.modem,
            self.covariance,
            length,
            begins=self.bounded,
            ends=self.bounded,
            timing_known=True,
            noise_power=self.noise_power,
        )

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Linear estimate complex64 [B, T] and hard bits uint8 [B, N]."""
        columns = (batch.mixture, batch.soi_offset, batch.interference_offset, batch.sinr_db)
        rows = zip(*(torch.split(column, _BATCH) for column in columns), strict=True)
        soi = torch.cat([self._solve(*row) for row in rows])
        return Separated(soi, self.modem.decide(soi))

    def _solve(self, mixture: Tensor, soi_offset: Tensor, interference_offset: Tensor, sinr_db: Tensor) -> Tensor:
        setup = self._setup(mixture.shape[1])
        reduced = setup.model.reduce(mixture, soi_offset, interference_offset)
        gain = 10 ** (-sinr_db.double() / 10)
        symbols = setup.model.solve(reduced, gain, torch.full_like(gain, self.noise_power)).symbols
        return setup.grid.synthesise(symbols, soi_offset)


class GaussianMmse:
    """The exact posterior mean of Gaussian signals at unknown timing and SINR, with known modems and noise.

    Args:
        modem: the SOI's modem.
        source: the interference's source, a modem's signal at a random time.
        noise_power: power of the white noise in the mixtures.
        soi_timing: as in `OracleLmmse`, but with ``estimated`` the timing is unknown.
    """

    def __init__(
        self,
        modem: Modem,
        source: RandomCrop,
        noise_power: float,
        soi_timing: Literal["known", "estimated"] = "known",
    ) -> None:
        nothing = torch.zeros((0, 0), dtype=torch.complex64)
        noise = max(noise_power, _LEAST_NOISE)
        self._posterior = CyclicLmmse(modem, nothing, source.modem, soi_timing, noise, average=True)

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Posterior mean complex64 [B, T] and hard bits uint8 [B, N]."""
        return self._posterior.separate(batch.mixture)
