"""Identifying interference: known sources are found with their parameters, noise is not taken for OFDM."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.identification.carriers import derotate
from rfsep.identification.cyclic import confidence_of, highest, lag_scores, normal_score
from rfsep.identification.findings import Identified
from rfsep.identification.identify import (
    duty_cycle,
    identified_modem,
    identified_modems,
    identify,
)
from rfsep.identification.prefix import Layout, find_prefix
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.emi import EmiBursts
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import ColouredNoise, WhiteNoise
from rfsep.signals.nr.uplink import NrUplink
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.recordings import SigmfRecordings
from rfsep.signals.single_carrier import BurstyQam
from rfsep.storage.captures.opening import open_capture
from rfsep.types import InputError, SignalSource

ROOT = Path(__file__).parents[2]


def draw(source: SignalSource, num_frames: int, num_samples: int) -> Tensor:
    return source.sample(num_frames, num_samples, batch_generator(Purpose.TEST, 7)).waveform


def add_noise(frames: Tensor, snr_db: float) -> Tensor:
    noise = torch.randn(frames.shape, dtype=torch.complex64, generator=batch_generator(Purpose.TEST, 8))
    return frames + noise * 10 ** (-snr_db / 20) * frames.abs().square().mean().sqrt()


def values(identified: Identified) -> dict[str, Any]:
    return {name: finding.value for name, finding in identified._asdict().items()}


@pytest.mark.parametrize(
    ("name", "fft_size", "prefix", "guards", "dc_null", "offset", "snr_db"),
    [
        ("bpsk", 64, 16, (4, 3), True, 0.0, None),
        ("qpsk", 64, 16, (4, 3), True, 0.0, None),
        ("qam16", 64, 16, (4, 3), True, 0.0, None),
        ("qpsk", 64, 16, (4, 3), True, 0.0031, 20.0),  # a fifth of a carrier
        ("qam16", 64, 16, (4, 3), True, -0.0437, 20.0),  # 2.8 carriers down
        ("qpsk", 128, 9, (20, 19), True, 0.0012, 20.0),
        ("qpsk", 48, 12, (6, 5), False, 0.0, 20.0),
        ("bpsk", 100, 25, (11, 10), True, 0.002, 15.0),
        ("qam64", 64, 8, (6, 5), True, 0.0, None),
    ],
)
def test_every_parameter_of_ofdm_is_found(
    name: str, fft_size: int, prefix: int, guards: tuple[int, int], dc_null: bool, offset: float, snr_db: float | None
) -> None:
    modem = OfdmModem(name, fft_size, prefix, guards, dc_null)
    frames = derotate(draw(RandomCrop(modem, modem.power), 16, 4096), torch.full((16,), -offset))
    found = identify(frames if snr_db is None else add_noise(frames, snr_db), 1e6)
    got = values(found)
    assert (got["kind"], got["fft_size"], got["cyclic_prefix_length"]) == ("ofdm", fft_size, prefix)
    assert (got["statistical_period"], got["symbols_per_slot"]) == (fft_size + prefix, 1)
    assert (got["num_guard_carriers"], got["dc_null"], got["constellation"]) == (guards, dc_null, name)
    assert got["carrier_offset"] == pytest.approx(offset, abs=0.01 / fft_size)
    assert got["carrier_offset_hz"] == pytest.approx(1e6 * got["carrier_offset"])
    assert found.kind.confidence > 0.999
    assert found.cyclic_prefix_length.confidence > 0.99
    assert found.constellation.confidence > 0.6
    made = identified_modem(found)
    assert isinstance(made, OfdmModem)
    assert torch.equal(made.carriers, modem.carriers)
    assert torch.equal(made.constellation, modem.constellation)
    assert made.symbol_period == modem.symbol_period


def test_timing_of_every_frame_is_found() -> None:
    modem = OfdmModem("qpsk")
    sampled = RandomCrop(modem).sample(16, 4096, batch_generator(Purpose.TEST, 1))
    prefix = find_prefix(sampled.waveform)
    assert prefix is not None
    assert torch.equal(prefix.offset, sampled.offset)


def test_gaussian_symbols_on_the_carriers_fit_no_constellation() -> None:
    modem = OfdmModem("qpsk")
    symbols = torch.randn((16, 60 * 56), dtype=torch.complex64, generator=batch_generator(Purpose.TEST, 2))
    found = identify(modem.synthesise(symbols, 4800)[:, 37:])
    assert (found.fft_size.value, found.cyclic_prefix_length.value) == (64, 16)
    assert found.constellation.confidence < 0.5
    assert identified_modem(found) is None


def test_slots_of_5g_with_a_longer_first_prefix() -> None:
    pytest.importorskip("sionna.phy")
    source = NrUplink(mcs_indices=[3], profiles=["A"], delay_spread_s=(30e-9, 30e-9))
    found = identify(draw(source, 8, 16384), 30.72e6)
    got = values(found)
    assert (got["fft_size"], got["cyclic_prefix_length"], got["first_cyclic_prefix_length"]) == (1024, 72, 88)
    assert (got["statistical_period"], got["symbols_per_slot"]) == (15360, 14)
    assert (got["num_guard_carriers"], got["dc_null"], got["constellation"]) == ((206, 206), False, "qpsk")
    assert identified_modem(found) is None  # OfdmModem has prefixes of one length


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16"])
def test_single_carrier_of_a_whole_number_of_samples(name: str) -> None:
    modem = LinearModem(name, samples_per_symbol=8, roll_off=0.3)
    frames = derotate(draw(RandomCrop(modem), 8, 8192), torch.full((8,), -0.011))
    found = identify(add_noise(frames, 20.0), 1e6)
    assert found.kind.value == "single_carrier"
    assert found.samples_per_symbol.value == pytest.approx(8.0, abs=2e-3)
    assert found.constellation.value == name
    assert found.roll_off.value == pytest.approx(0.3, abs=0.05)
    assert found.carrier_offset.value == pytest.approx(0.011, abs=1e-4)
    assert min(found.kind.confidence, found.samples_per_symbol.confidence, found.constellation.confidence) > 0.8
    made = identified_modem(found)
    assert isinstance(made, LinearModem)
    assert made.symbol_period == 8
    assert torch.equal(made.constellation, modem.constellation)


def test_the_soi_of_the_challenge_is_a_single_carrier() -> None:
    found = identify(draw(RandomCrop(LinearModem()), 8, 8192))
    assert found.kind.value == "single_carrier"
    assert (found.statistical_period.value, found.constellation.value) == (16, "qpsk")
    assert found.roll_off.value == pytest.approx(0.5, abs=0.03)


def test_bursts_at_a_rate_that_is_no_whole_number_of_samples() -> None:
    source = BurstyQam("qam16", (7.3, 7.3), (0.25, 0.25), (0.03, 0.03))
    found = identify(draw(source, 16, 8192))
    assert (found.kind.value, found.constellation.value) == ("single_carrier", "qam16")
    assert found.samples_per_symbol.value == pytest.approx(7.3, abs=0.003)  # a block holds a whole number of symbols
    assert found.samples_per_symbol.confidence > 0.99
    assert found.roll_off.value == pytest.approx(0.25, abs=0.05)
    assert found.carrier_offset.value == pytest.approx(0.03, abs=1e-4)
    assert found.duty_cycle.value == pytest.approx(2 / 3, abs=0.1)
    assert identified_modem(found) is None


def test_rates_that_differ_between_frames_are_a_range_without_confidence_in_one() -> None:
    found = identify(draw(BurstyQam(), 32, 8192))
    assert found.kind.value == "single_carrier"
    assert 0.5 < found.kind.confidence < 1.0
    assert found.samples_per_symbol.confidence == 0.0
    low, high = found.samples_per_symbol_range.value or (0.0, 0.0)
    assert 3.99 < low < 5.0
    assert 11.0 < high < 12.01
    assert found.carrier_offset.confidence < 0.5
    assert identified_modem(found) is None


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (WhiteNoise(), "noise"),
        (ColouredNoise(power_spectrum=[4.0, 2.0, 0.1, 0.01, 0.01, 0.01, 0.1, 2.0]), "noise"),
        (ColouredNoise(power_spectrum=[0.001] * 20 + [1.0] * 3 + [0.001] * 41), "noise"),
        (EmiBursts(), "pulses"),
    ],
    ids=["white", "coloured", "narrow", "emi"],
)
def test_what_has_no_cycles_is_not_taken_for_a_modulation(source: SignalSource, kind: str) -> None:
    found = identify(draw(source, 50, 4096))
    assert found.kind.value == kind
    assert found.fft_size.value is None
    assert found.constellation.value is None
    assert identified_modem(found) is None


def test_noise_is_told_only_where_enough_was_seen_and_never_for_certain() -> None:
    assert identify(draw(WhiteNoise(), 2, 1024)).kind.value == "unknown"
    found = identify(draw(WhiteNoise(), 64, 2048)).kind
    assert found.value == "noise"
    assert 0.85 < found.confidence <= 0.95  # A signal may always hide below what could be seen.


def test_duty_cycle_of_bursts_and_of_a_signal_that_is_always_there() -> None:
    noise = draw(WhiteNoise(), 10, 10000)
    assert duty_cycle(noise).value == 1.0
    gated = noise * (torch.arange(10000) % 2500 < 1000)
    found = duty_cycle(gated + 0.03 * draw(WhiteNoise(), 10, 10000))
    assert found.value == pytest.approx(0.4 + 256 / 2500, abs=0.06)  # an edge counts for the burst
    assert found.confidence > 0.99


def test_scores_of_noise_are_normal_and_a_peak_is_as_rare_as_its_confidence_says() -> None:
    scores = lag_scores(draw(WhiteNoise(), 30, 8192), 2048)[40:]
    assert 0.005 < (scores > 2.3263).float().mean().item() < 2 * 0.015  # the better of two sums
    assert confidence_of(1.6449, 1.0) == pytest.approx(0.95, abs=1e-4)
    assert highest(scores, 0, 1)[0].z < 5.5
    exponentials = torch.empty((10, 100000)).exponential_(generator=torch.Generator().manual_seed(0)).mean(0)
    normal = normal_score(exponentials, 10)
    assert (normal > 2.3263).float().mean().item() == pytest.approx(0.01, rel=0.15)


def test_period_of_a_slot() -> None:
    assert Layout(1280, 90, 7, 10).period == 9600
    assert int(Layout(1280, 90, 7, 10).template().sum()) == 7 * 90 + 10


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.full((2, 4096), complex("nan"), dtype=torch.complex64), "frame 0 holds NaN"),
        (torch.zeros((2, 4096), dtype=torch.complex64), "nothing but zeros"),
        (torch.ones((2, 511), dtype=torch.complex64), "511 samples, expected at least 512"),
        (torch.ones((2, 4096), dtype=torch.complex128), "complex128"),
        (torch.ones(4096, dtype=torch.complex64), r"\(4096,\)"),
    ],
)
def test_bad_frames_are_refused(frames: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        identify(frames)


def test_noise_that_overlapping_frames_repeat_is_no_ofdm() -> None:
    """A hundred frames of 8,000 samples: without a look at what they share, chance passes for a prefix."""
    for seed in range(2):
        random = np.random.default_rng(seed)
        stream = (random.standard_normal(8000) + 1j * random.standard_normal(8000)).astype(np.complex64)
        starts = random.integers(0, 8000 - 4096 + 1, 100)
        found = identify(torch.from_numpy(np.stack([stream[start : start + 4096] for start in starts])))
        assert found.kind.value in ("noise", "unknown")
        assert found.fft_size.value is None


def points_of(name: str) -> np.ndarray:
    """Points of unit power, by levels of equal distance."""
    if name == "bpsk":
        return np.array([1.0, -1.0])
    levels = np.arange(1.0, {"qpsk": 2, "qam16": 4, "qam64": 8}[name] + 1)
    grid = np.add.outer(levels, 1j * levels)
    grid = grid - grid.mean()
    return (grid / np.sqrt(np.mean(np.abs(grid) ** 2))).ravel()


def ofdm_stream(names: list[str], random: np.random.Generator, width: int = 56) -> np.ndarray:
    """OFDM of FFT 64 and prefix 16 in plain numpy, one constellation a symbol."""
    grid = np.zeros((len(names), 64), dtype=complex)
    carriers = [*range(1, 1 + width // 2), *range(64 - width // 2, 64)]
    for row, name in zip(grid, names, strict=True):
        row[carriers] = random.choice(points_of(name), width)
    bodies = np.fft.ifft(grid, axis=1)
    return np.concatenate((bodies[:, -16:], bodies), axis=1).ravel()


def mixed_frames(counts: dict[str, int], random: np.random.Generator) -> Tensor:
    """Frames of 4,096 samples, each of one constellation, at random times and phases."""
    rows = []
    for name in [name for name, count in counts.items() for _ in range(count)]:
        start, turn = random.integers(80), np.exp(2j * np.pi * random.random())
        rows.append(turn * ofdm_stream([name] * 53, random)[start : start + 4096])
    return torch.from_numpy(np.stack(rows).astype(np.complex64))


@pytest.mark.parametrize(
    "counts", [{"bpsk": 50, "qpsk": 50}, {"qpsk": 80, "qam64": 20}, {"bpsk": 40, "qam16": 40, "qpsk": 20}]
)
def test_frames_of_several_constellations_are_told_with_their_shares(counts: dict[str, int]) -> None:
    found = identify(mixed_frames(counts, np.random.default_rng(6)))
    names, shares = found.constellations.value, found.constellation_shares.value
    assert names is not None
    assert shares is not None
    assert dict(zip(names, shares, strict=True)) == pytest.approx({k: n / 100 for k, n in counts.items()}, abs=0.02)
    assert list(shares) == sorted(shares, reverse=True)
    assert found.constellation.value == names[0]
    assert found.constellation.confidence <= shares[0]
    assert identified_modem(found) is None
    modems = identified_modems(found)
    assert [len(modem.constellation) for modem in modems] == [len(points_of(name)) for name in names]


def test_a_stream_whose_packets_change_their_rate_is_not_one_constellation() -> None:
    """Packets of 20 to 119 symbols of 52 carriers, so that most frames hold two or more of the four."""
    random, rates = np.random.default_rng(7), ["bpsk", "qpsk", "qam16", "qam64"]
    names = [name for name in random.choice(rates, 90) for _ in range(random.integers(20, 120))]
    stream = ofdm_stream(names, random, 52)
    frames = torch.from_numpy(stream[: len(stream) // 4096 * 4096].reshape(-1, 4096).astype(np.complex64))
    found = identify(frames)
    truth = {name: names.count(name) / len(names) for name in rates}
    assert found.constellation.confidence < 0.5
    shares = dict(zip(found.constellations.value or (), found.constellation_shares.value or (), strict=True))
    assert shares == pytest.approx(truth, abs=0.06)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16", "qam64"])
@pytest.mark.parametrize("snr_db", [None, 20.0])
def test_one_constellation_is_not_several(name: str, snr_db: float | None) -> None:
    frames = mixed_frames({name: 30}, np.random.default_rng(8))
    found = identify(frames if snr_db is None else add_noise(frames, snr_db))
    assert (found.constellation.value, found.constellations.value) == (name, None)
    assert found.constellation.confidence > 0.6


def test_single_carriers_of_two_constellations() -> None:
    frames = [draw(RandomCrop(LinearModem(name, samples_per_symbol=8)), 12, 8192) for name in ("bpsk", "qpsk")]
    found = identify(torch.cat(frames))
    assert set(found.constellations.value or ()) == {"bpsk", "qpsk"}
    assert found.constellation_shares.value == pytest.approx((0.5, 0.5), abs=0.05)
    assert found.constellation.confidence < 0.6


def test_the_shortest_frames_and_a_single_one_give_an_answer() -> None:
    assert identify(draw(WhiteNoise(), 1, 512)).fft_size.value is None
    assert identify(torch.ones((3, 600), dtype=torch.complex64) * (1 + torch.arange(600) % 2)).fft_size.value is None
    one = identify(draw(RandomCrop(OfdmModem()), 1, 8192))
    assert (one.fft_size.value, one.cyclic_prefix_length.value) == (64, 16)


def recordings(kind: str) -> Path:
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: no real recordings here")
    return Path(os.environ["RFSEP_RECORDINGS"]) / kind


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_real_wifi(split: str) -> None:
    source = SigmfRecordings(recordings("wifi20"), ROOT / "data" / "splits" / "wifi20.json", split)
    source.paths = [path for path in source.paths if "conducted" in path.name]
    found = identify(draw(source, 24, 8192), 20e6)
    assert (found.kind.value, found.fft_size.value, found.cyclic_prefix_length.value) == ("ofdm", 64, 16)
    assert min(found.fft_size.confidence, found.cyclic_prefix_length.confidence) > 0.99
    assert found.constellation.confidence < 0.5  # several in a packet
    assert found.carrier_offset_hz.value == pytest.approx(-35e3, abs=3e3)


@pytest.mark.parametrize("name", ["lte20-f1815p3-a", "lte20-f1890", "lte20-f2360"])
def test_real_lte(name: str) -> None:
    capture = open_capture(recordings("lte20") / f"{name}.sigmf-meta")
    samples = torch.from_numpy(capture.read(0, capture.facts.num_samples))
    found = identify((samples - samples.mean()).unfold(0, 16384, 65536), 19.2e6)
    assert (found.fft_size.value, found.statistical_period.value) == (1280, 9600)
    assert (found.cyclic_prefix_length.value, found.first_cyclic_prefix_length.value) == (90, 100)
    assert found.kind.confidence > 0.99
