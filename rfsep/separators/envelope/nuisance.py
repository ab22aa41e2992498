"""Deviations of a recorded interference from a constant envelope: few unknowns per window, with a Gaussian prior.

A receiver adds a carrier leak (a constant or slow offset), removes the mean (AC coupling, a high-pass filter), distorts
(clipping and unequal gains of I and Q give harmonics of the phase), and its gain drifts. In a window, with u_t the unit
phasor of the interference, A its level and P = 2,560 samples,

    b_t / A = (1 + sum_l d_l cos(pi l t / P)) u_t + sum_q c_q e^{2 pi j q t / P} + sum_k c_k u_t^k
              + sum_m (c_m sum_n e^{-n / tau_m} u_{t-n} / tau_m + s_m e^{-t / tau_m}),

where s_m stands for the state of the low-pass filter m before the window.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import fit_innovations, whitened

PERIOD = 2560  # P, samples
SLOW = (0, -1, 1)
HARMONICS = (-1, -3, 5)
MEMORIES = (100.0, 300.0)
LEVELS = (0, 1, 2, 3)
_LEAST = 1e-5  # Terms of less power are left out.
_ROUNDS = 5
_ORDER = 16
_FREEDOM = 4.0


class Terms(NamedTuple):
    """The terms that are in use.

    Attributes:
        slow: q.
        harmonics: k.
        memories: tau_m, samples.
        states: tau_m of the states.
        levels: l.
    """

    slow: tuple[int, ...] = SLOW
    harmonics: tuple[int, ...] = HARMONICS
    memories: tuple[float, ...] = MEMORIES
    states: tuple[float, ...] = MEMORIES
    levels: tuple[int, ...] = LEVELS

    @property
    def num_complex(self) -> int:
        """Number of complex terms K."""
        return len(self.slow) + len(self.harmonics) + len(self.memories) + len(self.states)

    def waves(self, unit: Tensor) -> Tensor:
        """Returns the complex terms' waveforms [B, K, T] for phasors ``unit`` [B, T]."""
        time = torch.arange(unit.shape[1], dtype=torch.float64)
        one = torch.ones_like(time)
        rows = [torch.polar(one, 2 * math.pi * q / PERIOD * time).to(unit.dtype).expand(unit.shape) for q in self.slow]
        rows += [(unit if k > 0 else unit.conj()) ** abs(k) for k in self.harmonics]
        size = 2 * unit.shape[1]
        spectrum = torch.fft.fft(unit, size) if self.memories else unit
        for memory in self.memories:
            kernel = torch.fft.fft((-time / memory).exp() / memory, size).to(unit.dtype)
            rows.append(torch.fft.ifft(spectrum * kernel)[:, : unit.shape[1]])
        rows += [(-time / state).exp().to(unit.dtype).expand(unit.shape) for state in self.states]
        return torch.stack(rows, 1) if rows else unit.new_zeros((len(unit), 0, unit.shape[1]))

    def drifts(self, num_samples: int) -> Tensor:
        """Returns the shapes of the drift float64 [L, T]."""
        time = torch.arange(num_samples, dtype=torch.float64) / PERIOD
        rows = [torch.cos(math.pi * level * time) for level in self.levels]
        return torch.stack(rows) if rows else time.new_zeros((0, num_samples))

    def complex_part(self, values: Tensor) -> Tensor:
        """Returns the coefficients complex [B, K] from unknowns [B, 2 K + L]."""
        pairs = values[:, : 2 * self.num_complex].reshape(len(values), self.num_complex, 2)
        return torch.view_as_complex(pairs.contiguous())


class Nuisance(NamedTuple):
    """Terms with the prior of their coefficients: real and imaginary parts in turn, then the drift.

    Attributes:
        terms: in use.
        mean: float64 [N].
        precision: float64 [N, N].
    """

    terms: Terms
    mean: Tensor
    precision: Tensor


