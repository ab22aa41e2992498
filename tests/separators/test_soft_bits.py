"""Log-likelihood ratios of joint detection."""

import pytest
import torch

from rfsep.mixtures.mix import Mixer
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError

NOTHING = torch.zeros((0, 0), dtype=torch.complex64)


def test_soft_bits_are_in_order_at_any_offset_and_smaller_where_wrong() -> None:
    modem = LinearModem()
    soi, interference = RandomCrop(modem, random_phase=False), RandomCrop(OfdmModem("qam16"), power=56 / 64)
    mixer = Mixer(soi, interference, noise_power=0.1)
    batch = mixer.draw(torch.full((24,), -12.0), 640, torch.Generator().manual_seed(3))
    llr = JointDetection(modem, NOTHING, OfdmModem("qam16"), "estimated", 0.1).soft_bits(batch.mixture)
    wrong = (llr > 0).byte() != batch.bits
    assert llr.shape == batch.bits.shape
    assert 0 < wrong.float().mean() < 0.05  # one symbol out of place would give a half
    assert llr.abs()[wrong].median() < 0.8 * llr.abs()[~wrong].median()


def test_soft_bits_are_of_one_window() -> None:
    separator = JointDetection(LinearModem(), NOTHING, OfdmModem(), block=640)
    with pytest.raises(InputError, match="640 samples; got 641"):
        separator.soft_bits(torch.zeros((1, 641), dtype=torch.complex64))
