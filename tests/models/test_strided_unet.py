"""The U-Net of two rates and its features: closed forms of the features, levels, lengths, guides."""

import math

import pytest
import torch

from rfsep.iq import to_channels
from rfsep.models.strided_unet import StridedUNet
from rfsep.models.waveform_features import NUM_FEATURES, waveform_features


def carrier(frequency: float, length: int) -> torch.Tensor:
    return torch.polar(torch.ones(length), 2 * math.pi * frequency * torch.arange(length))


def pair(features: torch.Tensor, first: int) -> torch.Tensor:
    return torch.complex(features[0, first], features[0, first + 1])


def test_radial_part_keeps_half_of_a_weak_signal_and_no_constant_envelope() -> None:
    """A carrier of amplitude 30 and s = 0.5: the first-order radial part is Re(s exp(-j phi)) exp(j phi)."""
    strong, weak = carrier(0.11, 4096), 0.5 * carrier(0.02, 4096)
    found = 2 * pair(waveform_features(to_channels((30 * strong + weak)[None])), 5)
    expected = (weak * strong.conj()).real * strong
    middle = slice(100, -100)
    # The local mean over 65 samples removes little of a beat that turns every 11 samples; second order is 0.5 / 60.
    assert float((found - expected)[middle].abs().square().mean().sqrt()) < 0.04 * 0.5
    alone = pair(waveform_features(to_channels((30 * strong)[None])), 5)
    assert float(alone.abs().max()) < 1e-4


def test_inverse_spectrum_removes_a_carrier_and_keeps_the_rest() -> None:
    """A carrier 40 dB above white noise of unit power disappears, and the noise comes out times 8 / (1 + 1)."""
    noise = torch.randn(8192, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    mixture = to_channels((100 * carrier(0.1, 8192) + noise)[None])
    found = torch.fft.fft(pair(waveform_features(mixture), 7)) / torch.fft.fft(noise)
    frequency = torch.fft.fftfreq(8192)
    near, far = (frequency - 0.1).abs() < 0.005, (frequency - 0.1).abs() > 0.02
    assert float(found[far].abs().median()) == pytest.approx(4, rel=0.05)
    spectrum = torch.fft.fft(pair(waveform_features(mixture), 7)).abs().square()
    assert float(spectrum[near].sum() / spectrum[far].sum()) < 0.02  # 34 dB of it has gone


def test_level_and_limits() -> None:
    quiet = to_channels(carrier(0.01, 256)[None])
    first, louder = waveform_features(quiet), waveform_features(30 * quiet)
    torch.testing.assert_close(louder[:, :2], first[:, :2])  # unit power at any level
    assert float(pair(louder, 2).abs().mean()) == pytest.approx(30 / math.sqrt(901), rel=1e-4)
    assert float((louder - first)[:, 4].mean()) == pytest.approx(math.log(30) / 2, rel=1e-4)
    for length in (16, 1280):
        silent = waveform_features(torch.zeros(2, 2, length))
        assert silent.shape == (2, NUM_FEATURES, length)
        assert bool(silent.isfinite().all())


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("length", [7, 16, 100, 1280])
def test_any_length_and_every_row_by_itself(guided: bool, length: int) -> None:
    torch.manual_seed(0)
    model = StridedUNet(channels=8, inner_channels=16, guided=guided).eval()
    mixture = torch.randn(3, 4 if guided else 2, length)
    with torch.no_grad():
        estimate = model(mixture)
        assert estimate.shape == (3, 2, length)
        torch.testing.assert_close(model(mixture[1:2]), estimate[1:2])


def test_a_guided_network_starts_from_an_unguided_one_and_may_trust_either() -> None:
    """It returns its guide at weight 0 and the unguided estimate at weight 1."""
    torch.manual_seed(0)
    alone, guided = StridedUNet(8, 16), StridedUNet(8, 16, guided=True)
    left = guided.load_state_dict(alone.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert {name.split(".")[0] for name in left.missing_keys} == {"enter_guide", "weigh"}
    mixture, guide = torch.randn(2, 2, 320), torch.randn(2, 2, 320)
    both = torch.cat((mixture, guide), 1)
    assert torch.equal(guided(both), guide)
    torch.nn.init.ones_(guided.weigh.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(guided(both), alone(mixture))


def test_vectors_are_centred() -> None:
    """Taps lie as far before a vector's samples as after: an impulse in the middle leaves a symmetric support."""
    model = StridedUNet(8, 16, dilations=(1,))
    features = waveform_features(torch.randn(1, 2, 1024))[:, :, None].requires_grad_()
    model.enter(features)[..., 128].sum().backward()
    assert features.grad is not None
    seen = features.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (512 - 14, 512 + 17)
