"""Measures whether `rfsep identify` is right as often as its confidence says.

RFSEP_RECORDINGS=FOLDER python tests/bench_identify.py: three minutes; docs/results/identify.json. Every recording is
identified from 48 frames and from six; the synthetic recordings (tests/heard.py) have seeds that nothing
was tuned on. ``unknown`` is no answer and never wrong.
"""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from heard import heard

from rfsep.app.examples import read_examples
from rfsep.identification.identify import identify
from rfsep.storage.captures.facts import Hints

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "identify.json"
SNR_DB = (20.0, 10.0, 5.0)
SYNTHETIC = {"ofdm": 8, "single_carrier": 8, "constant_envelope": 10, "chirp": 5, "pulses": 5, "noise": 4}
FIRST_SEED = 100
FOLDERS = {
    "fsk": "constant_envelope",
    "fpv": "constant_envelope",
    "adsb": "pulses",
    "satbpsk": "single_carrier",
    "lte20": "ofdm",
    "wifi20": "ofdm",
    "independent": "ofdm",
}
OPTIONS = {
    "ofdm_qpsk": "ofdm",
    "ofdm_16qam": "ofdm",
    "ofdm_bpsk": "ofdm",
    "single_carrier": "single_carrier",
    "emi_bursts": "pulses",
    "white_noise": "noise",
    "coloured_noise": "noise",
}
NUM_FRAMES, FEW_FRAMES, NUM_SAMPLES = 48, 6, 8192
EDGES = (0.5, 0.8, 0.9, 0.95, 0.99, 1.0)


def row(name: str, truth: str, frames: torch.Tensor) -> dict[str, Any]:
    """Returns what is found in frames complex64 [F, T]."""
    kind = identify(frames).kind
    return {"name": name, "truth": truth, "kind": kind.value, "confidence": round(kind.confidence, 4)}


def synthetic(kind: str, number: int, snr_db: float) -> dict[str, Any]:
    """Returns what is found in one synthetic recording; ``number`` counts those of its kind."""
    frames = torch.from_numpy(heard(kind, FIRST_SEED + number, snr_db))
    return row(f"{kind} {number} at {snr_db:g} dB", kind, frames)


def recorded(folder: Path) -> Iterator[dict[str, Any]]:
    """Identifies every file below a folder of recordings."""
    for name, truth in FOLDERS.items():
        for path in sorted((folder / name).glob("*.sigmf-meta")):
            frames = read_examples(str(path), NUM_FRAMES, NUM_SAMPLES, "train", Hints(None, None, None)).frames
            for number in {len(frames), min(FEW_FRAMES, len(frames))}:
                yield row(f"{path.stem}, {number} frames", truth, frames[:number])


def sources() -> Iterator[dict[str, Any]]:
    """Identifies the package's own sources of interference."""
    for name, truth in OPTIONS.items():
        frames = read_examples(name, NUM_FRAMES, NUM_SAMPLES, "train", Hints(None, None, None)).frames
        for number in (NUM_FRAMES, FEW_FRAMES):
            yield row(f"{name}, {number} frames", truth, frames[:number])


def reliability(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns number, mean confidence and share of right answers in each range of confidences; without ``unknown``."""
    answers = [row for row in rows if row["kind"] != "unknown"]
    table = []
    for low, high in itertools.pairwise(EDGES):
        inside = [row for row in answers if low <= row["confidence"] < high or row["confidence"] == high == 1.0]
        if inside:
            right = sum(row["kind"] == row["truth"] for row in inside) / len(inside)
            mean = sum(row["confidence"] for row in inside) / len(inside)
            table.append({"from": low, "to": high, "number": len(inside), "confidence": mean, "right": right})
    return table


if __name__ == "__main__":
    if "RFSEP_RECORDINGS" not in os.environ:
        raise SystemExit("error: RFSEP_RECORDINGS is not set: no real recordings here")
    torch.set_num_threads(1)
    groups = {
        "recordings": list(recorded(Path(os.environ["RFSEP_RECORDINGS"]))),
        "sources": list(sources()),
        "synthetic": [synthetic(kind, k, snr) for kind, n in SYNTHETIC.items() for k in range(n) for snr in SNR_DB],
    }
    everything = [row for rows in groups.values() for row in rows]
    unknown = {name: sum(row["kind"] == "unknown" for row in rows) for name, rows in groups.items()}
    content = {"schema": 1, "unknown": unknown, "reliability": reliability(everything), "rows": groups}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    for line in content["reliability"]:
        print(line)
    print(unknown, [row for row in everything if row["kind"] not in ("unknown", row["truth"])])
