"""Several kinds of interference in one source."""

from collections.abc import Sequence

import torch

from rfsep.types import Sampled, SignalSource, synthetic


class Choice:
    """Every window comes from one of several sources, chosen at random: what a multi-type separator trains on.

    Args:
        sources: all equally likely.
    """

    def __init__(self, sources: Sequence[SignalSource]) -> None:
        self.sources = list(sources)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Windows complex64 [B, T]."""
        chosen = torch.randint(0, len(self.sources), (batch_size,), generator=generator)
        waveform = torch.empty((batch_size, num_samples), dtype=torch.complex64)
        for index, source in enumerate(self.sources):
            rows = (chosen == index).nonzero()[:, 0]
            if len(rows):
                waveform[rows] = source.sample(len(rows), num_samples, generator).waveform
        return synthetic(waveform)
