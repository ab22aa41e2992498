"""802.11 packets as interference: their segments, the estimator, and real recordings."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rfsep.mixtures.mix import Mixer
from rfsep.separators.inference.symbol_posterior import make_response
from rfsep.separators.wifi.packet_decoding import cancelled
from rfsep.separators.wifi.packet_runs import Run, Runs, runs_of
from rfsep.separators.wifi.packet_segments import LENGTH, Kind, Segment, features, segment
from rfsep.separators.wifi.packet_symbols import Residual
from rfsep.separators.wifi.packets import PacketLmmse, WindowModel, field_covariance, segment_precision
from rfsep.signals import wifi
from rfsep.signals.constellations import constellation
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.recordings import SigmfRecordings
from rfsep.types import InputError

ROOT = Path(__file__).parents[3]
MODEM = LinearModem()
NONE = torch.zeros((0, 0), dtype=torch.complex64)
KINDS = [(False, False), (True, False), (True, True)]  # detect, cancel
OFFSET = -0.11  # carrier spacings: 34 kHz
CHANNEL = torch.tensor([1.0, 0.3 + 0.2j, -0.1j], dtype=torch.complex128)


def waveform(values: Tensor, length: int, prefix: int) -> Tensor:
    """Carriers complex128 [..., 56] on the air, a prefix in front: complex128 [..., length], unit power."""
    grid = torch.zeros((*values.shape[:-1], 64), dtype=torch.complex128)
    grid[..., wifi.carriers() % 64] = values
    body = torch.fft.ifft(grid) * 64 / values.abs().square().sum(-1, keepdim=True).sqrt()
    return body[..., (torch.arange(length) - prefix) % 64]


def symbols(count: int, generator: torch.Generator) -> Tensor:
    """Symbols of 16-QAM on 52 carriers: complex128 [count, 80]."""
    points = constellation("qam16").to(torch.complex128)
    values = points[torch.randint(0, 16, (count, 56), generator=generator)]
    return waveform(values * (wifi.carriers().abs() <= 26), 80, 16)


def packet(num_symbols: int, generator: torch.Generator) -> Tensor:
    """Both training fields and symbols, unit power."""
    number = wifi.carriers()
    short = torch.where((number % 4 == 0) & (number.abs() <= 24), 1 + 1j, 0).to(torch.complex128)
    parts = [waveform(short, wifi.SHORT_FIELD, 0), waveform(wifi.long_training().to(torch.complex128), 160, 32)]
    return torch.cat([*parts, symbols(num_symbols, generator).flatten()])


def air(layout: list[int], num_samples: int, power: float, generator: torch.Generator) -> tuple[Tensor, list[Segment]]:
    """Packets of ``layout[i]`` symbols, 200 samples apart, the first at sample 120: complex64 [T], and segments."""
    signal, expected, place = torch.zeros(num_samples, dtype=torch.complex128), [], 120
    end = 0
    for count in layout:
        sent = packet(count, generator)[: max(0, num_samples - place)]
        signal[place : place + len(sent)] = sent
        expected.append(Segment(Kind.GAP, end, place))
        for kind in (Kind.SHORT, Kind.LONG, *[Kind.SYMBOL] * count):
            if place < num_samples:
                expected.append(Segment(kind, place, place + LENGTH[kind]))
            place += LENGTH[kind]
        end, place = place, place + 200
    if end < num_samples:
        expected.append(Segment(Kind.GAP, end, num_samples))
    spread = torch.zeros_like(signal)
    for delay, tap in enumerate(CHANNEL):
        spread[delay:] += tap * signal[: num_samples - delay]
    spread = spread * torch.polar(torch.ones(num_samples), 2 * torch.pi * OFFSET / 64 * torch.arange(num_samples))
    noise = torch.randn(num_samples, dtype=torch.complex128, generator=generator)
    return (power**0.5 * (spread + 0.01 * noise)).to(torch.complex64), expected


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_long_training_sequence_repeats_and_is_the_standards_waveform() -> None:
    """Table I-6 of IEEE 802.11-2020: 0.156, -0.005 - 0.120j, ... behind its prefix; -0.078 begins the prefix."""
    found = waveform(wifi.long_training().to(torch.complex128), 160, 32) * 52**0.5 / 64
    assert torch.allclose(found[32:96], found[96:])
    expected = torch.tensor([0.156, -0.005 - 0.120j, 0.040 - 0.111j, 0.097 + 0.083j], dtype=torch.complex128)
    assert (found[32:36] - expected).abs().max() < 1e-3
    assert abs(complex(found[0]) + 0.156) < 1e-3


@pytest.mark.parametrize("power", [10.0, 1000.0])
def test_segments_are_found_beneath_the_soi(power: float, generator: torch.Generator) -> None:
    """Every field of two packets and of one that the window cuts, with the carrier offset, level and gaps."""
    interference, expected = air([6, 9, 20], 2560, power, generator)
    mixture = MODEM.sample(1, 2560, generator).waveform + interference
    found = features(mixture, MODEM)
    segments = segment(found)[0]
    assert segments[0].start == 0
    assert segments[-1].stop >= 2560
    assert all(one.stop == other.start for one, other in pairwise(segments))
    segments = [one for one in segments if one.kind != Kind.UNKNOWN or one.stop - one.start > 8]  # a packet's tail
    assert [one.kind for one in segments] == [one.kind for one in expected]
    assert max(abs(one.start - other.start) for one, other in zip(segments, expected, strict=True)) <= 8
    runs = runs_of(segments, found, 0)
    assert len(runs.known) == 3
    for run in runs.known.values():
        assert run.offset == pytest.approx(OFFSET, abs=3e-3)
        assert 10 * torch.log10(torch.tensor(run.level / power)).item() == pytest.approx(0.6, abs=1.0)
        assert run.error < 0.01


def test_covariances_are_those_of_the_waveforms(generator: torch.Generator) -> None:
    """Against the average over many drawn symbols, and unit power for every kind."""
    for kind in LENGTH:
        covariance = field_covariance(kind, OFFSET, 0.0)
        assert covariance.diagonal().real[8:].mean() == pytest.approx(1.0, abs=0.02)
    drawn = symbols(3000, generator)
    turned = drawn * torch.polar(torch.ones(80).double(), 2 * torch.pi * OFFSET / 64 * torch.arange(80).double())
    sample = turned.T @ turned.conj() / len(turned)
    model = field_covariance(Kind.SYMBOL, OFFSET, 0.0)
    assert (sample - model)[8:, 8:].abs().mean() < 0.03  # 1 / sqrt(3000), and the outer carriers' small share
    assert model[70, 6].abs() > 0.99


def test_estimate_is_the_dense_solution(generator: torch.Generator) -> None:
    """C_s (C_s + C_b)^-1 y with the same block-diagonal C_b, written out."""
    interference, _ = air([4, 3], 800, 30.0, generator)
    mixture = MODEM.sample(1, 800, generator).waveform + interference
    found = features(mixture, MODEM)
    segments = segment(found)[0]
    model = WindowModel(segments, runs_of(segments, found, 0), found, 0)
    precision = torch.zeros((800, 800), dtype=torch.complex128)
    for index, one in enumerate(segments):
        part, place = segment_precision(model, index, 800, {}), slice(max(one.start, 0), min(one.stop, 800))
        precision[place, place] = torch.diag(part).to(precision.dtype) if part.ndim == 1 else part
    R = make_response(MODEM, 800, whole=True).waveforms
    soi = R @ R.mH
    expected = soi @ torch.linalg.solve(soi + torch.linalg.inv(precision), mixture[0].to(torch.complex128))
    estimate = PacketLmmse(MODEM, NONE).separate(mixture).soi[0]
    assert (estimate - expected).abs().max() < 1e-4


def test_linear_and_detected_against_the_matched_filter_on_made_packets(generator: torch.Generator) -> None:
    rows = [air([6, 9, 20], 2560, 16.0, generator)[0] for _ in range(4)]
    sent = MODEM.sample(4, 2560, generator)
    mixture = sent.waveform + torch.stack(rows)
    wrong = [float((bits != sent.bits).float().mean()) for bits in receivers(mixture)]
    assert wrong[1] < 0.35 * wrong[0]
    assert wrong[2] < 0.5 * wrong[1]


def receivers(mixture: Tensor) -> list[Tensor]:
    """Bits of the matched filter, the linear estimate, detection, and detection without decoded packets."""
    matched = MODEM.decide(mixture)
    return [matched, *(PacketLmmse(MODEM, NONE, *kind).separate(mixture).bits for kind in KINDS)]


def test_bit_errors_in_recorded_packets() -> None:
    """-18 dB, training split: a third of the matched filter's errors or less, and fewer with every step."""
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: wifi20 needs recordings")
    folder = Path(os.environ["RFSEP_RECORDINGS"]) / "wifi20"
    source = SigmfRecordings(folder, ROOT / "data" / "splits" / "wifi20.json", "train")
    batch = Mixer(MODEM, source).draw(torch.full((8,), -18.0), 2560, torch.Generator().manual_seed(5))
    wrong = [float((bits != batch.bits).float().mean()) for bits in receivers(batch.mixture)]
    assert wrong[1] <= 0.4 * wrong[0]
    assert wrong[2] < wrong[1]
    assert wrong[3] < 0.9 * wrong[2]


