"""The tables of TR 38.901 against Sionna's."""

import pytest
import torch

from rfsep.signals.channels.profiles import LONGEST_DELAY, PROFILES, delay_profile


@pytest.mark.parametrize("name", PROFILES)
def test_the_profiles_are_those_of_sionna(name: str) -> None:
    tr38901 = pytest.importorskip("sionna.phy.channel.tr38901")
    reference = tr38901.TDL(name, delay_spread=1.0, carrier_frequency=3.5e9, device="cpu")
    found = delay_profile(name)
    assert torch.equal(found.delays, reference.delays.double())
    assert torch.equal(found.powers, reference.mean_powers.double())


@pytest.mark.parametrize("name", PROFILES)
def test_the_profiles_have_a_delay_spread_of_one(name: str) -> None:
    delays, powers = delay_profile(name)
    mean = (powers * delays).sum()
    assert powers.sum().item() == pytest.approx(1, abs=1e-6)
    assert (powers * (delays - mean).square()).sum().sqrt().item() == pytest.approx(1, abs=2e-4)
    assert delays.max() <= LONGEST_DELAY + 1e-6
