"""Detects a narrow-band SOI and an LTE downlink's data carriers above it jointly, through a channel that data showed.

Beside the SOI the data show their channel (`rfsep.separators.lte.data_channel`). Beneath it each resource element is
empty or a point of QPSK, 16-QAM or 64-QAM, whose shares are learned per resource block; and expectation propagation
detects elements and SOI together (`rfsep.separators.inference.superposed`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.band import Band
from rfsep.separators.inference.elements import mixed
from rfsep.separators.inference.expectation_propagation import Marginals
from rfsep.separators.inference.superposed import DTYPE, SOI, Model, Propagated, Waves, detected
from rfsep.separators.lte.cell_symbols import Pilots, Place, places
from rfsep.separators.lte.data_channel import DataChannel, block_shares, blocks_of, find_data, refitted
from rfsep.separators.lte.resource_blocks import FFT_SIZE, PREFIX, SYMBOL, Timing, symbol_waves

# Physics: beyond this many carriers from the middle the low-pass of `band` attenuates by more than 60 dB.
_REACH = 104

# Physics: the last carrier of 100 resource blocks.
_EDGE = 600

# Physics: a slot's first prefix is longer by these samples (TS 36.211 clause 6.12).
_LONGER = 10

# Physics: pilots that were fitted tell a timing within half a prefix.
_NEAR = PREFIX // 2

# Physics: QPSK in noise 10 dB weaker has an evidence of one nat, log(1 + 10) less its two bits. The recordings of the
# training split reach 0.6 at most, those with data in few blocks or several ports included.
_LEAST_EVIDENCE = 1.0

# Physics: a cell whose elements are mostly empty sends reference and synchronisation signals, which need no detection.
_MOST_EMPTY = 0.5

# The least white noise, as in `rfsep.separators.nr.nr_propagation`. Tuned on srsRAN's loaded downlink: the misfit is at
# most 5 where symbols are right, and beyond this detection has failed.
_NOISE, _MOST_MISFIT = 1e-2, 20.0

# Tuned on srsRAN's loaded downlink. A symbol with less than this share of the strongest one's energy hardly turns.
_STEADY = 0.03

# A guard against division by zero.
_SILENCE = 1e-12


class Soi(NamedTuple):
    """What is known of a SOI.

    Attributes:
        waveforms: of its symbols in a window, complex128 [T, S].
        points: of its constellation, complex128 [P].
        leakage: its power on the carriers of a body, float64 [FFT_SIZE], see `rfsep.separators.lte.data_channel`.
    """

    waveforms: Tensor
    points: Tensor
    leakage: Tensor


def _symbols(channel: DataChannel, cells: list[Pilots], num_samples: int) -> list[Place]:
    """Lists the symbols in a window. Without a cell that tells where slots begin, all prefixes count as short."""
    for cell in cells:
        for place in places(cell, num_samples, 1):
            late = place.start - channel.start
            if abs(late) <= _NEAR:
                return list(places(cell._replace(start=cell.start - late), num_samples, 1))
    first = (channel.start + FFT_SIZE) % SYMBOL - FFT_SIZE
    return [Place(-1, -1, start) for start in range(first, num_samples + PREFIX, SYMBOL)]


def _far_covariance(band: Band) -> Tensor:
    """Returns the covariance complex128 [Q, Q] of the carriers beyond `_REACH`, at unit power each, in a band.

    The filters of the band's ends are cut off, and let these carriers through.
    """
    size = 2 * band.decimator.shape[1]
    carrier = (torch.fft.fftfreq(size, dtype=torch.float64) * FFT_SIZE).abs()
    spectrum = torch.fft.fft(band.decimator, size) * ((carrier > _REACH) & (carrier <= _EDGE))
    found: Tensor = spectrum @ spectrum.mH / size
    return found


class _Elements:
    """The kinds of the data's elements, which all symbols of a window learn while they are detected."""

    def __init__(self, carriers: Tensor, share: Tensor) -> None:
        self._block, self._prior = blocks_of(carriers), share.float()
        self._shares = dict[int, Tensor]()

    def __call__(self, place: int, cavity: Marginals) -> Marginals:
        """Returns the posterior of a symbol's elements, given their cavity."""
        share = self._shares.get(place)
        found = mixed(cavity, self._prior.expand(len(self._block), -1) if share is None else share)
        self._shares[place] = block_shares(found.share, self._block, self._prior)
        return found.symbols


