"""Cuts a long signal so that a separator's windows fall where they would in the uncut signal."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from rfsep.types import InputError

_BLOCK = 2560  # samples per window for a separator that does not state it


class Chunks(NamedTuple):
    """The cuts of a long signal: overlapping chunks of whole windows, of which the middle is kept.

    Chunk i begins at sample ``i * step``, where a window of the uncut signal begins too, so windows see the same
    samples. The two windows before the kept part and the two after it belong to the neighbours: they, and bits
    demodulated from them, would suffer from an edge that the uncut signal does not have.

    Attributes:
        total: samples of the signal.
        hop: samples from one window to the next, a multiple of the symbol period.
        windows: windows that begin in the kept part of a chunk.
        block: samples per window.
    """

    total: int
    hop: int
    windows: int
    block: int

    def number(self) -> int:
        """Returns the number of chunks.

        >>> Chunks(total=10000, hop=100, windows=10, block=100).number()
        9
        """
        return max(1, (self.total - 2 * self.hop) // (self.hop * self.windows))

    def bounds(self, index: int) -> tuple[int, int, int, int]:
        """Returns the beginning of a chunk, beginning and end of its kept part, and the end of the chunk.

        >>> cut = Chunks(total=10000, hop=100, windows=10, block=100)
        >>> [cut.bounds(i) for i in (0, 1, 8)]  # the last chunk is longer
        [(0, 0, 1200, 1400), (1000, 1200, 2200, 2400), (8000, 8200, 10000, 10000)]
        """
        step = self.hop * self.windows
        begin = index * step
        first = 0 if index == 0 else begin + 2 * self.hop
        if index == self.number() - 1:
            return begin, first, self.total, self.total
        kept = begin + step + 2 * self.hop
        return begin, first, kept, min(kept + self.hop + self.block, self.total)


def window_of(method: Any, arguments: Mapping[str, Any]) -> tuple[int, int]:
    """Returns a separator's window and margin in samples, from its config or class; of candidates the longest."""
    if "candidates" in method:
        return max(window_of(candidate, arguments) for candidate in method["candidates"].values())
    known = parameters_of(method["_target_"])

    def value(name: str) -> Any:
        default = known[name].default if name in known else None
        return method[name] if name in method else arguments.get(name, default)

    block, margin = value("block"), value("margin")
    if not isinstance(block, int):
        return _BLOCK, 0
    return block, margin if isinstance(margin, int) else block // 4


def parameters_of(target: str) -> Mapping[str, inspect.Parameter]:
    """Returns the arguments of a class's constructor, by name."""
    module, _, name = target.rpartition(".")
    return inspect.signature(getattr(importlib.import_module(module), name)).parameters


def cut(total: int, chunk_samples: int, window: tuple[int, int], period: int) -> Chunks:
    """Returns the cuts of a signal into chunks of about ``chunk_samples``.

    Raises:
        InputError: the margins leave nothing of a window.
    """
    block, margin = window
    hop = (block - 2 * margin) // period * period
    if hop <= 0:
        raise InputError(f"block {block} leaves nothing between two margins of {margin} at symbol period {period}")
    return Chunks(total, hop, max(1, round(chunk_samples / hop)), block)
