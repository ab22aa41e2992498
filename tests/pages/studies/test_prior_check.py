"""Checks of a prior against closed forms: the exact Gaussian prior, correlations of OFDM, distances to points."""

import json
import math
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.pages.studies.prior_check import (
    Learned,
    error_vector_magnitude,
    gaussian_losses,
    lag_coefficients,
    noise_losses,
    summary,
    write_prior_figure,
)
from rfsep.signals.diffusion_schedule import linear_schedule
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

SCHEDULE = linear_schedule()


def ofdm(count: int, key: int = 0) -> Tensor:
    return RandomCrop(OfdmModem(), power=56 / 64).sample(count, 2560, batch_generator(Purpose.TEST, key)).waveform


@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_losses_of_the_exact_gaussian_prior(variance: float) -> None:
    """White: r / (1 + r) with r = alpha_bar / (variance sigma^2), measured and in closed form."""
    generator = batch_generator(Purpose.TEST, 1)
    white = torch.randn(20, 2000, dtype=torch.complex64, generator=generator)

    def noise(x: Tensor, step: Tensor) -> Tensor:
        level = SCHEDULE.alpha_bar[step] + variance * SCHEDULE.sigma[step].square()
        return (variance * SCHEDULE.sigma[step] / level)[:, None] * x

    measured = noise_losses(noise, white, SCHEDULE, variance, generator)
    ratio = SCHEDULE.alpha_bar / (variance * SCHEDULE.sigma.square())
    assert torch.allclose(measured, ratio / (1 + ratio), rtol=0.05)
    assert torch.allclose(gaussian_losses(white, SCHEDULE, variance), ratio / (1 + ratio), rtol=0.07)


def test_correlations_of_ofdm_are_its_prefix() -> None:
    """16 of 80 samples come again 64 later: a fifth at rest, and sin(pi / 5) / pi of it at the symbol rate."""
    windows = ofdm(60)
    assert float(lag_coefficients(windows, None)[64]) == pytest.approx(0.2, abs=0.02)
    assert float(lag_coefficients(windows, 80)[64]) == pytest.approx(math.sin(math.pi / 5) / math.pi, abs=0.02)
    assert float(lag_coefficients(windows, 80)[50]) < 0.05
    assert float(lag_coefficients(windows, None)[0]) == pytest.approx(1.0, rel=0.03)


def test_error_vector_magnitude_of_noisy_symbols() -> None:
    modem = LinearModem()
    sampled = modem.sample(10, 2560, batch_generator(Purpose.TEST, 2))
    noise = torch.randn(10, 160, dtype=torch.complex64, generator=batch_generator(Purpose.TEST, 3))
    symbols = modem.analyse(sampled.waveform)[:, 8:-8] + 0.1 * noise[:, 8:-8]
    assert error_vector_magnitude(symbols, modem.constellation) == pytest.approx(0.1, rel=0.05)


def test_samples_like_the_source_agree_and_noise_does_not() -> None:
    flat = torch.ones(50)
    nothing = torch.zeros(0, dtype=torch.complex64)
    alike = summary(Learned(ofdm(60, 4), ofdm(60, 5), None, nothing, flat, flat), 80, 64)
    white = torch.randn(60, 2560, dtype=torch.complex64, generator=batch_generator(Purpose.TEST, 6))
    other = Learned(ofdm(60, 4), white, white[:, ::16], torch.tensor([1 + 0j, -1 + 0j]), flat, flat / 2)
    apart = summary(other, 80, 64)
    assert alike["spectrum_error_db"] < 0.3 < apart["spectrum_error_db"]
    assert alike["samples"]["power"] == pytest.approx(alike["source"]["power"], rel=0.02)
    assert alike["samples"]["cyclic_correlation"] == pytest.approx(alike["source"]["cyclic_correlation"], abs=0.01)
    assert apart["samples"]["cyclic_correlation"] < 0.05
    assert apart["samples"]["power_out_of_band"] > 3 * apart["source"]["power_out_of_band"]
    assert (apart["noise_mse"], apart["noise_mse_gaussian"]) == (1.0, 0.5)
    assert "evm" not in alike
    assert json.loads(json.dumps(apart))["evm"] > 0.5


def test_the_figure_shows_losses_spectra_correlations_and_symbols(tmp_path: Path, drawn: list[Figure]) -> None:
    """White samples beside a source of OFDM: losses as given, 0 dB at every frequency, no peak at lag 64."""
    white = torch.randn(60, 2560, dtype=torch.complex64, generator=batch_generator(Purpose.TEST, 6))
    losses = torch.linspace(1, 0.1, 50)
    learned = Learned(
        ofdm(60, 4), white, white[:, ::16], torch.tensor([1 + 0j, -1 + 0j]), losses, losses / 2, losses / 4
    )
    write_prior_figure(tmp_path / "prior.png", learned, 80, "OFDM")
    with Image.open(tmp_path / "prior.png") as picture:
        assert picture.width > picture.height > 300
    (figure,) = drawn
    curves = [{str(line.get_label()): line.get_ydata() for line in axes.lines} for axes in figure.axes]
    for name, share in (("this prior", 1), ("Gaussian signal", 0.5), ("analytic prior", 0.25)):
        assert curves[0][name] == pytest.approx(share * losses.numpy())
    assert curves[1]["samples"].mean() == pytest.approx(0, abs=0.1)
    assert abs(curves[1]["samples"]).max() < 3  # dB
    assert curves[1]["source"].min() < -10  # guard carriers
    assert curves[2]["source"][64] == pytest.approx(math.sin(math.pi / 5) / math.pi, abs=0.02)
    assert curves[2]["source"].argmax() == 64
    assert curves[2]["samples"].max() < 0.05
    assert curves[3]["points"].tolist() == [0, 0]
    assert curves[3]["samples"].tolist() == white[:, ::16].flatten()[:4000].imag.tolist()
