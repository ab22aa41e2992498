"""OFDM interference as received: turned, late by a fraction of a sample, through rays. All made by plain numpy."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.identification.channel import received_modem
from rfsep.identification.identify import identified_modem, identify
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.inference.grid import SoiGrid
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.constellations import bits_per_symbol
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem, filtered
from rfsep.types import Sampled

NONE = torch.zeros((0, 0), dtype=torch.complex64)
QPSK = LinearModem()
CARRIERS = np.r_[4:32, 33:61] - 32
ONE = {0: 1.0 + 0j}
TWO = {0: 1.0 + 0j, 2: 10 ** (-6 / 20) * np.exp(0.7j)}
BEYOND_THE_PREFIX = {0: 1.0 + 0j, 20: 10 ** (-10 / 20) * np.exp(-1.1j)}


class Air(NamedTuple):
    """What happens to an interference on its way."""

    rays: dict[int, complex]
    delay: float = 0.0
    carrier: float = 0.0


def received(air: Air, count: int, length: int, seed: int) -> Tensor:
    """Frames complex64 [count, length] of unit power at random times and phases."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(count):
        blocks = length // 80 + 16
        grid = np.zeros((blocks, 64), complex)
        grid[:, CARRIERS % 64] = rng.choice([-1, 1], (blocks, 56)) + 1j * rng.choice([-1, 1], (blocks, 56))
        body = np.fft.ifft(grid, axis=1) * 8 / math.sqrt(2 * 56 / 64)
        sent = np.concatenate([body[:, 48:], body], 1).ravel()
        heard = sum(gain * np.roll(sent, ray) for ray, gain in air.rays.items())
        spectrum = np.fft.fft(heard) * np.exp(-2j * np.pi * np.fft.fftfreq(len(sent)) * air.delay)
        turn = np.exp(2j * np.pi * (air.carrier * np.arange(len(sent)) + rng.random()))
        start = 400 + rng.integers(0, 80)
        power = sum(abs(gain) ** 2 for gain in air.rays.values())
        frames.append((np.fft.ifft(spectrum) * turn)[start : start + length] / math.sqrt(power))
    return torch.tensor(np.stack(frames)).to(torch.complex64)


