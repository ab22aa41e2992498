"""The objective is the challenge's error, and minimising it learns."""

import pytest
import pytorch_lightning as pl
import torch

from rfsep.iq import to_channels
from rfsep.metrics import row_mse
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.training.data import MixtureData
from rfsep.training.regression import Regression


class Gain(torch.nn.Module):
    """One number: the best is the Wiener gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return self.gain * mixture


def module(**changes: object) -> Regression:
    arguments = {"learning_rate": 0.05, "warmup_steps": 5, "max_steps": 100, **changes}
    return Regression(Gain(), **arguments)  # type: ignore[arg-type]


def test_error_is_the_scorers() -> None:
    batch = Mixer(LinearModem(), WhiteNoise()).draw(torch.tensor([-10.0, 0.0]), 320, batch_generator(Purpose.TEST, 0))
    expected = row_mse(batch.mixture.numpy(), batch.soi.numpy())
    assert module().row_errors(batch).detach().numpy() == pytest.approx(expected, rel=1e-5)


def test_training_finds_the_wiener_gain() -> None:
    """y = s + b at 0 dB: the gain 1 / 2 and an error of 1 / 2 (-3.01 dB)."""
    data = MixtureData(
        mixer=Mixer(LinearModem(), WhiteNoise()),
        val_mixer=Mixer(LinearModem(), WhiteNoise()),
        batch_size=16,
        num_samples=320,
        sinr_db=(0.0, 0.0),
        val_sinr_db=[0.0],
        val_per_sinr=200,
        num_workers=0,
        seed=0,
    )
    objective = module()
    trainer = pl.Trainer(
        max_steps=100,
        val_check_interval=100,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
    )
    trainer.fit(objective, data)
    assert float(objective.model.gain.detach()) == pytest.approx(0.5, abs=0.02)
    assert float(trainer.callback_metrics["val/mse_db/0"]) == pytest.approx(-3.01, abs=0.1)
    assert float(trainer.callback_metrics["val/mse_db"]) == float(trainer.callback_metrics["val/mse_db/0"])


def test_validation_set_is_the_same_every_time_and_apart_from_training() -> None:
    mixer = Mixer(LinearModem(), WhiteNoise())
    data = MixtureData(mixer, mixer, 4, 64, (-30.0, 0.0), [-6.0, 0.0], 4, 0, seed=3)
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert all(torch.equal(a.mixture, b.mixture) for a, b in zip(first, second, strict=True))
    assert to_channels(first[0].mixture).shape == (4, 2, 64)
