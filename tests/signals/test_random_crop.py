"""OFDM interference: power, phase, offset and autocorrelation."""

import torch

from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.statistics import frames_autocorrelation, modem_covariance, toeplitz


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
