"""Asks whether soft bits are as sure as they are right: python docs/reliability.py [SEPARATOR ...]

Over the grid of docs/honesty.py, counts how many of the bits that are told with a probability are right, for soft bits
as the separator has them and for calibrated ones. Writes docs/results/reliability.json cell by cell, where a rerun
replaces only its own rows, and draws docs/reliability.png of all rows. Needs RFSEP_RECORDINGS.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from honesty import DOCS, KEY, LEVELS_DB, OTHERS, airs, examples, mixture
from rows import merge
from torch import Tensor

from rfsep.app.api import load_separator, load_soi
from rfsep.pages.studies.reliability import write_reliability_figure
from rfsep.storage.atomic import read_json

RESULTS = DOCS / "results" / "reliability.json"
NUM_MIXTURES, NUM_BINS = 4, 10
# Each separator with its SOI, the kind of interference that it learned from, and its longest window.
SOFT = {
    "token_detection": ("qpsk", "ofdm_qpsk", 2560),
    "zoo:ofdm_qpsk": ("qpsk_span4", "ofdm_qpsk", 2560),
    "zoo:rft_ofdm_qpsk": ("qpsk_span4", "ofdm_qpsk", 2560),
    "zoo:rft_several": ("qpsk", "several", 2560),
}


def soft_bits_of(made: Any) -> Callable[..., Tensor]:
    """Returns the method that gives a separator's soft bits."""
    found: Callable[..., Tensor] = getattr(made, "soft_bits", None) or made.log_likelihood_ratios
    return found


def counted(ratio: Tensor, bits: Tensor) -> list[list[float]]:
    """Returns of each bin of told probability, from 1/2 to 1: mean of what is told, share that is right, bits."""
    told, right = ratio.abs().double().sigmoid(), (ratio > 0) == bits.bool()
    place = ((told - 0.5) * 2 * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    found = []
    for index in range(NUM_BINS):
        chosen = place == index
        count = int(chosen.sum())
        shares = (float(told[chosen].mean()), float(right[chosen].double().mean())) if count else (0.0, 0.0)
        found.append([*shares, count])
    return found


def rows(name: str, impairment: str, sinr_db: float, split: str, count: int, made: Any) -> list[dict[str, Any]]:
    """Returns the rows of a cell: soft bits as they are, and calibrated."""
    soi, kind, most = SOFT[name]
    other = impairment.removeprefix("other: ")
    heard = kind if other == impairment else other
    parts = [mixture(heard, impairment, sinr_db, split, seed, soi) for seed in range(count)]
    mixed, bits = torch.cat([one for one, _ in parts])[:, :most], torch.cat([bits for _, bits in parts])
    found = []
    for calibrated in (False, True):
        ratio = soft_bits_of(made)(mixed, calibrated=calibrated)
        found.append(
            {
                "separator": name, "examples": kind, "impairment": impairment, "sinr_db": sinr_db, "split": split,
                "mixtures": count, "calibrated": calibrated, "bins": counted(ratio, bits[:, : ratio.shape[1]]),
            }
        )  # fmt: skip
    return found


def main() -> None:
    """Runs the cells of the command line, or draws the picture of those that there are."""
    every = [*airs(np.random.default_rng(0)), *(f"other: {kind}" for kind in OTHERS)]
    parser = argparse.ArgumentParser()
    parser.add_argument("separators", nargs="*", default=list(SOFT))
    parser.add_argument("--only", action="append", help="impairments by name; default: all")
    parser.add_argument("--mixtures", type=int, default=NUM_MIXTURES)
    parser.add_argument("--split", default="test", help="split of recorded interference")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help="only draw the picture of the rows that there are")
    told = parser.parse_args()
    for name in [] if told.draw else told.separators:
        soi, kind, _ = SOFT[name]
        made = load_separator(name, load_soi(soi), examples(kind))
        for impairment in told.only or every:
            if impairment.removeprefix("other: ") != kind:
                for sinr_db in LEVELS_DB:
                    new = rows(name, impairment, sinr_db, told.split, told.mixtures, made)
                    print(name, impairment, sinr_db, *(one["bins"][-1] for one in new), flush=True)
                    merge(told.out, new, (*KEY, "calibrated"))
    picture = DOCS / "reliability.png" if told.out == RESULTS else told.out.with_suffix(".png")
    write_reliability_figure(picture, read_json(told.out), "Soft bits: told and right")


if __name__ == "__main__":
    main()