def header(generator: torch.Generator, quarter_turn: bool) -> Tensor:
    """A BPSK symbol complex128 [80] of coded bits as in 17.3.5.6 and 17.3.5.7; HT-SIG turns data, and no pilots."""
    bits = [*torch.randint(0, 2, (18,), generator=generator).tolist(), *[0] * 6]
    memory, coded = [0] * 7, list[int]()
    for bit in bits:
        memory = [bit, *memory[:-1]]
        coded += [sum(memory[tap] for tap in taps) % 2 for taps in ((0, 2, 3, 5, 6), (0, 1, 2, 3, 6))]
    number, pilots = wifi.carriers().tolist(), {-21: 1.0, -7: 1.0, 7: 1.0, 21: -1.0}
    data = [place for place, one in enumerate(number) if abs(one) <= 26 and one not in pilots]
    values = torch.zeros(56, dtype=torch.complex128)
    for place, bit in enumerate(coded):
        values[data[3 * (place % 16) + place // 16]] = (2 * bit - 1) * (1j if quarter_turn else 1)
    for one, value in pilots.items():
        values[number.index(one)] = value
    return waveform(values, 80, 16)


def test_headers_are_decoded_and_taken_away_with_their_pilots(generator: torch.Generator) -> None:
    """L-LTF, SIGNAL and HT-SIG through rays, without a SOI: what remains is the noise."""
    training = waveform(wifi.long_training().to(torch.complex128), 160, 32)
    sent = torch.cat([training, *(header(generator, turn) for turn in (False, True, True))])
    heard = sum(tap * sent.roll(delay) for delay, tap in enumerate(CHANNEL))
    time = torch.arange(len(sent), dtype=torch.float64)
    heard = 4 * heard * torch.polar(torch.ones_like(time), 2 * torch.pi * OFFSET / 64 * time)
    heard = heard + 0.02 * torch.randn(len(sent), dtype=torch.complex128, generator=generator)
    starts = (0, 160, 240, 320, 400)
    kinds = (Kind.LONG, Kind.SYMBOL, Kind.SYMBOL, Kind.SYMBOL, Kind.HT_SHORT)
    segments = [Segment(kind, start, start + LENGTH[kind]) for kind, start in zip(kinds, starts, strict=True)]
    run = Run(OFFSET, float(heard.abs().square().mean()), 2e-4)
    response = make_response(MODEM, len(sent), True)
    nothing = torch.zeros((response.waveforms.shape[1],) * 2, dtype=torch.complex128)
    known = cancelled(heard, segments, Runs([0] * 5, {0: run}), Residual(heard, response, nothing))
    assert known.known.all()
    rest = (heard - known.waveform).unfold(0, 80, 80)[:, 4:]  # The symbol before smears into the first four samples.
    assert 10 * torch.log10(rest.abs().square().mean(1)).max().item() < -30


def test_packets_of_recordings_are_decoded_beneath_the_soi() -> None:
    """-12 dB, validation split: decoding leaves a third of the errors."""
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: wifi20 needs recordings")
    folder = Path(os.environ["RFSEP_RECORDINGS"]) / "wifi20"
    source = SigmfRecordings(folder, ROOT / "data" / "splits" / "wifi20.json", "val")
    batch = Mixer(MODEM, source).draw(torch.full((12,), -12.0), 2560, torch.Generator().manual_seed(7))
    wrong = [float((bits != batch.bits).float().mean()) for bits in receivers(batch.mixture)]
    assert wrong[3] < 0.33 * wrong[2]


def test_detection_cannot_be_left_out_before_decoding() -> None:
    with pytest.raises(InputError, match="cancel is true but detect is false"):
        PacketLmmse(MODEM, NONE, detect=False, cancel=True)


@pytest.mark.parametrize(("detect", "cancel"), KINDS)
def test_rows_do_not_see_their_neighbours(detect: bool, cancel: bool, generator: torch.Generator) -> None:
    """1,500 samples are two windows."""
    rows = torch.stack([air([4, 6], 1500, power, generator)[0] for power in (10.0, 100.0)])
    mixture = MODEM.sample(2, 1500, generator).waveform + rows
    separator = PacketLmmse(MODEM, NONE, detect, cancel, block=1280)
    together = separator.separate(mixture)
    for row in range(2):
        alone = separator.separate(mixture[row : row + 1])
        assert torch.allclose(alone.soi[0], together.soi[row], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("detect", "cancel"), KINDS)
@pytest.mark.parametrize("length", [1, 100, 160, 161, 700, 2600])
def test_silence_noise_and_any_length_give_numbers(
    detect: bool, cancel: bool, length: int, generator: torch.Generator
) -> None:
    mixture = torch.zeros((3, length), dtype=torch.complex64)
    mixture[1] = 100 * torch.randn(length, dtype=torch.complex64, generator=generator)
    mixture[2, length // 2 :] = 1e3
    estimate = PacketLmmse(MODEM, NONE, detect, cancel).separate(mixture)
    assert estimate.soi.shape == mixture.shape
    assert torch.isfinite(torch.view_as_real(estimate.soi)).all()
    assert estimate.soi[0].abs().max() < 1e-3 or detect


def test_soi_that_fills_the_band_is_estimated_all_the_same(generator: torch.Generator) -> None:
    """Without room beside the SOI nothing is found; the estimate is then no worse than silence."""
    modem = OfdmModem()
    soi = modem.sample(2, 1600, generator).waveform
    noise = torch.randn(soi.shape, dtype=torch.complex64, generator=generator)
    estimate = PacketLmmse(modem, NONE).separate(soi + noise).soi
    assert (estimate - soi).abs().square().mean() < soi.abs().square().mean()
