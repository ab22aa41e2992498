"""The SOI's symbols in interference whose covariance differs from sample to sample and may be improper.

Every sample brings information exp(-x' W x / 2 + h' x) on the SOI x = (Re, Im) at that sample, with its own real 2 x 2
precision W: where the interference lies on a line of the complex plane, the part across it is free of interference
(widely linear estimation: Picinbono & Chevalier, IEEE Trans. Signal Process. 43(8), 1995). The real and imaginary parts
of the symbols are therefore estimated together, as 2 S real unknowns. Their information matrix is banded, because a
pulse spans only a few symbols.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.grid import ABSENT
from rfsep.separators.inference.tridiagonal import back_solve, factorise, half_solve, inverse_band
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import InputError, Modem

_CONTEXT = 8  # symbol periods on each side that may reach a period
_NEGLIGIBLE = 1e-12  # A period with a smaller share of a pulse's energy is not reached by it.
_LEAST_PRECISION = 1e-6
_LEAST_VARIANCE = 1e-7


class Information(NamedTuple):
    """Information on N pairs of real unknowns: precisions float64 [B, N, 2, 2] and shifts float64 [B, N, 2]."""

    precision: Tensor
    shift: Tensor


class Moments(NamedTuple):
    """Means float64 [B, N, 2] and covariances float64 [B, N, 2, 2] of N pairs of real unknowns."""

    mean: Tensor
    covariance: Tensor


def inverse_pairs(matrix: Tensor) -> Tensor:
    """Inverts symmetric real matrices [..., 2, 2] in closed form."""
    a, b, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
    scaled = torch.stack((d, -b, -b, a), -1) / (a * d - b * b)[..., None]
    return scaled.reshape(matrix.shape)


def cavity(moments: Moments, own: Information) -> Moments:
    """Removes a pair's own information from its moments."""
    precision = inverse_pairs(moments.covariance)
    shift = (precision @ moments.mean[..., None])[..., 0] - own.shift
    rest = positive(precision - own.precision)
    covariance = inverse_pairs(rest)
    return Moments((covariance @ shift[..., None])[..., 0], covariance)


def positive(matrix: Tensor) -> Tensor:
    """Raises the eigenvalues of symmetric real matrices [..., 2, 2] to at least a small positive value."""
    middle = (matrix[..., 0, 0] + matrix[..., 1, 1]) / 2
    half = (matrix[..., 0, 0] - matrix[..., 1, 1]) / 2
    radius = (half.square() + matrix[..., 0, 1].square()).sqrt()
    low, high = (middle - radius).clamp_min(_LEAST_PRECISION), (middle + radius).clamp_min(_LEAST_PRECISION)
    scale = (high - low) / (2 * radius).clamp_min(1e-300)
    a, b = half * scale, matrix[..., 0, 1] * scale
    mean = (low + high) / 2
    return torch.stack((mean + a, b, b, mean - a), -1).reshape(matrix.shape)


