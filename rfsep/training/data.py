"""Mixtures for training: endless fresh batches, and a fixed set to validate on."""

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
        mixer: of the training split.
        val_mixer: of the validation split.
        batch_size: mixtures in a batch of one process.
        num_samples: samples in a mixture.
        sinr_db: range of the training mixtures.
        val_sinr_db: levels of the validation set.
        val_per_sinr: mixtures at each.
        num_workers: processes that make batches; 0 makes them in the training process.
        seed: seed of the run.
        repeat_after: batches after which they come again, see `EndlessMixtures`; None for never.
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
        """Endless batches; a resumed run goes on with the batch behind its last step."""
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
        """The fixed validation set, a batch a level; its seed lies apart from every training batch's."""
        seed = self.seed + 2**31
        levels = list(self.val_sinr_db)
        batches = list(fixed_mixtures(self.val_mixer, levels, self.val_per_sinr, self.num_samples, seed))
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
