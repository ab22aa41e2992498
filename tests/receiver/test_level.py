"""Level and timing of a SOI are found, or refused."""

import numpy as np
import pytest
import torch

from rfsep.app.config import build_modem, soi_of
from rfsep.app.places import CONF
from rfsep.receiver.level import find_soi
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError


def noise(length: int) -> np.ndarray:
    return torch.randn(length, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)).numpy()


@pytest.mark.parametrize(("modem", "period"), [(LinearModem(), 16), (OfdmModem(), 80)])
def test_level_and_timing_are_found_in_noise(modem: LinearModem | OfdmModem, period: int) -> None:
    soi = modem.sample(1, 120_000, torch.Generator().manual_seed(2)).waveform[0].numpy()
    heard = 0.3 * soi[3 * period - 7 :] + 0.3 * noise(len(soi))[3 * period - 7 :]
    found = find_soi(heard, modem, None)
    assert found.start == 7
    assert abs(found.power / 0.09 - 1) < 0.1
    assert abs(found.power / 0.09 - 1) < 4 * found.error / 0.09
    assert find_soi(heard, modem, 7) == found


def test_no_level_is_told_where_there_is_no_signal() -> None:
    with pytest.raises(InputError, match="cannot be told"):
        find_soi(noise(100_000), LinearModem(), 0)
    with pytest.raises(InputError, match="too few"):
        find_soi(noise(200), LinearModem(), None)


NUM_SAMPLES = 120_000
BEHIND = 7  # samples before the first symbol
# Statistics of these repeat within their period: after each of two symbols, and with the sign of two bits changed.
REPEATS = {"pi4_dqpsk": 2, "gmsk": 2}
CONJUGATE = ("oqpsk", "msk", "gmsk", "gmsk_05", "gfsk")  # found by moments that a phase of 90 degrees moves
SOIS = sorted(
    path.stem
    for path in (CONF / "soi").glob("*.yaml")
    if not path.stem.startswith("cosines") and "crop" not in path.stem
)


def soi_heard(name: str, seed: int = 2) -> tuple[np.ndarray, int]:
    """A SOI whose first symbol begins at sample BEHIND, and its period."""
    modem = build_modem(soi_of(name))
    period = modem.symbol_period
    begin = -BEHIND % period + 2 * period
    waveform = modem.sample(1, NUM_SAMPLES + begin, torch.Generator().manual_seed(seed)).waveform[0]
    return waveform[begin:].numpy(), period


