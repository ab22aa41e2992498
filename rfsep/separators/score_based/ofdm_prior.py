"""The score of OFDM with discrete constellations, a cyclic prefix, symbols that the window cuts, and unknown gain."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.constellations import decide, posterior_mean
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError

_LEAST_SPREAD = 1e-9  # A smaller eigenvalue of a cut-off symbol's covariance counts as zero.


class _Cut(NamedTuple):
    """The layout of symbols in windows.

    Attributes:
        place: sample of the window, clamped to it, int64 [B, K * P].
        inside: bool [B, K, P].
        back: position of each sample of the window in the blocks, int64 [B, T].
        whole: bool [B, K].
        row, column: the partly visible symbols, int64 [W].
        spread: eigenvalues of the covariance of their visible part, float32 [W, P]; 0 where nothing is visible.
        basis: eigenvectors of that covariance, complex64 [W, P, P].
    """

    place: Tensor
    inside: Tensor
    back: Tensor
    whole: Tensor
    row: Tensor
    column: Tensor
    spread: Tensor
    basis: Tensor


class OfdmPrior:
    """OFDM of unit power at a known time, with the constellation's phase unchanged.

    A whole symbol is ``A c``, with the carriers' waveforms (prefix included) the columns of A. The noise is drawn in
    their subspace, ``A n`` with n white, as the published QPSK score does: the pseudo-inverse of A then sees every
    carrier in white noise of its own and the posterior mean of each is exact, although the prefix makes A's columns
    oblique. Without prefix and guard carriers the noise is white and the score that of the whole density.

    A symbol that the window cuts off has more unknown carriers than samples. A Gaussian of the same covariance replaces
    it. Its score is linear, so noise would only average away, and none is drawn there.

    Args:
        modem: the source's modem.
        offset: int64 [B], samples into a symbol at sample 0 of each window.
        num_samples: samples per window.
        outside: variance outside the subspace of whole symbols, float [B]; None for that of the smoothing noise, as
            published. A mixture without noise has no power there.
        loosening: factor of the replacement Gaussian's variance, float [B]. Alpha-RGS sharpens this prior by an
            exponent of kappa^2. A Gaussian that should keep its own weight is loosened by the same factor.

    Raises:
        InputError: an offset lies outside the period.
    """

    def __init__(
        self,
        modem: OfdmModem,
        offset: Tensor,
        num_samples: int,
        outside: Tensor | None = None,
        loosening: Tensor | None = None,
    ) -> None:
        if bool((offset < 0).any()) or bool((offset >= modem.symbol_period).any()):
            raise InputError(f"offsets {offset.tolist()} are not all in 0 ... {modem.symbol_period - 1}")
        self.modem = modem
        self.outside = None if outside is None else outside.float()
        every = torch.eye(len(modem.carriers), dtype=torch.complex64)
        power = float(modem_autocorrelation(modem, 1).real)
        waveforms = modem.synthesise(every, modem.symbol_period).T.to(torch.complex128) / math.sqrt(power)
        self.waveforms = waveforms.to(torch.complex64)  # A, [P, D]
        self._inverse = torch.linalg.pinv(waveforms).to(torch.complex64)  # [D, P]
        self._cut = self._make_cut(offset, num_samples, waveforms)
        self._loosening = torch.ones(len(offset)) if loosening is None else loosening.float()

    def _make_cut(self, offset: Tensor, num_samples: int, waveforms: Tensor) -> _Cut:
        period = self.modem.symbol_period
        count = (num_samples + 2 * period - 2) // period  # number of symbols that any window of this length touches
        place = torch.arange(count * period) - offset[:, None]
        inside = ((place >= 0) & (place < num_samples)).view(len(offset), count, period)
        whole = inside.all(2)
        row, column = (inside.any(2) & ~whole).nonzero(as_tuple=True)
        seen = waveforms * inside[row, column][:, :, None]
        spread, basis = torch.linalg.eigh(seen @ seen.mH)
        return _Cut(
            place=place.clamp(0, num_samples - 1),
            inside=inside,
            back=torch.arange(num_samples) + offset[:, None],
            whole=whole,
            row=row,
            column=column,
            spread=torch.where(spread > _LEAST_SPREAD, spread, 0).float(),
            basis=basis.to(torch.complex64),
        )

    def _blocks(self, windows: Tensor) -> Tensor:
        """Cuts windows complex64 [B, T] into symbols, [B, K, P]; zero outside the window."""
        cut = self._cut
        return windows.gather(1, cut.place).view(cut.inside.shape) * cut.inside

    def _joined(self, blocks: Tensor) -> Tensor:
        return blocks.flatten(1).gather(1, self._cut.back)

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws noise in the subspace of the whole symbols; see `rfsep.separators.score_based.priors.Prior`."""
        shape = 1, self._cut.whole.shape[1], self.waveforms.shape[1]
        white = torch.randn(shape, dtype=torch.complex64, generator=generator)
        return self._joined((white @ self.waveforms.T) * self._cut.whole[:, :, None])

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """Returns the score; see `rfsep.separators.score_based.priors.Prior`."""
        cut, variance, amplitude = self._cut, 1 - alpha_bar, math.sqrt(alpha_bar)
        blocks = self._blocks(noisy)
        carriers = blocks @ self._inverse.T  # [B, K, D]
        mean = posterior_mean(carriers / amplitude, self.modem.constellation, variance / alpha_bar)
        inner = carriers @ self.waveforms.T  # part inside the subspace
        outside = torch.full((len(noisy),), variance / alpha_bar) if self.outside is None else self.outside
        score = (amplitude * mean - carriers) @ self.waveforms.T / variance
        score = score + (inner - blocks) / (alpha_bar * outside[:, None, None])
        score[cut.row, cut.column] = self._stand_in(blocks[cut.row, cut.column], outside) / alpha_bar
        return self._joined(score)

    def _stand_in(self, seen: Tensor, outside: Tensor) -> Tensor:
        """Returns the score of the Gaussians that replace partly visible symbols, complex64 [W, P]."""
        basis, weight = self._cut.basis, self._stand_in_precision(outside)
        along = (basis.mH @ seen[:, :, None])[:, :, 0]
        return -(basis @ (weight * along)[:, :, None])[:, :, 0]

    def _stand_in_precision(self, outside: Tensor) -> Tensor:
        """Returns the precision float32 [W, P] of partly visible symbols, along their covariance's eigenvectors."""
        row = self._cut.row
        return 1 / torch.maximum(self._cut.spread * self._loosening[row][:, None], outside[row][:, None])

    def outside_gram(self, pulses: Tensor, phase: Tensor) -> Tensor:
        """Returns the Gram matrices of other signals in this prior's metric, which weighs its complement.

        Args:
            pulses: complex128 [step, P, c], waveforms of the other signals in a symbol of this one, by their phase.
            phase: int64 [B, K], of each symbol.

        Returns:
            R^H W R, complex128 [B, K, c, c]. W is one outside the subspace of a whole symbol and zero inside. For a
            partly visible symbol, W is the replacement Gaussian's precision times ``outside``.
        """
        if self.outside is None:
            raise InputError("outside is null: the prior's room outside its subspace changes with the noise level")
        cut, period, double = self._cut, pulses.shape[1], pulses.dtype
        waveforms = self.waveforms.to(double)
        rest = torch.eye(period, dtype=double) - waveforms @ torch.linalg.pinv(waveforms)
        found: Tensor = (pulses.mH @ (rest @ pulses))[phase]  # [B, K, c, c]
        found[~cut.whole] = 0
        seen = pulses[phase[cut.row, cut.column]] * cut.inside[cut.row, cut.column][:, :, None]
        along = cut.basis.to(double).mH @ seen  # [W, P, c]
        weight = (self._stand_in_precision(self.outside) * self.outside[cut.row][:, None]).to(double)
        found[cut.row, cut.column] = along.mH @ (weight[:, :, None] * along)
        return found

    def gain(self, windows: Tensor, smoothing: float) -> Tensor:
        """Returns the gain complex64 [B] of the carriers of whole symbols in windows complex64 [B, T].

        Least squares against their posterior means, seen through noise of ``smoothing`` times the symbols' power.
        """
        carriers = self._blocks(windows) @ self._inverse.T
        mean = posterior_mean(carriers, self.modem.constellation, smoothing) * self._cut.whole[:, :, None]
        gain: Tensor = (carriers * mean.conj()).sum((1, 2)) / squared(mean).sum((1, 2)).clamp_min(1e-9)
        return gain

    def phase(self, windows: Tensor) -> Tensor:
        """Returns the phase float32 [B] of windows complex64 [B, T], up to the constellation's symmetry.

        It comes from the M-th power of the carriers, then three rounds of decisions and least squares.
        """
        points = self.modem.constellation
        order = 2 if len(points) == 2 else 4
        carriers = (self._blocks(windows) @ self._inverse.T) * self._cut.whole[:, :, None]
        size = squared(carriers).sum((1, 2)) / (self._cut.whole.sum(1) * carriers.shape[2]).clamp_min(1)
        carriers = carriers / size.clamp_min(1e-12).sqrt()[:, None, None]
        angle = torch.angle((carriers**order).sum((1, 2)) * (points**order).mean().conj()) / order
        for _ in range(3):
            decided = decide(carriers * torch.polar(torch.ones_like(angle), -angle)[:, None, None], points)
            angle = torch.angle((carriers * decided.conj()).sum((1, 2)))
        return angle
