"""Chooses the likeliest model of detected windows, and gives the SOI's symbols as that model has them."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.expectation_propagation import Detector, State
from rfsep.separators.inference.gaussian import Unbiased
from rfsep.separators.inference.grid import Window
from rfsep.separators.inference.model_evidence import judged, of_decisions
from rfsep.separators.inference.rivals import Rank, Rivals, Verdict
from rfsep.separators.inference.rows import put_rows, rows_of
from rfsep.separators.inference.synchronise import Synchronised, Synchroniser
from rfsep.separators.inference.turns import unit


class Detection(NamedTuple):
    """Windows and what was detected in them.

    Attributes:
        mixture: complex64 [B, T].
        at: their timing, gain and noise.
        window: their constants.
        state: what was detected.
        noise_power: real [B], that detection assumed.
        misfit: real [B, K], of the decisions.
    """

    mixture: Tensor
    at: Synchronised
    window: Window
    state: State
    noise_power: Tensor
    misfit: Tensor


class Found(NamedTuple):
    """The SOI in windows.

    Attributes:
        symbols: complex [B, 2, S], posterior means with the SOI's residual phase, and without.
        soft: the symbols in noise, without their own prior, [B, S]; [B, 0] unless they are asked for.
        rank: `Rank` int64 [B] of the likeliest model.
        soi_offset: int64 [B].
    """

    symbols: Tensor
    soft: Unbiased
    rank: Tensor
    soi_offset: Tensor


def chosen(
    detector: Detector, synchroniser: Synchroniser, rivals: Rivals, done: Detection, known: bool, soft: bool
) -> Found:
    """Returns the SOI's symbols as the likeliest model has them.

    Args:
        detector: of the windows.
        synchroniser: which found their timing with the cyclic model.
        rivals: simpler models.
        done: the windows.
        known: whether the noise power is the true one.
        soft: whether the symbols in noise are asked for.
    """
    mixture, at, window, state, noise, misfit = done
    evidence = of_decisions(detector, window, state, misfit, noise, known)
    symbols = torch.stack((state.soi.mean, state.soi.mean * unit(-state.turns.soi)), 1).to(torch.complex128)
    cyclic, most = symbols[:, 0].clone(), evidence.clone()
    bound = synchroniser.model.log_likelihood_bound(at.interference_offset, at.gain, noise.double())
    if len(rows := (bound > evidence).nonzero()[:, 0]):
        held = rows_of(at, rows)
        reduced = synchroniser.model.reduce(mixture[rows], held.soi_offset, held.interference_offset)
        solved = synchroniser.model.solve(reduced, held.gain, noise[rows].double())  # Both have the same noise.
        most[rows] = torch.maximum(most[rows], solved.log_likelihood)
        cyclic[rows] = solved.symbols
    verdict = rivals(synchroniser, mixture, at, Rank.DETECTED, most)
    # The whole evidence is dear. It matters only where that of the decisions does not win.
    doubt = torch.arange(len(mixture)) if soft else (evidence < verdict.log_likelihood).nonzero()[:, 0]
    left = torch.ones_like(evidence)  # noise that the symbols leave, relative to the assumed one
    if len(doubt):
        own = judged(detector, rows_of(window, doubt), rows_of(state, doubt), noise[doubt], known)
        evidence[doubt] = torch.maximum(own.log_evidence, evidence[doubt])
        left[doubt] = (own.noise_power / noise[doubt]).clamp_min(1)
    wins = evidence >= verdict.log_likelihood
    rank = torch.where(wins, int(Rank.DETECTED), verdict.rank.clamp_min(int(Rank.CYCLIC)))
    rows = (rank == Rank.CYCLIC).nonzero()[:, 0]
    symbols[rows] = cyclic[rows, None]
    found = Found(symbols, Unbiased(symbols[:, 0, :0], left[:, None][:, :0]), rank, at.soi_offset)
    return found._replace(soft=_soft(synchroniser, rivals, done, verdict, rank, left)) if soft else found


def _soft(
    synchroniser: Synchroniser, rivals: Rivals, done: Detection, verdict: Verdict, rank: Tensor, left: Tensor
) -> Unbiased:
    """The symbols in noise as the models of ranks int64 [B] have them."""
    state, model = done.state, synchroniser.model
    mean = (state.soi_cavity.mean * unit(-state.turns.soi)).to(torch.complex128)
    soft = Unbiased(mean, state.soi_cavity.variance.double() * left[:, None])
    if len(rows := (rank == Rank.CYCLIC).nonzero()[:, 0]):
        at = rows_of(done.at, rows)
        reduced = model.reduce(done.mixture[rows], at.soi_offset, at.interference_offset)
        put_rows(soft, rows, model.unbiased(reduced, at.gain, at.noise_power))
    if len(rows := (rank > Rank.CYCLIC).nonzero()[:, 0]):
        put_rows(soft, rows, rivals.unbiased(synchroniser, done.mixture, done.at, verdict, rows))
    return soft
