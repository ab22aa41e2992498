"""A channel and a clock are found through a linear separator, and none where there is none."""

import numpy as np
import pytest
import torch

from rfsep.receiver.channel import (
    REACH,
    beyond_doubt,
    echoes,
    fit_channel,
    fit_clock,
    left_of,
    plain_channel,
    sampled_taps,
    slope_of,
    smoothed_density,
)
from rfsep.receiver.clock import Sent, clock_at_ends
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.resampling import interpolated

MODEM, SPACING = LinearModem(), 8
SEPARATOR = MatchedFilter(MODEM, torch.zeros((0, 0), dtype=torch.complex64), remodulation="none")


def symbols_and_wave(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and the waveform of a SOI, both complex128."""
    waveform = MODEM.sample(1, count, torch.Generator().manual_seed(seed)).waveform
    return MODEM.analyse(waveform)[0].numpy().astype(np.complex128), waveform[0].numpy().astype(np.complex128)


def noise(count: int, power: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2)) @ [1, 1j] * (power / 2) ** 0.5


def through(sent: np.ndarray, taps: np.ndarray) -> np.ndarray:
    sampled = sampled_taps(taps, SPACING)
    return np.convolve(sent, sampled)[len(sampled) // 2 :][: len(sent)]


def test_echoes_are_the_taps_of_a_convolution() -> None:
    _, sent = symbols_and_wave(4096, 1)
    taps = noise(2 * REACH + 1, 1.0, 2)
    assert np.abs(taps @ echoes(sent, SPACING) - through(sent, taps)).max() < 1e-5


def test_the_slope_is_the_derivative() -> None:
    times = np.arange(5000.0)  # no length that a fast transform takes as it is
    tone = np.exp(2j * np.pi * 0.031 * times) * np.exp(-(((times - 2500) / 500) ** 2))
    expected = (2j * np.pi * 0.031 - 2 * (times - 2500) / 500**2) * tone
    assert np.abs(slope_of(tone) - expected).max() < 1e-6


def test_the_density_is_smooth_and_keeps_the_energy() -> None:
    density = smoothed_density(noise(8192, 3.0, 3))
    assert abs(density.mean() / (3.0 * 8192) - 1) < 0.05
    assert density.std() / density.mean() < 0.15


@pytest.mark.parametrize("ray", [0.0, 0.4 * np.exp(1j), 0.5 * np.exp(-2j)])
def test_two_rays_are_found_and_one_is_left_alone(ray: complex) -> None:
    _, sent = symbols_and_wave(40_960, 4)
    truth = plain_channel()
    truth[REACH + 1] = ray
    received = (through(sent, truth) + noise(len(sent), 1.0, 5)).astype(np.complex64)
    channel = fit_channel(left_of(SEPARATOR, received, echoes(sent, SPACING)))
    assert channel.difference(truth) < 3e-3
    taps = beyond_doubt(channel, 2e-2)
    if ray == 0:
        assert np.array_equal(taps, plain_channel())
    else:
        # Of unit energy: the same channel but for its level.
        assert channel.difference(taps * np.vdot(taps, channel.taps) / np.vdot(taps, taps)) < 1e-9
        assert abs(np.vdot(taps, channel.information @ taps).real / channel.information[REACH, REACH].real - 1) < 1e-9


@pytest.mark.parametrize(("delay", "drift"), [(0.3, 0.0), (-0.2, 8e-6), (0.0, -2e-5)])
def test_a_clock_is_right_within_its_error(delay: float, drift: float) -> None:
    _, sent = symbols_and_wave(40_960, 6)
    times = np.arange(len(sent), dtype=float)
    late = times - delay - drift * (times - len(sent) / 2)
    moved = interpolated(sent.astype(np.complex64), late)
    added, misses = np.stack((sent, slope_of(sent))), []
    for seed in range(12):
        received = (moved + noise(len(sent), 0.1, 20 + seed)).astype(np.complex64)
        clock = fit_clock(left_of(SEPARATOR, received, added), 0.0, np.zeros(len(sent)))
        assert abs(clock.delay - delay) < 0.1
        assert abs(clock.drift - drift) < 6e-6
        misses.append(
            ((clock.delay - delay) / clock.delay_error if delay else 0.0, (clock.drift - drift) / clock.drift_error)
        )
    assert np.sqrt(np.mean(np.square(misses), 0)).max() < 2


def test_delays_that_are_there_anyway_do_not_count() -> None:
    _, sent = symbols_and_wave(40_960, 7)
    times = np.arange(len(sent), dtype=float)
    known = 1e-5 * (times - len(sent) / 2)
    received = (interpolated(sent.astype(np.complex64), times - known) + noise(len(sent), 0.1, 8)).astype(np.complex64)
    left = left_of(SEPARATOR, received, np.stack((sent, slope_of(sent))))
    assert abs(fit_clock(left, 4.0, np.zeros(len(sent))).drift - 1e-5) < 1e-6
    assert fit_clock(left, 4.0, known)[:2] == (0.0, 0.0)


def test_the_clock_of_noise_is_in_doubt() -> None:
    _, sent = symbols_and_wave(20_480, 9)
    added = np.stack((sent, slope_of(sent)))
    moved = 0
    for seed in range(20):
        received = (sent + noise(len(sent), 1.0, 40 + seed)).astype(np.complex64)
        moved += fit_clock(left_of(SEPARATOR, received, added), 4.0, np.zeros(len(sent))).drift != 0
    assert moved == 0


@pytest.mark.parametrize("ray", [0.0, 0.4j])
def test_the_ends_of_a_long_stretch_tell_its_clock(ray: complex) -> None:
    count, delay, drift = 163_840, 0.2, 4e-6
    symbols, sent = symbols_and_wave(count, 10)
    taps = plain_channel()
    taps[REACH + 1] = ray
    times = np.arange(count, dtype=float)
    late = times - delay - drift * (times - count / 2)
    received = interpolated(through(sent, taps).astype(np.complex64), late) + noise(count, 0.1, 11).astype(np.complex64)
    clock = clock_at_ends(
        SEPARATOR, received, Sent(MODEM, symbols, sampled_taps(taps, SPACING)), np.zeros(count), 2560, 4.0
    )
    assert abs(clock.delay - delay) < 4 * clock.delay_error < 0.1
    assert abs(clock.drift - drift) < 4 * clock.drift_error < 3e-6


def test_what_was_sent_is_the_modems_waveform_anywhere() -> None:
    symbols, wave = symbols_and_wave(40_960, 12)
    sent = Sent(MODEM, symbols, sampled_taps(plain_channel(), SPACING))
    for begin, count in ((512, 4096), (16_000, 5000), (36_000, 4096)):
        assert np.abs(sent.waveform(begin, count) - wave[begin : begin + count]).max() < 0.02
