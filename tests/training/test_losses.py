"""Bits as an objective: where they lie, the analytic gradient, calibration, optima that are known, stages."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from rfsep.app.config import instantiate, option, options
from rfsep.challenge.comparison import bit_errors
from rfsep.iq import from_channels, to_channels
from rfsep.metrics import row_bit_errors, score
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.constellations import map_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.training.bit_head import BitHead
from rfsep.training.data import MixtureData
from rfsep.training.demodulation import Demodulation
from rfsep.training.levels import LevelScores
from rfsep.training.losses import bit_cross_entropy
from rfsep.training.optimisers import Optimisation, adamw, constant, step_decay
from rfsep.training.soi_bits import NoiseVariance, demodulated_error_rates, heard
from rfsep.types import InputError, MixtureBatch, Separated

QPSK = LinearModem()
OFDM = OfdmModem()
SINR_DB = -12.0  # 16 samples per symbol: Es/N0 of about 0 dB behind the matched filter
SYMBOL_NOISE = 10**1.2 / 16


class Gain(torch.nn.Module):
    """The mixture times a number; of its bits, the real and imaginary parts of the matched filter times another."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.head = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(1.0))])

    def forward(self, mixture: Tensor) -> Tensor:
        return self.gain * mixture

    def estimate_and_logits(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        symbols = QPSK.analyse(from_channels(mixture))
        return self.gain * mixture, -self.head[0] * torch.view_as_real(symbols).flatten(1)


def noisy(num: int, sinr_db: float = SINR_DB, modem: Any = QPSK, key: int = 0) -> MixtureBatch:
    return Mixer(modem, WhiteNoise()).draw(torch.full((num,), sinr_db), 640, batch_generator(Purpose.TEST, key))


def trained(objective: pl.LightningModule, steps: int = 200) -> dict[str, Tensor]:
    """Metrics after training in white noise of one level."""
    data = MixtureData(
        mixer=Mixer(QPSK, WhiteNoise()),
        val_mixer=Mixer(QPSK, WhiteNoise()),
        batch_size=16,
        num_samples=640,
        sinr_db=(SINR_DB, SINR_DB),
        val_sinr_db=[SINR_DB],
        val_per_sinr=200,
        num_workers=0,
        seed=0,
    )
    trainer = pl.Trainer(
        max_steps=steps,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
    )
    trainer.fit(objective, data)
    return trainer.callback_metrics


SCHEDULE = Optimisation(0.1, warmup_steps=5, max_steps=200)


@pytest.mark.parametrize("modem", [QPSK, OFDM, LinearModem("qam16"), LinearModem("qpsk_axes", samples_per_symbol=5)])
@pytest.mark.parametrize("length", [640, 653])
def test_bits_of_a_clean_soi_are_found_at_any_offset(modem: Any, length: int) -> None:
    soi = RandomCrop(modem, random_phase=False)
    batch = Mixer(soi, WhiteNoise()).draw(torch.zeros(64), length, batch_generator(Purpose.TEST, 1))
    found = heard(modem, to_channels(batch.soi), batch)
    sent = map_bits(found.bits, modem.constellation)
    known = found.known.view(*sent.shape, -1).all(-1)
    distance = (found.symbols - sent).abs()
    assert float(distance[known].median()) < 0.01  # one sample too early or late: 0.1
    period, per_symbol = modem.symbol_period, modem.num_bits(modem.symbol_period)
    centres = torch.arange(period // 2, 2 * length, period) - batch.soi_offset[:, None]  # of symbols, in samples
    whole = (centres >= period // 2) & (centres < length)  # none that began in front of the window
    skipped = per_symbol * ((batch.soi_offset > 0) & (batch.soi_offset <= period // 2))
    held = torch.minimum(per_symbol * whole.sum(1), batch.num_bits - skipped)  # as far as the source tells its bits
    assert torch.equal(found.known.sum(1), held)
    ended = batch._replace(num_bits=batch.num_bits - per_symbol)  # the last symbol may lack its end
    assert float(demodulated_error_rates(modem, to_channels(batch.soi), ended).max()) == 0.0


@pytest.mark.parametrize("modem", [QPSK, OFDM])
def test_validation_counts_the_bits_that_published_comparisons_count(modem: Any) -> None:
    """Of an SOI at any offset, and of a synchronised one by the scorer's own count."""
    batch = noisy(200, modem=RandomCrop(modem, random_phase=False))
    counted = bit_errors(Separated(batch.mixture, torch.empty(0)), batch, modem)
    expected = counted.wrong / counted.compared
    if modem is QPSK:  # clean OFDM symbols that lack their end are not what was sent
        found = demodulated_error_rates(modem, to_channels(batch.mixture), batch)
        assert found.numpy() == pytest.approx(expected, abs=1e-6)
        assert expected.mean() == pytest.approx(0.16, abs=0.02)  # Q(1)
    batch = noisy(50, modem=modem)
    bits = modem.decide(batch.mixture)
    errors = row_bit_errors(bits.numpy(), batch.bits.numpy(), batch.num_bits.numpy())
    assert errors.sum() > 100
    truth = score(np.ones(50), errors, batch.num_bits.numpy(), batch.sinr_db.numpy())
    scores = LevelScores()
    rates = demodulated_error_rates(modem, to_channels(batch.mixture), batch)
    scores.add(batch.sinr_db, torch.ones(50), {"ber": rates})
    assert truth.ber is not None
    assert scores.metrics()["val/ber/-12"] == pytest.approx(truth.ber[0].value, rel=1e-6)


def test_rows_without_offset_or_bits_count_for_nothing() -> None:
    batch = noisy(3)
    unknown = batch._replace(soi_offset=torch.tensor([0, -1, 0]), num_bits=torch.tensor([80, 80, 0]))
    rates = demodulated_error_rates(QPSK, to_channels(batch.mixture), unknown)
    assert torch.isnan(rates).tolist() == [False, True, True]
    found = heard(QPSK, to_channels(batch.mixture), unknown)
    logits = QPSK.demodulate(batch.mixture)
    expected = bit_cross_entropy(logits[:1], batch.bits[:1], torch.ones(1, 80, dtype=torch.bool))
    assert float(bit_cross_entropy(logits, found.bits, found.known)) == pytest.approx(float(expected), rel=1e-6)
    no_bits = batch._replace(bits=batch.bits[:, :0], num_bits=torch.zeros(3, dtype=torch.int64))
    assert torch.isnan(demodulated_error_rates(QPSK, to_channels(batch.mixture), no_bits)).all()


def test_gradient_is_the_analytic_one() -> None:
    """Of QPSK, llr = c Re z with c = -2 sqrt(2) / v, and z = A x: the gradient in x is A^T (sigma(llr) - bit) c / N."""
    objective = Demodulation(Gain(), QPSK, 0.0, SCHEDULE)
    batch = noisy(2)
    estimate = to_channels(batch.mixture).requires_grad_()
    objective.cross_entropy(estimate, batch).backward()  # type: ignore[no-untyped-call]
    found = heard(QPSK, estimate.detach(), batch)
    variance = objective.noise_variance(found.symbols, found.known, QPSK.constellation).detach()[:, None]
    llr = -2 * math.sqrt(2) * torch.view_as_real(found.symbols).flatten(1) / variance
    slope = (llr.sigmoid() - batch.bits) * -2 * math.sqrt(2) / variance / batch.bits.numel()  # [B, N]
    # the transpose of the analysis is the synthesis over the pulse's energy, 16
    expected = QPSK.synthesise(torch.view_as_complex(slope.unflatten(1, (-1, 2)).contiguous()), 640) / 16
    assert torch.allclose(from_channels(estimate.grad), expected, atol=1e-4 * float(expected.abs().max()))  # type: ignore[arg-type]


def test_gradient_vanishes_for_confident_right_bits_and_not_for_wrong_ones() -> None:
    objective = Demodulation(Gain(), QPSK, 0.0, SCHEDULE)
    batch = noisy(2)
    norms = []
    for clean in (batch.soi, -batch.soi):
        estimate = to_channels(clean).requires_grad_()
        objective.cross_entropy(estimate, batch).backward()  # type: ignore[no-untyped-call]
        norms.append(float(estimate.grad.norm()))  # type: ignore[union-attr]
    assert norms[0] < 1e-12
    assert norms[1] > 1


def test_demodulator_stays_exact_under_autocast() -> None:
    objective, batch = Demodulation(Gain(), QPSK, 0.0, SCHEDULE), noisy(4)
    exact = objective.cross_entropy(to_channels(batch.mixture), batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective.cross_entropy(to_channels(batch.mixture), batch)
    assert float(mixed.detach()) == float(exact.detach())


def test_demodulated_bits_become_calibrated() -> None:
    """In white noise llr = -2 sqrt(2) Re(z) / N0: gain over variance becomes 1 / N0, whatever the gain."""
    objective = Demodulation(Gain(), QPSK, 0.0, SCHEDULE)
    metrics = trained(objective)
    batch = noisy(200, key=9)
    estimate = objective.model(to_channels(batch.mixture))
    found = heard(QPSK, estimate, batch)
    variance = objective.noise_variance(found.symbols, found.known, QPSK.constellation)
    ratio = objective.model.gain.detach() / variance.detach().mean()
    assert float(ratio) == pytest.approx(1 / SYMBOL_NOISE, rel=0.05)
    assert float(metrics["val/ber"]) == pytest.approx(0.5 * math.erfc(math.sqrt(0.5 / SYMBOL_NOISE)), rel=0.05)


def test_waveform_and_bits_reach_both_optima() -> None:
    """Calibrated bits do not care for the gain, which is then Wiener's."""
    objective = Demodulation(Gain(0.2), QPSK, 1.0, SCHEDULE._replace(max_steps=300))
    metrics = trained(objective, steps=300)
    wiener = 1 / (1 + 10**1.2)
    assert float(objective.model.gain.detach()) == pytest.approx(wiener, abs=0.01)
    assert float(metrics["val/mse_db"]) == pytest.approx(10 * math.log10(1 - wiener), abs=0.02)
    batch = noisy(200, key=9)
    found = heard(QPSK, objective.model(to_channels(batch.mixture)), batch)
    variance = objective.noise_variance(found.symbols, found.known, QPSK.constellation)
    ratio = objective.model.gain.detach() / variance.detach().mean()
    assert float(ratio) == pytest.approx(1 / SYMBOL_NOISE, rel=0.05)


def test_head_reaches_both_optima() -> None:
    objective = BitHead(Gain(), QPSK, 1.0, SCHEDULE)
    metrics = trained(objective)
    state = objective.state_dict()
    assert float(state["model.gain"]) == pytest.approx(1 / (1 + 10**1.2), abs=0.01)
    scale = float(state["model.head.0"])
    assert scale == pytest.approx(2 * math.sqrt(2) / SYMBOL_NOISE, rel=0.05)
    assert float(metrics["val/ber"]) == float(metrics["val/ber_demodulated"])


def test_what_the_model_holds_fixed_stays() -> None:
    """The stages of the SOI-matched heads."""
    model = Gain()
    model.gain.requires_grad_(False)
    trained(BitHead(model, QPSK, 1.0, SCHEDULE), steps=20)
    assert float(model.gain) == 1.0
    assert float(model.state_dict()["head.0"]) > 1.2


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="Linear has no head for bits"):
        BitHead(torch.nn.Linear(2, 2), QPSK, 1.0, SCHEDULE)  # type: ignore[arg-type]
    batch, known = noisy(2), torch.ones((2, 80), dtype=torch.bool)
    with pytest.raises(InputError, match="gives 10 bits per window, the SOI has 80"):
        bit_cross_entropy(torch.zeros((2, 10)), batch.bits, known)
    with pytest.raises(InputError, match="carries no known bits"):
        heard(QPSK, to_channels(batch.mixture), batch._replace(bits=batch.bits[:, :0]))


def test_variance_leaves_out_what_lies_beyond_the_window() -> None:
    symbols = torch.tensor([[1 + 1j, 0j]]) / math.sqrt(2) + 0.2
    known = torch.tensor([[True, True, False, False]])
    variance = NoiseVariance()(symbols, known, QPSK.constellation)
    assert variance.tolist() == pytest.approx([0.04], rel=1e-5)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (None, [0.5, 1.0, 0.5, 0.0]),
        (constant, [0.5, 1.0, 1.0, 1.0]),
        (partial(step_decay, at=[4, 5], factor=0.1), [0.5, 1.0, 0.1, 0.01]),
    ],
)
def test_learning_rate_follows_its_schedule(decay: Callable[[int], float] | None, expected: list[float]) -> None:
    made = adamw([torch.nn.Parameter(torch.zeros(1))], Optimisation(0.2, 2, 6, 0.0, decay))
    schedule: Any = made["lr_scheduler"]["scheduler"]  # type: ignore[index]
    rates = []
    for _ in range(7):
        rates.append(schedule.get_last_lr()[0] / 0.2)
        schedule.optimizer.step()
        schedule.step()
    assert [rates[step] for step in (0, 1, 4, 6)] == pytest.approx(expected, abs=1e-9)
    assert "steps_per_epoch" not in str(schedule.state_dict())


# token_bits and soi_tokens need a separator; diffusion priors and tokenizers see no mixture
OTHERS = {"token_bits", "soi_tokens", "ddpm", "ddpm_published", "tokenizer", "timing"}


@pytest.mark.parametrize("name", sorted(set(options("objective")) - OTHERS))
def test_every_objective_of_the_configuration_trains_and_validates(name: str) -> None:
    config = option("objective", name)
    config.module.optimisation.max_steps = 100
    model = Gain()
    objective = instantiate(config.module, model=model, modem=QPSK, guide=None)
    objective.log = objective.log_dict = lambda *arguments, **options: None
    batch = noisy(4)
    objective.training_step(batch, 0).backward()
    assert any(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        objective.validation_step(batch, 0)
    metrics = objective.scores.metrics()
    assert math.isfinite(metrics["val/mse_db"])
    assert 0 < metrics["val/ber"] < 0.5
    made = objective.configure_optimizers()
    assert made["optimizer"].param_groups[0]["lr"] > 0
