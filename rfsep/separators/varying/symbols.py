"""The SOI's symbols in interference whose covariance differs from sample to sample and may be improper.

Every sample brings information exp(-x' W x / 2 + h' x) on the SOI x = (Re, Im) at that sample, with its own real 2 x 2
precision W: where the interference lies on a line of the complex plane, the part across it is free of interference
(widely linear estimation: Picinbono & Chevalier, IEEE Trans. Signal Process. 43(8), 1995). The real and imaginary parts
of the symbols are therefore estimated together, as 2 S real unknowns. Their information matrix is banded, because a
pulse spans only a few symbols.
"""

from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.grid import ABSENT
from rfsep.separators.inference.tridiagonal import back_solve, factorise, half_solve, inverse_band
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem

_CONTEXT = 8  # symbol periods on each side that may reach a period
_NEGLIGIBLE = 1e-12  # A period with a smaller share of a pulse's energy is not reached by it.
_LEAST_PRECISION = 1e-6
_LEAST_VARIANCE = 1e-7
_DAMPING = 0.5


class Information(NamedTuple):
    """Information on N pairs of real unknowns: precisions float64 [B, N, 2, 2] and shifts float64 [B, N, 2]."""

    precision: Tensor
    shift: Tensor


class Moments(NamedTuple):
    """Means float64 [B, N, 2] and covariances float64 [B, N, 2, 2] of N pairs of real unknowns."""

    mean: Tensor
    covariance: Tensor


