"""Priors of score-based separators: the gradient of a source's log-density, smoothed by noise.

A prior is smoothed at a level alpha_bar of the diffusion schedule: its density is that of ``sqrt(alpha_bar) s +
sqrt(1 - alpha_bar) z``, with s a window of the source at unit power and z noise of the prior's own kind (`Prior.draw`).
A score is ``-E[z | x] / sigma``. If z has unit power per complex sample, that is the derivative of the log-density by
the conjugate of the window, ``-(x - mean) / variance`` of a circular Gaussian. Published learned priors draw z at twice
that power and use the same formula.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from rfsep.signals.constellations import posterior_mean
from rfsep.types import InputError, Modem


class Prior(Protocol):
    """A smoothed source."""

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws the noise z complex64 [1 or B, num_samples] that smooths the prior, the same for every window."""
        ...

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """Returns the gradient of the log-density of smoothed windows complex64 [B, T]: complex64 [B, T]."""
        ...


class PulsePrior:
    """Discrete symbols on orthogonal pulses, at known timing and phase (alpha-RGS, arXiv 2306.14411, section 5.1).

    The noise lies in the pulses' subspace, where it is white. Every symbol is then smoothed alone, and its posterior
    mean is exact. Anything outside the subspace is drawn into it as if it were noise.

    Args:
        modem: the source's modem, with orthogonal pulses.
    """

    def __init__(self, modem: Modem) -> None:
        self.modem = modem

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws noise in the subspace; see `Prior`."""
        silence = torch.zeros((1, num_samples), dtype=torch.complex64)
        num_symbols = self.modem.analyse(silence).shape[1]
        white = torch.randn((1, num_symbols), dtype=torch.complex64, generator=generator)
        return self.modem.synthesise(white, num_samples)

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """Returns the score; see `Prior`."""
        variance, amplitude = 1 - alpha_bar, math.sqrt(alpha_bar)
        seen = self.modem.analyse(noisy) / amplitude
        mean = posterior_mean(seen, self.modem.constellation, variance / alpha_bar)
        return (self.modem.synthesise(amplitude * mean, noisy.shape[1]) - noisy) / variance


class GaussianPrior:
    """A circular Gaussian source in white noise.

    Args:
        covariance: complex [T, T], Hermitian and positive semidefinite.

    Raises:
        InputError: the covariance is neither.
    """

    def __init__(self, covariance: Tensor) -> None:
        if covariance.dim() != 2 or covariance.shape[0] != covariance.shape[1]:
            raise InputError(f"covariance has shape {tuple(covariance.shape)}, expected [T, T]")
        if not torch.allclose(covariance, covariance.mH, atol=1e-5):
            raise InputError("covariance is not Hermitian")
        values, vectors = torch.linalg.eigh(covariance.to(torch.complex128))
        if values[0] < -1e-6 * values[-1].clamp_min(1e-12):
            raise InputError(f"covariance has the negative eigenvalue {float(values[0]):.3g}")
        self._values, self._vectors = values.clamp_min(0).float(), vectors.to(torch.complex64)

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws white noise; see `Prior`."""
        return torch.randn((1, num_samples), dtype=torch.complex64, generator=generator)

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """Returns the score; see `Prior`."""
        total = alpha_bar * self._values + (1 - alpha_bar)
        score: Tensor = -((noisy @ self._vectors.conj()) / total) @ self._vectors.T
        return score
