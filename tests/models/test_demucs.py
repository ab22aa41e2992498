"""DEMUCS: resampling of band-limited signals, the public network's parameters, any length, far reach."""

import pytest
import torch

from rfsep.models.demucs import Demucs, _downsample, _half_sample_filter, _upsample


def test_resampling_keeps_a_tone() -> None:
    taps, n = _half_sample_filter(), torch.arange(600, dtype=torch.float64)
    phase = 2 * torch.pi * 0.37  # of 0.5
    tone = torch.stack(((phase * n).cos(), (phase * n).sin()))[None].float()
    double = _upsample(tone, taps)
    half = torch.stack(((phase * (n + 0.5)).cos(), (phase * (n + 0.5)).sin()))[None].float()
    assert torch.equal(double[..., ::2], tone)
    assert (double[..., 1::2] - half)[..., 100:-100].abs().max() < 2e-3
    assert (_downsample(double, taps) - tone)[..., 100:-100].abs().max() < 2e-3


def test_downsampling_removes_what_lies_above_the_new_band() -> None:
    n = torch.arange(1200, dtype=torch.float64)
    high = (2 * torch.pi * 0.4 * n).cos().float().expand(1, 2, -1)
    assert _downsample(high, _half_sample_filter())[..., 100:-100].abs().max() < 2e-3


def test_convolutions_are_those_of_the_public_speech_network() -> None:
    """Which has 33,533,569 parameters with one channel and 16,793,600 in a one-way LSTM of two layers."""
    with torch.device("meta"):
        model = Demucs()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    second_channel = 8 * 64 + 8 * 64 + 1
    assert counts["encoder"] + counts["decoder"] == 33_533_569 - 16_793_600 + second_channel
    assert counts["recurrent"] == 2 * (4 * 1024 * (1024 + 1024 + 2) + 4 * 1024 * (2048 + 1024 + 2))


@pytest.mark.parametrize("length", [1, 161, 400])
@pytest.mark.parametrize("resample", [1, 2, 4])
def test_any_length(length: int, resample: int) -> None:
    model = Demucs(hidden=4, depth=3, resample=resample)
    assert model(torch.randn(2, 2, length)).shape == (2, 2, length)


@pytest.mark.parametrize("length", range(1, 40))
def test_padding_is_the_shortest_that_leaves_nothing_out(length: int) -> None:
    model = Demucs(hidden=2, depth=2, kernel=5, stride=3)
    whole = {(((k - 1) * 3 + 5) - 1) * 3 + 5 for k in range(1, 20)}
    assert model._whole_length(length) == min(one for one in whole if one >= length)


def test_recurrence_sees_everything() -> None:
    torch.manual_seed(0)
    model, mixture = Demucs(hidden=8, depth=3), torch.randn(1, 2, 500, requires_grad=True)
    model(mixture)[:, :, 250].sum().backward()
    assert mixture.grad is not None
    assert (mixture.grad != 0).any(1).all()


def test_bfloat16_stays_near() -> None:
    torch.manual_seed(0)
    model, mixture = Demucs(hidden=8, depth=3), torch.randn(1, 2, 500)
    with torch.no_grad():
        reference = model(mixture)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = model(mixture)
    assert estimate.dtype == torch.float32
    assert (estimate - reference).square().mean() < 1e-3 * reference.var()


def test_wrong_factor_is_named() -> None:
    with pytest.raises(ValueError, match="resample 3 is no power of two"):
        Demucs(hidden=2, depth=1, resample=3)
