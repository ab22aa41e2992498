"""Alpha-RGS between analytic priors: where its objective is least, how it gets there, and what it refuses."""

import math

import pytest
import torch

from rfsep.mixtures.mix import Mixer
from rfsep.separators.inference.grid import SoiGrid
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.score_based.alpha_rgs import AlphaRgs
from rfsep.separators.score_based.curvature import Curvature
from rfsep.separators.score_based.located import OfdmLocator
from rfsep.separators.score_based.noise_levels import FallingLevels, Step, UniformLevels
from rfsep.separators.score_based.ofdm_prior import OfdmPrior
from rfsep.signals.constellations import demap, posterior_mean
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch

SOI, INTERFERENCE = LinearModem("qpsk", span=4), OfdmModem("qpsk")
EXAMPLES = torch.zeros((1, 80), dtype=torch.complex64)


def mixtures(sinr_db: float, count: int = 4, num_samples: int = 1280, noise_power: float = 0.0) -> MixtureBatch:
    mixer = Mixer(SOI, RandomCrop(INTERFERENCE, power=0.875), noise_power=noise_power)
    return mixer.draw(torch.full((count,), sinr_db), num_samples, torch.Generator().manual_seed(11))


def separator(**options: object) -> AlphaRgs:
    return AlphaRgs(SOI, EXAMPLES, interference=INTERFERENCE, **options)  # type: ignore[arg-type]


def published(iterations: int, **changes: object) -> AlphaRgs:
    options = {"draws": 1, "newton": False, "start": "matched_filter"}
    return separator(levels=UniformLevels(iterations), track_gain=False, soft=False, **options, **changes)


def inner_errors(found: torch.Tensor, batch: MixtureBatch) -> int:
    """Wrong bits away from the ends, where interference symbols that are cut off hide the SOI's."""
    return int((found != batch.bits)[:, 8:-8].sum())


@pytest.mark.parametrize("start", ["linear", "matched_filter"])
@pytest.mark.parametrize("sinr_db", [-24.0, -12.0, -6.0])
def test_all_bits_inside_the_window_are_found(sinr_db: float, start: str) -> None:
    batch = mixtures(sinr_db)
    worst = MatchedFilter(SOI, EXAMPLES).separate(batch.mixture)
    assert inner_errors(worst.bits, batch) > 2
    assert inner_errors(separator(start=start).separate(batch.mixture).bits, batch) == 0


PUBLISHED_PRIOR = LinearModem("qpsk", num_taps=127, unit_energy=False)


@pytest.mark.parametrize("changes", [{}, {"prior_modem": PUBLISHED_PRIOR, "interference_power": 0.875}])
def test_the_published_schedule_descends_towards_the_soi(changes: dict[str, object]) -> None:
    batch = mixtures(-6.0, count=8, num_samples=800)
    before = inner_errors(MatchedFilter(SOI, EXAMPLES).separate(batch.mixture).bits, batch)
    after = inner_errors(published(1000, **changes).separate(batch.mixture).bits, batch)
    assert before > 5
    assert after < before / 2


