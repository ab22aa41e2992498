"""The evidence of detection, and the simpler models that it has to beat."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.inference.expectation_propagation import Detector, Schedule
from rfsep.separators.inference.grid import SoiGrid
from rfsep.separators.inference.model_evidence import judged, misfits, of_decisions
from rfsep.separators.joint_detection import JointDetection
from rfsep.separators.lmmse import Lmmse
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import Sampled

QPSK, OFDM = LinearModem(), OfdmModem()
SURE = Schedule(damping=0.6, iterations=25, warmth=1.0, cooling=1)


def test_evidence_of_what_is_decided_surely() -> None:
    """Only the symbols that were sent count: log p(y | symbols) and two bits for each of them."""
    noise, length = 1e-2, 800
    generator = torch.Generator().manual_seed(2)
    soi, interference = QPSK.sample(2, length, generator), OFDM.sample(2, length, generator)
    white = torch.randn((2, length), dtype=torch.complex64, generator=generator) * noise**0.5
    mixture = soi.waveform + 4 * interference.waveform / OFDM.power**0.5 + white
    grid = SoiGrid(QPSK, length, OFDM.symbol_period, begins=True, ends=True)
    zero = torch.zeros(2, dtype=torch.int64)
    detector = Detector(grid, OFDM, OFDM.power, torch.complex128)
    window = detector.prepare(grid.cut(mixture, zero, zero), grid.exists(zero))
    gain, power = torch.full((2,), 4.0, dtype=torch.complex128), torch.full((2,), noise, dtype=torch.float64)
    state = detector.detect(window, gain, torch.zeros((2, 2), dtype=torch.float64), power, SURE)
    for _ in range(12):  # until the sites have settled too, not only the symbols
        state = detector.step(window, state, power, 0.9)
    found = judged(detector, window, state, power, True)
    left = detector.residuals(window, state.soi.mean, state.carriers.mean, state.gain) * window.inside.sum(2)
    symbols = length // 16 + length // 80 * 56
    expected = -left.sum(1) / noise - length * math.log(noise) - symbols * math.log(4)
    assert torch.allclose(found.log_evidence, expected, atol=1.0)
    assert torch.allclose(judged(detector, window, state, 30 * power, False).noise_power, power, rtol=0.35)


def test_right_decisions_count_though_a_few_sites_have_not_settled() -> None:
    """Without noise the evidence of propagation is then far below that of any linear model."""
    length, power = 800, torch.full((1,), 1e-5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    soi, interference = QPSK.sample(1, length, generator), OFDM.sample(1, length, generator)
    grid = SoiGrid(QPSK, length, OFDM.symbol_period, begins=True, ends=True)
    zero = torch.zeros(1, dtype=torch.int64)
    detector = Detector(grid, OFDM, OFDM.power, torch.complex128)
    mixture = soi.waveform + 4 * interference.waveform / OFDM.power**0.5
    window = detector.prepare(grid.cut(mixture, zero, zero), grid.exists(zero))
    gain = torch.full((1,), 4.0, dtype=torch.complex128)
    state = detector.detect(window, gain, torch.zeros((1, 2), dtype=torch.float64), power, SURE)
    shift = state.soi_sites.shift.clone()
    shift[:, 20:23] *= -1
    unsettled = state._replace(soi_sites=state.soi_sites._replace(shift=shift))
    misfit = misfits(detector, window, unsettled, power)
    found = float(of_decisions(detector, window, unsettled, misfit, power, False))
    symbols = length // 16 + length // 80 * 56
    # The gain is found too, and leaves a little more than the least noise.
    most = -length * math.log(1e-5) - symbols * math.log(4)
    assert most - 2 * length < found <= most
    assert float(judged(detector, window, unsettled, power, False).log_evidence) < most - 2 * length


def single_carrier(count: int, length: int) -> Tensor:
    """QPSK of 4 samples a symbol and unit power, by plain numpy: complex64 [count, length]."""
    draw = np.random.default_rng(3)
    train = np.zeros((count, length + 64), complex)
    train[:, ::4] = np.exp(0.5j * np.pi * draw.integers(0, 4, train[:, ::4].shape))
    waves = np.array([np.convolve(one, np.hanning(9))[32 : 32 + length] for one in train])
    return torch.tensor(waves / np.sqrt(np.mean(np.abs(waves) ** 2))).to(torch.complex64)


def rays(count: int, length: int) -> Tensor:
    """OFDM whose second ray, 20 samples late, no example shows."""
    sent = RandomCrop(OFDM, power=OFDM.power).sample(count, length + 20, torch.Generator().manual_seed(4)).waveform
    return (sent[:, 20:] + 0.7j * sent[:, :-20]) / 1.49**0.5


def ber(bits: Tensor, soi: Sampled) -> float:
    return float((bits != soi.bits).double().mean())


@pytest.mark.parametrize("heard", [single_carrier(4, 1280), rays(4, 1280)], ids=["single-carrier", "ray-untold"])
def test_a_model_that_does_not_hold_costs_nothing(heard: Tensor) -> None:
    """The examples are of plain OFDM; without an eye on the evidence there were up to twice as many errors."""
    examples = RandomCrop(OFDM, power=OFDM.power).sample(24, 4096, torch.Generator().manual_seed(5)).waveform
    soi = QPSK.sample(4, 1280, torch.Generator().manual_seed(6))
    mixture = soi.waveform + 4 * heard
    stationary = ber(Lmmse(QPSK, examples).separate(mixture).bits, soi)
    assert ber(CyclicLmmse(QPSK, examples).separate(mixture).bits, soi) <= 1.1 * stationary
    detection = JointDetection(QPSK, examples)
    assert ber(detection.separate(mixture).bits, soi) <= 1.1 * stationary
    ratios = detection.soft_bits(mixture)
    wrong = (ratios > 0).byte() != soi.bits
    assert float(torch.sigmoid(-ratios.abs()).mean()) == pytest.approx(float(wrong.double().mean()), abs=0.05)
