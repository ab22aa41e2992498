"""The functions of ``import rfsep``: each is there at its first use, and does what the command of its name does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rfsep

LIGHT = """
import sys
import rfsep
assert not {"torch", "numpy"} & set(sys.modules)
print([bool(getattr(rfsep, name)) for name in rfsep.__all__])
"""


def test_import_is_light_and_every_name_is_there() -> None:
    code = LIGHT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([True] * len(rfsep.__all__))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rfsep.nothing


def test_a_test_set_is_that_of_the_command_and_is_scored(tmp_path: Path) -> None:
    settings = {"num_samples": 640, "num_per_sinr": 2, "sinr_db": (-12, 0), "seed": 1}
    first = rfsep.make_test_set(tmp_path / "set", "qpsk", "ofdm_qpsk", **settings)  # type: ignore[arg-type]
    words = [
        "testset",
        "interference=ofdm_qpsk",
        "num_samples=640",
        "num_per_sinr=2",
        "sinr_db=[-12,0]",
        "seed=1",
        "out=by_command",
    ]
    command = [sys.executable, "-m", "rfsep.app.commands", "prepare", *words]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    name = "mixture/QPSK_OFDMQPSK.h5"
    assert (first / name).read_bytes() == (tmp_path / "by_command" / name).read_bytes()
    submission = tmp_path / "zeros"
    submission.mkdir()
    np.save(submission / "zeros_set_estimated_soi_QPSK_OFDMQPSK.npy", np.zeros((4, 640), np.complex64))
    np.save(submission / "zeros_set_estimated_bits_QPSK_OFDMQPSK.npy", np.zeros((4, 80), np.uint8))
    scores = rfsep.score(submission, first, tmp_path / "scores")
    (row,) = scores["results"]
    assert row["mse_db"] == pytest.approx([0.0, 0.0], abs=0.5)  # the power of the SOI
    assert row["ber"] == pytest.approx([0.5, 0.5], abs=0.1)
    with pytest.raises(rfsep.InputError, match="soi/nothing"):
        rfsep.make_test_set(tmp_path / "other", "nothing")


def test_recordings_are_interference_like_any_other(tmp_path: Path) -> None:
    """A tone of numpy's own: examples have unit power, no DC, and LMMSE takes it away."""
    time = np.arange(200_000)
    tone = 3 * np.exp(2j * np.pi * 0.03 * time) + 0.5
    np.save(tmp_path / "tone.npy", tone.astype(np.complex64))
    path = str(tmp_path / "tone.npy")
    windows = [
        rfsep.load_interference(path, split).sample(4, 640, torch.Generator().manual_seed(0))
        for split in ("train", "test")
    ]
    for window in windows:
        assert window.waveform.abs().square().mean() == pytest.approx(1.0, rel=1e-3)
    examples = rfsep.load_examples(path, 20, 2560)
    assert float(examples.abs().square().mean()) == pytest.approx(1.0, rel=1e-5)
    soi = rfsep.load_soi("qpsk")
    batch = rfsep.Mixer(soi, rfsep.load_interference(path, "test")).draw(
        torch.full((8,), -20.0), 2560, torch.Generator().manual_seed(1)
    )
    separated = rfsep.load_separator("lmmse", soi, examples).separate(batch.mixture)
    assert (separated.bits != batch.bits).float().mean() < 0.01
    plain = rfsep.load_separator("matched_filter", soi).separate(batch.mixture)
    assert (plain.bits != batch.bits).float().mean() > 0.05
    with pytest.raises(rfsep.InputError, match="learns the interference from examples"):
        rfsep.load_separator("lmmse", soi)