def test_the_published_prior_pulls_the_soi_off_by_its_longer_pulse() -> None:
    """With next to no noise a prior says how far it is to its own waveform: 0, and -30.5 dB with the published one."""
    bits = torch.randint(2, (4, 640), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    soi, alpha_bar = SOI.modulate(bits), 0.99
    away_db = []
    for made in (published(1), published(1, prior_modem=PUBLISHED_PRIOR)):
        pull = made.prior.score(math.sqrt(alpha_bar) * soi, alpha_bar) * (1 - alpha_bar) / math.sqrt(alpha_bar)
        away_db.append(float(10 * (pull.abs().square().mean() / soi.abs().square().mean()).log10()))
    assert away_db[0] < -100
    assert away_db[1] == pytest.approx(-30.5, abs=0.1)


@pytest.mark.parametrize("changes", [{"track_gain": False}, {"newton": False, "soft": False}])
def test_unit_power_is_all_that_newton_steps_and_tracking_know(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="interference_power needs newton=false and track_gain=false"):
        separator(interference_power=0.875, **changes)
    with pytest.raises(InputError, match="interference_power is -1, expected a positive number"):
        separator(interference_power=-1.0)


def test_units_of_the_interference_change_no_gain_of_the_mixture() -> None:
    """Half the power in the prior's units is sqrt(2) times the gain; with next to no noise nothing else changes."""
    batch = mixtures(-12.0, num_samples=800)
    plainly, halved = (published(1, interference_power=power)._prepare(batch.mixture) for power in (1.0, 0.5))
    torch.testing.assert_close(halved.gain, math.sqrt(2) * plainly.gain)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    quiet = Step(soi=1 - 1e-6, interference=1 - 1e-6, size=1.0)
    moves = [
        made._direction(windows, quiet, 1e-3, generator)
        for made, windows, generator in zip(
            (published(1), published(1, interference_power=0.5)), (plainly, halved), generators, strict=True
        )
    ]
    torch.testing.assert_close(moves[1], moves[0], rtol=1e-3, atol=1e-3 * float(moves[0].abs().max()))


def test_the_published_step_falls_as_half_a_cosine_and_levels_spare_the_first() -> None:
    levels, generator = UniformLevels(100), torch.Generator().manual_seed(0)
    steps = [levels.step(iteration, generator) for iteration in range(100)]
    assert steps[0].size == pytest.approx(5e-3)
    assert steps[50].size == pytest.approx((5e-3 + 1e-6) / 2)
    assert steps[99].size < 1e-5
    drawn = {step.soi for step in steps} | {step.interference for step in steps}
    assert max(drawn) == pytest.approx(0.99878, abs=1e-5)
    assert min(drawn) < 0.3
    assert any(step.soi != step.interference for step in steps)


def test_falling_levels_fall_geometrically() -> None:
    levels, generator = FallingLevels(5, first=0.8, last=0.05), torch.Generator()
    ratios = [math.sqrt(1 / levels.step(n, generator).soi - 1) for n in range(5)]
    assert ratios == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.05], rel=1e-6)


def test_the_soi_stays_where_it_is_once_it_is_found() -> None:
    """The least of the objective is at the truth: more iterations, soft bits or not, leave nothing of the error."""
    batch = mixtures(-12.0, num_samples=1600)
    for options in ({}, {"soft": False}, {"levels": FallingLevels(80, 0.3, 0.02)}):
        found = separator(**options).separate(batch.mixture).soi
        assert (found - batch.soi)[:, 200:-200].abs().square().mean() < 1e-4


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    batch = mixtures(-12.0)
    together = separator(tolerance=1e-4).separate(batch.mixture).soi
    alone = separator(tolerance=1e-4).separate(batch.mixture[2:3]).soi
    torch.testing.assert_close(together[2:3], alone, rtol=1e-3, atol=1e-3)


def test_a_tolerance_ends_a_run_early() -> None:
    batch, taken = mixtures(-12.0), []

    class Counted(FallingLevels):
        def step(self, iteration: int, generator: torch.Generator) -> object:  # type: ignore[override]
            taken.append(iteration)
            return super().step(iteration, generator)

    result = separator(levels=Counted(300), tolerance=1e-4).separate(batch.mixture)
    assert len(taken) < 150
    assert inner_errors(result.bits, batch) == 0


def test_white_noise_in_the_mixture_is_allowed_for() -> None:
    batch = mixtures(-12.0, noise_power=0.01)
    assert inner_errors(separator().separate(batch.mixture).bits, batch) == 0


def test_long_mixtures_are_windows() -> None:
    batch = mixtures(-12.0, count=1, num_samples=4000)
    assert inner_errors(separator(block=1280).separate(batch.mixture).bits, batch) == 0