class _Scene:
    """A window without carrier offset, whose channel detection improves.

    Args:
        window: complex128 [T].
        band: of the SOI, and with its carrier offset.
        soi: the SOI's own constants.
        channel: found beside the SOI.
        symbols: of the interference, in the window.
    """

    def __init__(self, window: Tensor, band: Band, soi: Soi, channel: DataChannel, symbols: list[Place]) -> None:
        self._window, self._band, self._soi = window, band, soi
        self._channel, self._symbols = channel, symbols
        number = torch.arange(-_REACH, _REACH + 1)
        self._carriers = number[number != 0]
        self._waves = dict[int, Waves]()
        self._turns = dict[int, Tensor]()
        for place, symbol in enumerate(symbols):
            prefix = PREFIX + _LONGER * (symbol.symbol == 0)
            waves = symbol_waves(band, symbol.start - prefix, prefix, 0.0, self._carriers.double())
            rows = waves.abs().sum(1).nonzero()[:, 0]
            if len(rows):
                reached = slice(int(rows[0]), int(rows[-1]) + 1)
                self._waves[place] = Waves(reached, waves[reached])
                self._turns[place] = torch.ones((), dtype=torch.complex128)
        self._samples, self._far = band.decimator @ window, _far_covariance(band)

    def model_after(self, reached: Propagated | None) -> Model:
        """Returns the model, with the channel that a result shows."""
        if reached is not None:
            self._refit(reached)
        gains, channel = self._channel.gains(self._carriers), self._channel
        unknown = {SOI: Waves(slice(0, len(self._samples)), self._band.response.to(DTYPE))}
        for place, (rows, waves) in self._waves.items():
            unknown[place] = Waves(rows, (waves * gains * self._turns[place]).to(DTYPE))
        white = (max(channel.noise, _NOISE) * self._band.noise).to(DTYPE)
        elements = _Elements(self._carriers, channel.share)
        far = float(squared(gains).mean()) * float(1 - channel.share[0]) * self._far
        return Model(self._samples.to(DTYPE), unknown, far.to(DTYPE), white, elements)

    def _refit(self, reached: Propagated) -> None:
        mean, variance = reached.found[SOI]
        mean = mean.to(torch.complex128)
        clean = self._window - self._soi.waveforms @ mean
        body = next((place for place in self._waves if self._symbols[place].start == self._channel.start), None)
        if body is not None:
            left = float(variance.mean()) * self._soi.leakage
            self._channel = refitted(self._channel, clean, self._carriers, reached.found[body], left)
        self._turn(self._samples - self._band.response @ mean, reached, body)

    def _turn(self, clean: Tensor, reached: Propagated, body: int | None) -> None:
        """Fits the phase of each symbol to a band complex128 [Q] without SOI; a residual carrier offset turns them."""
        gains, columns = self._channel.gains(self._carriers), list[Tensor]()
        for place, (rows, waves) in self._waves.items():
            column = torch.zeros_like(clean)
            column[rows] = waves @ (gains * reached.found[place].mean.to(torch.complex128))
            columns.append(column)
        sent = torch.stack(columns, 1)
        gram = sent.mH @ sent
        prior = _STEADY * gram.diagonal().real.max()
        moment = sent.mH @ clean + prior
        fitted = torch.linalg.solve(gram + prior * torch.eye(len(gram)), moment)
        for place, gain in zip(self._waves, fitted, strict=True):
            if place != body:
                self._turns[place] = gain / gain.abs().clamp_min(_SILENCE)


def detected_data(window: Tensor, band: Band, soi: Soi, timing: Timing, cells: list[Pilots]) -> Propagated | None:
    """Detects the SOI's symbols of a window complex64 [T]; None where no data, or none that explain it, are in it.

    Args:
        window: samples.
        band: of the SOI.
        soi: its constants.
        timing: of the interference.
        cells: whose pilots were found, the surest first; they tell where slots begin.
    """
    phase = -2 * torch.pi / FFT_SIZE * timing.offset * torch.arange(len(window), dtype=torch.float64)
    turn = torch.polar(torch.ones_like(phase), phase)
    still = window * turn
    channel = find_data(still, timing, soi.leakage) if bool(window.any()) else None
    if channel is None or channel.evidence < _LEAST_EVIDENCE or channel.share[0] > _MOST_EMPTY:
        return None
    moved = soi._replace(waveforms=soi.waveforms * turn[:, None])
    band = band._replace(response=band.decimator @ moved.waveforms)
    scene = _Scene(still, band, moved, channel, _symbols(channel, cells, len(window)))
    try:
        found = detected(scene.model_after, soi.points)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    return found if found.misfit < _MOST_MISFIT else None
