"""The loss of alpha-RGS over one symbol against its closed forms."""

import itertools
import math

import pytest
import torch
from hydra import compose, initialize_config_dir

from rfsep.app.config import instantiate
from rfsep.app.places import CONF
from rfsep.bounds.landscape import Landscape, expected_loss, quadratic_difference
from rfsep.types import InputError

GAIN = 10**1.2
PAM4 = [level / math.sqrt(20) for level in (-6, -2, 2, 6)]
SMOOTHING = [1e-6, 5e-6, 25e-6, 1e-4, 1e-3, 1e-2]
WEIGHTS = ("one", "kappa_squared")


@pytest.mark.parametrize("sent", list(itertools.product(range(2), range(4))))
def test_averaged_loss_is_least_at_the_true_symbol_whatever_is_sent(sent: tuple[int, int]) -> None:
    """With omega = 1 the false symbol is a local minimum, a trap for descent; with kappa^2 it is none."""
    content = Landscape([-1.0, 1.0], PAM4, GAIN, sent, SMOOTHING, points=41).study()
    truth = content["truth"]
    for weight in WEIGHTS:
        assert content[weight]["least"] == pytest.approx(truth, abs=1e-9)
    assert content["one"]["minima"] == pytest.approx([-1.0, 1.0])
    assert content["kappa_squared"]["minima"] == pytest.approx([truth])


def test_the_false_symbol_loses_kappa_squared_times_as_much() -> None:
    """The ratio is exact, as the SOI's term is the same at both; the differences are the quadratic's at little noise.

    At 1e-2 the middle between two levels of the interference is 3.2 sigma away, where the log-density is not one
    Gaussian's any more.
    """
    content = Landscape([-1.0, 1.0], PAM4, GAIN, (1, 1), SMOOTHING, points=3).study()
    for one, squared in zip(*(content[weight]["difference"] for weight in WEIGHTS), strict=True):
        assert squared / one == pytest.approx(GAIN**2, rel=1e-6)
    for weight in WEIGHTS:
        found, closed = content[weight]["difference"], content[weight]["quadratic_difference"]
        assert found[:-1] == pytest.approx(closed[:-1], rel=1e-6)
        assert found[-1] == pytest.approx(closed[-1], rel=5e-3)
    assert content["kappa_squared"]["quadratic_difference"][3] == pytest.approx(2 * (1 - 1e-4) / 1e-4)  # of no gain


def test_a_shallower_weight_than_kappa_squared_leaves_the_trap() -> None:
    """At the false symbol's side the slope changes its sign where omega is below kappa^2 = (slope of S) / (of B)."""
    content = Landscape([-1.0, 1.0], PAM4, GAIN, (1, 1), [1e-6], points=201).study()
    theta = torch.linspace(-2, 2, 201, dtype=torch.float64)
    one, most = (torch.tensor(content[weight]["averaged"]) for weight in WEIGHTS)
    other = (most - one) / (GAIN**2 - 1)
    for share, trapped in ((0.9, True), (1.0, False)):
        loss = one + (share * GAIN**2 - 1) * other
        inner = (loss[1:-1] < loss[:-2]) & (loss[1:-1] < loss[2:])
        assert bool((inner & (theta[1:-1] < 0)).any()) == trapped


def test_expected_loss_of_one_level_is_a_parabola_and_of_two_the_mean_of_many_draws() -> None:
    clean = torch.tensor([-0.3, 0.0, 0.4], dtype=torch.float64)
    one = expected_loss(torch.tensor([0.1]).double(), clean, 0.9)
    closed = 0.9 * (clean - 0.1).square() / 0.2 + 0.5 + math.log(math.sqrt(2 * math.pi * 0.1))
    assert torch.allclose(one, closed, atol=1e-9)
    noise = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = math.sqrt(0.9) * clean[:, None] + math.sqrt(0.1) * noise
    normal = torch.distributions.Normal(math.sqrt(0.9) * torch.tensor([-0.2, 0.3])[:, None, None], math.sqrt(0.1))
    drawn = -normal.log_prob(seen).exp().mean(0).log()  # [3, draws]
    two = expected_loss(torch.tensor([-0.2, 0.3]).double(), clean, 0.9)
    error = 4 * drawn.std(1) / math.sqrt(len(noise))
    assert bool(((two - drawn.mean(1)).abs() < error).all())


def test_the_experiment_is_the_published_toy() -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        made = instantiate(compose("evaluate", overrides=["experiment=args/toy"]).landscape)
    assert (made.truth, made.gain, made.smoothing) == (1.0, pytest.approx(GAIN), SMOOTHING)
    assert made.interference.tolist() == pytest.approx(PAM4)
    assert made.mixture == pytest.approx(1 - 2 * GAIN / math.sqrt(20))
    assert quadratic_difference(2, made.gain, made.gain**2, 0.5) == pytest.approx(2)


def test_noise_levels_beyond_the_schedule_are_refused() -> None:
    with pytest.raises(InputError, match=r"smoothing is \[1\.0\]"):
        Landscape([-1.0, 1.0], PAM4, GAIN, (0, 0), [1.0])
