"""One of several kinds of interference, drawn anew for every window, to train one network for all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfsep.types import InputError, Sampled, SignalSource


class Several:
    """Windows of several sources, all equally likely.

    Args:
        sources: sources of interference. Their bits, recordings and timing are not returned, because a timing has no
            common meaning for several kinds.

    Raises:
        InputError: there is no source.
    """

    def __init__(self, sources: Sequence[SignalSource]) -> None:
        if not sources:
            raise InputError("sources is empty, expected at least one kind of interference")
        self.sources = tuple(sources)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T] of unit power on average."""
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
