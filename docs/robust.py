"""Separates QPSK from OFDM behind fractions of a sample, carriers, rays and noise: python docs/robust.py [CELL ...]

Writes docs/results/robust.json, row by row; a row that was measured before is replaced. SOI and interference are made
here by plain numpy, which shares nothing with rfsep: OFDM of FFT 64, prefix 16 and 56 carriers, and root raised cosine
pulses of 16 samples a symbol. Every mixture and every example frame is cut anew from an own transmission, at its own
place within a symbol, at a random phase, and late by plus or minus the cell's fraction of a sample. Carrier, rays and
the level of noise are a cell's, alike in mixtures and examples, as a recording of the same link shows them. Noise in
examples is 20 dB below the interference; in mixtures it is 20 dB below the SOI. The SOI begins with its window. The
genie is joint detection told channel, fraction and carrier.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rows import merge

from rfsep.app.api import load_separator, load_soi
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import Separator

RESULTS = Path(__file__).resolve().parent / "results" / "robust.json"
Array = np.ndarray[Any, Any]

NUM_SAMPLES, STEP = 2560, 16  # samples per mixture and per symbol of the SOI
FFT, PREFIX = 64, 16
CARRIERS = np.r_[-28:0, 1:29]
FRAMES, FRAME = 64, 8192  # examples, and samples in each
NOISE_DB, SINRS_DB = -20.0, (-24, -12, -6)
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 0.999, 1.0)  # edges of told probabilities
SOFT = 16  # mixtures of a row whose soft bits are compared with what was sent
SEED = 2020


class Cell(NamedTuple):
    """What the interference passes: samples late, carrier in cycles per sample, second ray, whether there is noise.

    Where examples do not show it (``told`` is false), they are of the ideal cell. With ``other`` the interference is
    another signal altogether, a single carrier of QPSK with 4 samples a symbol.
    """

    late: float = 0.0
    carrier: float = 0.0
    ray: float = 0.0
    noise: bool = False
    told: bool = True
    other: bool = False


CELLS = {
    "ideal": Cell(),
    "noise": Cell(noise=True),
    "late .05": Cell(late=0.05),
    "late .37": Cell(late=0.37),
    "late .37, noise": Cell(late=0.37, noise=True),
    "carrier 1e-5": Cell(carrier=1e-5),
    "carrier 1e-4": Cell(carrier=1e-4),
    "carrier 1e-3": Cell(carrier=1e-3),
    "ray .1": Cell(ray=0.1),
    "ray .5": Cell(ray=0.5),
    "all": Cell(late=0.37, carrier=1e-3, ray=0.5, noise=True),
    "carrier 1e-3, untold": Cell(carrier=1e-3, told=False),
    "ray .5, untold": Cell(ray=0.5, told=False),
    "another signal": Cell(told=False, other=True),
}
SEPARATORS = ("matched_filter", "lmmse", "cyclic_lmmse", "joint_detection", "token_detection")
RAY_SAMPLES, RAY_PHASE = 3, 2.0  # delay of the second ray, and its phase in rad


def soi(draw: np.random.Generator) -> tuple[Array, Array]:
    """Returns a waveform complex128 [T] of unit power and its bits uint8 [N]."""
    bits = draw.integers(0, 2, (NUM_SAMPLES // STEP, 2), dtype=np.uint8)
    symbols = ((1 - 2.0 * bits[:, 0]) + 1j * (1 - 2.0 * bits[:, 1])) / math.sqrt(2)
    train = np.zeros(NUM_SAMPLES, complex)
    train[STEP // 2 :: STEP] = symbols
    return np.convolve(train, pulse())[64 : 64 + NUM_SAMPLES], bits.ravel()


def pulse() -> Array:
    """Returns a root raised cosine of roll-off 1/2, 129 taps, of unit power at one symbol per 16 samples."""
    beta, t = 0.5, np.arange(-64, 65) / STEP + 1e-9
    top = np.sin(np.pi * t * (1 - beta)) + 4 * beta * t * np.cos(np.pi * t * (1 + beta))
    taps: Array = top / (np.pi * t * (1 - (4 * beta * t) ** 2))
    return taps / np.sqrt(np.sum(taps**2)) * math.sqrt(STEP)


def ofdm(draw: np.random.Generator, samples: int, cell: Cell) -> Array:
    """Returns interference complex128 [samples] of unit power behind a cell's channel."""
    count, reach = samples // (FFT + PREFIX) + 6, 2 * (FFT + PREFIX)
    grid = np.zeros((count, FFT), complex)
    grid[:, CARRIERS] = np.exp(1j * (np.pi / 4 + np.pi / 2 * draw.integers(0, 4, (count, len(CARRIERS)))))
    body = np.fft.ifft(grid) * FFT / math.sqrt(len(CARRIERS))
    wave = np.concatenate((body[:, -PREFIX:], body), 1).ravel()
    late = cell.late * draw.choice((-1, 1))
    frequency = np.fft.fftfreq(len(wave))
    ray = cell.ray * np.exp(1j * RAY_PHASE)
    response = (1 + ray * np.exp(-2j * np.pi * frequency * RAY_SAMPLES)) * np.exp(-2j * np.pi * frequency * late)
    wave = np.fft.ifft(np.fft.fft(wave) * response) / math.sqrt(1 + cell.ray**2)
    start = reach + draw.integers(FFT + PREFIX)
    turn = np.exp(2j * np.pi * (cell.carrier * np.arange(samples) + draw.random()))
    return wave[start : start + samples] * turn


