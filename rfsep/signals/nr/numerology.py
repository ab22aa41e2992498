"""The OFDM of 5G NR with 30 kHz subcarriers at 30.72 Msps, up and down alike: TS 38.211 clauses 4.3 and 5.3.1."""

import math
from functools import lru_cache

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 30.72e6
FFT_SIZE = 1024
NUM_SUBCARRIERS = 612  # 51 resource blocks: a 20 MHz channel at 30 kHz, TS 38.101-1 table 5.3.2-1
CYCLIC_PREFIX_LENGTHS = (88, *[72] * 13)  # 144 / 2 samples, and 16 more twice per subframe: TS 38.211 clause 5.3.1
NUM_CELLS = 1008  # physical-layer cell identities, clause 7.4.2.1
SAMPLES_PER_SLOT = 14 * FFT_SIZE + sum(CYCLIC_PREFIX_LENGTHS)


def nr_ofdm(grid: Tensor) -> Tensor:
    """Returns the OFDM waveform of resource grids at 30.72 Msps, TS 38.211 clause 5.3.1 with 30 kHz subcarriers.

    Subcarrier k lies at (k - 306) * 30 kHz: the clause has no half-subcarrier shift, so the grid's centre falls on
    subcarrier 306 and the band reaches one subcarrier further down than up. The phase terms of up-conversion
    (clause 5.4) depend on the carrier frequency and are left out.

    Args:
        grid: complex64 [..., 14, 612], unit power per resource element.

    Returns:
        complex64 [..., 15360] of unit power.
    """
    waveform: Tensor = nr_bodies(grid).flatten(-2)[..., body_samples(1)]
    return waveform


def nr_bodies(grid: Tensor) -> Tensor:
    """Returns symbols without prefixes, complex64 [..., 1024], of carriers complex64 [..., 612]; see `nr_ofdm`."""
    half = NUM_SUBCARRIERS // 2
    padded = grid.new_zeros((*grid.shape[:-1], FFT_SIZE))
    padded[..., :half], padded[..., -half:] = grid[..., half:], grid[..., :half]
    bodies: Tensor = torch.fft.ifft(padded, norm="forward")
    return bodies.div_(math.sqrt(NUM_SUBCARRIERS))


@lru_cache(maxsize=8)
def body_samples(num_slots: int) -> Tensor:
    """Returns the sample of the slots' bodies, 14 of 1024 a slot, behind every sample on the air: int64 [samples]."""
    places = [
        symbol * FFT_SIZE + torch.arange(-prefix, FFT_SIZE) % FFT_SIZE
        for symbol, prefix in enumerate(CYCLIC_PREFIX_LENGTHS)
    ]
    return (14 * FFT_SIZE * torch.arange(num_slots)[:, None] + torch.cat(places)).flatten()
