"""OFDM interference: power, phase, offset and autocorrelation."""

import pytest
import torch

from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.statistics import frames_autocorrelation, modem_covariance, toeplitz
from rfsep.types import InputError, Modem


def test_offset_tells_where_the_symbols_start() -> None:
    """Cut at the stated offset, the prefix equals the symbol's end."""
    source = RandomCrop(OfdmModem(), power=56 / 64)
    sampled = source.sample(20, 800, torch.Generator().manual_seed(0))
    for waveform, offset in zip(sampled.waveform, sampled.offset.tolist(), strict=True):
        start = 80 - offset
        assert torch.allclose(waveform[start : start + 16], waveform[start + 64 : start + 80], atol=1e-5)
    assert sampled.offset.unique().numel() > 10


def test_power_phase_and_autocorrelation() -> None:
    source = RandomCrop(OfdmModem(), power=56 / 64)
    frames = source.sample(2000, 1600, torch.Generator().manual_seed(0)).waveform
    measured = frames_autocorrelation(frames, 100)
    bias = 1 - torch.arange(100) / 1600
    error = measured / bias - source.autocorrelation(100)
    assert error.abs().max().item() < 3e-3  # 3.2e6 samples
    assert abs(source.autocorrelation(1).item() - 1) < 1e-6
    assert frames.mean(1).abs().mean() < 0.1  # random phase


def test_covariance_averaged_over_the_period_is_the_autocorrelation() -> None:
    """Two closed forms of the same thing, reached by different routes."""
    modem = LinearModem()
    covariance = modem_covariance(modem, 320, context=8)
    from rfsep.signals.statistics import modem_autocorrelation

    lags = modem_autocorrelation(modem, 64)
    for lag in (0, 1, 17, 63):
        diagonal = covariance.diagonal(-lag)[:256]
        assert abs(complex(diagonal.reshape(-1, 16).mean()) - complex(lags[lag])) < 1e-4
    assert torch.equal(toeplitz(lags), toeplitz(lags).mH)


@pytest.mark.parametrize("modem", [LinearModem(), LinearModem("bpsk", 4), OfdmModem(), OfdmModem("bpsk", 64, 15)])
@pytest.mark.parametrize("extra", [0, 1, 2, 3, 7, 9, 15])
def test_bits_are_those_of_the_symbols_with_their_centre_in_the_window(modem: Modem, extra: int) -> None:
    """Cut at the next symbol boundary and demodulated, the window gives its bits again."""
    num_samples, period = 10 * modem.symbol_period + extra, modem.symbol_period
    source = RandomCrop(modem, random_phase=False)
    sampled = source.sample(200, num_samples, torch.Generator().manual_seed(extra))
    per_period = modem.num_bits(10 * period) // 10
    assert sampled.bits.shape == (200, modem.num_bits(num_samples))
    for waveform, bits, offset, count in zip(
        sampled.waveform, sampled.bits, sampled.offset.tolist(), sampled.num_bits.tolist(), strict=True
    ):
        centres = [c for c in range(period // 2 - offset, num_samples, period) if c >= 0]
        assert count == min(len(centres) * per_period, bits.numel())
        assert not bits[count:].any()
        boundary = (period - offset) % period  # the first whole symbol
        skipped = per_period * (0 < offset <= period // 2)  # a symbol cut by the window's start, centre inside
        whole = (num_samples - boundary) // period * per_period - 2 * per_period  # off the end, where pulses are cut
        found = modem.decide(waveform[None, boundary:])[0]
        clear = per_period * (2 if per_period < 8 else 0)  # the pulses of the first two symbols are cut as well
        assert torch.equal(found[clear:whole], bits[skipped + clear : skipped + whole])


def test_gaussian_symbols_have_the_covariance_of_the_modem_at_every_offset() -> None:
    modem = LinearModem("qpsk_axes", num_taps=127, unit_energy=False)
    source = RandomCrop(modem, random_phase=False, symbols="gaussian")
    sampled = source.sample(160_000, 64, torch.Generator().manual_seed(0))
    assert sampled.bits.shape == (160_000, 0)
    assert int(sampled.num_bits.sum()) == 0
    covariance = modem_covariance(modem, 80, context=8)
    for offset in (0, 5, 11):
        rows = sampled.waveform[sampled.offset == offset].to(torch.complex128)
        measured = rows.T @ rows.conj() / len(rows)
        error = measured - covariance[offset : offset + 64, offset : offset + 64]
        assert error.abs().max() < 5 * 1.5 / len(rows) ** 0.5  # powers up to 1.32, 10,000 rows
    kurtosis = sampled.waveform.abs().pow(4).mean() / sampled.waveform.abs().square().mean().square()
    assert 2.08 < kurtosis < 2.13  # 2 for a circular Gaussian, times 1 + 0.32^2 / 2 of the power's profile


def test_gaussian_ofdm_has_unit_power_and_a_prefix_of_its_own_length() -> None:
    source = RandomCrop(OfdmModem(cyclic_prefix_length=15), 0.875, random_phase=False, symbols="gaussian")
    sampled = source.sample(2000, 79 * 4, torch.Generator().manual_seed(1))
    assert abs(sampled.waveform.abs().square().mean() - 1) < 0.01
    assert sampled.offset.max() == 78
    for waveform, offset in zip(sampled.waveform[:20], sampled.offset[:20].tolist(), strict=True):
        start = 79 - offset
        assert torch.allclose(waveform[start : start + 15], waveform[start + 64 : start + 79], atol=1e-5)


def test_unknown_symbols_are_refused() -> None:
    with pytest.raises(InputError, match="discrete, gaussian"):
        RandomCrop(OfdmModem(), symbols="normal")  # type: ignore[arg-type]
