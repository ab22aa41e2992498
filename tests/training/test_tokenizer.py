"""The tokenizer's objective: units, its warm-up's two ends, resuming, and what it learns within seconds."""

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.tokenizer import Tokenizer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.training.data import MixtureData
from rfsep.training.optimisers import Optimisation
from rfsep.training.tokenizer import Tokenization, Warmup
from rfsep.types import InputError

SHORT = LinearModem(samples_per_symbol=4, span=2)  # nine taps


def small(**changes: Any) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(**{"strides": (4,), "span": 3, "channels": 8, "heads": 2, "reach": 2, **changes})


def module(
    model: Tokenizer, steps: int = 0, max_steps: int = 120, learning_rate: float = 2e-2, **changes: Any
) -> Tokenization:
    optimisation = Optimisation(learning_rate, warmup_steps=10, max_steps=max_steps)
    return Tokenization(model, optimisation=optimisation, autoencoder=Warmup(steps, rounding=0.25), **changes)


def fit(objective: Tokenization, steps: int = 120) -> dict[str, float]:
    mixer = Mixer(SHORT, WhiteNoise())
    data = MixtureData(mixer, mixer, 16, 160, (0.0, 0.0), val_sinr_db=[0.0], val_per_sinr=32, num_workers=0, seed=0)
    trainer = pl.Trainer(
        max_steps=steps,
        val_check_interval=20,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
    )
    trainer.fit(objective, data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_signals_have_the_units_of_their_sources() -> None:
    source = RandomCrop(OfdmModem(), power=56 / 64)
    batch = Mixer(LinearModem(), source).draw(torch.tensor([-24.0, 3.0] * 40), 800, batch_generator(Purpose.TEST, 1))
    interference, soi = (module(small(), which=which).signal(batch) for which in ("interference", "soi"))
    assert interference.square().sum(1).mean(1).tolist() == pytest.approx([1.0] * 80, rel=0.2)
    assert torch.equal(torch.complex(*soi.unbind(1)), batch.soi)
    with pytest.raises(InputError, match="num_samples 800 is no multiple of a token's 64 samples"):
        module(small(strides=(8, 8))).signal(batch)
    with pytest.raises(InputError, match="which is 'mixture'; choose one of soi, interference"):
        module(small(), which="mixture")


def test_it_learns_the_digits_of_qpsk_within_seconds() -> None:
    metrics = fit(module(small(), steps=60))
    assert metrics["val/mse_db"] < -40
    assert metrics["val/codes_used"] == metrics["val/quantised"] == 1
    assert metrics["val/entropy_bits"] == pytest.approx(2, abs=0.01)
    assert metrics["val/effective_dimension"] == pytest.approx(2, abs=0.05)


def test_what_was_learned_before_is_kept() -> None:
    model = small(corrected=False)
    before = model.analysis.weight.detach().clone()
    fit(module(model, steps=9, learning_rate=0.0, fresh=False), steps=2)
    assert torch.equal(model.analysis.weight, before)
    fit(module(model, steps=9, learning_rate=0.0), steps=2)
    assert not torch.allclose(model.analysis.weight, before)


def test_a_plain_vector_quantiser_learns_them_too() -> None:
    metrics = fit(module(small(codebook=4), steps=60))
    assert metrics["val/mse_db"] < -30
    assert metrics["val/codes_used"] == 1


def test_warm_up_ends_at_its_step_or_where_the_error_no_longer_falls() -> None:
    fixed = module(small(), steps=60)
    assert (fixed.model.quantise, fixed.model.linear) == (False, True)
    fit(fixed, steps=60)
    assert not fixed.model.quantise
    fit(fixed := module(small(), steps=60), steps=61)
    assert (fixed.model.quantise, fixed.model.linear) == (True, False)
    adaptive = Tokenization(small(), Optimisation(0.0, 0, 100), autoencoder=Warmup(100, patience=2))
    fit(adaptive, steps=41)  # validations after 20 and 40: the first is the lowest so far
    assert not adaptive.model.quantise
    fit(adaptive := Tokenization(small(), Optimisation(0.0, 0, 100), autoencoder=Warmup(100, patience=2)), steps=61)
    assert adaptive.model.quantise


def test_warm_up_ends_where_latents_are_discrete() -> None:
    objective = Tokenization(small(), Optimisation(2e-2, 10, 120), autoencoder=Warmup(1000, cost_db=1.0, rounding=0.25))
    metrics = fit(objective)
    assert metrics["val/quantised"] == 1
    assert metrics["val/mse_db"] < -40
    fit(never := Tokenization(small(), Optimisation(2e-2, 10, 120), autoencoder=Warmup(1000, cost_db=1.0)), steps=61)
    assert not never.model.quantise  # nothing makes them discrete


def test_a_resumed_run_knows_how_far_its_warm_up_was() -> None:
    before, checkpoint = module(small(), steps=50), dict[str, Any]()
    before.model.quantise, before.ended, before.lowest_db, before.waited = True, True, -7.0, 3
    before.on_save_checkpoint(checkpoint)
    after = module(small(), steps=50)
    assert not after.model.quantise
    after.on_load_checkpoint(checkpoint)
    assert (after.model.quantise, after.model.linear) == (True, False)
    assert (after.ended, after.lowest_db, after.waited) == (True, -7.0, 3)


def test_validation_measures_tokens_whatever_training_does() -> None:
    """Unquantised latents of unit variance of a Gaussian signal: quantised to two levels they keep far less."""
    objective = module(small(), steps=1000)
    objective.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    batch = Mixer(WhiteNoise(), WhiteNoise()).draw(torch.zeros(8), 160, batch_generator(Purpose.TEST, 2))
    logged: dict[str, float] = {}
    objective.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign,assignment]
    objective.model.start(objective.signal(batch))
    with torch.no_grad():
        objective.validation_step(batch, 0)
        objective.on_validation_epoch_end()
        objective.model.quantise = True
        reconstruction = objective.model(objective.signal(batch)).waveform
    error = float((reconstruction - objective.signal(batch)).square().sum(1).mean())
    assert logged["val/mse_db"] == pytest.approx(10 * math.log10(error), abs=1e-4)
    assert logged["val/mse_db"] != pytest.approx(logged["val/unquantised_db"], abs=0.05)
    assert logged["val/quantised"] == 0
