"""Tells what recordings of LTE hold: python docs/lte_contents.py [RECORDING ...]

Writes docs/results/lte_contents.json, one row a recording; without any told, of the validation one and a training one.
The cyclic prefix is looked for in 16 parts of the band, because it survives any carrier offset: the correlation at lag
1280 is compared with those at other lags. Primary signals are gathered over half frames, at every carrier offset up to
four carriers and every drift of the sampling clock up to 50 parts in a million; the secondary signal of the best one
says which cell it is and which duplex it has. Load is the share of resource blocks whose power in a slot is more than
3 dB above the quietest tenth's. Needs RFSEP_RECORDINGS.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rfsep.app.places import commit
from rfsep.bounds.resource_elements import track
from rfsep.signals.lte.synchronisation import primary_values, secondary_values, synchronisation_carriers
from rfsep.signals.recordings import SigmfRecordings
from rfsep.storage.atomic import read_json, write_json

Array = np.ndarray[Any, Any]

RESULTS = Path(__file__).resolve().parent / "results" / "lte_contents.json"
RECORDINGS = ("f2605", "f1815p3-a")
FFT, PREFIX, SYMBOL, SLOT, HALF_FRAME = 1280, 90, 1370, 9600, 96000
PARTS, OTHER_LAGS = 16, (1240, 1250, 1260, 1270, 1290, 1300, 1310, 1320)
OFFSETS, DRIFTS = np.arange(-4, 4.01, 0.25), range(-5, 6)  # carriers, and samples per half frame
SURE = 0.3  # share of the energy in its place that a primary signal explains where there is one
# Symbols from a primary signal to its secondary one, and samples by which a slot's first symbol is longer.
DUPLEX = {"FDD": (1, 0), "TDD": (3, 10)}


def recording(name: str) -> Array:
    """Returns a recording complex64 [T] of unit mean power."""
    path = Path(os.environ["RFSEP_RECORDINGS"]) / "lte20" / f"lte20-{name}.sigmf-meta"
    return SigmfRecordings(path, "time", "train", shares=(1.0, 0.0, 0.0)).recordings[0]


def prefix_correlation(samples: Array) -> list[dict[str, float]]:
    """Returns by parts of the band: the power, and correlation at lag 1280 and the largest one at other lags."""
    spectrum, frequency = np.fft.fft(samples), np.fft.fftfreq(len(samples))
    rows = []
    for part in range(PARTS):
        low, high = part / PARTS - 0.5, (part + 1) / PARTS - 0.5
        heard = np.fft.ifft(spectrum * ((frequency >= low) & (frequency < high)))
        energy = float(np.vdot(heard, heard).real)
        at, *others = (abs(np.vdot(heard[:-lag], heard[lag:])) / energy for lag in (FFT, *OTHER_LAGS))
        rows.append(
            {
                "middle_mhz": 19.2 * (low + high) / 2,
                "power_db": float(10 * np.log10(energy / len(samples) * PARTS)),
                "at_1280": float(at),
                "at_other_lags": float(max(others)),
            }
        )
    return rows


def body(values: Array, offset: float) -> Array:
    """Returns a synchronisation signal complex128 [FFT] at unit energy."""
    spectrum = np.zeros(FFT, complex)
    spectrum[synchronisation_carriers().numpy() % FFT] = values
    turned = np.fft.ifft(spectrum) * np.exp(2j * np.pi * offset * np.arange(FFT) / FFT)
    return turned / np.linalg.norm(turned)


def in_band(spectrum: Array, offset: float) -> Array:
    """Returns the synchronisation signals' band of a recording's spectrum, complex128 [T]."""
    frequency = np.fft.fftfreq(len(spectrum)) * FFT
    return np.fft.ifft(spectrum * (np.abs(frequency - offset) < 32))


def folded(values: Array, drift: int) -> Array:
    """Sums values over half frames, each later by ``drift`` samples than the one before."""
    rows = values[: len(values) // HALF_FRAME * HALF_FRAME].reshape(-1, HALF_FRAME)
    return np.sum([np.roll(row, -drift * number) for number, row in enumerate(rows)], 0)


def primary(samples: Array) -> dict[str, Any]:
    """Returns the likeliest primary signal: the share of the energy it explains, and where it is."""
    spectrum, best = np.fft.fft(samples), {"share": -1.0}
    for offset in OFFSETS:
        power = np.cumsum(np.r_[0, np.abs(in_band(spectrum, offset)) ** 2])
        energy = np.r_[power[FFT:] - power[:-FFT], np.full(FFT - 1, power[-1])]
        for identity, values in enumerate(primary_values().numpy()):
            sent = np.fft.fft(body(values, offset), len(samples)).conj()
            likeness = np.abs(np.fft.ifft(spectrum * sent)) ** 2
            for drift in DRIFTS:
                share = folded(likeness, drift) / folded(energy, drift)
                place = int(share.argmax())
                if share[place] > best["share"]:
                    best = {"share": float(share[place]), "identity": identity, "offset": float(offset),
                            "place": place, "drift": drift}  # fmt: skip
    return best


def secondary(samples: Array, found: dict[str, Any]) -> dict[str, Any]:
    """Returns the likeliest cell and duplex with a primary signal."""
    heard, best = in_band(np.fft.fft(samples), found["offset"]), {"share": -1.0}
    values = secondary_values().numpy()[found["identity"] :: 3]  # [168, 2, 62]
    time, carriers = np.arange(FFT), synchronisation_carriers().numpy()
    count = len(samples) // HALF_FRAME
    for duplex, (symbols, longer) in DUPLEX.items():
        total, energy = np.zeros((168, 2)), 0.0
        for number in range(1, count - 1):
            begin = found["place"] + number * (HALF_FRAME + found["drift"]) - symbols * SYMBOL - longer
            turned = heard[begin : begin + FFT] * np.exp(-2j * np.pi * found["offset"] * time / FFT)
            seen = np.fft.fft(turned, norm="ortho")[carriers % FFT]
            likeness = np.abs(values @ seen) ** 2 / 62
            total += likeness if number % 2 else likeness[:, ::-1]
            energy += float(np.vdot(seen, seen).real)
        group, _ = np.unravel_index(int(total.argmax()), total.shape)
        if total.max() / energy > best["share"]:
            best = {"share": float(total.max() / energy), "cell": int(3 * group + found["identity"]), "duplex": duplex}
    return best


def load(samples: Array, start: int) -> dict[str, Any]:
    """Returns the share of loaded resource blocks over a recording, and by tenths of the band."""
    power = []
    for begin in range(start, len(samples) - SLOT, SLOT):
        bodies = [samples[begin + 100 + SYMBOL * number :][:FFT] for number in (1, 2, 3, 5, 6)]
        spectra = np.abs(np.fft.fft(bodies, axis=1)) ** 2
        carriers = np.r_[FFT - 600 : FFT, 1:601]
        power.append(spectra[:, carriers].mean(0).reshape(100, 12).mean(1))
    blocks = np.array(power)  # [slots, 100]
    loaded = blocks > 2 * np.quantile(blocks, 0.1)
    return {
        "share": float(loaded.mean()),
        "by_tenths": loaded.reshape(len(loaded), 10, 10).mean((0, 2)).round(3).tolist(),
        "slot_power_db": (10 * np.log10(blocks.mean(1))).round(1).tolist()[:40],
    }


def row(name: str) -> dict[str, Any]:
    """Returns what a recording holds."""
    samples = recording(name)
    parts = prefix_correlation(samples)
    found = primary(samples)
    there = found["share"] > SURE
    grid = track(samples)
    drift = np.polyfit(np.arange(len(grid.start)), np.unwrap(grid.start * 2 * np.pi / SLOT), 1)[0] * SLOT / 2 / np.pi
    return {
        "recording": f"lte20-{name}",
        "prefix": parts,
        "primary": found,
        "secondary": secondary(samples, found) if there else None,
        "drift_ppm_by_prefix": float(drift / (8 * SLOT) * 1e6) if there else None,
        "load": load(samples, int(grid.start[0])) if there else None,
    }


def main() -> None:
    """Describes the recordings that are asked for."""
    parser = argparse.ArgumentParser(description="tell what recordings of LTE hold")
    parser.add_argument("recordings", nargs="*", default=list(RECORDINGS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    for name in chosen.recordings:
        one = row(name)
        content = read_json(chosen.out) if chosen.out.is_file() else {"schema": 1, "rows": []}
        kept = [old for old in content["rows"] if old["recording"] != one["recording"]]
        content |= {"command": "python docs/lte_contents.py", "commit": commit(), "rows": [*kept, one]}
        write_json(chosen.out, content)
        told = {key: one[key] for key in ("primary", "secondary", "drift_ppm_by_prefix")}
        sys.stdout.write(f"{name}: {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
