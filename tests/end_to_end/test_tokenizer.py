"""A tokenizer from its training to its picture, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from shell import command, fail, pixels, prepare, succeed

from rfsep.app.networks.runs import export
from rfsep.app.networks.tokenizers import open_tokenizer
from rfsep.pages.style import PALETTE

TINY = [
    "experiment=tokenizer/qpsk",
    "run=tiny",
    "data.num_samples=320",
    "data.batch_size=8",
    "data.val_per_sinr=10",
    "trainer.max_steps=4",
    "trainer.val_every=2",
    "objective.module.autoencoder.steps=2",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    succeed("train.py", *TINY, cwd=folder)
    return folder


def rfsep(*arguments: str, cwd: Path) -> None:
    done = command("rfsep", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr


def test_a_trained_tokenizer_is_exported_measured_and_drawn(place: Path) -> None:
    run = place / "runs" / "tokenizer" / "qpsk" / "tiny"
    export(str(run), place / "kept", "float32")
    opened, kept = open_tokenizer(str(run)), open_tokenizer(str(place / "kept"))
    assert (kept.which, kept.signal["name"]) == (opened.which, opened.signal["name"]) == ("soi", "QPSK")
    waveform = torch.randn(1, 2, 320)
    assert torch.equal(kept.tokenizer.codes(waveform), opened.tokenizer.codes(waveform))
    rfsep("tokenizer", "kept", "--num-bits", "10000", "--out", "drawn", cwd=place)
    found = json.loads((place / "drawn" / "tokenizer.json").read_text())
    assert (found["signal"], found["stride"], found["sizes"]) == ("QPSK", 16, [2, 2])
    assert found["num_bits"] >= 10000
    assert 2 * found["tokens"] == found["num_bits"]
    assert pixels(place / "drawn" / "tokenizer.png", PALETTE[0]) > 50
    rfsep("tokenizer-runs", str(run), str(run), "--out", "runs.json", cwd=place)
    first, second = json.loads((place / "runs.json").read_text())["runs"]
    assert first == second
    assert (first["steps"], first["quantised_at"], first["quantiser"]) == ([2, 4], 4, "finite_scalar")
    assert first["mse_db_by_step"][-1] == first["mse_db"]


def test_networks_and_objectives_that_do_not_fit_are_refused(place: Path) -> None:
    line = fail("train.py", "model=tokenizer_symbols", cwd=place)
    assert "model TokenizerSymbols is of kind tokenizer, and its objective is for waveform" in line
    assert "its objective is for tokenizer" in fail("train.py", "objective=tokenizer", cwd=place)
    prepare(place)
    run = "run=runs/tokenizer/qpsk/tiny"
    line = fail("evaluate.py", "separator=neural", "testset=set", run, cwd=place)
    assert "model TokenizerSymbols makes tokens of one signal, and separates nothing by itself" in line
