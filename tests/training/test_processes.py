"""What SLURM started against what was asked for, by the variables that it sets."""

import pytest

from rfsep.training.processes import slurm
from rfsep.types import InputError

SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


def under(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_slurm_there_is_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert slurm(2, 1) == []


def test_the_tasks_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, **SRUN, SLURM_NTASKS="4", SLURM_NTASKS_PER_NODE="2")
    (plugin,) = slurm(2, 2)
    assert (plugin.world_size(), plugin.auto_requeue) == (4, False)


def test_one_task_needs_no_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the launcher of sweeps starts its jobs."""
    under(monkeypatch, SLURM_NTASKS="1")
    assert len(slurm(1, 1)) == 1


def test_a_shell_within_a_job_is_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, SLURM_NTASKS="4", SLURM_PROCID="0")
    with pytest.raises(InputError, match="SLURM gave 4 tasks, and this is none of them: begin the command with srun"):
        slurm(4, 1)


def test_tasks_that_nobody_gave_to_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, **SRUN, SLURM_NTASKS="4")
    with pytest.raises(InputError, match=r"--ntasks=4 says nothing of machines: give --nodes and --ntasks-per-node"):
        slurm(4, 1)


@pytest.mark.parametrize(
    ("tasks", "per_node", "devices", "machines"),
    [("1", "2", 2, 1), ("4", "2", 2, 1), ("2", "2", 1, 1), ("4", "4", 2, 2), ("2", "2", 4, 1)],
)
def test_other_tasks_than_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, tasks: str, per_node: str, devices: int, machines: int
) -> None:
    """The first one would train without a word with half of the batch."""
    under(monkeypatch, **SRUN, SLURM_NTASKS=tasks, SLURM_NTASKS_PER_NODE=per_node)
    with pytest.raises(InputError, match=f"SLURM started {tasks} tasks .*{devices} devices on {machines} machines"):
        slurm(devices, machines)
