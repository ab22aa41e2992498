"""Compares the speed and the outputs of this build with those of an older commit: make bench_against REF=COMMIT.

python docs/against.py REF [PART ...] [--mixtures N] [--pairs N]: PART is a part of a row's name (see `rows`). Both
builds work in turn on the same mixtures and examples, which this build draws once, each in a process of its own with
one thread: old, new, new, old ... CPU seconds are the process's own, and a row's ratio is the median over the pairs,
beside the smallest and largest. Set-up comes before and is a row of its own; a pass on two threads gives wall clock.

A separator's row has five conditions: SINR -30, -12 and 0 dB as drawn (without noise but the recordings' own), -12 dB
with white noise 20 dB below the SOI, and -12 dB with interference that comes .37 sample late on a carrier 1e-3 cycles
per sample off, which no example shows. For each, ``difference_db`` is the power of the difference of both estimates
over that of the old one, ``other_bits`` counts bits that differ, and ``wrong_bits`` those that each build got wrong.

Writes docs/results/against.json, row by row; a row that was measured before is replaced.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rows import merge

from rfsep.app.api import load_examples, load_interference, load_soi, make_test_set
from rfsep.mixtures.mix import Mixer
from rfsep.types import MixtureBatch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "against.json"
OFFICIAL = 40960
FRAMES = (200, 8192)  # examples, and samples in each
DRAWN = (64, OFFICIAL)  # waveforms that a source draws at a time
NOISE_DB, LATE, CARRIER = -20.0, 0.37, 1e-3
LEVELS_DB = {"-30 dB": -30.0, "-12 dB": -12.0, "0 dB": 0.0, "-12 dB, noise": -12.0, "-12 dB, late, carrier": -12.0}
FLOOR_DB = -300.0  # Equal estimates get this difference, because JSON knows no infinity.
SEED = 22


class Job(NamedTuple):
    """A separator at work: its option and those of SOI and interference, and the samples of a mixture."""

    separator: str
    soi: str
    interference: str
    num_samples: int

    @property
    def what(self) -> str:
        """Name of the row."""
        return f"{self.separator}, {self.soi} in {self.interference}, {self.num_samples:,}"

    @property
    def set_up(self) -> str:
        """Name of the row of its set-up, which does not depend on the samples of a mixture."""
        return f"set-up of {self.separator}, {self.soi} in {self.interference}"


SEPARATORS = (
    Job("joint_detection", "ofdm_qpsk", "ofdm_qpsk", 2560),
    Job("joint_detection", "qpsk", "ofdm_qpsk", 2560),
    Job("joint_detection", "qpsk", "ofdm_qpsk", OFFICIAL),
    Job("cyclic_lmmse", "qpsk", "ofdm_qpsk", 2560),
    Job("cyclic_lmmse", "qpsk", "ofdm_qpsk", OFFICIAL),
    Job("nr_detection", "qpsk", "nr_uplink", 2560),
    Job("nr_detection", "qpsk", "nr_uplink", OFFICIAL),
    Job("lte_lmmse", "qpsk", "lte20", 2560),
    Job("lte_lmmse", "qpsk", "lte20", OFFICIAL),
    Job("lte_pilots", "qpsk", "lte20", 2560),
    Job("lte_pilots", "qpsk", "lte20", OFFICIAL),
    Job("joint_detection_wifi", "qpsk", "wifi20", 2560),
)
IDENTIFIED = ("emi_bursts", "ofdm_qpsk", "single_carrier")
SOURCES = ("ofdm_qpsk", "single_carrier", "nr_uplink")
SELECTED = Job("selected", "qpsk", "emi_bursts", 2560)
COMMANDS = ("rfsep --help", "evaluate separator=matched_filter", "evaluate separator=joint_detection, official")


def rows() -> list[str]:
    """Returns the names of all rows."""
    set_up = dict.fromkeys(job.set_up for job in (*SEPARATORS, SELECTED))
    return [
        *(job.what for job in SEPARATORS),
        *set_up,
        *(f"identify {name}" for name in IDENTIFIED),
        *(f"draw {name}" for name in SOURCES),
        *COMMANDS,
    ]


class Build:
    """A tree at work in a process of its own, on one thread unless a job says otherwise."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.environment = environment(tree)
        child = [sys.executable, str(ROOT / "docs" / "against_child.py")]
        self.process = subprocess.Popen(
            child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment, text=True
        )

    def __call__(self, **job: Any) -> dict[str, float]:
        """Returns the CPU and wall seconds of a job.

        Raises:
            RuntimeError: the job failed in this build.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"failed": "the process ended"}')
        if "failed" in answer:
            raise RuntimeError(f"{self.tree.name}: {answer['failed']}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def environment(tree: Path) -> dict[str, str]:
    """Returns the environment in which Python takes rfsep from a tree."""
    alone = {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **alone}


def unpacked(ref: str, folder: Path) -> Path:
    """Returns the tree of a commit, in a folder."""
    tree = folder / ref
    archive = folder / "archive.tar"
    subprocess.run(["git", "archive", "-o", archive, ref], cwd=ROOT, check=True)
    with tarfile.open(archive) as file:
        file.extractall(tree, filter="data")
    return tree


def moved(interference: torch.Tensor) -> torch.Tensor:
    """Returns waveforms, complex64 [B, T], that come late and on a carrier (plain numpy)."""
    spectrum = np.fft.fft(interference.numpy())
    late = np.fft.ifft(spectrum * np.exp(-2j * np.pi * np.fft.fftfreq(spectrum.shape[1]) * LATE))
    turned = late * np.exp(2j * np.pi * CARRIER * np.arange(spectrum.shape[1]))
    return torch.from_numpy(turned.astype(np.complex64))


def conditions(job: Job, num_mixtures: int) -> dict[str, MixtureBatch]:
    """Returns the mixtures of each condition."""
    generator = torch.Generator().manual_seed(SEED)
    mixer = Mixer(load_soi(job.soi), load_interference(job.interference))
    drawn = {}
    for name, level in LEVELS_DB.items():
        batch = mixer.draw(torch.full((num_mixtures,), level), job.num_samples, generator)
        mixture = batch.mixture
        if "noise" in name:
            power = 10 ** (NOISE_DB / 10) * batch.soi.abs().square().mean()
            mixture = mixture + power.sqrt() * torch.randn(mixture.shape, dtype=mixture.dtype, generator=generator)
        if "late" in name:
            mixture = batch.soi + moved(batch.interference)
        drawn[name] = batch._replace(mixture=mixture)
    return drawn


def ratio(pairs: list[tuple[float, float]], per: int = 1) -> dict[str, float]:
    """Returns the median ratio of old over new with its spread, and the median seconds of both for each of ``per``."""
    ratios = [old / new for old, new in pairs]
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "old_cpu_seconds": statistics.median(old for old, _ in pairs) / per,
        "new_cpu_seconds": statistics.median(new for _, new in pairs) / per,
    }


def in_turn(builds: tuple[Build, Build], num_pairs: int, **job: Any) -> list[tuple[float, float]]:
    """Returns the CPU seconds of both builds in each pair; which of them begins changes."""
    pairs = []
    for index in range(num_pairs):
        order = builds if index % 2 == 0 else builds[::-1]
        seconds = {build: build(**job)["cpu"] for build in order}
        pairs.append((seconds[builds[0]], seconds[builds[1]]))
    return pairs


def compared(truth: MixtureBatch, outs: tuple[Path, Path]) -> dict[str, Any]:
    """Returns how far both builds' estimates are apart, and the wrong bits of each."""
    old, new = (np.load(out) for out in outs)
    apart = np.mean(np.abs(new["soi"] - old["soi"]) ** 2) / np.mean(np.abs(old["soi"]) ** 2)
    bits = truth.bits.numpy()
    sent = np.arange(bits.shape[1]) < truth.num_bits.numpy()[:, None]
    return {
        "difference_db": 10 * float(np.log10(apart)) if apart > 0 else FLOOR_DB,
        "other_bits": int(((old["bits"] != new["bits"]) & sent).sum()),
        "wrong_bits": [int(((one["bits"] != bits) & sent).sum()) for one in (old, new)],
        "num_bits": int(sent.sum()),
    }


