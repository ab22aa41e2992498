"""Offset QPSK, spread spectrum and 2-FSK against plain numpy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from rfsep.signals.modems.carriers import dsss, fsk2, oqpsk
from rfsep.signals.modems.pulse_train import PulseTrain
from rfsep.signals.pulses import root_raised_cosine
from rfsep.signals.statistics import modem_autocorrelation, modem_covariance
from rfsep.types import InputError

BARKER = [1, -1, 1, 1, -1, 1, 1, 1, -1, -1, -1]
MODEMS = {"oqpsk": oqpsk(), "oqpsk, odd half": oqpsk(6, 0.3), "dsss": dsss(BARKER), "fsk2": fsk2(8)}


def bits_of(modem: PulseTrain, num_samples: int, seed: int) -> torch.Tensor:
    shape = (2, modem.num_bits(num_samples))
    return torch.randint(2, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def placed(symbols: np.ndarray, pulse: np.ndarray, spacing: int, first_centre: float, length: int) -> np.ndarray:
    """Sum of pulses with their middles ``spacing`` apart."""
    total = np.zeros((len(symbols), length + 4 * len(pulse)), complex)
    for k in range(symbols.shape[1]):
        begin = round(first_centre + k * spacing - (len(pulse) - 1) / 2) + 2 * len(pulse)
        total[:, begin : begin + len(pulse)] += symbols[:, k : k + 1] * pulse
    return total[:, 2 * len(pulse) : 2 * len(pulse) + length]


@pytest.mark.parametrize(("samples_per_symbol", "roll_off"), [(16, 0.5), (6, 0.3)])
def test_offset_qpsk_is_two_streams_half_a_symbol_apart(samples_per_symbol: int, roll_off: float) -> None:
    modem, length = oqpsk(samples_per_symbol, roll_off), 40 * samples_per_symbol
    bits = bits_of(modem, length, 1)
    signs = 1 - 2.0 * bits.numpy()
    pulse = root_raised_cosine(samples_per_symbol, roll_off, 8 * samples_per_symbol + 1).numpy()
    pulse = pulse * math.sqrt(samples_per_symbol / 2)
    middle = samples_per_symbol // 2
    in_phase = placed(signs[:, 0::2], pulse, samples_per_symbol, middle, length)
    quadrature = placed(signs[:, 1::2], pulse, samples_per_symbol, 2 * middle, length)
    assert np.abs(modem.modulate(bits).numpy() - in_phase - 1j * quadrature).max() < 1e-5


@pytest.mark.parametrize("roll_off", [0.35, None])
def test_spread_spectrum_is_chips_of_a_repeated_code(roll_off: float | None) -> None:
    modem, length = dsss(BARKER, "bpsk", 4, roll_off), 20 * 44
    bits = bits_of(modem, length, 2)
    chips = (np.kron(1 - 2.0 * bits.numpy(), BARKER)).astype(complex)
    if roll_off is None:
        expected = chips.repeat(4, 1)
    else:
        pulse = root_raised_cosine(4, roll_off, 49).numpy() * 2
        expected = placed(chips, pulse, 4, 2, length)
    # Chips of a truncated root raised cosine overlap a little, which the modem's unit power takes into account.
    assert np.abs(modem.modulate(bits).numpy() - expected).max() < 0.02


def test_fsk_of_index_one_is_the_integral_of_its_frequency() -> None:
    modem = fsk2(16)
    bits = bits_of(modem, 16 * 30, 3)
    frequency = (2.0 * bits.numpy() - 1).repeat(16, 1) / 32  # cycles per sample, +-1 / (2 T)
    # Samples lie in the middle of the steps of a sum.
    phase = 2 * np.pi * (np.cumsum(frequency, 1) - frequency / 2)
    assert np.abs(modem.modulate(bits).numpy() - np.exp(1j * phase)).max() < 1e-5


@pytest.mark.parametrize("name", MODEMS)
def test_windows_of_any_length_hold_whole_periods(name: str) -> None:
    modem = MODEMS[name]
    period = modem.symbol_period
    for num_samples in (0, 1, period // 2, period // 2 + 1, 5 * period - 1, 1000, 1003):
        sampled = modem.sample(2, num_samples, torch.Generator().manual_seed(0))
        periods = sum(1 for k in range(num_samples) if k * period + period // 2 < num_samples)
        assert sampled.waveform.shape == (2, num_samples)
        assert sampled.bits.shape[1] == periods * modem.num_bits(period) == modem.decide(sampled.waveform).shape[1]
        assert modem.analyse(sampled.waveform).shape[1] == periods * modem.density


@pytest.mark.parametrize("name", MODEMS)
def test_analysis_is_correlation_with_each_waveform(name: str) -> None:
    modem = MODEMS[name]
    period, count = modem.symbol_period, 7
    noise = torch.randn((1, count * period), dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    rows = modem.synthesise(torch.eye(count * modem.density, dtype=torch.complex64), count * period)
    energy = modem.waveforms.abs().square().sum(1).repeat(count)
    plain = (noise.to(torch.complex128) @ rows.to(torch.complex128).mH) / energy
    assert (modem.analyse(noise) - plain).abs().max() < 1e-5


@pytest.mark.parametrize("name", MODEMS)
def test_statistics_of_independent_symbols_are_those_of_the_waveform(name: str) -> None:
    """The Hermitian moments of separators; offset and frequency-shift keying are not circular, but these are exact."""
    modem = MODEMS[name]
    period = modem.symbol_period
    assert modem_autocorrelation(modem, 1)[0].real.item() == pytest.approx(1, abs=1e-6)
    if name == "fsk2":  # Its tone is not random, so its moments differ from those of independent symbols.
        return
    waveform = modem.sample(4000, 20 * period, torch.Generator().manual_seed(2)).waveform[:, 8 * period : 10 * period]
    measured = waveform.T.to(torch.complex128) @ waveform.conj().to(torch.complex128) / 4000
    assert (measured - modem_covariance(modem, 2 * period, 8)).abs().max() < 0.12


def test_offset_qpsk_is_not_circular() -> None:
    """E[y y] of BPSK streams on I and Q is the sum of p p less that half a symbol later, while QPSK has none."""
    modem = oqpsk()
    waveform = modem.sample(4000, 320, torch.Generator().manual_seed(3)).waveform[:, 160:176].to(torch.complex128)
    found = waveform.square().mean(0)
    pulse = root_raised_cosine(16, 0.5, 129).numpy() * math.sqrt(8)
    power = np.zeros(16)
    for tap, value in enumerate(pulse):
        power[(tap - 64 + 8) % 16] += value**2
    assert np.abs(found.numpy() - (power - np.roll(power, 8))).max() < 0.08
    assert np.abs(found.numpy()).max() > 0.3


@pytest.mark.parametrize("ebno_db", [0.0, 4.0, 6.0])
@pytest.mark.parametrize("name", MODEMS)
def test_error_rate_in_white_noise_is_the_closed_form(name: str, ebno_db: float) -> None:
    """Q(sqrt(2 Eb/N0)) for antipodal signals, Q(sqrt(Eb/N0)) for the orthogonal ones of 2-FSK."""
    modem, generator = MODEMS[name], torch.Generator().manual_seed(int(ebno_db))
    num_bits = 0
    wrong = 0
    while num_bits < 300_000:
        sampled = modem.sample(10, 4000 * modem.symbol_period // 4, generator)
        bit_energy = modem.symbol_period / modem.num_bits(modem.symbol_period)
        noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
        received = sampled.waveform + math.sqrt(bit_energy / 10 ** (ebno_db / 10)) * noise
        wrong += int((modem.decide(received) != sampled.bits).sum())
        num_bits += sampled.bits.numel()
    expected = norm.sf(math.sqrt((1 if name == "fsk2" else 2) * 10 ** (ebno_db / 10)))
    assert abs(wrong / num_bits - expected) < 3.5 * math.sqrt(expected * (1 - expected) / num_bits)


@pytest.mark.parametrize("name", MODEMS)
def test_soft_bits_are_calibrated(name: str) -> None:
    modem, generator = MODEMS[name], torch.Generator().manual_seed(5)
    sampled = modem.sample(4, 4000 * modem.symbol_period, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    energy = float(modem.waveforms[modem.carries].abs().square().sum(1)[0])
    llr = modem.demodulate(sampled.waveform + math.sqrt(energy / 2) * noise, 0.5)
    sure = torch.sigmoid(llr.abs())
    assert float((sure - ((llr > 0) == (sampled.bits == 1)).float()).mean()) == pytest.approx(0, abs=0.01)


def test_the_tone_of_fsk_shows_the_phase() -> None:
    modem, generator = fsk2(8), torch.Generator().manual_seed(6)
    sampled = modem.sample(6, 8 * 20_000, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    turns = torch.polar(torch.ones(6, 1), torch.arange(6.0)[:, None])
    drift = torch.polar(torch.ones(160_000), 1e-5 * torch.arange(160_000))
    ebno = 10**0.6
    rates = modem.decide(sampled.waveform * turns * drift + math.sqrt(8 / ebno) * noise).ne(sampled.bits).double()
    expected = norm.sf(math.sqrt(ebno))
    assert abs(float(rates.mean()) - expected) < 3.5 * math.sqrt(expected / sampled.bits.numel())
    # A start that is a symbol late turns the tone by half a turn, and no bit.
    assert torch.equal(modem.decide(sampled.waveform[:, 8:])[:, :1000], sampled.bits[:, 1:1001])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="samples_per_symbol is 15, expected an even number"):
        oqpsk(15)
    with pytest.raises(InputError, match=r"chips are \[\], expected a code"):
        dsss([])
