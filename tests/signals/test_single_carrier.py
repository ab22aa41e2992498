"""Bursty QAM: power, rate, band, and symbols that come back."""

import math

import pytest
import torch

from rfsep.signals.single_carrier import BurstyQam, turning
from rfsep.types import InputError

ALWAYS_ON = {"burst_on": (1e7, 1e7), "burst_off": (0.0, 0.0)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "source",
    [
        BurstyQam(),
        BurstyQam("qpsk", (1.5, 3.0), (0.5, 0.5), burst_on=(64.0, 400.0), burst_off=(0.0, 400.0)),
        BurstyQam("bpsk", (16.0, 16.0), (0.0, 0.0), **ALWAYS_ON),
    ],
    ids=["default", "short bursts", "no roll-off"],
)
def test_unit_power_over_the_ensemble(source: BurstyQam) -> None:
    power = source.sample(1000, 8192, generator()).waveform.abs().square().mean(1).double()
    error = power.std().item() / math.sqrt(len(power))
    assert error < 0.02
    assert abs(power.mean().item() - 1) < 4 * error


def test_band_is_as_wide_as_the_roll_off_says() -> None:
    """Samples per symbol 8, roll-off 0.25, carrier 0.05: 0.05 +- 0.078 cycles/sample, flat to 0.05 +- 0.047."""
    source = BurstyQam("qam16", (8.0, 8.0), (0.25, 0.25), (0.05, 0.05), **ALWAYS_ON)
    waveform = source.sample(200, 4096, generator()).waveform * torch.signal.windows.blackman(4096)
    spectrum = torch.fft.fft(waveform).abs().square().mean(0).double()
    distance = (torch.fft.fftfreq(4096).double() - 0.05).abs()
    flat = spectrum[distance < 0.046].mean()
    assert spectrum[distance > 0.0801].max() < 1e-6 * flat
    assert spectrum[(distance - 0.0625).abs() < 0.002].mean() / flat == pytest.approx(0.5, rel=0.1)
    assert spectrum[distance < 0.046].std() / flat < 4 / math.sqrt(200)


def test_symbol_rate_is_a_line_of_the_power() -> None:
    """A cyclostationary line of |x|^2 at 1 / 7.3 cycles per sample, for rates that are no integer."""
    source = BurstyQam("qpsk", (7.3, 7.3), (0.35, 0.35), **ALWAYS_ON)
    power = source.sample(100, 8192, generator()).waveform.abs().square()
    spectrum = torch.fft.rfft(power - power.mean(1, keepdim=True)).abs().square().mean(0)
    assert abs(int(spectrum[900:].argmax()) + 900 - 8192 / 7.3) <= 2


def test_a_matched_filter_finds_the_constellation() -> None:
    """At the right instant the fourth power of unrotated QPSK is one point, at a wrong one it is not."""
    source = BurstyQam("qpsk", (8.0, 8.0), (0.3, 0.3), (0.0, 0.0), **ALWAYS_ON)
    waveform = source.sample(8, 4096 - 128, generator()).waveform.to(
        torch.complex128
    )  # in blocks of 4096 = 512 symbols
    frequency = torch.fft.fftfreq(waveform.shape[1]).double() * 8
    slope = ((frequency.abs() - 0.35) / 0.3).clamp(0, 1)
    spectrum = torch.fft.fft(waveform) * torch.cos(slope * math.pi / 2)
    coherence = []
    for shift in torch.arange(0, 8, 0.125, dtype=torch.float64):
        filtered = torch.fft.ifft(spectrum * torch.exp(2j * math.pi * frequency / 8 * shift))
        symbols = filtered[:, 128:-128:8]  # the filter wraps around the window: not its ends
        coherence.append(symbols.pow(4).mean(1).abs() / symbols.abs().pow(4).mean(1))
    assert (torch.stack(coherence).amax(0) > 0.98).all()
    assert (torch.stack(coherence).amin(0) < 0.6).all()


def test_silence_between_bursts() -> None:
    waveform = BurstyQam().sample(200, 8192, generator()).waveform
    silent = (waveform == 0).double().mean()
    assert silent.item() == pytest.approx(3000 / 9000, abs=0.05)


def test_the_generator_is_the_only_randomness() -> None:
    first, again, other = (BurstyQam().sample(3, 4000, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.waveform, again.waveform)
    assert (first.waveform - other.waveform).abs().square().mean() > 0.1
    assert (first.waveform[0] - first.waveform[1]).abs().square().mean() > 0.1
    assert first.waveform.shape == (3, 4000)
    assert first.waveform.dtype == torch.complex64
    assert first.bits.shape == (3, 0)
    assert first.offset.tolist() == [-1, -1, -1]


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="burst_on"):
        BurstyQam(ramp=1500.0)
    with pytest.raises(InputError, match="samples_per_symbol"):
        BurstyQam(samples_per_symbol=(1.2, 4.0))
    with pytest.raises(InputError, match="constellation"):
        BurstyQam("qam15")


def test_turning_keeps_its_phase_over_long_windows() -> None:
    phase, frequency = torch.tensor([0.3, 0.9]).double(), torch.tensor([0.0499, -0.4987]).double()
    cycles = phase[:, None] + frequency[:, None] * torch.arange(40_001)
    expected = torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles)
    torch.testing.assert_close(turning(phase, frequency, 40_001), expected.to(torch.complex64), atol=3e-7, rtol=0)


def test_a_window_does_not_depend_on_those_made_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are made some at a time; however many these are, numbers are drawn in the same order."""
    whole = BurstyQam().sample(5, 3000, generator()).waveform
    monkeypatch.setattr("rfsep.signals.single_carrier._CHUNK_SAMPLES", 1)
    torch.testing.assert_close(BurstyQam().sample(5, 3000, generator()).waveform, whole, atol=3e-6, rtol=0)
