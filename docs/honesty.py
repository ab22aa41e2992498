"""Asks structured separators for honesty where their structure does not hold: python docs/honesty.py [SEPARATOR ...]

Every separator learns from examples of its own kind of interference and then hears that kind with random impairments
of interference and SOI, two transmitters at once, and other kinds altogether. LMMSE learns from the same examples. The
property: on average in each cell, a separator has at most 1.1 times the BER of LMMSE, beyond the paired 95 % interval
of the mixtures. Writes docs/results/honesty.json cell by cell, where a rerun replaces only its own rows, and draws
docs/honesty.png of all rows. Needs RFSEP_RECORDINGS.
"""

import argparse
import time
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rows import merge
from torch import Tensor

from rfsep.app.api import load_examples, load_interference, load_separator, load_soi
from rfsep.iq import power
from rfsep.pages.studies.honesty import write_honesty_figure
from rfsep.signals.channels.impairments import Impairments, impaired
from rfsep.signals.many_kinds.fsk import RandomFsk
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.single_carrier import BurstyQam
from rfsep.storage.atomic import read_json
from rfsep.types import SignalSource

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "results" / "honesty.json"
KEY = ("separator", "impairment", "sinr_db", "split")
NUM_SAMPLES, NUM_MIXTURES, LEVELS_DB, EDGE = 2560, 4, (-18.0, -6.0), 256
NUM_EXAMPLES, EXAMPLE_SAMPLES = 100, 4096
ALLOWED = 1.1  # times the BER of LMMSE
# Each separator and the kind of interference that it learns from.
KINDS = {
    "joint_detection": "ofdm_qpsk",
    "cyclic_lmmse": "ofdm_qpsk",
    "token_detection": "ofdm_qpsk",
    "joint_detection_wifi": "wifi20",
    "cyclic_lmmse_wifi": "wifi20",
    "lte_lmmse": "lte20",
    "lte_detection": "lte20",
    "lte_pilots": "lte20",
    "nr_detection": "nr_uplink",
    "single_carrier_detection": "steady_qpsk",
    "envelope": "steady_fsk",
    "varying_lmmse": "adsb",
    "ringing": "emi_bursts",
}
# Kinds that no option of conf/interference has.
SOURCES: dict[str, Callable[[], SignalSource]] = {
    "ofdm_128": lambda: RandomCrop(OfdmModem("qpsk", 128, 9, (10, 9)), power=108 / 128),
    "steady_qpsk": lambda: BurstyQam("qpsk", (6, 6), (0.25, 0.25), (0, 0), (1e9, 1e9), (0, 0), 32),
    "steady_fsk": lambda: RandomFsk(samples_per_symbol=(20, 20), index=(1, 1)),
}
OTHERS = ("white_noise", "ofdm_qpsk", "ofdm_128", "wifi20", "lte20", "fsk", "single_carrier", "emi_bursts")


class Air(NamedTuple):
    """What is done to interference and SOI: how many transmitters are heard at once, and the noise over the SOI."""

    interference: Impairments = Impairments()
    soi: Impairments = Impairments()
    users: int = 1
    noise_db: float | None = None


def _ray(draw: np.random.Generator) -> tuple[tuple[float, complex], ...]:
    gain = draw.uniform(0.1, 0.5) * np.exp(2j * np.pi * draw.random())
    return (0.0, 1.0 + 0j), (float(draw.uniform(1, 8)), complex(gain))


def _carrier(draw: np.random.Generator, low: float, high: float) -> float:
    return float(draw.choice([-1, 1]) * 10 ** draw.uniform(low, high))


def airs(draw: np.random.Generator) -> dict[str, Air]:
    """Returns random impairments of one mixture by name."""
    fraction = float(draw.uniform(0, 1))
    everything = Impairments(carrier=_carrier(draw, -5, -3), delay=fraction, rays=_ray(draw))
    noise_db = float(draw.uniform(-20, -8))
    return {
        "none": Air(),
        "fraction of a sample": Air(Impairments(delay=fraction)),
        "carrier": Air(Impairments(carrier=_carrier(draw, -5, -3))),
        "second ray": Air(Impairments(rays=_ray(draw))),
        "white noise": Air(noise_db=noise_db),
        "two transmitters": Air(users=2),
        "all of interference": Air(everything, noise_db=noise_db),
        "SOI late": Air(soi=Impairments(delay=float(draw.uniform(-0.5, 0.5)))),
        "SOI carrier": Air(soi=Impairments(carrier=_carrier(draw, -5, -4))),
        "SOI ray": Air(soi=Impairments(rays=_ray(draw))),
        "all of both": Air(everything, Impairments(carrier=_carrier(draw, -5, -4), rays=_ray(draw)), 2, noise_db),
    }


@lru_cache
def source(kind: str, split: str) -> SignalSource:
    """Returns a kind of interference."""
    return SOURCES[kind]() if kind in SOURCES else load_interference(kind, split)


@lru_cache
def examples(kind: str) -> Tensor:
    """Returns examples complex64 [F, T] of unit power, of the training split."""
    if kind not in SOURCES:
        return load_examples(kind, NUM_EXAMPLES, EXAMPLE_SAMPLES)
    frames = SOURCES[kind]().sample(NUM_EXAMPLES, EXAMPLE_SAMPLES, torch.Generator().manual_seed(0)).waveform
    return frames / frames.abs().square().mean().sqrt()


