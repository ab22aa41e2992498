"""Posteriors of a SOI's symbols in mixtures whose interference has a known covariance."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.expectation_propagation import Marginals, Sites, cavity_of, tilted, updated
from rfsep.signals.statistics import inverse_positive, modem_waveforms, solve_positive
from rfsep.types import Modem

_CONTEXT = 8  # symbol periods on each side of a window inside a longer mixture
_NEGLIGIBLE = 1e-12  # A waveform with a smaller share of the largest energy counts as zero.
_LEAST_VARIANCE = 1e-12
_ROUNDS = 8
_DAMPING = 0.5


class Information(NamedTuple):
    """The information of windows on the SOI's symbols a, in y = R a + b with C the covariance of b.

    Attributes:
        gram: complex128 [..., S, S], R^H C^-1 R.
        moment: complex128 [..., S], R^H C^-1 y.
    """

    gram: Tensor
    moment: Tensor


class Response(NamedTuple):
    """Waveforms of the symbols that reach into a window.

    Attributes:
        waveforms: complex128 [T, S], R.
        first: int64 [T], the first symbol that reaches each sample.
        last: int64 [T], one beyond the last.
    """

    waveforms: Tensor
    first: list[int]
    last: list[int]


def make_response(modem: Modem, num_samples: int, whole: bool) -> Response:
    """Returns the response of a window; ``whole`` says that the signal begins and ends with it."""
    rows = modem_waveforms(modem, num_samples, 0 if whole else _CONTEXT).to(torch.complex128)
    energy = rows.abs().square()
    rows = rows[energy.sum(1) > _NEGLIGIBLE * energy.sum(1).max()]
    reaches = rows.abs().square() > _NEGLIGIBLE  # [S, T]
    first = torch.where(reaches.any(0), reaches.int().argmax(0), 0)
    last = torch.where(reaches.any(0), len(rows) - reaches.int().flip(0).argmax(0), 0)
    return Response(rows.T.contiguous(), first.tolist(), last.tolist())


def stacked(rows: list[Information]) -> Information:
    """Stacks the information of several windows, [B, ...]."""
    return Information(torch.stack([row.gram for row in rows]), torch.stack([row.moment for row in rows]))


def linear_symbols(said: Information) -> Tensor:
    """Returns posterior means complex128 [B, S] of Gaussian symbols of unit power."""
    identity = torch.eye(said.gram.shape[-1], dtype=said.gram.dtype)
    return solve_positive(said.gram + identity, said.moment[..., None])[..., 0]


class Detected(NamedTuple):
    """Symbols after expectation propagation.

    Attributes:
        sites: [B, S], Gaussian stand-ins for the discrete prior.
        symbols: [B, S], posterior under the discrete prior.
    """

    sites: Sites
    symbols: Marginals


def gaussian_posterior(said: Information, sites: Sites) -> tuple[Tensor, Tensor]:
    """Returns means complex128 [B, S] and covariance complex128 [B, S, S] of symbols with Gaussian sites as prior."""
    covariance = inverse_positive(said.gram + torch.diag_embed(sites.precision).to(said.gram.dtype))
    return (covariance @ (said.moment + sites.shift)[..., None])[..., 0], covariance


def detected_symbols(said: Information, points: Tensor, sites: Sites | None = None, rounds: int = _ROUNDS) -> Detected:
    """Detects the SOI's symbols by `rfsep.separators.inference.expectation_propagation`, without the interference's.

    Args:
        said: information [B, S].
        points: constellation complex [P].
        sites: at the start; the Gaussian prior by default.
        rounds: number of updates.
    """
    shape = said.moment.shape
    if sites is None:
        sites = Sites(torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.complex128))
    symbols = Marginals(torch.zeros(shape, dtype=torch.complex128), torch.ones(shape, dtype=torch.float64))
    for _ in range(rounds):
        mean, covariance = gaussian_posterior(said, sites)
        variance = covariance.diagonal(dim1=-2, dim2=-1).real.clamp_min(_LEAST_VARIANCE)
        cavity = cavity_of(Marginals(mean, variance), sites)
        symbols = tilted(cavity, points)
        sites = updated(sites, cavity, symbols, _DAMPING)
    return Detected(sites, symbols)
