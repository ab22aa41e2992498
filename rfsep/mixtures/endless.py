"""Endless mixtures made on the fly, every batch reproducible from its number alone."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from rfsep.mixtures.mix import Mixer
from rfsep.types import MixtureBatch


def batch_generator(*key: int) -> torch.Generator:
    """A generator for the batch that ``key`` names, such as (seed, rank, batch number).

    Nearby keys give unrelated streams (numpy's SeedSequence hashes them).

    >>> a, b = batch_generator(0, 0, 1), batch_generator(0, 1, 0)
    >>> bool(torch.rand(1, generator=a) != torch.rand(1, generator=b))
    True
    """
    state = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


class EndlessMixtures(IterableDataset[MixtureBatch]):
    """Batches of fresh mixtures with SINR uniform in a range; never ends.

    Batch number n of rank r is drawn from (seed, r, n). Workers take turns (worker w of W makes batches w, w + W,
    ...), so no two workers and no two ranks ever see the same random numbers, the sequence does not depend on the
    number of workers, and a resumed run continues where it stopped.

    Args:
        mixer: what is mixed.
        batch_size: mixtures in a batch.
        num_samples: samples in a mixture.
        sinr_db: lowest and highest SINR.
        seed: of the whole run.
        rank: of this process among all that train together.
        first_batch: number of the first batch.
    """

    def __init__(
        self,
        mixer: Mixer,
        batch_size: int,
        num_samples: int,
        sinr_db: tuple[float, float],
        seed: int,
        rank: int = 0,
        first_batch: int = 0,
    ) -> None:
        self.mixer = mixer
        self.batch_size = batch_size
        self.num_samples = num_samples
        self.sinr_db = sinr_db
        self.seed = seed
        self.rank = rank
        self.first_batch = first_batch

    def batch(self, number: int) -> MixtureBatch:
        """Batch ``number`` of this rank."""
        generator = batch_generator(self.seed, self.rank, number)
        low, high = self.sinr_db
        sinr_db = low + (high - low) * torch.rand(self.batch_size, generator=generator)  # [B]
        return self.mixer.draw(sinr_db, self.num_samples, generator)

    def __iter__(self) -> Iterator[MixtureBatch]:
        worker = get_worker_info()
        number = self.first_batch + (worker.id if worker else 0)
        while True:
            yield self.batch(number)
            number += worker.num_workers if worker else 1
