"""The curvature of alpha-RGS's objective over the SOI's symbols, for Newton steps.

Most of a narrow SOI lies in the subspace of the interference. Along these directions the mixture says little, the
gradient is small, and plain descent takes thousands of steps. The curvature is nearly diagonal in the eigenbasis of the
SOI's Gram matrix outside the interference's subspace, which is computed once per window.
"""

from functools import lru_cache

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.grid import Blocks, SoiGrid, scattered_matrix
from rfsep.separators.score_based.ofdm_prior import OfdmPrior
from rfsep.signals.constellations import demap, posterior_mean_and_variance
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import InputError, Modem

_DRAWS = 4096  # noise draws that a constellation's uncertainty is averaged over
_CONTEXT = 12  # symbol periods on each side of a pulse
_LEAST_VARIANCE = 1e-6  # least variance of a symbol


class Curvature:
    """The curvature in windows whose SOI begins and ends with them.

    Args:
        grid: SOI symbols against the interference's symbols.
        blocks: the windows, cut on that grid.
        prior: the interference's prior, with a variance outside its subspace.
        constellations: those of SOI and interference, complex64 [P] each.
        omega: the alpha-posterior's weight over kappa^2.
    """

    def __init__(
        self,
        grid: SoiGrid,
        blocks: Blocks,
        prior: OfdmPrior,
        constellations: tuple[Tensor, Tensor],
        omega: float,
    ) -> None:
        self.constellations = constellations
        self.omega = omega
        if prior.outside is None:
            raise InputError(
                "the prior's room outside its subspace is the smoothing noise; its curvature changes with it"
            )
        gram = prior.outside_gram(grid.pulses, blocks.phase)
        every = scattered_matrix(gram, blocks.columns, grid.num_symbols)
        there = grid.exists(torch.zeros(1, dtype=torch.int64))[0]
        energy = symbol_energy(grid.modem)
        values, vectors = torch.linalg.eigh(every[:, there][:, :, there] / energy)
        self._outside = values.clamp(0, 1).float()  # share of each direction outside the interference's subspace
        self._vectors = vectors.to(torch.complex64)
        self._room = prior.outside[:, None]

    def _along(self, ratio: float) -> Tensor:
        """Returns the curvature float32 [B, S] in the eigenbasis, in units of ``1 / ratio^2``."""
        own, other = (_relative_curvature(points, ratio) for points in self.constellations)
        along: Tensor = own + self.omega * (self._outside * ratio**2 / self._room + other * (1 - self._outside))
        return along

    def newton(self, gradient: Tensor, ratio: float) -> Tensor:
        """Divides a gradient complex64 [B, S] by the curvature, in units of ``1 / ratio^2``.

        Args:
            gradient: with respect to the SOI's symbols.
            ratio: smoothing noise relative to the signals, in amplitude.
        """
        along = (self._vectors.mH @ gradient[:, :, None])[:, :, 0] / self._along(ratio)
        step: Tensor = (self._vectors @ along[:, :, None])[:, :, 0]
        return step

    def soft_bits(self, symbols: Tensor, ratio: float) -> Tensor:
        """Returns log-likelihood ratios float32 [B, S * bits] of symbols complex64 [B, S] at the minimum.

        They come from the mixture alone. The prior's part is removed from the Gaussian of this curvature, symbol by
        symbol, as expectation propagation removes a site from a marginal.
        """
        own = _relative_curvature(self.constellations[0], ratio) / ratio**2
        variance = (self._vectors.abs().square() @ (ratio**2 / self._along(ratio))[:, :, None])[:, :, 0]
        mean = posterior_mean_and_variance(symbols, self.constellations[0], ratio**2)[0]
        precision = (1 / variance.clamp_min(_LEAST_VARIANCE) - own).clamp_min(1e-3)
        return demap((symbols / variance - own * mean) / precision, self.constellations[0], 1 / precision)


def symbol_energy(modem: Modem) -> float:
    """Returns the energy of a unit-power symbol's waveform away from a signal's ends."""
    waveforms = modem_waveforms(modem, (2 * _CONTEXT + 1) * modem.symbol_period, 0)
    return float(squared(waveforms).sum(1).max())


@lru_cache(maxsize=4096)
def _uncertainty(points: tuple[complex, ...], ratio: float) -> float:
    """Returns the mean variance of a symbol seen in noise of ``ratio^2``, averaged over fixed draws."""
    generator = torch.Generator().manual_seed(0)
    constellation = torch.tensor(points)
    noise = ratio * torch.randn((len(points), _DRAWS), dtype=torch.complex64, generator=generator)
    return float(posterior_mean_and_variance(constellation[:, None] + noise, constellation, ratio**2)[1].mean())


def _relative_curvature(points: Tensor, ratio: float) -> float:
    """Returns the mean curvature of -log p of a smoothed constellation, in units of ``1 / ratio^2``.

    It is 1 if the symbol is decided, by d mean / d symbol = variance / ratio^2 (Tweedie). Where the density is not
    convex on average, a Gaussian's curvature replaces it.
    """
    decided = 1 - _uncertainty(tuple(points.tolist()), ratio) / ratio**2
    return max(decided, ratio**2 / (1 + ratio**2))
