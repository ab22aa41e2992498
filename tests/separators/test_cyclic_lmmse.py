"""The blind cyclic Wiener filter against the one that is told everything, and against closed forms."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from rfsep.bounds.oracle import GaussianMmse, OracleLmmse
from rfsep.mixtures.mix import Mixer
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.windows import overlapped_ends
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.statistics import modem_covariance
from rfsep.types import MixtureBatch, SignalSource

NONE = torch.zeros((0, 0), dtype=torch.complex64)
QPSK, OFDM = LinearModem(), OfdmModem()
INTERFERENCE = RandomCrop(OFDM, power=56 / 64)


def draw(
    sinr_db: float,
    count: int = 30,
    num_samples: int = 1280,
    soi: SignalSource = QPSK,
    interference: SignalSource = INTERFERENCE,
    noise_power: float = 0.01,
    seed: int = 1,
) -> MixtureBatch:
    mixer = Mixer(soi, interference, noise_power=noise_power)
    return mixer.draw(torch.full((count,), sinr_db), num_samples, torch.Generator().manual_seed(seed))


def mse_db(estimate: Tensor, truth: Tensor) -> float:
    return 10 * math.log10(float((estimate - truth).abs().square().mean()))


def test_oracle_is_the_textbook_solution_of_both_covariances() -> None:
    """C_s (C_s + k^2 C_b + noise)^-1 y at the true offsets, and the MSE that its error covariance promises."""
    length = 160
    batch = draw(-12.0, 200, length, soi=RandomCrop(QPSK, random_phase=False))
    found = OracleLmmse(QPSK, INTERFERENCE, 0.01, "estimated").estimate(batch).soi
    block = modem_periodic_covariance(OFDM)
    around = modem_covariance(QPSK, length + 16, 8)
    promised = []
    for row in range(200):
        offset = int(batch.soi_offset[row])
        soi = around[offset:, offset:][:length, :length]
        total = soi + 10**1.2 * block.window(int(batch.interference_offset[row]), length) + 0.01 * torch.eye(length)
        weights = torch.linalg.solve(total, soi).mH  # C_s C_y^-1
        expected = weights @ batch.mixture[row].to(torch.complex128)
        assert (found[row] - expected).abs().max() < 1e-4
        promised.append(float((soi - weights @ soi).diagonal().real.mean()))
    error = (found - batch.soi).abs().square().mean(1) - torch.tensor(promised)
    assert abs(float(error.mean())) < 3 * float(error.std()) / 200**0.5
    assert 3 * float(error.std()) / 200**0.5 < 0.12 * sum(promised) / 200


@pytest.mark.parametrize("timing", ["known", "estimated"])
def test_blind_is_as_good_as_told(timing: Literal["known", "estimated"]) -> None:
    """Timings, gain and noise unknown; 30 windows at -18 dB. Known covariance, and learned from 100 frames."""
    batch = draw(-18.0, soi=QPSK if timing == "known" else RandomCrop(QPSK, random_phase=False))
    told = mse_db(OracleLmmse(QPSK, INTERFERENCE, 0.01, timing).estimate(batch).soi, batch.soi)
    blind = mse_db(CyclicLmmse(QPSK, NONE, OFDM, timing).separate(batch.mixture).soi, batch.soi)
    examples = INTERFERENCE.sample(100, 4096, torch.Generator().manual_seed(9)).waveform
    learned = mse_db(CyclicLmmse(QPSK, examples, None, timing).separate(batch.mixture).soi, batch.soi)
    assert told < -5.5
    assert blind == pytest.approx(told, abs=0.02)
    assert learned == pytest.approx(blind, abs=0.05)
    assert learned < mse_db(Lmmse(QPSK, examples).separate(batch.mixture).soi, batch.soi) - 4


def test_without_noise_the_null_space_of_the_prefix_and_guards_is_used() -> None:
    """24 of 80 dimensions are free of interference and 5 SOI symbols a block need no more: nearly exact."""
    batch = draw(-18.0, noise_power=0.0)
    assert mse_db(CyclicLmmse(QPSK, NONE, OFDM).separate(batch.mixture).soi, batch.soi) < -60
    assert mse_db(OracleLmmse(QPSK, INTERFERENCE, 0.0).estimate(batch).soi, batch.soi) < -75
    assert torch.equal(CyclicLmmse(QPSK, NONE, OFDM).separate(batch.mixture).bits, batch.bits)


def gaussian(sinr_db: float, count: int) -> tuple[MixtureBatch, RandomCrop]:
    """Windows of 320 samples, in which timing is in doubt."""
    soi = RandomCrop(QPSK, random_phase=False, symbols="gaussian")
    interference = RandomCrop(OFDM, power=56 / 64, random_phase=False, symbols="gaussian")
    return draw(sinr_db, count, 320, soi, interference, seed=2), interference


@pytest.mark.parametrize(("sinr_db", "count", "gained_db"), [(-18.0, 60, 0.01), (-6.0, 30, -0.02)])
def test_averaging_over_what_is_not_known(sinr_db: float, count: int, gained_db: float) -> None:
    """On Gaussian data: better than the likeliest where in doubt, never better than who is told; as GaussianMmse."""
    batch, interference = gaussian(sinr_db, count)
    likeliest, average = (
        CyclicLmmse(QPSK, NONE, OFDM, "estimated", 0.01, average=average).separate(batch.mixture).soi
        for average in (False, True)
    )
    told = mse_db(OracleLmmse(QPSK, interference, 0.01, "estimated").estimate(batch).soi, batch.soi)
    assert mse_db(average, batch.soi) < mse_db(likeliest, batch.soi) - gained_db
    assert told - 0.01 < mse_db(average, batch.soi) < told + 0.15
    bound = GaussianMmse(QPSK, interference, 0.01, "estimated").estimate(MixtureBatch(*(x[:5] for x in batch)))
    assert torch.allclose(bound.soi, average[:5], rtol=0, atol=1e-5)


LENGTH, BLOCK, MARGIN = 1800, 800, 160
SEAMS = (640, 1160)  # of three windows


def test_long_mixtures_equal_one_window_away_from_the_seams() -> None:
    batch = draw(-18.0, 8, LENGTH, seed=3)
    whole, cut = (
        CyclicLmmse(QPSK, NONE, OFDM, block=block, margin=MARGIN).separate(batch.mixture).soi
        for block in (LENGTH, BLOCK)
    )
    place = torch.arange(LENGTH)
    far = torch.stack([(place - seam).abs() > 200 for seam in SEAMS]).all(0)
    assert int(far.sum()) > 800
    assert mse_db(cut[:, far], whole[:, far]) < -35
    assert mse_db(cut, whole) < -20
    assert mse_db(cut, batch.soi) < mse_db(whole, batch.soi) + 0.1
    # the beginning and the end are known as such in every length
    for ends in (slice(0, 128), slice(-128, None)):
        assert mse_db(cut[:, ends], batch.soi[:, ends]) < mse_db(whole[:, ends], batch.soi[:, ends]) + 0.02
        assert mse_db(cut[:, ends], whole[:, ends]) < -45


def test_single_carrier_interference() -> None:
    """No independent blocks: one dense window; as good as told, better than the stationary filter."""
    source = RandomCrop(LinearModem(samples_per_symbol=10))
    batch = draw(-6.0, 6, 480, interference=source, seed=3)
    told = mse_db(OracleLmmse(QPSK, source, 0.01).estimate(batch).soi, batch.soi)
    blind = mse_db(CyclicLmmse(QPSK, NONE, source.modem).separate(batch.mixture).soi, batch.soi)
    stationary = Lmmse(QPSK, NONE, interference_autocorrelation=source.autocorrelation(512))
    assert blind == pytest.approx(told, abs=0.1)
    assert blind < mse_db(stationary.separate(batch.mixture).soi, batch.soi) - 2


def test_white_noise_examples_make_a_wiener_filter() -> None:
    """No period at all: R R^H (R R^H + noise)^-1 y, whose error covariance is known."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn((60, 4096), dtype=torch.complex64, generator=generator)
    separator = CyclicLmmse(QPSK, white)
    assert separator.covariance.period == 1
    soi = QPSK.sample(20, 400, generator).waveform
    mixture = soi + torch.randn(soi.shape, dtype=torch.complex64, generator=generator)
    covariance = modem_covariance(QPSK, 400, 0)
    weights = torch.linalg.solve(covariance + torch.eye(400), covariance).mH
    expected = mixture.to(torch.complex128) @ weights.T
    found = separator.separate(mixture).soi
    assert mse_db(found, expected) < -30
    promised = (covariance - weights @ covariance).diagonal().real.mean()
    assert mse_db(found, soi) == pytest.approx(10 * math.log10(float(promised)), abs=0.3)


