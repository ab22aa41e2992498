"""Structured separators where their structure does not hold: never much worse than LMMSE. All heard is plain NumPy.

docs/honesty.py measures the same property over a wide grid; here are a few random cells of it.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from plain_waveforms import noise, pulse
from torch import Tensor

from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.envelope.canceller import EnvelopeCanceller
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.single_carrier.separator import SingleCarrierDetection
from rfsep.separators.varying.innovations import Ringing
from rfsep.separators.varying.varying_lmmse import VaryingLmmse
from rfsep.separators.wifi.packets import PacketLmmse
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import Separator

MODEM = LinearModem()
NUM_SAMPLES, NUM_MIXTURES, SPARE = 2560, 4, 200
ALLOWED = 1.1
STUDENT = 3.182  # quantile .975 of Student's t with NUM_MIXTURES - 1 degrees of freedom
Waveform = np.ndarray[Any, np.dtype[np.complex128]]
Kind = Callable[[np.random.Generator, int], Waveform]


def white(rng: np.random.Generator, count: int) -> Waveform:
    return noise(count, int(rng.integers(1 << 30)))


def ofdm(rng: np.random.Generator, count: int) -> Waveform:
    """FFT 128, prefix 9, 108 carriers in QPSK."""
    blocks = count // 137 + 2
    grid = np.zeros((blocks, 128), complex)
    carriers = np.r_[-54:0, 1:55] % 128
    grid[:, carriers] = rng.choice([-1, 1], (blocks, 108)) + 1j * rng.choice([-1, 1], (blocks, 108))
    body = np.fft.ifft(grid, axis=1) * 128 / math.sqrt(2 * 108)
    sent = np.concatenate((body[:, -9:], body), 1).ravel()
    start = rng.integers(137)
    return sent[start : start + count]


def fsk(rng: np.random.Generator, count: int) -> Waveform:
    """Two tones, 20 samples per symbol, index 1."""
    steps = np.repeat(rng.choice([-1, 1], count // 20 + 2), 20)[rng.integers(20) :][:count]
    return np.exp(1j * (np.pi / 20 * steps.cumsum() + rng.uniform(0, 2 * np.pi)))


def carrier(rng: np.random.Generator, count: int) -> Waveform:
    """QPSK of 6 samples per symbol, root raised cosine of roll-off 0.25, with a little noise."""
    time, found = np.arange(count), np.zeros(count, complex)
    begin = rng.uniform(-10, -9)
    for symbol in range(count // 6 + 20):
        centre = (begin + symbol) * 6
        near = np.abs(time - centre) < 60
        value = (rng.choice([-1, 1]) + 1j * rng.choice([-1, 1])) / math.sqrt(2)
        found[near] += value * pulse((time[near] - centre) / 6 + 1e-9, 0.25)
    return np.asarray(found * np.exp(2j * np.pi * rng.random()) + 0.03 * white(rng, count))


def bursts(rng: np.random.Generator, count: int) -> Waveform:
    """Noise that is there for a tenth of the time, 10 to 40 samples at once."""
    gate = np.full(count, 0.03)
    for start in rng.integers(0, count, count // 250):
        gate[start : start + rng.integers(10, 41)] = math.sqrt(10)
    return gate * white(rng, count)


class Structured(NamedTuple):
    make: Callable[[Tensor], Separator]
    own: Kind
    others: tuple[Kind, ...]


STRUCTURED = {
    "envelope": Structured(lambda frames: EnvelopeCanceller(MODEM, frames), fsk, (white, ofdm)),
    "single_carrier_detection": Structured(lambda frames: SingleCarrierDetection(MODEM, frames), carrier, (white,)),
    "varying_lmmse": Structured(lambda frames: VaryingLmmse(MODEM, frames), bursts, (white, ofdm, fsk)),
    "ringing": Structured(lambda frames: Ringing(MODEM, frames), bursts, (white, ofdm, carrier)),
    "cyclic_lmmse_wifi": Structured(lambda frames: PacketLmmse(MODEM, frames), ofdm, (white, fsk, bursts)),
    "joint_detection_wifi": Structured(
        lambda frames: PacketLmmse(MODEM, frames, detect=True, cancel=True), ofdm, (white, fsk, bursts)
    ),
}
CELLS = [
    (name, kind, sinr_db)
    for name, one in STRUCTURED.items()
    for kind in (one.own, *one.others)
    for sinr_db in (-18.0, -6.0)
]


def frames(kind: Kind, count: int, length: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    rows = np.stack([kind(rng, length) for _ in range(count)])
    return torch.tensor(rows / math.sqrt((np.abs(rows) ** 2).mean())).to(torch.complex64)


@lru_cache
def structured(name: str) -> Separator:
    return STRUCTURED[name].make(frames(STRUCTURED[name].own, 40, 4096, 1))


@lru_cache
def linear(kind: Kind) -> Separator:
    return Lmmse(MODEM, frames(kind, 40, 4096, 1))


def impaired(rng: np.random.Generator, kind: Kind) -> Waveform:
    """Two transmitters of unit power in all, each at a fraction of a sample, with a carrier and a second ray."""
    count, found = NUM_SAMPLES + 2 * SPARE, np.zeros(NUM_SAMPLES, complex)
    for _ in range(2):
        frequency = np.fft.fftfreq(count)
        late = np.exp(-2j * np.pi * frequency * rng.random())
        ray = 1 + rng.uniform(0.1, 0.5) * np.exp(2j * np.pi * (rng.random() - frequency * rng.uniform(1, 8)))
        heard = np.fft.ifft(np.fft.fft(kind(rng, count)) * late * ray)[SPARE:-SPARE]
        heard *= np.exp(2j * np.pi * (rng.uniform(-1e-3, 1e-3) * np.arange(NUM_SAMPLES) + rng.random()))
        found += heard / math.sqrt(2)
    return found


@pytest.mark.parametrize(
    ("name", "kind", "sinr_db"), CELLS, ids=[f"{name}-{kind.__name__}{sinr_db:g}" for name, kind, sinr_db in CELLS]
)
def test_no_structured_separator_is_much_worse_than_lmmse(name: str, kind: Kind, sinr_db: float) -> None:
    """BER <= 1.1 x LMMSE and the paired 95 % interval: other kinds, and two impaired transmitters of the own kind."""
    one = STRUCTURED[name]
    rng = np.random.default_rng([int(-sinr_db), len(kind.__name__)])
    heard = [impaired(rng, kind) if kind is one.own else kind(rng, NUM_SAMPLES) for _ in range(NUM_MIXTURES)]
    interference = torch.tensor(np.stack(heard)).to(torch.complex64)
    soi = MODEM.sample(NUM_MIXTURES, NUM_SAMPLES, torch.Generator().manual_seed(2))
    mixture = soi.waveform + 10 ** (-sinr_db / 20) * interference

    def error_rates(separator: Separator) -> Tensor:
        return (separator.separate(mixture).bits != soi.bits).double().mean(1)

    excess = error_rates(structured(name)) - ALLOWED * error_rates(linear(one.own))
    assert float(excess.mean()) <= STUDENT * float(excess.std()) / math.sqrt(NUM_MIXTURES)


def test_a_ray_of_the_soi_that_cyclic_lmmse_does_not_know_costs_little_beside_lmmse() -> None:
    """The interference is as learned and nearly taken away, so that what is left of the SOI's second ray counts."""
    examples, rng = frames(ofdm, 40, 4096, 1), np.random.default_rng(3)
    soi = MODEM.sample(8, NUM_SAMPLES, torch.Generator().manual_seed(4))
    gains = torch.tensor(rng.uniform(0.3, 0.5, 8) * np.exp(2j * np.pi * rng.random(8)), dtype=torch.complex64)
    late = torch.nn.functional.pad(soi.waveform, (5, 0))[:, :NUM_SAMPLES]
    interference = torch.tensor(np.stack([ofdm(rng, NUM_SAMPLES) for _ in range(8)])).to(torch.complex64)
    mixture = soi.waveform + gains[:, None] * late + 2 * interference  # -6 dB
    wrong = [
        float((separator.separate(mixture).bits != soi.bits).double().mean())
        for separator in (CyclicLmmse(MODEM, examples), Lmmse(MODEM, examples))
    ]
    assert wrong[0] < 1.3 * wrong[1]
    assert wrong[1] < 0.1
