"""Single carriers of plain NumPy, which rfsep's own generators did not make."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.iq import mix
from rfsep.separators.single_carrier.learning import learn
from rfsep.separators.single_carrier.separator import SingleCarrierDetection
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError

POINTS = {
    "bpsk": np.array([1.0, -1.0]),
    "qpsk": np.exp(0.25j * np.pi * np.array([1, 3, 5, 7])),
}
NOISE = 0.01  # power of the noise beside a carrier of unit power


def pulse(time: NDArray[np.float64], roll_off: float) -> NDArray[np.float64]:
    """Root raised cosine of a symbol of duration 1 (Proakis & Salehi, Digital Communications, section 9.2)."""
    time = time + 1e-9
    above = np.sin(np.pi * time * (1 - roll_off)) + 4 * roll_off * time * np.cos(np.pi * time * (1 + roll_off))
    found: NDArray[np.float64] = above / (np.pi * time * (1 - (4 * roll_off * time) ** 2))
    return found


def carriers(name: str, period: float, roll_off: float, offset: float, num_rows: int, num_samples: int) -> Tensor:
    """Frames complex64 [num_rows, num_samples] with random symbols, timing and phase, over noise."""
    rng = np.random.default_rng(1)
    frames = np.zeros((num_rows, num_samples), dtype=np.complex128)
    time = np.arange(num_samples)
    for frame in frames:
        begin = rng.uniform(-10, -9)
        for symbol in range(int(num_samples / period) + 20):
            centre = (begin + symbol) * period
            near = np.abs(time - centre) < 10 * period
            frame[near] += rng.choice(POINTS[name]) * pulse((time[near] - centre) / period, roll_off)
        frame *= np.exp(2j * np.pi * (offset * time + rng.uniform()))
    noise = rng.standard_normal(frames.shape) + 1j * rng.standard_normal(frames.shape)
    return torch.from_numpy((frames + math.sqrt(NOISE / 2) * noise).astype(np.complex64))


def test_rate_constellation_carrier_and_noise_are_learned() -> None:
    found = learn(carriers("qpsk", 7.3, 0.35, 0.02, 6, 8192))
    assert found.period == pytest.approx(7.3, rel=2e-4)
    assert len(found.points) == 4
    assert float(found.carriers.median()) == pytest.approx(0.02, abs=1e-4)
    assert found.noise == pytest.approx(NOISE, rel=0.5)


def test_a_soi_is_found_far_below_a_carrier_in_its_band() -> None:
    """At -18 dB the carrier's own noise lies 2 dB below the SOI; the SOI's symbols then stand 10 dB above it."""
    modem = LinearModem()
    separator = SingleCarrierDetection(modem, carriers("bpsk", 5.3, 0.35, 0.01, 6, 8192))
    soi = modem.sample(4, 2560, torch.Generator().manual_seed(2))
    level, phase = torch.full((4,), -18.0), torch.zeros(4)
    mixture = mix(soi.waveform, carriers("bpsk", 5.3, 0.35, 0.01, 4, 2560).flip(0), level, phase).mixture
    found = separator.separate(mixture)
    noise_power = NOISE * 10**1.8
    expected = 0.5 * math.erfc(math.sqrt(16 / noise_power / 2))
    assert expected < 1e-5
    assert float((found.bits != soi.bits).double().mean()) < 2e-3
    error = float((found.soi - soi.waveform).abs().square().mean())
    assert error < 0.02


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (RandomCrop(OfdmModem()).sample(6, 4096, torch.Generator().manual_seed(0)).waveform, "single_carrier"),
        (torch.randn((6, 4096), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)), "no symbol rate"),
        (torch.zeros((3, 1280), dtype=torch.complex64), "nothing but zeros"),
        (torch.zeros((0, 0), dtype=torch.complex64), "640 samples"),
    ],
)
def test_other_examples_are_refused(frames: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SingleCarrierDetection(LinearModem(), frames)
