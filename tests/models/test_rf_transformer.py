"""The radio-frequency transformer: what a token may depend on, and every way of writing gives the same."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from rfsep.models.attention import Attention, Cache, rotation
from rfsep.models.rf_transformer import RfTransformer, Sight
from rfsep.models.tokenizer import Tokenizer

PATCHES, TOKENS, INPUTS = 4, 12, 6


def transformer(levels: tuple[int, ...] = (2, 2), num_prior: int = 2, **changes: object) -> RfTransformer:
    torch.manual_seed(0)
    tokenizer = Tokenizer(levels=levels, channels=2, corrected=False)
    model = RfTransformer(
        tokenizer,
        INPUTS,
        num_phases=2,
        period=48,
        num_prior=num_prior,
        width=16,
        heads=2,
        **changes,  # type: ignore[arg-type]
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return model.eval()


def sight(batch: int = 3, num_prior: int = 2) -> Sight:
    generator = torch.Generator().manual_seed(1)
    token = torch.arange(TOKENS).expand(batch, -1)
    return Sight(
        inputs=torch.randn((batch, PATCHES, INPUTS), generator=generator),
        phase=torch.randint(0, 2, (batch, PATCHES), generator=generator),
        edge=torch.zeros((batch, PATCHES), dtype=torch.int64),
        place=3.0 * torch.arange(PATCHES).expand(batch, -1) + 1.5,
        patch=token // 3,
        slot=token % 3,
        within=token % 3 * 16 + 8,
        prior=torch.randn((batch, TOKENS, num_prior), generator=generator),
    )


def some_codes(model: RfTransformer, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randint(0, size, (batch, TOKENS), generator=generator) for size in model.sizes], 2)


@pytest.mark.parametrize(
    "changes", [{}, {"norm": "peri"}, {"accelerated": True}, {"levels": (5, 3)}, {"levels": (2,) * 13}]
)
def test_writing_with_a_cache_is_writing_from_scratch(changes: dict[str, object]) -> None:
    model, seen = transformer(**changes), sight()  # type: ignore[arg-type]
    with torch.inference_mode():
        kept, anew = model.write(seen), model.write(seen, cached=False)
    assert torch.equal(kept.codes, anew.codes)
    torch.testing.assert_close(kept.log_probability, anew.log_probability, rtol=1e-4, atol=1e-4)
    assert len({tuple(row) for row in kept.codes.flatten(0, 1).tolist()}) > 1


def test_every_token_is_the_most_likely_given_those_before() -> None:
    model, seen = transformer(levels=(4, 3), num_prior=0), sight(num_prior=0)
    with torch.inference_mode():
        written = model.write(seen)
        logits = model(seen, written.codes)
    assert torch.equal(model.indices(written.codes)[:, :, 0], logits.argmax(2))


def test_a_token_depends_on_those_before_it_alone() -> None:
    model, seen = transformer(), sight()
    codes = some_codes(model)
    changed = codes.clone()
    changed[:, 7] = 1 - changed[:, 7]
    with torch.inference_mode():
        first, second = model(seen, codes), model(seen, changed)
    assert torch.equal(first[:, :8], second[:, :8])
    assert not torch.allclose(first[:, 8:], second[:, 8:], atol=1e-3)


def test_a_parallel_head_looks_at_no_token_and_every_token_at_the_whole_mixture() -> None:
    model, seen = transformer(autoregressive=False), sight()
    with torch.inference_mode():
        logits = model(seen, some_codes(model))
        assert torch.equal(logits, model(seen, 0 * some_codes(model)))
        written = model.write(seen)
        assert torch.equal(model.indices(written.codes)[:, :, 0], logits.argmax(2))
        inputs = seen.inputs.clone()
        inputs[:, -1] += 1
        elsewhere = model(seen._replace(inputs=inputs), some_codes(model))
    assert bool(((elsewhere - logits).abs().amax(2) > 1e-5).all())


def test_a_wide_beam_finds_the_most_likely_sequence() -> None:
    model = transformer(num_prior=0)
    short = sight(num_prior=0)
    short = short._replace(**{name: getattr(short, name)[:, :4] for name in ("patch", "slot", "within", "prior")})
    every = torch.tensor(list(itertools.product(range(4), repeat=4)))[:, :, None]
    with torch.inference_mode():
        for row in range(3):
            one = Sight(*(field[row : row + 1].expand(256, *field.shape[1:]) for field in short))
            nats = model.cross_entropy(model(one, model.digits(every)), model.digits(every)).sum(1)
            best = model.digits(every)[nats.argmin()]
            alone = Sight(*(field[row : row + 1] for field in short))
            found = model.write(alone, beams=64)
            assert torch.equal(found.codes[0], best)
            greedy = model.write(alone)
            score = model.cross_entropy(model(alone, greedy.codes), greedy.codes).sum()
            assert float(nats.min()) <= float(score) + 1e-5
            assert torch.equal(model.write(alone, beams=1).codes, greedy.codes)


def test_beams_of_rows_do_not_mix() -> None:
    model, seen = transformer(), sight()
    with torch.inference_mode():
        together = model.write(seen, beams=3)
        for row in range(3):
            alone = model.write(Sight(*(field[row : row + 1] for field in seen)), beams=3)
            assert torch.equal(alone.codes[0], together.codes[row])
            torch.testing.assert_close(alone.log_probability[0], together.log_probability[row], rtol=1e-4, atol=1e-4)
        own = model.log_probability(model(seen, together.codes))
    torch.testing.assert_close(own, together.log_probability, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 4])
def test_known_tokens_are_kept_and_built_upon(beams: int) -> None:
    model, seen = transformer(), sight()
    with torch.inference_mode():
        free = model.write(seen)
        again = model.write(seen, prefix=free.codes[:, :5])
        assert torch.equal(again.codes, free.codes)
        torch.testing.assert_close(again.log_probability, free.log_probability, rtol=1e-4, atol=1e-4)
        other = 1 - free.codes[:, :5]
        told = model.write(seen, beams, prefix=other)
    assert torch.equal(told.codes[:, :5], other)


def test_many_codes_are_decided_digit_by_digit() -> None:
    model = transformer(levels=(2,) * 13)
    assert model.head_sizes == (2,) * 13
    codes = some_codes(model)
    assert torch.equal(model.indices(codes), codes)
    with torch.inference_mode():
        logits = model(sight(), codes)
    pairs = logits.view(3, TOKENS, 13, 2).log_softmax(3)
    expected = -pairs.gather(3, codes[..., None])[..., 0].sum(2)
    torch.testing.assert_close(model.cross_entropy(logits, codes), expected)
    with pytest.raises(ValueError, match="beam search needs tokens of at most 4096 codes"):
        model.write(sight(), beams=2)


def test_digits_and_classes_are_the_same_tokens() -> None:
    model = transformer(levels=(4, 3, 5))
    assert model.head_sizes == (60,)
    every = torch.arange(60)[None, :, None]
    digits = model.digits(every)
    assert torch.equal(model.indices(digits), every)
    assert digits.amax((0, 1)).tolist() == [3, 2, 4]
    logits = torch.randn((1, 60, 60), generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cross_entropy(logits[0], every[0, :, 0], reduction="none")
    torch.testing.assert_close(model.cross_entropy(logits, digits)[0], expected)


@pytest.mark.parametrize("levels", [(4, 3), (2,) * 13])
def test_the_mean_waveform_of_certain_tokens_is_theirs_and_of_two_is_between(levels: tuple[int, ...]) -> None:
    model = transformer(levels=levels)
    codes = some_codes(model)
    sharp = torch.cat(
        [
            torch.nn.functional.one_hot(index[..., 0], size).float()
            for index, size in zip(model.indices(codes).split(1, 2), model.head_sizes, strict=True)
        ],
        2,
    )
    with torch.inference_mode():
        waveform = model.tokenizer.decode(model.tokenizer.values(codes))
        torch.testing.assert_close(model.expected(sharp.log()), waveform, rtol=1e-4, atol=1e-4)
        flat = torch.cat([torch.full((3, TOKENS, size), 1 / size) for size in model.head_sizes], 2)
        torch.testing.assert_close(model.expected(flat.log()), 0 * waveform, rtol=0, atol=1e-4)  # levels have mean zero


def test_an_untrained_transformer_trusts_its_prior() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(channels=2, corrected=False)
    model = RfTransformer(tokenizer, INPUTS, num_phases=2, period=48, num_prior=2, width=16, heads=2).eval()
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    model.trust(table)
    seen = sight()
    with torch.inference_mode():
        log_probability = model.write(seen).log_probability
    expected = (seen.prior @ table.T).log_softmax(2)
    torch.testing.assert_close(log_probability, expected, rtol=1e-4, atol=1e-4)


def test_attention_knows_distances_and_no_places() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2)
    x, place = torch.randn((2, 5, 16)), torch.tensor([0.0, 1.0, 2.5, 4.0, 9.0])
    found = []
    for shift in (0.0, 37.25):
        angle = rotation(place + shift, 4)
        found.append(layer(x, angle, layer.heard(x, angle), None, False))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    angle = rotation(2 * place, 4)
    assert not torch.allclose(layer(x, angle, layer.heard(x, angle), None, False), found[0], atol=1e-4)


def test_a_cache_takes_several_tokens_at_once() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2)
    x, angle = torch.randn((2, 6, 16)), rotation(torch.arange(6.0), 4)
    whole = layer(x, angle, layer.heard(x, angle), None, True)
    cache, parts = Cache(6), []
    for rows in (slice(0, 3), slice(3, 4), slice(4, 6)):
        own = layer.heard(x[:, rows], angle[rows])
        parts.append(layer(x[:, rows], angle[rows], own, cache, True))
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-6)


def test_an_accelerated_block_without_momentum_is_a_plain_one() -> None:
    plain, ahead, seen = transformer(), transformer(accelerated=True), sight()
    weights = {name: value for name, value in ahead.state_dict().items() if "momentum" not in name}
    plain.load_state_dict(weights)
    codes = some_codes(plain)
    with torch.no_grad():
        moved = ahead(seen, codes)
        for name, parameter in ahead.named_parameters():
            if "momentum" in name:
                parameter.zero_()
        torch.testing.assert_close(ahead(seen, codes), plain(seen, codes))
        assert not torch.allclose(moved, plain(seen, codes), atol=1e-3)


def test_everything_but_the_tokenizer_learns() -> None:
    model = transformer(norm="peri", accelerated=True)
    seen, codes = sight(), some_codes(model)
    seen = seen._replace(patch=seen.patch.clone())
    model.cross_entropy(model(seen, codes), codes).mean().backward()
    still = {name for name, one in model.named_parameters() if one.grad is None or not bool(one.grad.any())}
    assert still == {name for name, _ in model.named_parameters() if name.startswith("tokenizer.")} | {
        "encoder.0.step.momentum",  # nothing lies before the first block
        "decoder.0.step.momentum",
    }


def test_wrong_sizes_are_refused() -> None:
    tokenizer = Tokenizer(channels=2, corrected=False)
    with pytest.raises(ValueError, match="width 18 is no multiple of twice the 4 heads"):
        RfTransformer(tokenizer, INPUTS, width=18, heads=4)
    with pytest.raises(ValueError, match="unknown norm 'post'; choose one of pre, peri"):
        RfTransformer(tokenizer, INPUTS, norm="post")
    assert math.prod(RfTransformer(tokenizer, INPUTS).head_sizes) == 4
