"""Bits of the nearest point against closed forms, against other libraries' demappers, and log-likelihood ratios."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2, norm

from rfsep.signals.constellations import bits_per_symbol, constellation, demap, hard_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem

REFERENCE = Path(__file__).parents[1] / "reference" / "commpy.npz"
AXES = {"bpsk": (2, 1), "qpsk": (2, 2), "pam4": (4, 1), "qam16": (4, 2), "qam64": (8, 2)}  # levels, axes
SNR_DB = {  # Es / N0 with error rates between about .2 and .001
    "bpsk": (-4.0, -1.0, 2.0, 6.0),
    "qpsk": (-1.0, 2.0, 5.0, 9.0),
    "psk8": (3.0, 6.0, 9.0, 13.0),
    "pam4": (5.0, 8.0, 11.0, 13.0),
    "qam16": (6.0, 9.0, 12.0, 15.0),
    "qam64": (9.0, 13.0, 17.0, 20.0),
}
MULTI_LEVEL = ("pam4", "qam16", "qam64")


def pam_error_rate(levels: int, ratio: float) -> float:
    """Exact rate of Gray PAM (Cho and Yoon, IEEE Trans. Commun. 50(7), 2002); ``ratio``: half distance over sigma."""
    width, total = int(math.log2(levels)), 0.0
    for bit in range(1, width + 1):
        for i in range(levels - levels // 2**bit):
            turn = i * 2 ** (bit - 1) / levels
            weight = (-1) ** math.floor(turn) * (2 ** (bit - 1) - math.floor(turn + 0.5))
            total += 2 / levels * weight * norm.sf((2 * i + 1) * ratio)
    return total / width


def psk8_error_rate(snr: float) -> float:
    """The phase's density (Proakis, Digital Communications, eq. 4.3-9) over the sectors that turn 1 to 7 steps."""

    def density(angle: float) -> float:
        along = math.sqrt(2 * snr) * math.cos(angle)
        tail = math.sqrt(2 * math.pi) * along * math.exp(along**2 / 2 - snr) * norm.cdf(along)
        return float(math.exp(-snr) + tail) / (2 * math.pi)

    gray = [k ^ (k >> 1) for k in range(8)]
    total = 0.0
    for step in range(1, 8):
        share = quad(density, (step - 0.5) * math.pi / 4, (step + 0.5) * math.pi / 4)[0]
        total += share * np.mean([(gray[k] ^ gray[(k + step) % 8]).bit_count() for k in range(8)]) / 3
    return total


def error_rate(name: str, snr: float) -> float:
    """Of points of unit power in circular noise of variance 1 / ``snr``."""
    if name == "psk8":
        return psk8_error_rate(snr)
    levels, axes = AXES[name]
    return pam_error_rate(levels, math.sqrt(3 / (axes * (levels**2 - 1)) * 2 * snr))


def wrong_bits(name: str, decided: torch.Tensor, sent: torch.Tensor) -> tuple[float, float]:
    """Error rate, and its standard error over symbols, whose bits are not independent."""
    wrong = (decided != sent).view(-1, bits_per_symbol(constellation(name))).double().mean(1)
    return float(wrong.mean()), float(wrong.std()) / math.sqrt(len(wrong))


