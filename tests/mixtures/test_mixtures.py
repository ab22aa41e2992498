"""The formula, endless batches and fixed sets."""

import math

import pytest
import torch
from torch.utils.data import DataLoader

from rfsep.iq import power
from rfsep.mixtures.endless import EndlessMixtures
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer, mix
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop


@pytest.fixture
def mixer() -> Mixer:
    return Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64))


def test_mixture_is_the_formula() -> None:
    soi, interference = torch.tensor([[1 + 0j, 2j]]), torch.tensor([[3 + 0j, 1j]])
    mixed = mix(soi, interference, torch.tensor([-20.0]), torch.tensor([math.pi / 2]))
    assert torch.allclose(mixed.mixture, torch.tensor([[1 + 30j, -10 + 2j]]), atol=1e-5)
    assert torch.allclose(mixed.mixture - mixed.interference, soi, atol=1e-5)


def test_empirical_ratio_is_exact_and_nominal_is_exact_on_average(mixer: Mixer) -> None:
    generator = torch.Generator().manual_seed(0)
    level = torch.full((400,), -12.0)
    nominal = mixer.draw(level, 512, generator)
    exact = Mixer(mixer.soi, mixer.interference, empirical=True).draw(level, 512, generator)
    ratio = 10 * torch.log10(power(exact.soi) / power(exact.interference))
    assert torch.allclose(ratio, level, atol=1e-3)
    measured = 10 * torch.log10(power(nominal.soi) / power(nominal.interference))
    assert measured.std() > 0.05
    # the window's own symbols only: a QPSK window of 32 symbols lacks some of its edges' energy
    assert abs(float(power(nominal.interference).mean()) / 10**1.2 - 1) < 0.02


def test_parts_sum_to_the_mixture_and_noise_has_its_power(mixer: Mixer) -> None:
    noisy = Mixer(mixer.soi, mixer.interference, noise_power=0.01)
    batch = noisy.draw(torch.full((50,), -6.0), 2048, torch.Generator().manual_seed(0))
    rest = batch.mixture - batch.soi - batch.interference
    assert float(power(rest).mean()) == pytest.approx(0.01, rel=0.02)
    clean = mixer.draw(torch.full((5,), -6.0), 2048, torch.Generator().manual_seed(0))
    assert torch.allclose(clean.mixture, clean.soi + clean.interference, atol=1e-5)


def test_batches_do_not_depend_on_the_number_of_workers_and_resume(mixer: Mixer) -> None:
    def take(workers: int, first: int = 0, rank: int = 0, seed: int = 0) -> list[torch.Tensor]:
        data = EndlessMixtures(mixer, 3, 160, (-30.0, 0.0), seed, rank, first)
        loader = DataLoader(data, batch_size=None, num_workers=workers)
        return [batch.mixture for _, batch in zip(range(4), loader, strict=False)]

    alone, two = take(0), take(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, two, strict=True))
    assert torch.equal(take(0, first=2)[0], alone[2])
    assert not torch.equal(take(0, rank=1)[0], alone[0])
    assert not torch.equal(take(0, seed=1)[0], alone[0])
    rows = torch.cat(alone)
    assert len(torch.unique(rows[:, 0].abs())) == len(rows)  # no two mixtures alike


def test_sinr_is_uniform_over_its_range(mixer: Mixer) -> None:
    data = EndlessMixtures(mixer, 2000, 32, (-30.0, 0.0), 0)
    sinr = data.batch(0).sinr_db.sort().values
    gap = (sinr - torch.linspace(-30, 0, 2000)).abs().max()
    assert gap < 30 * 1.63 / math.sqrt(2000)  # Kolmogorov-Smirnov at 1 %


def test_fixed_set_is_the_same_for_a_seed_and_its_levels_are_independent(mixer: Mixer) -> None:
    both = list(fixed_mixtures(mixer, [-12.0, -6.0], 4, 160, seed=5))
    one = list(fixed_mixtures(mixer, [-6.0], 4, 160, seed=5))
    assert torch.equal(both[1].mixture, one[0].mixture)
    assert not torch.equal(both[0].soi, both[1].soi)
    assert both[0].sinr_db.tolist() == [-12.0] * 4
