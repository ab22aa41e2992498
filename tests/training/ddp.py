"""Two steps of training with the gradients of each kept; one process, or a rank of two: ddp.py FOLDER JOINT."""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rfsep.mixtures.endless import EndlessMixtures
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.training.data import MixtureData
from rfsep.training.fit import TrainerSettings, fit
from rfsep.training.optimisers import Optimisation
from rfsep.training.regression import Regression
from rfsep.types import MixtureBatch


class Gated(nn.Module):
    """Two dilated gated convolutions with skips, as a WaveNet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Conv1d(2, 6, 1)
        self.layers = nn.ModuleList(nn.Conv1d(6, 12, 3, padding=d, dilation=d) for d in (1, 2))
        self.head = nn.Conv1d(6, 2, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        x, skips = self.lift(mixture), torch.zeros(())
        for layer in self.layers:
            value, gate = layer(x).chunk(2, 1)
            skips = skips + torch.tanh(value) * torch.sigmoid(gate)
            x = x + skips
        estimate: Tensor = self.head(skips)
        return estimate


class Joint(MixtureData):
    """In one process, the batches of both ranks of two as one."""

    def train_dataloader(self) -> DataLoader[MixtureBatch]:
        ranks = [
            EndlessMixtures(self.mixer, self.batch_size, self.num_samples, self.sinr_db, self.seed, rank)
            for rank in (0, 1)
        ]
        batches = [
            MixtureBatch(*map(torch.cat, zip(*both, strict=True))) for both in zip(*map(take, ranks), strict=True)
        ]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def take(endless: EndlessMixtures) -> list[MixtureBatch]:
    return [endless.batch(number) for number in range(4)]


class Watched(Regression):
    """Keeps the gradient of every step."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        gradients = {name: one.grad.clone() for name, one in self.model.named_parameters() if one.grad is not None}
        torch.save(gradients, folder / f"gradients{self.trainer.global_step}_{self.trainer.global_rank}.pt")


if __name__ == "__main__":
    folder, joint = Path(sys.argv[1]), sys.argv[2] == "joint"
    torch.manual_seed(0)
    mixer = Mixer(LinearModem(), WhiteNoise())
    settings: Any = (mixer, mixer, 3, 256, (-6.0, 6.0), [0.0], 2, 0, 5)
    data: pl.LightningDataModule = (Joint if joint else MixtureData)(*settings)
    module = Watched(Gated(), optimisation=Optimisation(0.01, warmup_steps=1, max_steps=9))
    schedule = TrainerSettings(2, 2, None, "32-true", "cpu", 1 if joint else 2, 1, 1.0, 2, None, False)
    fit(module, data, folder, "name: ddp\n", schedule, 5, 0.9, "val/mse_db", 1e3, [], in_sweep=False)
