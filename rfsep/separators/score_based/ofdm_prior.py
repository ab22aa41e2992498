"""The score of OFDM with discrete constellations: cyclic prefix, symbols cut off by the window, unknown gain."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.signals.constellations import decide, posterior_mean
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError

_LEAST_SPREAD = 1e-9  # eigenvalue of a cut-off symbol's covariance that counts as none


class _Cut(NamedTuple):
    """Where the symbols of windows lie.

    Attributes:
        place: int64 [B, K * P], sample of the window; held inside it.
        inside: bool [B, K, P].
        back: int64 [B, T], where each sample of the window is in the blocks.
        whole: bool [B, K].
        row, column: int64 [W], the symbols that are there in part.
        spread: float32 [W, P], eigenvalues of the covariance of what is seen of them; 0 where nothing is.
        basis: complex64 [W, P, P], its eigenvectors.
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
    """OFDM of unit power, each window at a known time and with the phase of the constellation as it is.

    A whole symbol is ``A c``, with the carriers' waveforms (prefix included) the columns of A. The noise is drawn in
    their subspace, ``A n`` with n white, as the published QPSK score does: the pseudo-inverse of A then sees every
    carrier in white noise of its own and the posterior mean of each is exact, although the prefix makes A's columns
    oblique. Without prefix and guard carriers the noise is white and the score that of the whole density.

    Of a symbol that the window cuts off, more carriers are unknown than there are samples; a Gaussian of the same
    covariance stands in for it. Its score is linear, so noise would only average away; none is drawn there.

    Args:
        modem: of the source.
        offset: int64 [B], samples into a symbol at sample 0 of each window.
        num_samples: in a window.
        outside: float [B], variance of what may lie outside the subspace of whole symbols; None: that of the
            smoothing noise, as published. A mixture without noise has nothing there.
        loosening: float [B], times the Gaussian stand-in's variance. Alpha-RGS sharpens this prior by an exponent of
            kappa^2; a stand-in that should keep its own weight is loosened by as much.

    Raises:
        InputError: offsets outside a period.
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
        count = (num_samples + 2 * period - 2) // period  # symbols that any window of this length touches
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
        """Windows complex64 [B, T] by symbols, [B, K, P]; zero outside the window."""
        cut = self._cut
        return windows.gather(1, cut.place).view(cut.inside.shape) * cut.inside

    def _joined(self, blocks: Tensor) -> Tensor:
        return blocks.flatten(1).gather(1, self._cut.back)

    def draw(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Noise in the subspace of the whole symbols, see `rfsep.separators.score_based.priors.Prior`."""
        shape = 1, self._cut.whole.shape[1], self.waveforms.shape[1]
        white = torch.randn(shape, dtype=torch.complex64, generator=generator)
        return self._joined((white @ self.waveforms.T) * self._cut.whole[:, :, None])

    def score(self, noisy: Tensor, alpha_bar: float) -> Tensor:
        """See `rfsep.separators.score_based.priors.Prior`."""
        cut, variance, amplitude = self._cut, 1 - alpha_bar, math.sqrt(alpha_bar)
        blocks = self._blocks(noisy)
        carriers = blocks @ self._inverse.T  # [B, K, D]
        mean = posterior_mean(carriers / amplitude, self.modem.constellation, variance / alpha_bar)
        inner = carriers @ self.waveforms.T  # the share of the subspace
        outside = torch.full((len(noisy),), variance / alpha_bar) if self.outside is None else self.outside
        score = (amplitude * mean - carriers) @ self.waveforms.T / variance
        score = score + (inner - blocks) / (alpha_bar * outside[:, None, None])
        score[cut.row, cut.column] = self._stand_in(blocks[cut.row, cut.column], outside) / alpha_bar
        return self._joined(score)

    def _stand_in(self, seen: Tensor, outside: Tensor) -> Tensor:
        """Score of the Gaussians in place of symbols that are there in part, complex64 [W, P]."""
        basis, weight = self._cut.basis, self._stand_in_precision(outside)
        along = (basis.mH @ seen[:, :, None])[:, :, 0]
        return -(basis @ (weight * along)[:, :, None])[:, :, 0]

    def _stand_in_precision(self, outside: Tensor) -> Tensor:
        """Precision float32 [W, P] of symbols that are there in part, along their covariance's eigenvectors."""
        row = self._cut.row
        return 1 / torch.maximum(self._cut.spread * self._loosening[row][:, None], outside[row][:, None])

    def outside_gram(self, pulses: Tensor, phase: Tensor) -> Tensor:
        """How much of other signals lies where this prior has least room: their Gram matrices in its metric.

        Args:
            pulses: complex128 [step, P, c], waveforms of the other signals in a symbol of this one, by their phase.
            phase: int64 [B, K], of each symbol.

        Returns:
            complex128 [B, K, c, c]: R^H W R, with W one outside the subspace of a whole symbol and zero in it; for a
            symbol that is there in part, W is the stand-in's precision times ``outside``.
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
        """By what the carriers of whole symbols in windows complex64 [B, T] are scaled: complex64 [B].

        Least squares against their posterior means, seen through noise of ``smoothing`` times the symbols' power.
        """
        carriers = self._blocks(windows) @ self._inverse.T
        mean = posterior_mean(carriers, self.modem.constellation, smoothing) * self._cut.whole[:, :, None]
        gain: Tensor = (carriers * mean.conj()).sum((1, 2)) / squared(mean).sum((1, 2)).clamp_min(1e-9)
        return gain

    def phase(self, windows: Tensor) -> Tensor:
        """Phase float32 [B] of windows complex64 [B, T] by the M-th power of their carriers, up to their symmetry.

        Three rounds of decisions and least squares follow the M-th power.
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
