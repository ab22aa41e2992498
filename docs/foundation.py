"""Trains from scratch and from zoo:foundation for the same time: python docs/foundation.py [NAME[=FOLDER] ...].

Writes docs/results/foundation.json and docs/foundation.png. Every word names an option of conf/interference, or a
folder of recordings; MINUTES of one core are the lengths of the trainings. Finished runs are taken as they are.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rfsep.pages.style import INK, PALETTE, dress
from rfsep.training.curves import read_curves

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "learn"
STARTS = {"scratch": "null", "foundation": "zoo:foundation"}
MINUTES = (1, 5)
STEPS_PER_MINUTE = 500
VALIDATIONS = 5


def train(name: str, interference: str, start: str, minutes: int) -> Path:
    """Returns the folder of a finished run, and trains it if need be."""
    run, steps = f"{name}_{start}_{minutes}", STEPS_PER_MINUTE * minutes
    words = ["experiment=learn", f"run={run}", f"interference={interference}", f"init_from={STARTS[start]}"]
    words += [f"trainer.max_steps={steps}", f"trainer.val_every={steps // VALIDATIONS}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], cwd=ROOT, env=environment, check=True)
    return RUNS / run


def row(folder: Path, name: str, start: str, minutes: int) -> dict[str, Any]:
    """Returns the learning curve and the last levels of a run."""
    curves = read_curves(folder / "metrics.csv")
    levels = sorted(float(key.rpartition("/")[2]) for key in curves if key.startswith("val/ber/"))
    return {
        "interference": name,
        "start": start,
        "minutes": minutes,
        "steps": curves["val/ber"].steps,
        "val_ber": curves["val/ber"].values,
        "sinr_db": levels,
        "ber": [curves[f"val/ber/{level:g}"].values[-1] for level in levels],
        "mse_db": [curves[f"val/mse_db/{level:g}"].values[-1] for level in levels],
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws validation BER over minutes: a panel per interference, a line per run."""
    names = list(dict.fromkeys(row["interference"] for row in rows))
    figure = Figure(figsize=(2.9 * len(names), 3.4), layout="constrained", facecolor="white")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for one in (row for row in rows if row["interference"] == name):
            minutes = [step / STEPS_PER_MINUTE for step in one["steps"]]
            colour = PALETTE[list(STARTS).index(one["start"])]
            label = one["start"] if one["minutes"] == MINUTES[0] else None
            axes.plot(minutes, one["val_ber"], marker="o", markersize=3.5, linewidth=1.6, color=colour, label=label)
        axes.set_yscale("log")
        axes.set_title(name, fontsize=12, color=INK)
        dress(axes, x_label="minutes of one core", y_label="validation BER" if name == names[0] else "", legend=True)
    figure.savefig(path, dpi=110)


def main(words: list[str]) -> None:
    """Trains every run that is missing, and writes the results of all."""
    rows = list[dict[str, Any]]()
    for word in words or ["emi_bursts"]:
        name, _, folder = word.partition("=")
        for minutes in MINUTES:
            for start in STARTS:
                rows.append(row(train(name, folder or name, start, minutes), name, start, minutes))
    content = {"schema": 1, "steps_per_minute": STEPS_PER_MINUTE, "rows": rows}
    (ROOT / "docs" / "results" / "foundation.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(rows, ROOT / "docs" / "foundation.png")


if __name__ == "__main__":
    main(sys.argv[1:])
