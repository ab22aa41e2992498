"""Counts bit errors beneath LTE downlinks: python docs/lte_study.py [CELL ...]

A cell is recording@SINR@separator, and each part may be several with commas between; without any, the cells of
``DEFAULT``. A row that was measured before is replaced in docs/results/lte_study.json. The SOI is the QPSK of
conf/soi/qpsk.yaml in the middle of the band, the interference a window at random of one recording at unit mean power,
at a random phase. In the downlinks that srsRAN made a window lies within one subframe, and errors are told by symbol of
the subframe too. Separators learn from the training recordings of lte20. Needs RFSEP_RECORDINGS.
"""

import argparse
import os
import sys
import time
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import merge
from torch import Tensor

from rfsep.app.api import load_examples, load_separator, load_soi
from rfsep.signals.recordings import SigmfRecordings
from rfsep.types import Separator

RESULTS = Path(__file__).resolve().parent / "results" / "lte_study.json"
NUM_SAMPLES, SEED = 2560, 7
SUBFRAME, SLOT = 19200, 9600
MIXTURES = {"independent": 64, "lte20": 24}
QUIET, LOADED, VALIDATION = "independent/lte-srsran-quiet", "independent/lte-srsran-loaded", "lte20/lte20-f2605"
TRAINING = ("lte20/lte20-f1815p3-a", "lte20/lte20-f1867p5", "lte20/lte20-f1890")
SEPARATORS = "matched_filter,lte_lmmse,lte_detection,lte_pilots"
DEFAULT = tuple(f"{name}@-24,-12,-6@{SEPARATORS}" for name in (QUIET, LOADED, VALIDATION, *TRAINING))

Array = np.ndarray[Any, Any]


@cache
def recording(name: str) -> Array:
    """Returns a recording complex64 [T] of unit mean power and without offset, whatever split it is of."""
    path = Path(os.environ["RFSEP_RECORDINGS"]) / f"{name}.sigmf-meta"
    return SigmfRecordings(path, "time", "train", shares=(1.0, 0.0, 0.0)).recordings[0]


def places(name: str, count: int) -> Array:
    """Returns the samples at which windows begin, int64 [n]."""
    draw = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    length = len(recording(name))
    if not name.startswith("independent"):
        return draw.integers(0, length - NUM_SAMPLES + 1, count)
    subframe = draw.integers(0, length // SUBFRAME, count)
    return subframe * SUBFRAME + draw.integers(0, SUBFRAME - NUM_SAMPLES + 1, count)


def mixtures(name: str, sinr_db: float, count: int) -> tuple[Tensor, Tensor]:
    """Returns mixtures complex64 [B, T] and the SOI's bits uint8 [B, N]."""
    generator = torch.Generator().manual_seed(SEED)
    sent = load_soi("qpsk").sample(count, NUM_SAMPLES, generator)
    windows = np.stack([recording(name)[place : place + NUM_SAMPLES] for place in places(name, count)])
    turn = torch.polar(torch.ones(count, 1), 2 * torch.pi * torch.rand((count, 1), generator=generator))
    return sent.waveform + 10 ** (-sinr_db / 20) * turn * torch.from_numpy(windows), sent.bits


@cache
def separator(name: str) -> Separator:
    """Returns a separator of QPSK that has learned from the training recordings."""
    return load_separator(name, load_soi("qpsk"), load_examples("lte20"))


def by_symbol(name: str, wrong: Tensor) -> list[dict[str, Any]]:
    """Returns errors float64 [B, N] by symbol of the subframe, for even (0) and odd (5) subframes."""
    step = NUM_SAMPLES * 2 // wrong.shape[1]  # samples of a symbol, which has two bits
    at = places(name, len(wrong))[:, None] + step * (np.arange(wrong.shape[1]) // 2) + step // 2
    inside = at % SLOT
    symbol = 7 * (at // SLOT % 2) + np.clip((inside - 10) // 1370, 0, 6)
    found = []
    for subframe in (0, 1):
        for number in range(14):
            here = torch.from_numpy((symbol == number) & (at // SUBFRAME % 2 == subframe))
            if here.any():
                rate = float(wrong[here].mean())
                found.append({"subframe": 5 * subframe, "symbol": number, "bits": int(here.sum()), "ber": rate})
    return found


def interval(rates: Array) -> tuple[float, float]:
    """Returns a bootstrap 95 % interval of the mean over mixtures."""
    draw = np.random.default_rng(SEED)
    means = rates[draw.integers(0, len(rates), (2000, len(rates)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def row(name: str, sinr_db: float, of: str, count: int) -> dict[str, Any]:
    """Returns the row of a cell."""
    mixed, bits = mixtures(name, sinr_db, count)
    started = time.process_time()
    found = separator(of).separate(mixed).bits
    seconds = (time.process_time() - started) / count
    wrong = (found != bits).double()
    rates = wrong.mean(1).numpy()
    low, high = interval(rates)
    one = {
        "recording": name, "sinr_db": sinr_db, "separator": of, "ber": float(rates.mean()), "ber_low": low,
        "ber_high": high, "mixtures": count, "seed": SEED, "bers": rates.tolist(), "seconds_per_mixture": seconds,
    }  # fmt: skip
    return one | ({"by_symbol": by_symbol(name, wrong)} if name.startswith("independent") else {})


def main() -> None:
    """Measures the cells that are asked for."""
    parser = argparse.ArgumentParser(description="count bit errors beneath LTE downlinks")
    parser.add_argument("cells", nargs="*", default=list(DEFAULT), help="recording@SINR@separator")
    parser.add_argument("--mixtures", type=int, help="mixtures of a cell")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    for cell in chosen.cells:
        names, levels, separators = (part.split(",") for part in cell.split("@"))
        for name in names:
            count = chosen.mixtures or MIXTURES[name.split("/")[0]]
            for level in levels:
                for of in separators:
                    one = row(name, float(level), of, count)
                    merge(chosen.out, [one], ("recording", "sinr_db", "separator"))
                    told = f"{name} {level} dB {of}: {one['ber']:.4g} ({one['ber_low']:.4g} .. {one['ber_high']:.4g})"
                    sys.stdout.write(f"{told}, {one['seconds_per_mixture']:.2g} s\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
