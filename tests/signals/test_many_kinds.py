"""Random interference of many kinds: powers, frequencies, spectra and envelopes that its parameters call for."""

import math

import pytest
import torch

from rfsep.signals.many_kinds.bands import NoiseBands, RandomOfdm
from rfsep.signals.many_kinds.fsk import RandomFsk
from rfsep.signals.many_kinds.keyed_pulses import KeyedPulses
from rfsep.signals.many_kinds.recorded import AsRecorded, clipped
from rfsep.signals.many_kinds.sweeps import NoiseFm, Sweeps
from rfsep.types import InputError, Sampled, SignalSource, synthetic


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def instant_frequency(waveform: torch.Tensor) -> torch.Tensor:
    """Cycles per sample, float32 [B, T - 1]."""
    return (waveform[:, 1:] * waveform[:, :-1].conj()).angle() / (2 * math.pi)


@pytest.mark.parametrize("source", [RandomFsk(), NoiseFm(), Sweeps()], ids=lambda source: type(source).__name__)
def test_modulated_frequency_leaves_the_envelope_constant(source: SignalSource) -> None:
    waveform = source.sample(20, 3000, generator()).waveform
    torch.testing.assert_close(waveform.abs(), torch.ones(20, 3000))


def test_fsk_rests_at_the_frequencies_of_its_index() -> None:
    """h = 1 at 50 samples per symbol: +-0.01 cycles per sample, or a third of it with four levels."""
    source = RandomFsk((50.0, 50.0), (1.0, 1.0), (3.0, 3.0))
    levels = instant_frequency(source.sample(40, 4000, generator()).waveform) / 0.01
    near = torch.tensor([-1.0, -1 / 3, 1 / 3, 1.0])
    away, which = (levels[..., None] - near).abs().min(-1)
    assert float((away < 0.02).float().mean()) > 0.85  # the rest are transitions
    inner = ((which == 1) | (which == 2)).float().mean(1)
    four = inner > 0.25
    assert 2 <= int(four.sum()) <= 20  # a quarter of the windows, 10 +- 3 standard deviations
    assert float(inner[~four].max()) < 0.15
    deviation = RandomFsk((2.0, 2.0), (8.0, 8.0), (3.0, 3.0), most=0.1)
    assert float(instant_frequency(deviation.sample(4, 2000, generator()).waveform).abs().max()) < 0.101


def test_noise_fm_has_its_deviation_and_bandwidth() -> None:
    frequency = instant_frequency(NoiseFm((0.01, 0.01), (0.03, 0.03)).sample(50, 20000, generator()).waveform)
    assert float(frequency.square().mean().sqrt()) == pytest.approx(0.03, rel=0.05)
    density = torch.fft.fft(frequency).abs().square().mean(0)
    place = torch.fft.fftfreq(frequency.shape[1])
    spread = (density * place.square()).sum() / density.sum()
    assert float(spread.sqrt()) == pytest.approx(0.01 / math.sqrt(2), rel=0.05)  # |H|^2 = exp(-(f / B)^2)


def test_sweeps_cross_their_band_at_a_constant_rate() -> None:
    """0.2 cycles per sample in 500 samples, up or down, or twice as fast there and back."""
    frequency = instant_frequency(Sweeps((500.0, 500.0), (0.2, 0.2)).sample(60, 4000, generator()).waveform)
    assert float(frequency.max()) == pytest.approx(0.1, abs=2e-3)
    assert float(frequency.min()) == pytest.approx(-0.1, abs=2e-3)
    slope = frequency.diff(dim=1).abs().median(1).values * 500 / 0.2
    single, double = (slope - 1).abs() < 0.05, (slope - 2).abs() < 0.1
    assert bool((single | double).all())
    assert 5 <= int(double.sum()) <= 27  # a quarter of 60 windows


