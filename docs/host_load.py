"""Measures rfsep host under load: python docs/host_load.py small 200, or official 20; rows of docs/results/host.json.

The sets: small, two mixture types of 22 mixtures of 2,560 samples; official, one type of 1,100 of 40,960 samples, which
needs 2 GB of disk. Entries are made by numpy and lie in twenty teams' folders. Of official ones two are made, and the
others are hard links to their files, so they come from memory. A first call computes the baselines; the second one
takes and scores all entries and writes the board.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rows import merge

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "host.json"
TEAMS = 20
SETS = {  # mixture types, samples, mixtures per level, levels, distinct entries
    "small": (("ofdm_qpsk", "emi_bursts"), 2560, 2, [-30, -27, -24, -21, -18, -15, -12, -9, -6, -3, 0], 200),
    "official": (("ofdm_qpsk",), 40960, 100, [-30, -27, -24, -21, -18, -15, -12, -9, -6, -3, 0], 2),
}
CALL = ("daily=1000", "settle=0", "opens=2026-01-01T00:00Z", "closes=2100-01-01T00:00Z")


def child(arguments: list[str]) -> None:
    """Runs the command in this process, and prints its peak memory in MB."""
    from rfsep.app.commands import main as command

    sys.argv = ["rfsep", *arguments]
    try:
        command()
    except SystemExit as end:
        if end.code:
            raise
    # This does not use ru_maxrss, which remembers the parent's memory from before exec.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps(int(status["VmHWM"].split()[0]) * 1024 / 1e6))


def timed(*arguments: str) -> tuple[float, float]:
    """Returns the seconds by the clock and the peak memory in MB of ``rfsep`` in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, float(done.stdout.splitlines()[-1])


def enter(testset: Path, folder: Path, random: np.random.Generator) -> None:
    """Makes an entry: the truth with errors of its own, row after row."""
    folder.mkdir(parents=True)
    for path in sorted((testset / "truth").glob("*.h5")):
        with h5py.File(path) as file:
            shape = file["soi"].shape
            names = [folder / f"x_{testset.name}_estimated_{kind}_{path.stem}.npy" for kind in ("soi", "bits")]
            soi = np.lib.format.open_memmap(names[0], "w+", np.complex64, shape)
            level = random.uniform(0.01, 0.3)
            for row in range(shape[0]):
                soi[row] = file["soi"][row] + level * random.standard_normal(shape[1], np.float32)
            soi.flush()
            bits = file["bits"][:]
            np.save(names[1], bits ^ (random.uniform(size=bits.shape) < 0.01))


def inbox(testset: Path, place: Path, entries: int, distinct: int) -> None:
    """Makes the inbox."""
    random, made = np.random.default_rng(0), list[Path]()
    for number in range(entries):
        folder = place / f"team{number % TEAMS}" / f"entry{number // TEAMS}"
        if number < distinct:
            enter(testset, folder, random)
            made.append(folder)
        else:
            shutil.copytree(made[number % distinct], folder, copy_function=os.link)


def main(kind: str, entries: int) -> None:
    """Measures one load."""
    place = ROOT / "runs" / "host_load" / kind
    shutil.rmtree(place, ignore_errors=True)
    interferences, samples, per_level, levels, distinct = SETS[kind]
    testset = place / "set"
    for name in interferences:
        words = [f"num_samples={samples}", f"num_per_sinr={per_level}", f"sinr_db={levels}", "seed=1", f"out={testset}"]
        timed("prepare", "testset", "soi=qpsk", f"interference={name}", *words)
    (place / "inbox").mkdir()
    words = [f"testset={testset}", f"inbox={place / 'inbox'}", f"out={place / 'out'}", *CALL]
    first = timed("host", *words)
    inbox(testset, place / "inbox", entries, min(distinct, entries))
    second = timed("host", *words)
    log = [json.loads(line) for line in (place / "out" / "audit.jsonl").read_text().splitlines()]
    if sum(line["event"] == "scored" for line in log) != entries:
        raise SystemExit("not every entry was scored")
    row: dict[str, Any] = {
        "set": f"{len(interferences)} x {per_level * len(levels):,} mixtures of {samples:,} samples",
        "entries": entries,
        "teams": min(TEAMS, entries),
        "baselines_seconds": round(first[0], 1),
        "minutes": round(second[0] / 60, 3),
        "seconds_per_entry": round(second[0] / entries, 3),
        "baselines_peak_memory_mb": round(first[1], 1),
        "peak_memory_mb": round(second[1], 1),
        "cores": os.cpu_count(),
    }
    merge(RESULTS, [row], ("set", "entries"))
    shutil.rmtree(place)


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(sys.argv[2:])
    else:
        main(sys.argv[1], int(sys.argv[2]))