class Detected(NamedTuple):
    """Symbols after some updates of their sites.

    Attributes:
        posterior: Gaussian posterior of the symbols, see `SymbolField.solve`.
        sites: [B, S], Gaussian stand-ins for the discrete prior.
        evidence: [B, S], of all but a symbol's own prior.
    """

    posterior: Moments
    sites: Information
    evidence: Moments


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
        modem: the SOI's modem.
        num_samples: samples T per window.
        begins: whether the SOI begins with the window; otherwise earlier symbols reach into it.
        ends: whether the SOI ends with the window.
        lengthened: samples by which a filter may lengthen the pulses, see `filtered`.

    Attributes:
        num_periods: symbol periods K; the last may lie partly outside.
        num_symbols: symbols S that reach into the window, including those that do not exist at its ends.
        exists: bool [S].
    """

    def __init__(self, modem: Modem, num_samples: int, *, begins: bool, ends: bool, lengthened: int = 0) -> None:
        self.num_samples, self.period = num_samples, modem.symbol_period
        self.num_periods = -(-num_samples // self.period)
        before, self._pulses = _pulses(modem, -(-lengthened // self.period))  # [c, d, P]
        width, density = self._pulses.shape[:2]
        self.num_symbols = (self.num_periods + width - 1) * density
        # Periods whose symbols do not overlap are solved one by one.
        self._rows = self.num_periods if width == 1 else 1
        self._bandwidth = 2 * width * density - 1
        self._response = _real(self._pulses.flatten(0, 1).T)[None, None]  # [1, 1, P, 2, 2 c d], or one a row
        place = torch.arange(self.num_symbols) - before * density
        existing = modem.analyse(torch.zeros((1, num_samples), dtype=torch.complex64)).shape[1]
        self.exists = ((place >= 0) | (not begins)) & ((place < existing) | (not ends))
        self._points = torch.view_as_real(modem.constellation.to(torch.complex128)).clone()  # [Q, 2]
        self._columns = density * torch.arange(self.num_periods)[:, None] + torch.arange(width * density)  # [K, c d]
        pair = (2 * self._columns[..., None] + torch.arange(2)).flatten(1)  # [K, 2 c d]
        unknowns = 2 * self.num_symbols // self._rows
        self._index = (
            (pair[:, :, None] * unknowns) + pair[:, None] % unknowns
        ).flatten()  # place of each entry of a Gram matrix

    def filtered(self, taps: Tensor) -> "SymbolField":
        """Returns the symbols of this SOI after causal filters, one for each row of a batch.

        Args:
            taps: complex128 [B, n], with at most ``lengthened + 1`` taps.
        """
        width, density, period = self._pulses.shape
        # Periods in the order of a symbol's own time, so that a filter runs on from one to the next.
        whole = self._pulses.flip(0).transpose(0, 1).reshape(density, width * period)
        late = torch.nn.functional.pad(whole, (taps.shape[1] - 1, 0)).unfold(1, taps.shape[1], 1).flip(2)
        run = (late @ taps.T).permute(2, 0, 1).reshape(len(taps), density, width, period)  # [B, d, c, P]
        pulses = run.flip(2).permute(0, 3, 2, 1).flatten(2)  # [B, P, c d]
        found = copy(self)
        found._response = torch.stack([_real(row) for row in pulses])[:, None]
        return found

    def prior(self, batch_size: int) -> Information:
        """Returns the Gaussian prior of the symbols as information [B, S]."""
        second = self._points.T @ self._points / len(self._points)
        identity = torch.eye(2, dtype=torch.float64)
        weight = torch.linalg.inv(second + _LEAST_VARIANCE * identity)
        precision = torch.where(self.exists[:, None, None], weight, ABSENT * identity)
        shape = (batch_size, self.num_symbols, 2)
        return Information(precision.expand(*shape, 2).clone(), torch.zeros(shape, dtype=torch.float64))

    def _by_period(self, values: Tensor) -> Tensor:
        """Cuts values [B, T, n] into periods, zero beyond the end: [B, K, P, n]."""
        missing = self.num_periods * self.period - self.num_samples
        return torch.nn.functional.pad(values, (0, 0, 0, missing)).reshape(
            len(values), self.num_periods, self.period, -1
        )

    def solve(self, samples: Information, symbols: Information) -> Moments:
        """Returns the Gaussian posterior of the symbols, with covariances of neighbours [B * rows, n, n].

        Args:
            samples: information on the SOI at each sample, [B, T].
            symbols: information of the symbols' priors or sites, [B, S].
        """
        batch, response = len(samples.shift), self._response.flatten(2, 3)  # [., 1, 2 P, 2 c d]
        weights = self._by_period(samples.precision.flatten(2)).reshape(batch, self.num_periods, self.period, 2, 2)
        grams = response.mT @ (weights @ self._response).flatten(2, 3)  # [B, K, 2 c d, 2 c d]
        unknowns = 2 * self.num_symbols // self._rows
        matrix = grams.new_zeros((batch, self._rows * unknowns * unknowns))
        matrix.index_add_(1, self._index, grams.flatten(1))
        matrix = matrix.reshape(-1, unknowns, unknowns)
        moment = (self._by_period(samples.shift).flatten(2)[:, :, None] @ response)[:, :, 0]  # [B, K, 2 c d]
        total = symbols.shift.clone().index_add_(1, self._columns.flatten(), moment.reshape(batch, -1, 2))
        pairs = matrix.view(len(matrix), unknowns // 2, 2, unknowns // 2, 2).diagonal(dim1=1, dim2=3)
        pairs += symbols.precision.reshape(len(matrix), -1, 2, 2).permute(0, 2, 3, 1)
        factor = factorise(matrix, self._bandwidth)
        mean = back_solve(factor, half_solve(factor, total.reshape(len(matrix), -1)))
        return Moments(mean.reshape(batch, -1, 2), inverse_band(factor))

    def symbol_moments(self, posterior: Moments) -> Moments:
        """Returns the moments of single symbols, [B, S]."""
        rows, size = posterior.covariance.shape[:2]
        blocks = posterior.covariance.view(rows, size // 2, 2, size // 2, 2).diagonal(dim1=1, dim2=3)  # [., 2, 2, S]
        return Moments(posterior.mean, blocks.permute(0, 3, 1, 2).reshape(*posterior.mean.shape, 2))

    def sample_moments(self, posterior: Moments) -> Moments:
        """Returns the moments of the SOI at each sample, [B, T]."""
        batch, count = len(posterior.mean), self._response.shape[-1]
        spread = posterior.covariance.reshape(batch, -1)[:, self._index].view(batch, self.num_periods, count, count)
        across = (self._response.flatten(2, 3) @ spread).reshape(batch, self.num_periods, self.period, 2, count)
        covariance = (across @ self._response.mT).reshape(batch, -1, 2, 2)
        return Moments(self.samples(posterior.mean), covariance[:, : self.num_samples])

    def samples(self, mean: Tensor) -> Tensor:
        """The SOI float64 [B, T, 2] of symbols float64 [B, S, 2]."""
        near = mean[:, self._columns].flatten(2)  # [B, K, 2 c d]
        samples = (self._response.flatten(2, 3) @ near[..., None])[..., 0]  # [B, K, 2 P]
        return samples.reshape(len(mean), -1, 2)[:, : self.num_samples]

    def tilted(self, cavities: Moments) -> Moments:
        """Returns the moments of symbols from the constellation, given Gaussian evidence [B, S]."""
        precision = inverse_pairs(cavities.covariance)
        apart = self._points - cavities.mean[..., None, :]  # [B, S, Q, 2]
        distance = ((apart @ precision) * apart).sum(-1)  # [B, S, Q]
        weight = torch.softmax(-distance / 2, -1) * self.exists[:, None]
        mean = weight @ self._points  # [B, S, 2]
        apart = self._points - mean[..., None, :]
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
        return torch.view_as_complex(self.samples(mean).contiguous()).to(torch.complex64)


def detected(field: SymbolField, samples: Information, sites: Information, updates: int) -> Detected:
    """Detects symbols by expectation propagation, from sites of an earlier round on.

    Args:
        field: of the symbols.
        samples: information on the SOI at each sample, [B, T].
        sites: [B, S].
        updates: of the sites.
    """
    posterior = field.solve(samples, sites)
    evidence = cavity(field.symbol_moments(posterior), sites)
    for _ in range(updates):
        sites = field.updated(sites, evidence, _DAMPING)
        posterior = field.solve(samples, sites)
        evidence = cavity(field.symbol_moments(posterior), sites)
    return Detected(posterior, sites, evidence)


def _pulses(modem: Modem, later: int) -> tuple[int, Tensor]:
    """Returns how many periods a symbol reaches forward, and the pulses in one period.

    Args:
        modem: the SOI's modem.
        later: periods by which the reach forward is lengthened.

    Returns:
        periods b, and pulses complex128 [c, d, P] of the d symbols of each of the c periods that reach into one, from
        the b-th before it on.
    """
    period, context = modem.symbol_period, _CONTEXT + later
    waveforms = modem_waveforms(modem, (2 * context + 1) * period, 0).to(torch.complex128)
    density = len(waveforms) // (2 * context + 1)
    central = waveforms[context * density : (context + 1) * density].reshape(density, -1, period)
    energy = central.abs().square().sum((0, 2))
    reached = (energy > _NEGLIGIBLE * energy.sum()).nonzero()[:, 0] - context
    before, behind = int(reached.max()) + later, int(-reached.min())
    chosen = context + before - torch.arange(before + behind + 1)
    return before, central[:, chosen].transpose(0, 1)


def _real(pulses: Tensor) -> Tensor:
    """Real and imaginary parts of a waveform from those of its symbols: complex [P, n] to float64 [P, 2, 2 n]."""
    real, imaginary = pulses.real, pulses.imag
    parts = torch.stack((torch.stack((real, -imaginary), -1), torch.stack((imaginary, real), -1)), 1)
    return parts.flatten(2).contiguous()