def real_columns(waves: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Radial and tangential parts [B, 2 K, T] of complex waves [B, K, T] for the real and imaginary parts."""
    turned = waves * unit.conj()[:, None]
    radial = torch.stack((turned.real, -turned.imag), 2).flatten(1, 2)
    tangential = torch.stack((turned.imag, turned.real), 2).flatten(1, 2)
    return radial, tangential


def learn_nuisance(frames: Tensor) -> tuple[Nuisance, Tensor]:
    """Fits all terms to frames complex128 [F, T] of level 1, by expectation maximisation with coloured noise.

    Returns:
        the prior of the terms that matter, and the frames without the terms.
    """
    every = Terms()
    size = 2 * every.num_complex + len(every.levels)
    mean, covariance = torch.zeros(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)
    rest = frames
    drift = every.drifts(frames.shape[1]).expand(len(frames), -1, -1)
    level = torch.ones((len(frames), 1), dtype=torch.float64)
    for _ in range(_ROUNDS):
        model = fit_innovations(rest.abs() / level, _ORDER, _FREEDOM)
        unit = rest / rest.abs().clamp_min(1e-9)
        waves = every.waves(unit)
        columns = torch.cat((real_columns(waves, unit)[0], drift), 1)  # [F, N, T]
        white = whitened(columns.flatten(0, 1), model.taps).reshape(columns.shape)
        target = whitened((frames * unit.conj()).real - 1, model.taps)
        prior = torch.linalg.inv(covariance)
        posterior = torch.linalg.inv(white @ white.mT / model.variance + prior)
        values = (white @ target[..., None])[..., 0] / model.variance + prior @ mean
        values = (posterior @ values[..., None])[..., 0]
        mean, covariance = _prior(every, values, posterior)
        rest = frames - (every.complex_part(values)[..., None] * waves).sum(1)
        level = (1 + (values[:, None, 2 * every.num_complex :] @ drift)[:, 0]).clamp_min(0.1)
    power = columns.square().mean((0, 2)) * values.square().mean(0)
    return _kept(every, power, mean, covariance), rest / level


def _prior(terms: Terms, values: Tensor, posterior: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of coefficients [F, N] with posterior covariances [F, N, N].

    Only the filter's coefficients keep a mean and correlations. Those of the others turn with the phase of a mixture.
    """
    start = 2 * (len(terms.slow) + len(terms.harmonics))
    fixed = slice(start, start + 2 * len(terms.memories))
    mean = torch.zeros_like(values[0])
    mean[fixed] = values[:, fixed].mean(0)
    second = (values - mean).T @ (values - mean) / len(values) + posterior.mean(0)
    diagonal = second.diagonal().clone()
    pairs = diagonal[: 2 * terms.num_complex].reshape(-1, 2).mean(1).repeat_interleave(2)
    diagonal[: 2 * terms.num_complex] = pairs
    covariance = torch.diag(diagonal + 1e-9)
    covariance[fixed, fixed] = second[fixed, fixed] + 1e-9 * torch.eye(2 * len(terms.memories), dtype=torch.float64)
    return mean, covariance


def _kept(terms: Terms, power: Tensor, mean: Tensor, covariance: Tensor) -> Nuisance:
    """Leaves out the terms of little power float64 [N]."""
    pairs = power[: 2 * terms.num_complex].reshape(-1, 2).sum(1)
    stays = [bool(one > _LEAST) for one in pairs] + [bool(one > _LEAST) for one in power[2 * terms.num_complex :]]
    left = iter(stays)
    kept = Terms(
        slow=tuple(term for term in terms.slow if next(left)),
        harmonics=tuple(term for term in terms.harmonics if next(left)),
        memories=tuple(term for term in terms.memories if next(left)),
        states=tuple(term for term in terms.states if next(left)),
        levels=tuple(term for term in terms.levels if next(left)),
    )
    index = [place for place, stay in enumerate(stays[: terms.num_complex]) if stay]
    chosen = [2 * place + part for place in index for part in (0, 1)]
    chosen += [2 * terms.num_complex + place for place, stay in enumerate(stays[terms.num_complex :]) if stay]
    precision = torch.linalg.inv(covariance[chosen][:, chosen]) if chosen else covariance[:0, :0]
    return Nuisance(kept, mean[chosen], precision)
