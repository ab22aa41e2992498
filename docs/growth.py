"""Asks whether cost grows as it should: python docs/growth.py [SEPARATOR ...] [--seconds S]

Each separator, in a process of its own with one thread, separates a mixture of 1,280 samples, then four times as many,
up to 1,310,720, until one takes more than S seconds of CPU; then 1, 4, 16 and 64 mixtures of 2,560 samples. It writes
CPU seconds and peak memory to docs/results/growth.json, row by row, and draws docs/growth.png of all rows. Needs
RFSEP_RECORDINGS for the separators of LTE and Wi-Fi.
"""

import argparse
import json
import math
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rows import merge

from rfsep.app.api import load_examples, load_interference, load_separator, load_soi
from rfsep.mixtures.mix import Mixer
from rfsep.pages.style import MARKERS, PALETTE, dress

DOCS = Path(__file__).resolve().parent
RESULTS, FIGURE = DOCS / "results" / "growth.json", DOCS / "growth.png"
LENGTHS = tuple(1280 * 4**power for power in range(6))
BATCHES, WINDOW, PIECE = (1, 4, 16, 64), 2560, 40960
SINR_DB, SEED = -12.0, 6
SOURCES = {  # the interference that each separator is for
    "passthrough": "ofdm_qpsk",
    "matched_filter": "ofdm_qpsk",
    "lmmse": "ofdm_qpsk",
    "cyclic_lmmse": "ofdm_qpsk",
    "cyclic_mmse": "ofdm_qpsk",
    "joint_detection": "ofdm_qpsk",
    "token_detection": "ofdm_qpsk",
    "varying_lmmse": "fpv",
    "ringing": "emi_bursts",
    "envelope": "fsk",
    "single_carrier_detection": "single_carrier",
    "nr_detection": "nr_uplink",
    "lte_lmmse": "lte20",
    "lte_detection": "lte20",
    "lte_pilots": "lte20",
    "cyclic_lmmse_wifi": "wifi20",
    "joint_detection_wifi": "wifi20",
    "zoo:ofdm_qpsk": "ofdm_qpsk",
    "zoo:rft_ofdm_qpsk": "ofdm_qpsk",
}


def peak_mb() -> float:
    """Returns the peak memory of this process in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def measured(name: str, seconds: float) -> dict[str, Any]:
    """Returns the row of a separator."""
    torch.set_num_threads(1)
    soi = load_soi("qpsk_span4" if name.startswith("zoo:") else "qpsk")
    source = load_interference(SOURCES[name])
    separator = load_separator(name, soi, load_examples(SOURCES[name], 200, 8192))
    generator, mixer = torch.Generator().manual_seed(SEED), Mixer(soi, source)

    def cost(batch: int, num_samples: int, threads: int = 1) -> tuple[float, float]:
        pieces = [
            mixer.draw(torch.full((batch,), SINR_DB), min(PIECE, num_samples), generator).mixture
            for _ in range(math.ceil(num_samples / PIECE))
        ]
        mixture = torch.cat(pieces, 1)[:, :num_samples]
        torch.set_num_threads(threads)
        cpu, wall = time.process_time(), time.perf_counter()
        separator.separate(mixture)
        torch.set_num_threads(1)
        return time.process_time() - cpu, time.perf_counter() - wall

    cost(1, LENGTHS[0])  # The first call also makes tables that later ones use again.
    row: dict[str, Any] = {"separator": name, "interference": SOURCES[name], "set_up_mb": peak_mb()}
    lengths: list[dict[str, float]] = []
    for length in LENGTHS:
        spent, wall = cost(1, length)
        lengths.append({"samples": length, "cpu_seconds": spent, "wall_seconds": wall, "peak_mb": peak_mb()})
        if spent > seconds:
            break
    batches = [{"mixtures": batch, "cpu_seconds": cost(batch, WINDOW)[0]} for batch in BATCHES]
    longest = int(lengths[-1]["samples"])
    two = lengths[-1]["wall_seconds"] / cost(1, longest, threads=2)[1]
    return row | {"lengths": lengths, "batches": batches, "two_threads_ratio": two}


def growth(lengths: list[dict[str, float]]) -> float:
    """Returns the exponent of cost over length between the two longest mixtures: 1 is linear."""
    shorter, longer = lengths[-2:]
    return math.log(longer["cpu_seconds"] / shorter["cpu_seconds"]) / math.log(longer["samples"] / shorter["samples"])


def draw() -> None:
    """Draws CPU time per sample over the length of a mixture."""
    figure = Figure(figsize=(10, 6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for index, row in enumerate(json.loads(RESULTS.read_text())["rows"]):
        across = [one["samples"] for one in row["lengths"]]
        up = [1e6 * one["cpu_seconds"] / one["samples"] for one in row["lengths"]]
        dash = ("-", "--", ":")[index // len(PALETTE) % 3]
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        axes.plot(across, up, color=colour, marker=marker, linestyle=dash, label=row["separator"], linewidth=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    dress(axes, "samples of a mixture", "CPU time per sample [µs], one thread")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=10)
    figure.savefig(FIGURE, dpi=110)


def main() -> None:
    """Measures the separators that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("separators", nargs="*", choices=[[], *SOURCES], metavar="SEPARATOR", help="default: all")
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds after which lengths end")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in args.separators or SOURCES:
        with context.Pool(1) as pool:
            row = pool.apply(measured, (name, args.seconds))
        row["growth"] = growth(row["lengths"])
        merge(RESULTS, [row], ("separator",))
        print(name, json.dumps(row), file=sys.stderr, flush=True)
    draw()


if __name__ == "__main__":
    main()
