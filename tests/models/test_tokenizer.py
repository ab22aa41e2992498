"""The tokenizer's quantisers against a reference and closed forms, its shapes, its reach, and its start."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.iq import to_channels
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.models.code_use import code_use, participation
from rfsep.models.quantisers import FiniteScalar, VectorCodebook
from rfsep.models.tokenizer import Tokenizer, _Neighbours
from rfsep.signals.linear_modem import LinearModem

REFERENCE = Path(__file__).parents[1] / "reference" / "fsq.npz"


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 2), (4, 4), (3, 7)])
def test_finite_scalar_quantiser_is_the_reference_implementation(levels: tuple[int, ...]) -> None:
    """vector-quantize-pytorch's FSQ, symmetric: values, indices and straight-through gradients."""
    name = "_".join(map(str, levels))
    with np.load(REFERENCE) as arrays:
        parts = ("latents", "values", "indices", "gradients")
        latents, values, indices, gradients = (torch.from_numpy(arrays[f"{name}_{part}"]) for part in parts)
    found = FiniteScalar(levels)(latents.requires_grad_())
    assert torch.allclose(found.values, values, atol=1e-6)
    basis = torch.tensor([math.prod(levels[:digit]) for digit in range(len(levels))])
    assert torch.equal((found.codes * basis).sum(2), indices.long())
    (found.values * torch.linspace(-1, 1, values.numel()).view_as(values)).sum().backward()
    assert latents.grad is not None
    assert torch.allclose(latents.grad, gradients, atol=1e-6)


def test_levels_lie_symmetrically_and_rounding_is_as_strong_as_their_steps() -> None:
    quantiser = FiniteScalar((2, 3, 5))
    codes = torch.tensor([[[0, 0, 0], [1, 1, 1], [1, 2, 4]]])
    assert quantiser.values(codes).tolist() == [[[-1, -1, -1], [1, 0, -0.5], [1, 1, 1]]]
    assert quantiser(torch.tensor([[[-9.0, -9, -9], [9, 9, 9]]])).codes.tolist() == [[[0, 0, 0], [1, 2, 4]]]
    assert quantiser.rounding().tolist() == pytest.approx([1 / 3, 1 / 12, 1 / 48])
    with pytest.raises(ValueError, match="two levels at least"):
        FiniteScalar((4, 1))


