"""The formula, endless batches and fixed sets."""

import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rfsep.iq import mix, power
from rfsep.mixtures.endless import EndlessMixtures, Purpose, batch_generator
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError


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


def test_gain_by_the_power_of_the_interference_alone(mixer: Mixer) -> None:
    one = Mixer(mixer.soi, mixer.interference, empirical="interference")
    batch = one.draw(torch.full((50,), -12.0), 512, torch.Generator().manual_seed(0))
    assert torch.allclose(power(batch.interference), torch.tensor(10**1.2), rtol=1e-4)
    with pytest.raises(InputError, match="true, false, interference"):
        Mixer(mixer.soi, mixer.interference, empirical="soi").draw(  # type: ignore[arg-type]
            torch.zeros(1), 64, torch.Generator().manual_seed(0)
        )


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


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_again_where_they_are_told_to(mixer: Mixer, workers: int) -> None:
    """Batch n is batch n mod N, whatever the number of workers, and in a resumed run."""
    once = EndlessMixtures(mixer, 3, 160, (-30.0, 0.0), 0)
    again = EndlessMixtures(mixer, 3, 160, (-30.0, 0.0), 0, first_batch=4, repeat_after=3)
    loader = DataLoader(again, batch_size=None, num_workers=workers)
    for number, batch in zip(range(4, 9), loader, strict=False):
        assert torch.equal(batch.mixture, once.batch(number % 3).mixture)
        assert torch.equal(batch.bits, once.batch(number % 3).bits)


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


def test_generator_takes_all_of_its_key_and_torchs_state_is_laid_out_as_expected() -> None:
    """Seeds that agree in their low 32 bits, keys padded with zeros and other purposes are other streams."""
    state = torch.Generator().manual_seed(5).get_state().numpy()
    words = state[24 : 24 + 624 * 8].view(np.uint64)
    expected = [5]
    for index in range(1, 624):  # init_genrand of Matsumoto & Nishimura's reference code
        expected.append((1812433253 * (expected[-1] ^ (expected[-1] >> 30)) + index) & 0xFFFFFFFF)
    assert words.tolist() == expected
    keys = [
        (Purpose.TEST, 1),
        (Purpose.TEST, 2**32 + 1),
        (Purpose.TEST, 1, 0),
        (Purpose.TRAINING, 1),
        (Purpose.TEST, 2),
    ]
    firsts = [torch.rand(4, generator=batch_generator(*key)).tolist() for key in keys]
    assert len({tuple(first) for first in firsts}) == len(keys)
    assert torch.rand(4, generator=batch_generator(*keys[0])).tolist() == firsts[0]
    draws = torch.rand(100_000, generator=batch_generator(Purpose.TEST, 3))
    assert draws.mean().item() == pytest.approx(0.5, abs=4 / (12 * 100_000) ** 0.5)


def test_silent_interference_at_an_exact_ratio_stays_silent() -> None:
    silent = torch.zeros((1, 8), dtype=torch.complex64)
    mixed = mix(torch.ones_like(silent), silent, torch.tensor([-10.0]), torch.zeros(1), empirical=True)
    assert torch.equal(mixed.mixture, torch.ones_like(silent))
