"""Every published size in conf/model has the published number of parameters, and every small one is small."""

from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate

MODELS = Path(__file__).parents[2] / "conf" / "model"
PUBLISHED = {  # millions, as the papers round them (reference/systems.md sections 2 to 4 and 7, papers.md section 3.1)
    "unet_k3": "4.17",
    "unet_k11": "4.18",
    "unet": "4.22",
    "unet_k3_2x": "16.7",
    "unet_128": "1.07",
    "unet_xl2": "0.877",
    "wavenet": "3.96",
    "wavenet_learnable": "15.83",
    "wave_unet": "1.66",
    "wave_unet_deep": "13.1",
    "wave_unet_audio": "12.6",
}


def parameters(name: str, **changes: int) -> int:
    with torch.device("meta"):  # shapes without memory
        model = instantiate(yaml.safe_load((MODELS / f"{name}.yaml").read_text())["network"], **changes)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(name: str, millions: str) -> None:
    decimals = len(millions.split(".")[1])
    assert f"{parameters(name) / 1e6:.{decimals}f}" == millions


@pytest.mark.parametrize(("channels", "millions"), [(64, "2.31"), (128, "6.26"), (256, "20.1")])
def test_diffusion_networks_are_as_large_as_published(channels: int, millions: str) -> None:
    decimals = len(millions.split(".")[1])
    assert f"{parameters('diffwave', channels=channels) / 1e6:.{decimals}f}" == millions


@pytest.mark.parametrize(("name", "millions"), [("soi_matched_qpsk", "0.33"), ("soi_matched_ofdm", "1.18")])
def test_heads_are_as_large_as_published(name: str, millions: str) -> None:
    assert f"{(parameters(name) - parameters('wavenet')) / 1e6:.2f}" == millions


def test_transformer_bottleneck_is_24_layers_of_width_1024() -> None:
    whole, shorter = parameters("transformer_unet"), 12 * 1024**2 + 9 * 1024
    convolutions = whole - 24 * shorter - 2 * 1024
    assert 0 < convolutions < 0.03 * whole


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*_small.yaml")))
def test_small_models_are_small(name: str) -> None:
    assert parameters(name) < 1.3e6
