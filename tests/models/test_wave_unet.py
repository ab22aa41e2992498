"""Wave-U-Net: the plain computation, what the first kernel adds to the reach, real signals."""

import math

import pytest
import torch
from torch import Tensor, nn

from rfsep.models.wave_unet import WaveUNet


def plain(model: WaveUNet, mixture: Tensor) -> Tensor:
    """The published computation of one real channel [B, 1, T], T a multiple of 2**depth, with Conv1d."""

    def convolve(x: Tensor, layer: nn.Module) -> Tensor:
        return nn.functional.conv1d(x, layer.weight[:, :, 0], layer.bias, padding="same")  # type: ignore[index, arg-type]

    x, skips = mixture, []
    for layer in model.encoder:
        skips.append(nn.functional.leaky_relu(convolve(x, layer), 0.3))
        x = skips[-1][:, :, ::2]
    x = nn.functional.leaky_relu(convolve(x, model.middle), 0.3)
    for up, layer in zip(model.up, model.decoder, strict=True):
        x = convolve(nn.functional.interpolate(x, scale_factor=2, mode="nearest"), up)
        x = nn.functional.leaky_relu(convolve(torch.cat((x, skips.pop()), 1), layer), 0.3)
    return convolve(torch.cat((x, mixture), 1), model.head)


def test_channels_last_is_the_plain_computation() -> None:
    torch.manual_seed(0)
    model, mixture = WaveUNet(width_factor=2, depth=3), torch.randn(2, 2, 160)
    reference = plain(model, mixture[:, :1])
    assert reference.std() > 0.01
    assert (model(mixture)[:, :1] - reference).abs().max() < 1e-5


def test_real_network_ignores_and_returns_no_imaginary_part() -> None:
    torch.manual_seed(0)
    model, mixture = WaveUNet(width_factor=1, depth=3), torch.randn(2, 2, 100)
    estimate = model(mixture)
    assert estimate.shape == (2, 2, 100)
    assert (estimate[:, 1] == 0).all()
    assert torch.equal(model(torch.stack((mixture[:, 0], torch.randn(2, 100)), 1)), estimate)


def test_complex_network_uses_both_parts() -> None:
    torch.manual_seed(0)
    model, mixture = WaveUNet(width_factor=1, depth=3, real=False), torch.randn(1, 2, 100)
    estimate = model(mixture)
    other = model(torch.stack((mixture[:, 0], torch.randn(1, 100)), 1))
    assert estimate.shape == (1, 2, 100)
    assert (estimate != other).any(-1).all()


def reach(first_kernel: int) -> tuple[int, int]:
    torch.manual_seed(0)
    model = WaveUNet(first_kernel, width_factor=1, depth=4)
    mixture = torch.randn(1, 2, 1600, requires_grad=True)
    model(mixture)[:, 0, 800].sum().backward()
    assert mixture.grad is not None
    reached = mixture.grad[0, 0].nonzero().flatten()
    return int(reached.min()), int(reached.max())


@pytest.mark.parametrize("first_kernel", [31, 63, 101])
def test_the_first_kernel_adds_its_own_length_to_the_reach(first_kernel: int) -> None:
    (low, high), (base_low, base_high) = reach(first_kernel), reach(15)
    assert base_low > 0
    assert base_low - low == high - base_high == (first_kernel - 15) // 2


def test_a_circular_window_is_the_inside_of_a_longer_one() -> None:
    torch.manual_seed(0)
    circular = WaveUNet(width_factor=1, depth=3, circular=True)
    zeros = WaveUNet(width_factor=1, depth=3)
    zeros.load_state_dict(circular.state_dict())
    period = torch.randn(2, 2, 16)
    inside = zeros(period.repeat(1, 1, 32))[..., 256:272]
    assert inside.std() > 0.01
    assert (circular(period) - inside).abs().max() < 1e-5
    assert (circular(period.repeat(1, 1, 2))[..., 16:] - inside).abs().max() < 1e-5
    assert (zeros(period) - inside).abs().max() > 1e-2


def test_tuned_kernels_answer_to_one_frequency_each() -> None:
    first = WaveUNet(first_kernel=101, tuned=True).requires_grad_(False).encoder[0]
    samples = torch.arange(64 * 6)
    waves = torch.cos(2 * math.pi / 64 * torch.arange(1, 29)[:, None] * samples)  # [F, T]
    answers = nn.functional.conv1d(waves[:, None], first.weight[:, :, 0])  # [F, 480, T']
    loudest = answers.abs().amax(-1)  # [F, 480]
    own = torch.arange(480) % 28
    assert torch.equal(loudest.argmax(0), own)
    strength = loudest[own, torch.arange(480)]
    assert (loudest.sum(0) - strength < 1e-3 * strength).all()
    # the loudest cosine of the study: amplitudes 3 and 4 x 3 over sqrt(5), times 2 over sqrt(56)
    assert torch.allclose(strength * 15 / 5**0.5 * 2 / 56**0.5, torch.tensor(5.0), rtol=0.03)
    steps = first.bias[own == 27].diff()  # 17 kernels
    assert torch.allclose(steps, torch.tensor(10 * 28 / 480), rtol=1e-3)
    assert first.bias[27] < -4.5
