"""Makes endless mixtures on the fly; every batch is reproducible from its number alone."""

import enum
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from rfsep.mixtures.mix import Mixer
from rfsep.types import MixtureBatch

_TWISTER = slice(24, 24 + 624 * 8)  # bytes of the 624 words in a CPU generator's state; checked in the tests


class Purpose(enum.IntEnum):
    """Purposes of random streams; streams of different purposes never coincide, whatever their seeds."""

    TRAINING = 1
    FIXED_SET = 2
    EXAMPLES = 3
    TEST = 4


def batch_generator(purpose: Purpose, *key: int) -> torch.Generator:
    """Returns a generator for ``key``, such as (seed, rank, batch number).

    torch seeds its CPU generator with 32 bits, few enough to try them all against a hosted test set. Here the whole
    state of the Mersenne twister comes from numpy's SeedSequence, which hashes a key of any size.

    >>> a, b = batch_generator(Purpose.TEST, 1), batch_generator(Purpose.TEST, 2**32 + 1)
    >>> bool(torch.rand(1, generator=a) != torch.rand(1, generator=b))
    True
    """
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    words = state.numpy()[_TWISTER].view(np.uint64)
    words[:] = np.random.SeedSequence((len(key), purpose, *key)).generate_state(len(words), np.uint32)
    generator.set_state(state)
    return generator


class EndlessMixtures(IterableDataset[MixtureBatch]):
    """Endless batches of fresh mixtures with SINR uniform in a range; they may repeat after a number of batches.

    Batch number n of rank r is drawn from (seed, r, n). Workers take turns (worker w of W makes batches w, w + W,
    ...), so no two workers and no two ranks ever see the same random numbers, the sequence does not depend on the
    number of workers, and a resumed run continues where it stopped.

    Args:
        mixer: draws the mixtures.
        batch_size: mixtures per batch.
        num_samples: samples per mixture.
        sinr_db: lowest and highest SINR.
        seed: seed of the whole run.
        rank: rank of this process among all that train together.
        first_batch: number of the first batch.
        repeat_after: number of batches after which they repeat, so that work on them can be kept; None for never.
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
        repeat_after: int | None = None,
    ) -> None:
        self.mixer = mixer
        self.batch_size = batch_size
        self.num_samples = num_samples
        self.sinr_db = sinr_db
        self.seed = seed
        self.rank = rank
        self.first_batch = first_batch
        self.repeat_after = repeat_after

    def batch(self, number: int) -> MixtureBatch:
        """Returns batch ``number`` of this rank."""
        drawn = number if self.repeat_after is None else number % self.repeat_after
        generator = batch_generator(Purpose.TRAINING, self.seed, self.rank, drawn)
        low, high = self.sinr_db
        sinr_db = low + (high - low) * torch.rand(self.batch_size, generator=generator)  # [B]
        return self.mixer.draw(sinr_db, self.num_samples, generator)

    def __iter__(self) -> Iterator[MixtureBatch]:
        worker = get_worker_info()
        number = self.first_batch + (worker.id if worker else 0)
        while True:
            yield self.batch(number)
            number += worker.num_workers if worker else 1
