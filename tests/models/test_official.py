"""Published networks' weights against the published networks' own outputs, which scripts in tests/reference stored."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor, nn

from rfsep.models.diffwave import DiffWave
from rfsep.models.official import from_official, to_official
from rfsep.models.unet import UNet
from rfsep.models.wavenet import WaveNet
from rfsep.storage.weights import read_weights

TESTS = Path(__file__).parents[1]
SMALL: dict[str, Any] = {"channels": 8, "blocks": 7, "cycle": 5}
NETWORKS = {"wavenet": lambda: WaveNet(**SMALL), "diffwave": lambda: DiffWave(**SMALL, rounded=True)}


def member(archive: str, name: str) -> bytes:
    with zipfile.ZipFile(TESTS / "reference" / f"official_{archive}.zip") as file:
        return file.read(name)


def arrays(archive: str) -> dict[str, Tensor]:
    with np.load(io.BytesIO(member(archive, "arrays.npz"))) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def stored(folder: Path, archive: str, name: str) -> dict[str, Tensor]:
    """Weights of a file in an archive, by the names in it."""
    (folder / name).write_bytes(member(archive, name))
    return read_weights(folder / name)


def error_db(estimate: Tensor, reference: Tensor) -> float:
    assert reference.std() > 0.1
    return float(10 * ((estimate.detach() - reference).square().mean() / reference.square().mean()).log10())


@pytest.fixture(params=list(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loaded(folder: Path, name: str) -> nn.Module:
    model = NETWORKS[name]()
    model.load_state_dict(from_official(stored(folder, "torch", f"{name}.pt")))
    return model.eval()


def test_wavenet_is_the_organisers(tmp_path: Path) -> None:
    model, given = loaded(tmp_path, "wavenet"), arrays("torch")
    assert (model(given["wavenet_input"]) - given["wavenet_output"]).abs().max() < 1e-5


def test_diffwave_is_the_authors(tmp_path: Path) -> None:
    """At whole steps and between; with steps told exactly it is another function, for angles up to 5e5 are rounded."""
    model, given = loaded(tmp_path, "diffwave"), arrays("torch")
    noise = model(given["diffwave_input"], given["diffwave_step"])
    assert (noise - given["diffwave_output"]).abs().max() < 1e-5
    between = model(given["diffwave_input"][:1], given["diffwave_between_step"])
    assert (between - given["diffwave_between_output"]).abs().max() < 1e-5
    exact = DiffWave(**SMALL).eval()
    exact.load_state_dict(model.state_dict())
    assert (exact(given["diffwave_input"], given["diffwave_step"]) - noise).abs().max() > 1e-4


def test_weights_come_back_to_the_bit(tmp_path: Path, name: str) -> None:
    official = stored(tmp_path, "torch", f"{name}.pt")
    back = to_official(loaded(tmp_path, name).state_dict())
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], official[key]) for key in official)


def test_every_tensor_of_the_published_size_has_its_place(name: str) -> None:
    shapes = json.loads(member("torch", "shapes.json"))[name]
    assert len(shapes) == {"wavenet": 126, "diffwave": 190}[name]
    given = {key: torch.zeros(shape, device="meta") for key, shape in shapes.items()}
    config = yaml.safe_load((TESTS.parent / "conf" / "model" / f"{name}.yaml").read_text())
    with torch.device("meta"):
        own = instantiate(config["network"]).state_dict()
    placed = from_official(given)
    assert {key: value.shape for key, value in placed.items()} == {key: value.shape for key, value in own.items()}
    assert {key: list(value.shape) for key, value in to_official(own).items()} == shapes


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (WaveNet(8, 2, 2, learnable_dilation=True), "dilations is no weight of the official"),
        (UNet(8), "normalise.weight is no weight of the official"),
        (DiffWave(8, 2, 2, width=16), "its steps' embedding has width 16, the official DiffWave 512"),
    ],
)
def test_what_the_official_networks_have_not_is_named(model: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_official(model.state_dict())


def test_other_weights_stay_as_they_are(name: str) -> None:
    own = NETWORKS[name]().state_dict()
    assert from_official(own) == own
    strange = torch.zeros(3)
    given = {
        "input_projection.weight": torch.zeros(8, 2, 1),
        "residual_layers.0.extra.weight": strange,
        "step": strange,
    }
    assert from_official(given).keys() == {"enter.weight", "residual_layers.0.extra.weight", "step"}


def unet(folder: Path, file: str) -> UNet:
    model = UNet(channels=8, keras=True)
    model.load_state_dict(from_official(stored(folder, "unet", file)))
    return model.eval()


@pytest.mark.parametrize("file", ["unet.h5", "unet.weights.h5", "unet.keras", "whole.h5"])
def test_unet_is_the_keras_one(tmp_path: Path, file: str) -> None:
    """Within float32's rounding; cut at the other end, as without ``keras``, it is another function."""
    given = arrays("unet")
    mixture, reference = given["mixture"].mT.contiguous(), given["estimate"].mT
    model = unet(tmp_path, file)
    assert error_db(model(mixture), reference) < -115
    before = UNet(channels=8).eval()
    before.load_state_dict(model.state_dict())
    assert error_db(before(mixture), reference) > -12


def test_keras_unet_starts_and_normalises_as_keras_does() -> None:
    """Glorot's uniform kernels have variance 2 / (fan in + fan out); one batch moves the mean by a hundredth."""
    torch.manual_seed(0)
    model = UNet(channels=64, keras=True)
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 28
    for one in convolutions:
        kernel = one.weight.detach()
        taps, fans = kernel.shape[3], kernel.shape[0] + kernel.shape[1]
        limit = (6 / (taps * fans)) ** 0.5
        assert kernel.abs().max() <= limit
        spread = 0.45 / kernel.numel() ** 0.5  # standard error of the root mean square, over itself
        assert float(kernel.square().mean().sqrt()) == pytest.approx(limit / 3**0.5, rel=4 * spread)
        assert one.bias is not None
        assert not one.bias.any()
    mixture = 3 + 2 * torch.randn(4, 2, 64)
    model.train()(mixture)
    state = model.state_dict()
    assert torch.allclose(state["normalise.running_mean"], 0.01 * mixture.mean((0, 2)))
    assert torch.allclose(state["normalise.running_var"], 0.99 + 0.01 * mixture.var((0, 2)))
    constant = UNet(channels=8, keras=True).eval().normalise(torch.ones(1, 2, 1, 1))
    assert torch.allclose(constant, torch.full((1, 2, 1, 1), 1 / (1 + 1e-3) ** 0.5), atol=1e-7)