def test_pulses_are_on_as_often_as_they_should_be() -> None:
    source = KeyedPulses((20.0, 20.0), (0.2, 0.2), (0.03, 0.03))
    amplitude = source.sample(300, 4000, generator()).waveform.abs()
    share = (amplitude > 0.7).float().mean(1)
    pairs = (share - 0.5).abs() < 0.04
    assert 100 < int(pairs.sum()) < 200
    assert float(share[~pairs].mean()) == pytest.approx(0.2, abs=0.02)
    assert float(amplitude.square().mean()) == pytest.approx(1, abs=0.05)
    assert float(amplitude[pairs].max()) == pytest.approx(math.sqrt(2), rel=0.02)


def test_noise_lies_in_its_band() -> None:
    waveform = NoiseBands((0.01, 0.01), (0.2, 0.2)).sample(100, 4096, generator()).waveform
    assert float(waveform.abs().square().mean()) == pytest.approx(1, abs=0.03)
    density = torch.fft.fft(waveform).abs().square().mean(0)
    away = torch.fft.fftfreq(4096) - 0.2
    inside = density[away.abs() < 0.01].sum() / density.sum()
    assert float(inside) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.01)


def test_every_prefix_of_ofdm_repeats_the_end_of_its_symbol() -> None:
    """A symbol of 64 samples with a prefix of 16: the lag 64 correlates over a fifth of the samples."""
    source = RandomOfdm((0.5, 0.5))
    row = source._row(80 * 100, 64, 16, 0.5, generator())
    equal = (row[64:] - row[:-64]).abs() < 1e-5
    assert float(equal.float().mean()) == pytest.approx(16 / 80, abs=0.01)
    waveform = source.sample(100, 4000, generator()).waveform
    assert float(waveform.abs().square().mean()) == pytest.approx(1, abs=0.02)
    density = torch.fft.fft(waveform).abs().square().mean(0)
    assert float(density[torch.fft.fftfreq(4000).abs() > 0.27].sum() / density.sum()) < 0.03


class Ones:
    """A carrier at frequency 0."""

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """See `SignalSource`."""
        return synthetic(torch.ones((batch_size, num_samples), dtype=torch.complex64))


def test_a_receiver_adds_its_noise_and_carrier() -> None:
    source = AsRecorded(Ones(), carrier=(0.05, 0.05), bursts=0, clipping=0, snr_db=(10.0, 10.0))
    waveform = source.sample(50, 4000, generator()).waveform
    back = waveform * torch.polar(torch.ones(4000), -2 * math.pi * 0.05 * torch.arange(4000))
    signal = back.mean(1).abs().square()
    assert float(waveform.abs().square().mean()) == pytest.approx(1, abs=0.01)
    assert float(signal.mean()) == pytest.approx(10 / 11, abs=0.01)


def test_bursts_have_levels_pauses_and_unit_power() -> None:
    quiet = {"carrier": (0.0, 0.0), "clipping": 0.0, "snr_db": (100.0, 100.0)}
    source = AsRecorded(Ones(), bursts=1, burst_on=(100, 100), burst_off=(300, 300), level_db=4.0, **quiet)  # type: ignore[arg-type]
    amplitude = source.sample(2000, 4000, generator()).waveform.abs()
    on = amplitude > 0.01
    assert float(on.float().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(amplitude.square().mean()) == pytest.approx(1, abs=0.03)
    level_db = 20 * amplitude[on].log10()
    assert float(level_db.std()) == pytest.approx(4, rel=0.05)


def test_clipping_flattens_both_components_and_keeps_the_power() -> None:
    noise = torch.randn((2, 20000), dtype=torch.complex64, generator=generator())
    flat = clipped(noise, torch.tensor([[0.5], [2.0]]))
    torch.testing.assert_close(flat.abs().square().mean(1), noise.abs().square().mean(1))
    # Components have a standard deviation of 1 / sqrt(2) rms amplitudes: 48 % lie beyond 0.5.
    top = flat[0].real.max()
    assert float((flat[0].real > 0.999 * top).float().mean()) == pytest.approx(0.24, abs=0.01)


def test_wrong_ranges_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="snr_db"):
        AsRecorded(Ones(), snr_db=(40.0, 10.0))
    with pytest.raises(InputError, match="samples_per_symbol"):
        RandomFsk(samples_per_symbol=(0.5, 2.0))
