"""Fits the clock of a long stretch by parts at both its ends, which tell a drift nearly as well as all of it does."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rfsep.receiver.channel import PIECES, Clock, Left, fit_clock, left_of, slope_of
from rfsep.types import Modem, Separator

Complexes = npt.NDArray[np.complex128]
_SHARE = 8  # A part is one in so many of a stretch,
_FEWEST_HOPS, _FEWEST = 4, 10240  # and holds so many windows and samples at least.
_CONTEXT = 16  # symbol periods beside a part that reach into it


class Sent(NamedTuple):
    """What was sent, as far as it is known.

    Attributes:
        modem: the SOI's.
        symbols: expected ones with their phase, complex128 [S].
        taps: channel, one sample apart, complex64 [n] with n odd.
    """

    modem: Modem
    symbols: Complexes
    taps: npt.NDArray[np.complex64]

    def waveform(self, begin: int, count: int) -> Complexes:
        """Returns samples complex128 [count] as received, from the ``begin`` of a symbol on."""
        period = self.modem.symbol_period
        shortest = torch.zeros((1, 4 * period), dtype=torch.complex64)
        density = self.modem.analyse(shortest).shape[1] // 4  # symbols per symbol period
        low, high = max(0, begin // period - _CONTEXT), (begin + count) // period + 1 + _CONTEXT
        some = torch.from_numpy(self.symbols[low * density : high * density].astype(np.complex64))[None]
        length = begin - low * period + count
        wave = self.modem.synthesise(some, length)[0].numpy().astype(np.complex128)
        if np.count_nonzero(self.taps) > 1:
            wave = np.convolve(wave, self.taps)[len(self.taps) // 2 :][:length]
        return wave[length - count :]


def clock_at_ends(
    separator: Separator,
    mixture: npt.NDArray[np.complex64],
    sent: Sent,
    known: npt.NDArray[np.float64],
    hop: int,
    certainty: float,
) -> Clock:
    """Returns the clock of a stretch, by what a linear separator leaves at both its ends; of a short one, everywhere.

    Args:
        separator: linear.
        mixture: complex64 [n].
        sent: in the whole stretch.
        known: delays in samples that are there anyway and do not count, float64 [n].
        hop: samples from one of the separator's windows to the next, a multiple of the symbol period.
        certainty: standard errors from which a delay or a drift counts.
    """
    count = len(mixture)
    size = max(max(count // _SHARE, _FEWEST) // hop, _FEWEST_HOPS) * hop
    begins = [0, (count - size) // hop * hop] if 4 * size < count - hop else [0]
    size = (size if len(begins) == 2 else count) // PIECES * PIECES
    left = []
    for begin in begins:
        wave = sent.waveform(begin, size)
        left.append(left_of(separator, mixture[begin : begin + size], np.stack((wave, slope_of(wave)))))
    pieces = PIECES // len(begins)
    middles = np.concatenate([begin + (np.arange(pieces) + 0.5) * size / pieces for begin in begins]) - count / 2
    both = Left(np.concatenate([one.estimate for one in left]), np.concatenate([one.responses for one in left], 1))
    there = np.concatenate([known[begin : begin + size] for begin in begins])
    return fit_clock(both, certainty, there, middles)
