"""The transformer as a separator: where tokens lie in a mixture, windows, ratios of bits; patches on the SOI's grid."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from known_tokens import MODEM, NOTHING, exact_ofdm_tokenizer, exact_tokenizer
from torch import Tensor

from rfsep.iq import to_channels
from rfsep.mixtures.mix import Mixer
from rfsep.models.rf_transformer import RfTransformer
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.tokens.aligned import Aligned
from rfsep.separators.tokens.corrected import Corrected
from rfsep.separators.tokens.patches import Patches
from rfsep.separators.tokens.rf_transformer import RfTransformerSeparator, first_sample, sight_of
from rfsep.separators.tokens.views import Look
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch

EXAMPLES = RandomCrop(OfdmModem(), power=56 / 64).sample(20, 4096, torch.Generator().manual_seed(3)).waveform


def separator(front: Any, num_inputs: int, num_phases: int = 1, num_prior: int = 0, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = RfTransformer(
        exact_tokenizer(), num_inputs, num_phases, 80, num_prior, width=16, encoder_depth=1, decoder_depth=1, heads=2
    )
    made = RfTransformerSeparator(MODEM, EXAMPLES, model.eval(), front, **changes)
    if num_prior:
        model.trust(made.bits_of_class)
    return made


def mixtures(count: int, length: int, sinr_db: float) -> MixtureBatch:
    mixer = Mixer(MODEM, RandomCrop(OfdmModem(), power=56 / 64))
    return mixer.draw(torch.full((count,), sinr_db), length, torch.Generator().manual_seed(1))


def test_the_tokens_of_these_tests_are_bits() -> None:
    sampled = MODEM.sample(4, 1280, torch.Generator().manual_seed(0))
    tokenizer = exact_tokenizer()
    codes = tokenizer.codes(to_channels(sampled.waveform))
    assert torch.equal(codes.flatten(1).byte(), sampled.bits)
    rebuilt = tokenizer.decode(tokenizer.values(codes))
    torch.testing.assert_close(rebuilt, to_channels(sampled.waveform), rtol=0, atol=1e-5)


def look_at(begin: list[int], offsets: list[int], step: int) -> Look:
    """Ten patches of 80 samples from ``begin``, whose prior of a bit is its number in the row, 1,000 a row."""
    bits = 2 * (-(-80 // step))
    none = torch.zeros((len(begin), 10), dtype=torch.int64)
    starts = torch.tensor(begin)[:, None] + 80 * torch.arange(10)
    number = torch.arange(10 * bits, dtype=torch.float32).view(10, bits)
    prior = 1000 * torch.arange(len(begin), dtype=torch.float32)[:, None, None] + number
    return Look(torch.zeros((len(begin), 10, 3)), none, none, prior, starts, torch.tensor(offsets))


def test_the_first_tokens_lie_where_one_counts_them() -> None:
    """Four rows of symbols of 16 samples, by hand: the first whole or nearly whole symbol begins at 0, -5, -8 and 3."""
    offsets = [0, 5, 8, 13]
    assert first_sample(torch.tensor(offsets), 16).tolist() == [0, -5, -8, 3]
    sight = sight_of(look_at([-30, 0, -79, -1], offsets, 16), 640, 80, 16, 16, 2)
    assert sight.within[:, :6].tolist() == [  # centres: 8, 24 ...; 3, 19 ...; 0, 16 ...; 11, 27 ...
        [38, 54, 70, 6, 22, 38],
        [3, 19, 35, 51, 67, 3],
        [79, 15, 31, 47, 63, 79],
        [12, 28, 44, 60, 76, 12],
    ]
    assert sight.patch[:, :6].tolist() == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 1],
    ]
    assert sight.slot[:, :6].tolist() == [
        [2, 3, 4, 0, 1, 2],
        [0, 1, 2, 3, 4, 0],
        [4, 0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 0],
    ]
    assert sight.place[:, 0].tolist() == [10 / 16, 45 / 16, -31 / 16, 36 / 16]  # middle of the first patch, in tokens
    assert sight.prior[:, :4].tolist() == [
        [[4, 5], [6, 7], [8, 9], [10, 11]],
        [[1000, 1001], [1002, 1003], [1004, 1005], [1006, 1007]],
        [[2008, 2009], [2010, 2011], [2012, 2013], [2014, 2015]],
        [[3000, 3001], [3002, 3003], [3004, 3005], [3006, 3007]],
    ]


@pytest.mark.parametrize(("stride", "step"), [(32, 16), (128, 16), (80, 80), (8, 80)])
def test_tokens_lie_where_their_samples_do(stride: int, step: int) -> None:
    """Every token in closed form: patches follow one another without a gap, so that a division says which."""
    begin, start = [-30, 0, -79, -1], [0, -5, -8, 3] if step == 16 else [0] * 4
    symbols = stride // step
    look = look_at(begin, [0, 5, 8, 13] if step == 16 else [0] * 4, step)
    sight = sight_of(look, 640, 80, stride, step, 2 * symbols)
    centre = np.array(start)[:, None] + stride * np.arange(640 // stride) + stride // 2
    patch, within = np.divmod(centre - np.array(begin)[:, None], 80)
    assert sight.patch.tolist() == patch.tolist()
    assert sight.within.tolist() == within.tolist()
    assert sight.slot.tolist() == (within // stride).tolist()
    middle = np.array(begin)[:, None] + 80 * np.arange(10) + 40 - np.array(start)[:, None]
    np.testing.assert_allclose(sight.place.numpy(), middle / stride, atol=1e-5)
    for symbol in range(symbols):
        middle_of = np.array(start)[:, None] + stride * np.arange(640 // stride) + step * symbol + step // 2
        patch, within = np.divmod(middle_of - np.array(begin)[:, None], 80)
        number = 2 * (80 // step * patch + within // step)
        assert sight.prior[:, :, 2 * symbol].tolist() == (1000 * np.arange(4)[:, None] + number).tolist()


def test_patches_of_another_length_and_missing_ratios_are_refused() -> None:
    none, inputs = torch.zeros((1, 4), dtype=torch.int64), torch.zeros((1, 4, 3))
    look = Look(inputs, none, none, torch.zeros((1, 4, 0)), 80 * torch.arange(4)[None], none[:, 0])
    with pytest.raises(
        InputError, match=r"model\.network\.period is 64, the mixture is shown in patches of 80 samples"
    ):
        sight_of(look, 320, 64, 16, 16, 0)
    with pytest.raises(InputError, match=r"model\.network\.num_prior is 2; the mixture is shown without ratios"):
        sight_of(look, 320, 80, 16, 16, 2)


@pytest.mark.parametrize("carry", [False, True])
def test_untrained_it_decides_as_detection_in_every_window(carry: bool) -> None:
    """Aligned front: the prior's decisions, through tokens and waveform, are detection's own."""
    batch = mixtures(3, 2400, -9.0)
    white = torch.randn((3, 2400), dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    batch = batch._replace(mixture=batch.mixture + white)
    front = partial(Aligned, interference=OfdmModem(), iterations=3)
    transformer = separator(front, 177, 16, 2, block=960, margin=160, carry=carry)
    found = transformer.separate(batch.mixture)
    own = Aligned(MODEM, EXAMPLES, interference=OfdmModem(), iterations=3, block=960, margin=160)
    bits = own.separate(batch.mixture).bits
    assert found.soi.shape == batch.mixture.shape
    assert float((found.bits != bits).float().mean()) < 2e-3
    assert 0 < float((bits != batch.bits).float().mean()) < 0.05


def test_ratios_of_bits_are_the_priors_in_an_untrained_transformer() -> None:
    batch = mixtures(3, 960, -9.0)
    transformer = separator(partial(Aligned, interference=OfdmModem(), iterations=3), 177, 16, 2)
    with torch.inference_mode():
        ratios = transformer.log_likelihood_ratios(batch.mixture, calibrated=False)
        calibrated = transformer.log_likelihood_ratios(batch.mixture)
        sight = transformer.sight(transformer.front.look(batch.mixture, None, True, True), 960)
    assert ratios.shape == (3, 120)
    torch.testing.assert_close(ratios, sight.prior.flatten(1).clamp(-27.6, 27.6), rtol=1e-2, atol=0.1)
    assert torch.equal((ratios > 0), sight.prior.flatten(1) > 0)
    assert torch.equal((calibrated > 0), ratios > 0)
    assert bool((calibrated.abs() <= ratios.abs() + 1e-3).all())
    with pytest.raises(InputError, match="a mixture of 5120 samples is longer than a window of 2560"):
        transformer.log_likelihood_ratios(torch.zeros((1, 5120), dtype=torch.complex64))


def test_windows_that_carry_on_see_the_tokens_before(monkeypatch: pytest.MonkeyPatch) -> None:
    front = partial(Patches, inputs=("symbols",))
    made = separator(front, Patches(MODEM, NOTHING, inputs=("symbols",)).num_inputs, block=640, margin=160, carry=True)
    prefixes: list[Tensor | None] = []
    write = made.model.write

    def recorded(sight: Any, beams: int, prefix: Tensor | None) -> Any:
        prefixes.append(prefix)
        return write(sight, beams, prefix)

    monkeypatch.setattr(made.model, "write", recorded)
    batch = mixtures(2, 1280, 0.0)
    made.separate(batch.mixture)
    assert prefixes[0] is None
    assert [tuple(one.shape) for one in prefixes[1:] if one is not None] == [(2, 10, 2)] * 2
    first = write(made.sight(made.front.look(batch.mixture[:, :640], None, True, False), 640))
    assert prefixes[1] is not None
    assert torch.equal(prefixes[1], first.codes[:, 20:30])


def test_a_soi_at_any_offset_is_written_where_it_is() -> None:
    mixer = Mixer(RandomCrop(MODEM), RandomCrop(OfdmModem(), power=56 / 64))
    drawn = mixer.draw(torch.zeros(6), 1280, torch.Generator().manual_seed(4))
    assert len(drawn.soi_offset.unique()) > 3
    front = partial(Aligned, interference=OfdmModem(), iterations=2, soi_timing="estimated")
    found = separator(front, 177, 16, 2).separate(drawn.mixture)
    own = Aligned(MODEM, EXAMPLES, interference=OfdmModem(), iterations=2, soi_timing="estimated")
    expected = own.separate(drawn.mixture).soi
    assert float((found.soi - expected).abs().square().mean(1).max()) < 1e-3
    assert float((expected - drawn.soi).abs().square().mean(1).min()) < 1e-2
    with pytest.raises(InputError, match="carry needs a SOI that begins at sample 0"):
        separator(front, 177, 16, 2, block=960, carry=True).separate(drawn.mixture[drawn.soi_offset > 0])


def test_guides_are_cut_with_the_mixture() -> None:
    batch = mixtures(2, 1600, 0.0)
    front = partial(Corrected, model=None, guides=[MatchedFilter])
    made = separator(front, 66, 1, 2, block=800, margin=160)
    guide = MatchedFilter(MODEM, EXAMPLES)
    assert torch.equal(made.separate(batch.mixture).bits, guide.separate(batch.mixture).bits)


@pytest.mark.parametrize("modem", [MODEM, OfdmModem()])
def test_patches_show_samples_and_symbols_of_their_own_place(modem: Any) -> None:
    front = Patches(modem, NOTHING, period=80, context=16)
    mixture = torch.randn((2, 400), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    look = front.look(mixture, mixture[:, :, None], True, True)
    assert look.inputs.shape == (2, 5, front.num_inputs)
    rms = mixture.abs().square().mean(1).sqrt()
    torch.testing.assert_close(look.inputs[:, :, 0], rms.log()[:, None].expand(-1, 5))
    samples = torch.view_as_complex(look.inputs[:, 2, 1 : 1 + 2 * 112].reshape(2, 112, 2).contiguous())
    torch.testing.assert_close(samples * rms[:, None], mixture[:, 160 - 16 : 240 + 16])
    shown = torch.view_as_complex(look.inputs[:, 2, 1 + 2 * 112 :].reshape(2, -1, 2).contiguous()) * rms[:, None]
    symbols = modem.analyse(mixture)
    expected = symbols[:, 9:16] if modem is MODEM else symbols[:, 2 * 56 : 3 * 56]
    torch.testing.assert_close(shown, expected, rtol=1e-4, atol=1e-5)


def test_a_window_that_ends_inside_a_patch_says_so() -> None:
    front = Patches(MODEM, NOTHING)
    look = front.look(mixtures(1, 1216, 0.0).mixture, NOTHING, True, True)
    assert look.edge.tolist() == [[0] * 15 + [80 + 16]]


def test_what_does_not_fit_is_refused() -> None:
    front = partial(Patches, inputs=("symbols",))
    with pytest.raises(InputError, match="margin is 100, expected a multiple of a token's 16 samples"):
        separator(front, 19, margin=100)
    with pytest.raises(InputError, match="beams is 0"):
        separator(front, 19, beams=0)
    with pytest.raises(InputError, match="unknown inputs noise; choose from time, symbols"):
        Patches(MODEM, NOTHING, inputs=("noise",))
    with pytest.raises(InputError, match="period is 90, expected a multiple of the SOI's 16 samples"):
        Patches(MODEM, NOTHING, period=90)
    with pytest.raises(InputError, match=r"num_inputs is 20, but the front gives 19 numbers per patch"):
        separator(front, 20)
    with pytest.raises(InputError, match=r"num_prior is 112, this SOI has 2 bits per token"):
        separator(front, 19, num_prior=112)
    moved = mixtures(2, 640, 0.0)
    with pytest.raises(InputError, match="patches lie on the SOI's own grid"):
        Patches(MODEM, NOTHING).training_look(moved._replace(soi_offset=torch.tensor([0, 3])), NOTHING)


@pytest.mark.parametrize("length", [640, 1216])
def test_the_prior_of_patches_is_the_matched_filter(length: int) -> None:
    """In white noise of known power, its ratios are exact; an untrained transformer decides as it does."""
    noise = 0.8
    clean = MODEM.sample(40, length, torch.Generator().manual_seed(0))
    white = torch.randn((40, length), dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    mixture = clean.waveform + (16 * noise) ** 0.5 * white  # noise of that variance in a symbol
    made = separator(
        partial(Patches, inputs=("symbols",)), Patches(MODEM, NOTHING, inputs=("symbols",)).num_inputs, 1, 2
    )
    ratios = made.log_likelihood_ratios(mixture, calibrated=False)
    heard = MODEM.analyse(mixture)
    expected = torch.stack((heard.real, heard.imag), 2).flatten(1) * -(2 * 2**0.5) / noise
    slope = float((ratios * expected).sum() / expected.square().sum())
    assert slope == pytest.approx(1.0, abs=0.1)  # the noise is estimated from each row
    filtered = MODEM.decide(mixture)  # the pulse is cut: soft neighbours turn a few bits that are hardly one
    assert float((made.separate(mixture).bits != filtered).float().mean()) < 1e-3
    assert 0.05 < float((filtered != clean.bits).float().mean()) < 0.2


def test_digits_of_an_ofdm_symbol_start_from_the_matched_filter_too() -> None:
    modem = OfdmModem()
    clean = modem.sample(4, 960, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    mixture = clean.waveform + 0.6 * torch.randn((4, 960), dtype=torch.complex64, generator=generator)
    torch.manual_seed(0)
    model = RfTransformer(
        exact_ofdm_tokenizer(),
        Patches(modem, NOTHING).num_inputs,
        1,
        80,
        112,
        width=16,
        encoder_depth=1,
        decoder_depth=1,
        heads=2,
    )
    made = RfTransformerSeparator(modem, NOTHING, model.eval(), Patches, block=480, margin=80)
    assert model.head_sizes == (2,) * 112
    table = made.bits_of_class.view(112, 2, 112)
    assert torch.equal(table[:, 1] - table[:, 0], torch.eye(112))
    model.trust(made.bits_of_class)
    found, filtered = made.separate(mixture), modem.decide(mixture)
    assert torch.equal(found.bits, filtered)
    assert 1e-3 < float((found.bits != clean.bits).float().mean()) < 0.1
    with pytest.raises(InputError, match="tokens with one class each; their digits are independent here"):
        made.log_likelihood_ratios(mixture[:, :480])
