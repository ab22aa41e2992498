"""DiffWave against the plain Conv1d computation with its step embedding, and how far it sees."""

import math

import pytest
import torch
from torch import Tensor, nn

from rfsep.models.diffwave import DiffWave, StepEmbedding, step_table


def trained(model: DiffWave) -> DiffWave:
    """The model with another last convolution than the zero it starts from."""
    nn.init.kaiming_normal_(model.wavenet.head.weight)
    return model


def plain(model: DiffWave, noisy: Tensor, step: int, cycle: int) -> Tensor:
    """The published computation (systems.md 1.2), with Conv1d and the model's weights, for whole steps."""

    def convolve(x: Tensor, layer: nn.Conv2d, dilation: int = 1) -> Tensor:
        return nn.functional.conv1d(x, layer.weight[:, :, 0], layer.bias, padding="same", dilation=dilation)

    net = model.wavenet
    angles = [step * 10 ** (4 * k / 63) for k in range(64)]
    entry = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    first, second = model.embedding.layers[0], model.embedding.layers[2]
    embedding = nn.functional.silu(second(nn.functional.silu(first(entry))))  # type: ignore[operator]
    x, total = convolve(noisy, net.enter).relu(), torch.zeros(())
    for index, block in enumerate(net.blocks):
        rows = slice(index * net.channels, (index + 1) * net.channels)
        shift = model.shifts.weight[rows] @ embedding + model.shifts.bias[rows]
        gate, value = convolve(x + shift[:, None], block.dilated, 2 ** (index % cycle)).chunk(2, 1)  # type: ignore[arg-type]
        residual, skip = convolve(gate.sigmoid() * value.tanh(), block.mix).chunk(2, 1)  # type: ignore[arg-type]
        x, total = (x + residual) / math.sqrt(2), total + skip
    return convolve(convolve(total / math.sqrt(len(net.blocks)), net.collect).relu(), net.head)


def test_it_is_the_published_computation() -> None:
    torch.manual_seed(0)
    model = trained(DiffWave(channels=16, blocks=7, cycle=5, width=32))
    noisy = torch.randn(2, 2, 120)
    noise = model(noisy, torch.tensor([7, 49]))
    for row, step in enumerate((7, 49)):
        reference = plain(model, noisy[row : row + 1], step, 5)
        assert reference.std() > 0.1
        assert (noise[row : row + 1] - reference).abs().max() < 1e-5


def test_step_table_has_64_frequencies_of_four_decades() -> None:
    table = step_table(50)
    assert table.shape == (50, 128)
    assert table[0].tolist() == [0.0] * 64 + [1.0] * 64
    assert table[3, [0, 64]].tolist() == pytest.approx([math.sin(3), math.cos(3)])
    assert table[3, [63, 127]].tolist() == pytest.approx([math.sin(3e4), math.cos(3e4)], abs=1e-6)
    assert table[1, 1].item() == pytest.approx(math.sin(10 ** (4 / 63)))


def test_steps_between_two_interpolate_the_table_and_stop_at_its_ends() -> None:
    embedding = StepEmbedding(50, 8)
    table = step_table(50)
    expected = embedding.layers((0.75 * table[4] + 0.25 * table[5])[None])
    assert torch.allclose(embedding(torch.tensor([4.25])), expected, atol=1e-6)
    ends = embedding(torch.tensor([0.0, 49.0, -1.0, 60.0]))
    assert torch.equal(ends[:2], ends[2:])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(embedding(torch.tensor([4.25])), expected, atol=1e-6)


@pytest.mark.parametrize(("blocks", "cycle", "samples"), [(30, 10, 6139), (12, 6, 253)])
def test_receptive_field(blocks: int, cycle: int, samples: int) -> None:
    torch.manual_seed(0)
    model = trained(DiffWave(channels=8, blocks=blocks, cycle=cycle, width=8))
    length = samples + 200
    noisy = torch.randn(1, 2, length, requires_grad=True)
    model(noisy, torch.tensor([20]))[:, :, length // 2].sum().backward()
    assert noisy.grad is not None
    reached = noisy.grad.abs().sum((0, 1)).nonzero().flatten() - length // 2
    assert (int(reached.min()), int(reached.max())) == (-(samples // 2), samples // 2)
