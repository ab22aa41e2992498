"""Separates SOIs that arrive through carriers, clocks and channels: python docs/impairments.py [CELL ...]

Each CELL is SEPARATOR@INTERFERENCE@SINR, as joint_detection@ofdm_qpsk@-12; all by default. Writes
docs/results/impairments.json, cell by cell. Needs RFSEP_RECORDINGS for recorded interference, whose test split is
heard. Level and start are told, and 64 bits as a preamble. With --track none it is what was before; tracked bits count
at the best turn of the constellation for a whole capture.
"""

import argparse
import contextlib
import io
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import merge

from rfsep.app.api import load_interference, load_soi
from rfsep.app.captures.separate import Request, separate_capture
from rfsep.signals.channels.impairments import Impairments, impaired
from rfsep.storage.atomic import read_json

RESULTS = Path(__file__).resolve().parent / "results" / "impairments.json"
NUM_SAMPLES, NUM_CAPTURES, PREAMBLE, RATE_HZ = 40960, 8, 64, 25e6
NOISE_DB = -30.0  # white noise, relative to the SOI
# One recording of the test split; examples are those of the training split.
RECORDED = {"lte20-f1852p5": f"{os.environ.get('RFSEP_RECORDINGS')}/lte20/lte20-f1852p5.sigmf-meta"}
NEAR, FAR = ((0.0, 1.0), (2.0, 10**-0.3)), ((0.0, 1.0), (20.0, 10**-0.5))
CELLS = (
    "matched_filter@ofdm_qpsk@-6",
    "cyclic_lmmse@ofdm_qpsk@-12",
    "joint_detection@ofdm_qpsk@-6",
    "joint_detection@ofdm_qpsk@-12",
    "lte_pilots@lte20-f1852p5@-6",
    "lte_pilots@lte20-f1852p5@-12",
)


def impairments(draw: np.random.Generator) -> dict[str, Impairments]:
    """Returns the impairments of one capture by name; rays have random phases."""

    def rays(paths: tuple[tuple[float, float], ...]) -> tuple[tuple[float, complex], ...]:
        return tuple((delay, gain * np.exp(2j * np.pi * draw.random())) for delay, gain in paths)

    phase, fraction = float(draw.uniform(0, 2 * np.pi)), float(draw.random())
    return {
        "none": Impairments(),
        "phase": Impairments(phase_rad=phase),
        "carrier 1e-5": Impairments(carrier=1e-5),
        "carrier 1e-4": Impairments(carrier=1e-4),
        "carrier 1e-3": Impairments(carrier=1e-3),
        "clock 50 ppm": Impairments(clock_ppm=50.0),
        "clock 200 ppm": Impairments(clock_ppm=200.0),
        "fraction of a sample": Impairments(delay=fraction),
        "rays (2, -6 dB)": Impairments(rays=rays(NEAR)),
        "rays (20, -10 dB)": Impairments(rays=rays(FAR)),
        "phase noise 3e-3": Impairments(phase_noise=3e-3),
        "all": Impairments(
            carrier=1e-3, phase_rad=phase, clock_ppm=50.0, delay=fraction, rays=rays(NEAR), phase_noise=3e-3
        ),
    }


