"""One of several kinds of interference, drawn for every window: what a network of all of them trains on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfsep.types import InputError, Sampled, SignalSource


class Several:
    """Windows of other sources, each as often.

    Args:
        sources: of interference; their bits and recordings are not told, nor their timing, which a network of one kind
            could use and one of several cannot name.

    Raises:
        InputError: no source.
    """

    def __init__(self, sources: Sequence[SignalSource]) -> None:
        if not sources:
            raise InputError("sources is empty, expected at least one kind of interference")
        self.sources = tuple(sources)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Windows complex64 [B, T] of unit power on average."""
        kind = torch.randint(0, len(self.sources), (batch_size,), generator=generator)
        waveform = torch.empty((batch_size, num_samples), dtype=torch.complex64)
        for index, source in enumerate(self.sources):
            rows = kind == index
            count = int(rows.sum())
            if count:
                waveform[rows] = source.sample(count, num_samples, generator).waveform
        unknown: Tensor = torch.full((batch_size,), -1, dtype=torch.int64)
        bits = torch.zeros((batch_size, 0), dtype=torch.uint8)
        return Sampled(waveform, bits, unknown, unknown, torch.zeros(batch_size, dtype=torch.int64))