def mixed(interference: Tensor, soi: Tensor, seed: int) -> Tensor:
    """SINR -12 dB, and white noise 30 dB below the SOI."""
    noise = torch.randn(soi.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    return soi + 10 ** (12 / 20) * interference + 10 ** (-30 / 20) * noise


def drawn(air: Air, count: int = 1, length: int = 5120, seed: int = 1) -> tuple[Tensor, Sampled]:
    sampled = QPSK.sample(count, length, torch.Generator().manual_seed(seed))
    return mixed(received(air, count, length, seed), sampled.waveform, seed), sampled


def ber(bits: Tensor, sampled: Sampled) -> float:
    return float((bits != sampled.bits).double().mean())


@pytest.mark.parametrize(
    "air",
    [Air(ONE, 0.37, 1e-3), Air(TWO, 0.37, 1e-2), Air(BEYOND_THE_PREFIX, 0.37, 1e-2)],
    ids=["fraction", "two-rays", "beyond-the-prefix"],
)
def test_examples_through_the_same_carrier_and_channel(air: Air) -> None:
    examples = received(air, 16, 4096, 7)
    mixture, sampled = drawn(air)
    found = JointDetection(QPSK, examples)
    assert found.received.carrier == pytest.approx(air.carrier, abs=2e-7)
    assert ber(found.separate(mixture).bits, sampled) < 1e-3
    assert ber(CyclicLmmse(QPSK, examples).separate(mixture).bits, sampled) < 0.04  # linear: .05 to .08 if not undone
    if air.carrier == 1e-2:
        unturned = JointDetection(QPSK, NONE, OfdmModem()).separate(mixture)
        assert ber(unturned.bits, sampled) > 0.05


@pytest.mark.parametrize(("rays", "delay"), [(ONE, 0.0), (ONE, 0.37), (TWO, 0.37)], ids=["none", "fraction", "rays"])
def test_the_channel_that_examples_show(rays: dict[int, complex], delay: float) -> None:
    """The closed form on all carriers, up to a factor and whole samples; the delay of a single ray is the true one."""
    frames = received(Air(rays, delay, 1e-2), 8, 4096, 3)
    identified = identify(frames)
    modem, offset = identified_modem(identified), identified.carrier_offset.value
    assert isinstance(modem, OfdmModem)
    assert offset is not None
    found = received_modem(frames, modem, offset)
    assert found.carrier == pytest.approx(1e-2, abs=1e-7)
    assert found.flat == (len(rays) == 1 and delay == 0)
    frequency = torch.tensor(CARRIERS / 64)
    true = torch.tensor(sum(gain * np.exp(-2j * np.pi * CARRIERS / 64 * (ray + delay)) for ray, gain in rays.items()))
    seen = found.response(frequency)
    errors = []
    for shift in range(-3, 4):
        one = seen * torch.polar(torch.ones_like(frequency), 2 * math.pi * frequency * shift)
        scale = (one.conj() * true).sum() / one.abs().square().sum()
        errors.append(float((true - scale * one).abs().square().sum() / true.abs().square().sum()))
    assert min(errors) < 1e-4
    if len(rays) == 1:
        assert found.delay == pytest.approx(delay, abs=3e-3)


def test_a_fraction_that_the_examples_do_not_have() -> None:
    """Each mixture its own, told a modem without any."""
    parts = [drawn(Air(ONE, delay), seed=seed) for seed, delay in enumerate((0.0, 0.5, 0.82))]
    found = JointDetection(QPSK, NONE, OfdmModem()).separate(torch.cat([mixture for mixture, _ in parts]))
    for bits, (_, sampled) in zip(found.bits, parts, strict=True):
        assert ber(bits[None], sampled) < 1e-3


def test_a_carrier_that_is_told_nearly() -> None:
    """By 3e-5 cycles per sample, which turn the interference by half a cycle within a window."""
    mixture, sampled = drawn(Air(ONE, 0.0, 1e-3))
    found = JointDetection(QPSK, NONE, OfdmModem(carrier=1e-3 + 3e-5)).separate(mixture)
    assert ber(found.bits, sampled) == 0


def test_a_phase_of_the_soi_that_wanders() -> None:
    """Steps of 3e-3 rad per sample without their slow part: followed to -35 dB, and -30 dB where it is fixed at 0."""
    length = 5120
    mixture, sampled = drawn(Air(ONE), length=length)
    steps = np.cumsum(3e-3 * np.random.default_rng(2).standard_normal(length))
    slow = np.convolve(np.pad(steps, 1000, mode="edge"), np.ones(2001) / 2001, "valid")
    turn = torch.tensor(np.exp(1j * (steps - slow))).to(torch.complex64)
    soi = sampled.waveform * turn
    errors_db = {}
    for kind in ("tracked", "fixed"):
        found = JointDetection(QPSK, NONE, OfdmModem(), soi_phase=kind).separate(mixture - sampled.waveform + soi)
        assert ber(found.bits, sampled) == 0
        errors_db[kind] = 10 * math.log10(float((found.soi - soi).abs().square().mean()))
    assert errors_db["tracked"] < -35
    assert errors_db["fixed"] > -30


def test_without_a_phase_of_the_soi_none_is_found() -> None:
    mixture, sampled = drawn(Air(ONE))
    tracked, fixed = (
        JointDetection(QPSK, NONE, OfdmModem(), soi_phase=kind).separate(mixture) for kind in ("tracked", "fixed")
    )
    assert torch.equal(tracked.bits, fixed.bits)
    assert float((tracked.soi - sampled.waveform).abs().square().mean()) < 1e-9


class Rayed:
    """QPSK behind a complex pulse: a second ray 21 samples late, and 0.4 sample of delay."""

    symbol_period = QPSK.symbol_period
    constellation = QPSK.constellation

    @staticmethod
    def response(frequency: Tensor) -> Tensor:
        def late(delay: float) -> Tensor:
            return torch.polar(torch.ones_like(frequency), -2 * math.pi * frequency * delay)

        return late(0.4) + 0.5 * complex(math.cos(1.0), math.sin(1.0)) * late(21.0)

    def num_bits(self, num_samples: int) -> int:
        return QPSK.num_bits(num_samples)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        return filtered(QPSK.synthesise(symbols, num_samples + 64), self.response, 64)[:, :num_samples]

    def modulate(self, bits: Tensor) -> Tensor:
        count = bits.shape[1] // bits_per_symbol(self.constellation)
        return filtered(QPSK.modulate(bits), self.response, 64)[:, : count * self.symbol_period]

    def analyse(self, waveform: Tensor) -> Tensor:
        return QPSK.analyse(waveform)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        return QPSK.demodulate(waveform, noise_variance)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        return QPSK.decide(waveform, gain)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        sampled = QPSK.sample(batch_size, num_samples, generator)
        return sampled._replace(waveform=self.modulate(sampled.bits)[:, :num_samples])


def test_a_soi_behind_a_complex_pulse() -> None:
    """The waveform is that of the pulse it was given; the grid lists the symbols that the longer pulse adds."""
    modem, length = Rayed(), 2560
    sampled = modem.sample(1, length, torch.Generator().manual_seed(4))
    mixture = mixed(received(Air(TWO, 0.37, 1e-3), 1, length, 4), sampled.waveform, 4)
    found = JointDetection(modem, received(Air(TWO, 0.37, 1e-3), 16, 4096, 7)).separate(mixture)
    inner = (found.soi - sampled.waveform)[:, 160:-160].abs().square().mean()
    assert 10 * math.log10(float(inner)) < -45
    grid, plain = (SoiGrid(one, 800, 80, begins=True, ends=True) for one in (modem, QPSK))
    assert grid.pulses.shape[2] > plain.pulses.shape[2]
    assert float(grid.pulses.imag.abs().max()) > 0.1
