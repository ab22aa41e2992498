"""A prior from its training to its picture, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from shell import command, fail, pixels, prepare, succeed

from rfsep.app.networks.priors import open_prior
from rfsep.app.networks.runs import export
from rfsep.pages.style import PALETTE

TINY = [
    "experiment=prior/ofdm_qpsk",
    "run=tiny",
    "data.num_samples=400",
    "data.batch_size=4",
    "data.val_per_sinr=10",
    "trainer.max_steps=4",
    "trainer.val_every=2",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prior")
    succeed("train.py", *TINY, cwd=folder)
    return folder


def test_a_trained_prior_is_sampled_exported_and_drawn(place: Path) -> None:
    run = place / "runs" / "prior" / "ofdm_qpsk" / "tiny"
    export(str(run), place / "kept", "float32")
    opened, kept = open_prior(str(run)), open_prior(str(place / "kept"))
    assert (opened.which, opened.prior.period, opened.num_samples) == ("interference", 80, 400)
    assert kept.signal["name"] == opened.signal["name"] == "OFDMQPSK"
    assert kept.prior.period == 80
    x, step = torch.randn(2, 400, dtype=torch.complex64), torch.tensor([0, 49])
    offset = torch.tensor([0, 33])
    assert torch.equal(kept.prior.at(offset).noise(x, step), opened.prior.at(offset).noise(x, step))
    arguments = ["prior", "kept", "--num-windows", "3", "--num-samples", "640", "--out", "drawn"]
    done = command("rfsep", *arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads((place / "drawn" / "prior.json").read_text())
    assert (found["signal"], found["period"], found["num_windows"]) == ("OFDMQPSK", 80, 3)
    assert found["source"]["cyclic_correlation"] == pytest.approx(0.19, abs=0.05)
    assert len(found["noise_mse_by_step"]) == 50
    assert pixels(place / "drawn" / "prior.png", PALETTE[0]) > 50


def test_networks_and_objectives_that_do_not_fit_are_refused(place: Path) -> None:
    line = fail("train.py", "model=diffwave_small", cwd=place)
    assert "model DiffWaveSmall is of kind prior, and its objective is for waveform" in line
    line = fail("train.py", "objective=ddpm", cwd=place)
    assert "is of kind waveform, and its objective is for prior" in line
    prepare(place)
    run = "run=runs/prior/ofdm_qpsk/tiny"
    line = fail("evaluate.py", "separator=neural", "testset=set", run, cwd=place)
    assert "model CarrierPrior is a prior of one signal, which separates nothing by itself" in line