def mixture(kind: str, name: str, sinr_db: float, split: str, seed: int, soi: str = "qpsk") -> tuple[Tensor, Tensor]:
    """Returns a mixture complex64 [1, T] of an option of conf/soi and its bits uint8 [1, N]."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{kind} {name} {seed}".encode()))
    air = airs(np.random.default_rng(seed)).get(name, Air())
    sent = load_soi(soi).sample(1, NUM_SAMPLES, generator)
    heard = source(kind, split).sample(air.users, NUM_SAMPLES + 2 * EDGE, generator).waveform
    turns = torch.rand((air.users, 1), generator=generator) * 2 * torch.pi
    heard = (heard * torch.polar(torch.ones_like(turns), turns)).sum(0, keepdim=True) / air.users**0.5
    heard = impaired(heard, air.interference, generator)[:, EDGE : EDGE + NUM_SAMPLES]
    signal = impaired(sent.waveform, air.soi, generator)
    signal = signal * (power(sent.waveform) / power(signal)).sqrt()[:, None]
    mixed = signal + 10 ** (-sinr_db / 20) * heard
    if air.noise_db is not None:
        mixed = mixed + 10 ** (air.noise_db / 20) * torch.randn(mixed.shape, dtype=mixed.dtype, generator=generator)
    return mixed, sent.bits


@lru_cache
def mixtures(kind: str, name: str, sinr_db: float, split: str, count: int) -> tuple[Tensor, Tensor]:
    """Returns mixtures complex64 [B, T] and their bits uint8 [B, N]."""
    parts = [mixture(kind, name, sinr_db, split, seed) for seed in range(count)]
    return torch.cat([one for one, _ in parts]), torch.cat([bits for _, bits in parts])


@lru_cache
def separator(name: str, kind: str) -> Any:
    """Returns a separator that has learned from examples of a kind."""
    return load_separator(name, load_soi("qpsk"), examples(kind))


@lru_cache
def error_rates(name: str, kind: str, cell: tuple[str, str, float, str, int]) -> tuple[np.ndarray[Any, Any], float]:
    """Returns the BER of every mixture, float64 [B], and seconds of processor time per mixture."""
    mixed, bits = mixtures(*cell)
    made, started = separator(name, kind), time.process_time()
    found = made.separate(mixed).bits
    seconds = (time.process_time() - started) / len(mixed)
    return (found != bits).double().mean(1).numpy(), seconds


def paired(excess: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Returns the 95 % interval of a mean over mixtures, of Student's t."""
    count = len(excess)
    # Quantile .975 of t with count - 1 degrees of freedom (Abramowitz and Stegun, 26.7.5).
    z, free = 1.959964, count - 1
    quantile = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    half = quantile * float(excess.std(ddof=1)) / count**0.5
    return float(excess.mean()) - half, float(excess.mean()) + half


def row(name: str, impairment: str, sinr_db: float, split: str, count: int) -> dict[str, Any]:
    """Returns the row of a cell."""
    kind = KINDS[name]
    other = impairment.removeprefix("other: ")
    cell = (kind if other == impairment else other, impairment, sinr_db, split, count)
    (ber, seconds), (lmmse, _) = error_rates(name, kind, cell), error_rates("lmmse", kind, cell)
    matched, _ = error_rates("matched_filter", kind, cell)
    low, high = paired(ber - ALLOWED * lmmse)
    return {
        "separator": name, "examples": kind, "impairment": impairment, "sinr_db": sinr_db, "split": split,
        "mixtures": count, "ber": float(ber.mean()), "ber_lmmse": float(lmmse.mean()),
        "ber_matched_filter": float(matched.mean()), "excess": float((ber - ALLOWED * lmmse).mean()),
        "excess_low": low, "excess_high": high, "holds": bool(low <= 0), "bers": ber.tolist(),
        "seconds_per_mixture": seconds,
    }  # fmt: skip


def rows(names: list[str], impairments: list[str], split: str, count: int) -> Iterator[dict[str, Any]]:
    """Yields the rows of all cells."""
    for name in names:
        for impairment in impairments:
            if impairment.removeprefix("other: ") != KINDS[name]:
                for sinr_db in LEVELS_DB:
                    yield row(name, impairment, sinr_db, split, count)


def main() -> None:
    """Runs the cells of the command line, or draws the picture of those that there are."""
    every = [*airs(np.random.default_rng(0)), *(f"other: {kind}" for kind in OTHERS)]
    parser = argparse.ArgumentParser()
    parser.add_argument("separators", nargs="*", default=list(KINDS))
    parser.add_argument("--only", action="append", help="impairments by name; default: all")
    parser.add_argument("--mixtures", type=int, default=NUM_MIXTURES)
    parser.add_argument("--split", default="test", help="split of recorded interference")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help="only draw the picture of the rows that there are")
    told = parser.parse_args()
    if not told.draw:
        for one in rows(told.separators, told.only or every, told.split, told.mixtures):
            told_of = f"{one['ber']:.4f} lmmse {one['ber_lmmse']:.4f} mf {one['ber_matched_filter']:.4f}"
            mark = "" if one["holds"] else "  BROKEN"
            print(one["separator"], one["impairment"], one["sinr_db"], told_of, f"{one['seconds_per_mixture']:.2f} s",
                  mark, flush=True)  # fmt: skip
            merge(told.out, [one], KEY)
    picture = DOCS / "honesty.png" if told.out == RESULTS else told.out.with_suffix(".png")
    write_honesty_figure(picture, read_json(told.out), "BER over that of LMMSE where structure fails")


if __name__ == "__main__":
    main()
