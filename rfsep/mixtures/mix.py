"""Draws mixtures of one signal of interest and one interference."""

import math

import torch
from torch import Tensor

from rfsep.iq import Empirical, mix, one_thread
from rfsep.mixtures.augment import Augmentation
from rfsep.types import MixtureBatch, SignalSource


class Mixer:
    """Draws mixtures of one SOI and one interference source.

    Args:
        soi: source of the signal of interest.
        interference: source of the interference.
        empirical: see `rfsep.iq.mix`.
        random_phase: rotate the interference by a uniform phase.
        noise_power: power of white circular Gaussian noise added on top (0.01 in MLSP 2022's data).
        augment: changes the interference before it is mixed; for training alone.
    """

    def __init__(
        self,
        soi: SignalSource,
        interference: SignalSource,
        *,
        empirical: bool | Empirical = False,
        random_phase: bool = True,
        noise_power: float = 0.0,
        augment: Augmentation | None = None,
    ) -> None:
        self.soi = soi
        self.interference = interference
        self.empirical = empirical
        self.random_phase = random_phase
        self.noise_power = noise_power
        self.augment = augment

    def draw(self, sinr_db: Tensor, num_samples: int, generator: torch.Generator) -> MixtureBatch:
        """Draws mixtures at the levels ``sinr_db`` float32 [B], of ``num_samples`` samples each.

        They are drawn by one thread, as in the workers of a data loader: sums by several differ in their last bits.
        """
        with one_thread():
            return self._draw(sinr_db, num_samples, generator)

    def _draw(self, sinr_db: Tensor, num_samples: int, generator: torch.Generator) -> MixtureBatch:
        batch_size = len(sinr_db)
        soi = self.soi.sample(batch_size, num_samples, generator)
        interference = self.interference.sample(batch_size, num_samples, generator)
        if self.augment is not None:
            interference = self.augment(interference, generator)
        turns = torch.rand(batch_size, generator=generator) if self.random_phase else torch.zeros(batch_size)
        mixed = mix(soi.waveform, interference.waveform, sinr_db, 2 * math.pi * turns, empirical=self.empirical)
        mixture = mixed.mixture
        if self.noise_power > 0:
            noise = torch.randn(mixture.shape, dtype=mixture.dtype, generator=generator)
            mixture = mixture + math.sqrt(self.noise_power) * noise
        return MixtureBatch(
            mixture=mixture,
            soi=soi.waveform,
            interference=mixed.interference,
            bits=soi.bits,
            num_bits=soi.num_bits,
            sinr_db=sinr_db,
            soi_offset=soi.offset,
            interference_offset=interference.offset,
            interference_origin=interference.origin,
        )
