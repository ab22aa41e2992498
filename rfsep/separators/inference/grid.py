"""Cuts a mixture on the symbol grid of its interference, and lists the SOI symbols that reach into each block.

Everything that knows the interference's period works on this layout. Within a block the interference has one
covariance. Blocks of OFDM are independent. Only a few SOI symbols overlap each block, so no matrix is larger than a
block or the number of SOI symbols in the window.
"""

from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rfsep.separators.inference.tridiagonal import Band
from rfsep.signals.statistics import modem_waveforms
from rfsep.types import Modem

ABSENT = 1e12  # precision of a symbol that does not exist
_CONTEXT = 8  # symbol periods on each side that may reach into a window
_NEGLIGIBLE = 1e-12  # A waveform with a smaller share of the largest energy counts as zero.
_NEGLIGIBLE_TAIL = 1e-7  # the same behind a filter, whose tails are long and weak


class Filter(Protocol):
    """A filter that a mixture has passed."""

    @property
    def lead(self) -> int:
        """Number of taps ahead of the one at delay 0."""
        ...

    def __call__(self, waveform: Tensor) -> Tensor:
        """Filters waveforms complex [B, T]."""
        ...

    def gain(self, size: int) -> Tensor:
        """Returns its power gain float64 [size] at frequencies as ``torch.fft.fft`` has them."""
        ...


class Blocks(NamedTuple):
    """Windows cut into K blocks of P samples. The first and the last one may lie partly outside.

    Attributes:
        samples: complex128 [B, K, P], zero outside the window.
        inside: bool [B, K, P].
        phase: int64 [B, K], samples into a SOI period at which each block begins.
        columns: int64 [B, K, c], the SOI symbols that reach into each block; S, beyond the last one, stands for none.
    """

    samples: Tensor
    inside: Tensor
    phase: Tensor
    columns: Tensor


class Window(NamedTuple):
    """The constants of a window during detection.

    Attributes:
        carriers: complex [B, K, D], A^H y, matched-filter outputs of the interference's carriers.
        phase: int64 [B, K], see `Blocks`.
        soi: complex [B, S], R^H y.
        soi_gram: R^H R, complex [B, n, 3, m, m], see `Band`.
        edge_gram: complex [B, E, D, D], A^H A of the blocks that may lie partly outside.
        edge_coupling: complex [B, E, D, c], A^H R of these.
        columns: int64 [B, K, c], see `Blocks`.
        pairs: int64 [B, n], places of their pairs, see `Band.pairs`.
        exists: bool [B, S].
        inside: bool [B, K, P], see `Blocks`.
        samples: complex [B, K, P], y.
    """

    carriers: Tensor
    phase: Tensor
    soi: Tensor
    soi_gram: Tensor
    edge_gram: Tensor
    edge_coupling: Tensor
    columns: Tensor
    pairs: Tensor
    exists: Tensor
    inside: Tensor
    samples: Tensor