def clocked(samples: np.ndarray, ppm: float) -> np.ndarray:
    """Samples taken by a slow clock, from a spectrum eight times as wide."""
    size = len(samples)
    spectrum, wide = np.fft.fft(samples), np.zeros(8 * size, complex)
    wide[: size // 2], wide[-(size // 2) :] = spectrum[: size // 2], spectrum[-(size // 2) :]
    fine = 8 * np.fft.ifft(wide)
    place = 8 * np.arange(size) * (1 + ppm * 1e-6)
    return np.interp(place, np.arange(8 * size), fine.real) + 1j * np.interp(place, np.arange(8 * size), fine.imag)


def turned(samples: np.ndarray, carrier: float, phase: float) -> np.ndarray:
    return samples * np.exp(2j * np.pi * carrier * np.arange(len(samples)) + 1j * phase)


@pytest.mark.parametrize("name", SOIS)
def test_every_soi_is_found_in_noise_where_it_is(name: str) -> None:
    samples, period = soi_heard(name)
    heard = (0.3 * samples + 0.3 * noise(len(samples))).astype(np.complex64)
    modem = build_modem(soi_of(name))
    found = find_soi(heard, modem, None)
    assert found.start % (period // REPEATS.get(name, 1)) == BEHIND % (period // REPEATS.get(name, 1))
    assert abs(found.power / 0.09 - 1) < 0.1
    given = find_soi(heard, modem, BEHIND)
    assert given.start == BEHIND % period
    assert abs(given.power / 0.09 - 1) < 0.1


@pytest.mark.parametrize("name", ["qpsk", "qpsk2", "oqpsk", "msk", "gmsk", "fsk2", "dsss", "ofdm_qpsk", "ofdm_80211a"])
@pytest.mark.parametrize(("carrier", "phase"), [(0.0, 1.0), (1e-3, 0.5), (-3.3e-4, 0.0)])
def test_carrier_and_phase_may_be_unknown(name: str, carrier: float, phase: float) -> None:
    samples, period = soi_heard(name)
    heard = turned(0.3 * samples, carrier, phase) + 0.3 * noise(len(samples))
    found = find_soi(heard.astype(np.complex64), build_modem(soi_of(name)), None)
    repeats = 2 * REPEATS.get(name, 1) if name in CONJUGATE else REPEATS.get(name, 1)
    away = (found.start - BEHIND) % (period // repeats)
    # The tone of 2-FSK has statistics of its own, beside those of the symbols.
    assert min(away, period // repeats - away) <= (name == "fsk2")
    assert abs(found.power / 0.09 - 1) < 0.1


@pytest.mark.parametrize("name", ["qpsk", "oqpsk", "gmsk", "dsss", "ofdm_qpsk"])
@pytest.mark.parametrize("ppm", [50.0, -80.0])
def test_a_clock_may_be_off(name: str, ppm: float) -> None:
    samples, period = soi_heard(name)
    heard = turned(0.3 * clocked(samples, ppm), 2e-4, 0.0) + 0.3 * noise(len(samples))
    found = find_soi(heard.astype(np.complex64), build_modem(soi_of(name)), None)
    repeats = 2 * REPEATS.get(name, 1) if name in CONJUGATE else 1
    away = (found.start - BEHIND) % (period // repeats)
    assert min(away, period // repeats - away) <= 1
    assert abs(found.power / 0.09 - 1) < 0.12


@pytest.mark.parametrize("name", ["qpsk", "oqpsk", "msk", "gfsk", "dsss", "ofdm_qpsk", "ofdm_80211a"])
@pytest.mark.parametrize(("delay", "gain"), [(2, 0.5), (20, 10**-0.5 * np.exp(1j))])
def test_two_rays_cost_at_most_a_decibel_and_a_half(name: str, delay: int, gain: complex) -> None:
    """A second ray at -6 and at -10 dB, and a carrier of 1e-3."""
    samples, period = soi_heard(name)
    rays = samples + gain * np.concatenate((np.zeros(delay), samples[:-delay]))
    heard = turned(0.3 * rays, 1e-3, 0.0) + 0.3 * noise(len(samples))
    found = find_soi(heard.astype(np.complex64), build_modem(soi_of(name)), None)
    repeats = 2 if name in CONJUGATE else 1
    away = (found.start - BEHIND) % (period // repeats)
    assert min(away, period // repeats - away) <= 1
    assert -1.5 < 10 * np.log10(found.power / 0.09 / np.mean(np.abs(rays) ** 2)) < 0.5


@pytest.mark.parametrize("name", ["qpsk", "oqpsk", "msk", "gmsk", "dsss"])
def test_noise_is_no_soi_however_many_places_are_searched(name: str) -> None:
    modem = build_modem(soi_of(name))
    for seed in range(5):
        heard = torch.randn(60_000, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)).numpy()
        with pytest.raises(InputError, match="cannot be told"):
            find_soi(heard, modem, None)


def test_a_weak_offset_soi_is_found_beneath_others() -> None:
    """Offset QPSK 12 dB beneath OFDM, which repeats with another period, at an unknown carrier."""
    samples, _ = soi_heard("oqpsk")
    other, _ = soi_heard("ofdm_qpsk", seed=9)
    heard = turned(0.25 * samples, 1e-4, 0.0) + other / np.sqrt(56 / 64)
    found = find_soi(heard.astype(np.complex64), build_modem(soi_of("oqpsk")), None)
    assert (found.start - BEHIND) % 8 in (0, 1, 7)
    assert abs(found.power / 0.0625 - 1) < 4 * found.error / 0.0625
