"""The symbols of a SOI in improper interference, against dense linear algebra."""

import pytest
import torch

from rfsep.separators.varying.symbols import Information, SymbolField, cavity, inverse_pairs
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem


@pytest.mark.parametrize(
    ("modem", "num_samples"), [(LinearModem(), 320), (LinearModem(), 333), (OfdmModem(), 240), (OfdmModem(), 250)]
)
def test_posterior_equals_the_dense_solution(modem: Modem, num_samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    field = SymbolField(modem, num_samples, begins=True, ends=True)
    roots = torch.randn((2, num_samples, 2, 2), generator=generator, dtype=torch.float64)
    precision = roots @ roots.mT
    shift = torch.randn((2, num_samples, 2), generator=generator, dtype=torch.float64)
    posterior = field.solve(Information(precision, shift), field.prior(2))
    columns = torch.cat([part * modem_waveforms(modem, num_samples, 0) for part in (1, 1j)]).to(torch.complex128)
    response = torch.view_as_real(columns.T.contiguous()).transpose(1, 2).flatten(0, 1)
    dense = torch.linalg.inv(
        response.T
        @ torch.block_diag(*precision[1])  # type: ignore[no-untyped-call]
        @ response
        + 2 * torch.eye(response.shape[1])
    )
    mean = response @ dense @ response.T @ shift[1].flatten()
    samples = field.sample_moments(posterior)
    torch.testing.assert_close(samples.mean[1].flatten(), mean, rtol=1e-4, atol=1e-6)
    spread = (response @ dense @ response.T).reshape(num_samples, 2, num_samples, 2)
    expected = spread.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    torch.testing.assert_close(samples.covariance[1], expected, rtol=1e-4, atol=1e-6)
    waveform = torch.view_as_real(field.waveform(posterior.mean))[1].flatten()
    torch.testing.assert_close(waveform.double(), mean, rtol=1e-4, atol=1e-5)


def test_a_cavity_is_the_posterior_without_the_sample() -> None:
    generator = torch.Generator().manual_seed(1)
    field = SymbolField(LinearModem(), 160, begins=True, ends=True)
    roots = torch.randn((1, 160, 2, 2), generator=generator, dtype=torch.float64)
    samples = Information(roots @ roots.mT, torch.randn((1, 160, 2), generator=generator, dtype=torch.float64))
    kept = torch.arange(160) != 77
    others = Information(samples.precision * kept[:, None, None], samples.shift * kept[:, None])
    left = cavity(field.sample_moments(field.solve(samples, field.prior(1))), samples)
    right = field.sample_moments(field.solve(others, field.prior(1)))
    torch.testing.assert_close(left.mean[0, 77], right.mean[0, 77])
    torch.testing.assert_close(left.covariance[0, 77], right.covariance[0, 77])


def test_tilted_moments_are_those_of_the_constellation() -> None:
    field = SymbolField(LinearModem(), 160, begins=True, ends=True)
    some = field.prior(1)
    middle = cavity(field.symbol_moments(field.solve(Information(*_nothing(160)), some)), some)
    mean = middle.mean.clone()
    place = int(field.exists.int().argmax()) + 2
    mean[0, place] = torch.tensor([0.3, -0.1])
    covariance = torch.diag(torch.tensor([0.2, 0.5], dtype=torch.float64)).expand(middle.covariance.shape)
    tilted = field.tilted(middle._replace(mean=mean, covariance=covariance))
    level = 0.5**0.5
    # QPSK is a sign on either axis: E = a tanh(a m / v).
    expected = level * torch.tanh(level * mean[0, place] / torch.tensor([0.2, 0.5]))
    torch.testing.assert_close(tilted.mean[0, place], expected)
    torch.testing.assert_close(inverse_pairs(covariance) @ covariance, torch.eye(2).expand(covariance.shape).double())


def _nothing(num_samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros((1, num_samples, 2, 2)).double(), torch.zeros((1, num_samples, 2)).double()
