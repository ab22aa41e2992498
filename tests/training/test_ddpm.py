"""The prior's objective: its optimum on a Gaussian signal in closed form, its units, and that it learns."""

import math

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.diffwave import DiffWave
from rfsep.models.token_prior import TokenPrior
from rfsep.signals.diffusion_schedule import linear_schedule
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.training.data import MixtureData
from rfsep.training.ddpm import Ddpm, Signal
from rfsep.training.optimisers import Optimisation
from rfsep.types import InputError


class Optimum(nn.Module):
    """The best estimate for a white Gaussian signal of unit power: z / x is sigma 2 / (alpha_bar + 2 sigma^2)."""

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        alpha_bar = linear_schedule().alpha_bar[step]
        return ((1 - alpha_bar).sqrt() * 2 / (alpha_bar + 2 * (1 - alpha_bar)))[:, None, None] * noisy


def module(model: nn.Module, learning_rate: float = 3e-3, **changes: object) -> Ddpm:
    optimisation = Optimisation(learning_rate, warmup_steps=10, max_steps=400)
    arguments = {"which": "interference", "optimisation": optimisation, **changes}
    return Ddpm(model, **arguments)  # type: ignore[arg-type]


def test_loss_of_the_optimum_on_a_gaussian_signal_is_its_closed_form() -> None:
    """1 / 2 of the signal's power lies in a component: error r / (1 + r) with r = alpha_bar / (2 sigma^2)."""
    objective, schedule = module(Optimum()), linear_schedule()
    generator = batch_generator(Purpose.TEST, 0)
    windows = math.sqrt(0.5) * torch.randn(50, 2, 4000, generator=generator)
    noise = torch.randn(windows.shape, generator=generator)
    errors = objective.errors(Signal(windows, torch.zeros(50)), noise, torch.arange(50))
    ratio = schedule.alpha_bar / (2 * (1 - schedule.alpha_bar))
    assert torch.allclose(errors, ratio / (1 + ratio), rtol=0.08)
    assert float(errors.mean()) == pytest.approx(float((ratio / (1 + ratio)).mean()), rel=0.01)


def test_signals_have_the_units_of_their_sources() -> None:
    source = RandomCrop(OfdmModem(), power=56 / 64)
    batch = Mixer(LinearModem(), source).draw(torch.tensor([-24.0, 3.0] * 40), 800, batch_generator(Purpose.TEST, 1))
    interference, soi = module(Optimum()).signal(batch), module(Optimum(), which="soi").signal(batch)
    assert interference.windows.square().sum(1).mean(1).tolist() == pytest.approx([1.0] * 80, rel=0.2)
    assert float(interference.windows.square().sum(1).mean()) == pytest.approx(1.0, rel=0.02)
    assert torch.equal(interference.offset, batch.interference_offset)
    assert torch.equal(torch.complex(*soi.windows.unbind(1)), batch.soi)


def test_a_signal_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="which is 'mixture'; choose one of soi, interference"):
        module(Optimum(), which="mixture")


def fitted(objective: Ddpm, mixer: Mixer, num_samples: int) -> dict[str, Tensor]:
    data = MixtureData(
        mixer, mixer, 16, num_samples, (0.0, 0.0), val_sinr_db=[0.0], val_per_sinr=100, num_workers=0, seed=0
    )
    torch.manual_seed(0)
    trainer = pl.Trainer(
        max_steps=400,
        val_check_interval=200,
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
    return dict(trainer.callback_metrics)


def test_a_network_learns_a_white_signal_to_its_optimum() -> None:
    """Mean of r / (1 + r) over all steps is 0.646: from 1 of an estimate of nothing."""
    torch.manual_seed(0)
    objective = module(DiffWave(channels=8, blocks=2, cycle=2, width=16))
    metrics = fitted(objective, Mixer(WhiteNoise(), WhiteNoise()), 160)
    ratio = linear_schedule().alpha_bar / (2 * (1 - linear_schedule().alpha_bar))
    optimum = (ratio / (1 + ratio)).view(5, 10).mean(1)
    groups = [float(metrics[f"val/noise_mse/{first}"]) for first in range(0, 50, 10)]
    assert float(metrics["val/noise_mse"]) == pytest.approx(sum(groups) / 5, rel=1e-4)
    assert groups[3:] == pytest.approx(optimum[3:].tolist(), abs=0.06)
    assert max(groups) < 1.1


def test_a_token_network_learns_what_no_gaussian_prior_knows() -> None:
    """One BPSK symbol a sample: noise across it is seen, noise along it where the sign is sure."""

    class Bpsk(WhiteNoise):
        def sample(self, batch_size: int, num_samples: int, generator: torch.Generator):  # type: ignore[no-untyped-def]
            drawn = super().sample(batch_size, num_samples, generator)
            return drawn._replace(waveform=drawn.waveform.real.sign() + 0j, offset=torch.ones(batch_size).long())

    torch.manual_seed(0)
    objective = module(TokenPrior(2, width=16, depth=2, step_width=64), period=2, learning_rate=1e-2)
    metrics = fitted(objective, Mixer(WhiteNoise(), Bpsk(), random_phase=False), 64)
    ratio = linear_schedule().alpha_bar / (1 - linear_schedule().alpha_bar)
    gaussian = float((ratio / (1 + ratio) / 2).view(5, 10).mean(1)[0])
    assert float(metrics["val/noise_mse/0"]) < 0.9 * gaussian
