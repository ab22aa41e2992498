"""Converter pulses: power, periodicity, harmonics, bursts."""

import math

import pytest
import torch

from rfsep.signals.emi import EmiBursts
from rfsep.types import InputError

ALWAYS_ON = {"burst_on": (100.0, 200.0), "burst_off": (0.0, 0.0)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "source",
    [
        EmiBursts(),
        EmiBursts(period=(20.0, 60.0), jitter=0.5, burst_on=(30.0, 300.0), burst_off=(200.0, 900.0)),
        EmiBursts(num_harmonics=1, decay_time=(200.0, 400.0)),
    ],
    ids=["default", "dense", "long"],
)
def test_unit_power_over_the_ensemble(source: EmiBursts) -> None:
    power = source.sample(1500, 8192, generator()).waveform.abs().square().mean(1).double()
    error = power.std().item() / math.sqrt(len(power))
    assert error < 0.015
    assert abs(power.mean().item() - 1) < 4 * error
    assert power.std() > 0.05  # bursts are not normalised away


def test_power_is_the_same_at_both_ends_of_a_window() -> None:
    """Pulses that began before the window ring into it; none is lost at its end."""
    source = EmiBursts(decay_time=(40.0, 40.0), period=(50.0, 50.0), burst_on=(300.0, 600.0), burst_off=(50.0, 90.0))
    power = source.sample(6000, 400, generator()).waveform.abs().square().double()
    for samples in (power[:, :40], power[:, -40:]):
        rows = samples.mean(1)
        assert abs(rows.mean().item() - 1) < 4 * rows.std().item() / math.sqrt(len(rows))


def test_pulses_repeat_with_the_switching_period() -> None:
    source = EmiBursts(period=(200.0, 200.0), decay_time=(3.0, 8.0), jitter=0.0, **ALWAYS_ON)
    envelope = source.sample(20, 2000, generator()).waveform.abs()
    torch.testing.assert_close(envelope[:, 200:], envelope[:, :-200], atol=1e-3, rtol=0)
    folded = envelope.view(20, 10, 200).amax(1)
    assert (folded.amax(1) > 4).all()
    assert ((folded > 0.02 * folded.amax(1, keepdim=True)).sum(1) <= 8 * 5).all()  # silence between pulses


def test_every_pulse_has_its_own_phase() -> None:
    source = EmiBursts(period=(200.0, 200.0), decay_time=(3.0, 8.0), jitter=0.0, **ALWAYS_ON)
    waveform = source.sample(50, 4000, generator()).waveform
    repeated = (waveform[:, 200:] * waveform[:, :-200].conj()).sum(1) / waveform.abs().square().sum(1)
    assert repeated.mean().abs() < 4 / math.sqrt(50 * 19)


def test_harmonics_fall_by_the_given_amplitude() -> None:
    """With independent phases the mean periodogram is the pulse's: lines at f, 2f, 3f falling by h^2."""
    source = EmiBursts(frequency=(0.0625, 0.0625), decay_time=(100.0, 100.0), num_harmonics=3, harmonic_amplitude=0.5)
    spectrum = torch.fft.fft(source.sample(2000, 4096, generator()).waveform).abs().square().mean(0)
    lines = torch.stack([spectrum[256 * k - 8 : 256 * k + 9].sum() for k in (1, 2, 3, 4)])
    torch.testing.assert_close(lines[1:3] / lines[:2], torch.tensor([0.25, 0.25]), rtol=0.1, atol=0)
    assert lines[3] < 0.1 * lines[2]


def test_peaky_and_in_the_band_of_the_soi() -> None:
    waveform = EmiBursts().sample(300, 8192, generator()).waveform
    power = waveform.abs().square()
    ratio_db = 10 * torch.log10(power.amax(1) / power.mean(1).clamp(min=1e-9))
    assert (ratio_db > 10).double().mean() > 0.98
    spectrum = torch.fft.fft(waveform).abs().square().mean(0)
    inside = torch.fft.fftfreq(8192).abs() < 0.047
    assert 0.35 < spectrum[inside].sum() / spectrum.sum() < 0.7


def test_the_generator_is_the_only_randomness() -> None:
    first, again, other = (EmiBursts().sample(3, 4000, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.waveform, again.waveform)
    assert (first.waveform - other.waveform).abs().square().mean() > 0.1
    assert (first.waveform[0] - first.waveform[1]).abs().square().mean() > 0.1
    assert first.waveform.shape == (3, 4000)
    assert first.waveform.dtype == torch.complex64
    assert first.bits.shape == (3, 0)
    assert first.offset.tolist() == [-1, -1, -1]


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="num_harmonics"):
        EmiBursts(num_harmonics=9)
    with pytest.raises(InputError, match="period"):
        EmiBursts(period=(400.0, 100.0))
    with pytest.raises(InputError, match="jitter"):
        EmiBursts(jitter=0.6)
