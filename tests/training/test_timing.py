"""The cross-entropy of delays: its numbers, what it refuses, and a small problem that is learned."""

import math

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.timing_cnn import TimingCnn
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.training.data import MixtureData
from rfsep.training.optimisers import Optimisation
from rfsep.training.timing import Timing
from rfsep.types import InputError, MixtureBatch

OFDM = OfdmModem(fft_size=16, cyclic_prefix_length=8, num_guard_carriers=(1, 0))
PERIOD, LENGTH = 24, 240
OPTIMISATION = Optimisation(learning_rate=3e-3, warmup_steps=20, max_steps=200)


class Constant(TimingCnn):
    """The same logits for every window."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(num_samples=LENGTH, delays=PERIOD, kernel=4)
        self.constant = logits

    def forward(self, mixture: Tensor) -> Tensor:
        return self.constant.expand(len(mixture), -1)


def mixer() -> Mixer:
    return Mixer(LinearModem(samples_per_symbol=8), RandomCrop(OFDM))


def draw(*sinr_db: float) -> MixtureBatch:
    return mixer().draw(torch.tensor(sinr_db), LENGTH, batch_generator(Purpose.TEST, 2))


def fitted(objective: Timing, max_steps: int) -> dict[str, float]:
    data = MixtureData(mixer(), mixer(), 32, LENGTH, (-20.0, -10.0), [-20.0, -10.0], 100, num_workers=0, seed=0)
    trainer = pl.Trainer(
        max_steps=max_steps,
        val_check_interval=max_steps,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
    )
    trainer.fit(objective, data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_guessing_costs_the_logarithm_of_the_delays() -> None:
    objective = Timing(Constant(torch.zeros(PERIOD)), OPTIMISATION)
    batch = draw(-12.0, 0.0)
    assert objective.told(batch).cost.tolist() == pytest.approx([math.log(PERIOD)] * 2)
    sure = torch.full((PERIOD,), -1e3)
    sure[int(batch.interference_offset[0])] = 0.0
    told = Timing(Constant(sure), OPTIMISATION).told(batch)
    assert told.wrong.tolist() == [False, True]
    assert told.cost.tolist() == [0.0, 1e3]


def test_a_network_learns_the_timing_which_an_untrained_one_does_not_know() -> None:
    """Chance is wrong in 23 of 24 windows."""
    torch.manual_seed(0)
    model = TimingCnn(LENGTH, PERIOD, kernel=24, folded=True)
    before = fitted(Timing(model, OPTIMISATION._replace(learning_rate=0.0)), 1)
    assert before["val/timing_error"] > 0.85
    after = fitted(Timing(model, OPTIMISATION), 200)
    assert after["val/timing_error"] < 0.3
    assert after["val/timing_error"] == pytest.approx(
        (after["val/timing_error/-20"] + after["val/timing_error/-10"]) / 2
    )
    assert after["val/cross_entropy"] < 0.3 * math.log(PERIOD)


def test_interference_without_a_delay_is_refused() -> None:
    objective = Timing(Constant(torch.zeros(PERIOD)), OPTIMISATION)
    noise = Mixer(LinearModem(samples_per_symbol=8), WhiteNoise())
    batch = noise.draw(torch.zeros(2), LENGTH, batch_generator(Purpose.TEST, 2))
    with pytest.raises(InputError, match="tells 24 delays apart, and the interference of this mixture is at -1"):
        objective.told(batch)
    longer = Mixer(LinearModem(samples_per_symbol=8), RandomCrop(OfdmModem()))
    batch = longer.draw(torch.zeros(20), LENGTH, batch_generator(Purpose.TEST, 2))
    with pytest.raises(InputError, match="it needs OFDM with symbols of 24 samples at known times"):
        objective.told(batch)
