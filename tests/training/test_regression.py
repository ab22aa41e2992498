"""The objective is the challenge's error or its score, and minimising it learns."""

import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from rfsep.iq import to_channels
from rfsep.metrics import mse_score, row_mse
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.training.data import MixtureData
from rfsep.training.levels import LevelScores
from rfsep.training.losses import row_errors, score_loss
from rfsep.training.optimisers import Optimisation
from rfsep.training.regression import Regression


class Gain(torch.nn.Module):
    """One number: the best is the Wiener gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return self.gain * mixture


def module(**changes: object) -> Regression:
    return Regression(Gain(), Optimisation(0.05, warmup_steps=5, max_steps=100), **changes)  # type: ignore[arg-type]


def test_error_is_the_scorers() -> None:
    batch = Mixer(LinearModem(), WhiteNoise()).draw(torch.tensor([-10.0, 0.0]), 320, batch_generator(Purpose.TEST, 0))
    expected = row_mse(batch.mixture.numpy(), batch.soi.numpy())
    assert row_errors(module().estimate(batch), batch.soi).detach().numpy() == pytest.approx(expected, rel=1e-5)


def test_score_loss_is_the_score_away_from_the_clip_and_bounded_at_it() -> None:
    errors_db = torch.tensor([-3.0, -17.0, -30.0])
    assert float(score_loss(10 ** (errors_db / 10))) == pytest.approx(mse_score(errors_db.double().numpy()), abs=0.02)
    assert float(score_loss(torch.tensor([1e-5]))) == pytest.approx(mse_score(np.array([-50.0])) + 10 * math.log10(2))
    exact = torch.zeros(1, requires_grad=True)
    loss = score_loss(exact)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(mse_score(np.array([-120.0])))
    assert float(exact.grad) == pytest.approx(10 / math.log(10) / 1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [torch.mean, score_loss])
def test_training_finds_the_wiener_gain(loss) -> None:  # type: ignore[no-untyped-def]
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
    objective = module(loss=loss, modem=LinearModem())
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
    assert float(trainer.callback_metrics["val/ber"]) < 1e-3  # 16 samples a symbol: Q(4)
    assert {"train/mse", "train/loss"} <= set(trainer.callback_metrics)


def test_levels_are_summed_up_over_batches() -> None:
    scores = LevelScores()
    for sinr, errors, ber in (([-6.0, 0.0], [1.0, 0.01], [0.5, 0.0]), ([-6.0, -6.0], [2.0, 3.0], [0.1, math.nan])):
        scores.add(torch.tensor(sinr), torch.tensor(errors), {"ber": torch.tensor(ber)})
    assert scores.metrics() == pytest.approx(
        {
            "val/mse": 1.5025,
            "val/mse_db/-6": 3.0103,
            "val/mse_db/0": -20.0,
            "val/mse_db": -8.49485,
            "val/ber/-6": 0.3,
            "val/ber/0": 0.0,
            "val/ber": 0.15,
        },
        abs=1e-4,
    )


def test_levels_tell_what_is_exact_broken_or_without_bits() -> None:
    scores = LevelScores()
    scores.add(torch.tensor([-3.0, 0.0]), torch.tensor([0.0, math.nan]), {"ber": torch.tensor([math.nan, math.nan])})
    metrics = scores.metrics()
    assert metrics["val/mse_db/-3"] == -120.0
    assert math.isnan(metrics["val/mse_db/0"])
    assert math.isnan(metrics["val/mse_db"])
    assert not any(name.startswith("val/ber") for name in metrics)


def test_validation_set_is_the_same_every_time_and_apart_from_training() -> None:
    mixer = Mixer(LinearModem(), WhiteNoise())
    data = MixtureData(mixer, mixer, 4, 64, (-30.0, 0.0), [-6.0, 0.0], 4, 0, seed=3)
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert all(torch.equal(a.mixture, b.mixture) for a, b in zip(first, second, strict=True))
    assert to_channels(first[0].mixture).shape == (4, 2, 64)
