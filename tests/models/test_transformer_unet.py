"""Transformer U-Net: positions are relative, every token sees every other, any length."""

import pytest
import torch

from rfsep.models.transformer_unet import TransformerUNet, _rotated


def test_rotated_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = (torch.randn(1, 1, 1, 8).expand(-1, -1, 30, -1) for _ in range(2))
    products = (_rotated(query) @ _rotated(key).mT)[0, 0]  # [30, 30]
    for distance in (-3, 0, 5):
        along = products.diagonal(distance)
        assert (along - along[0]).abs().max() < 1e-4
    assert products[0].std() > 0.05


def small() -> TransformerUNet:
    torch.manual_seed(0)
    return TransformerUNet(channels=(8, 8, 8), first_kernel=5, dim=16, depth=2, heads=2)


def test_estimate_depends_on_the_whole_window() -> None:
    model, mixture = small(), torch.randn(1, 2, 800, requires_grad=True)
    model(mixture)[:, :, 0].sum().backward()
    assert mixture.grad is not None
    assert (mixture.grad != 0).any(1).all()


@pytest.mark.parametrize("length", [160, 161, 803])
def test_any_length(length: int) -> None:
    assert small()(torch.randn(2, 2, length)).shape == (2, 2, length)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim 18 does not divide into 6 heads of an even number of channels"):
        TransformerUNet(dim=18, heads=6)
