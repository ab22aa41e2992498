"""The published U-Net: parameter counts, receptive field, any length."""

from typing import Any

import pytest
import torch

from rfsep.models.unet import UNet


@pytest.mark.parametrize(
    ("arguments", "millions"),
    [
        ({"first_kernel": 3}, 4.17),
        ({"first_kernel": 11}, 4.18),
        ({"first_kernel": 101}, 4.22),
        ({"first_kernel": 3, "channels": 512}, 16.7),
        ({"channels": 128}, 1.07),
        ({"channels": 128, "decoder_divisors": (1, 2, 4, 8, 16)}, 0.877),  # XL_2 of the synchronisation study
    ],
)
def test_parameter_counts_are_the_published_ones(arguments: dict[str, Any], millions: float) -> None:
    count = sum(parameter.numel() for parameter in UNet(**arguments).parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.05 if millions > 10 else 0.005 if millions > 1 else 0.0005)


@pytest.mark.parametrize("normalise", ["batch", "window"])
@pytest.mark.parametrize("length", [64, 100, 257])
def test_any_length(normalise: str, length: int) -> None:
    model = UNet(channels=8, first_kernel=11, normalise=normalise).eval()
    estimate = model(torch.randn(2, 2, length))
    assert estimate.shape == (2, 2, length)
    assert estimate.dtype == torch.float32


def test_receptive_field_reaches_over_the_first_kernel_and_five_levels() -> None:
    """A sample's estimate depends on at least +-(50 + 3 * 2**5) samples, and on nothing 600 away."""
    torch.manual_seed(0)
    model = UNet(channels=16, first_kernel=101, decoder_divisors=(1, 1, 1, 1, 1)).eval()
    mixture = torch.randn(20, 2, 2048, requires_grad=True)
    model(mixture)[:, :, 1024].sum().backward()
    assert mixture.grad is not None
    reached = mixture.grad.abs().sum((0, 1)).nonzero().flatten()
    assert reached.min() < 1024 - 146
    assert reached.max() > 1024 + 146
    assert reached.min() > 1024 - 600
    assert reached.max() < 1024 + 600


def test_window_normalisation_makes_the_estimate_independent_of_the_level() -> None:
    torch.manual_seed(0)
    model = UNet(channels=8, first_kernel=11, normalise="window").eval()
    mixture = torch.randn(2, 2, 256)
    assert torch.allclose(model(mixture), model(30 * mixture), atol=1e-5)
    rows = torch.cat((mixture[:1], 100 * mixture[1:]))
    assert torch.allclose(model(rows)[0], model(mixture)[0], atol=1e-5)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="needs one divisor per level: depth 3"):
        UNet(depth=3)
    with pytest.raises(ValueError, match="unknown normalise 'layer'; choose batch or window"):
        UNet(normalise="layer")
