"""Sources whose windows come through a channel, with the bits and the timing that they then have."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.signals.channels.drawn import RandomImpairments, as_table, table_columns
from rfsep.signals.channels.impairments import Impairments, PhaseWalk, impaired_stretch, needed
from rfsep.signals.constellations import random_bits
from rfsep.signals.recordings import Recorded
from rfsep.types import Modem, Sampled, SignalSource, synthetic


class RecordedSource(SignalSource, Recorded, Protocol):
    """A source of windows of recordings."""


class Received(NamedTuple):
    """Windows, and the impairments that each of them came through."""

    sampled: Sampled
    drawn: list[Impairments]


class LinkedSource(Protocol):
    """A source that tells what its windows came through."""

    def receive(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Received:
        """Draws windows with their impairments."""
        ...

    def num_rays(self) -> int:
        """Returns the largest number of rays of a window."""
        ...


class ModemThroughChannel:
    """Windows of a modem's random symbols through a channel. The first symbol is sent at sample 0, and none before.

    ``bits`` are those of the symbols whose centre arrives in the window by a path without delay; no later one is sent.
    ``offset`` is the number of samples into a symbol at sample 0, rounded.

    Args:
        modem: the modulation.
        impairments: what the windows go through.
    """

    def __init__(self, modem: Modem, impairments: RandomImpairments) -> None:
        self.modem = modem
        self.impairments = impairments

    def num_rays(self) -> int:
        """Returns the largest number of rays of a window."""
        return self.impairments.num_rays()

    def receive(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Received:
        """Draws windows complex64 [B, T] with their impairments."""
        drawn = self.impairments.draw(batch_size, generator)
        modem, period = self.modem, self.modem.symbol_period
        low, high = _reach(drawn, num_samples)
        before = max(0, -(low // period))  # periods without symbols, in which the first pulses begin
        length = max(num_samples, high)
        bits = random_bits(batch_size, modem.num_bits(num_samples), generator)
        more = random_bits(batch_size, modem.num_bits(length) - bits.shape[1], generator)
        bits = torch.cat((bits, more), 1)
        zero = torch.zeros(batch_size, dtype=torch.int64)
        place = _places(modem, drawn, zero, 0, num_samples)
        each = modem.analyse(bits.new_zeros((1, period), dtype=torch.complex64)).shape[1]  # symbols per period
        symbols = modem.symbols(bits)
        number = torch.arange(symbols.shape[1]) // each
        last = place.first + place.total.clamp(max=modem.num_bits(num_samples) // modem.num_bits(period))
        symbols = symbols * (number < last[:, None])
        symbols = torch.cat((symbols.new_zeros((batch_size, before * each)), symbols), 1)
        sent = modem.synthesise(symbols, before * period + length)
        waveform = _received(sent, -before * period, drawn, num_samples, generator)
        known = _window_bits(modem, bits, place, torch.full_like(zero, bits.shape[1]), num_samples)
        return Received(synthetic(waveform, *known), drawn)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        return self.receive(batch_size, num_samples, generator).sampled


class ThroughChannel:
    """Windows of a source through a channel, cut out of longer ones, so that nothing begins or ends in them.

    Args:
        source: the signal.
        impairments: what the windows go through.
        modem: modem of the signal, by which its bits and timing are followed. Without it there are none.
    """

    def __init__(self, source: SignalSource, impairments: RandomImpairments, modem: Modem | None = None) -> None:
        self.source = source
        self.impairments = impairments
        self.modem = modem

    def num_rays(self) -> int:
        """Returns the largest number of rays of a window."""
        return self.impairments.num_rays()

    def receive(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Received:
        """Draws windows complex64 [B, T] with their impairments."""
        drawn = self.impairments.draw(batch_size, generator)
        before, length = _margins(self.impairments, num_samples)
        longer = self.source.sample(batch_size, length, generator)
        waveform = _received(longer.waveform, -before, drawn, num_samples, generator)
        if self.modem is None:
            return Received(synthetic(waveform)._replace(origin=longer.origin), drawn)
        place = _places(self.modem, drawn, longer.offset, -before, num_samples)
        known = _window_bits(self.modem, longer.bits, place, longer.num_bits, num_samples)
        offset = torch.where(longer.offset < 0, -1, known.offset)
        sampled = synthetic(waveform, known.bits, offset, known.num_bits)
        return Received(sampled._replace(origin=longer.origin), drawn)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        return self.receive(batch_size, num_samples, generator).sampled


class RecordedThroughChannel:
    """Windows of recordings through a channel, on top of the one that they were recorded through.

    Args:
        source: the recordings.
        impairments: what the windows go through.
    """

    def __init__(self, source: RecordedSource, impairments: RandomImpairments) -> None:
        self.source = source
        self.impairments = impairments
        self._windows = ThroughChannel(source, impairments)

    @property
    def recordings(self) -> list[NDArray[np.complex64]]:
        """Returns every recording of the split as it is, complex64 [T_i]."""
        return self.source.recordings

    def names(self) -> list[str]:
        """Returns what each recording is called in messages."""
        return self.source.names()

    def num_rays(self) -> int:
        """Returns the largest number of rays of a window."""
        return self.impairments.num_rays()

    def receive(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Received:
        """Draws windows complex64 [B, T] with their impairments."""
        return self._windows.receive(batch_size, num_samples, generator)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        return self._windows.sample(batch_size, num_samples, generator)

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Frames to learn from, complex64 [num_frames, num_samples], each through a channel of its own."""
        drawn = self.impairments.draw(num_frames, generator)
        before, length = _margins(self.impairments, num_samples)
        longer = self.source.examples(num_frames, length, generator)
        return _received(longer, -before, drawn, num_samples, generator)

    def longest(self) -> int:
        """Returns the number of samples of the longest window that can be drawn; at most a few less than possible."""
        whole = self.source.longest()
        beyond = _margins(self.impairments, whole)[1] - whole
        return max(0, whole - beyond)


