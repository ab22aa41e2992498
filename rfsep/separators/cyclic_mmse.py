"""The exact MMSE estimate of Gaussian signals with unknown timing and level, a mixture of linear estimates."""

import torch
from torch import Tensor

from rfsep.separators.inference.gaussian import Reduced
from rfsep.separators.inference.interference import Setup
from rfsep.separators.inference.synchronise import Synchronised

_NEGLIGIBLE = 15.0  # Timings this many nats below the likeliest are left out: they have 3e-7 of its weight.
_GAIN_NODES_DB = (
    -0.45,
    -0.3,
    -0.15,
    0.0,
    0.15,
    0.3,
    0.45,
)  # gains around the likeliest, whose standard deviation is about 0.15 dB


class _Average:
    """Running posterior mixture: log of the largest weight [B], sum of weights [B], weighted estimates [B, T]."""

    def __init__(self, batch_size: int, num_samples: int) -> None:
        self.peak = torch.full((batch_size,), -torch.inf, dtype=torch.float64)
        self.total = torch.zeros(batch_size, dtype=torch.float64)
        self.estimate = torch.zeros((batch_size, num_samples), dtype=torch.complex128)

    def add(self, rows: Tensor, weight: Tensor, estimate: Tensor) -> None:
        """Adds estimates [n, T] with log weights [n] to rows int64 [n], each row at most once."""
        peak = torch.maximum(self.peak[rows], weight)
        old, new = (self.peak[rows] - peak).exp(), (weight - peak).exp()
        self.peak[rows] = peak
        self.total[rows] = self.total[rows] * old + new
        self.estimate[rows] = self.estimate[rows] * old[:, None] + estimate * new[:, None]


def _average_over_gain(setup: Setup, average: _Average, rows: Tensor, at: Synchronised, reduced: Reduced) -> None:
    """Adds the estimates of one timing per row, at gains around the likeliest."""
    at = setup.synchroniser.refine(reduced, at)
    for node_db in _GAIN_NODES_DB:
        solved = setup.model.solve(reduced, at.gain * 10 ** (node_db / 10), at.noise_power)
        average.add(rows, solved.log_likelihood, setup.grid.synthesise(solved.symbols, at.soi_offset))


def posterior_mean(setup: Setup, windows: Tensor, best: Synchronised) -> Tensor:
    """Returns E[s | y] = sum over timings and gains of p(timing, gain | y) E[s | y, timing, gain].

    Lee, Weiss, Lancho, Tang, Bu, Polyanskiy & Wornell, "Exploiting temporal structures of cyclostationary signals for
    data-driven single-channel source separation" (MLSP 2022), the MMSE estimator of section 3, without the factor 1/2
    in its published exponent: circular Gaussians have weights exp(-y^H C^-1 y - log det C). Timings more than 15 nats
    below the likeliest are left out.

    Args:
        setup: for the windows' length.
        windows: complex64 [B, T].
        best: the likeliest timing, gain and noise.

    Returns:
        complex64 [B, T].
    """
    candidates = setup.synchroniser.candidates(windows, best)
    likelihood = torch.stack([one.log_likelihood for one in candidates], 1)  # [B, n]
    plausible = likelihood > likelihood.amax(1, keepdim=True) - _NEGLIGIBLE
    average = _Average(*windows.shape)
    for one, column in zip(candidates, plausible.T, strict=True):
        rows = column.nonzero()[:, 0]
        if len(rows):
            at = Synchronised(*(value[rows] for value in one))
            reduced = setup.model.reduce(windows[rows], at.soi_offset, at.interference_offset)
            _average_over_gain(setup, average, rows, at, reduced)
    return (average.estimate / average.total[:, None]).to(torch.complex64)
