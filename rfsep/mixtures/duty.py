"""Windows in which the interference is on: others are drawn again."""

from collections.abc import Callable

import torch
from torch import Tensor

from rfsep.iq import from_db, power
from rfsep.signals.channels.through import LinkedSource, Received
from rfsep.types import InputError, Sampled, SignalSource

BLOCK_SAMPLES = 64
ON_DB = -10.0  # A block of more power than this, relative to a source's mean of 1, is on.
_ROUND = 16  # least number of windows that are drawn at once
_DRAWS = 100  # windows drawn per window wanted before a share counts as out of reach


def on_share(waveform: Tensor) -> Tensor:
    """Returns the share of blocks of 64 samples whose power is above -10 dB: complex64 [B, T] to float32 [B].

    0 dB is the mean power of a source, pauses included. The last block of a window may be shorter.

    >>> on_share(torch.cat((torch.ones(1, 96), torch.full((1, 160), 0.3)), 1).cfloat())
    tensor([0.5000])
    """
    begins = range(0, waveform.shape[1], BLOCK_SAMPLES)
    blocks = torch.stack([power(waveform[:, begin : begin + BLOCK_SAMPLES]) for begin in begins])  # [blocks, B]
    return (blocks > from_db(ON_DB)).float().mean(0)  # [B]


class OnAir:
    """Windows of a source that is on for a least share of each.

    Args:
        source: the source, of unit mean power.
        duty: least `on_share` of a window.
        name: name of the source, for messages.
    """

    def __init__(self, source: SignalSource, duty: float, name: str) -> None:
        self.source = source
        self.duty = duty
        self.name = name

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T].

        Raises:
            InputError: the source has too few such windows.
        """

        def draw(count: int) -> Received:
            return Received(self.source.sample(count, num_samples, generator), [])

        return _redrawn(draw, batch_size, self.duty, self.name).sampled


class LinkedOnAir:
    """Windows of a source behind a channel that is on for a least share of each, as it arrives.

    Args:
        source: the source, of unit mean power.
        duty: least `on_share` of a window.
        name: name of the source, for messages.
    """

    def __init__(self, source: LinkedSource, duty: float, name: str) -> None:
        self.source = source
        self.duty = duty
        self.name = name

    def num_rays(self) -> int:
        """Returns the largest number of rays of a window."""
        return self.source.num_rays()

    def receive(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Received:
        """Draws windows complex64 [B, T] with their impairments.

        Raises:
            InputError: the source has too few such windows.
        """

        def draw(count: int) -> Received:
            return self.source.receive(count, num_samples, generator)

        return _redrawn(draw, batch_size, self.duty, self.name)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        return self.receive(batch_size, num_samples, generator).sampled


def _redrawn(draw: Callable[[int], Received], batch_size: int, duty: float, name: str) -> Received:
    """Draws windows until ``batch_size`` of them are on for the share ``duty``, and returns those in their order."""
    kept, found, drawn, most = list[Received](), 0, 0, 0.0
    while found < batch_size:
        received = draw(max(batch_size - found, _ROUND))
        shares = on_share(received.sampled.waveform)  # [count]
        rows = (shares >= duty).nonzero()[: batch_size - found, 0]
        # A source without a channel has no impairments.
        impairments = [received.drawn[row] for row in rows.tolist()] if received.drawn else []
        kept.append(Received(Sampled(*(field[rows] for field in received.sampled)), impairments))
        found, drawn, most = found + len(rows), drawn + len(shares), max(most, float(shares.max()))
        if found < batch_size and drawn >= _DRAWS * (batch_size + 10):
            length = received.sampled.waveform.shape[1]
            raise InputError(
                f"duty is {duty:g}, and {name} is on for that share of {found} in {drawn} windows of {length} samples;"
                f" the largest share is {most:.2g}: ask for less, or for shorter windows (num_samples=)"
            )
    fields = zip(*(one.sampled for one in kept), strict=True)
    return Received(Sampled(*(torch.cat(parts) for parts in fields)), [one for part in kept for one in part.drawn])