def single_carrier(draw: np.random.Generator) -> Array:
    """Returns QPSK complex128 [T] of unit power, 4 samples a symbol on Hann pulses of two symbols."""
    count = NUM_SAMPLES // 4 + 16
    train = np.zeros(4 * count, complex)
    train[::4] = np.exp(1j * (np.pi / 4 + np.pi / 2 * draw.integers(0, 4, count)))
    start = 16 + draw.integers(4)
    wave = np.convolve(train, np.hanning(9))[start : start + NUM_SAMPLES] * np.exp(2j * np.pi * draw.random())
    scaled: Array = wave / np.sqrt(np.mean(np.abs(wave) ** 2))
    return scaled


def white(draw: np.random.Generator, samples: int, power_db: float) -> Array:
    """Returns white noise complex128 [samples]."""
    parts = draw.standard_normal((2, samples)) * math.sqrt(10 ** (power_db / 10) / 2)
    noise: Array = parts[0] + 1j * parts[1]
    return noise


def examples(cell: Cell) -> torch.Tensor:
    """Returns frames of the interference, complex64 [F, T]."""
    cell = cell if cell.told else Cell()
    draw = np.random.default_rng((SEED, 1))
    frames = [ofdm(draw, FRAME, cell) + cell.noise * white(draw, FRAME, NOISE_DB) for _ in range(FRAMES)]
    return torch.from_numpy(np.array(frames, np.complex64))


def mixtures(cell: Cell, sinr_db: float, number: int) -> tuple[torch.Tensor, Array]:
    """Returns mixtures complex64 [B, T] and the bits sent, uint8 [B, N]."""
    waves, bits = [], []
    for index in range(number):
        draw = np.random.default_rng((SEED, 2, index, round(-sinr_db)))
        own, sent = soi(draw)
        source = single_carrier(draw) if cell.other else ofdm(draw, NUM_SAMPLES, cell)
        heard = 10 ** (-sinr_db / 20) * source
        waves.append(own + heard + cell.noise * white(draw, NUM_SAMPLES, NOISE_DB))
        bits.append(sent)
    return torch.from_numpy(np.array(waves, np.complex64)), np.array(bits)


class Genie:
    """Joint detection told carrier, rays and fraction, whose better sign counts.

    Noise is left to it: told that of the mixture, it would be surer than the filter that undoes the channel lets it be.
    """

    def __init__(self, cell: Cell) -> None:
        taps = np.array([1, 0, 0, cell.ray * np.exp(1j * RAY_PHASE)]) / math.sqrt(1 + cell.ray**2)
        channel = [complex(tap) for tap in taps] if cell.ray else [1.0]
        self.parts = [
            JointDetection(
                load_soi("qpsk"),
                torch.zeros((0, 0), dtype=torch.complex64),
                OfdmModem().received(cell.carrier, channel, 0, late),
            )
            for late in ({cell.late, -cell.late})
        ]

    def errors(self, mixture: torch.Tensor, bits: Array) -> Array:
        """Returns wrong bits int64 [B] at the better sign of the fraction."""
        found = [wrong(part.separate(mixture).bits.numpy(), bits) for part in self.parts]
        return np.min(found, 0)


