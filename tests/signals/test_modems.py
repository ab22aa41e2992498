"""Modems against closed forms: error rates in white noise, exact shapes, independent convolution."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn
from scipy.stats import norm

from rfsep.signals.constellations import constellation, decide, demap, map_bits, posterior_mean, random_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.pulses import root_raised_cosine
from rfsep.types import InputError

LINEAR = [
    {},
    {"samples_per_symbol": 4},
    {"constellation_name": "qam16"},
    {"constellation_name": "bpsk"},
    {"span": 4},
    {"num_taps": 127, "unit_energy": False, "constellation_name": "qpsk_axes"},
]


def noise(shape: tuple[int, ...], variance: float, generator: torch.Generator) -> torch.Tensor:
    return math.sqrt(variance) * torch.randn(shape, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("ebno_db", [0.0, 2.0, 4.0, 6.0])
def test_qpsk_error_rate_in_white_noise_is_the_closed_form(ebno_db: float) -> None:
    """BER = Q(sqrt(2 Eb/N0)): Eb is the pulse's energy over two bits, 1e6 bits."""
    generator = torch.Generator().manual_seed(int(ebno_db))
    modem = LinearModem()
    num_bits, errors = 1_000_000, 0
    bit_energy = modem.pulse.square().sum().item() / 2
    variance = bit_energy / 10 ** (ebno_db / 10)
    for _ in range(10):
        sampled = modem.sample(10, 16 * 5000, generator)
        received = sampled.waveform + noise(tuple(sampled.waveform.shape), variance, generator)
        errors += int((modem.decide(received) != sampled.bits).sum())
    expected = norm.sf(math.sqrt(2 * 10 ** (ebno_db / 10)))
    assert abs(errors / num_bits - expected) < 3 * math.sqrt(expected * (1 - expected) / num_bits)


@pytest.mark.parametrize("ebno_db", [0.0, 2.0, 4.0, 6.0])
def test_ofdm_error_rate_in_white_noise_is_the_closed_form(ebno_db: float) -> None:
    """Eb of a data carrier, prefix not counted: with unitary transforms half the carrier's unit energy."""
    generator = torch.Generator().manual_seed(int(ebno_db))
    modem = OfdmModem()
    sampled = modem.sample(10, 80 * 893, generator)  # 1,000,160 bits
    variance = 0.5 / 10 ** (ebno_db / 10)
    received = sampled.waveform + noise(tuple(sampled.waveform.shape), variance, generator)
    rate = float((modem.decide(received) != sampled.bits).double().mean())
    expected = norm.sf(math.sqrt(2 * 10 ** (ebno_db / 10)))
    assert abs(rate - expected) < 3 * math.sqrt(expected * (1 - expected) / sampled.bits.numel())


@pytest.mark.parametrize("arguments", LINEAR)
def test_linear_modem_is_upsampling_and_convolution(arguments: dict[str, object]) -> None:
    modem = LinearModem(**arguments)  # type: ignore[arg-type]
    sampled = modem.sample(3, 2561, torch.Generator().manual_seed(1))
    symbols = map_bits(sampled.bits, modem.constellation).numpy().astype(complex)
    period = modem.symbol_period
    lead = (len(modem.pulse) - 1) // 2 - period // 2
    plain = upfirdn(modem.pulse.numpy(), symbols, period, axis=-1)[:, lead : lead + 2561]
    assert np.abs(sampled.waveform.numpy()[:, : plain.shape[1]] - plain).max() < 1e-5


@pytest.mark.parametrize("arguments", LINEAR)
def test_linear_modem_analysis_is_correlation_with_the_pulse(arguments: dict[str, object]) -> None:
    modem = LinearModem(**arguments)  # type: ignore[arg-type]
    waveform = noise((2, 1000), 1.0, torch.Generator().manual_seed(1))
    pulse, period = modem.pulse.numpy(), modem.symbol_period
    full = np.apply_along_axis(np.convolve, 1, waveform.numpy(), pulse[::-1])  # 'full' correlation
    centres = period // 2 + period * np.arange(modem.num_symbols(1000)) + (len(pulse) - 1) // 2
    assert np.abs(modem.analyse(waveform).numpy() - full[:, centres] / (pulse**2).sum()).max() < 1e-5


