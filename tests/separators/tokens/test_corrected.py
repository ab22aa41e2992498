"""A network that corrects guides: what it is shown, what it answers untrained, and which models it refuses."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rfsep.app.build import check_separator
from rfsep.app.config import instantiate
from rfsep.app.trust import RUN_PACKAGES, check_targets
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.token_transformer import TokenTransformer
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.passthrough import Passthrough
from rfsep.separators.tokens.corrected import Corrected
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch, Modem, Separated

MODEM = LinearModem()
NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
SEEN = 13  # symbols of a token of five, and four on each side


class Told:
    """A guide that was told the SOI of every mixture; it gives it scaled."""

    def __init__(self, modem: Modem, examples: Tensor, batch: MixtureBatch, scale: float = 1.0) -> None:
        self.modem, self.scale = modem, scale
        self.known = {float(row[0].real): soi for row, soi in zip(batch.mixture, batch.soi, strict=True)}

    def separate(self, mixture: Tensor) -> Separated:
        soi = self.scale * torch.stack([self.known[float(row[0].real)] for row in mixture])
        return Separated(soi, self.modem.decide(soi))


def made(*guides: Any, **changes: Any) -> Corrected:
    torch.manual_seed(0)
    num_inputs = 1 + (2 + 3 * len(guides)) * SEEN
    model = TokenTransformer(num_inputs, num_phases=1, width=32, depth=1, heads=2).eval()
    return Corrected(MODEM, NOTHING, model, guides, **changes)


def mixtures(sinr_db: float, count: int, length: int = 1280) -> MixtureBatch:
    mixer = Mixer(MODEM, RandomCrop(OfdmModem(), power=56 / 64))
    return mixer.draw(torch.full((count,), sinr_db), length, batch_generator(Purpose.TEST, 21))


@pytest.mark.parametrize("length", [1280, 1283, 2562, 6000])
def test_untrained_network_returns_the_bits_of_a_perfect_guide(length: int) -> None:
    """Of the first one: the second inverts every bit; also where windows are joined, and where a symbol is cut."""
    batch = mixtures(-24.0, 3, length)
    found = made(partial(Told, batch=batch), partial(Told, batch=batch, scale=-1.0)).separate(batch.mixture)
    assert found.soi.shape == batch.mixture.shape
    assert torch.equal(found.bits, batch.bits)
    other = made(partial(Told, batch=batch, scale=-1.0), partial(Told, batch=batch)).separate(batch.mixture)
    assert torch.equal(other.bits, 1 - batch.bits)


def test_tokens_are_shown_symbols_and_what_guides_leave() -> None:
    """Against a plain loop over tokens and the symbols they see."""
    batch = mixtures(-12.0, 2, 640)
    separator = made(partial(Told, batch=batch), Passthrough)
    view = separator.view(batch.mixture, separator.guidance(batch.mixture))
    heard = [MODEM.analyse(waveform) for waveform in (batch.mixture, batch.soi)]
    rms = batch.mixture.abs().square().mean(1).sqrt()
    rests = (batch.mixture - batch.soi, torch.zeros_like(batch.mixture))
    left = [rest.abs().square().view(2, 40, 16).mean(2).clamp_min(1e-3).log() / 4 for rest in rests]
    values = torch.stack((heard[0].real / rms[:, None], heard[1].real, *left))  # [4, B, S]
    for token in range(8):
        assert torch.allclose(view.inputs[:, token, 0], rms.log())
        for place in range(SEEN):
            number = 5 * token - 4 + place
            columns = [1 + 2 * place, 1 + 2 * SEEN + 2 * place, 1 + 4 * SEEN + place, 1 + 7 * SEEN + place]
            expected = values[:, :, number] if 0 <= number < 40 else torch.zeros(4, 2)
            assert torch.allclose(view.inputs[:, token, columns].T, expected, atol=1e-5)
    assert view.edge[0].tolist() == [0] * 8 + [160]
    assert not view.phase.any()


def test_rows_do_not_see_each_other() -> None:
    batch = mixtures(-6.0, 20)
    separator = made(MatchedFilter, Passthrough)
    torch.nn.init.normal_(separator.model.correction.shared.weight)  # type: ignore[attr-defined]
    together, alone = separator.separate(batch.mixture).soi, separator.separate(batch.mixture[17:18]).soi
    assert torch.allclose(together[17], alone[0], atol=1e-4)
    assert not torch.allclose(alone, made(MatchedFilter, Passthrough).separate(batch.mixture[17:18]).soi, atol=1e-2)


def test_guides_of_a_run_are_instantiated_and_foreign_ones_refused() -> None:
    guide = {"_target_": "rfsep.separators.matched_filter.MatchedFilter", "_partial_": True, "remodulation": "hard"}
    node = {"_target_": "rfsep.separators.tokens.corrected.Corrected", "guides": [guide], "period": 80}
    check_separator(node, "tokens")
    model = TokenTransformer(1 + 5 * SEEN, num_phases=1, width=32, depth=1, heads=2)
    separator = instantiate(node, modem=MODEM, examples=NOTHING, model=model)
    assert separator.guides[0].remodulation == "hard"
    foreign = {**node, "guides": [{"_target_": "os.system", "_partial_": True}]}
    with pytest.raises(InputError, match=r"'os.system' is no class of rfsep.separators; refused"):
        check_separator(foreign, "tokens")
    with pytest.raises(InputError, match=r"'os.system' is no class of rfsep.models and rfsep.separators; refused"):
        check_targets(foreign, __file__, RUN_PACKAGES)  # type: ignore[arg-type]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match="guides is empty"):
        made()
    with pytest.raises(InputError, match="period is 72, expected a multiple of the SOI's 16 samples"):
        made(MatchedFilter, period=72)
    model = TokenTransformer(66, width=32, depth=1, heads=2)
    with pytest.raises(InputError, match=r"network.num_phases is 16, .* needs 1"):
        Corrected(MODEM, NOTHING, model, [MatchedFilter])
    with pytest.raises(
        InputError, match="what 2 guides find and the mixture are 105 numbers per token; the model takes 66"
    ):
        Corrected(MODEM, NOTHING, model, [MatchedFilter, MatchedFilter])
    batch = mixtures(-6.0, 2, 640)
    with pytest.raises(InputError, match="must begin at sample 0"):
        made(MatchedFilter).training_view(batch._replace(soi_offset=batch.soi_offset + 3), batch.mixture[:, :, None])
