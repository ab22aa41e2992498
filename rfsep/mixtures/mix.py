"""The mixture formula, once."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.mixtures.augment import Augmentation
from rfsep.types import InputError, MixtureBatch, SignalSource

Empirical = Literal["interference"]
_SILENCE = 1e-20  # power below which a window holds no interference, whose ratio nothing can set


class Mixed(NamedTuple):
    """A mixture and its interference.

    Attributes:
        mixture: complex64 [B, T].
        interference: complex64 [B, T], at the level and phase it has in the mixture.
    """

    mixture: Tensor
    interference: Tensor


def mix(
    soi: Tensor, interference: Tensor, sinr_db: Tensor, phase: Tensor, *, empirical: bool | Empirical = False
) -> Mixed:
    """``mixture = soi + gain * exp(j phase) * interference`` with ``gain = 10 ** (-sinr_db / 20)``.

    The gain is nominal, as in the ICASSP 2024 RF Challenge: sources of unit power on average give the stated SINR on
    average. With ``empirical`` it is scaled by the powers that the two windows happen to have, as in the 2021
    challenge and the studies built on it: every window then has the stated ratio exactly. ``empirical="interference"``
    takes the SOI's power as one and divides by the interference's alone (GLOBECOM 2022).

    Args:
        soi: complex64 [B, T].
        interference: complex64 [B, T].
        sinr_db: float32 [B].
        phase: float32 [B], radians.
        empirical: match powers window by window.

    Raises:
        InputError: another word for ``empirical``.
    """
    if empirical not in (True, False, "interference"):
        raise InputError(f"empirical is {empirical!r}, choose one of true, false, interference")
    gain = 10 ** (-sinr_db / 20)  # [B]
    if empirical:
        reference = 1.0 if empirical == "interference" else power(soi)
        gain = gain * (reference / power(interference).clamp_min(_SILENCE)).sqrt()
    scaled = torch.polar(gain, phase)[:, None] * interference  # [B, T]
    return Mixed(soi + scaled, scaled)


class Mixer:
    """Draws mixtures of one SOI and one interference source.

    Args:
        soi: source of the signal of interest.
        interference: source of the interference.
        empirical: see `mix`.
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
        """Mixtures at the levels ``sinr_db`` float32 [B], of ``num_samples`` samples each."""
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
