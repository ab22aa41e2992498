"""Augmentations of the interference: other forms that the same recording could have had."""

import math

import torch
from torch import Tensor

from rfsep.types import InputError, Sampled


def rotate(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Rotates each row of complex64 [B, T] by a phase uniform over the circle."""
    turns = torch.rand(len(waveform), generator=generator)  # [B]
    return waveform * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)[:, None]


def shift_frequency(waveform: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Shifts each row of complex64 [B, T] by a normal carrier offset of standard deviation ``std`` in cycles/sample.

    An offset in Hz is ``std`` times the sample rate: 0.01 is 250 kHz at 25 MHz. Frequencies that leave the band at one
    edge return at the other, so ``std`` should stay well below the free part of the band.
    """
    frequency = std * torch.randn(len(waveform), dtype=torch.float64, generator=generator)  # [B]
    turns = frequency[:, None] * torch.arange(waveform.shape[1]) % 1.0  # [B, T]; float32 would blur long windows
    turns = turns.float()
    return waveform * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def scale(waveform: Tensor, low_db: float, high_db: float, generator: torch.Generator) -> Tensor:
    """Scales each row of complex64 [B, T] by a gain uniform in dB between ``low_db`` and ``high_db``."""
    gain_db = low_db + (high_db - low_db) * torch.rand(len(waveform), generator=generator)  # [B]
    return waveform * (10 ** (gain_db / 20))[:, None]


def roll(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Rolls each row of complex64 [B, T] by a uniform number of samples, with a seam between its end and start."""
    batch_size, length = waveform.shape
    start = torch.randint(0, length, (batch_size, 1), generator=generator)
    return waveform.gather(1, (start + torch.arange(length)) % length)


class Augmentation:
    """Changes interference before it is mixed, in training only, reproducibly from the generator.

    Conjugation and time reversal are left out. No radio does either, and both turn a standard's waveform into one that
    no receiver will ever meet.

    Args:
        phase: apply `rotate`. It adds nothing if ``mixing.random_phase`` rotates already.
        frequency_std: standard deviation of `shift_frequency`, cycles/sample; 0 for none. It keeps a network from
            memorising the carriers of a few recordings.
        magnitude_db: range of `scale` around the nominal level; ``sinr_db`` of a batch stays the nominal one. It adds
            nothing if ``mixing.empirical`` matches powers window by window.
        time_shift: apply `roll`, for sources that always start at the same place. The sources of rfsep cut at random
            times already, so it would only add its seam. Timing is unknown afterwards: ``offset`` becomes -1.
        remix: permute the rows against the SOI's. It helps only if a batch's rows depend on their place (stored sets,
            strata). The rows of rfsep's sources are independent.
    """

    def __init__(
        self,
        phase: bool = False,
        frequency_std: float = 0.0,
        magnitude_db: tuple[float, float] = (0.0, 0.0),
        time_shift: bool = False,
        remix: bool = False,
    ) -> None:
        if frequency_std < 0:
            raise InputError(f"frequency_std is {frequency_std}, expected cycles/sample, 0 or more")
        low_db, high_db = magnitude_db
        if low_db > high_db:
            raise InputError(f"magnitude_db is [{low_db}, {high_db}], expected [lowest, highest] in dB")
        self.phase = phase
        self.frequency_std = frequency_std
        self.magnitude_db = (low_db, high_db)
        self.time_shift = time_shift
        self.remix = remix

    def __call__(self, interference: Sampled, generator: torch.Generator) -> Sampled:
        """Returns the changed batch of windows."""
        if self.remix:
            order = torch.randperm(len(interference.waveform), generator=generator)
            interference = Sampled(*(field[order] for field in interference))
        waveform, offset = interference.waveform, interference.offset
        if self.time_shift:
            waveform, offset = roll(waveform, generator), torch.full_like(offset, -1)
        if self.frequency_std > 0:
            waveform = shift_frequency(waveform, self.frequency_std, generator)
        if self.phase:
            waveform = rotate(waveform, generator)
        if self.magnitude_db != (0.0, 0.0):
            waveform = scale(waveform, *self.magnitude_db, generator)
        return interference._replace(waveform=waveform, offset=offset)
