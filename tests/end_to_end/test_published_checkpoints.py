"""Published checkpoints through train.py and back, against what the published networks compute."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shell import ROOT, fail, succeed

from rfsep.app.networks.runs import open_run
from rfsep.storage.weights import read_weights

STILL = ["data.num_samples=320", "trainer.max_steps=0"]
SIZES = ["model.network.channels=8", "model.network.blocks=7", "model.network.cycle=5"]
KINDS = {
    "wavenet": ["model=wavenet", "objective=mse_plateau", *SIZES],
    "diffwave": ["model=diffwave", "objective=ddpm_published", *SIZES],
    "unet": ["model=unet", "objective=mse_published", "model.network.channels=8"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published files, which scripts in tests/reference made."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("torch", "unet"):
        with zipfile.ZipFile(ROOT / "tests" / "reference" / f"official_{name}.zip") as archive:
            archive.extractall(folder / name)
    return folder


def given(place: Path, name: str, *keys: str) -> list[torch.Tensor]:
    arrays = np.load(io.BytesIO((place / name / "arrays.npz").read_bytes()))
    return [torch.from_numpy(arrays[key]) for key in keys]


def started(place: Path, kind: str, file: str) -> str:
    return succeed("train.py", f"run={kind}", *KINDS[kind], *STILL, f"init_from={file}", cwd=place)


def test_a_run_from_the_organisers_wavenet_has_their_outputs_and_goes_back(
    place: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Callable[..., tuple[int, str, str]]
) -> None:
    assert "34 of 34 weights from torch/wavenet.pt\n" in started(place, "wavenet", "torch/wavenet.pt")
    model = open_run(str(place / "runs" / "adhoc" / "wavenet")).model
    mixture, estimate = given(place, "torch", "wavenet_input", "wavenet_output")
    assert (model(mixture) - estimate).abs().max() < 1e-4
    monkeypatch.chdir(place)
    export = ["export", "runs/adhoc/wavenet", "--as", "official", "--out"]
    assert rfsep_command(*export, "back/weights.pt")[0] == 0
    back, official = (read_weights(place / path) for path in ("back/weights.pt", "torch/wavenet.pt"))
    assert back.keys() == official.keys()
    assert all(torch.equal(back[name], official[name]) for name in official)
    written = torch.load(place / "back" / "weights.pt", weights_only=True)
    sizes = {"input_channels": 2, "residual_channels": 8, "residual_layers": 7, "dilation_cycle_length": 5}
    assert written["cfg"]["model"] == sizes
    for wrong, words in (
        ([*export, "back/weights.safetensors"], "--as official needs --out NAME.pt"),
        (["export", "runs/adhoc/wavenet", "--as", "keras", "--out", "a.pt"], "--as is 'keras'; choose official"),
        (
            ["export", "zoo:qpskcomm", "--as", "official", "--out", "a.pt"],
            "zoo:qpskcomm: cannot be written as",
        ),
    ):
        status, _, complaint = rfsep_command(*wrong)
        assert status == 2
        assert words in complaint
    assert not (place / "a.pt").exists()


def test_a_prior_from_the_authors_diffwave_has_their_outputs_and_goes_back(
    place: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Callable[..., tuple[int, str, str]]
) -> None:
    assert "40 of 40 weights from torch/diffwave.pt\n" in started(place, "diffwave", "torch/diffwave.pt")
    model = open_run(str(place / "runs" / "adhoc" / "diffwave")).model
    noisy, step, noise = given(place, "torch", "diffwave_input", "diffwave_step", "diffwave_output")
    assert (model(noisy, step) - noise).abs().max() < 1e-4
    monkeypatch.chdir(place)
    assert rfsep_command("export", "runs/adhoc/diffwave", "--as", "official", "--out", "back/prior.pt")[0] == 0
    back, official = (read_weights(place / path) for path in ("back/prior.pt", "torch/diffwave.pt"))
    assert back.keys() == official.keys()
    assert all(torch.equal(back[name], official[name]) for name in official)
    levels = torch.load(place / "back" / "prior.pt", weights_only=True)["cfg"]["model"]["noise_schedule"]
    assert levels["train_noise_schedule"] == pytest.approx(np.linspace(1e-4, 0.05, 50), rel=1e-12)


def test_a_run_from_the_keras_unet_has_its_outputs(place: Path) -> None:
    assert "61 of 61 weights from unet/whole.h5\n" in started(place, "unet", "unet/whole.h5")
    mixture, estimate = (one.mT.contiguous() for one in given(place, "unet", "mixture", "estimate"))
    model = open_run(str(place / "runs" / "adhoc" / "unet")).model
    torch.testing.assert_close(model(mixture), estimate, rtol=0, atol=1e-4)


def test_what_does_not_fit_is_named(place: Path) -> None:
    """Six of the organisers' seven blocks; twice their channels; nothing at all."""
    fewer = [*KINDS["wavenet"], "model.network.blocks=6"]
    out = succeed("train.py", "run=fewer", *fewer, *STILL, "init_from=torch/wavenet.pt", cwd=place)
    left = ", ".join(f"blocks.6.{name}.{part}" for name in ("dilated", "mix") for part in ("weight", "bias"))
    assert f"30 of 30 weights from torch/wavenet.pt; not taken: {left}\n" in " ".join(out.split(" "))
    wider = [*KINDS["wavenet"], "model.network.channels=16"]
    out = succeed("train.py", "run=wider", *wider, *STILL, "init_from=torch/wavenet.pt", cwd=place)
    assert "1 of 34 weights from torch/wavenet.pt; not taken: enter.weight, enter.bias, " in out
    assert " and 28 more\n" in out
    line = fail("train.py", "model=demucs_small", *STILL, "init_from=torch/diffwave.pt", cwd=place)
    assert "init_from=torch/diffwave.pt: none of its" in line
