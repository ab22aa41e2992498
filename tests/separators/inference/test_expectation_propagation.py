"""Expectation propagation against dense Gaussians and against enumeration of every symbol."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.expectation_propagation import (
    Detector,
    Marginals,
    Schedule,
    Sites,
    State,
    Window,
    cavity_of,
    tilted,
    updated,
)
from rfsep.separators.inference.grid import SoiGrid
from rfsep.signals.constellations import constellation
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.statistics import modem_waveforms


def complex_normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def positive(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 + torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16", "qpsk_axes"])
def test_tilted_moments_are_those_of_the_weighted_points(name: str) -> None:
    points = constellation(name).to(torch.complex128)
    cavity = Marginals(complex_normal(2, 50), positive(2, 50))
    weight = (-(points - cavity.mean[..., None]).abs().square() / cavity.variance[..., None]).exp()
    weight = weight / weight.sum(-1, keepdim=True)
    mean = (weight * points).sum(-1)
    variance = (weight * (points - mean[..., None]).abs().square()).sum(-1)
    found = tilted(cavity, points)
    assert torch.allclose(found.mean, mean, rtol=0, atol=1e-9)
    assert torch.allclose(found.variance, variance.clamp_min(1e-7), rtol=0, atol=1e-9)
    certain = tilted(Marginals(points, torch.full((len(points),), 1e-9, dtype=torch.float64)), points)
    assert torch.allclose(certain.mean, points)
    assert (certain.variance > 0).all()


def product(first: Marginals, sites: Sites) -> Marginals:
    precision = 1 / first.variance + sites.precision
    return Marginals((first.mean / first.variance + sites.shift) / precision, 1 / precision)


def test_cavity_is_the_marginal_without_its_site() -> None:
    sites = Sites(positive(2, 9, seed=1), complex_normal(2, 9, seed=2))
    cavity = Marginals(complex_normal(2, 9, seed=3), positive(2, 9, seed=4))
    found = cavity_of(product(cavity, sites), sites)
    assert torch.allclose(found.mean, cavity.mean)
    assert torch.allclose(found.variance, cavity.variance)
    # a site that says more than the marginal leaves almost nothing, but something finite and positive
    overdone = cavity_of(Marginals(cavity.mean, 2 / sites.precision), sites)
    assert torch.allclose(overdone.variance, torch.full_like(overdone.variance, 1e6))


def test_new_sites_make_the_marginal_the_tilted_one() -> None:
    cavity = Marginals(complex_normal(2, 9, seed=3), positive(2, 9, seed=4))
    old = Sites(positive(2, 9, seed=1), complex_normal(2, 9, seed=2))
    posterior = tilted(cavity, constellation("qpsk").to(torch.complex128))
    full, half = updated(old, cavity, posterior, 1.0), updated(old, cavity, posterior, 0.5)
    fits = posterior.variance < cavity.variance
    assert int(fits.sum()) > 0
    marginal = product(cavity, full)
    assert torch.allclose(marginal.mean[fits], posterior.mean[fits])
    assert torch.allclose(marginal.variance[fits], posterior.variance[fits])
    for one, two, three in zip(old, half, full, strict=True):
        assert torch.allclose(two, (one + three) / 2)
    # a site that would need a negative precision stays as it was
    wide = updated(old, cavity, Marginals(posterior.mean, 2 * cavity.variance), 1.0)
    assert all(torch.equal(one, two) for one, two in zip(old, wide, strict=True))


class Problem(NamedTuple):
    """A detector, its window, and the same as matrices [T, S] and [T, K * D]."""

    detector: Detector
    window: Window
    samples: Tensor
    soi: Tensor
    carriers: Tensor


def make_problem(
    soi: LinearModem | OfdmModem,
    interference: OfdmModem,
    samples: Tensor,
    offsets: tuple[int, int],
    bounded: bool,
    dtype: torch.dtype = torch.complex128,
) -> Problem:
    """Every row of samples at the same offsets."""
    length, period = samples.shape[1], interference.symbol_period
    grid = SoiGrid(soi, length, period, begins=bounded, ends=bounded)
    at = [torch.full((len(samples),), offset) for offset in offsets]
    detector = Detector(grid, interference, interference.power, dtype)
    window = detector.prepare(grid.cut(samples, at[0], at[1]), grid.exists(at[0]))
    symbols = torch.eye(grid.num_symbols, dtype=torch.complex64) * grid.exists(at[0][:1])
    pulses = grid.synthesise(symbols, at[0][:1].expand(grid.num_symbols))
    carriers = modem_waveforms(interference, grid.num_blocks * period, 0) / interference.power**0.5
    carriers = carriers[:, offsets[1] :][:, :length]
    return Problem(detector, window, samples, pulses.T.to(torch.complex128), carriers.T.to(torch.complex128))


@pytest.mark.parametrize(
    ("soi", "bounded"), [(LinearModem(), False), (LinearModem(), True), (OfdmModem("qpsk", 16, 4, (2, 1)), False)]
)
@pytest.mark.parametrize(("dtype", "digits"), [(torch.complex128, 1e-5), (torch.complex64, 1e-3)])
def test_marginals_are_those_of_the_dense_gaussian(
    soi: LinearModem | OfdmModem, bounded: bool, dtype: torch.dtype, digits: float
) -> None:
    """y = R a + h A b + w with random sites: means and variances of all symbols from one inverse."""
    interference, noise, gain = OfdmModem("qpsk", 32, 8, (3, 2)), 0.05, 2.0 * complex_normal(2, seed=9)
    problem = make_problem(soi, interference, complex_normal(2, 197), (0 if bounded else 7, 23), bounded, dtype)
    num_soi, num_carriers = problem.soi.shape[1], problem.carriers.shape[1]
    precision = positive(2, num_soi + num_carriers, seed=5)
    shift = complex_normal(2, num_soi + num_carriers, seed=6)
    precision[:, :num_soi] = torch.where(problem.window.exists, precision[:, :num_soi], 1e12)
    real = dtype.to_real()
    shape = (2, -1, len(interference.carriers))
    found = problem.detector.marginals(
        problem.window,
        Sites(precision[:, :num_soi].to(real), shift[:, :num_soi].to(dtype)),
        Sites(precision[:, num_soi:].reshape(shape).to(real), shift[:, num_soi:].reshape(shape).to(dtype)),
        gain.to(dtype),
        torch.full((2,), noise, dtype=real),
    )
    for row in range(2):
        response = torch.cat((problem.soi, gain[row] * problem.carriers), 1)
        inverse = torch.linalg.inv(response.mH @ response / noise + torch.diag(precision[row]).to(torch.complex128))
        mean = inverse @ (response.mH @ problem.samples[row] / noise + shift[row])
        means = torch.cat((found[0].mean[row], found[1].mean[row].flatten()))
        variances = torch.cat((found[0].variance[row], found[1].variance[row].flatten()))
        assert (means - mean).abs().max() < digits * 10
        assert (variances - inverse.diagonal().real).abs().max() < digits


def combinations(points: Tensor, count: int) -> Tensor:
    """All of len(points)^count rows complex128 [.., count]."""
    return torch.stack(torch.meshgrid(*[points] * count, indexing="ij"), -1).reshape(-1, count)


class Exact(NamedTuple):
    means: Tensor  # [B, N] of SOI symbols, then carriers
    likeliest: Tensor  # [B, N], symbol by symbol
    best: Tensor  # [B, N], the one most likely sequence


def enumerate_symbols(problem: Problem, gain: complex, noise: float) -> Exact:
    """Posterior of uniform independent symbols, by weighing every combination."""
    exists = problem.window.exists[0]
    detector = problem.detector
    left = combinations(detector.soi_points.to(torch.complex128), int(exists.sum()))
    used = problem.carriers.abs().sum(0) > 0
    right = combinations(detector.points.to(torch.complex128), int(used.sum()))
    signal = (left @ problem.soi[:, exists].T)[:, None] + gain * (right @ problem.carriers[:, used].T)
    distance = (problem.samples[:, None, None] - signal).abs().square().sum(-1)  # [B, left, right]
    weight = torch.softmax(-distance.flatten(1) / noise, 1)
    every = torch.cat((left[:, None].expand(-1, len(right), -1), right[None].expand(len(left), -1, -1)), 2).flatten(
        0, 1
    )
    points = detector.points.to(torch.complex128)
    masses = torch.stack([weight @ ((every - point).abs() < 1e-6).double() for point in points], -1)  # [B, N, P]
    return Exact(weight.to(every.dtype) @ every, points[masses.argmax(-1)], every[weight.argmax(1)])


def propagate(problem: Problem, gain: complex, noise: float, schedule: Schedule) -> Tensor:
    """Means of SOI symbols that exist, then of carriers, at a gain that is known."""
    count = len(problem.samples)
    noises = torch.full((count,), noise, dtype=torch.float64)
    gains = torch.full((count,), gain, dtype=torch.complex128)
    state: State = problem.detector.start(problem.window, gains, torch.zeros((count, 2)))
    known = state.turns
    for _ in range(schedule.iterations):
        stepped = problem.detector.step(problem.window, state, noises, schedule.damping)
        state = stepped._replace(gain=gains, turns=known)
    carriers = state.carriers.mean.flatten(1)[:, problem.carriers.abs().sum(0) > 0]
    return torch.cat((state.soi.mean[:, problem.window.exists[0]], carriers), 1)


def tiny(name: str, gain: complex, noise: float) -> Problem:
    """40 rows. qpsk: 2 SOI symbols and one OFDM symbol of 4 carriers; bpsk: 3 and three, one of them inside."""
    interference = OfdmModem(name, 4, 1, (0, 0), dc_null=False)
    soi, length = (LinearModem(name, 2, span=2), 5) if name == "qpsk" else (LinearModem(name, 5, span=2), 15)
    generator = torch.Generator().manual_seed(0)
    left, right = (modem.sample(40, length, generator).waveform for modem in (soi, interference))
    white = torch.randn((40, length), dtype=torch.complex128, generator=generator)
    return make_problem(soi, interference, left + gain * right + noise**0.5 * white, (0, 0), True)


@pytest.mark.parametrize(
    ("name", "gain", "noise", "doubt"),
    [
        ("qpsk", 1.2 + 0.9j, 0.03, 0.0),
        ("qpsk", 4.8 + 3.6j, 1.0, 0.05),  # the SOI in doubt, the interference not
        ("bpsk", 1.2 + 0.9j, 0.1, 0.0),
        ("bpsk", -6.0j, 1.0, 0.0),
    ],
)
def test_means_and_decisions_are_those_of_enumeration(name: str, gain: complex, noise: float, doubt: float) -> None:
    problem = tiny(name, gain, noise)
    exact = enumerate_symbols(problem, gain, noise)
    found = propagate(problem, gain, noise, Schedule(damping=0.5, iterations=30, warmth=1.0, cooling=1))
    points = problem.detector.points.to(torch.complex128)
    decisions = points[(found[..., None] - points).abs().argmin(-1)]
    assert (found - exact.means).abs().max() < 0.02
    assert (1 - exact.means.abs().square()).mean() >= doubt
    assert (decisions - exact.likeliest).abs().max() < 1e-6
    assert (decisions - exact.best).abs().max() < 1e-6


def test_gain_is_the_one_of_least_squares() -> None:
    """Fitted over the whole blocks with the symbols that were sent: exact without noise."""
    problem = tiny("bpsk", 1.2 + 0.9j, 0.0)
    exact = enumerate_symbols(problem, 1.2 + 0.9j, 0.01).best
    soi = torch.zeros((40, problem.soi.shape[1]), dtype=torch.complex128)
    soi[:, problem.window.exists[0]] = exact[:, :3]
    sent = torch.cat((exact[:, 3:].reshape(40, 3, 4), torch.zeros(40, 1, 4)), 1)
    wrong = torch.full((40,), 0.3 + 0j, dtype=torch.complex128)
    certain = Marginals(sent, torch.zeros(sent.shape, dtype=torch.float64))
    found = problem.detector.fitted_gain(problem.window, soi, certain, wrong)
    assert torch.allclose(found, torch.full_like(found, 1.2 + 0.9j), rtol=1e-5)
    assert problem.detector.residuals(problem.window, soi, sent, found).max() < 1e-9
    # carriers that are in doubt pull the gain towards zero: E|A b|^2 = |A b|^2 + |A|^2 variance
    doubtful = problem.detector.fitted_gain(problem.window, soi, Marginals(sent, certain.variance + 1.0), wrong)
    block = problem.carriers[5:10, 4:8]
    energy = (sent[:, 1] @ block.T).abs().square().sum(1)
    expected = found * energy / (energy + block.abs().square().sum())
    assert torch.allclose(doubtful, expected, rtol=1e-5)
