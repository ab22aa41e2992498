"""Closed-form estimators of Gaussian sources: the published values, and brute force on small covariances."""

import math

import pytest
import torch
from torch import Tensor

from rfsep.bounds.cyclo import CycloLmmse, CycloMmse, CycloSyncMmse
from rfsep.bounds.cyclo_mixtures import CycloMixtures
from rfsep.bounds.gaussian import linear_estimate, lmmse, posterior_mmse, sync_mmse
from rfsep.iq import db
from rfsep.types import InputError, MixtureBatch


@pytest.fixture(scope="module")
def mixtures() -> CycloMixtures:
    return CycloMixtures()


@pytest.fixture(scope="module")
def batch(mixtures: CycloMixtures) -> MixtureBatch:
    return next(mixtures.level(-6.0, 1000))


def mse_db(estimate: Tensor, batch: MixtureBatch) -> float:
    return db(float((estimate - batch.soi).to(torch.complex128).abs().square().mean()))


def test_published_values_of_the_cyclostationary_example(mixtures: CycloMixtures, batch: MixtureBatch) -> None:
    """systems.md 2.5, printed to four decimals, on the published 1,000 mixtures at -6 dB."""
    assert mse_db(CycloLmmse(mixtures).estimate(batch).soi, batch) == pytest.approx(-1.1104, abs=5e-4)
    assert mse_db(CycloSyncMmse(mixtures).estimate(batch).soi, batch) == pytest.approx(-3.7110, abs=5e-4)
    assert mse_db(CycloMmse(mixtures, temper=0.5).estimate(batch).soi, batch) == pytest.approx(-3.7105, abs=5e-4)


def test_exact_posterior_differs_from_the_published_one_by_thousandths(mixtures: CycloMixtures) -> None:
    part = next(mixtures.level(-6.0, 100))
    tempered, exact = (CycloMmse(mixtures, temper).estimate(part).soi for temper in (0.5, 1.0))
    assert not torch.equal(tempered, exact)
    assert mse_db(exact, part) == pytest.approx(mse_db(tempered, part), abs=0.01)


def test_windows_are_what_their_offsets_say(mixtures: CycloMixtures, batch: MixtureBatch) -> None:
    """Sample covariances at one offset against the closed form, and every ratio exact."""
    ratio = batch.soi.abs().square().mean(1) / batch.interference.abs().square().mean(1)
    assert torch.allclose(10 * ratio.log10(), torch.tensor(-6.0), atol=1e-4)
    noise = batch.mixture - batch.soi - batch.interference
    assert float(noise.abs().square().mean()) == pytest.approx(0.01, rel=0.01)
    for offset in (0, 4, 10):
        rows = batch.soi[batch.soi_offset == offset].to(torch.complex128)  # about 90 rows, 23 periods each
        periods = rows[:, :253].reshape(-1, 11)
        measured = periods.T @ periods.conj() / len(periods)
        expected = mixtures.soi_covariances[offset][:11, :11]
        assert (measured - expected).abs().max() < 0.15 * expected.abs().max()
    assert float(mixtures.soi_covariances.diagonal(0, 1, 2).mean()) == pytest.approx(1.0, abs=0.01)


def test_a_smaller_set_is_part_of_the_published_one(mixtures: CycloMixtures) -> None:
    assert torch.equal(next(mixtures.level(-3.0, 5)).mixture, next(CycloMixtures().level(-3.0, 1000)).mixture[:5])
    for level, number in ((-4.5, 10), (-6.0, 1001)):
        with pytest.raises(InputError, match="1000 mixtures at each of -6, -3, 0, 3, 6 dB"):
            next(mixtures.level(level, number))


def covariances(count: int, size: int, generator: torch.Generator) -> Tensor:
    roots = torch.randn((count, size, size), dtype=torch.complex128, generator=generator)
    return roots @ roots.mH / size


def test_posterior_is_the_one_of_brute_force_for_complex_covariances() -> None:
    generator = torch.Generator().manual_seed(0)
    soi, interference = covariances(3, 4, generator), covariances(2, 4, generator)
    gains, noise_power = torch.tensor([1.0, 4.0]), 0.1
    mixture = torch.randn((6, 4), dtype=torch.complex64, generator=generator)
    total, weights = torch.zeros((6, 4), dtype=torch.complex128), torch.zeros(6, dtype=torch.float64)
    for one in soi:
        for other in interference:
            for gain in gains.tolist():
                covariance = one + gain * other + noise_power * torch.eye(4)
                inverse = torch.linalg.inv(covariance)
                for row, y in enumerate(mixture.to(torch.complex128)):
                    energy = float((y.conj() @ inverse @ y).real)
                    density = math.exp(-energy) / float(torch.linalg.det(covariance).real)
                    total[row] += density * (one @ inverse @ y)
                    weights[row] += density
    estimate = posterior_mmse(mixture, soi, interference, gains, noise_power)
    assert torch.allclose(estimate, total / weights[:, None], atol=1e-9)


def test_real_and_complex_covariances_give_the_same(mixtures: CycloMixtures, batch: MixtureBatch) -> None:
    part = batch.mixture[:5]
    soi, interference = mixtures.soi_covariances[:2], mixtures.interference_covariances[:2]
    real = posterior_mmse(part, soi, interference, torch.tensor([4.0]), 0.01)
    both = (soi.to(torch.complex128), interference.to(torch.complex128))
    assert torch.allclose(real, posterior_mmse(part, *both, torch.tensor([4.0]), 0.01), atol=1e-9)
    assert torch.allclose(lmmse(part, soi, interference, 4.0, 0.01), lmmse(part, *both, 4.0, 0.01), atol=1e-9)


def test_known_offsets_choose_the_covariances() -> None:
    generator = torch.Generator().manual_seed(1)
    soi, interference = covariances(3, 4, generator), covariances(2, 4, generator)
    mixture = torch.randn((4, 4), dtype=torch.complex64, generator=generator)
    offsets, others, gain = torch.tensor([2, 0, 2, 1]), torch.tensor([1, 0, 0, 1]), torch.tensor([1.0, 2.0, 1.0, 1.0])
    estimate = sync_mmse(mixture, soi, interference, offsets, others, gain, 0.1)
    for row in range(4):
        known = soi[offsets[row]], interference[others[row]], float(gain[row])
        assert torch.allclose(estimate[row], linear_estimate(mixture[row : row + 1], *known, 0.1)[0])
