"""Blind synchronisation against the timings, gains and noise that mixtures were made with."""

from functools import cache

import pytest
import torch

from rfsep.mixtures.mix import Mixer
from rfsep.separators.inference.interference import make_setup
from rfsep.separators.inference.synchronise import Synchronised, Synchroniser
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import MixtureBatch

QPSK, OFDM = LinearModem(), OfdmModem()
LENGTH = 1280


@cache
def synchroniser(timing_known: bool = False, noise_power: float | None = None) -> Synchroniser:
    return make_setup(
        QPSK,
        modem_periodic_covariance(OFDM),
        LENGTH,
        begins=timing_known,
        ends=timing_known,
        timing_known=timing_known,
        noise_power=noise_power,
    ).synchroniser


def draw(sinr_db: float, noise_power: float = 0.01, seed: int = 0) -> MixtureBatch:
    mixer = Mixer(RandomCrop(QPSK, random_phase=False), RandomCrop(OFDM, power=56 / 64), noise_power=noise_power)
    return mixer.draw(torch.full((20,), sinr_db), LENGTH, torch.Generator().manual_seed(seed))


def gain_error_db(found: Synchronised, batch: MixtureBatch) -> torch.Tensor:
    """Against the power that the interference has in each window."""
    return 10 * (found.gain / batch.interference.abs().square().mean(1)).log10()


@pytest.mark.parametrize("sinr_db", [-24.0, -12.0, 3.0])
def test_everything_is_found_at_every_level(sinr_db: float) -> None:
    batch = draw(sinr_db)
    found = synchroniser()(batch.mixture)
    assert torch.equal(found.soi_offset, batch.soi_offset)
    assert torch.equal(found.interference_offset, batch.interference_offset)
    assert len(torch.unique(batch.interference_offset)) > 10
    error_db = gain_error_db(found, batch)
    assert abs(float(error_db.mean())) < 0.05  # 0.02
    assert float(error_db.abs().max()) < 0.3  # 0.15
    assert (found.noise_power == 0.01).all()


@pytest.mark.parametrize("noise_power", [1e-1, 1e-3, 1e-5])
def test_noise_to_its_decade(noise_power: float) -> None:
    found = synchroniser()(draw(-12.0, noise_power).mixture)
    assert torch.allclose(found.noise_power, torch.full((20,), noise_power, dtype=torch.float64), rtol=1e-6)


def test_known_noise_is_not_estimated() -> None:
    batch = draw(-12.0)
    known, estimated = synchroniser(noise_power=0.01)(batch.mixture), synchroniser()(batch.mixture)
    assert torch.equal(known.soi_offset, estimated.soi_offset)
    assert torch.equal(known.interference_offset, estimated.interference_offset)
    assert torch.allclose(known.gain, estimated.gain, rtol=1e-3)  # the search begins elsewhere
    assert (synchroniser(noise_power=0.02)(batch.mixture).noise_power == 0.02).all()


def test_known_timing_of_the_soi_is_kept() -> None:
    mixer = Mixer(QPSK, RandomCrop(OFDM, power=56 / 64), noise_power=0.01)
    batch = mixer.draw(torch.full((20,), -18.0), LENGTH, torch.Generator().manual_seed(1))
    found = synchroniser(timing_known=True)(batch.mixture)
    assert not found.soi_offset.any()
    assert torch.equal(found.interference_offset, batch.interference_offset)
    assert float(gain_error_db(found, batch).abs().max()) < 0.3


def test_likelihood_is_the_model_s_and_none_nearby_is_higher() -> None:
    batch, sync = draw(-12.0), synchroniser()
    found = sync(batch.mixture)

    def likelihood(at: Synchronised) -> torch.Tensor:
        reduced = sync.model.reduce(batch.mixture, at.soi_offset, at.interference_offset)
        return sync.model.solve(reduced, at.gain, at.noise_power).log_likelihood

    assert torch.allclose(likelihood(found), found.log_likelihood, rtol=0, atol=1e-6)
    for factor in (10**-0.05, 10**0.05):  # half a dB
        assert (likelihood(found._replace(gain=found.gain * factor)) < found.log_likelihood).all()
    beside = sync.runner_up(batch.mixture, found)
    apart = (beside.soi_offset - found.soi_offset) % 16
    assert ((apart == 1) | (apart == 15)).all()
    assert (beside.log_likelihood < found.log_likelihood).all()
    assert torch.allclose(likelihood(beside), beside.log_likelihood, rtol=0, atol=1e-6)
    other = found._replace(soi_offset=(found.soi_offset - (beside.soi_offset - found.soi_offset)) % 16)
    assert (likelihood(other) <= beside.log_likelihood + 1e-6).all()


def test_levels_and_phases_move_nothing_but_the_gain() -> None:
    """A common phase of the mixture changes nothing at all."""
    batch = draw(-12.0)
    found, turned = (synchroniser()(mixture) for mixture in (batch.mixture, batch.mixture * 1j))
    for one, other in zip(found, turned, strict=True):
        assert torch.allclose(one, other, rtol=1e-6)


def test_rows_do_not_see_their_neighbours() -> None:
    mixture = torch.stack([draw(level).mixture[0] for level in (-24.0, -12.0, 3.0)])
    together = synchroniser()(mixture)
    for row in range(3):
        alone = synchroniser()(mixture[row : row + 1])
        for one, other in zip(together, alone, strict=True):
            assert torch.allclose(one[row], other[0], rtol=1e-9)


@pytest.mark.parametrize("off_db", [-1.1, 0.8])
def test_gain_is_found_from_a_wrong_guess(off_db: float) -> None:
    """Parabolas through three likelihoods: finer than their steps of 1.5 and 0.4 dB."""
    batch, sync = draw(-12.0), synchroniser(noise_power=0.01)
    found = sync(batch.mixture)
    reduced = sync.model.reduce(batch.mixture, found.soi_offset, found.interference_offset)
    again = sync.refine(reduced, found._replace(gain=found.gain * 10 ** (off_db / 10)))
    assert float((10 * (again.gain / found.gain).log10()).abs().max()) < 0.05