def wrong(found: Array, bits: Array) -> Array:
    """Counts wrong bits of each mixture, int64 [B]."""
    count: Array = np.count_nonzero(found != bits, axis=1)
    return count


def made(name: str, cell: Cell) -> Callable[[torch.Tensor, Array], dict[str, Any]]:
    """Returns what measures a separator on mixtures complex64 [B, T] of bits uint8 [B, N]."""
    if name == "genie":
        genie = Genie(cell)
        return lambda mixture, bits: timed(lambda: genie.errors(mixture, bits))
    separator: Separator = load_separator(name, load_soi("qpsk"), examples(cell))

    def measured(mixture: torch.Tensor, bits: Array) -> dict[str, Any]:
        found = timed(lambda: wrong(separator.separate(mixture).bits.numpy(), bits))
        if isinstance(separator, JointDetection):
            found["reliability"] = reliability(separator.soft_bits(mixture[:SOFT]).numpy(), bits[:SOFT])
        return found

    return measured


def timed(count: Callable[[], Array]) -> dict[str, Any]:
    """Returns the errors int64 [B] that are counted, and the processor's seconds per mixture."""
    began = time.process_time()
    errors = count()
    return {"errors": errors, "cpu_seconds_per_mixture": (time.process_time() - began) / len(errors)}


def reliability(llr: Array, bits: Array) -> list[dict[str, float]]:
    """Returns, for each bin of told probabilities of the likelier value, how many bits it has and how many are right.

    ``llr`` [B, N] is positive for bit 1.
    """
    told = 1 / (1 + np.exp(-np.abs(llr.astype(float)).clip(0, 700)))
    right = (llr > 0) == (bits == 1)
    place = np.digitize(told, BINS[1:-1])
    found = []
    for index in range(len(BINS) - 1):
        here = place == index
        if here.any():
            found.append(
                {"bits": int(here.sum()), "told": float(told[here].mean()), "right": float(right[here].mean())}
            )
    return found


def interval(errors: Array, draw: np.random.Generator) -> tuple[float, float]:
    """Returns the bootstrap's 95 % interval over mixtures of a bit error rate; up to 3 / bits where there is none."""
    bits = 2 * NUM_SAMPLES // STEP
    if not errors.any():
        return 0.0, 3 / (bits * len(errors))
    means = errors[draw.integers(0, len(errors), (2000, len(errors)))].mean(1) / bits
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    """Measures the cells of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", nargs="*", default=list(CELLS))
    parser.add_argument("--separators", nargs="+", default=[*SEPARATORS, "genie"])
    parser.add_argument("--sinr", nargs="+", type=int, default=list(SINRS_DB))
    parser.add_argument("--mixtures", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    told = parser.parse_args()
    for cell in told.cells:
        for name in told.separators:
            if name == "genie" and cell != "all":
                continue
            measured = made(name, CELLS[cell])
            for sinr_db in told.sinr:
                mixture, bits = mixtures(CELLS[cell], sinr_db, told.mixtures)
                found = measured(mixture, bits)
                errors = found.pop("errors")
                low, high = interval(errors, np.random.default_rng(0))
                row = {
                    "cell": cell, "separator": name, "sinr_db": sinr_db, "mixtures": told.mixtures, "seed": SEED,
                    "ber": float(errors.mean() / bits.shape[1]), "ber_low": low, "ber_high": high,
                    "bers": [float(one) / bits.shape[1] for one in errors], **found,
                }  # fmt: skip
                print(
                    f"{cell:20} {name:16} {sinr_db:4} {row['ber']:.2e}  {row['cpu_seconds_per_mixture']:.3f} s",
                    flush=True,
                )
                merge(told.out, [row], ("cell", "separator", "sinr_db"))


if __name__ == "__main__":
    main()
