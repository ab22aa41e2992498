"""OFDM with pilots against the standard's numbers, plain numpy and closed forms, through channels that nobody tells."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from rfsep.app.config import build_modem, soi_of
from rfsep.separators.lmmse import Lmmse
from rfsep.signals.modems.pilot_ofdm import PilotOfdm, scrambler_polarity
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem

# IEEE Std 802.11-2016, equation 17-25.
POLARITY = """
1 1 1 1 -1 -1 -1 1 -1 -1 -1 -1 1 1 -1 1 -1 -1 1 1 -1 1 1 -1 1 1 1 1 1 1 -1 1 1 1 -1 1 1 -1 -1 1 1 1 -1 1 -1 -1 -1 1
-1 1 -1 -1 1 -1 -1 1 1 1 1 1 -1 -1 1 1 -1 -1 1 -1 1 -1 1 1 -1 -1 -1 1 1 -1 -1 -1 -1 1 -1 -1 1 -1 1 1 1 1 -1 1 -1 1
-1 1 -1 -1 -1 -1 -1 1 -1 1 1 -1 1 -1 1 1 1 -1 -1 1 -1 -1 -1 1 1 1 -1 -1 -1 -1 -1 -1 -1
"""
NAMES = ("ofdm_80211a", "ofdm_pilots")


def test_polarity_is_the_list_in_the_standard() -> None:
    assert scrambler_polarity() == [float(sign) for sign in POLARITY.split()]


def test_waveform_of_80211a_is_the_standards_formula() -> None:
    """Equations 17-22 to 17-25 in numpy, with 802.11's numbering of data carriers."""
    modem = build_modem(soi_of("ofdm_80211a"))
    num_symbols = 130
    bits = torch.randint(2, (1, 96 * num_symbols), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert modem.num_bits(80 * num_symbols) == 96 * num_symbols
    signs = (1 - 2.0 * bits.numpy()).reshape(num_symbols, 48, 2)
    data = (signs[:, :, 0] + 1j * signs[:, :, 1]) / math.sqrt(2)
    polarity = [float(sign) for sign in POLARITY.split()]
    times = np.arange(-16, 64)
    for n in (0, 1, 63, 126, 129):
        spectrum = np.zeros(53, complex)
        for k in range(48):  # M(k), equation 17-23
            carrier = k - 26 + (k >= 5) + (k >= 18) + (k >= 24) + (k >= 30) + (k >= 43)
            spectrum[carrier + 26] = data[n, k]
        for carrier, value in ((-21, 1), (-7, 1), (7, 1), (21, -1)):
            spectrum[carrier + 26] += value * polarity[(n + 1) % 127]
        wave = np.exp(2j * np.pi / 64 * np.outer(times, np.arange(-26, 27))) @ spectrum / math.sqrt(52)
        found = modem.modulate(bits)[0, 80 * n : 80 * (n + 1)].numpy()
        assert np.abs(found - wave).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_power_and_statistics_count_the_pilots(name: str) -> None:
    modem = build_modem(soi_of(name))
    sampled = modem.sample(4, 80 * 200, torch.Generator().manual_seed(2))
    assert sampled.waveform.abs().square().mean().item() == pytest.approx(1, abs=0.01)
    lags = modem_autocorrelation(modem, 65).real
    assert lags[0].item() == pytest.approx(1, abs=1e-6)
    assert lags[64].item() == pytest.approx(0.2, abs=1e-6)


def noisy(modem: Modem, ebno_db: float, num_symbols: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms complex64 and bits, where Eb is half of a data carrier's energy and the prefix does not count."""
    generator = torch.Generator().manual_seed(seed)
    sampled = modem.sample(6, 80 * num_symbols, generator)
    carriers = 52
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    return sampled.waveform + math.sqrt(64 / carriers / 2 / 10 ** (ebno_db / 10)) * noise, sampled.bits


@pytest.mark.parametrize("ebno_db", [0.0, 4.0, 6.0])
@pytest.mark.parametrize("name", NAMES)
def test_error_rate_in_white_noise_is_the_closed_form(name: str, ebno_db: float) -> None:
    """The channel is averaged over 128 symbols, whose noise adds less than a hundredth of the noise's power."""
    modem = build_modem(soi_of(name))
    received, bits = noisy(modem, ebno_db, 600, 3)
    rate = float((modem.decide(received) != bits).double().mean())
    ebno = 10 ** (ebno_db / 10)
    least, most = norm.sf(math.sqrt(2 * ebno)), norm.sf(math.sqrt(2 * ebno / 1.015))
    deviation = 3 * math.sqrt(least / bits.numel())
    assert least - deviation < rate < most + deviation


def through(waveform: torch.Tensor, taps: dict[float, complex], carrier: float) -> torch.Tensor:
    """A channel of rays (delay in samples: gain), circular over the window, and a carrier in cycles per sample."""
    size = waveform.shape[1]
    frequencies = torch.fft.fftfreq(size, dtype=torch.float64)
    response = sum(gain * torch.exp(-2j * math.pi * frequencies * delay) for delay, gain in taps.items())
    heard = torch.fft.ifft(torch.fft.fft(waveform.to(torch.complex128)) * response)
    return (heard * torch.exp(2j * math.pi * carrier * torch.arange(size))).to(torch.complex64)


CHANNELS = {
    "turned": ({0.0: np.exp(2j)}, 0.0),
    "late": ({1.4: 1.0}, 0.0),
    "weak, turned and late": ({0.7: 0.05 * np.exp(-1j)}, 0.0),
    "carrier": ({0.0: 1.0}, 1e-4),
    "all": ({0.9: 0.4j}, 2e-4),
}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_channel_costs_little(name: str, channel: str) -> None:
    """A carrier of 2e-4 also puts carriers into one another, 35 dB below them."""
    modem = build_modem(soi_of(name))
    taps, carrier = CHANNELS[channel]
    sampled = modem.sample(4, 80 * 300, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(5)
    heard = through(sampled.waveform, taps, carrier)
    level = math.sqrt(float(heard.abs().square().mean()) * 64 / 52 / 2 / 10**0.4)
    received = heard + level * torch.randn(heard.shape, dtype=torch.complex64, generator=generator)
    rate = float((modem.decide(received) != sampled.bits).double().mean())
    least = norm.sf(math.sqrt(2 * 10**0.4))
    assert 0.9 * least < rate < 1.25 * least


def test_free_grid_equalises_two_rays() -> None:
    """Between pilots six carriers apart, a second ray 1.5 samples late turns by 50 degrees."""
    modem = build_modem(soi_of("ofdm_pilots"))
    sampled = modem.sample(2, 80 * 300, torch.Generator().manual_seed(6))
    assert torch.equal(modem.decide(through(sampled.waveform, {0.0: 1.0, 1.5: 0.5j}, 0.0)), sampled.bits)


def test_polarity_is_found_wherever_a_window_begins() -> None:
    modem = build_modem(soi_of("ofdm_80211a"))
    sampled = modem.sample(2, 80 * 200, torch.Generator().manual_seed(7))
    for first in (1, 40, 126, 150):
        turned = -1j * sampled.waveform[:, 80 * first : 80 * (first + 20)]
        assert torch.equal(modem.decide(turned), sampled.bits[:, 96 * first : 96 * (first + 20)])
    # One symbol tells no polarity: it counts as the first one.
    assert torch.equal(modem.decide(sampled.waveform[:, :80]), sampled.bits[:, :96])
    assert modem.decide(sampled.waveform[:, :0]).shape == (2, 0)


def test_soft_bits_are_calibrated_behind_a_channel() -> None:
    modem = build_modem(soi_of("ofdm_pilots"))
    sampled = modem.sample(4, 80 * 300, torch.Generator().manual_seed(8))
    generator = torch.Generator().manual_seed(9)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    variance = 0.4
    level = math.sqrt(variance * 64 / 52)
    llr = modem.demodulate(0.8j * through(sampled.waveform, {0.3: 1.0}, 0.0) + level * noise, variance)
    sure, right = torch.sigmoid(llr.abs()), (llr > 0) == (sampled.bits == 1)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 0.99)):
        kept = (sure > low) & (sure <= high)
        assert float(right[kept].double().mean()) == pytest.approx(float(sure[kept].mean()), abs=0.02)


def test_gains_of_carriers_are_undone_before_the_channel() -> None:
    """16-QAM, of which a separator shrank each symbol by another known gain."""
    modem = PilotOfdm([-21, -7, 7, 21], [1, 1, 1, -1], constellation_name="qam16")
    sampled = modem.sample(1, 80 * 40, torch.Generator().manual_seed(10))
    outputs = modem.analyse(sampled.waveform)
    gain = torch.linspace(0.3, 1.0, outputs.shape[1])[None]
    assert torch.equal(modem.decide(modem.synthesise(outputs * gain, 80 * 40), gain), sampled.bits)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "psk8", "qam16", "qam64"])
