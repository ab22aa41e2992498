"""Prepares, separates and scores eight mixture types at official size, beside cat: make bench_scale.

python tests/bench_scale.py [MIXTURES]: MIXTURES per level, by default 100, which need 12 GB of disk and about half an
hour. The set is removed in the end; that of an interrupted run is continued.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import write

ROOT = Path(__file__).parents[1]
PLACE = Path("runs/bench/scale")
ROUNDS = 3
DROP = Path("/proc/sys/vm/drop_caches")
Figures = dict[str, Any]


def timed(work: Callable[[], object]) -> Figures:
    """Returns a call's seconds by the clock and its processor seconds in this process."""
    start = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - start[0], "processor_seconds": time.process_time() - start[1]}


def stepwise(steps: Figures, name: str, function: Callable[..., object]) -> Callable[..., object]:
    """Wraps a function so that its cost is recorded."""

    def wrapped(*arguments: object, **options: object) -> object:
        results: list[object] = []
        steps[name] = timed(lambda: results.append(function(*arguments, **options)))
        return results[0]

    return wrapped


def child(script: str, *arguments: str) -> None:
    """Runs one of the scripts in this process; prints its cost and peak memory."""
    steps: Figures = {}
    if script == "evaluate.py":
        from rfsep.app import score as hosting

        for name in ("verify", "write_page", "score_submissions"):
            setattr(hosting, name, stepwise(steps, name, getattr(hosting, name)))
    sys.argv = [script, *arguments]

    def whole() -> None:
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise

    total = timed(whole)
    # This does not use ru_maxrss, which remembers the parent's memory from before exec.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({**total, "peak_memory_mb": int(status["VmHWM"].split()[0]) * 1024 / 1e6, "steps": steps}))


def alone(*arguments: str) -> Figures:
    """Runs a script in a separate process; ``seconds`` are by the clock and include the interpreter's start."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "child", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures | {"seconds": time.perf_counter() - start}


def cat(files: Sequence[Path]) -> float:
    """Returns the seconds by the clock that reading takes."""
    start = time.perf_counter()
    subprocess.run(["cat", *map(str, files)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def forget() -> bool:
    """Empties the page cache where that is permitted, and tells whether it was."""
    if not os.access(DROP, os.W_OK):
        return False
    os.sync()
    DROP.write_text("3\n")
    return True


def scored(scoring: Figures) -> float:
    """Returns the seconds from the files to scores.json: checks, errors, intervals, but not the page."""
    steps = scoring["steps"]
    return float(steps["score_submissions"]["seconds"] - steps["write_page"]["seconds"])


def compared(files: Sequence[Path], *options: str) -> Figures:
    """Measures scoring beside cat in turns, with the files in memory; keeps the fastest of each."""
    command = ("evaluate.py", f"submission={PLACE / 'estimates'}", f"testset={PLACE / 'set'}", *options)
    readings, scorings = [], []
    for _ in range(ROUNDS):
        readings.append(cat(files))
        scorings.append(alone(*command))
    fastest = min(scorings, key=scored)
    figures = {"cat_seconds": min(readings), "scored_seconds": scored(fastest), "command": fastest}
    return figures | {"times_cat": figures["scored_seconds"] / figures["cat_seconds"]}


def cold(files: Sequence[Path]) -> Figures | None:
    """Measures the same once from the disk; None where the page cache cannot be emptied."""
    if not forget():
        return None
    reading = cat(files)
    forget()
    scoring = alone("evaluate.py", f"submission={PLACE / 'estimates'}", f"testset={PLACE / 'set'}")
    figures = {"cat_seconds": reading, "scored_seconds": scored(scoring), "command": scoring}
    return figures | {"times_cat": scored(scoring) / reading}


def main() -> None:
    """Prepares, separates and scores; the result is kept in runs/bench/scale.json."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    place, estimates = PLACE / "set", PLACE / "estimates"
    settings = ("challenge=full", f"num_per_sinr={number}", "seed=1", f"out={place}")
    prepared = alone("data/prepare.py", "testset", *settings)
    first = alone("evaluate.py", "separator=passthrough", f"testset={place}", f"out={estimates}")
    files = sorted([*place.rglob("*.h5"), *estimates.glob("*.npy")])
    result = {
        "types": sorted(path.stem for path in (place / "mixture").glob("*.h5")),
        "mixtures_per_type": 11 * number,
        "samples_per_mixture": 40960,
        "gigabytes": sum(path.stat().st_size for path in files) / 1e9,
        "prepare": prepared,
        "separate_with_baselines": first,
        "score": compared(files),
        "score_and_hash": compared(files, "fresh=true"),
        "score_from_disk": cold(files),
    }
    write("scale", result)
    shutil.rmtree(PLACE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        main()
