"""A timing network from its training to a separator that listens to it, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from shell import fail, prepare, succeed

from rfsep.app.networks.runs import export
from rfsep.app.networks.timing import open_timing
from rfsep.mixtures.endless import Purpose, batch_generator

TINY = [
    "experiment=sync/timing",
    "run=tiny",
    "model.network.kernel=8",
    "data.batch_size=4",
    "data.val_sinr_db=[-12,0]",
    "data.val_per_sinr=3",
    "trainer.max_steps=4",
    "trainer.val_every=2",
]
RUN = "runs/sync/timing/tiny"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timing")
    assert "finished: best val/timing_error" in succeed("train.py", *TINY, cwd=folder)
    prepare(folder)
    return folder


def test_a_trained_network_is_exported_and_tells_separators_the_timing(place: Path) -> None:
    run = place / RUN
    export(str(run), place / "kept", "float32")
    metrics = (run / "metrics.csv").read_text()
    assert all(f"val/timing_error{level}," in metrics for level in ("", "/-12", "/0"))
    opened, kept = open_timing(str(run)), open_timing(str(place / "kept"))
    mixture = torch.randn(2, 1280, dtype=torch.complex64, generator=batch_generator(Purpose.TEST, 0))
    assert torch.equal(kept.log_probability(mixture), opened.log_probability(mixture))
    words = ["separator=joint_detection", "testset=set"]
    succeed("evaluate.py", *words, "out=likelihood", cwd=place)
    succeed("evaluate.py", *words, f"separator.timing_network={RUN}", "out=told", cwd=place)
    error = {
        name: json.loads((place / name / "scores.json").read_text())["results"][0]["mse_db"][0]
        for name in ("likelihood", "told")
    }
    assert error["likelihood"] < -60
    assert error["told"] > -20  # four steps of training know no timing, and the separator believes them


def test_timing_errors_of_both_synchronisers_are_written(place: Path) -> None:
    changes = [
        "timing_error.sir_db=[-12,0]",
        "timing_error.window_samples=[640]",
        f"timing_error.synchronisers.timing_network.timing_network={RUN}",
    ]
    told = succeed("evaluate.py", "experiment=sync/timing_error", "num_mixtures=8", *changes, cwd=place)
    assert "timing error rate" in told
    rows = json.loads((place / "runs/sync/timing_error/results.json").read_text())["rows"]
    assert [row["synchroniser"] for row in rows] == ["likelihood", "timing_network"]
    assert rows[0]["timing_error"] == [0.0, 0.0]
    assert rows[0]["timing_error_high"] == [3 / 8, 3 / 8]
    assert min(rows[1]["timing_error"]) >= 0.75  # chance is 79 of 80
    assert all(row["num_windows"] == [8, 8] for row in rows)


def test_what_does_not_fit_is_refused(place: Path) -> None:
    line = fail("train.py", "model=timing_cnn", cwd=place)
    assert "model TimingCNN is of kind timing, and its objective is for waveform" in line
    line = fail("train.py", "experiment=sync/timing", "data.num_samples=1280", cwd=place)
    assert "model TimingCNN sees 640 samples, and data.num_samples is 1280" in line
    line = fail("train.py", "experiment=sync/timing_error", cwd=place)
    assert "python evaluate.py experiment=sync/timing_error" in line
    line = fail("evaluate.py", "separator=neural", "testset=set", f"run={RUN}", cwd=place)
    assert "model TimingCNN tells a timing, and separates nothing by itself" in line
    words = ["separator=joint_detection", "testset=set"]
    line = fail("evaluate.py", *words, "separator.timing_network=zoo:prior_qpsk", cwd=place)
    assert "zoo:prior_qpsk: holds a network that tells no timing, which objective=timing trains" in line
    line = fail("evaluate.py", *words, "separator.timing_network=nowhere", cwd=place)
    assert "nowhere/config.yaml: not found" in line
    line = fail("evaluate.py", "separator=cyclic_lmmse", "testset=set", f"separator.timing_network={RUN}", cwd=place)
    assert "timing_network needs interference=" in line