def received(name: str, snr_db: float, num_symbols: int = 2500) -> tuple[OfdmModem, torch.Tensor, torch.Tensor]:
    """Modem, waveform complex64 and bits of carriers in white noise, without interference between symbols."""
    modem = OfdmModem(name)
    generator = torch.Generator().manual_seed(int(10 * snr_db) + 100)
    sampled = modem.sample(1, modem.symbol_period * num_symbols, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    return modem, sampled.waveform + 10 ** (-snr_db / 20) * noise, sampled.bits


def test_closed_forms_are_those_of_textbooks() -> None:
    """BPSK: Q(sqrt(2 Es/N0)); 16-QAM: 3/4 Q(x) + 1/2 Q(3 x) - 1/4 Q(5 x) with x = sqrt(Es / (5 N0))."""
    assert error_rate("bpsk", 2.0) == pytest.approx(norm.sf(2.0))
    assert error_rate("qpsk", 4.0) == pytest.approx(norm.sf(2.0))
    x = math.sqrt(8.0 / 5)
    assert error_rate("qam16", 8.0) == pytest.approx(0.75 * norm.sf(x) + 0.5 * norm.sf(3 * x) - 0.25 * norm.sf(5 * x))
    high = 10**1.6  # neighbours alone: 2 / 3 Q(sqrt(2 Es/N0) sin(pi / 8))
    assert error_rate("psk8", high) == pytest.approx(
        2 / 3 * norm.sf(math.sqrt(2 * high) * math.sin(math.pi / 8)), rel=1e-4
    )


@pytest.mark.parametrize(("name", "snr_db"), [(name, snr_db) for name, levels in SNR_DB.items() for snr_db in levels])
def test_error_rate_in_white_noise_is_the_closed_form(name: str, snr_db: float) -> None:
    """Within three standard errors; signs of log-likelihood ratios at unit noise variance miss that by far."""
    modem, waveform, bits = received(name, snr_db)
    expected = error_rate(name, 10 ** (snr_db / 10))
    found, deviation = wrong_bits(name, modem.decide(waveform), bits)
    assert 5e-4 < expected < 0.25
    assert abs(found - expected) < 3 * deviation
    signs, deviation = wrong_bits(name, modem.demodulate(waveform) > 0, bits)
    assert (signs - expected > 4 * deviation) == (name in MULTI_LEVEL)


@pytest.mark.parametrize(
    ("sinr_db", "expected", "unit_variance"),
    [(-6, 0.140, 0.158), (-3, 0.0778, 0.111), (0, 0.0274, 0.075), (3, 0.00436, 0.047)],
)
def test_qam16_behind_the_matched_filter(sinr_db: int, expected: float, unit_variance: float) -> None:
    """The pulse holds 16 samples of energy; beside it the rates that the signs at unit noise variance gave."""
    generator = torch.Generator().manual_seed(sinr_db + 10)
    modem = LinearModem("qam16")
    sampled = modem.sample(10, 40960, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    waveform = sampled.waveform + 10 ** (-sinr_db / 20) * noise
    assert error_rate("qam16", 16 * 10 ** (sinr_db / 10)) == pytest.approx(expected, rel=0.02)
    found, deviation = wrong_bits("qam16", modem.decide(waveform), sampled.bits)
    assert abs(found - error_rate("qam16", 16 * 10 ** (sinr_db / 10))) < 3 * deviation
    signs, deviation = wrong_bits("qam16", modem.demodulate(waveform) > 0, sampled.bits)
    assert signs == pytest.approx(unit_variance, abs=3 * deviation + 5e-4)


@pytest.mark.parametrize("modem", [LinearModem("bpsk"), LinearModem("qpsk"), LinearModem("qpsk", 4), OfdmModem()])
@pytest.mark.parametrize("sinr_db", [-30.0, -12.0, 0.0])
def test_bits_of_one_level_are_the_signs_of_their_ratios(modem: LinearModem | OfdmModem, sinr_db: float) -> None:
    """Every figure of BPSK and QPSK that was made with the signs at unit noise variance stands, bit for bit."""
    generator = torch.Generator().manual_seed(1)
    waveform = modem.sample(4, 40960, generator).waveform
    waveform = waveform + 10 ** (-sinr_db / 20) * torch.randn(
        waveform.shape, dtype=torch.complex64, generator=generator
    )
    assert torch.equal(modem.decide(waveform), (modem.demodulate(waveform) > 0).byte())


def test_a_known_gain_is_undone() -> None:
    modem, waveform, _ = received("qam16", 9.0, 20)
    gain = 2.0 ** -(torch.arange(20 * 56) % 5)  # powers of two, which no rounding changes
    shrunk = modem.synthesise(modem.analyse(waveform) * gain, waveform.shape[1])
    assert float((modem.decide(shrunk, gain) != modem.decide(waveform)).double().mean()) < 1e-3
    assert float((modem.decide(shrunk) != modem.decide(waveform)).double().mean()) > 0.1


def test_silence_is_the_first_of_the_nearest_points() -> None:
    for name in ("bpsk", "qpsk", "qam16"):
        assert not hard_bits(torch.zeros((2, 3), dtype=torch.complex64), constellation(name)).any()
    assert hard_bits(torch.zeros((2, 0), dtype=torch.complex64), constellation("qam16")).shape == (2, 0)


@pytest.mark.parametrize("name", ["psk8", "qam16", "qam64"])
def test_hard_bits_are_commpys_under_the_label_map(name: str) -> None:
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        points, symbols, bits = (arrays[f"{name}_{key}"] for key in ("points", "symbols", "bits"))
    ours = constellation(name)
    label = np.abs(ours.numpy()[:, None] - points).argmin(1)  # CommPy's label of each of our points
    assert np.abs(ours.numpy() - points[label]).max() < 1e-6
    assert (name != "psk8") or label.tolist() == list(range(8))  # the same labels of 8-PSK
    width = bits_per_symbol(ours)
    places = 2 ** np.arange(width - 1, -1, -1)
    found = hard_bits(torch.from_numpy(symbols), ours).numpy().reshape(-1, width) @ places
    np.testing.assert_array_equal(label[found], bits.reshape(-1, width) @ places)


@pytest.mark.parametrize(("name", "kind"), [("pam4", "pam"), ("qpsk", "qam"), ("qam16", "qam"), ("qam64", "qam")])
def test_hard_bits_are_sionnas(name: str, kind: str) -> None:
    """Its demapper as the challenge's organisers call it: exact, noise variance 1e-4, signs."""
    mapping = pytest.importorskip("sionna.phy.mapping")
    points = constellation(name)
    symbols = 0.8 * torch.randn((4, 2000), dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    demapper = mapping.Demapper("app", kind, bits_per_symbol(points), device="cpu")
    assert torch.equal(hard_bits(symbols, points), (demapper(symbols, torch.tensor(1e-4)) > 0).byte())


def misfit(llr: torch.Tensor, bits: torch.Tensor, num_bins: int = 12) -> float:
    """Chi-square of the ones in bins of equal size against the sum of their probabilities."""
    order = llr.flatten().argsort()
    chance, ones = llr.flatten()[order].double().sigmoid(), bits.flatten()[order].double()
    total = 0.0
    for p, one in zip(chance.chunk(num_bins), ones.chunk(num_bins), strict=True):
        total += float((one - p).sum() ** 2 / (p * (1 - p)).sum())
    return total


@pytest.mark.parametrize(("name", "snr_db"), [("qpsk", 1.0), ("qpsk", 4.0), ("qam16", 5.0), ("qam16", 9.0)])
def test_soft_bits_are_calibrated_at_the_right_noise_variance_alone(name: str, snr_db: float) -> None:
    modem, waveform, bits = received(name, snr_db)
    variance = 10 ** (-snr_db / 10)
    assert misfit(modem.demodulate(waveform, variance), bits) < chi2.ppf(0.999, 12)
    for wrong in (1.0, 1.1 * variance, variance / 1.1):
        assert misfit(modem.demodulate(waveform, wrong), bits) > 2 * chi2.ppf(0.999, 12)


def test_a_variance_of_each_row_is_taken() -> None:
    points = constellation("qam16")
    symbols = torch.randn((2, 50), dtype=torch.complex64, generator=torch.Generator().manual_seed(4))
    both = demap(symbols, points, torch.tensor([[0.2], [0.7]]))
    assert torch.allclose(both[0], demap(symbols[0], points, 0.2))
    assert torch.allclose(both[1], demap(symbols[1], points, 0.7))
