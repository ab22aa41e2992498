"""MSK and GMSK against the integral of their frequency in numpy, and against bounds of the best receiver's errors."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm

from rfsep.signals.modems.carriers import turned_train
from rfsep.signals.modems.laurent import laurent_pulses, phase_pulse
from rfsep.signals.modems.minimum_shift import MinimumShift
from rfsep.signals.modems.trellis import sequence_llr
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError

KINDS = {  # bandwidth-time product, length, rotations
    "msk": (None, 1, (0.0, 90.0)),
    "gmsk of GSM": (0.3, 4, (0.0, 90.0, 180.0, 270.0)),
    "gmsk, short period": (0.3, 4, (0.0, 90.0)),
    "gmsk 0.5": (0.5, 3, (0.0, 90.0)),
}
SAMPLES = 8  # per symbol


def made(name: str) -> MinimumShift:
    bandwidth_time, length, rotations = KINDS[name]
    return MinimumShift(bandwidth_time, length, SAMPLES, rotations)


def frequency_pulse(bandwidth_time: float | None, length: int, fine: int) -> np.ndarray:
    """A rectangle of one symbol behind scipy's Gaussian filter, cut to ``length`` symbols, of sum 1/2."""
    pulse = np.zeros(16 * fine + 1)
    middle = 8 * fine
    pulse[middle - fine // 2 : middle + fine // 2 + 1] = 1
    pulse[[middle - fine // 2, middle + fine // 2]] = 0.5
    if bandwidth_time is not None:
        deviation = math.sqrt(math.log(2)) / (2 * math.pi * bandwidth_time)
        pulse = gaussian_filter1d(pulse, deviation * fine, truncate=8)
    pulse = pulse[middle - length * fine // 2 : middle + length * fine // 2 + 1]
    pulse[[0, -1]] /= 2
    return pulse / pulse.sum() / 2


def plain(frequencies: np.ndarray, bandwidth_time: float | None, length: int, steps: int = 64) -> np.ndarray:
    """The waveforms of frequencies +-1 or 0 [..., symbols] whose pulses have their middles where the symbols begin.

    A sum of the frequency in steps of a part of a sample.
    """
    fine = steps * SAMPLES
    pulse = frequency_pulse(bandwidth_time, length, fine)
    count = frequencies.shape[-1]
    phase = np.zeros((count, count * fine))
    for place in range(count):  # of a symbol of frequency 1
        grown = np.pad(np.cumsum(pulse) - pulse / 2, (0, count * fine), constant_values=0.5)
        begin = place * fine - length * fine // 2
        phase[place, max(begin, 0) :] = grown[max(-begin, 0) :][: count * fine - max(begin, 0)]
    return np.exp(1j * np.pi * frequencies @ phase[:, ::steps])


@pytest.mark.parametrize("name", KINDS)
def test_waveform_is_the_integral_of_the_filtered_frequency(name: str) -> None:
    bandwidth_time, length, rotations = KINDS[name]
    modem = made(name)
    sampled = modem.sample(1, SAMPLES * 60, torch.Generator().manual_seed(1))
    signs = 1 - 2.0 * sampled.bits[0].numpy()
    turned = signs * np.exp(1j * np.deg2rad(rotations))[np.arange(60) % len(rotations)]
    frequencies = np.r_[0, (turned[1:] / turned[:-1] / 1j).real]
    expected = plain(frequencies, bandwidth_time, length)
    kept = slice(8 * SAMPLES, -8 * SAMPLES)
    found = sampled.waveform[0].numpy()
    turn = np.vdot(expected[200], found[200])
    assert np.abs(found[kept] - turn * expected[kept]).max() < 1e-3
    assert np.abs(np.abs(found[kept]) - 1).max() < 1e-4


def test_bits_of_gsm_are_precoded_as_the_standard_says() -> None:
    """3GPP TS 45.004 2.3: a symbol is 1 - 2 (d xor d before); equal bits turn forward, unequal ones back."""
    modem = made("gmsk of GSM")
    bits = torch.randint(2, (1, 400), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    waveform = modem.modulate(bits)[0].numpy()
    turns = np.angle(waveform[1:] / waveform[:-1]).reshape(-1)[: 399 * SAMPLES]
    equal = bits[0, 1:] == bits[0, :-1]
    for k in range(10, 380):
        # Only where three symbols agree does the filter leave the sign of every sample untouched.
        if equal[k - 1] == equal[k] == equal[k + 1]:
            around = turns[(k + 1) * SAMPLES - SAMPLES // 2 : (k + 1) * SAMPLES + SAMPLES // 2]
            assert (around > 0).all() == bool(equal[k])
            assert (around < 0).all() != bool(equal[k])


@pytest.mark.parametrize(
    ("name", "residual_db"), [("gmsk of GSM", -24.37), ("gmsk 0.5", -34.92), ("gmsk, short period", -24.37)]
)
def test_residual_of_the_linear_model_is_what_it_says(name: str, residual_db: float) -> None:
    modem = made(name)
    sampled = modem.sample(4, SAMPLES * 4000, torch.Generator().manual_seed(3))
    signs = (1 - 2.0 * sampled.bits).to(torch.complex64)
    linear = modem.synthesise(signs, sampled.waveform.shape[1])
    measured = (sampled.waveform - linear)[:, 100:-100].abs().square().mean().item()
    assert 10 * math.log10(measured) == pytest.approx(10 * math.log10(modem.residual), abs=0.15)
    assert 10 * math.log10(modem.residual) == pytest.approx(residual_db, abs=0.01)
    power = modem_autocorrelation(modem, 1)[0].real.item()
    assert power == pytest.approx(1 - modem.residual, abs=1e-6)


def test_minimum_shift_keying_is_offset_half_sines() -> None:
    half_sine = torch.sin(math.pi * torch.arange(17, dtype=torch.float64) / 16)
    train = turned_train(half_sine, "bpsk", [0.0, 90.0], 8, 4)
    bits = torch.randint(2, (2, 100), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    assert (train.modulate(bits) - made("msk").modulate(bits)).abs().max() < 1e-6
    assert made("msk").residual < 1e-12


def test_laurent_pulses_of_the_paper() -> None:
    """C_0 is by far the largest, lasts length + 1 symbols and is symmetric; the powers of all of them sum to one."""
    pulses = laurent_pulses(0.3, 4, 8)
    assert pulses.shape == (8, 41)
    assert (pulses[0] - pulses[0].flip(0)).abs().max() < 1e-12
    assert pulses.square().sum().item() / 8 == pytest.approx(1, abs=1e-4)
    ends = phase_pulse(torch.tensor([-1.0, 0.0, 2.0, 4.0, 9.0]).double(), 0.3, 4)
    assert ends.tolist() == pytest.approx([0, 0, 0.25, 0.5, 0.5], abs=1e-12)


def error_bounds(name: str, ebno: float) -> tuple[float, float]:
    """Bit error rates of the best receiver: at least that of single errors, at most the sum over short error events.

    Distances are those of `plain` waveforms, averaged over the neighbouring symbols.
    """
    bandwidth_time, length, _ = KINDS[name]
    single, total, reach = 0.0, 0.0, 3
    sides = np.array(list(itertools.product((1.0, -1.0), repeat=2 * reach)))
    for event in ((1,), (1, 1), (1, 0, 1), (1, 1, 1)):
        middles = np.array(list(itertools.product((1.0, -1.0), repeat=len(event))))
        every = [np.r_[side[:reach], middle, side[reach:]] for side in sides for middle in middles]
        symbols = np.pad(np.array(every), ((0, 0), (1, 0)), constant_values=1.0)
        other = symbols.copy()
        other[:, reach + 1 : reach + 1 + len(event)] *= 1 - 2 * np.array(event)
        one, two = (
            plain(np.pad(s[:, 1:] * s[:, :-1], ((0, 0), (2, 4))), bandwidth_time, length, 4) for s in (symbols, other)
        )
        distances = np.sum(np.abs(one - two) ** 2, 1) / SAMPLES
        rate = float(norm.sf(np.sqrt(distances * ebno / 2)).mean())
        total += sum(event) * rate
        single = single or rate
    return single, total


@pytest.mark.parametrize("ebno_db", [4.0, 6.0])
@pytest.mark.parametrize("name", ["gmsk of GSM", "gmsk 0.5"])
def test_error_rate_in_white_noise_is_that_of_the_best_receiver(name: str, ebno_db: float) -> None:
    modem, generator = made(name), torch.Generator().manual_seed(4)
    sampled = modem.sample(40, SAMPLES * 8000, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    received = sampled.waveform + math.sqrt(SAMPLES / 10 ** (ebno_db / 10)) * noise
    rate = float((modem.decide(received) != sampled.bits).double().mean())
    least, most = error_bounds(name, 10 ** (ebno_db / 10))
    deviation = 3 * math.sqrt(2 * most / sampled.bits.numel())  # Error events have up to two or three bits.
    assert least - deviation < rate < most + deviation
    assert most < 1.6 * least
    assert norm.sf(math.sqrt(2 * 10 ** (ebno_db / 10))) < least


@pytest.mark.parametrize("ebno_db", [0.0, 4.0, 6.0])
def test_error_rate_of_minimum_shift_keying_is_the_closed_form(ebno_db: float) -> None:
    modem, generator = made("msk"), torch.Generator().manual_seed(5)
    sampled = modem.sample(40, SAMPLES * 10_000, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    received = sampled.waveform + math.sqrt(SAMPLES / 10 ** (ebno_db / 10)) * noise
    rate = float((modem.decide(received) != sampled.bits).double().mean())
    expected = norm.sf(math.sqrt(2 * 10 ** (ebno_db / 10)))
    assert abs(rate - expected) < 3 * math.sqrt(expected / sampled.bits.numel())


@pytest.mark.parametrize("name", KINDS)
def test_soft_bits_are_calibrated(name: str) -> None:
    modem, generator = made(name), torch.Generator().manual_seed(6)
    sampled = modem.sample(10, SAMPLES * 4000, generator)
    noise = torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    energy = float(modem.linear.waveforms[0].abs().square().sum())
    llr = modem.demodulate(sampled.waveform + math.sqrt(0.8 * energy) * noise, 0.8)
    sure = torch.sigmoid(llr.abs())
    right = (llr > 0) == (sampled.bits == 1)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 0.99)):
        kept = (sure > low) & (sure <= high)
        assert float(right[kept].double().mean()) == pytest.approx(float(sure[kept].mean()), abs=0.02)


@pytest.mark.parametrize("soft", [False, True])
def test_trellis_is_the_search_through_all_sequences(soft: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    single, triple = torch.randn(2, 8, generator=generator), 0.5 * torch.randn(2, 8, generator=generator)
    found = sequence_llr(single, triple, soft=soft)
    # Two unknown symbols stand before the first and behind the last one: they stand for what precedes the window.
    every = torch.tensor(list(itertools.product((1.0, -1.0), repeat=10)))
    products = every[:, 2:] * every[:, 1:-1] * every[:, :-2]
    for row in range(2):
        score = every[:, 2:] @ single[row] + products @ triple[row]
        for place in range(8):
            parts = [score[every[:, place + 2] == sign] for sign in (-1.0, 1.0)]
            one, zero = (torch.logsumexp(part, 0) if soft else part.max() for part in parts)
            assert found[row, place].item() == pytest.approx(float(one - zero), abs=1e-4)


def test_long_sequences_are_cut_without_a_trace() -> None:
    generator = torch.Generator().manual_seed(8)
    single, triple = torch.randn(1, 900, generator=generator), 0.3 * torch.randn(1, 900, generator=generator)
    whole, part = sequence_llr(single, triple, soft=True), sequence_llr(single[:, 100:], triple[:, 100:], soft=True)
    assert (whole[:, 140:] - part[:, 40:]).abs().max() < 1e-4


def test_other_turns_are_refused() -> None:
    with pytest.raises(InputError, match=r"rotations_deg are \[0, 45\], expected steps of 90"):
        MinimumShift(rotations_deg=[0, 45])
