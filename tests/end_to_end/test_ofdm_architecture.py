"""The OFDM architecture study's comparisons: closed forms, published figures, and networks on mixtures of cosines."""

import json
import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from rfsep.app.compare import run_comparison
from rfsep.app.config import build_mixer, instantiate
from rfsep.app.doors import evaluate_settings, train_settings
from rfsep.app.places import CONF
from rfsep.separators.neural import Neural
from rfsep.signals.cosines import Cosines
from rfsep.training.data import MixtureData

FOLDER = CONF / "experiment" / "ofdm_architecture"


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_bounds_of_every_case(case: int, tmp_path: Path) -> None:
    words = [f"experiment=ofdm_architecture/test_case{case}", "num_mixtures=20", f"out={tmp_path}"]
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("evaluate", overrides=[*words, "bounds=[per_bin_linear,per_bin_slicer]"])
    settings = evaluate_settings(config)
    assert settings.comparison is not None
    run_comparison(settings, settings.comparison)
    content = json.loads((tmp_path / "results.json").read_text())
    linear, slicer = content["rows"]
    assert slicer["mse_db"] == [-120.0]
    assert linear["mse_db"][0] == pytest.approx(-120.0 if case == 1 else -0.263, abs=0.3)
    assert slicer["ber"] is None
    assert [curve["sinr_db"] for curve in content["published"]] == [[-20 * math.log10(4)]] * 7


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_training_draws_the_mixtures_that_are_tested(case: int) -> None:
    """Signals, gain and conventions of a case's training are those of its comparison, and its network is published."""
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("train", overrides=[f"experiment=ofdm_architecture/case{case}"])
        test = compose("evaluate", overrides=[f"experiment=ofdm_architecture/test_case{case}"]).comparison
    assert config.soi == OmegaConf.load(CONF / "soi" / f"{test.soi}.yaml")
    assert config.interference == OmegaConf.load(CONF / "interference" / f"{test.interference}.yaml")
    assert all(config.mixing[key] == test[key] for key in config.mixing)
    assert set(config.data.sinr_db) == set(config.data.val_sinr_db) == set(test.sir_db)
    assert test.separators.wave_unet.run == f"runs/{config.name}/{config.run}"
    assert sum(parameter.numel() for parameter in instantiate(config.model.network).parameters()) == 1_657_346
    mixing = train_settings(config, "").mixing
    data = MixtureData(build_mixer(mixing, "train"), build_mixer(mixing, "val"), seed=0, **config.data)
    (batch,) = data.val_dataloader()
    assert batch.mixture.shape == (256, config.data.num_samples)
    assert torch.allclose(batch.mixture, batch.soi + batch.interference)
    assert float(batch.interference.abs().square().mean()) == pytest.approx(16, rel=0.15)


def test_kernel_sweep_names_the_runs_that_case_4_makes() -> None:
    sweep = OmegaConf.load(FOLDER / "kernel.yaml").comparison
    for name, entry in sweep.separators.items():
        kernel = str(name).rpartition(":")[2]
        with initialize_config_dir(str(CONF), version_base=None):
            words = ["experiment=ofdm_architecture/case4", f"model.network.first_kernel={kernel}"]
            config = compose("train", overrides=words)
        assert entry.run == f"runs/{config.name}/{config.run}"


def test_a_network_sees_windows_like_those_it_was_trained_on() -> None:
    """A long mixture is cut at multiples of the period, so every window is the first one again."""
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def forward(self, mixture: Tensor) -> Tensor:
            seen.append(mixture)
            return mixture

    modem = Cosines("pam4")
    mixture = modem.sample(3, 4096, torch.Generator().manual_seed(0)).waveform
    estimate = Neural(modem, mixture, Watched(), block=256).separate(mixture)
    assert torch.equal(estimate.soi, mixture)
    assert estimate.bits.shape == (3, 0)
    first = mixture[:, :256].real
    for windows in seen:
        distance = (windows[:, None, 0] - first).abs().amax(-1)  # [W, 3]
        assert not distance.amin(1).any()