def test_pilots_are_points_of_the_constellation_on_carriers_of_their_own_values(name: str) -> None:
    modem = PilotOfdm([-21, -7, 7, 21], [1, 1j, "1j", -1], [1, -1, -1], constellation_name=name)
    sampled = modem.sample(1, 80 * 6, torch.Generator().manual_seed(11))
    outputs = modem.analyse(sampled.waveform)[0].reshape(6, 52)
    assert (outputs[..., None] - modem.constellation).abs().amin(2).max() < 1e-5
    spectrum = np.fft.fft(sampled.waveform[0].numpy().reshape(6, 80)[:, 16:]) / 8 * math.sqrt(52 / 64)
    expected = np.outer([1, -1, -1, 1, -1, -1], [1, 1j, 1j, -1])
    assert np.abs(spectrum[:, [-21, -7, 7, 21]] - expected).max() < 1e-5


def test_lmmse_decides_levels_between_pilots() -> None:
    """The separator undoes each carrier's gain, pilots' among them."""
    modem = PilotOfdm([-21, -7, 7, 21], [1, 1, 1, -1], constellation_name="qam16")
    generator = torch.Generator().manual_seed(12)
    examples = torch.randn((20, 1024), dtype=torch.complex64, generator=generator)
    sampled = modem.sample(2, 80 * 32, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    found = Lmmse(modem, examples).separate(sampled.waveform + 0.1 * noise)
    assert float((found.bits != sampled.bits).double().mean()) < 5e-3


@pytest.mark.parametrize(
    ("carriers", "values"), [([], []), ([0, 7], [1, 1]), ([7, -7], [1, 1]), ([-40, 7], [1, 1]), ([7, 21], [1])]
)
def test_wrong_pilots_are_refused(carriers: list[int], values: list[complex]) -> None:
    with pytest.raises(InputError, match=r"pilot_carriers .*expected a value for each"):
        PilotOfdm(carriers, values)


def test_wrong_polarity_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown polarity '802\.16'; choose 802\.11"):
        PilotOfdm([7], [1], polarity="802.16")