def capture(
    interference: str, sinr_db: float, one: Impairments, seed: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Returns a capture complex64 [T] and the bits sent, uint8 [N]."""
    generator = torch.Generator().manual_seed(seed)
    modem = load_soi("qpsk")
    sent = modem.sample(1, NUM_SAMPLES + 1024, generator)
    soi = impaired(sent.waveform, one, generator)[0, :NUM_SAMPLES]
    soi = soi / soi.abs().square().mean().sqrt()
    heard = (
        load_interference(RECORDED.get(interference, interference), "test")
        .sample(1, NUM_SAMPLES, generator)
        .waveform[0]
    )
    noise = torch.randn(NUM_SAMPLES, dtype=torch.complex64, generator=generator) * 10 ** (NOISE_DB / 20)
    mixture = soi + 10 ** (-sinr_db / 20) * heard + noise
    return mixture.numpy(), sent.bits[0, : modem.num_bits(NUM_SAMPLES)].numpy()


def separated(cell: str, mixture: np.ndarray[Any, Any], bits: np.ndarray[Any, Any], track: str) -> dict[str, Any]:
    """Returns the wrong bits, and what the receiver tells."""
    separator, interference, _ = cell.split("@")
    learns = None if separator == "matched_filter" else interference.split("-f")[0]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path, out = Path(folder, "capture.npy"), Path(folder, "out")
        np.save(path, mixture)
        preamble = None if track == "none" else "".join(map(str, bits[:PREAMBLE]))
        separate_capture(
            Request(
                path, out, separator, examples=learns, sample_rate=RATE_HZ, soi_start=0, soi_power_db=0.0, keep_dc=True,
                track=track, preamble=preamble,
            )
        )  # fmt: skip
        found = np.load(out / "bits.npy")
        told = read_json(out / "separate.json")
    count = min(len(found), len(bits)) // 2 * 2
    wrong = [int(np.count_nonzero(one != bits[:count])) for one in turns(found[:count])]
    errors = wrong[0] if track == "none" else min(wrong)
    return {"errors": errors, "bits": count, "receiver": told["receiver"], "doubts": told["doubts"]}


def turns(bits: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Returns the bits of QPSK at its four turns, as they are first."""
    first, second = bits.reshape(-1, 2).T
    pairs = ((first, second), (second, 1 - first), (1 - first, 1 - second), (1 - second, first))
    return [np.stack(pair, 1).ravel() for pair in pairs]


def interval(errors: int, bits: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share."""
    share, z = errors / bits, 1.96
    middle = (share + z * z / (2 * bits)) / (1 + z * z / bits)
    half = z / (1 + z * z / bits) * math.sqrt(share * (1 - share) / bits + z * z / (4 * bits * bits))
    return max(0.0, middle - half), middle + half


def rows(cell: str, names: list[str], captures: int, tracks: list[str]) -> Iterator[dict[str, Any]]:
    """Yields a row per impairment and kind of tracking."""
    _, interference, sinr = cell.split("@")
    for name in names:
        for track in tracks:
            found = []
            for seed in range(captures):
                one = impairments(np.random.default_rng(seed))[name]
                mixture, bits = capture(interference, float(sinr), one, seed)
                found.append(separated(cell, mixture, bits, track) | {"carrier": one.carrier})
            errors, count = sum(one["errors"] for one in found), sum(one["bits"] for one in found)
            carriers = [
                abs(one["receiver"]["carrier_hz"] / RATE_HZ - one["carrier"]) for one in found if track != "none"
            ]
            low, high = interval(errors, count)
            yield {
                "cell": cell, "impairment": name, "track": track, "captures": captures, "ber": errors / count,
                "ber_low": low, "ber_high": high, "bers": [one["errors"] / one["bits"] for one in found],
                "carrier_errors": carriers, "doubts": [one["doubts"] for one in found],
            }  # fmt: skip


def main() -> None:
    """Runs the cells of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", nargs="*", default=list(CELLS))
    parser.add_argument("--only", action="append", help="impairments by name; default: all")
    parser.add_argument("--captures", type=int, default=NUM_CAPTURES)
    parser.add_argument("--track", action="append", help="full, carrier or none; default: none and full")
    parser.add_argument("--out", type=Path, default=RESULTS)
    told = parser.parse_args()
    names = told.only or list(impairments(np.random.default_rng(0)))
    for cell in told.cells:
        for row in rows(cell, names, told.captures, told.track or ["none", "full"]):
            print(
                cell,
                row["impairment"],
                row["track"],
                f"{row['ber']:.3g}",
                [f"{x:.2g}" for x in row["bers"]],
                flush=True,
            )
            merge(told.out, [row], ("cell", "impairment", "track"))


if __name__ == "__main__":
    main()
