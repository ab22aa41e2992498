"""The objective of the radio-frequency transformer: the right tokens, the right loss, and that it learns."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from known_tokens import MODEM, NOTHING, exact_tokenizer

from rfsep.iq import to_channels
from rfsep.mixtures.mix import Mixer
from rfsep.models.rf_transformer import RfTransformer
from rfsep.separators.tokens.aligned import Aligned
from rfsep.separators.tokens.patches import Patches
from rfsep.separators.tokens.rf_transformer import RfTransformerSeparator
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.training.losses import row_errors
from rfsep.training.optimisers import Optimisation
from rfsep.training.soi_tokens import SoiTokens, token_truth
from rfsep.types import InputError, MixtureBatch


def made(loss: str = "cross_entropy", any_offset: bool = False, **changes: Any) -> SoiTokens:
    torch.manual_seed(0)
    front: Any = partial(Patches, inputs=("symbols",))
    num_inputs, num_phases = Patches(MODEM, NOTHING, inputs=("symbols",)).num_inputs, 1
    if any_offset:
        front = partial(Aligned, interference=OfdmModem(), iterations=1, soi_timing="estimated")
        num_inputs, num_phases = 177, 16
    model = RfTransformer(
        exact_tokenizer(),
        num_inputs,
        num_phases,
        num_prior=2 if any_offset else 0,
        width=32,
        encoder_depth=1,
        decoder_depth=1,
        heads=2,
        **changes,
    )
    separator = RfTransformerSeparator(MODEM, NOTHING, model, front)
    return SoiTokens(model, MODEM, separator, Optimisation(3e-3, warmup_steps=5, max_steps=150), loss=loss)  # type: ignore[arg-type]


def drawn(sinr_db: float, count: int, key: int, any_offset: bool = False) -> MixtureBatch:
    soi: Any = RandomCrop(MODEM, random_phase=False) if any_offset else MODEM
    mixer = Mixer(soi, RandomCrop(OfdmModem(), power=56 / 64) if any_offset else WhiteNoise())
    return mixer.draw(torch.full((count,), sinr_db), 640, torch.Generator().manual_seed(key))


def test_tokens_are_those_of_the_bits_at_every_offset() -> None:
    batch = drawn(0.0, 30, 1, any_offset=True)
    truth = token_truth(made().model, MODEM, batch)
    assert torch.equal(truth.known.sum(1) * 2, batch.num_bits)
    known = truth.known[:, :, None].expand(-1, -1, 2)
    bits = torch.nn.functional.pad(batch.bits, (0, 80 - batch.bits.shape[1])).view(30, 40, 2)
    assert torch.equal(truth.codes[known].byte(), bits[known])
    fewer = token_truth(made().model, MODEM, batch._replace(num_bits=batch.num_bits - 3))
    assert torch.equal(fewer.known.sum(1), batch.num_bits // 2 - 2)  # a token whose bits are known in part is not


def test_a_soi_without_bits_is_tokenized_itself() -> None:
    batch = drawn(0.0, 4, 1)
    truth = token_truth(made().model, MODEM, batch._replace(bits=batch.bits[:, :0], num_bits=0 * batch.num_bits))
    assert bool(truth.known.all())
    assert torch.equal(truth.codes.flatten(1).byte(), batch.bits)


def steps(objective: SoiTokens, count: int) -> list[float]:
    optimiser, losses = objective.configure_optimizers()["optimizer"], []
    objective.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    for step in range(count):
        loss = objective.training_step(drawn(-4.0, 16, step), step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_loss_starts_at_two_bits_a_token_and_falls() -> None:
    """QPSK at -4 dB in white noise, Es/N0 of 8 dB: hardly a token is in doubt."""
    objective = made()
    losses = steps(objective, 150)
    assert losses[0] == pytest.approx(2 * math.log(2), abs=0.05)
    assert losses[-1] < 0.25
    batch = drawn(-4.0, 32, 999)
    found = objective.separator.separate(batch.mixture)
    assert float((found.bits != batch.bits).float().mean()) < 0.03


def test_waveform_error_is_of_the_mean_waveform() -> None:
    objective = made("waveform_mse")
    batch = drawn(-4.0, 8, 3)
    objective.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    first = objective.training_step(batch, 0).item()
    power = float(row_errors(0 * to_channels(batch.soi), batch.soi).mean())
    assert first == pytest.approx(power, rel=1e-3)  # every token as likely as any other: their mean is nothing
    assert steps(objective, 60)[-1] < 0.4 * power


def test_an_untrained_one_with_a_prior_starts_from_it() -> None:
    objective = made(any_offset=True)
    batch = drawn(0.0, 8, 3, any_offset=True)
    objective.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    assert objective.training_step(batch, 0).item() < 0.1


def test_validation_is_the_separator() -> None:
    objective = made()
    logged: dict[str, float] = {}
    objective.log = lambda name, value, **kwargs: logged.update({name: float(value)})  # type: ignore[method-assign]
    steps(objective, 30)
    objective.log = lambda name, value, **kwargs: logged.update({name: float(value)})  # type: ignore[method-assign]
    batch = drawn(-4.0, 16, 5)
    objective.eval()
    objective.validation_step(batch, 0)
    objective.on_validation_epoch_end()
    found = objective.separator.separate(batch.mixture)
    wrong = MODEM.decide(found.soi) != batch.bits
    assert logged["val/ber/-4"] == pytest.approx(float(wrong.float().mean()), abs=1e-6)
    error = float((found.soi - batch.soi).abs().square().mean())
    assert logged["val/mse_db"] == pytest.approx(10 * math.log10(error), abs=1e-3)


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(InputError, match="unknown loss 'l1'; choose one of cross_entropy, waveform_mse"):
        made("l1")
    objective = made()
    batch = drawn(0.0, 2, 1)
    short = batch._replace(soi=batch.soi[:, :630])
    with pytest.raises(InputError, match=r"data\.num_samples is 630, expected a multiple of a token's 16 samples"):
        token_truth(objective.model, MODEM, short)
    batch.mixture[0, 3] = math.nan
    with pytest.raises(InputError, match="a training mixture holds NaN or infinity"):
        objective.see(batch)
