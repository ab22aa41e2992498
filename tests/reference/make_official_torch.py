"""Writes official_torch.zip: checkpoints of the published PyTorch networks, much smaller, and what these networks compute.

    python tests/reference/make_official_torch.py CHALLENGE ALPHA_RGS

CHALLENGE is a copy of github.com/RFChallenge/icassp2024rfchallenge, ALPHA_RGS one of
github.com/tkj516/score_based_source_separation; their classes of networks and settings are used, and none of their code
is here. Made with torch 2.13.0 and omegaconf 2.3.1.

wavenet.pt and diffwave.pt are laid out as the authors' learners write theirs, settings included; arrays.npz holds
``wavenet_input``, ``wavenet_output``, ``diffwave_input``, ``diffwave_step``, ``diffwave_output``, float32, and
``diffwave_between_step`` and ``diffwave_between_output`` of a step between two; shapes.json has names and shapes of the
tensors at the published sizes. Of 64 weights of a linear layer 63 are
zero: the width of DiffWave's embedding is no setting, and the file shall be small.
"""

import dataclasses
import functools
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from omegaconf import OmegaConf

SETTINGS = ["model.residual_channels=8", "model.residual_layers=7", "model.dilation_cycle_length=5", "model_dir=small"]
SAMPLES = 300
# Their settings have mutable defaults, which Python 3.11 takes where they can be hashed.
HASHED = mock.patch("dataclasses.dataclass", functools.partial(dataclasses.dataclass, unsafe_hash=True))


def drawn(network: torch.nn.Module) -> torch.nn.Module:
    """The network with no weight left at zero but most of those of linear layers."""
    torch.manual_seed(23)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv1d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, std=0.2)
        if isinstance(layer, torch.nn.Linear):
            kept = torch.rand_like(layer.weight) < 1 / 64
            layer.weight.data = torch.where(kept, torch.randn_like(layer.weight), 0.0)
            torch.nn.init.normal_(layer.bias, std=0.2)
    return network.eval()


def checkpoint(network: torch.nn.Module, settings: Any) -> bytes:
    """As the learners' state_dict and save_to_checkpoint have it, before the first step of Adam."""
    content = {
        "step": 2000,
        "model": network.state_dict(),
        "optimizer": torch.optim.Adam(network.parameters(), lr=5e-4).state_dict(),
        "cfg": dataclasses.asdict(settings),
        "scaler": {},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def named_shapes(network: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def wavenet(checkout: str, arrays: dict[str, np.ndarray], shapes: dict[str, Any]) -> bytes:
    sys.path.insert(0, checkout)
    with HASHED:
        from src.config_torchwavenet import Config, parse_configs
    from src.torchwavenet import Wave

    file = f"{checkout}/src/configs/wavenet.yml"
    settings = Config(**parse_configs(OmegaConf.load(file), OmegaConf.from_dotlist(SETTINGS)))
    network = drawn(Wave(settings.model))
    given = torch.randn(2, 2, SAMPLES)
    shapes["wavenet"] = named_shapes(Wave(parse_configs(OmegaConf.load(file)).model))
    arrays["wavenet_input"], arrays["wavenet_output"] = given.numpy(), network(given).numpy()
    sys.path.remove(checkout)
    return checkpoint(network, settings)


def diffwave(checkout: str, arrays: dict[str, np.ndarray], shapes: dict[str, Any]) -> bytes:
    sys.path.insert(0, checkout)
    OmegaConf.clear_resolvers()
    with HASHED:
        from config import Config, parse_configs
    from model import DiffWave

    file = f"{checkout}/configs/qpsk.yaml"
    settings = Config(**parse_configs(OmegaConf.load(file), OmegaConf.from_dotlist(SETTINGS)))
    network = drawn(DiffWave(settings.model))
    given, step = torch.randn(3, 2, SAMPLES), torch.tensor([0, 7, 49])
    shapes["diffwave"] = named_shapes(DiffWave(parse_configs(OmegaConf.load(file)).model))
    arrays["diffwave_input"], arrays["diffwave_step"] = given.numpy(), step.numpy()
    arrays["diffwave_output"] = network(given, step).numpy()
    between = torch.tensor([3.25])
    arrays["diffwave_between_step"] = between.numpy()
    arrays["diffwave_between_output"] = network(given[:1], between).numpy()
    sys.path.remove(checkout)
    return checkpoint(network, settings)


def main(challenge: str, alpha_rgs: str) -> None:
    arrays: dict[str, np.ndarray] = {}
    shapes: dict[str, Any] = {}
    buffer = io.BytesIO()
    with torch.no_grad():
        files = {
            "wavenet.pt": wavenet(challenge, arrays, shapes),
            "diffwave.pt": diffwave(alpha_rgs, arrays, shapes),
            "shapes.json": json.dumps(shapes),
        }
    np.savez(buffer, **arrays)
    with zipfile.ZipFile(Path(__file__).with_name("official_torch.zip"), "w") as out:
        for name, content in {**files, "arrays.npz": buffer.getvalue()}.items():
            out.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main(*sys.argv[1:])
