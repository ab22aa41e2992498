"""Models when a bursty transmitter is on the air."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.types import InputError

Range = tuple[float, float]


def check_range(name: str, values: Range, lowest: float, highest: float = math.inf) -> Range:
    """Returns the pair (low, high) of ``values``.

    Raises:
        InputError: ``values`` is no pair with lowest <= low <= high <= highest.
    """
    if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
        raise InputError(f"{name}: {tuple(values)} is no (low, high) with {lowest:g} <= low <= high <= {highest:g}")
    return float(values[0]), float(values[1])


def uniform(values: Range, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws independent float64 values from U[low, high)."""
    low, high = values
    return low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=generator)


class Bursts(NamedTuple):
    """Alternating on and off times, uniform and independent, in equilibrium, so that no instant is special.

    Attributes:
        on: (low, high), samples that a burst lasts.
        off: (low, high), samples of silence between bursts.
    """

    on: Range
    off: Range

    def duty(self, ramp: float = 0.0) -> float:
        """Returns the mean of the squared gate; a ramp sin(.)^2 has 3/8 of full power at each end of a burst.

        >>> Bursts((100.0, 300.0), (200.0, 200.0)).duty()
        0.5
        """
        mean_on, mean_off = sum(self.on) / 2, sum(self.off) / 2
        return (mean_on - 2 * ramp * 5 / 8) / (mean_on + mean_off)

    def edges(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws sorted instants float64 [B, 2E] at which bursts begin (even) and end (odd), covering 0..num_samples.

        The cycle around sample 0 is longer than average (the inspection paradox). Either its on or its off time, chosen
        in proportion to their means, comes from the density proportional to length.
        """
        mean_on, mean_off = sum(self.on) / 2, sum(self.off) / 2
        cycles = 2 + math.ceil(num_samples / (self.on[0] + self.off[0]))
        on = uniform(self.on, (batch_size, cycles), generator)
        off = uniform(self.off, (batch_size, cycles), generator)
        pick, place, within = torch.rand((3, batch_size), dtype=torch.float64, generator=generator)
        on_is_longer = pick < mean_on / (mean_on + mean_off)
        biased_on, biased_off = ((low**2 + place * (high**2 - low**2)).sqrt() for low, high in (self.on, self.off))
        on[:, 0] = torch.where(on_is_longer, biased_on, on[:, 0])
        off[:, 0] = torch.where(on_is_longer, off[:, 0], biased_off)
        ends = torch.stack((on, off), 2).flatten(1).cumsum(1)  # [B, 2 * cycles]: burst end, next burst's start, ...
        edges = torch.cat((torch.zeros((batch_size, 1), dtype=torch.float64), ends[:, :-1]), 1)
        start: Tensor = within * (on[:, 0] + off[:, 0])
        return edges - start[:, None]


def gate(edges: Tensor, num_samples: int, ramp: float) -> Tensor:
    """Amplitude float32 [B, T] from 0 to 1, with raised-cosine ramps of ``ramp`` samples inside the bursts.

    ``edges`` are those of `Bursts.edges`, of bursts that hold two ramps.
    """
    batch_size = len(edges)
    bounds = edges.ceil().clamp(0, num_samples).long()
    bounds = torch.nn.functional.pad(bounds, (0, 1), value=num_samples)
    lengths = torch.diff(bounds, dim=1, prepend=torch.zeros((batch_size, 1), dtype=torch.int64))  # [B, 2E + 1]
    levels = (torch.arange(lengths.shape[1]) % 2).float().expand(batch_size, -1)  # 0 before the first burst
    amplitude = levels.flatten().repeat_interleave(lengths.flatten(), output_size=batch_size * num_samples)
    # Only the samples of ramps lie between 0 and 1.
    start, end = edges[:, 0::2, None], edges[:, 1::2, None]  # [B, E, 1]
    within = torch.arange(math.ceil(ramp) + 1, dtype=torch.float64)
    samples = torch.cat((start.ceil() + within, end.floor() - within), 2)  # [B, E, 2 * ramp samples]
    rise = (torch.minimum(samples - start, end - samples) / ramp).clamp(0, 1).float()
    inside = (samples >= start.clamp(min=0)) & (samples <= end) & (samples < num_samples)
    rows = num_samples * torch.arange(batch_size)[:, None, None]
    amplitude[(samples.long() + rows)[inside]] = torch.sin(rise[inside] * (math.pi / 2)).square()
    return amplitude.view(batch_size, num_samples)