class SymbolField:
    """A modem's symbols on windows of one length.

    Args:
        modem: one real pulse per symbol, as `rfsep.signals.linear_modem.LinearModem` has.
        num_samples: samples T per window.
        begins: whether the SOI begins with the window; otherwise earlier symbols reach into it.
        ends: whether the SOI ends with the window.

    Attributes:
        num_periods: symbol periods K; the last may lie partly outside.
        num_symbols: symbols that reach into the window, including those that do not exist at its ends.

    Raises:
        InputError: the modem sends several symbols at a time, or its pulse is complex.
    """

    def __init__(self, modem: Modem, num_samples: int, *, begins: bool, ends: bool) -> None:
        period = modem.symbol_period
        waveforms = modem_waveforms(modem, (2 * _CONTEXT + 1) * period, 0)
        if len(waveforms) != 2 * _CONTEXT + 1 or waveforms.imag.abs().max() > 0:
            raise InputError("varying_lmmse needs a SOI with one symbol at a time on a real pulse, as soi=qpsk has")
        pulse = waveforms[_CONTEXT].real.double().reshape(-1, period)  # [2 * context + 1, P]
        energy = pulse.square().sum(1)
        reached = (energy > _NEGLIGIBLE * energy.sum()).nonzero()[:, 0] - _CONTEXT
        before, behind = int(reached.max()), int(-reached.min())  # symbols that reach a period from before and behind
        self.modem, self.num_samples, self.period = modem, num_samples, period
        self.num_periods = -(-num_samples // period)
        self.width = before + behind + 1
        self.num_symbols = self.num_periods + self.width - 1
        self._before = before
        self.pulses = pulse[_CONTEXT + before - torch.arange(self.width)].T.contiguous()  # [P, c]
        self._outer = (self.pulses[:, :, None] * self.pulses[:, None, :]).flatten(1)  # [P, c * c]
        place = torch.arange(self.num_symbols) - before
        existing = modem.analyse(torch.zeros((1, num_samples), dtype=torch.complex64)).shape[1]
        self.exists = ((place >= 0) | (not begins)) & ((place < existing) | (not ends))  # [S]
        points = torch.view_as_real(modem.constellation.to(torch.complex128))
        self.points = points.clone()  # [Q, 2]
        self._columns = torch.arange(self.num_periods)[:, None] + torch.arange(self.width)  # [K, c]
        pair = 2 * self._columns[..., None] + torch.arange(2)  # [K, c, 2]
        rows = pair[:, :, None, :, None].expand(-1, -1, self.width, 2, 2)
        columns = pair[:, None, :, None, :].expand(-1, self.width, -1, 2, 2)
        self._index = (rows * (2 * self.num_symbols) + columns).flatten()  # [K * c * c * 4]

    def prior(self, batch_size: int) -> Information:
        """Returns the Gaussian prior of the symbols as information [B, S]."""
        second = self.points.T @ self.points / len(self.points)
        weight = torch.linalg.inv(second + _LEAST_VARIANCE * torch.eye(2, dtype=torch.float64))
        absent = ABSENT * torch.eye(2, dtype=torch.float64)
        precision = torch.where(self.exists[:, None, None], weight, absent)
        shape = (batch_size, self.num_symbols, 2)
        return Information(precision.expand(*shape, 2).clone(), torch.zeros(shape, dtype=torch.float64))

    def _by_period(self, values: Tensor) -> Tensor:
        """Cuts values [B, T, n] into periods, zero beyond the end: [B, K, n, P]."""
        missing = self.num_periods * self.period - self.num_samples
        padded = torch.nn.functional.pad(values, (0, 0, 0, missing))
        return padded.reshape(len(values), self.num_periods, self.period, -1).transpose(2, 3)

    def solve(self, samples: Information, symbols: Information) -> Moments:
        """Returns the Gaussian posterior of the symbols, with covariances of neighbours [B, 2 S, 2 S].

        Args:
            samples: information on the SOI at each sample, [B, T].
            symbols: information of the symbols' priors or sites, [B, S].
        """
        batch, size = len(samples.shift), 2 * self.num_symbols
        grams = self._by_period(samples.precision.flatten(2)) @ self._outer  # [B, K, 4, c * c]
        grams = grams.transpose(2, 3).reshape(batch, -1)
        matrix = grams.new_zeros((batch, size * size))
        matrix.index_add_(1, self._index, grams)
        matrix = matrix.reshape(batch, size, size)
        moment = (self._by_period(samples.shift) @ self.pulses).transpose(2, 3)  # [B, K, c, 2]
        total = symbols.shift.clone().index_add_(1, self._columns.flatten(), moment.flatten(1, 2))  # [B, S, 2]
        diagonal = matrix.view(batch, self.num_symbols, 2, self.num_symbols, 2).diagonal(dim1=1, dim2=3)
        diagonal += symbols.precision.permute(0, 2, 3, 1)
        factor = factorise(matrix, 2 * self.width - 1)
        mean = back_solve(factor, half_solve(factor, total.flatten(1)))
        return Moments(mean.reshape(batch, -1, 2), inverse_band(factor))

    def symbol_moments(self, posterior: Moments) -> Moments:
        """Returns the moments of single symbols, [B, S]."""
        batch, count = posterior.mean.shape[:2]
        blocks = posterior.covariance.view(batch, count, 2, count, 2).diagonal(dim1=1, dim2=3)  # [B, 2, 2, S]
        return Moments(posterior.mean, blocks.permute(0, 3, 1, 2))

    def sample_moments(self, posterior: Moments) -> Moments:
        """Returns the moments of the SOI at each sample, [B, T]."""
        batch = len(posterior.mean)
        near = posterior.mean[:, self._columns].transpose(2, 3)  # [B, K, 2, c]
        mean = (near @ self.pulses.T).transpose(2, 3).reshape(batch, -1, 2)
        spread = posterior.covariance.flatten(1)[:, self._index].view(batch, self.num_periods, -1, 4)
        covariance = (spread.transpose(2, 3) @ self._outer.T).transpose(2, 3).reshape(batch, -1, 2, 2)
        return Moments(mean[:, : self.num_samples], covariance[:, : self.num_samples])

    def tilted(self, cavities: Moments) -> Moments:
        """Returns the moments of symbols from the constellation, given Gaussian evidence [B, S]."""
        precision = inverse_pairs(cavities.covariance)
        apart = self.points - cavities.mean[..., None, :]  # [B, S, Q, 2]
        distance = ((apart @ precision) * apart).sum(-1)  # [B, S, Q]
        weight = torch.softmax(-distance / 2, -1) * self.exists[:, None]
        mean = weight @ self.points  # [B, S, 2]
        apart = self.points - mean[..., None, :]
        covariance = (apart * weight[..., None]).mT @ apart
        return Moments(mean, covariance + _LEAST_VARIANCE * torch.eye(2, dtype=torch.float64))

    def updated(self, sites: Information, evidence: Moments, damping: float) -> Information:
        """Moves sites [B, S] towards those that make the Gaussian moments equal the tilted ones."""
        tilted = self.tilted(evidence)
        mine, theirs = inverse_pairs(tilted.covariance), inverse_pairs(evidence.covariance)
        precision = mine - theirs
        shift = (mine @ tilted.mean[..., None] - theirs @ evidence.mean[..., None])[..., 0]
        determinant = precision[..., 0, 0] * precision[..., 1, 1] - precision[..., 0, 1].square()
        trace = precision[..., 0, 0] + precision[..., 1, 1]
        fits = (determinant > 0) & (trace > _LEAST_PRECISION) & self.exists
        return Information(
            torch.where(fits[..., None, None], torch.lerp(sites.precision, precision, damping), sites.precision),
            torch.where(fits[..., None], torch.lerp(sites.shift, shift, damping), sites.shift),
        )

    def waveform(self, mean: Tensor) -> Tensor:
        """Returns the SOI complex64 [B, T] of symbols float64 [B, S, 2]."""
        near = mean[:, self._columns].transpose(2, 3)  # [B, K, 2, c]
        samples = (near @ self.pulses.T).transpose(2, 3).reshape(len(mean), -1, 2)[:, : self.num_samples]
        return torch.view_as_complex(samples.contiguous()).to(torch.complex64)
