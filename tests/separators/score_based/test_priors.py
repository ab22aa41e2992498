"""Analytic scores against densities written out: enumeration, automatic differentiation, Monte Carlo."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from numpy.typing import NDArray
from torch import Tensor

from rfsep.app.places import CONF
from rfsep.separators.score_based.ofdm_prior import OfdmPrior
from rfsep.separators.score_based.priors import GaussianPrior, OfPower, PulsePrior
from rfsep.signals.constellations import constellation
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError

LEVELS = (0.99, 0.9, 0.5)


def small_ofdm(prefix: int) -> OfdmModem:
    return OfdmModem("qpsk", fft_size=4, cyclic_prefix_length=prefix, num_guard_carriers=(0, 0), dc_null=False)


def every_symbol(modem: OfdmModem) -> Tensor:
    """All waveforms of one symbol of unit power, complex128 [4^4, P]."""
    points = constellation("qpsk").tolist()
    data = torch.tensor(list(itertools.product(points, repeat=len(modem.carriers))))
    return modem.synthesise(data, modem.symbol_period).to(torch.complex128)


def exact_score(noisy: Tensor, waveforms: Tensor, alpha_bar: float) -> Tensor:
    """Of equally likely waveforms [N, P] in white noise, by differentiating the density written out: [B, P]."""
    x = torch.view_as_real(noisy.to(torch.complex128)).clone().requires_grad_()
    distance = torch.view_as_complex(x)[:, None] - math.sqrt(alpha_bar) * waveforms
    log_density = torch.logsumexp(-distance.abs().square().sum(2) / (1 - alpha_bar), 1).sum()
    gradient = torch.autograd.grad(log_density, x)[0]
    return torch.view_as_complex(gradient.contiguous()) / 2  # with respect to the conjugate


def noisy_symbols(modem: OfdmModem, alpha_bar: float, count: int) -> tuple[Tensor, Tensor]:
    """Symbols in white noise complex64 [count, P], and all waveforms."""
    generator = torch.Generator().manual_seed(1)
    waveforms = every_symbol(modem)
    chosen = waveforms[torch.randint(len(waveforms), (count,), generator=generator)].to(torch.complex64)
    noise = torch.randn(chosen.shape, dtype=torch.complex64, generator=generator)
    return math.sqrt(alpha_bar) * chosen + math.sqrt(1 - alpha_bar) * noise, waveforms


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_the_ofdm_score_without_prefix_is_that_of_the_enumerated_density(alpha_bar: float) -> None:
    modem = small_ofdm(0)
    noisy, waveforms = noisy_symbols(modem, alpha_bar, 64)
    prior = OfdmPrior(modem, torch.zeros(64, dtype=torch.int64), 4)
    expected = exact_score(noisy, waveforms, alpha_bar).to(torch.complex64)
    torch.testing.assert_close(prior.score(noisy, alpha_bar), expected, rtol=1e-3, atol=1e-3)


class Measured(NamedTuple):
    """The mean squared error of a score in parts of the exact one's power, and its standard error over the rows."""

    share: float
    standard_error: float


def measured(found: Tensor, expected: Tensor) -> Measured:
    """Of scores [B, P]; the standard error is that of a ratio of means."""
    error, power = (found - expected).abs().square().sum(1), expected.abs().square().sum(1)
    share = float(error.sum() / power.sum())
    return Measured(share, float((error - share * power).std() / power.mean()) / math.sqrt(len(found)))


