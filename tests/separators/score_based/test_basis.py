"""BASIS against posteriors in closed form, and on the published mixtures."""

import math

import pytest
import torch
from torch import Tensor

from rfsep.mixtures.mix import Mixer
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.score_based.basis import Basis
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError

SOI, INTERFERENCE = LinearModem(span=4), OfdmModem()
NONE = torch.zeros((0, 0), dtype=torch.complex64)
LAST = 1e-4  # 1 - alpha_bar of the last level


class White:
    """White Gaussian samples of a variance."""

    def __init__(self, variance: float) -> None:
        self.variance = variance

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn((1, num_samples), dtype=torch.complex64, generator=generator)

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        return -noisy / (alpha_bar * self.variance + 1 - alpha_bar)


def basis(**options: object) -> Basis:
    return Basis(SOI, NONE, interference=INTERFERENCE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("omega", "temperature"), [("one", 3.0), ("kappa_squared", 1.0)])
def test_constraint_samples_the_posterior_of_gaussians(omega: str, temperature: float) -> None:
    """Mean and variance in closed form, of variances 2e-3 and 1e-3 seen at the last level; sigma^2 of both is 1e-4.

    With weight one the gradient is kappa times the posterior's and the noise is not: the posterior to the power kappa.
    """
    gain = torch.tensor([3.0 * complex(math.cos(1), math.sin(1))]).to(torch.complex64)
    own, other = (variance * (1 - LAST) + LAST for variance in (2e-3, 1e-3))
    weight = 1.0 if omega == "one" else 9.0
    precision = 1 / own + weight / (9 * other)  # of the SOI
    mixture = torch.full((1, 4_000), 0.05 + 0.02j, dtype=torch.complex64)
    walker = basis(omega=omega, levels=2, steps=500, share=0.1)
    soi = walker.sample(mixture, gain, White(2e-3), White(1e-3), torch.zeros_like(mixture))
    expected = mixture[0, 0] * weight / (9 * other) / precision
    step = 0.1 * LAST * temperature * precision  # of the linear recursion x <- (1 - step) x + noise
    variance = 1 / (temperature * precision) / (1 - step / 2)
    assert abs(soi.mean() - expected) < 4 * math.sqrt(variance / 4_000)
    assert float((soi - expected).abs().square().mean()) == pytest.approx(variance, rel=4 / math.sqrt(4_000))


def test_original_samples_the_joint_posterior_of_gaussians() -> None:
    """The mixture is known to the last level's noise: y / gain = s / gain + b + CN(0, 1e-4)."""
    gain = torch.tensor([2.0j]).to(torch.complex64)
    own, other = (variance * (1 - LAST) + LAST for variance in (1e-3, 2e-4))
    mixture = torch.full((1, 4_000), 0.05 + 0.02j, dtype=torch.complex64)
    walker = basis(likelihood="gaussian", levels=2, steps=800, share=0.05)
    soi = walker.sample(mixture, gain, White(1e-3), White(2e-4), torch.zeros_like(mixture))
    spread = own + 4 * (other + LAST)  # of the mixture
    expected, variance = mixture[0, 0] * own / spread, own * 4 * (other + LAST) / spread
    assert abs(soi.mean() - expected) < 4 * math.sqrt(variance / 4_000)
    assert float((soi - expected).abs().square().mean()) == pytest.approx(variance, rel=0.07)  # 3 errors, and steps


def test_levels_are_the_published_ones_most_noise_first() -> None:
    levels = basis().levels
    assert [round(levels[index], 5) for index in (0, 48, 49)] == [0.27967, 0.99878, 0.9999]
    assert [round(level, 5) for level in basis(levels=2).levels] == [0.27967, 0.9999]
    assert basis(levels=10, steps=3).score_evaluations == 60


def test_modified_basis_corrects_what_the_matched_filter_decides_wrongly() -> None:
    """In a tenth of the published steps."""
    mixer = Mixer(SOI, RandomCrop(INTERFERENCE, power=0.875))
    batch = mixer.draw(torch.full((6,), -9.0), 1280, torch.Generator().manual_seed(0))
    wrong = [
        float((separator.separate(batch.mixture).bits != batch.bits).double().mean())
        for separator in (MatchedFilter(SOI, NONE), basis(omega="kappa_squared", levels=10, steps=50))
    ]
    assert wrong[1] < 0.85 * wrong[0]


def test_a_row_of_the_original_does_not_see_its_neighbours() -> None:
    """The contract over every YAML sees the modified one."""
    mixer = Mixer(SOI, RandomCrop(INTERFERENCE, power=0.875))
    mixture = mixer.draw(torch.tensor([-12.0, 3.0]), 640, torch.Generator().manual_seed(1)).mixture
    separator = basis(likelihood="gaussian", levels=3, steps=4)
    together, alone = separator.separate(mixture), separator.separate(mixture[1:])
    assert torch.allclose(together.soi[1], alone.soi[0], rtol=1e-3, atol=1e-4)
    assert torch.equal(together.bits[1], alone.bits[0])


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="omega=kappa_squared needs likelihood=constraint"):
        basis(likelihood="gaussian", omega="kappa_squared")
    with pytest.raises(InputError, match=r"levels is 51, expected 2 \.\.\. 50"):
        basis(levels=51)
    with pytest.raises(InputError, match="OFDM"):
        Basis(SOI, NONE, interference=LinearModem("qpsk", samples_per_symbol=4))
