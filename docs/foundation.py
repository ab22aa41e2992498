"""Trains from scratch and from zoo:foundation for the same time: python docs/foundation.py MINUTES NAME[=FOLDER] ...

Every word after the minutes of one core names an option of conf/interference, or a folder of recordings. Replaces the
rows of these trainings in docs/results/foundation.json, and draws docs/foundation.png from all. Finished runs are taken
as they are.
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
RUNS = ROOT / "runs" / "unknown"
RESULTS = ROOT / "docs" / "results" / "foundation.json"
STARTS = {  # words of train.py, with the best learning rate that was tried
    "scratch": ["init_from=null"],
    "foundation": ["init_from=zoo:foundation", "init_share=0.4", "objective.module.optimisation.learning_rate=5e-3"],
}
STEPS_PER_MINUTE = 500
VALIDATIONS = 5


def train(name: str, interference: str, start: str, minutes: int) -> Path:
    """Returns the folder of a finished run, and trains it if need be."""
    run, steps = f"{name}_{start}_{minutes}", STEPS_PER_MINUTE * minutes
    words = ["experiment=unknown", f"run={run}", f"interference={interference}", *STARTS[start]]
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
    figure = Figure(figsize=(3.6 * len(names), 3.4), layout="constrained", facecolor="white")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for one in (row for row in rows if row["interference"] == name):
            minutes = [step / STEPS_PER_MINUTE for step in one["steps"]]
            colour = PALETTE[list(STARTS).index(one["start"])]
            label = f"{one['start']}, {one['minutes']} min"
            axes.plot(minutes, one["val_ber"], marker="o", markersize=3.5, linewidth=1.6, color=colour, label=label)
        axes.set_yscale("log")
        axes.set_title(name, fontsize=12, color=INK)
        dress(axes, x_label="minutes of one core", y_label="validation BER" if name == names[0] else "")
        axes.legend(frameon=False, fontsize=9, loc="lower left")
    figure.savefig(path, dpi=110)


def kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows of the results so far that none of these replaces."""
    replaced = {(row["interference"], row["start"], row["minutes"]) for row in rows}
    before = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    return [row for row in before if (row["interference"], row["start"], row["minutes"]) not in replaced]


def main(minutes: int, words: list[str]) -> None:
    """Trains every run that is missing, and writes the results of all."""
    rows = list[dict[str, Any]]()
    for word in words:
        name, _, folder = word.partition("=")
        for start in STARTS:
            rows.append(row(train(name, folder or name, start, minutes), name, start, minutes))
    rows = sorted(kept(rows) + rows, key=lambda row: (row["interference"], row["minutes"], row["start"]))
    content = {"schema": 1, "steps_per_minute": STEPS_PER_MINUTE, "rows": rows}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    draw(rows, ROOT / "docs" / "foundation.png")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
