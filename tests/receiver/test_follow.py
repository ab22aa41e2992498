"""A receiver finds and follows a SOI that arrives through an oscillator, a clock and a channel."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from rfsep.receiver.course import Layout, Samples
from rfsep.receiver.follow import Follower
from rfsep.receiver.phase import symmetry_of
from rfsep.receiver.state import State
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.linear_modem import LinearModem

MODEM = LinearModem()
LENGTH = 40_960
NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
LINEAR = MatchedFilter(MODEM, NOTHING, "none")


class Sent(NamedTuple):
    """What arrives, complex64 [LENGTH], and the bits sent."""

    arrives: np.ndarray
    bits: np.ndarray


def arriving(
    carrier: float = 0.0, clock_ppm: float = 0.0, delay: float = 0.0, ray: complex = 0.0, noise: float = 0.0
) -> Sent:
    """A waveform between whose samples a spline reads, after an interpolation to an eighth of them by a long FFT."""
    generator, ahead = torch.Generator().manual_seed(5), 64 * 16
    sent = MODEM.sample(1, LENGTH + 2 * ahead, generator)
    spectrum = np.fft.fft(sent.waveform[0].numpy().astype(np.complex128))
    half = len(spectrum) // 2
    wide = np.concatenate((spectrum[:half], np.zeros(7 * len(spectrum)), spectrum[half:]))
    fine = np.fft.ifft(wide) * 8
    at = CubicSpline(np.arange(len(fine)) / 8, fine)
    number = np.arange(LENGTH)

    def path(late: float) -> np.ndarray:
        return np.asarray(at(ahead + (number - delay - late) * (1 + clock_ppm * 1e-6)))

    draw = np.random.default_rng(3)
    white = (draw.normal(size=LENGTH) + 1j * draw.normal(size=LENGTH)) / 2**0.5
    through = path(0.0) + ray * path(20.0)
    turned = through / np.sqrt(np.mean(np.abs(through) ** 2)) * np.exp(2j * np.pi * carrier * number + 0.7j)
    return Sent((turned + noise * white).astype(np.complex64), sent.bits[0].numpy()[MODEM.num_bits(ahead) :])


def follower(samples: np.ndarray) -> Follower:
    def raw(begin: int, count: int) -> Samples:
        whole = np.zeros(count, np.complex64)
        low, high = min(max(begin, 0), LENGTH), min(max(begin + count, 0), LENGTH)
        whole[low - begin : high - begin] = samples[low:high]
        return whole

    symmetry = symmetry_of(MODEM.constellation.numpy())
    layout = Layout(2240, 160, True)
    return Follower(raw, MODEM, symmetry, layout, lambda carrier: LINEAR, lambda modem, carrier: LINEAR)


def acquired(sent: Sent) -> tuple[Follower, State]:
    made = follower(sent.arrives)
    return made, made.acquire(made.nominal(0.0), 0, LENGTH, 1 / 128)


def error_rate(bits: np.ndarray, sent: np.ndarray) -> float:
    """Of the best of four turns, without the ends."""
    count = min(len(bits), len(sent))
    first, second = bits[64 : count - 64].reshape(-1, 2).T
    turns = ((first, second), (second, 1 - first), (1 - first, 1 - second), (1 - second, first))
    return min(float(np.mean(np.stack(turn, 1).ravel() != sent[64 : count - 64])) for turn in turns)


@pytest.mark.parametrize("carrier", [0.0, 1e-5, 1e-3, -3e-3])
def test_a_carrier_is_found(carrier: float) -> None:
    sent = arriving(carrier=carrier, noise=1.0)
    made, state = acquired(sent)
    assert state.locked
    assert state.carrier + state.rate / (2 * np.pi) == pytest.approx(carrier, abs=2e-7)
    assert error_rate(made.follow(state, 0, LENGTH)[0].bits, sent.bits) < 1e-3  # white noise alone makes 4e-5


@pytest.mark.parametrize("clock_ppm", [50.0, -200.0])
def test_a_clock_is_found(clock_ppm: float) -> None:
    sent = arriving(carrier=1e-4, clock_ppm=clock_ppm, noise=1.0)
    made, state = acquired(sent)
    assert (1 / state.pace - 1) * 1e6 == pytest.approx(clock_ppm, abs=6)
    heard, _ = made.follow(state, 0, LENGTH)
    assert error_rate(heard.bits, sent.bits) < 1e-3
    assert len(heard.soi) == LENGTH


def test_an_echo_is_found_and_undone() -> None:
    sent = arriving(ray=0.5j, noise=0.5)
    made, state = acquired(sent)
    received = made.received(state)
    clean = received.modulate(torch.from_numpy(sent.bits[: MODEM.num_bits(LENGTH)])[None])[0].numpy()[2000:-2000]
    heard = (sent.arrives * np.exp(-1j * state.phase))[2000 : 2000 + len(clean)]
    share = abs(np.vdot(clean, heard)) ** 2 / np.vdot(clean, clean).real / np.vdot(heard, heard).real
    # Noise of .25 leaves .8 of the power to be explained; one path alone would explain .8 * .8.
    assert share > 0.75


def test_a_delay_within_a_sample_is_taken_in() -> None:
    sent = arriving(delay=0.5, noise=0.3)
    _, state = acquired(sent)
    assert state.locked
    # Against what is read, by whole samples, the channel's delay is the slope of its phase in the SOI's band.
    places = np.arange(-3, 4) * 8
    band = np.linspace(-0.02, 0.02, 9)
    response = np.exp(-2j * np.pi * band[:, None] * places) @ state.taps
    delay = -np.polyfit(band, np.unwrap(np.angle(response)), 1)[0] / (2 * np.pi)
    assert round(state.origin) + delay == pytest.approx(0.5, abs=0.1)


def test_noise_is_not_locked_to() -> None:
    draw = np.random.default_rng(8)
    for _ in range(8):
        noise = (draw.normal(size=LENGTH) + 1j * draw.normal(size=LENGTH)).astype(np.complex64)
        made = follower(noise)
        assert not made.acquire(made.nominal(0.0), 0, LENGTH, 1 / 128).locked
