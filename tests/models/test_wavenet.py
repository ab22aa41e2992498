"""WaveNet: the plain Conv1d computation, bfloat16, receptive field, learnable dilations."""

import math

import pytest
import torch
from torch import Tensor, nn

from rfsep.models.wavenet import WaveNet


def reach(model: nn.Module, length: int) -> tuple[int, int]:
    """First and last sample that the estimate of the middle sample depends on, seen from it."""
    mixture = torch.randn(1, 2, length, requires_grad=True)
    model(mixture)[:, :, length // 2].sum().backward()
    assert mixture.grad is not None
    reached = mixture.grad.abs().sum((0, 1)).nonzero().flatten() - length // 2
    return int(reached.min()), int(reached.max())


def trained(model: WaveNet) -> WaveNet:
    """The model with another last convolution than the zero it starts from."""
    nn.init.kaiming_normal_(model.head.weight)
    return model


def plain(model: WaveNet, mixture: Tensor, cycle: int) -> Tensor:
    """The published computation, with Conv1d and the model's weights."""

    def convolve(x: Tensor, layer: nn.Conv2d, dilation: int = 1) -> Tensor:
        return nn.functional.conv1d(x, layer.weight[:, :, 0], layer.bias, padding="same", dilation=dilation)

    x, total = convolve(mixture, model.enter).relu(), torch.zeros(())
    for index, block in enumerate(model.blocks):
        gate, value = convolve(x, block.dilated, 2 ** (index % cycle)).chunk(2, 1)  # type: ignore[arg-type]
        residual, skip = convolve(gate.sigmoid() * value.tanh(), block.mix).chunk(2, 1)  # type: ignore[arg-type]
        x, total = (x + residual) / math.sqrt(2), total + skip
    return convolve(convolve(total / math.sqrt(len(model.blocks)), model.collect).relu(), model.head)


def test_channels_last_is_the_plain_computation_and_so_are_its_gradients() -> None:
    torch.manual_seed(0)
    model = trained(WaveNet(channels=16, blocks=14, cycle=6))
    mixture, target = torch.randn(2, 2, 300), torch.randn(2, 2, 300)
    estimate, reference = model(mixture), plain(model, mixture, 6)
    assert reference.std() > 0.1
    assert (estimate - reference).abs().max() < 1e-5
    weights = [model.enter.weight, model.blocks[3].dilated.weight, model.blocks[0].mix.bias]  # type: ignore[union-attr]
    ours = torch.autograd.grad((estimate - target).square().mean(), weights)  # type: ignore[arg-type]
    theirs = torch.autograd.grad((reference - target).square().mean(), weights)  # type: ignore[arg-type]
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize(("spread", "decibels"), [("pytorch", -55), ("kaiming", -36)])
def test_bfloat16_stays_near(spread: str, decibels: float, learnable: bool) -> None:
    """How near depends on the weights: PyTorch's own leave signals small, Kaiming's drive the gates hard.

    Tangents made of bfloat16 sigmoids, or skips added in bfloat16, miss the first limit.
    """
    torch.manual_seed(0)
    model = trained(WaveNet(channels=64, learnable_dilation=learnable))
    for module in model.modules():
        if spread == "pytorch" and isinstance(module, nn.Conv2d):
            module.reset_parameters()
    if model.dilations is not None:
        model.dilations.data += 0.3
    mixture = torch.randn(1, 2, 1024)
    with torch.inference_mode():
        reference = model(mixture)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = model(mixture)
    assert estimate.dtype == torch.float32
    error = (estimate - reference).square().mean() / reference.square().mean()
    assert 0 < error < 10 ** (decibels / 10)


@pytest.mark.parametrize(("blocks", "cycle", "samples"), [(30, 10, 6139), (12, 6, 253)])
def test_receptive_field(blocks: int, cycle: int, samples: int) -> None:
    torch.manual_seed(0)
    model = trained(WaveNet(channels=8, blocks=blocks, cycle=cycle))
    assert reach(model, samples + 200) == (-(samples // 2), samples // 2)


def test_an_untrained_network_says_the_same_to_every_mixture() -> None:
    model = WaveNet(channels=8, blocks=4)
    assert torch.equal(model(torch.randn(1, 2, 64)), model(torch.randn(1, 2, 64)))


def test_weights_are_plain_tensors_in_any_layout() -> None:
    torch.manual_seed(0)
    model, other = trained(WaveNet(channels=8, blocks=4)), WaveNet(channels=8, blocks=4)
    other.load_state_dict(
        {key: value.clone(memory_format=torch.contiguous_format) for key, value in model.state_dict().items()}
    )
    mixture = torch.randn(2, 2, 77)
    assert other.enter.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(model(mixture), other(mixture))


def test_whole_learnable_dilations_are_the_fixed_ones() -> None:
    torch.manual_seed(0)
    fixed, learnable = trained(WaveNet(channels=8, blocks=8)), WaveNet(channels=8, blocks=8, learnable_dilation=True)
    learnable.load_state_dict(fixed.state_dict(), strict=False)
    mixture = torch.randn(2, 2, 200)
    assert torch.allclose(fixed(mixture), learnable(mixture), atol=1e-5)
    assert sum(p.numel() for p in learnable.parameters()) == sum(p.numel() for p in fixed.parameters()) + 8


def test_a_dilation_between_two_mixes_their_convolutions() -> None:
    torch.manual_seed(0)
    block = WaveNet(channels=4, blocks=1).double().blocks[0]
    x = torch.randn(1, 4, 1, 40, dtype=torch.float64)
    floor, ceil = (
        nn.functional.conv2d(x, block.dilated.weight, block.dilated.bias, padding=(0, d), dilation=(1, d))  # type: ignore[union-attr, arg-type]
        for d in (5, 6)
    )
    fraction = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(block.interpolated(x, 5, fraction), 0.7 * floor + 0.3 * ceil)  # type: ignore[operator]
    assert torch.autograd.gradcheck(lambda f: block.interpolated(x, 5, f), fraction)  # type: ignore[operator, no-untyped-call]


def test_every_dilation_has_a_gradient_also_at_whole_numbers_and_limits() -> None:
    torch.manual_seed(0)
    model = trained(WaveNet(channels=8, blocks=11, cycle=11, learnable_dilation=True))
    assert model.dilations is not None
    assert model.dilations.tolist()[-1] == 1024
    model(torch.randn(1, 2, 4096)).square().mean().backward()
    assert model.dilations.grad is not None
    assert (model.dilations.grad != 0).all()
    model.dilations.data[:] = torch.linspace(-3, 2000, 11)  # the optimiser may step outside
    assert torch.isfinite(model(torch.randn(1, 2, 64))).all()


def test_dilations_beyond_the_limit_are_named() -> None:
    with pytest.raises(ValueError, match="cycle 12 leads to dilation 2048; at most 1024"):
        WaveNet(channels=4, blocks=12, cycle=12)
