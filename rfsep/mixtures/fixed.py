"""Makes fixed sets of mixtures: a seed always gives the same numbers in the same order."""

from collections.abc import Iterator, Sequence

import torch

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.types import MixtureBatch

_CHUNK_SAMPLES = 2**21  # samples per draw: 16 MB per waveform


def fixed_mixtures(
    mixer: Mixer, sinr_db: Sequence[float], num_per_sinr: int, num_samples: int, seed: int
) -> Iterator[MixtureBatch]:
    """Draws ``num_per_sinr`` mixtures at each level, in the order of ``sinr_db``, in batches of bounded memory.

    Every level has a random stream of its own, so a set of fewer levels is a part of the larger one.

    Args:
        mixer: draws the mixtures.
        sinr_db: levels.
        num_per_sinr: mixtures per level.
        num_samples: samples per mixture.
        seed: seed of the set.
    """
    chunk = max(1, min(num_per_sinr, _CHUNK_SAMPLES // num_samples))
    for level in sinr_db:
        generator = batch_generator(Purpose.FIXED_SET, seed, round(1000 * level) & 0xFFFFFFFF)
        for start in range(0, num_per_sinr, chunk):
            count = min(chunk, num_per_sinr - start)
            yield mixer.draw(torch.full((count,), float(level)), num_samples, generator)