def test_newton_steps_solve_what_the_gradient_says() -> None:
    """With decided carriers and symbols the objective is quadratic: one full step reaches its minimum."""
    batch = mixtures(-12.0, count=1, num_samples=960)
    room = torch.tensor([1e-4])
    gain = 10 ** (12 / 20)
    prior = OfdmPrior(INTERFERENCE, batch.interference_offset, 960, room, torch.tensor([gain**2]))
    grid = SoiGrid(SOI, 960, 80, begins=True, ends=True)
    blocks = grid.cut(batch.mixture, batch.soi_offset, batch.interference_offset)
    curvature = Curvature(grid, blocks, prior, (SOI.constellation, INTERFERENCE.constellation), 1.0)
    ratio = 0.05
    # the Hessian in units of 1 / ratio^2, column by column, of what the scores pull back where all is decided
    symbols = torch.eye(60, dtype=torch.complex64)
    waves = SOI.synthesise(symbols, 960)
    alpha_bar = 1 / (1 + ratio**2)
    start = batch.interference / batch.interference.abs().square().mean().sqrt()
    many = OfdmPrior(
        INTERFERENCE, batch.interference_offset.expand(60), 960, room.expand(60), torch.full((60,), gain**2)
    )
    turned = torch.polar(torch.ones(1), -prior.phase(start))
    start = start * turned
    small = 1e-3
    moved = many.score(math.sqrt(alpha_bar) * (start - small * waves), alpha_bar)
    still = many.score(math.sqrt(alpha_bar) * start.expand(60, -1), alpha_bar)
    pull = math.sqrt(alpha_bar) * (moved - still) / small * ratio**2
    hessian = SOI.analyse(pull).T + symbols  # the SOI's own prior adds one
    generator = torch.Generator().manual_seed(12)
    wanted = torch.randn((1, 60), dtype=torch.complex64, generator=generator)
    found = curvature.newton(wanted @ hessian.T, ratio)
    inner = slice(6, -6)
    torch.testing.assert_close(found[:, inner], wanted[:, inner], rtol=0.1, atol=0.1)


def test_soft_bits_without_a_curvature_are_refused() -> None:
    with pytest.raises(InputError, match="soft=true needs newton=true"):
        separator(newton=False)


def test_interference_without_an_analytic_prior_is_refused() -> None:
    with pytest.raises(InputError, match="OFDM"):
        AlphaRgs(SOI, EXAMPLES, interference=LinearModem("qpsk", samples_per_symbol=4))


def test_soft_bits_are_of_the_mixture_alone() -> None:
    """At the minimum of own prior and mixture together, what is left without the prior is what the mixture said."""
    ratio, said = 0.5, torch.tensor([[0.3 - 0.2j, -0.8 + 0.1j]])
    curvature = Curvature.__new__(Curvature)
    curvature.constellations, curvature.omega = (SOI.constellation, SOI.constellation), 1.0
    curvature._outside, curvature._room = torch.ones(1, 2), torch.tensor([[0.4]])
    curvature._vectors = torch.eye(2, dtype=torch.complex64)[None]
    own = float(curvature._along(ratio)[0, 0]) / ratio**2 - 1 / 0.4  # the prior's curvature, above the mixture's
    symbols = said
    for _ in range(200):
        symbols = (said / 0.4 + own * posterior_mean(symbols, SOI.constellation, ratio**2)) / (1 / 0.4 + own)
    expected = demap(said, SOI.constellation, 0.4)
    torch.testing.assert_close(curvature.soft_bits(symbols, ratio), expected, rtol=1e-3, atol=1e-3)


def test_the_stand_in_for_cut_symbols_keeps_its_own_weight() -> None:
    """The exponent kappa^2 sharpens the discrete prior; the Gaussian in place of cut symbols is loosened by it."""
    batch = mixtures(-12.0, count=1)
    locate = OfdmLocator(SOI, INTERFERENCE, None)
    loose = locate(batch.mixture, smoothed_outside=True, omega=1.0)
    tight = locate(batch.mixture, smoothed_outside=True, omega=None)
    cut = slice(0, (80 - int(loose.at.interference_offset)) % 80 or 80)
    scores = [one.prior.score(batch.interference / one.gain, 0.9999)[0, cut] for one in (loose, tight)]
    assert float(scores[0].abs().max()) < 0.7 * float(scores[1].abs().max())
