"""A loaded LTE downlink: data are read beside the SOI and detected with it beneath; Gaussian ones are left alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.elements import mixed
from rfsep.separators.inference.expectation_propagation import Marginals
from rfsep.separators.lte.data_channel import find_data, leakage
from rfsep.separators.lte.pilots import PilotCancelling
from rfsep.separators.lte.resource_blocks import ResourceBlockLmmse, Timing
from rfsep.signals.linear_modem import LinearModem

MODEM = LinearModem()
NUM_SAMPLES, GAIN = 2560, 10 ** (12 / 20)
PATHS = {0: 1.0, 3: 0.4j, 9: -0.2}  # gain by delay in samples
NONE = torch.zeros((0, 0), dtype=torch.complex64)
NUMBER = np.r_[-600:0, 1:601]


def elements(kind: str, draw: np.random.Generator) -> np.ndarray:
    """Returns 1200 elements of unit power; "mixed" has QPSK and 16-QAM in resource blocks at random."""
    qpsk = (draw.choice([-1, 1], 1200) + 1j * draw.choice([-1, 1], 1200)) / 2**0.5
    levels = np.array([-3, -1, 1, 3])
    qam16 = (draw.choice(levels, 1200) + 1j * draw.choice(levels, 1200)) / 10**0.5
    gaussian = (draw.normal(size=1200) + 1j * draw.normal(size=1200)) / 2**0.5
    both = np.where(np.repeat(draw.random(100) < 0.7, 12), qpsk, qam16)
    return {"qpsk": qpsk, "mixed": both, "gaussian": gaussian}[kind]


def loaded(kind: str, start: int, draw: np.random.Generator) -> Tensor:
    """Returns a window of unit power from a slot's symbols 1 to 6, which begins ``start`` samples into symbol 1."""
    parts = []
    for _ in range(4):
        spectrum = np.zeros(1280, complex)
        spectrum[NUMBER % 1280] = elements(kind, draw)
        body = np.fft.ifft(spectrum) * 1280 / 1200**0.5
        parts.append(np.r_[body[-90:], body])
    sent = np.concatenate(parts)
    received = sum(gain * np.roll(sent, delay) for delay, gain in PATHS.items())
    window = received[start : start + NUM_SAMPLES] / sum(abs(gain) ** 2 for gain in PATHS.values()) ** 0.5
    noise = 0.01 * (draw.normal(size=NUM_SAMPLES) + 1j * draw.normal(size=NUM_SAMPLES))
    return torch.from_numpy(window + noise).to(torch.complex64)


def beneath(kind: str, count: int) -> tuple[Tensor, Tensor]:
    """Returns mixtures complex64 [B, T] at -12 dB, and the SOI's bits."""
    draw = np.random.default_rng(5)
    sent = MODEM.sample(count, NUM_SAMPLES, torch.Generator().manual_seed(5))
    starts = draw.integers(100, 1370, count)  # behind the wrapped ends of the paths
    windows = torch.stack([loaded(kind, int(start), draw) for start in starts])
    return sent.waveform + GAIN * windows, sent.bits


def wrong(found: Tensor, bits: Tensor) -> float:
    return float((found != bits).double().mean())


@pytest.mark.parametrize(("kind", "most"), [("qpsk", 0.25), ("mixed", 0.6)])
def test_bits_beneath_data_are_found(kind: str, most: float) -> None:
    mixture, bits = beneath(kind, 3)
    matched = wrong(MODEM.decide(mixture), bits)
    assert 0.1 < matched < 0.25
    assert wrong(PilotCancelling(MODEM, NONE).separate(mixture).bits, bits) < most * matched


def test_gaussian_elements_of_equal_power_cost_no_bits() -> None:
    """Nothing can be told of them, so that the matched filter is as good as any."""
    mixture, bits = beneath("gaussian", 4)
    matched = wrong(MODEM.decide(mixture), bits)
    for separator in (ResourceBlockLmmse(MODEM, NONE, detect=True), PilotCancelling(MODEM, NONE)):
        assert wrong(separator.separate(mixture).bits, bits) < 1.02 * matched


def test_channel_is_found_beside_the_soi() -> None:
    """Up to a quarter turn, also in the gap. Points are likelier than Gaussian values only where points were sent."""
    soi = MODEM.sample(1, NUM_SAMPLES, torch.Generator().manual_seed(6)).waveform[0]
    start, draw = 700, np.random.default_rng(6)
    timing = Timing(1370 - start + 11, 0.0)
    found = find_data((soi + GAIN * loaded("qpsk", start, draw)).to(torch.complex128), timing, leakage(MODEM))
    assert found is not None
    late = found.start - (1370 - start + 90)
    assert abs(late) <= 2
    number = torch.arange(-100, 101)
    paths = [gain * np.exp(-2j * np.pi / 1280 * (delay - late) * number.numpy()) for delay, gain in PATHS.items()]
    true = GAIN * (1280 / 1200 / 1.2) ** 0.5 * sum(paths)
    error = min(float(np.mean(np.abs(found.gains(number).numpy() * turn - true) ** 2)) for turn in (1, 1j, -1, -1j))
    assert error < 1e-3 * float(np.mean(np.abs(true) ** 2))
    assert found.share[1] > 0.98
    assert found.evidence > 2
    other = find_data((soi + GAIN * loaded("gaussian", start, draw)).to(torch.complex128), timing, leakage(MODEM))
    assert other is not None
    assert other.evidence < 0.2


def test_mixed_elements_have_the_posterior_of_all_points() -> None:
    """Against sums over the 85 points in plain numpy."""
    points = [np.zeros(1)]
    for levels in ([-1, 1], [-3, -1, 1, 3], [-7, -5, -3, -1, 1, 3, 5, 7]):
        grid = np.add.outer(np.array(levels), 1j * np.array(levels)).ravel()
        points.append(grid / np.mean(np.abs(grid) ** 2) ** 0.5)
    share, seen, variance = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.3 + 0.2j, -0.9 + 1.1j]), np.array([0.2, 0.05])
    chance = [
        w / len(p) * np.exp(-(np.abs(seen[:, None] - p) ** 2) / variance[:, None])
        for w, p in zip(share, points, strict=True)
    ]
    total = sum(c.sum(1) for c in chance)
    mean = sum((c * p).sum(1) for c, p in zip(chance, points, strict=True)) / total
    power = sum((c * np.abs(p) ** 2).sum(1) for c, p in zip(chance, points, strict=True)) / total
    cavity = Marginals(torch.from_numpy(seen), torch.from_numpy(variance))
    found = mixed(cavity, torch.from_numpy(share).expand(2, 4))
    assert np.allclose(found.symbols.mean, mean, atol=1e-9)
    assert np.allclose(found.symbols.variance, power - np.abs(mean) ** 2, atol=1e-9)
    assert np.allclose(found.share, np.stack([c.sum(1) for c in chance], 1) / total[:, None], atol=1e-9)
    assert np.allclose(found.log_evidence, np.log(total / variance), atol=1e-9)
