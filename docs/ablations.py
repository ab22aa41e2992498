"""Trains every run of an ablation in conf/ablation, one after the other, on one core: python docs/ablations.py NAME."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# These need RFSEP_RECORDINGS.
RECORDED = ("interference=wifi20", "interference=lte20")


def runs(name: str) -> list[list[str]]:
    """Returns the command-line words of train.py for each run of an ablation."""
    content = yaml.safe_load((ROOT / "conf" / "ablation" / f"{name}.yaml").read_text())
    return [[*content["common"], *run.split()] for run in content["runs"]]


def main(name: str) -> None:
    """Trains every run of an ablation; finished runs are reported, interrupted ones resume."""
    for words in runs(name):
        if "RFSEP_RECORDINGS" not in os.environ and any(word in RECORDED for word in words):
            print(f"left out, RFSEP_RECORDINGS is not set: {' '.join(words)}")
            continue
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, str(ROOT / "train.py"), *words], env=environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
