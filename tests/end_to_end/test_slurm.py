"""Two machines of SLURM, which are this one twice; skipped where SLURM is not: apt-get install slurm-wlm munge."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import ROOT, prepare, succeed, wait_until

NEEDED = ("munged", "slurmctld", "slurmd", "sinfo", "srun", "sbatch")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"SLURM is not here: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons want root"),
]
CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
SlurmUser=root
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def states_of(variables: dict[str, str]) -> list[str]:
    """What the nodes are doing; nothing before the controller answers."""
    told = subprocess.run(["sinfo", "-hNo", "%t"], env=variables, capture_output=True, text=True, check=False)
    return told.stdout.split()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the environment needs to reach it."""
    place = tmp_path_factory.mktemp("slurm")
    (place / "key").write_bytes(os.urandom(128))
    (place / "key").chmod(0o400)
    (place / "state").mkdir()
    host = socket.gethostname().split(".")[0]
    (place / "slurm.conf").write_text(CONFIG.format(place=place, host=host, ports=free_ports(3)))
    files = [f"--{kind}-file={place / f'munge.{kind}'}" for kind in ("pid", "log", "seed")]
    munged = ["munged", "--foreground", "--force", f"--key-file={place / 'key'}", f"--socket={place / 'munge.socket'}"]
    daemons = [[*munged, *files], ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]
    variables = {**os.environ, "SLURM_CONF": str(place / "slurm.conf")}
    running = []
    try:
        for daemon in daemons:
            quiet = subprocess.DEVNULL
            running.append(subprocess.Popen(daemon, env=variables, stdin=quiet, stdout=quiet, stderr=quiet))
            wait_until((place / "munge.socket").exists, running[0])
        wait_until(lambda: states_of(variables) == ["idle", "idle"], running[1])
        yield {"SLURM_CONF": variables["SLURM_CONF"]}
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(30)


def scores(folder: Path) -> object:
    return json.loads((folder / "scores.json").read_text())["results"]


def test_two_machines_find_what_one_process_does(cluster: dict[str, str], tmp_path: Path) -> None:
    prepare(tmp_path)
    prepare(tmp_path, "emi_bursts")
    succeed("evaluate.py", "separator=lmmse", "testset=set", "out=one", cwd=tmp_path)
    command = [sys.executable, str(ROOT / "evaluate.py"), "separator=lmmse", "testset=set", "out=two", "num_nodes=2"]
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["srun", "--nodes=2", "--ntasks-per-node=1", *command],
        cwd=tmp_path,
        env={**os.environ, **cluster, **loopback},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("lmmse: estimates of 12 mixtures in two") == 1
    assert scores(tmp_path / "one") == scores(tmp_path / "two")
    for path in (tmp_path / "one").glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_sweep_is_a_job_each(cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs pip install rfsep[sweep]")
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    prepare(tmp_path)
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=main", "hydra.launcher.mem_gb=1"]
    separators = ("passthrough", "matched_filter")
    succeed("evaluate.py", "-m", f"separator={','.join(separators)}", "testset=set", *launcher, cwd=tmp_path)
    for name in separators:
        succeed("evaluate.py", f"separator={name}", "testset=set", f"out={name}", cwd=tmp_path)
        assert scores(tmp_path / name) == scores(tmp_path / "runs" / "evaluations" / "set" / name)
