"""One of several kinds of interference in every window."""

import pytest
import torch

from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.several import Several
from rfsep.types import InputError


def test_every_kind_comes_about_as_often_and_is_itself() -> None:
    """OFDM is told from noise by its prefix."""
    source = Several([RandomCrop(OfdmModem(), power=56 / 64), WhiteNoise()])
    sampled = source.sample(400, 1600, torch.Generator().manual_seed(0))
    shifted = sampled.waveform[:, 64:] * sampled.waveform[:, :-64].conj()
    ofdm = shifted.mean(1).abs() > 0.1
    assert 160 < int(ofdm.sum()) < 240  # 200 +- 4 standard deviations
    assert float(sampled.waveform.abs().square().mean()) == pytest.approx(1.0, abs=0.01)
    assert sampled.bits.shape == (400, 0)
    assert bool((sampled.offset == -1).all() and (sampled.origin == -1).all())


def test_no_kind_is_refused() -> None:
    with pytest.raises(InputError, match="sources is empty"):
        Several([])