class Noted:
    """A source that keeps what its windows came through, for the truth of a test set.

    Args:
        source: the source.
    """

    def __init__(self, source: LinkedSource) -> None:
        self.source = source
        self._drawn: list[Impairments] = []

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        sampled, drawn = self.source.receive(batch_size, num_samples, generator)
        self._drawn += drawn
        return sampled

    def columns(self) -> tuple[str, ...]:
        """Returns the names of the table's columns."""
        return table_columns(self.source.num_rays())

    def table(self) -> NDArray[np.float64]:
        """Returns the impairments of all windows so far, float64 [M, 5 + 3 R], see `as_table`."""
        return as_table(self._drawn, self.source.num_rays())


class _Places(NamedTuple):
    """Which symbol periods arrive in each window.

    Attributes:
        first: number of the first one whose centre lies in the window, int64 [B], from the first known one.
        total: how many there are, int64 [B].
        offset: samples into a symbol at sample 0, int64 [B], rounded.
    """

    first: Tensor
    total: Tensor
    offset: Tensor


class _Known(NamedTuple):
    """The bits uint8 [B, N], offset int64 [B] and number of bits int64 [B] of received windows."""

    bits: Tensor
    offset: Tensor
    num_bits: Tensor


def _reach(impairments: list[Impairments], num_samples: int) -> tuple[int, int]:
    """Returns the first sample and the end of what windows of ``num_samples`` need."""
    spans = [needed(one, 0, num_samples) for one in impairments]
    return min(low for low, _ in spans), max(high for _, high in spans)


def _margins(impairments: RandomImpairments, num_samples: int) -> tuple[int, int]:
    """Returns how many sent samples precede a window, and how many it takes in all, whatever is drawn."""
    low, high = _reach(impairments.extremes(), num_samples)
    return max(0, -low), max(0, -low) + max(high, num_samples)


def _received(
    sent: Tensor, first: int, drawn: list[Impairments], num_samples: int, generator: torch.Generator
) -> Tensor:
    """Returns windows complex64 [B, T] of sent ones complex64 [B, n] that begin at sample ``first``."""
    waveforms = sent.numpy().astype(np.complex128)
    rows = [
        impaired_stretch(waveforms[row : row + 1], first, one, 0, num_samples, PhaseWalk(one.phase_noise, generator))
        for row, one in enumerate(drawn)
    ]
    return torch.cat(rows)


def _places(modem: Modem, drawn: list[Impairments], offset: Tensor, begin: int, num_samples: int) -> _Places:
    """Returns which symbols arrive in windows, by a path without delay.

    Args:
        modem: modem of the signal.
        drawn: impairments of B windows.
        offset: samples into a symbol at the first sent sample, int64 [B].
        begin: number of that sample.
        num_samples: samples per window.
    """
    period = modem.symbol_period
    late = offset > period // 2  # The symbol at the first sample has its centre before it, and its bits are not known.
    start = begin - offset + period * late  # first known symbol, as sent
    delay = torch.tensor([one.delay for one in drawn], dtype=torch.float64)
    rate = 1 + 1e-6 * torch.tensor([one.clock_ppm for one in drawn], dtype=torch.float64)
    # A symbol sent at place p arrives at (p + delay) / rate.
    begun, centre = (start + delay) / rate, (start + period // 2 + delay) / rate
    step = period / rate
    first = (-centre / step).ceil().clamp(min=0).long()
    end = ((num_samples - centre) / step).ceil().long()
    return _Places(first, (end - first).clamp(min=0), (-begun).round().long() % period)


def _window_bits(modem: Modem, bits: Tensor, place: _Places, num_known: Tensor, num_samples: int) -> _Known:
    """Returns the bits of symbols in windows, zero-padded.

    Args:
        modem: modem of the signal.
        bits: bits of all sent symbols, uint8 [B, N]; N = 0 where they are not known.
        place: which symbols count.
        num_known: number of known bits, int64 [B].
        num_samples: samples per window.
    """
    if bits.shape[1] == 0:
        return _Known(bits, place.offset, torch.zeros_like(num_known))
    each, width = modem.num_bits(modem.symbol_period), modem.num_bits(num_samples)
    first = place.first * each
    num_bits = torch.minimum(place.total * each, num_known - first).clamp(0, width)
    column = first[:, None] + torch.arange(width)
    kept = torch.arange(width) < num_bits[:, None]
    return _Known(bits.gather(1, column.clamp(max=bits.shape[1] - 1)) * kept, place.offset, num_bits)