def test_rows_do_not_see_their_neighbours() -> None:
    mixture = torch.cat([draw(level, 1, 900).mixture for level in (-24.0, -6.0, 3.0)])
    separator = CyclicLmmse(QPSK, NONE, OFDM, block=480)
    together = separator.separate(mixture)
    for row in range(3):
        alone = separator.separate(mixture[row : row + 1])
        assert torch.allclose(together.soi[row], alone.soi[0], rtol=0, atol=1e-5)
        assert torch.equal(together.bits[row], alone.bits[0])


@pytest.mark.parametrize("length", [16, 57, 320])
def test_silence_and_short_mixtures_stay_finite(length: int) -> None:
    silence = torch.zeros((2, length), dtype=torch.complex64)
    silence[1] = 1e-3
    timings: tuple[Literal["known", "estimated"], ...] = ("known", "estimated")
    for timing in timings:
        for average in (False, True):
            found = CyclicLmmse(QPSK, NONE, OFDM, timing, average=average).separate(silence)
            assert found.soi.isfinite().all()
            assert found.soi[0].abs().max() < 1e-3


def test_only_the_outer_windows_begin_and_end_with_the_mixture() -> None:
    told: list[tuple[int, int, bool, bool]] = []

    def spy(windows: Tensor, begins: bool, ends: bool) -> Tensor:
        told.extend((int(row[0].real), len(row), begins, ends) for row in windows)
        return windows

    ramp = torch.arange(1805.0)[None].to(torch.complex64)
    assert torch.equal(overlapped_ends(spy, ramp, BLOCK, MARGIN, 16), ramp)
    assert told == [(0, 800, True, False), (480, 800, False, False), (960, 800, False, False), (992, 813, False, True)]


def test_no_covariance_is_decomposed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows at the ends and between them share the eigenvectors of every phase of the interference."""
    interference = LinearModem(samples_per_symbol=8)
    separator = CyclicLmmse(QPSK, NONE, interference=interference, block=160, margin=32)
    assert not separator.covariance.independent
    decomposed: list[bytes] = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr("torch.linalg.eigh", lambda one: decomposed.append(one.numpy().tobytes()) or eigh(one))
    mixture = draw(-12.0, 2, 160 + 3 * 96, interference=RandomCrop(interference)).mixture
    first = separator.separate(mixture).soi
    assert len(decomposed) == len(set(decomposed)) >= 8, "eight phases, and what begins or ends in a window"
    assert torch.equal(separator.separate(mixture).soi, first)
    assert len(decomposed) == len(set(decomposed))
