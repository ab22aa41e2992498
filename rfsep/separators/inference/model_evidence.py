"""What speaks for a model of a mixture: the log likelihood of its samples, with all symbols integrated out.

The models are held against one another on the same samples. Detection has the evidence of expectation propagation,
with the noise that its decisions leave: decisions that are wrong leave much, and cost as much as their noise.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.ends import OUTER_BLOCKS
from rfsep.separators.inference.expectation_propagation import (
    Detector,
    Marginals,
    Sites,
    State,
    cavity_of,
)
from rfsep.separators.inference.grid import ABSENT, Window
from rfsep.separators.inference.turns import unit

_EDGE_SAMPLES = 10  # Symbols of a block with fewer samples in the window cannot be told apart.
_EDGE_GAIN = 4.0  # Below this interference power the SOI survives an undecided edge.


class Judged(NamedTuple):
    """Detection judged by what it leaves.

    Attributes:
        log_evidence: float64 [B], log p(y) of windows, without the constant -T log pi.
        noise_power: float64 [B], that the symbols leave.
    """

    log_evidence: Tensor
    noise_power: Tensor


def judged(detector: Detector, window: Window, state: State, noise_power: Tensor, known: bool) -> Judged:
    """Judges detected windows.

    The evidence of expectation propagation is that of the Gaussian model whose priors are the sites, times the factor
    of each symbol by which its prior differs from its site under the cavity (Minka, UAI 2001, eq. 20; Rasmussen &
    Williams, Gaussian Processes for Machine Learning, 2006, eq. 3.65). The noise power is one step of expectation
    maximisation from the power that detection assumed.

    Args:
        detector: of the windows.
        window: their constants.
        state: what was detected.
        noise_power: real [B], that detection assumed.
        known: whether that is the true power.
    """
    soi, carriers, _ = detector.marginals(window, state.soi_sites, state.carrier_sites, state.gain, noise_power)
    left = detector.residuals(window, soi.mean, carriers.mean, state.gain) * window.inside.sum(2)
    free = _free(soi, state.soi_sites, window.exists) + _free(carriers, state.carrier_sites, None)
    count = window.inside.sum((1, 2))
    noise = (left.sum(1) + noise_power * free) / count
    noise = noise_power if known else noise
    scale = squared(state.gain) / noise
    soi, carriers, log_det = detector.marginals(window, state.soi_sites, state.carrier_sites, state.gain, noise)
    left = (detector.residuals(window, soi.mean, carriers.mean, state.gain) * window.inside.sum(2)).sum(1)
    log_det = log_det + detector.blocks.log_determinant(window, state.carrier_sites.precision, scale)
    log_det = log_det - (~window.exists).sum(1) * torch.tensor(ABSENT, dtype=log_det.dtype).log()
    quadratic = -left / noise + _prior(soi, state.soi_sites) + _prior(carriers, state.carrier_sites)
    cavity, carrier_cavity = cavity_of(soi, state.soi_sites), cavity_of(carriers, state.carrier_sites)
    own = Marginals(cavity.mean * unit(-state.turns.soi), cavity.variance)
    turn = detector.turn(state.turns.slopes).conj()
    theirs = Marginals(carrier_cavity.mean * turn, carrier_cavity.variance)
    factors = (_log_tilted(own, detector.soi_points) - _log_site(cavity, state.soi_sites)) * window.exists
    others = detector.kinds.log_evidence(*theirs) - _log_site(carrier_cavity, state.carrier_sites).sum(2)
    evidence = quadratic - log_det - count * noise.log() + factors.sum(1) + others.sum(1)
    return Judged(evidence.double(), noise.double())


def of_decisions(
    detector: Detector, window: Window, state: State, misfit: Tensor, noise_power: Tensor, known: bool
) -> Tensor:
    """Returns log p(y, decided symbols), float64 [B], at the likeliest noise power.

    Propagation that has not settled on a few symbols has no evidence to speak of where there is hardly any noise. Its
    decisions may be right all the same. At one noise power this is a lower bound of the evidence, tight where they are
    right. Where there are blocks between them, the outermost blocks, whose symbols begin or end outside the window,
    have each the noise that their own decisions leave: an end that was not decided says nothing against the others.

    Args:
        detector: of the windows.
        window: their constants.
        state: what was detected.
        misfit: of the decisions, [B, K], see `misfits`; it may be smaller than that of ``state``, where an end was
            detected again.
        noise_power: real [B], that detection assumed.
        known: whether that is the true power.
    """
    soi, carriers = detector.decided(state)
    seen, residual = window.inside.sum(2), detector.residuals(window, soi * window.exists, carriers, state.gain)
    misfit = torch.where(misfit > 0, misfit, residual / noise_power[:, None])  # [B, K]
    place, count = torch.arange(seen.shape[1]), (seen > 0).sum(1, True)  # Empty blocks come last.
    ends = ((place < OUTER_BLOCKS) | (place >= count - OUTER_BLOCKS)) & (count > 2 * OUTER_BLOCKS)  # [B, K]
    within = (misfit * seen * ~ends).sum(1) / (seen * ~ends).sum(1).clamp_min(1)
    noise = torch.ones_like(within) if known else within.clamp_min(1)  # relative to the assumed one
    noise = torch.where(ends, misfit.clamp_min(1), noise[:, None])  # [B, K]
    log_likelihood = -(seen * (misfit / noise + noise.log())).sum(1) - seen.sum(1) * noise_power.log()
    points = detector.kinds.points
    each = carriers.shape[2] * math.log(max(one.shape[1] for one in points)) + math.log(len(points))
    prior = window.exists.sum(1) * math.log(len(detector.soi_points)) + carriers.shape[1] * each
    return (log_likelihood - prior).double()


def misfits(detector: Detector, window: Window, state: State, noise: Tensor) -> Tensor:
    """Returns what the decisions leave of each block, relative to the noise, real [B, K]; 0 where it does not matter.

    Args:
        detector: of the windows.
        window: their constants.
        state: what was detected.
        noise: power, real [B].
    """
    soi, carriers = detector.decided(state)
    residual = detector.residuals(window, soi * window.exists, carriers, state.gain) / noise[:, None]
    seen = window.inside.sum(2)
    strong = squared(state.gain)[:, None] > _EDGE_GAIN
    return residual * ((seen == detector.grid.period) | ((seen >= _EDGE_SAMPLES) & strong))


def badness(misfit: Tensor) -> Tensor:
    """Rates how badly all blocks fit, real [B]; one unexplained block does not dominate the others."""
    return misfit.clamp_min(1.0).log().sum(1)


def _free(found: Marginals, sites: Sites, exists: Tensor | None) -> Tensor:
    """Counts the directions [B] that the samples decide, not the sites."""
    share = (1 - sites.precision * found.variance).clamp(0, 1)
    return (share if exists is None else share * exists).flatten(1).sum(1)


def _prior(found: Marginals, sites: Sites) -> Tensor:
    """Returns the sites' exponent [B] at the means."""
    exponent = 2 * (sites.shift.conj() * found.mean).real - sites.precision * squared(found.mean)
    return exponent.flatten(1).sum(1)


def _log_tilted(cavity: Marginals, points: Tensor) -> Tensor:
    """Returns log E of the discrete prior under the cavity, real [B, ...], without -log pi."""
    distance = squared(cavity.mean[..., None] - points) / cavity.variance[..., None]
    found: Tensor = torch.logsumexp(-distance, -1) - cavity.variance.log() - torch.tensor(float(len(points))).log()
    return found


def _log_site(cavity: Marginals, sites: Sites) -> Tensor:
    """Returns log E of the site under the cavity, real [B, ...]."""
    total = 1 / cavity.variance + sites.precision
    both = squared(cavity.mean / cavity.variance + sites.shift) / total
    return both - squared(cavity.mean) / cavity.variance - (1 + sites.precision * cavity.variance).log()
