"""The linear model of a SOI and a single carrier in a window, in real unknowns.

The mixture is y = R a + sum_n c_n p(t - n T) exp(j phi(t)) + w. BPSK is improper: its real symbols leave half of the
signal space to the SOI, which only a widely linear estimator sees (Picinbono & Chevalier, IEEE Trans. Signal
Processing 43(8), 1995). All unknowns are therefore real: the parts of a complex symbol count as two. In the order of
time, the information matrix is banded.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.expectation_propagation import Marginals, Sites
from rfsep.separators.inference.grid import scattered, scattered_matrix
from rfsep.separators.inference.tridiagonal import back_solve, factorise, half_solve, inverse_band
from rfsep.separators.single_carrier.pulses import BLOCK, Basis

_NEGLIGIBLE = 1e-6  # share of a SOI waveform's energy in a block that is neglected
_LEAST_VARIANCE = 1e-9


def real_points(points: Tensor) -> Tensor:
    """Returns a constellation complex [P] by its real parts: float64 [P, 1] of real points, else [P, 2]."""
    parts = torch.view_as_real(points.to(torch.complex128))
    return parts[:, :1] if bool(parts[:, 1].abs().max() < 1e-6) else parts


class Model(NamedTuple):
    """The linear model of windows.

    Attributes:
        local: complex128 [B, K, P, C], waveforms of the unknowns that reach into each block.
        gram: float64 [B, U, U], real part of the waveforms' products.
        moment: float64 [B, U], real part of their products with the mixture.
        samples: complex128 [B, K, P].
    """

    local: Tensor
    gram: Tensor
    moment: Tensor
    samples: Tensor


class Solved(NamedTuple):
    """Gaussian posterior of all unknowns.

    Attributes:
        marginals: float64 [B, U].
        trace: float64 [B], expected energy of the error that the posterior's doubt makes in the mixture.
    """

    marginals: Marginals
    trace: Tensor


class System:
    """Unknowns of the windows of one length.

    Args:
        response: waveforms of the SOI's symbols, complex128 [T, S]; S = 0 without a SOI.
        soi_points: the SOI's constellation.
        basis: the interference's symbols and kernels.
        points: the interference's constellation.
    """

    def __init__(self, response: Tensor, soi_points: Tensor, basis: Basis, points: Tensor) -> None:
        self.basis = basis
        self.response = response
        num_samples = self.num_samples = len(response)
        self.soi_points, self.points = real_points(soi_points), real_points(points)
        self.num_blocks = len(basis.columns)
        padded = torch.nn.functional.pad(self.response, (0, 0, 0, self.num_blocks * BLOCK - num_samples))
        cut = padded.reshape(self.num_blocks, BLOCK, -1)  # [K, P, S]
        energy = squared(self.response).sum(0)
        self._reaches = squared(cut).sum(1) > _NEGLIGIBLE * energy.clamp_min(_NEGLIGIBLE)  # [K, S]
        time = torch.arange(num_samples, dtype=torch.float64)
        centre = (squared(self.response) * time[:, None]).sum(0) / energy.clamp_min(_NEGLIGIBLE)
        self._order(centre, basis.number * basis.period)
        self._soi_local = self._cut_soi(cut)

    def _order(self, soi_time: Tensor, carrier_time: Tensor) -> None:
        """Places of the real unknowns in the order of time: ``soi_place`` [S, d] and ``carrier_place`` [N, d]."""
        wide, narrow = self.soi_points.shape[1], self.points.shape[1]
        times = torch.cat((soi_time.repeat_interleave(wide), carrier_time.repeat_interleave(narrow)))
        place = torch.empty(len(times), dtype=torch.int64)
        place[times.argsort(stable=True)] = torch.arange(len(times))
        split = len(soi_time) * wide
        self.soi_place, self.carrier_place = place[:split].view(-1, wide), place[split:].view(-1, narrow)
        self.num_unknowns = len(times)

    def _cut_soi(self, cut: Tensor) -> Tensor:
        """Waveforms complex128 [K, P, c] of the SOI's real unknowns, and ``columns`` int64 [K, C] of all of them."""
        width = int(self._reaches.sum(1).max())
        number = torch.arange(self._reaches.shape[1])
        first = torch.where(self._reaches, number, len(number)).sort(1).values[:, :width]  # [K, c]; S for none
        padded = torch.nn.functional.pad(cut, (0, 1))
        local = padded.gather(2, first[:, None, :].expand(-1, BLOCK, -1))  # [K, P, c]
        wide = self.soi_points.shape[1]
        soi_place = torch.nn.functional.pad(self.soi_place, (0, 0, 0, 1), value=self.num_unknowns)
        carrier_place = torch.nn.functional.pad(self.carrier_place, (0, 0, 0, 1), value=self.num_unknowns)
        self.columns = torch.cat((soi_place[first].flatten(1), carrier_place[self.basis.columns].flatten(1)), 1)
        return _as_real_unknowns(local, wide)

    @cached_property
    def bandwidth(self) -> int:
        """Largest distance between two unknowns that share a block."""
        inside = self.columns < self.num_unknowns
        high = torch.where(inside, self.columns, 0).amax(1)
        low = torch.where(inside, self.columns, self.num_unknowns).amin(1)
        return int((high - low).max())

    def cut(self, samples: Tensor) -> Tensor:
        """Cuts windows [B, T] into blocks [B, K, P], zero beyond the end."""
        padded = torch.nn.functional.pad(samples, (0, self.num_blocks * BLOCK - self.num_samples))
        return padded.view(len(samples), self.num_blocks, BLOCK)

    def model(self, samples: Tensor, pulses: Tensor, phase: Tensor) -> Model:
        """Returns the model of windows complex128 [B, K, P].

        Args:
            samples: complex128 [B, K, P].
            pulses: in each block, complex128 [B, K, M].
            phase: radians, float64 [B, K, P].
        """
        kernels = self.basis.kernels  # [K, P, c, M]
        parts = torch.view_as_real(pulses).permute(1, 2, 0, 3).flatten(2)  # [K, M, 2 B]
        made = (kernels.flatten(1, 2) @ parts).view(*kernels.shape[:3], len(pulses), 2)
        waves = torch.view_as_complex(made).permute(3, 0, 1, 2)  # [B, K, P, c]
        waves = waves * torch.polar(torch.ones_like(phase), phase)[..., None]
        carrier = _as_real_unknowns(waves, self.points.shape[1])
        soi = self._soi_local.expand(len(pulses), -1, -1, -1)
        local = torch.cat((soi, carrier), 3)
        real = torch.view_as_real(local).transpose(3, 4).flatten(2, 3)  # [B, K, 2 P, C]
        seen = torch.view_as_real(samples).flatten(2)  # [B, K, 2 P]
        columns = self.columns.expand(len(pulses), -1, -1)
        gram = scattered_matrix(real.mT @ real, columns, self.num_unknowns)
        moment = scattered((seen[:, :, None] @ real)[:, :, 0], columns, self.num_unknowns)
        return Model(local, gram, moment, samples)

    def solve(self, model: Model, sites: Sites, noise_power: Tensor) -> Solved:
        """Returns the Gaussian posterior at sites [B, U] and noise powers float64 [B] of complex samples."""
        weight = 2 / noise_power  # precision of a real part, whose noise has half the power
        matrix = model.gram * weight[:, None, None]
        matrix.diagonal(dim1=1, dim2=2).add_(sites.precision)
        factor = factorise(matrix, self.bandwidth)
        mean = back_solve(factor, half_solve(factor, model.moment * weight[:, None] + sites.shift))
        inverse = inverse_band(factor)
        variance = inverse.diagonal(dim1=1, dim2=2).clamp_min(_LEAST_VARIANCE)
        return Solved(Marginals(mean, variance), (inverse * model.gram).sum((1, 2)))

    def fitted(self, model: Model, unknowns: Tensor) -> Tensor:
        """Returns waveforms complex128 [B, K, P] of unknowns float64 [B, U]."""
        padded = torch.nn.functional.pad(unknowns, (0, 1))
        held = padded[:, self.columns]  # [B, K, C]
        return (model.local @ held[..., None].to(model.local.dtype))[..., 0]

    def symbols(self, unknowns: Tensor, place: Tensor) -> Tensor:
        """Gathers symbols complex128 [B, n] from unknowns float64 [B, U] at places int64 [n, d]."""
        parts = unknowns[:, place]  # [B, n, d]
        return torch.complex(parts[..., 0], parts[..., 1] if parts.shape[2] > 1 else torch.zeros_like(parts[..., 0]))


def _as_real_unknowns(waves: Tensor, parts: int) -> Tensor:
    """Doubles waveforms [..., c] of complex symbols to those of their real and imaginary parts [..., 2 c]."""
    return waves if parts == 1 else torch.stack((waves, 1j * waves), -1).flatten(-2)
