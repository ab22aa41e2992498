"""Decides the constellation of data symbols with unknown phase and noise level."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.signals.constellations import constellation

CANDIDATES = ("qpsk", "qam16", "qam64")  # BPSK has the magnitudes of QPSK
_SNR_DB = torch.arange(2.0, 46.0, 2.0)
_LEAST_SNR_DB = (6.0, 12.0, 18.0)  # At a lower SNR the points of each candidate run together and look Gaussian.
_MAX_SYMBOLS = 6000
_GOOD_FIT, _BAD_FIT = 0.02, 0.08  # Wasserstein distances of a perfect and a useless fit


class Constellation(NamedTuple):
    """The constellation of some symbols.

    Attributes:
        name: bpsk, qpsk, qam16, qam64, or None if Gaussian symbols fit as well.
        confidence: posterior probability among the three alphabets of magnitudes and Gaussian symbols, times the
            goodness of the fit: 1 up to a Wasserstein distance of 0.02 between magnitudes, 0 from 0.08 on.
        snr_db: SNR of the fit.
        symmetry: number of turns that map the points onto themselves.
    """

    name: str | None
    confidence: float
    snr_db: float
    symmetry: int


def _rings(name: str) -> tuple[Tensor, Tensor]:
    """Returns the magnitudes of a constellation and their shares."""
    radii, counts = torch.unique((constellation(name).abs() * 1e4).round() / 1e4, return_counts=True)
    return radii, counts / counts.sum()


def _log_density(magnitudes: Tensor, name: str, noise: Tensor) -> Tensor:
    """Returns the log density of magnitudes [S] of unit-power symbols for shares of noise [N]: float32 [N, S].

    Magnitudes of a point in circular Gaussian noise follow Rice's distribution.
    """
    radii, shares = _rings(name)
    noise = noise[:, None, None]
    radii = radii[None, :, None] * (1 - noise).sqrt()
    argument = 2 * magnitudes * radii / noise  # [N, rings, S]
    log_rice = (2 * magnitudes / noise).log() - (magnitudes - radii).square() / noise
    log_rice = log_rice + torch.special.i0e(argument).log()
    return torch.logsumexp(log_rice + shares.log()[None, :, None], 1)


def _distance(magnitudes: Tensor, name: str, noise: Tensor) -> float:
    """Returns the Wasserstein distance of magnitudes [S] from the fitted model, the area between distributions."""
    grid = torch.linspace(1e-3, 3.5, 3500)
    model = _log_density(grid, name, noise[None])[0].exp().cumsum(0)
    observed = torch.searchsorted(magnitudes.sort().values, grid) / len(magnitudes)
    return float((model / model[-1] - observed).abs().sum() * (grid[1] - grid[0]))


def decide_constellation(symbols: Tensor, valid: Tensor) -> Constellation:
    """Decides the constellation of symbols at unknown phases.

    Magnitudes tell QPSK, 16-QAM and 64-QAM apart by their likelihood over all noise levels. The squared step from one
    symbol to the next tells BPSK and QPSK apart; a constant phase and a carrier offset only turn it.

    Args:
        symbols: complex64 [F, K, D], D streams of K symbols in each of F frames, unit power where valid.
        valid: bool [F, K], which symbols are on the air.
    """
    magnitudes = symbols[valid].flatten().abs().clamp(min=1e-3)
    nothing = Constellation(None, 0.0, -math.inf, 4)
    if len(magnitudes) < 50:
        return nothing
    stride = -(-len(magnitudes) // _MAX_SYMBOLS)
    magnitudes = magnitudes[::stride]
    noise = 10 ** (-_SNR_DB / 10)
    evidence = {name: _log_density(magnitudes, name, noise).sum(1) for name in CANDIDATES}  # [N] each
    gaussian = float((magnitudes.log() + math.log(2) - magnitudes.square()).sum())
    totals = [float(torch.logsumexp(values, 0)) - math.log(len(noise)) for values in evidence.values()]
    posterior = torch.softmax(torch.tensor([*totals, gaussian], dtype=torch.float64), 0)
    best = int(posterior.argmax())
    if best == len(CANDIDATES):
        return nothing
    name = CANDIDATES[best]
    level = int(evidence[name].argmax())
    if _SNR_DB[level] < _LEAST_SNR_DB[best]:
        return nothing
    misfit = _distance(magnitudes, name, noise[level])
    goodness = min(1.0, max(0.0, (_BAD_FIT - misfit) / (_BAD_FIT - _GOOD_FIT)))
    second, fourth = (step_moment(symbols, valid, order) for order in (2, 4))
    if name == "qpsk" and second.abs().mean() > 0.5 * fourth.abs().mean():
        name = "bpsk"
    symmetry = 2 if name == "bpsk" else 4
    return Constellation(name, float(posterior[best]) * goodness, float(_SNR_DB[level]), symmetry)


def step_moment(symbols: Tensor, valid: Tensor, order: int) -> Tensor:
    """Returns the mean unit step from symbol to symbol, to the power of ``order``: complex64 [F]; shapes as above."""
    steps = symbols[:, 1:] * symbols[:, :-1].conj()
    both = (valid[:, 1:] & valid[:, :-1])[:, :, None]
    units = torch.where(both, (steps / steps.abs().clamp(min=1e-12)) ** order, 0)
    return units.sum((1, 2)) / (both.sum((1, 2)) * symbols.shape[2]).clamp(min=1)
