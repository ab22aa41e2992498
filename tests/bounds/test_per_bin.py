"""The closed forms of the OFDM architecture study."""

import math

import pytest
import torch

from rfsep.app.config import build_modem, build_source, interference_of, soi_of
from rfsep.bounds.per_bin import PerBinLinear, PerBinSlicer
from rfsep.iq import db, power
from rfsep.mixtures.mix import Mixer
from rfsep.signals.cosines import Cosines
from rfsep.signals.noise import WhiteNoise
from rfsep.types import InputError, MixtureBatch

SIR_DB = -20 * math.log10(4)
CASES = {1: ("gaussian", "gaussian"), 2: ("bpsk", "bpsk"), 3: ("bpsk", "pam4"), 4: ("pam4", "pam4")}


def parts(case: int) -> tuple[Cosines, Cosines]:
    soi, interference = CASES[case]
    modem = build_modem(soi_of(f"cosines_{soi}"))
    source = build_source(interference_of(f"cosines_{interference}"), "test")
    assert isinstance(modem, Cosines)
    assert isinstance(source, Cosines)
    return modem, source


def mixtures(case: int, count: int, num_samples: int = 1000, sir_db: float = SIR_DB) -> MixtureBatch:
    levels = torch.full((count,), sir_db)
    return Mixer(*parts(case), random_phase=False).draw(levels, num_samples, torch.Generator().manual_seed(case))


@pytest.mark.parametrize("case", CASES)
def test_mixture_is_real_with_the_interference_four_times_as_high(case: int) -> None:
    batch = mixtures(case, 2000, 64)
    assert not batch.mixture.imag.any()
    unit = Mixer(*parts(case), random_phase=False).draw(torch.zeros(2000), 64, torch.Generator().manual_seed(case))
    assert torch.allclose(batch.interference, 4 * unit.interference, atol=1e-5)
    assert batch.bits.shape == (2000, 0)


@pytest.mark.parametrize("case", CASES)
def test_slicer_makes_no_error(case: int) -> None:
    batch = mixtures(case, 200)
    estimate = PerBinSlicer(*parts(case), 0.0).estimate(batch)
    assert db(float(power(estimate.soi - batch.soi).mean())) < -120
    assert estimate.bits.shape == (200, 0)


def test_slicer_decides_wrongly_where_the_points_collide() -> None:
    """At a gain of 2 the sums of 4-PAM with itself overlap: -1 + 2 = 3 - 2."""
    batch = mixtures(4, 200, sir_db=-20 * math.log10(2))
    estimate = PerBinSlicer(*parts(4), 0.0).estimate(batch)
    assert db(float(power(estimate.soi - batch.soi).mean())) > -10


@pytest.mark.parametrize("case", [2, 3, 4])
def test_best_linear_estimate_is_sixteen_seventeenths(case: int) -> None:
    batch = mixtures(case, 4000, 64)
    errors = power(PerBinLinear(*parts(case), 0.0).estimate(batch).soi - batch.soi)
    assert float(errors.mean()) == pytest.approx(16 / 17, abs=4 * float(errors.std()) / math.sqrt(4000))
    assert db(16 / 17) == pytest.approx(-0.263, abs=5e-4)


def test_no_linear_estimate_does_better() -> None:
    """Least squares from the 33 samples that determine a mixture, fitted on half of the draws, tried on the others."""
    batch = mixtures(4, 20_000, 64)
    mixture, soi = batch.mixture[:, :33].real.double(), batch.soi.real.double()
    gram = mixture[:10_000].T @ mixture[:10_000]
    weights = torch.linalg.pinv(gram, rtol=1e-6, hermitian=True) @ mixture[:10_000].T @ soi[:10_000]
    fitted = (mixture[10_000:] @ weights - soi[10_000:]).square().mean()
    bound = PerBinLinear(*parts(4), 0.0).estimate(
        batch._replace(mixture=batch.mixture[10_000:], sinr_db=batch.sinr_db[10_000:])
    )
    assert float(power(bound.soi - batch.soi[10_000:]).mean()) < float(fitted) < 1.01 * 16 / 17


def test_linear_estimate_separates_disjoint_bins() -> None:
    batch = mixtures(1, 100)
    errors = power(PerBinLinear(*parts(1), 0.0).estimate(batch).soi - batch.soi)
    assert db(float(errors.mean())) < -120


def test_other_signals_are_refused() -> None:
    soi, interference = parts(4)
    with pytest.raises(InputError, match="interference is a WhiteNoise"):
        PerBinSlicer(soi, WhiteNoise(), 0.0)
    with pytest.raises(InputError, match="points to decide on"):
        PerBinSlicer(Cosines("gaussian"), interference, 0.0)
