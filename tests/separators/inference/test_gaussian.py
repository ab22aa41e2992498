"""The Gaussian model of blocks and symbols against the dense covariance of the whole window."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.gaussian import GaussianModel, Solved
from rfsep.separators.inference.grid import SoiGrid
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import PeriodicCovariance, modem_periodic_covariance
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem

QPSK, OFDM = LinearModem(), OfdmModem()
PREFIX_15 = OfdmModem(cyclic_prefix_length=15)  # 79 samples, no multiple of which is one of 16
GAIN = torch.tensor([250.0, 4.0, 0.3], dtype=torch.float64)
NOISE = torch.tensor([1e-2, 1e-1, 2e-2], dtype=torch.float64)


class Case(NamedTuple):
    soi: Modem
    interference: Modem
    num_samples: int
    begins: bool
    ends: bool
    dense: bool  # blocks are not taken as independent


CASES = [
    Case(QPSK, OFDM, 400, begins=False, ends=False, dense=False),
    Case(QPSK, OFDM, 333, begins=False, ends=False, dense=False),
    Case(QPSK, OFDM, 333, begins=False, ends=False, dense=True),
    Case(QPSK, OFDM, 320, begins=True, ends=True, dense=False),
    Case(QPSK, OFDM, 331, begins=True, ends=True, dense=True),
    Case(QPSK, PREFIX_15, 300, begins=False, ends=False, dense=False),
    Case(QPSK, PREFIX_15, 300, begins=True, ends=False, dense=False),
    Case(QPSK, PREFIX_15, 300, begins=False, ends=True, dense=False),
    Case(QPSK, LinearModem(samples_per_symbol=10), 230, begins=False, ends=False, dense=True),
    Case(OFDM, OFDM, 400, begins=True, ends=True, dense=False),
    Case(OFDM, PREFIX_15, 310, begins=False, ends=False, dense=False),
    Case(OFDM, LinearModem(samples_per_symbol=10), 250, begins=False, ends=False, dense=True),
    Case(QPSK, OFDM, 50, begins=False, ends=False, dense=False),  # no whole block
    Case(LinearModem(span=4, samples_per_symbol=5), PREFIX_15, 200, begins=False, ends=False, dense=False),
]
IDS = [
    f"{type(case.soi).__name__}-{case.interference.symbol_period}-{case.num_samples}"
    f"{'-begins' * case.begins}{'-ends' * case.ends}{'-dense' * case.dense}"
    for case in CASES
]


def soi_waveforms(case: Case, offset: int) -> Tensor:
    """Of every symbol that reaches into the window, complex128 [S, T]."""
    step = case.soi.symbol_period
    before, behind = 8 * (not case.begins), 9 * (not case.ends)
    length = case.num_samples + (before + behind) * step
    rows = modem_waveforms(case.soi, length, 0)[:, before * step + offset :]
    return rows[:, : case.num_samples].to(torch.complex128)


def covariance_of(case: Case) -> PeriodicCovariance:
    covariance = modem_periodic_covariance(case.interference)
    return covariance._replace(independent=covariance.independent and not case.dense)


def model_of(case: Case) -> GaussianModel:
    covariance = covariance_of(case)
    period = covariance.period if covariance.independent else case.num_samples
    grid = SoiGrid(case.soi, case.num_samples, period, begins=case.begins, ends=case.ends)
    return GaussianModel(grid, covariance)


def offsets(case: Case, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    soi = torch.randint(0, case.soi.symbol_period, (3,), generator=generator)
    interference = torch.randint(0, case.interference.symbol_period, (3,), generator=generator)
    return soi * (not (case.begins or case.ends)), interference


def received(case: Case) -> Tensor:
    """Coloured samples, of no model in particular; three rows for the three levels."""
    shape = (3, case.num_samples + 1)
    white = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(7))
    return 0.5 * (white[:, 1:] + 0.9 * white[:, :-1])


def dense(case: Case, samples: Tensor, soi: Tensor, interference: Tensor) -> Solved:
    """Estimates of the waveform and log densities up to -T log(pi), with one large matrix a row."""
    waveforms, likelihoods = [], []
    for row in range(3):
        pulses = soi_waveforms(case, int(soi[row]))
        signal = pulses.T @ pulses.conj()
        block = modem_periodic_covariance(case.interference).window(int(interference[row]), case.num_samples)
        total = signal + GAIN[row] * block + NOISE[row] * torch.eye(case.num_samples)
        received = samples[row].to(torch.complex128)
        solved = torch.linalg.solve(total, received)
        waveforms.append(signal @ solved)
        likelihoods.append(-(received.conj() @ solved).real - torch.linalg.slogdet(total)[1])
    return Solved(torch.stack(likelihoods), torch.stack(waveforms))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_estimates_and_likelihoods_are_those_of_the_whole_covariance(case: Case) -> None:
    model, samples = model_of(case), received(case)
    found, expected = [], []
    for seed in range(2):
        soi, interference = offsets(case, seed)
        solved = model.solve(model.reduce(samples, soi, interference), GAIN, NOISE)
        truth = dense(case, samples, soi, interference)
        waveform = model.grid.synthesise(solved.symbols, soi)
        error = (waveform - truth.symbols).abs().amax(1)
        assert (error < 2e-5 * truth.symbols.abs().amax(1)).all()  # complex64 samples
        found.append(solved.log_likelihood)
        expected.append(truth.log_likelihood)
    # nats; differences between hypotheses are what synchronisation lives on
    assert torch.allclose(torch.stack(found), torch.stack(expected), rtol=0, atol=1e-3)
    assert float((expected[1] - expected[0]).abs().max()) > 1


@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[9]], ids=[IDS[1], IDS[5], IDS[9]])
def test_likelihood_of_its_own_samples_is_highest_at_the_truth(case: Case) -> None:
    """Samples of the model itself: other timings, gains and noises are less likely."""
    model, generator = model_of(case), torch.Generator().manual_seed(1)
    soi, interference = offsets(case, 5)
    rows = []
    for row in range(3):
        pulses = soi_waveforms(case, int(soi[row]))
        block = covariance_of(case).window(int(interference[row]), case.num_samples)
        values, vectors = torch.linalg.eigh(block)
        root = vectors * values.clamp_min(0).sqrt()
        symbols, drawn, white = (
            torch.randn(size, dtype=torch.complex128, generator=generator)
            for size in (len(pulses), case.num_samples, case.num_samples)
        )
        rows.append(symbols @ pulses + GAIN[row].sqrt() * root @ drawn + NOISE[row].sqrt() * white)
    samples = torch.stack(rows)

    def likelihood(move_soi: int = 0, move_interference: int = 0, gain: float = 1.0, noise: float = 1.0) -> Tensor:
        moved = (soi + move_soi) % case.soi.symbol_period
        at = (interference + move_interference) % case.interference.symbol_period
        return model.solve(model.reduce(samples, moved, at), gain * GAIN, noise * NOISE).log_likelihood

    truth = likelihood()
    if not case.begins:
        assert all((likelihood(move_soi=move) < truth).all() for move in (-3, 3))
    assert all((likelihood(move_interference=move) < truth).all() for move in (-3, 3, 40))
    assert all((likelihood(gain=gain) < truth).all() for gain in (0.4, 2.5))
    assert all((likelihood(noise=noise) < truth).all() for noise in (0.4, 2.5))


def test_rows_of_one_batch_are_solved_each_at_its_own_timing() -> None:
    case = CASES[1]
    model, samples = model_of(case), received(case)
    soi, interference = offsets(case, 0)
    together = model.solve(model.reduce(samples, soi, interference), GAIN, NOISE)
    for row in (slice(0, 1), slice(1, 2), slice(2, 3)):
        alone = model.solve(model.reduce(samples[row], soi[row], interference[row]), GAIN[row], NOISE[row])
        assert torch.allclose(alone.symbols, together.symbols[row], rtol=0, atol=1e-9)
        assert torch.allclose(alone.log_likelihood, together.log_likelihood[row], rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_likelihoods_are_below_their_bound(case: Case) -> None:
    """The bound needs no mixture. Without a SOI, and with whole blocks alone, it is the determinant itself."""
    model, samples = model_of(case), received(case)
    soi, interference = offsets(case, 0)
    every = model.log_likelihoods(
        model.reduce(samples, soi, interference), torch.stack((GAIN, GAIN)), NOISE.repeat(2, 1)
    )
    bound = model.log_likelihood_bound(interference, GAIN, NOISE)
    assert (every <= bound).all()
    assert torch.equal(every[0], every[1])
    if model.covariance.independent and case.num_samples % case.interference.symbol_period == 0:
        block = model.covariance.window(0, case.num_samples)
        total = GAIN[:, None, None] * block + NOISE[:, None, None] * torch.eye(case.num_samples)
        exact = -torch.linalg.slogdet(total)[1]
        assert torch.allclose(model.log_likelihood_bound(torch.zeros(3, dtype=torch.int64), GAIN, NOISE), exact)