class SoiGrid:
    """SOI symbols against blocks of P samples, for any timing of either.

    Args:
        modem: the SOI's modem.
        num_samples: samples per window.
        period: samples P per block.
        begins: whether the SOI begins with the window; otherwise earlier symbols reach into it.
        ends: whether the SOI ends with the window.
        passed: filter that the mixture has passed, and the SOI's pulses with it; None for none.
    """

    def __init__(
        self, modem: Modem, num_samples: int, period: int, *, begins: bool, ends: bool, passed: Filter | None = None
    ) -> None:
        self.modem = modem
        self.num_samples = num_samples
        self.period = period
        self.begins = begins
        self.ends = ends
        self.num_blocks = (num_samples + 2 * period - 2) // period
        step = modem.symbol_period
        self._passed = passed
        self._beyond = 0 if passed is None else -(-passed.lead // step)  # periods that the filter reaches
        context = _CONTEXT + self._beyond
        around = self._waveforms(1)  # one SOI period and the context on each side
        self.density = len(around) // (2 * context + 1)  # data symbols per period
        energy = around.abs().square().sum(1)
        least = _NEGLIGIBLE if passed is None else _NEGLIGIBLE_TAIL
        reach = (energy > least * energy.max()).nonzero()[:, 0] // self.density - context
        self._before, self._behind = int(-reach.min()), int(reach.max())
        self.num_symbols = self.density * (self._before + -(-(num_samples + step - 1) // step) + self._behind)

    def _waveforms(self, periods: int) -> Tensor:
        """Waveforms [S, T] of the symbols that reach ``periods`` SOI periods, from well before to well after them."""
        step, beyond = self.modem.symbol_period, self._beyond
        rows = modem_waveforms(self.modem, (periods + 2 * beyond) * step, _CONTEXT)
        return rows if self._passed is None else self._passed(rows)[:, beyond * step : (beyond + periods) * step]

    def gain(self, size: int) -> Tensor | float:
        """Power gain of the filter that the mixture has passed, float64 [size]; 1 for none."""
        return 1.0 if self._passed is None else self._passed.gain(size)

    @cached_property
    def pulses(self) -> Tensor:
        """Returns waveforms complex128 [step, P, c] in a block that begins 0, 1, ... samples into a SOI period."""
        step, span = self.modem.symbol_period, self.modem.symbol_period + self.period - 1
        total = -(-span // step)
        rows = self._waveforms(total)
        first = (_CONTEXT + self._beyond - self._before) * self.density
        rows = rows[first : first + (self._before + total + self._behind) * self.density].to(torch.complex128)
        return torch.stack([rows[:, phase : phase + self.period].T for phase in range(step)])  # [step, P, c]

    @cached_property
    def band(self) -> Band:
        """Returns the layout of matrices over the symbols."""
        return Band(self.num_symbols, self.pulses.shape[2], self.density)

    @cached_property
    def period_of_symbol(self) -> Tensor:
        """Returns the SOI period of each symbol, 0 at sample 0: int64 [S]."""
        return torch.arange(self.num_symbols) // self.density - self._before

    def exists(self, soi_offset: Tensor) -> Tensor:
        """Tells which symbols can be on the air: bool [B, S]; none precedes a beginning or follows an end."""
        place = self.period_of_symbol
        begun = (place >= 0) | (not self.begins)
        if not self.ends:
            return begun.expand(len(soi_offset), -1)
        return begun & (place < self._periods[soi_offset][:, None])

    @cached_property
    def _periods(self) -> Tensor:
        """Counts SOI periods of a signal that ends with the window, by the offset at its first sample: int64 [step]."""
        silence = torch.zeros((1, self.num_samples + self.modem.symbol_period), dtype=torch.complex64)
        lengths = range(self.num_samples, silence.shape[1])
        return torch.tensor([self.modem.analyse(silence[:, :length]).shape[1] // self.density for length in lengths])

    def cut(self, mixture: Tensor, soi_offset: Tensor, interference_offset: Tensor) -> Blocks:
        """Cuts mixtures complex [B, T] into blocks; timings int64 [B] and [B] are samples into a period at sample 0."""
        period, step = self.period, self.modem.symbol_period
        start = torch.arange(self.num_blocks) * period - interference_offset[:, None]  # [B, K]
        place = start[:, :, None] + torch.arange(period)  # [B, K, P]
        inside = (place >= 0) & (place < self.num_samples)
        held = place.clamp(0, self.num_samples - 1)
        samples = mixture.to(torch.complex128).gather(1, held.flatten(1)).reshape(place.shape) * inside
        soi_time = start + soi_offset[:, None]
        first = torch.div(soi_time, step, rounding_mode="floor") * self.density  # column of the first pulse
        columns = first[..., None] + torch.arange(self.pulses.shape[2])
        columns = torch.where((columns >= 0) & (columns < self.num_symbols), columns, self.num_symbols)
        return Blocks(samples, inside, soi_time % step, columns)

    def synthesise(self, symbols: Tensor, soi_offset: Tensor) -> Tensor:
        """Waveforms complex64 [B, T] of symbols complex [B, S] at timings int64 [B]."""
        periods = self.num_symbols // self.density
        step = self.modem.symbol_period
        waveform = self.modem.synthesise(
            symbols.to(torch.complex64), periods * step
        )  # Period 0 of the window begins at before * step.
        place = self._before * step + soi_offset[:, None] + torch.arange(self.num_samples)
        return waveform.gather(1, place)


def gathered(symbols: Tensor, columns: Tensor) -> Tensor:
    """Gathers values [B, S] of the symbols that reach into each block, by int64 [B, K, c]: [B, K, c]; 0 for none."""
    padded = torch.nn.functional.pad(symbols, (0, 1))
    return padded.gather(1, columns.flatten(1)).reshape(columns.shape)


def scattered(values: Tensor, columns: Tensor, num_symbols: int) -> Tensor:
    """Sums values [B, K, c] over blocks at the symbols ``columns`` int64 [B, K, c]: [B, S]."""
    total = values.new_zeros((len(values), num_symbols + 1))
    return total.scatter_add(1, columns.flatten(1), values.flatten(1))[:, :num_symbols]


def scattered_matrix(values: Tensor, columns: Tensor, num_symbols: int) -> Tensor:
    """Sums matrices [B, K, c, c] over blocks at rows and columns ``columns`` int64 [B, K, c]: [B, S, S]."""
    width = num_symbols + 1
    index = (columns[..., :, None] * width + columns[..., None, :]).flatten(1)
    total = values.new_zeros((len(values), width * width)).scatter_add(1, index, values.flatten(1))
    return total.reshape(-1, width, width)[:, :num_symbols, :num_symbols]
