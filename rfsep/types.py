"""The nouns that every layer shares: batches, sources, modems, separators and the error a user sees."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class InputError(ValueError):
    """Wrong input by the user, in one line that names the file or key, the value and the choices."""


class MixtureBatch(NamedTuple):
    """Mixtures with their truth. The tuple survives collation, device transfer and workers unchanged.

    Attributes:
        mixture: complex64 [B, T].
        soi: complex64 [B, T], the signal of interest.
        interference: complex64 [B, T], at the level it has in the mixture.
        bits: uint8 [B, N], zero-padded; N = 0 where the SOI carries no known bits.
        num_bits: int64 [B]; the scorer uses the first ``num_bits`` of a row.
        sinr_db: float32 [B], nominal.
        soi_offset: int64 [B], samples into a symbol at sample 0; -1 unknown.
        interference_offset: int64 [B], samples into a period at sample 0; -1 unknown.
        interference_origin: int64 [B], which recording the interference was cut from; -1 for synthetic sources.
    """

    mixture: Tensor
    soi: Tensor
    interference: Tensor
    bits: Tensor
    num_bits: Tensor
    sinr_db: Tensor
    soi_offset: Tensor
    interference_offset: Tensor
    interference_origin: Tensor


class Sampled(NamedTuple):
    """The output of a source.

    Attributes:
        waveform: complex64 [B, T].
        bits: uint8 [B, N]; N = 0 where no bits are known.
        offset: int64 [B], samples into a period at sample 0; -1 unknown.
        origin: int64 [B], which recording the window was cut from; -1 for synthetic sources. Windows of one recording
            are not independent, which intervals must know.
        num_bits: int64 [B], how many of a row's bits are known, the first ones.
    """

    waveform: Tensor
    bits: Tensor
    offset: Tensor
    origin: Tensor
    num_bits: Tensor


def synthetic(
    waveform: Tensor, bits: Tensor | None = None, offset: Tensor | None = None, num_bits: Tensor | None = None
) -> Sampled:
    """Makes the output of a synthetic source; bits and offsets that are left out are unknown."""
    batch_size = len(waveform)
    unknown = torch.full((batch_size,), -1, dtype=torch.int64)
    if bits is None:
        bits = torch.zeros((batch_size, 0), dtype=torch.uint8)
    if num_bits is None:
        num_bits = torch.full((batch_size,), bits.shape[1], dtype=torch.int64)
    return Sampled(waveform, bits, unknown if offset is None else offset, unknown, num_bits)


class Separated(NamedTuple):
    """The output of a separator.

    Attributes:
        soi: complex64 [B, T], the estimated signal of interest.
        bits: uint8 [B, N], its decided bits.
    """

    soi: Tensor
    bits: Tensor


class SignalSource(Protocol):
    """A source of windows of a signal."""

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws ``batch_size`` independent windows of ``num_samples`` samples."""
        ...


class Modem(SignalSource, Protocol):
    """A known modulation, bits to waveform and back. As a source it gives synchronised windows of random bits.

    ``symbol_period`` is the number of samples after which the modem's statistics repeat.
    """

    symbol_period: int
    constellation: Tensor  # complex64 [2**bits_per_symbol], entry i carries the bits of i, first bit first

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples."""
        ...

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, T] of bits uint8 [B, N]."""
        ...

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N] of a waveform complex64 [B, T]: log P(bit = 1) / P(bit = 0).

        They are calibrated where ``noise_variance`` is E|noise|^2 of the outputs of `analyse`, a number or a tensor
        broadcast against [B, S]. At the default, which stands for an unknown variance, they are not, and the signs of
        constellations with several levels are no decisions: see `decide`.
        """
        ...

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of a waveform complex64 [B, T], those of the nearest constellation points.

        ``gain`` is the amplitude that the symbols have in the waveform, positive, a number or a tensor broadcast
        against [B, S]. An estimate whose gain nobody knows is decided as it is.
        """
        ...

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], those that carry no bits among them.

        ``periods`` symbol periods were sent before, of which ``last`` complex64 [B, 1] was the last symbol. Pilots and
        differential modulation depend on that.
        """
        ...

    def analyse(self, waveform: Tensor) -> Tensor:
        """Returns matched-filter outputs complex64 [B, S], one per data symbol, in the order of the bits."""
        ...

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of data symbols complex64 [B, S]."""
        ...


class Separator(Protocol):
    """Maps a mixture to an estimate, from the tensor alone: no labels, no SINR, no neighbouring rows."""

    def separate(self, mixture: Tensor) -> Separated:
        """Estimates the SOI and its bits from mixtures complex64 [B, T]."""
        ...