def separate(builds: tuple[Build, Build], job: Job, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measures a separator in all conditions, after its set-up."""
    num_mixtures = max(1, args.mixtures * 2560 // job.num_samples)
    for build in builds:
        build(do="set up", name=job.separator, soi=job.soi, examples=examples(job.interference, folder))
    per_condition, pairs, walls = {}, [(0.0, 0.0)] * args.pairs, [0.0, 0.0]
    for name, batch in conditions(job, num_mixtures).items():
        mixtures = folder / "mixtures.npy"
        np.save(mixtures, batch.mixture.numpy())
        outs = (folder / "old.npz", folder / "new.npz")
        for index, build in enumerate(builds):
            walls[index] += build(do="separate", mixtures=str(mixtures), out=str(outs[index]), threads=2)["wall"]
        found = in_turn(builds, args.pairs, do="separate", mixtures=str(mixtures))
        pairs = [(a + old, b + new) for (a, b), (old, new) in zip(pairs, found, strict=True)]
        per_condition[name] = {"ratio": ratio(found)["ratio"], **compared(batch, outs)}
    count = num_mixtures * len(LEVELS_DB)
    wall = {"two_threads_ratio": walls[0] / walls[1], "mixtures": num_mixtures}
    return ratio(pairs, count) | wall | {"conditions": per_condition}


def examples(interference: str, folder: Path) -> str:
    """Returns the file of an interference's example frames, drawn at its first use."""
    path = folder / f"{interference}.npy"
    if not path.exists():
        np.save(path, load_examples(interference, *FRAMES).numpy())
    return str(path)


def whole_process(tree: Path, words: list[str], folder: Path) -> tuple[float, float]:
    """Returns CPU seconds and peak memory in MB of a command in a process of its own."""
    # A small process starts it: until it calls exec, a child counts its parent's memory as its own.
    script = (
        "import json, resource, subprocess, sys; status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"
    )
    starter = [sys.executable, "-c", script, *words]
    done = subprocess.run(starter, cwd=folder, env=environment(tree), capture_output=True, check=True, text=True)
    status, seconds, memory = json.loads(done.stdout)
    if status:
        raise RuntimeError(f"{tree.name}: exit status {status}: {' '.join(words)}: {done.stderr[-300:]}")
    return seconds, memory


def command(builds: tuple[Build, Build], name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measures a whole command of both builds."""
    script = (
        "import sys, tomllib, importlib; from pathlib import Path; root = Path(sys.argv.pop(1));"
        "where = tomllib.loads((root / 'pyproject.toml').read_text())['project']['scripts']['rfsep'].split(':');"
        "getattr(importlib.import_module(where[0]), where[1])()"
    )
    official = name.endswith("official")
    testset = folder / ("official" if official else "tiny")
    if "evaluate" in name and not testset.exists():
        samples, levels = (OFFICIAL, [-12.0]) if official else (1280, [-12.0, 0.0])
        make_test_set(testset, "qpsk", "ofdm_qpsk", num_samples=samples, num_per_sinr=2, sinr_db=levels, seed=SEED)
    separator = "joint_detection" if official else "matched_filter"
    pairs, peaks = [], []
    for index in range(args.pairs):
        measured = []
        for build in builds:
            out = folder / f"{build.tree.name}-{index}-{testset.name}-{time.monotonic_ns()}"
            evaluate = [str(build.tree / "evaluate.py"), f"separator={separator}", f"testset={testset}", f"out={out}"]
            words = ["-c", script, str(build.tree), "--help"] if "help" in name else evaluate
            measured.append(whole_process(build.tree, [sys.executable, *words], folder))
        pairs.append((measured[0][0], measured[1][0]))
        peaks.append([peak for _, peak in measured])
    return ratio(pairs) | {"memory_mb": peaks[-1], "memory_ratio": statistics.median(old / new for old, new in peaks)}


def measured(builds: tuple[Build, Build], what: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measures a row of `rows`."""
    if what in COMMANDS:
        return command(builds, what, args, folder)
    kind, _, name = what.partition(" ")
    if kind == "identify":
        return ratio(in_turn(builds, args.pairs, do="identify", examples=examples(name, folder)))
    if kind == "draw":
        for build in builds:
            build(do="open source", name=name)
            build(do="draw", batch=1, samples=OFFICIAL)
        return ratio(in_turn(builds, args.pairs, do="draw", batch=DRAWN[0], samples=DRAWN[1]))
    jobs = (*SEPARATORS, SELECTED)
    job = ({one.set_up: one for one in jobs} | {one.what: one for one in jobs})[what]
    if kind == "set-up":
        given = examples(job.interference, folder)
        return ratio(in_turn(builds, args.pairs, do="set up", name=job.separator, soi=job.soi, examples=given))
    return separate(builds, job, args, folder)


def main() -> None:
    """Measures the rows that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ref", help="commit of the older build")
    parser.add_argument("parts", nargs="*", help="parts of the names of rows; default: all rows")
    parser.add_argument("--mixtures", type=int, default=8, help="per condition; fewer of longer ones")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_intermixed_args()
    chosen = [what for what in rows() if not args.parts or any(part in what for part in args.parts)]
    if not chosen:
        parser.error(f"no row has {' or '.join(args.parts)} in its name; rows: {'; '.join(rows())}")
    named = subprocess.run(
        ["git", "rev-parse", "--quiet", "--verify", f"{args.ref}^{{commit}}"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    if named.returncode:
        parser.error(f"{args.ref} names no commit")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        builds = Build(unpacked(args.ref, folder)), Build(ROOT)
        for what in chosen:
            try:
                row = measured(builds, what, args, folder)
            except RuntimeError as error:
                print(f"{what}: not measured: {error}", flush=True)
                continue
            merge(args.out, [{"what": what, "ref": args.ref, **row}], ("what", "ref"))
            print(what, json.dumps(row, indent=1), flush=True)
        for build in builds:
            build.close()


if __name__ == "__main__":
    main()