@pytest.mark.parametrize("num_samples", [1, 8, 9, 1000, 1001, 1007, 1008, 1009])
@pytest.mark.parametrize("modem", [LinearModem(), OfdmModem(), LinearModem(samples_per_symbol=4)])
def test_window_of_any_length_carries_the_symbols_whose_centre_it_holds(
    modem: LinearModem | OfdmModem, num_samples: int
) -> None:
    sampled = modem.sample(2, num_samples, torch.Generator().manual_seed(0))
    period = modem.symbol_period
    centres = sum(1 for k in range(num_samples) if k * period + period // 2 < num_samples)
    assert modem.num_symbols(num_samples) == centres
    assert sampled.waveform.shape == (2, num_samples)
    assert sampled.bits.shape == (2, modem.num_bits(num_samples)) == tuple(modem.decide(sampled.waveform).shape)


def test_ofdm_modem_is_the_textbook_formula() -> None:
    modem = OfdmModem("qam16", 64, 16, (4, 3))
    sampled = modem.sample(1, 160, torch.Generator().manual_seed(0))
    data = map_bits(sampled.bits, modem.constellation).numpy().reshape(2, 56)
    frequencies = np.r_[-28:0, 1:29]
    n = np.arange(-16, 64)
    waves = np.exp(2j * np.pi * np.outer(frequencies, n) / 64) / 8
    assert np.abs(sampled.waveform.numpy().reshape(2, 80) - data @ waves).max() < 1e-5


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16"])
def test_ofdm_round_trip_and_power(name: str) -> None:
    modem = OfdmModem(name, fft_size=128, cyclic_prefix_length=9, num_guard_carriers=(10, 7), dc_null=False)
    sampled = modem.sample(50, 137 * 40, torch.Generator().manual_seed(0))
    assert torch.equal(modem.decide(sampled.waveform), sampled.bits)
    assert abs(float(sampled.waveform.abs().square().mean()) - 111 / 128) < 0.01


def test_pulse_is_free_of_intersymbol_interference() -> None:
    """The raised cosine vanishes at other symbols; a long pulse must show it, the truncated one to -54 dB."""
    pulse = root_raised_cosine(16, 0.5, 16 * 64 + 1)
    raised = torch.nn.functional.conv1d(pulse[None, None], pulse[None, None], padding=1024)[0, 0][::16]
    assert raised.max().item() == pytest.approx(1.0, abs=1e-9)
    assert raised.abs().sort().values[-2].item() < 1e-4
    short = root_raised_cosine(16, 0.5, 129)
    isi = torch.nn.functional.conv1d(short[None, None], short[None, None], padding=128)[0, 0][::16]
    assert 10 * math.log10(isi.square().sum().item() - isi.max().item() ** 2) == pytest.approx(-54, abs=1)


def test_commpy_pulse_is_the_continuous_one() -> None:
    modem = LinearModem(num_taps=127, unit_energy=False)
    assert modem.pulse.max().item() == pytest.approx(1 - 0.5 + 2 / math.pi)
    assert modem.pulse.square().sum().item() == pytest.approx(15.9978, abs=1e-4)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16", "qam64", "pam4", "psk8", "qpsk_axes"])
def test_gray_neighbours_differ_in_one_bit(name: str) -> None:
    points = constellation(name)
    assert points.abs().square().mean().item() == pytest.approx(1.0)
    distance = (points[:, None] - points[None]).abs() + 10 * torch.eye(len(points))
    for i, j in (distance < distance.min() + 1e-3).nonzero().tolist():
        assert (i ^ j).bit_count() == 1


def test_natural_labels_are_not_gray() -> None:
    points = constellation("qpsk_axes_natural")
    angles = [round(math.degrees(math.atan2(p.imag, p.real))) for p in points.tolist()]
    assert angles == [-90, 0, 90, 180]


def test_unknown_constellation_is_named_with_the_choices() -> None:
    with pytest.raises(InputError, match="unknown constellation 'qam15'; choose one of bpsk, qpsk, qam16"):
        constellation("qam15")


@pytest.mark.parametrize("name", ["qpsk", "qam16"])
def test_llr_and_posterior_mean_are_those_of_enumeration(name: str) -> None:
    points = constellation(name)
    observed = noise((1, 7), 1.0, torch.Generator().manual_seed(3))
    likelihood = np.exp(-(np.abs(observed.numpy()[0][:, None] - points.numpy()) ** 2) / 0.3)
    width = int(math.log2(len(points)))
    llr = demap(observed, points, 0.3).numpy().reshape(7, width)
    for bit in range(width):
        one = np.array([(index >> (width - 1 - bit)) & 1 for index in range(len(points))], bool)
        assert llr[:, bit] == pytest.approx(np.log(likelihood[:, one].sum(1) / likelihood[:, ~one].sum(1)), abs=1e-3)
    mean = (likelihood * points.numpy()).sum(1) / likelihood.sum(1)
    assert posterior_mean(observed, points, 0.3).numpy()[0] == pytest.approx(mean, abs=1e-5)
    nearest = points.numpy()[likelihood.argmax(1)]
    assert decide(observed, points).numpy()[0] == pytest.approx(nearest)


def test_random_bits_are_fair_and_independent() -> None:
    bits = random_bits(3, 1_000_001, torch.Generator().manual_seed(0)).double()
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert bits.mean(1).sub(0.5).abs().max().item() < 4 * 0.5 / 1000
    signs = 1 - 2 * bits
    for lag in (1, 2, 3, 7, 8, 16, 64):  # 8: the same bit of neighbouring numbers
        assert (signs[:, lag:] * signs[:, :-lag]).mean(1).abs().max().item() < 4 / 1000
    assert (signs[0] * signs[1]).mean().abs().item() < 4 / 1000


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16", "qam64"])
@pytest.mark.parametrize("fft_size", [16, 64, 128])
def test_an_ofdm_waveform_is_the_sum_of_its_carriers(name: str, fft_size: int) -> None:
    """Small layouts take it from a table of eight bits, others from a transform; both equal the sum of definition."""
    generator, prefix = torch.Generator().manual_seed(0), fft_size // 4
    modem = OfdmModem(name, fft_size, prefix, (4, 3))
    bits = random_bits(3, modem.num_bits(6 * modem.symbol_period), generator)
    values = map_bits(bits, modem.constellation).to(torch.complex128).view(3, 6, -1)
    time = torch.arange(-prefix, fft_size).double()
    turns = modem.carriers.double()[:, None] * time / fft_size  # [D, period]
    expected = (values @ torch.polar(torch.ones_like(turns), 2 * math.pi * turns)).flatten(1) / math.sqrt(fft_size)
    assert torch.allclose(modem.modulate(bits).to(expected), expected, atol=2e-6)
    short, long = (modem.sample(3, length, generator) for length in (modem.symbol_period - 3, 5))
    assert short.waveform.shape == (3, modem.symbol_period - 3)
    assert long.waveform.shape == (3, 5)
    assert torch.allclose(modem.modulate(short.bits)[:, : modem.symbol_period - 3], short.waveform)
