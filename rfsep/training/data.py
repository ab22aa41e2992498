"""Mixtures for training: endless fresh batches, and a fixed validation set."""

from collections.abc import Sequence

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from rfsep.mixtures.endless import EndlessMixtures
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.types import MixtureBatch


class MixtureData(pl.LightningDataModule):
    """Endless training mixtures and a fixed validation set of one SOI and one interference.

    Args:
        mixer: mixer of the training split.
        val_mixer: mixer of the validation split.
        batch_size: mixtures per batch of one process.
        num_samples: samples per mixture.
        sinr_db: range of the training mixtures.
        val_sinr_db: levels of the validation set.
        val_per_sinr: mixtures per level.
        num_workers: processes that make batches; 0 makes them in the training process.
        seed: seed of the run.
        repeat_after: number of batches after which they repeat, see `EndlessMixtures`; None for never.
    """

    def __init__(
        self,
        mixer: Mixer,
        val_mixer: Mixer,
        batch_size: int,
        num_samples: int,
        sinr_db: tuple[float, float],
        val_sinr_db: Sequence[float],
        val_per_sinr: int,
        num_workers: int,
        seed: int,
        repeat_after: int | None = None,
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.val_mixer = val_mixer
        self.batch_size = batch_size
        self.num_samples = num_samples
        self.sinr_db = sinr_db
        self.val_sinr_db = val_sinr_db
        self.val_per_sinr = val_per_sinr
        self.num_workers = num_workers
        self.seed = seed
        self.repeat_after = repeat_after

    def train_dataloader(self) -> DataLoader[MixtureBatch]:
        """Returns endless batches; a resumed run continues with the batch after its last step."""
        assert self.trainer is not None
        batches = EndlessMixtures(
            self.mixer,
            self.batch_size,
            self.num_samples,
            self.sinr_db,
            self.seed,
            rank=self.trainer.global_rank,
            first_batch=self.trainer.global_step * self.trainer.accumulate_grad_batches,
            repeat_after=self.repeat_after,
        )
        return DataLoader(batches, batch_size=None, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[MixtureBatch]:
        """Returns the fixed validation set, one batch per level; its seed differs from every training batch's."""
        seed = self.seed + 2**31
        levels = list(self.val_sinr_db)
        batches = list(fixed_mixtures(self.val_mixer, levels, self.val_per_sinr, self.num_samples, seed))
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
