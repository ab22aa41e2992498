"""Validation decides bits as the modem does, whatever its symbols carry."""

import pytest
import torch

from rfsep.app.config import build_modem, soi_of
from rfsep.iq import to_channels
from rfsep.mixtures.mix import Mixer
from rfsep.signals.noise import WhiteNoise
from rfsep.training.soi_bits import NoiseVariance, demodulated_error_rates, heard, soft_bits
from rfsep.types import InputError


@pytest.mark.parametrize("name", ["qpsk", "oqpsk", "pi4_dqpsk", "gmsk", "gfsk", "fsk2", "dsss", "ofdm_80211a"])
def test_clean_estimates_have_no_errors_and_noisy_ones_those_of_the_modem(name: str) -> None:
    modem = build_modem(soi_of(name))
    levels = torch.zeros(6)
    batch = Mixer(modem, WhiteNoise()).draw(levels, 20 * modem.symbol_period, torch.Generator().manual_seed(1))
    assert demodulated_error_rates(modem, to_channels(batch.soi), batch).eq(0).all()
    rates = demodulated_error_rates(modem, to_channels(batch.mixture), batch)
    expected = (modem.decide(batch.mixture) != batch.bits).double().mean(1)
    assert rates.double().numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("name", ["oqpsk", "pi4_dqpsk", "gmsk"])
def test_soft_bits_are_the_modems(name: str) -> None:
    modem = build_modem(soi_of(name))
    batch = Mixer(modem, WhiteNoise()).draw(torch.zeros(2), 20 * modem.symbol_period, torch.Generator().manual_seed(2))
    found = heard(modem, to_channels(batch.mixture), batch)
    variance = NoiseVariance()(found.symbols, found.known, modem.constellation)
    bits = soft_bits(found, modem, variance)
    assert torch.equal(bits, modem.demodulate(batch.mixture, variance[:, None]))


@pytest.mark.parametrize("name", ["fsk2", "ofdm_80211a"])
def test_objectives_of_soft_bits_refuse_symbols_without_bits(name: str) -> None:
    modem = build_modem(soi_of(name))
    batch = Mixer(modem, WhiteNoise()).draw(torch.zeros(2), 20 * modem.symbol_period, torch.Generator().manual_seed(2))
    found = heard(modem, to_channels(batch.mixture), batch)
    with pytest.raises(InputError, match="whose symbols all carry bits"):
        NoiseVariance()(found.symbols, found.known, modem.constellation)