@pytest.mark.parametrize(
    ("alpha_bar", "share", "standard_error"), [(0.99, 0.0, 1e-9), (0.9, 0.0859**2, 4.5e-4), (0.5, 0.1703**2, 1.4e-4)]
)
def test_error_of_the_ofdm_score_with_prefix(alpha_bar: float, share: float, standard_error: float) -> None:
    """In white noise, which the prior is not smoothed by: 9 % and 17 % are left, of 40,000 rows; here 4,000."""
    modem = small_ofdm(1)
    noisy, waveforms = noisy_symbols(modem, alpha_bar, 4000)
    prior = OfdmPrior(modem, torch.zeros(4000, dtype=torch.int64), 5)
    found = measured(prior.score(noisy, alpha_bar), exact_score(noisy, waveforms, alpha_bar))
    assert abs(found.share - share) < 3 * math.hypot(found.standard_error, standard_error)
    assert found.standard_error < 1e-9 + 0.2 * share


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_the_ofdm_score_with_prefix_is_exact_in_its_own_noise(alpha_bar: float) -> None:
    """Carriers in noise A n are independent: the gradient along the subspace is that of the enumerated carriers."""
    modem, generator = small_ofdm(1), torch.Generator().manual_seed(2)
    basis = modem.synthesise(torch.eye(4, dtype=torch.complex64), 5).T.to(torch.complex128)  # A, [P, D]
    points = torch.tensor(list(itertools.product(constellation("qpsk").tolist(), repeat=4)))
    sent = points[torch.randint(256, (64,), generator=generator)]
    noise = torch.randn(sent.shape, dtype=torch.complex64, generator=generator)
    carriers = math.sqrt(alpha_bar) * sent + math.sqrt(1 - alpha_bar) * noise
    noisy = (carriers.to(torch.complex128) @ basis.T).to(torch.complex64)
    found = OfdmPrior(modem, torch.zeros(64, dtype=torch.int64), 5).score(noisy, alpha_bar).to(torch.complex128)
    expected = exact_score(carriers, points.to(torch.complex128), alpha_bar) @ basis.T
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_symbol_that_is_cut_off_has_the_score_of_a_gaussian() -> None:
    modem = small_ofdm(1)
    basis = modem.synthesise(torch.eye(4, dtype=torch.complex64), 5).T[2:]  # three samples of five are there
    window = torch.randn((1, 3), dtype=torch.complex64, generator=torch.Generator().manual_seed(3))
    prior = OfdmPrior(modem, torch.tensor([2]), 3, loosening=torch.tensor([4.0]))
    expected = -torch.linalg.solve(4 * basis @ basis.mH, window.T).T / 0.9
    torch.testing.assert_close(prior.score(window, 0.9), expected, rtol=1e-4, atol=1e-4)


