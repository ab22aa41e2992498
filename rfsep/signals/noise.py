"""Gaussian interference: white, or with a given spectrum or autocorrelation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from rfsep.storage.npz import read_npz_vector
from rfsep.types import InputError, Sampled, synthetic

_FINER = 16  # grid points of the spectrum per given lag; linear interpolation then costs 0.3 % at the last lag
_NEGATIVE_POWER = 1e-3  # largest share of negative power that counts as an estimation error


def _spectrum_of(autocorrelation: Tensor) -> Tensor:
    """Returns the power spectrum float64 [2 * _FINER * L] of lags 0..L-1, complex [L].

    An estimated autocorrelation cut at L lags is not exactly positive. Its negative powers are set to 0 (1e-5 of the
    power for the RF Challenge's signals).
    """
    lags = autocorrelation.to(torch.complex128)
    two_sided = lags.new_zeros(2 * _FINER * len(lags))
    two_sided[: len(lags)] = lags
    two_sided[len(two_sided) - len(lags) + 1 :] = lags[1:].flip(0).conj()
    spectrum: Tensor = torch.fft.fft(two_sided).real
    share = float(-spectrum.clamp(max=0).sum() / spectrum.abs().sum())
    if not share <= _NEGATIVE_POWER:
        raise InputError(f"autocorrelation: not of any signal, a share {share:.2g} of its power spectrum is negative")
    return spectrum.clamp(min=0)


class WhiteNoise:
    """Circular complex Gaussian noise of unit power."""

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws independent windows complex64 [B, T]."""
        return synthetic(torch.randn((batch_size, num_samples), dtype=torch.complex64, generator=generator))

    def autocorrelation(self, num_lags: int) -> Tensor:
        """Returns the true autocorrelation complex128 [num_lags]: 1 at lag 0, else 0."""
        lags = torch.zeros(num_lags, dtype=torch.complex128)
        lags[:1] = 1
        return lags


class ColouredNoise:
    """Stationary circular Gaussian noise with a given spectrum or autocorrelation, scaled to unit power.

    The spectrum is linear between K given points, so with R its K-point inverse DFT the autocorrelation is exactly
    ``r[l] = R[l mod K] sinc(l / K)**2``. Windows are cut from circulant blocks (Dietrich & Newsam, SIAM J. Sci.
    Comput. 18(4), 1997) longer than window and correlation together, so the wrap-around stays out of them.

    Args:
        power_spectrum: non-negative densities [K] at k / K cycles per sample, k = 0..K-1 (negative frequencies last).
        autocorrelation: complex [L], lags 0..L-1, E x[n + l] conj(x[n]); 0 from lag L on.
        autocorrelation_file: .npz file with an autocorrelation instead, see `rfsep.storage.npz.read_npz_vector`.
        autocorrelation_name: entry of that file.

    Raises:
        InputError: not exactly one of the three is given, or it is not valid.

    >>> ColouredNoise(power_spectrum=[2.0, 1.0, 0.0, 1.0]).autocorrelation(2).real
    tensor([1.0000, 0.4053], dtype=torch.float64)
    """

    def __init__(
        self,
        power_spectrum: Sequence[float] | Tensor | None = None,
        autocorrelation: Tensor | None = None,
        autocorrelation_file: str | Path | None = None,
        autocorrelation_name: str | None = None,
    ) -> None:
        given = [argument is not None for argument in (power_spectrum, autocorrelation, autocorrelation_file)]
        if sum(given) != 1 or (autocorrelation_file is None) != (autocorrelation_name is None):
            raise InputError(
                "ColouredNoise: give exactly one of power_spectrum, autocorrelation, "
                "and autocorrelation_file with autocorrelation_name"
            )
        if autocorrelation_file is not None and autocorrelation_name is not None:
            autocorrelation = torch.from_numpy(read_npz_vector(Path(autocorrelation_file), autocorrelation_name))
        if autocorrelation is not None:
            spectrum = _spectrum_of(autocorrelation)
            self._memory = len(autocorrelation)
        else:
            spectrum = torch.from_numpy(np.asarray(power_spectrum, dtype=np.float64))
            self._memory = 16 * len(spectrum)  # sinc(16)**2 < 4e-4
        if spectrum.ndim != 1 or not bool(spectrum.isfinite().all() & (spectrum >= 0).all() & (spectrum > 0).any()):
            raise InputError("ColouredNoise: a power spectrum is a list of finite densities >= 0, not all 0")
        self.spectrum = spectrum / spectrum.mean()  # float64 [K]

    def _density(self, size: int) -> Tensor:
        """Returns the spectrum at k / size cycles per sample: float64 [size]."""
        points = len(self.spectrum)
        place = torch.arange(size, dtype=torch.float64) * (points / size)
        left = place.long()
        return torch.lerp(self.spectrum[left], self.spectrum[(left + 1) % points], place - left)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws independent windows complex64 [B, T]."""
        size = int(next_fast_len(num_samples + self._memory))
        white = torch.randn((batch_size, size), dtype=torch.complex64, generator=generator)
        blocks = torch.fft.ifft(white * self._density(size).sqrt().float(), norm="ortho")  # [B, size]
        return synthetic(blocks[:, :num_samples].contiguous())

    def autocorrelation(self, num_lags: int) -> Tensor:
        """Returns the true autocorrelation complex128 [num_lags], 1 at lag 0."""
        lag, points = torch.arange(num_lags), len(self.spectrum)
        periodic = torch.fft.ifft(self.spectrum)  # [K]
        result: Tensor = periodic[lag % points] * torch.sinc(lag / points).double().square()
        return result
