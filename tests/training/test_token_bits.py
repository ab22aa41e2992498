"""The bits of tokens are those that were sent, and their cross-entropy is what is learned."""

import math

import pytest
import torch

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.token_transformer import TokenTransformer
from rfsep.separators.tokens.aligned import Aligned
from rfsep.separators.tokens.views import Timing
from rfsep.signals.constellations import map_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.training.optimisers import Optimisation
from rfsep.training.token_bits import TokenBits, symbol_error, token_truth
from rfsep.types import InputError, MixtureBatch

MODEM = LinearModem()


def made(soi_timing: str = "estimated", **changes: object) -> TokenBits:
    torch.manual_seed(0)
    model = TokenTransformer(54, width=32, depth=1, heads=2)
    nothing = torch.zeros((0, 0), dtype=torch.complex64)
    separator = Aligned(MODEM, nothing, model, OfdmModem(), inputs=("band",), soi_timing=soi_timing)  # type: ignore[arg-type]
    optimisation = Optimisation(1e-2, warmup_steps=5, max_steps=60)
    return TokenBits(model, MODEM, separator, optimisation, **changes)  # type: ignore[arg-type]


def drawn(sinr_db: float, count: int, key: int, any_offset: bool = True) -> MixtureBatch:
    soi = RandomCrop(MODEM, random_phase=False) if any_offset else MODEM
    mixer = Mixer(soi, RandomCrop(OfdmModem(), power=56 / 64))
    return mixer.draw(torch.full((count,), sinr_db), 800, batch_generator(Purpose.TEST, key))


@pytest.mark.parametrize("any_offset", [False, True])
def test_token_bits_are_those_sent(any_offset: bool) -> None:
    """Without interference every token's matched filter reads its own bits, at every offset; each bit stands once."""
    batch = drawn(60.0, 40, 1, any_offset)
    objective = made("estimated" if any_offset else "known")
    at = Timing(batch.soi_offset, batch.interference_offset, torch.zeros(40))
    view = objective.separator.view(batch.mixture, at, not any_offset, not any_offset)
    truth = token_truth(objective.separator, view, batch)
    grid = objective.separator.grid
    pulses = grid.pulses[view.tokens.phase]  # [B, K, P, n]
    heard = (view.tokens.samples[:, :, None] @ pulses.conj())[:, :, 0, grid.reach : grid.reach + grid.slots]
    sent = map_bits(truth.bits, MODEM.constellation)
    known = truth.known.view(*sent.shape, 2).all(3)
    assert torch.equal(truth.known.sum((1, 2)), batch.num_bits)
    alike = ((heard * sent.conj()).real > 0)[known]
    assert float(alike.float().mean()) > 0.99  # but for pulses cut between two tokens


def test_loss_starts_at_one_bit_and_falls() -> None:
    objective = made()
    optimiser = objective.configure_optimizers()["optimizer"]
    losses = []
    objective.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    for step in range(60):
        loss = objective.training_step(drawn(0.0, 16, step), step)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert sum(losses[-10:]) / 10 < 0.3


def test_symbol_error_is_zero_for_sure_right_bits_and_one_without_any() -> None:
    bits = torch.randint(0, 2, (4, 20), generator=torch.Generator().manual_seed(0)).byte()
    known = torch.ones_like(bits, dtype=torch.bool)
    sure = 80.0 * (bits.float() - 0.5)
    assert float(symbol_error(sure, bits, known, MODEM.constellation)) == pytest.approx(0.0, abs=1e-6)
    assert float(symbol_error(0 * sure, bits, known, MODEM.constellation)) == pytest.approx(1.0, abs=1e-6)
    known[:, ::2] = False  # half a symbol is none
    assert float(symbol_error(0 * sure, bits, known, MODEM.constellation)) == 0.0


def test_views_do_not_depend_on_the_number_of_cores() -> None:
    batch, objective = drawn(-6.0, 5, 2), made()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = objective.see(batch)
    torch.set_num_threads(2)
    two = objective.see(batch)
    torch.set_num_threads(threads)
    assert all(torch.allclose(a.float(), b.float(), atol=1e-5) for a, b in zip(one, two, strict=True))


def test_unknown_loss_is_named() -> None:
    with pytest.raises(InputError, match="unknown loss 'mse'; choose one of cross_entropy, symbol_mse"):
        made(loss="mse")


def test_batches_that_cannot_be_cut_are_refused() -> None:
    batch, objective = drawn(-6.0, 2, 3), made()
    for name in ("soi_offset", "interference_offset"):
        with pytest.raises(InputError, match=f"its {name} is not known"):
            objective.see(batch._replace(**{name: torch.full((2,), -1)}))
    with pytest.raises(InputError, match="NaN"):
        objective.see(batch._replace(mixture=batch.mixture * torch.nan))
    with pytest.raises(InputError, match="no known bits"):
        objective.see(batch._replace(bits=batch.bits[:, :0]))
