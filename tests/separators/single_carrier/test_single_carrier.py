"""Single carriers of plain NumPy, which rfsep's own generators did not make."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.bounds.single_carrier_genie import SingleCarrierGenie
from rfsep.mixtures.mix import Mixer
from rfsep.separators.single_carrier.learning import learn
from rfsep.separators.single_carrier.separator import SingleCarrierDetection
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch, Sampled, synthetic

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


def carriers(
    name: str, period: float, roll_off: float, offset: float, num_rows: int, num_samples: int, seed: int = 1
) -> Tensor:
    """Frames complex64 [num_rows, num_samples] with random symbols, timing and phase, over noise."""
    rng = np.random.default_rng(seed)
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
    assert found.name == "qpsk"
    assert (found.lowest + found.highest) / 2 == pytest.approx(0.02, abs=1e-4)
    assert found.noise == pytest.approx(NOISE, rel=0.1)
    assert found.colour == pytest.approx(1.0, abs=0.1)


class Source:
    """BPSK as a source of mixtures."""

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        seed = int(torch.randint(1 << 30, (1,), generator=generator))
        return synthetic(carriers("bpsk", 5.3, 0.35, 0.01, batch_size, num_samples, seed))


def error_rate(bits: Tensor, batch: MixtureBatch) -> float:
    return float((bits != batch.bits).double().mean())


def test_error_rate_is_that_of_the_carriers_own_noise() -> None:
    """The carrier costs nothing; its noise leaves QPSK with Q(sqrt(Es / N0)), Es = 16 (Proakis, section 4.3)."""
    modem, generator = LinearModem(), torch.Generator().manual_seed(2)
    mixer = Mixer(modem, Source())
    separator = SingleCarrierDetection(modem, Source().sample(6, 8192, generator).waveform)
    bound = SingleCarrierGenie(modem, Source(), 0.0)
    for level in (-27.0, -12.0, 0.0):
        batch = mixer.draw(torch.full((4,), level), 2560, generator)
        expected = 0.5 * math.erfc(math.sqrt(16 / (NOISE * 10 ** (-level / 10)) / 2))  # 0.037 at -27 dB
        spread = 4 * math.sqrt(expected / batch.bits.numel())
        assert error_rate(separator.separate(batch.mixture).bits, batch) == pytest.approx(expected, abs=spread + 2e-3)
        assert error_rate(bound.estimate(batch).bits, batch) == pytest.approx(expected, abs=spread + 2e-3)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    modem, generator = LinearModem(), torch.Generator().manual_seed(3)
    separator = SingleCarrierDetection(modem, Source().sample(6, 8192, generator).waveform)
    mixture = Mixer(modem, Source()).draw(torch.tensor([20.0, -12.0, -12.0]), 1290, generator).mixture
    found = separator.separate(mixture)
    for row in range(3):
        alone = separator.separate(mixture[row : row + 1])
        torch.testing.assert_close(alone.soi[0], found.soi[row], rtol=1e-4, atol=1e-5)
        assert torch.equal(alone.bits[0], found.bits[row])


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
