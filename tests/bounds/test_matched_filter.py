"""The interference-free bound against closed forms."""

import math

import pytest
import torch

from rfsep.bounds.matched_filter import MatchedFilterBound
from rfsep.iq import db, from_db
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import MixtureBatch, Modem, Separated

OFDM = RandomCrop(OfdmModem(), power=56 / 64)


def mse(estimate: Separated, batch: MixtureBatch) -> float:
    return float((estimate.soi - batch.soi).abs().square().mean())


def symbol_mmse(noise_variance: float) -> float:
    """MMSE of a QPSK symbol of unit power: 1 - E tanh(m + sqrt(m) z) with m = 1 / noise_variance."""
    m = 1 / noise_variance
    z = torch.linspace(-10, 10, 20001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return 1 - float(torch.trapezoid(torch.tanh(m + math.sqrt(m) * z) * density, z))


@pytest.mark.parametrize(("modem", "gain"), [(LinearModem(), 1 / 16), (OfdmModem(), 1.0)])
@pytest.mark.parametrize("snr_db", [0.0, 4.0])
def test_bit_errors_and_mse_in_white_noise(modem: Modem, gain: float, snr_db: float) -> None:
    """Q(sqrt(SNR)) and the MMSE of a QPSK symbol at the SNR behind the filter, whatever the interference was."""
    variance = from_db(-snr_db)
    mixer = Mixer(modem, OFDM, noise_power=variance / gain)
    batch = mixer.draw(torch.full((200,), -20.0), 2560, torch.Generator().manual_seed(0))
    bound = MatchedFilterBound(modem, OFDM, variance / gain)
    estimate = bound.estimate(batch)
    rate = float((estimate.bits != batch.bits).double().mean())
    expected = 0.5 * math.erfc(math.sqrt(1 / variance / 2))
    assert rate == pytest.approx(expected, abs=4 * math.sqrt(expected / batch.bits.numel()))
    # the SOI's power: the window's first and last symbols lack a part of their pulses
    power = float(batch.soi.abs().square().mean())
    assert mse(estimate, batch) == pytest.approx(symbol_mmse(variance) * power, rel=0.02)


def test_any_offset_costs_nothing_in_the_interior_and_little_at_the_ends() -> None:
    modem = LinearModem()
    soi = RandomCrop(modem, random_phase=False)
    variance = from_db(-4.0)
    batch = Mixer(soi, OFDM, noise_power=16 * variance).draw(
        torch.full((300,), -20.0), 1280, torch.Generator().manual_seed(1)
    )
    estimate = MatchedFilterBound(modem, OFDM, 16 * variance).estimate(batch)
    inner = Separated(estimate.soi[:, 128:-128], estimate.bits)
    cut = batch._replace(soi=batch.soi[:, 128:-128])
    assert mse(inner, cut) == pytest.approx(symbol_mmse(variance), rel=0.04)
    assert mse(estimate, batch) == pytest.approx(symbol_mmse(variance), rel=0.04)
    rate = float((estimate.bits != batch.bits)[:, 8:-8].double().mean())
    expected = 0.5 * math.erfc(math.sqrt(1 / variance / 2))
    assert rate == pytest.approx(expected, rel=0.06)


def test_without_noise_hardly_anything_is_left() -> None:
    modem = LinearModem()
    batch = Mixer(RandomCrop(modem, random_phase=False), OFDM).draw(
        torch.full((50,), -20.0), 1280, torch.Generator().manual_seed(2)
    )
    assert db(mse(MatchedFilterBound(modem, OFDM, 0.0).estimate(batch), batch)) < -70


def test_gaussian_noise_of_the_published_data_leaves_no_error() -> None:
    modem = LinearModem("qpsk_axes", num_taps=127, unit_energy=False)
    batch = Mixer(RandomCrop(modem, random_phase=False), OFDM, noise_power=0.01).draw(
        torch.full((200,), -20.0), 1280, torch.Generator().manual_seed(3)
    )
    assert db(mse(MatchedFilterBound(modem, OFDM, 0.01).estimate(batch), batch)) < -45
