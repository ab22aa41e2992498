"""Phases that turn the constellations of SOI and interference while both are detected.

The interference's carrier turns its symbols from block to block, and a fraction of a sample turns them from carrier to
carrier. The SOI's residual phase wanders. Each is fitted in every iteration of expectation propagation, to what the
cavities say against what the discrete posteriors expect: a Gauss-Newton step of the M step of expectation maximisation.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared

_STEP_DEVIATION = 0.01  # expected error of a turn per block in rad: 2e-5 cycles per sample at 80 samples
_DELAY_DEVIATION = 0.05  # expected error of a delay in samples
_PHASE_DEVIATION = 0.2  # expected residual phase of the SOI in rad
_LARGEST_MOVES = (0.02, 0.1)  # largest change of either slope in one iteration
_LARGEST_PHASE = 0.6  # largest phase of the SOI in rad; half the angle between the points of QPSK is 0.79
_SMOOTHED = 16  # SOI periods on each side that share a phase, with falling weight; tuned on synthetic phase noise
_SIGNIFICANT = 6.0  # least mean square of the phase, relative to that by noise alone, with about 10 degrees of freedom
_LEAST = 1e-12  # keeps quotients finite
_GRID = 20  # turns per block on each side that are compared before detection
_CLEARER = 1.5  # A turn is taken if its M-th power moment is this much clearer than that of none.
_CLEAR = 0.3  # A carrier helps to find the phase if its variance is smaller.


class Turns(NamedTuple):
    """Phases of windows.

    Attributes:
        slopes: real [B, 2], of the interference: radians per block beyond those of its modem, and samples of delay.
        soi: real [B, S], phase of the SOI at each symbol in radians.
    """

    slopes: Tensor
    soi: Tensor


class Evidence(NamedTuple):
    """Symbols as the cavities have them, and as the discrete posteriors expect them, both with their turns.

    Attributes:
        mean: complex [B, ...], of the cavities.
        variance: real [B, ...], of the cavities.
        expected: complex [B, ...].
    """

    mean: Tensor
    variance: Tensor
    expected: Tensor


class InterferenceTurn:
    """The turns of an interference's symbols.

    Args:
        waveforms: complex128 [2 D, 2 P], of the symbols of two blocks, see
            `rfsep.signals.statistics.modem_waveforms`.
        num_blocks: blocks K per window.
        dtype: complex type of all results.
    """

    def __init__(self, waveforms: Tensor, num_blocks: int, dtype: torch.dtype) -> None:
        count, period = len(waveforms) // 2, waveforms.shape[1] // 2
        first, second = waveforms[:count, :period], waveforms[count:, period:]
        self.dtype = dtype
        self.step = float((second * first.conj()).sum().angle())  # radians per block
        real = dtype.to_real()
        self.frequency = (first[:, 1:] * first[:, :-1].conj()).sum(1).angle().to(real)  # [D], radians per sample
        self.place = torch.arange(num_blocks, dtype=real) - num_blocks // 2  # [K], blocks from the middle

    def __call__(self, slopes: Tensor) -> Tensor:
        """Returns the turns complex [B, K, D] at slopes real [B, 2]."""
        step = slopes[:, :1] + self.step
        blocks, carriers = step * self.place, -slopes[:, 1:] * self.frequency
        along = torch.polar(torch.ones_like(blocks), blocks)[:, :, None]
        turn: Tensor = along * torch.polar(torch.ones_like(carriers), carriers)[:, None, :]
        return turn

    def at_block(self, slopes: Tensor, place: Tensor) -> Tensor:
        """Returns the turn complex [B] between the window's middle and ``place`` real [B], in blocks."""
        phase = (slopes[:, 0] + self.step) * place
        return torch.polar(torch.ones_like(phase), phase)

    def fitted(self, slopes: Tensor, seen: Evidence) -> Tensor:
        """Returns slopes real [B, 2] that fit the carriers [B, K, D] better, at an unknown common phase."""
        weight = (seen.expected.abs().square() / seen.variance).to(slopes.dtype)
        error = ((seen.mean * seen.expected.conj()).imag / seen.variance).to(slopes.dtype)
        by_block, by_carrier = torch.stack((weight.sum(2), error.sum(2))), torch.stack((weight.sum(1), error.sum(1)))
        place, frequency = self.place, -self.frequency
        ones, place_ones = torch.ones_like(place), torch.stack((torch.ones_like(place), place, place.square()), 1)
        along = by_block[0] @ place_ones  # [B, 3], moments 0, 1 and 2 over blocks
        across = by_carrier[0] @ torch.stack((frequency, frequency.square()), 1)  # [B, 2]
        both = ((weight @ frequency) @ place)[:, None]  # [B, 1]
        rows = (
            torch.cat((along[:, :2], across[:, :1]), 1),
            torch.cat((along[:, 1:], both), 1),
            torch.cat((across[:, :1], both, across[:, 1:]), 1),
        )
        prior = slopes.new_tensor([1e-6, _STEP_DEVIATION**-2, _DELAY_DEVIATION**-2])
        gradient = torch.stack((by_block[1] @ ones, by_block[1] @ place, by_carrier[1] @ frequency), 1)
        gradient = gradient - prior * torch.nn.functional.pad(slopes, (1, 0))
        move = torch.linalg.solve(torch.stack(rows, 1) + torch.diag(prior), gradient)[:, 1:]
        largest = slopes.new_tensor(_LARGEST_MOVES)
        return slopes + torch.maximum(torch.minimum(move, largest), -largest)

    def acquired(self, carriers: Tensor, variance: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Returns phases real [B], up to the constellation's symmetry, and slopes real [B, 2] of estimated carriers.

        Args:
            carriers: complex [B, K, D], means.
            variance: real [B, K, D].
            points: of the constellation.
        """
        order = 2 if len(points) == 2 else 4
        slopes = variance.new_zeros((len(carriers), 2))
        moment = ((carriers * self(slopes).conj()) ** order * (variance < _CLEAR)).sum(2)  # [B, K]
        step = torch.arange(-_GRID, _GRID + 1, dtype=variance.dtype) * (2 / (order * len(self.place)))
        phase = -order * self.place[:, None] * step
        tried = moment @ torch.polar(torch.ones_like(phase), phase)  # [B, steps]
        clear = tried.abs().square()
        best = clear.argmax(1)
        best = torch.where(clear.amax(1) > _CLEARER * clear[:, _GRID], best, _GRID)
        slopes[:, 0] = step[best]
        reference = (points**order).mean()
        found = tried.gather(1, best[:, None])[:, 0] * reference.conj()
        return found.angle() / order, slopes


class SoiPhase:
    """The slowly varying phase of a SOI.

    Args:
        num_symbols: symbols S per window.
        density: symbols per period, which share a phase.
        dtype: complex type of all results.
    """

    def __init__(self, num_symbols: int, density: int, dtype: torch.dtype) -> None:
        self.density = density
        place = torch.arange(num_symbols // density)
        near = (place[:, None] - place).abs()
        self._weight = (1 - near / (_SMOOTHED + 1)).clamp_min(0).to(dtype)  # [periods, periods]

    def fitted(self, phase: Tensor, seen: Evidence) -> Tensor:
        """Returns a phase real [B, S] that fits symbols [B, S] better; 0 where noise alone explains it."""
        turn = seen.mean * seen.expected.conj() / seen.variance  # [B, S]
        strength = squared(seen.expected) / seen.variance  # twice the variance by noise of either part
        smooth = self._smoothed(turn, self._weight)  # [B, periods]
        common = phase[:, :: self.density] + (smooth + _PHASE_DEVIATION**-2).angle()
        spread = self._smoothed(strength, self._weight.real.square())
        # The noise may be larger than assumed; what it does along the radius, no phase does.
        scale = 2 * (turn.real - strength).square().sum(1) / strength.sum(1).clamp_min(_LEAST)
        score = 2 * (common * smooth.abs()).square() / spread.clamp_min(_LEAST)
        found = common * (score.mean(1) > _SIGNIFICANT * scale.clamp_min(1))[:, None]
        return found.clamp(-_LARGEST_PHASE, _LARGEST_PHASE).repeat_interleave(self.density, 1)

    def _smoothed(self, values: Tensor, weight: Tensor) -> Tensor:
        return values.reshape(len(values), -1, self.density).sum(2) @ weight


def unit(phase: Tensor) -> Tensor:
    """Returns complex exp(j phase) of real [...]."""
    return torch.polar(torch.ones_like(phase), phase)
