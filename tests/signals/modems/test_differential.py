"""Differential modulation against plain numpy, and closed-form error rates of both detections."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import ive
from scipy.stats import ncx2, norm

from rfsep.app.config import build_modem, soi_of
from rfsep.signals.constellations import constellation
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.modems.carriers import turned_psk
from rfsep.signals.modems.differential import Differential, differential_bits, line_bits
from rfsep.types import InputError, Modem


def random(num_bits: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (2, num_bits), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qpsk_axes", "psk8"])
@pytest.mark.parametrize("extra", [(0,), (1, 0)])
def test_bits_are_the_differences_of_points(name: str, extra: tuple[int, ...]) -> None:
    points = constellation(name)
    width = int(math.log2(len(points)))
    bits = random(width * 60, 1)
    line = line_bits(bits, points, extra)
    assert torch.equal(differential_bits(line, points, extra), bits)
    weights = 2 ** np.arange(width - 1, -1, -1)
    data, sent = (points.numpy()[one.numpy().reshape(2, 60, width) @ weights] for one in (bits, line))
    steps = sent[:, 1:] / sent[:, :-1]
    added = np.exp(2j * np.pi / len(points) * np.resize(extra, 60))
    assert np.abs(steps - (data * added / points[0].item())[:, 1:]).max() < 1e-5


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "psk8"])
def test_a_turn_of_all_symbols_changes_the_first_alone(name: str) -> None:
    points = constellation(name)
    width = int(math.log2(len(points)))
    bits = random(width * 40, 2)
    line = line_bits(bits, points)
    turn = points[1] / points[0]
    moved = (points * turn)[:, None].sub(points).abs().argmin(1)
    shifts = torch.arange(width - 1, -1, -1)
    index = (line.view(2, 40, width).long() << shifts).sum(2)
    turned = ((moved[index][..., None] >> shifts) & 1).flatten(1).byte()
    assert torch.equal(differential_bits(turned, points)[:, width:], bits[:, width:])
    assert not torch.equal(differential_bits(turned, points)[:, :width], bits[:, :width])


def test_pi4_dqpsk_turns_by_odd_multiples_of_45_degrees() -> None:
    """Steps of TETRA (EN 300 392-2, 5.5.2.3) with its two bits exchanged: 00 +45, 10 +135, 11 -135, 01 -45 degrees."""
    modem = build_modem(soi_of("pi4_dqpsk"))
    bits = random(2 * 64, 3)
    outputs = modem.analyse(modem.modulate(bits)).numpy()
    own = outputs * np.exp(1j * np.pi / 4 * (np.arange(64) % 2))  # points as they are on the air
    steps = np.rad2deg(np.angle(own[:, 1:] / own[:, :-1])).round()
    told = {(0, 0): 45, (1, 0): 135, (1, 1): -135, (0, 1): -45}
    expected = [[told[tuple(pair)] for pair in row] for row in bits.numpy().reshape(2, 64, 2)[:, 1:].tolist()]
    assert np.abs(steps - np.array(expected)).max() <= 1
    assert len({round(angle) % 90 for angle in np.rad2deg(np.angle(own[:, 0::2])).flatten().tolist()}) == 1
    assert np.abs(np.angle(own[0, 1] ** 4 / own[0, 0] ** 4)) == pytest.approx(np.pi, abs=0.05)


def test_gfsk_bits_are_the_sign_of_the_frequency() -> None:
    modem = build_modem(soi_of("gfsk"))
    bits = random(400, 4)
    waveform = modem.modulate(bits).numpy()
    turns = np.angle(waveform[:, 1:] / waveform[:, :-1])
    for k in range(10, 380):
        # A symbol of the frequency has its middle at the beginning of the symbol of the phase.
        assert ((turns[:, 8 * k - 1] > 0) == (bits[:, k].numpy() == 1)).all()


def differential_qpsk(ebno: float) -> float:
    """Gray-coded, differences compared (Proakis and Salehi, Digital Communications, 5th ed., eq. 4.5-62)."""
    a, b = (math.sqrt(2 * ebno * (1 + sign * math.sqrt(0.5))) for sign in (-1, 1))
    marcum = ncx2.sf(b**2, 2, a**2)
    return float(marcum - 0.5 * ive(0, a * b) * math.exp(a * b - (a**2 + b**2) / 2))


def coherent_qpsk(ebno: float) -> float:
    """Rates of wrong differences, from independent errors of the signs of two neighbouring symbols."""
    wrong = norm.sf(math.sqrt(2 * ebno))
    gray = [(0, 0), (0, 1), (1, 1), (1, 0)]
    total = 0.0
    for first, second in itertools.product(itertools.product((0, 1), repeat=2), repeat=2):
        flips = sum(first) + sum(second)
        likelihood = wrong**flips * (1 - wrong) ** (4 - flips)
        for one, two in itertools.product(range(4), repeat=2):
            seen = [gray.index((gray[p][0] ^ e[0], gray[p][1] ^ e[1])) for p, e in ((one, first), (two, second))]
            sent, found = gray[(two - one) % 4], gray[(seen[1] - seen[0]) % 4]
            total += likelihood / 16 * (sum(a != b for a, b in zip(sent, found, strict=True))) / 2
    return total


MODEMS = {
    "pi/4-DQPSK": (lambda: build_modem(soi_of("pi4_dqpsk")), differential_qpsk),
    "DQPSK": (lambda: build_modem(soi_of("dqpsk")), coherent_qpsk),
    "DQPSK, differences": (lambda: Differential(LinearModem(), detection="differential"), differential_qpsk),
    "DBPSK": (
        lambda: Differential(LinearModem("bpsk")),
        lambda ebno: 2 * norm.sf(math.sqrt(2 * ebno)) * norm.cdf(math.sqrt(2 * ebno)),
    ),
    "DBPSK, differences": (
        lambda: Differential(LinearModem("bpsk"), detection="differential"),
        lambda ebno: math.exp(-ebno) / 2,
    ),
}


def noisy(modem: Modem, ebno: float, num_samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sampled = modem.sample(10, num_samples, generator)
    bit_energy = modem.symbol_period / modem.num_bits(modem.symbol_period)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    return sampled.waveform + math.sqrt(bit_energy / ebno) * noise, sampled.bits


@pytest.mark.parametrize("ebno_db", [2.0, 6.0])
@pytest.mark.parametrize("name", MODEMS)
def test_error_rate_in_white_noise_is_the_closed_form(name: str, ebno_db: float) -> None:
    modem, closed_form = MODEMS[name][0](), MODEMS[name][1]
    received, bits = noisy(modem, 10 ** (ebno_db / 10), 16 * 12_000, 5)
    rate = float((modem.decide(received) != bits).double().mean())
    expected = closed_form(10 ** (ebno_db / 10))
    # Errors come in pairs.
    assert abs(rate - expected) < 3 * math.sqrt(2 * expected / bits.numel())


def test_differences_need_no_phase() -> None:
    modem = MODEMS["pi/4-DQPSK"][0]()
    received, bits = noisy(modem, 10**0.6, 16 * 12_000, 6)
    turns = torch.polar(torch.ones(10), torch.arange(10) * 0.7)[:, None]
    drift = torch.polar(torch.ones(received.shape[1]), 1e-3 * torch.arange(received.shape[1]))
    expected = differential_qpsk(10**0.6)
    rate = float((modem.decide(received * turns) != bits).double().mean())
    assert abs(rate - expected) < 3 * math.sqrt(2 * expected / bits.numel())
    # A carrier turns the differences by 0.9 degrees.
    rate = float((modem.decide(received * drift) != bits).double().mean())
    assert rate < 1.1 * expected


@pytest.mark.parametrize("name", [*MODEMS, "gfsk"])
def test_soft_bits_are_calibrated(name: str) -> None:
    modem = build_modem(soi_of("gfsk")) if name == "gfsk" else MODEMS[name][0]()
    variance, per_symbol = 0.4, (len(modem.constellation) - 1).bit_length()
    received, bits = noisy(modem, 1 / (per_symbol * variance), 16 * 4000, 7)
    llr = modem.demodulate(received, variance)
    assert torch.equal(llr > 0, modem.decide(received) == 1) or per_symbol > 1 or name == "gfsk"
    sure, right = torch.sigmoid(llr.abs()), (llr > 0) == (bits == 1)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 0.99)):
        kept = (sure > low) & (sure <= high)
        assert float(right[kept].double().mean()) == pytest.approx(float(sure[kept].mean()), abs=0.03)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="needs the evenly spaced points of a PSK"):
        Differential(LinearModem("qam16"))
    with pytest.raises(InputError, match=r"turn_deg 45 beside rotations_deg \[0\.0\] leads off the points"):
        Differential(LinearModem(), turn_deg=45)
    with pytest.raises(InputError, match="unknown detection 'both'"):
        Differential(turned_psk(), detection="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pi4_dqpsk", "dqpsk", "gfsk", "ofdm_80211a", "ofdm_pilots", "fsk2", "qpsk", "msk"])
def test_symbols_go_on_where_earlier_ones_ended(name: str) -> None:
    """As a stream that is modulated piece by piece."""
    modem = build_modem(soi_of(name))
    each = modem.num_bits(modem.symbol_period)
    bits = random(30 * each, 8)
    whole = modem.symbols(bits)
    pieces, sent, last = [], 0, None
    for end in (7, 8, 20, 30):
        pieces.append(modem.symbols(bits[:, sent * each : end * each], sent, last))
        sent, last = end, pieces[-1][:, -1:]
    assert torch.equal(torch.cat(pieces, 1), whole)
    waveform = modem.synthesise(whole, 30 * modem.symbol_period)
    assert torch.equal(modem.decide(waveform), bits)
