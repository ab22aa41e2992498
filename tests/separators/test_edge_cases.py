"""Layouts that once went wrong: rates, lengths and periods that do not fit each other."""

import pytest
import torch

from rfsep.identification.identify import identify
from rfsep.mixtures.mix import Mixer
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

NONE = torch.zeros((0, 0), dtype=torch.complex64)


def single_carrier(samples_per_symbol: int, frames: int, length: int) -> torch.Tensor:
    source = RandomCrop(LinearModem(samples_per_symbol=samples_per_symbol))
    return source.sample(frames, length, torch.Generator().manual_seed(9)).waveform


def test_estimated_symbol_rate_counts_as_whole_where_it_does_not_drift() -> None:
    assert CyclicLmmse(LinearModem(), single_carrier(8, 100, 4096)).covariance.period == 8


@pytest.mark.parametrize(("samples_per_symbol", "frames", "length"), [(8, 20, 2048), (10, 100, 4096)])
def test_single_carrier_is_not_ofdm(samples_per_symbol: int, frames: int, length: int) -> None:
    found = identify(single_carrier(samples_per_symbol, frames, length))
    assert (found.kind.value, found.statistical_period.value) == ("single_carrier", samples_per_symbol)


def test_interference_symbols_much_shorter_than_those_of_the_soi() -> None:
    soi, interference = OfdmModem(), OfdmModem("qpsk", 8, 2, (1, 1))
    mixer = Mixer(soi, RandomCrop(interference, power=interference.power), noise_power=0.01)
    batch = mixer.draw(torch.full((2,), -12.0), 480, torch.Generator().manual_seed(0))
    estimate = JointDetection(soi, NONE, interference).separate(batch.mixture)
    assert torch.isfinite(torch.view_as_real(estimate.soi)).all()


@pytest.mark.parametrize("length", [1289, 1292])
def test_length_that_is_no_multiple_of_the_symbol(length: int) -> None:
    soi, interference = LinearModem(span=4), OfdmModem()
    mixer = Mixer(soi, RandomCrop(interference, power=interference.power))
    batch = mixer.draw(torch.full((24,), -24.0), length, torch.Generator().manual_seed(length))
    estimate = JointDetection(soi, NONE, interference).separate(batch.mixture)
    assert torch.equal(estimate.bits, batch.bits)
