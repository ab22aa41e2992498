"""Two processes that train together make the steps of one with the joint batch; workers do not change the data."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.training.data import MixtureData

SCRIPT = Path(__file__).with_name("ddp.py")
ROOT = Path(__file__).parents[2]


def start(folder: Path, kind: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), kind]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait(processes: list[subprocess.Popen[str]]) -> None:
    try:
        for process in processes:
            _, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr
    finally:
        for process in processes:
            process.kill()


def test_gradients_of_two_processes_are_those_of_the_joint_batch(tmp_path: Path) -> None:
    """Launched as torchrun does it; accumulation over two batches, so that each step sees four."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    common |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    wait([start(tmp_path / "two", "ranks", **rank) for rank in ranks])
    wait([start(tmp_path / "one", "joint")])
    for step in (0, 1):
        one = torch.load(tmp_path / "one" / f"gradients{step}_0.pt")
        for rank in (0, 1):
            two = torch.load(tmp_path / "two" / f"gradients{step}_{rank}.pt")
            assert two.keys() == one.keys()
            for name in one:
                assert torch.allclose(two[name], one[name], rtol=1e-4, atol=1e-7), (step, name)
    assert any(float(value.abs().max()) > 1e-3 for value in one.values())
    files = {path.name for path in (tmp_path / "two" / "checkpoints").iterdir()}
    assert files == {"last.ckpt", "best.ckpt"}
    facts = torch.load(tmp_path / "two" / "checkpoints" / "last.ckpt", weights_only=True)["facts"]
    assert facts["flops"] == 2 * 2 * 1e3
    assert (tmp_path / "two" / "metrics.csv").read_text().count("val/mse_db,") == 1, "both ranks wrote"


@pytest.mark.filterwarnings("ignore")
def test_batches_are_those_of_seed_rank_and_step_whatever_the_workers() -> None:
    class At:
        accumulate_grad_batches = 3

        def __init__(self, rank: int, step: int) -> None:
            self.global_rank, self.global_step = rank, step

    def drawn(rank: int, step: int, workers: int, seed: int = 1) -> list[torch.Tensor]:
        mixer = Mixer(LinearModem(), WhiteNoise())
        data = MixtureData(mixer, mixer, 2, 64, (0.0, 0.0), [0.0], 1, workers, seed)
        data.trainer = At(rank, step)  # type: ignore[assignment]
        return [batch.mixture for _, batch in zip(range(6), data.train_dataloader(), strict=False)]

    alone = drawn(0, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(alone, drawn(0, 0, 2), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(alone[3:], drawn(0, 1, 2), strict=False))
    for other in (drawn(1, 0, 2), drawn(0, 0, 2, seed=2)):
        assert not any(torch.equal(a, b) for a in alone for b in other)