def test_vectors_go_where_latents_are_and_are_drawn_to_them() -> None:
    centres = torch.tensor([[3.0, 0], [0, 3], [-3, 0], [0, -3]])
    latents = (centres.repeat(10, 1) + 0.1 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))[None]
    codebook = VectorCodebook(4, 2)
    codebook.start(latents)
    found = codebook(latents.requires_grad_())
    assert code_use(found.codes[0], codebook.sizes).counts.tolist() == [10] * 4
    assert float(found.penalty.detach()) < 0.1
    assert torch.equal(codebook.values(found.codes), codebook.vectors[found.codes[..., 0]])
    (found.values.sum() + found.penalty).backward()
    assert latents.grad is not None
    assert codebook.vectors.grad is not None
    assert torch.allclose(latents.grad, torch.ones_like(latents), atol=0.02)  # through, and a little commitment
    moved = codebook.vectors - 4 * codebook.vectors.grad  # 2 / 80 of the sum over ten latents: to their mean
    means = torch.stack([latents[0][found.codes[0, :, 0] == index].mean(0) for index in range(4)])
    assert torch.allclose(moved, means, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"levels": (8, 5, 5, 5), "span": 3},
        {"codebook": 12, "embedding": 5},
        {"strides": (4, 4, 5), "levels": (2,), "repeats": 112, "span": 1, "reach": 2},
        {"strides": (2, 3), "corrected": False},
    ],
)
def test_tokens_are_digits_and_certain_posteriors_are_their_values(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(**options).eval()  # type: ignore[arg-type]
    for parameter in tokenizer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    waveform = torch.randn(2, 2, 5 * tokenizer.stride)
    found, codes = tokenizer(waveform), tokenizer.codes(waveform)
    assert codes.shape == (2, 5, len(tokenizer.sizes))
    assert torch.equal(found.codes, codes)
    assert all(int(codes[..., digit].max()) < size for digit, size in enumerate(tokenizer.sizes))
    values = tokenizer.values(codes)
    assert values.shape == (2, 5, tokenizer.width_of_values)
    assert torch.allclose(tokenizer.decode(values), found.waveform, atol=1e-5)
    digits = enumerate(tokenizer.sizes)
    certain = [torch.nn.functional.one_hot(codes[..., digit], size).float() for digit, size in digits]
    assert torch.allclose(tokenizer.expected_values(certain), values, atol=1e-6)
    even = [torch.full_like(one, 1 / one.shape[2]) for one in certain]
    half = [0.5 * (one + other) for one, other in zip(certain, even, strict=True)]
    mean = tokenizer.expected_values(even)
    if "codebook" not in options:
        assert mean.abs().max() < 1e-6
    assert torch.allclose(tokenizer.expected_values(half), (values + mean) / 2, atol=1e-6)


def test_attention_in_chunks_is_attention_to_neighbours() -> None:
    torch.manual_seed(0)
    block = _Neighbours(16, 4, 3)
    torch.nn.init.normal_(block.distance)
    x = torch.randn(2, 71, 16)
    query, key, value = (part.view(2, 71, 4, 4).transpose(1, 2) for part in block.mixed(x).chunk(3, 2))
    distance = torch.arange(71) - torch.arange(71)[:, None]
    bias = block.distance[:, distance.clamp(-3, 3) + 3].masked_fill(distance.abs() > 3, -math.inf)
    expected = (query @ key.mT / 2 + bias).softmax(3) @ value
    assert torch.allclose(block._seen(x), expected.transpose(1, 2).reshape(2, 71, 16), atol=1e-5)


def test_a_long_sequence_is_decoded_as_its_parts_are() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(span=3, reach=2).eval()
    for parameter in tokenizer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    waveform = torch.randn(1, 2, 2560)
    with torch.no_grad():
        values = tokenizer.values(tokenizer.codes(waveform))
        whole, part = tokenizer.decode(values), tokenizer.decode(values[:, 40:120])
    assert torch.allclose(whole[:, :, 50 * 16 : 110 * 16], part[:, :, 10 * 16 : 70 * 16], atol=1e-4)
    assert not torch.allclose(whole[:, :, 40 * 16 : 41 * 16], part[:, :, :16], atol=1e-2)


def test_rounding_error_is_that_of_uniform_noise() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(levels=(2, 4), corrected=False)
    with torch.no_grad():
        noise = (2 * torch.rand(8, 4000, 2) - 1) / tokenizer.quantiser.steps  # type: ignore[attr-defined]
        measured = tokenizer.decode(noise).square().sum(1).mean()
        expected = tokenizer.rounding_error()
    assert float(expected) == pytest.approx(float(measured), rel=0.02)


def test_it_starts_at_principal_components_and_corrects_nothing() -> None:
    """A token's own 16 samples hold all but -10.2 dB of a QPSK symbol in two dimensions: their neighbours' pulses."""
    waveform = to_channels(LinearModem().sample(64, 640, batch_generator(Purpose.TEST, 0)).waveform)
    tokenizer = Tokenizer()
    tokenizer.start(waveform)
    with torch.no_grad():
        latents = tokenizer.latents(waveform)
        linear = tokenizer.decode(latents)
        tokenizer.linear = True
        assert torch.equal(linear, tokenizer.decode(latents))
    assert latents.flatten(0, 1).square().mean(0).tolist() == pytest.approx([1.0, 1.0], rel=1e-3)
    error = float((linear - waveform).square().sum(1).mean())
    assert 10 * math.log10(error) == pytest.approx(-10.2, abs=0.2)
    tokenizer.quantise = False
    tokenizer.start_quantising(waveform)
    assert (tokenizer.quantise, tokenizer.linear) == (True, False)


def test_use_of_codes_and_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 2, (4000, 20), generator=generator)
    apart = code_use(codes, [2] * 20)
    assert apart.counts.shape == (40,)
    assert apart.entropy_bits == pytest.approx(20, abs=0.02)
    jointly = code_use(codes[:, :3] * torch.tensor([1, 1, 0]), [2, 3, 2])
    assert (jointly.counts.shape, jointly.tokens) == ((12,), 4000)
    assert jointly.share_used == pytest.approx(4 / 12)
    assert jointly.entropy_bits == pytest.approx(2, abs=0.01)
    values = torch.randn(20000, 5, generator=generator) * torch.tensor([1, 1, 1, 0.0, 0])
    assert participation(values + 7) == pytest.approx(3, abs=0.02)


def test_what_no_tokenizer_is() -> None:
    with pytest.raises(ValueError, match="span 4 is no odd number"):
        Tokenizer(span=4)