def sum_of_signs(x: NDArray[np.float64], alpha_bar: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Density and score of I or Q of one sample of four carriers in noise: (sum of four signs) / sqrt(8), binomial.

    The score is a half of the derivative of the log-density, as that of a complex sample is with respect to the
    conjugate.
    """
    points, weights = np.arange(-4, 5, 2) / math.sqrt(8), np.array([1, 4, 6, 4, 1]) / 16
    variance, away = (1 - alpha_bar) / 2, x - math.sqrt(alpha_bar) * points[:, None]
    parts = weights[:, None] * np.exp(-(away**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return parts.sum(0), -(parts * away).sum(0) / variance / parts.sum(0) / 2


def test_error_of_the_stand_in_for_symbols_that_are_cut_off() -> None:
    """One sample of four carriers is taken for a Gaussian of its power: 6 % of the exact score are lost."""
    modem, generator = small_ofdm(0), torch.Generator().manual_seed(4)
    waveforms = every_symbol(modem)[:, 3:]  # one sample of four
    chosen = waveforms[torch.randint(256, (4000,), generator=generator)].to(torch.complex64)
    noise = torch.randn((4000, 1), dtype=torch.complex64, generator=generator)
    noisy = math.sqrt(0.5) * chosen + math.sqrt(0.5) * noise
    found = OfdmPrior(modem, torch.full((4000,), 3), 1).score(noisy, 0.5) * 0.5
    torch.testing.assert_close(found, -noisy, rtol=1e-4, atol=1e-5)  # the mixture has unit power
    exact = exact_score(noisy, waveforms, 0.5)
    by_parts = [sum_of_signs(part.numpy().astype(np.float64), 0.5)[1] for part in (noisy.real[:, 0], noisy.imag[:, 0])]
    np.testing.assert_allclose(exact[:, 0].numpy(), by_parts[0] + 1j * by_parts[1], atol=1e-5)
    x = np.linspace(-6, 6, 12_001)
    density, score = sum_of_signs(x, 0.5)
    share = float((density * (-x - score) ** 2).sum() / (density * score**2).sum())
    assert math.sqrt(share) == pytest.approx(0.0559, abs=1e-4)
    error = measured(found, exact)
    assert abs(error.share - share) < 3 * error.standard_error < 0.5 * share


def test_the_gaussian_score_is_the_gradient_of_its_density() -> None:
    generator = torch.Generator().manual_seed(5)
    root = torch.randn((6, 6), dtype=torch.complex64, generator=generator)
    covariance, alpha_bar = root @ root.mH / 6, 0.7
    noisy = torch.randn((3, 6), dtype=torch.complex64, generator=generator)
    total = alpha_bar * covariance + (1 - alpha_bar) * torch.eye(6)
    expected = -torch.linalg.solve(total, noisy.T).T
    torch.testing.assert_close(GaussianPrior(covariance).score(noisy, alpha_bar), expected, rtol=1e-4, atol=1e-4)


def test_a_gaussian_prior_refuses_what_is_no_covariance() -> None:
    with pytest.raises(InputError, match="not Hermitian"):
        GaussianPrior(torch.tensor([[1.0, 1.0], [0.0, 1.0]]).to(torch.complex64))
    with pytest.raises(InputError, match="negative eigenvalue -1"):
        GaussianPrior(torch.diag(torch.tensor([1.0, -1.0])).to(torch.complex64))


def test_the_pulse_score_draws_towards_the_sent_symbols_and_away_from_other_waveforms() -> None:
    modem, generator = LinearModem(), torch.Generator().manual_seed(6)
    soi = modem.sample(2, 640, generator).waveform
    prior, alpha_bar = PulsePrior(modem), 0.99
    stray = torch.randn(soi.shape, dtype=torch.complex64, generator=generator)
    stray = 0.1 * (stray - modem.synthesise(modem.analyse(stray), 640))  # outside the pulses
    found = prior.score(math.sqrt(alpha_bar) * soi + stray, alpha_bar)
    inner = slice(160, 480)  # away from the ends, where pulses are cut
    torch.testing.assert_close(found[:, inner], -stray[:, inner] / (1 - alpha_bar), rtol=0.05, atol=0.5)


def test_noise_of_the_pulse_prior_has_unit_power_and_lies_in_the_pulses() -> None:
    modem = LinearModem()
    noise = PulsePrior(modem).draw(16000, torch.Generator().manual_seed(7))
    assert noise.abs().square().mean().item() == pytest.approx(1.0, abs=0.05)
    rest = noise - modem.synthesise(modem.analyse(noise), 16000)
    assert rest[:, 200:-200].abs().square().mean() < 1e-3


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16"])
def test_gain_and_phase_of_ofdm_are_found_up_to_its_symmetry(name: str) -> None:
    modem, generator = OfdmModem(name), torch.Generator().manual_seed(8)
    whole = modem.sample(3, 1600, generator).waveform / math.sqrt(56 / 64)
    gain = torch.polar(torch.tensor([2.0, 0.7, 1.3]), torch.tensor([0.3, -1.0, 2.5]))
    window = gain[:, None] * whole[:, 33:-20]
    prior = OfdmPrior(modem, torch.full((3,), 33), window.shape[1])
    turned = torch.polar(torch.ones(3), prior.phase(window)) / (gain / gain.abs())
    order = 2 if name == "bpsk" else 4
    torch.testing.assert_close(turned**order, torch.ones(3, dtype=torch.complex64), rtol=0.02, atol=0.02)
    off = torch.tensor([1.05, 0.96, 1.0]) * torch.polar(torch.ones(3), torch.tensor([0.05, 0.0, -0.05]))
    found = prior.gain(off[:, None] * window / (gain * turned)[:, None], 0.01)
    torch.testing.assert_close(found, off, rtol=0.01, atol=0.01)


def test_ofdm_windows_score_zero_where_they_are_what_they_seem() -> None:
    """A clean whole symbol scores nothing; the same one a sample late scores much."""
    modem = OfdmModem("qpsk")
    window = modem.sample(1, 800, torch.Generator().manual_seed(9)).waveform / math.sqrt(56 / 64)
    right = OfdmPrior(modem, torch.tensor([0]), 800).score(0.995**0.5 * window, 0.995)
    late = OfdmPrior(modem, torch.tensor([1]), 800).score(0.995**0.5 * window, 0.995)
    assert right.abs().max() < 0.01
    assert late.abs().square().mean().sqrt() > 10


def test_offsets_outside_a_period_are_refused() -> None:
    with pytest.raises(InputError, match=r"not all in 0 \.\.\. 79"):
        OfdmPrior(OfdmModem("qpsk"), torch.tensor([80]), 800)


def test_gram_outside_the_subspace_against_a_dense_one() -> None:
    modem, generator = OfdmModem("qpsk"), torch.Generator().manual_seed(10)
    room = torch.tensor([1e-3])
    prior = OfdmPrior(modem, torch.tensor([30]), 210, outside=room, loosening=torch.tensor([5.0]))
    pulses = torch.randn((2, 80, 3), dtype=torch.complex128, generator=generator)
    phase = torch.tensor([[0, 1, 0, 1]])
    found = prior.outside_gram(pulses, phase)
    every = pulses[phase[0]]  # [K, P, c]
    placed = torch.zeros((4, 3, 4 * 80), dtype=torch.complex128)
    for block in range(4):
        placed[block, :, 80 * block : 80 * block + 80] = every[block].T
    windows = placed[:, :, 30:240]  # of the four symbols, as far as the window holds them
    for block in (0, 3):  # 50 samples of the first symbol are there, 0 of the last
        seen = modem.synthesise(torch.eye(56, dtype=torch.complex64), 80).T / math.sqrt(56 / 64)
        seen = seen.to(torch.complex128)[30:] if block == 0 else seen.to(torch.complex128)[:0]
        values, vectors = torch.linalg.eigh(seen @ seen.mH)
        weight = 1e-3 / (5 * values).clamp_min(1e-3)
        part = windows[block][:, :50].T if block == 0 else windows[block][:, :0].T
        expected = (vectors.mH @ part).mH @ (weight[:, None] * (vectors.mH @ part))
        torch.testing.assert_close(found[0, block], expected, rtol=1e-4, atol=1e-6)
    carriers = modem.synthesise(torch.eye(56, dtype=torch.complex64), 80).T.to(torch.complex128)
    rest = torch.eye(80, dtype=torch.complex128) - carriers @ torch.linalg.pinv(carriers)
    torch.testing.assert_close(found[0, 1], every[1].mH @ rest @ every[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_a_source_of_another_power_is_told_from_the_same_noise(alpha_bar: float) -> None:
    """Against the density of the weaker symbols written out, and a Gaussian's closed form."""
    modem, power = small_ofdm(0), 0.875
    noisy, waveforms = noisy_symbols(modem, alpha_bar, 64)
    expected = exact_score(noisy, math.sqrt(power) * waveforms, alpha_bar).to(torch.complex64)
    unit = OfdmPrior(modem, torch.zeros(64, dtype=torch.int64), 4)
    torch.testing.assert_close(OfPower(unit, power).score(noisy, alpha_bar), expected, rtol=1e-3, atol=1e-3)
    difference = unit.score(noisy, alpha_bar) - expected
    assert float(difference.abs().square().sum() / expected.abs().square().sum()) > 1e-4
    gaussian = OfPower(GaussianPrior(torch.eye(4)), power).score(noisy, alpha_bar)
    torch.testing.assert_close(gaussian, -noisy / (alpha_bar * power + 1 - alpha_bar))


def test_pulse_of_the_published_prior_is_30_db_beside_that_of_the_data() -> None:
    """By numpy alone: CommPy's 127 samples of the root raised cosine, and Sionna's 65 of unit energy, times 4."""
    t = (np.arange(127) - 63) / 16
    with np.errstate(invalid="ignore", divide="ignore"):
        sine, cosine = np.sin(np.pi * t / 2), 2 * t * np.cos(1.5 * np.pi * t)
        pulse = (sine + cosine) / (np.pi * t * (1 - 4 * t**2))
    pulse[63] = 0.5 + 2 / np.pi
    pulse[np.abs(t) == 0.5] = ((1 + 2 / np.pi) * np.sin(np.pi / 2) + (1 - 2 / np.pi) * np.cos(np.pi / 2)) / 8**0.5
    cut = np.where(np.abs(t) <= 2, pulse, 0)
    cut *= 4 / np.sqrt((cut**2).sum())
    mismatch_db = 10 * np.log10(((pulse - cut) ** 2).sum() / (cut**2).sum())
    assert mismatch_db == pytest.approx(-30.5, abs=0.05)
    rows = yaml.safe_load((CONF / "experiment" / "args" / "published.yaml").read_text())["comparison"]["separators"]
    row = rows["alpha_rgs:published_priors"]
    prior, data = instantiate(row["prior_modem"]), LinearModem(span=4)
    assert prior.pulse.numpy() == pytest.approx(pulse, abs=1e-12)
    assert data.pulse.numpy() == pytest.approx(cut[31:96], abs=1e-12)
    assert row["interference_power"] == 56 / 64
