"""Windows of recordings: where they may begin, and how they are drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.types import Sampled


class Recording(NamedTuple):
    """What was received in one file.

    Attributes:
        samples: complex64 [T].
        stretches: (first sample, length) each, between two seams: no window reaches across one.
    """

    samples: NDArray[np.complex64]
    stretches: tuple[tuple[int, int], ...]


def whole(samples: NDArray[np.complex64]) -> Recording:
    """A recording complex64 [T] without a seam."""
    return Recording(samples, ((0, len(samples)),))


def starts(recording: Recording, num_samples: int) -> int:
    """At how many samples of a recording a window may begin."""
    return sum(max(0, length - num_samples + 1) for _, length in recording.stretches)


def start_of(recording: Recording, num_samples: int, place: int) -> int:
    """The sample at which the window of a number begins, of those that `starts` counts."""
    for first, length in recording.stretches:
        room = max(0, length - num_samples + 1)
        if place < room:
            return first + place
        place -= room
    raise IndexError(place)


def crops(recordings: Sequence[Recording], batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
    """Uniform crops of uniformly chosen recordings, of those that are long enough."""
    rooms = [starts(recording, num_samples) for recording in recordings]
    chosen, places = draw(rooms, batch_size, generator)
    rows = []
    for index, place in zip(chosen.tolist(), places, strict=True):
        start = start_of(recordings[index], num_samples, place)
        rows.append(torch.from_numpy(np.array(recordings[index].samples[start : start + num_samples])))
    return sampled(rows, chosen)


def draw(rooms: Sequence[int], batch_size: int, generator: torch.Generator) -> tuple[Tensor, list[int]]:
    """Recordings int64 [B], uniformly of those with room, and a place in the room of each."""
    fitting = [index for index, room in enumerate(rooms) if room > 0]
    chosen = torch.tensor(fitting)[torch.randint(0, len(fitting), (batch_size,), generator=generator)]  # [B]
    fractions = torch.rand(batch_size, generator=generator, dtype=torch.float64).tolist()
    return chosen, [int(fraction * rooms[index]) for index, fraction in zip(chosen.tolist(), fractions, strict=True)]


def sampled(rows: list[Tensor], chosen: Tensor) -> Sampled:
    """Windows without known bits or timing, of known recordings."""
    unknown = torch.full((len(rows),), -1, dtype=torch.int64)
    no_bits = torch.zeros((len(rows), 0), dtype=torch.uint8)
    return Sampled(torch.stack(rows), no_bits, unknown, chosen, torch.zeros(len(rows), dtype=torch.int64))


def apart(recordings: Sequence[Recording], num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
    """Frames complex64 [num_frames, num_samples] from all over the recordings, without overlap while there is room.

    Frames of a stretch keep their order, and random gaps lie between them. Those that find no room are crops at
    random, which overlap the others. Frames come in a random order.
    """
    rooms = [[length // num_samples for _, length in recording.stretches] for recording in recordings]
    shares, frames = _shares([sum(room) for room in rooms], num_frames), []
    for recording, room, wanted in zip(recordings, rooms, shares, strict=True):
        for (first, length), count in zip(recording.stretches, _shares(room, wanted), strict=True):
            gaps = torch.rand(count, generator=generator, dtype=torch.float64).sort().values
            begins = first + (gaps * (length - count * num_samples + 1)).long() + torch.arange(count) * num_samples
            pieces = (recording.samples[begin : begin + num_samples] for begin in begins.tolist())
            frames += [torch.from_numpy(np.array(piece)) for piece in pieces]
    if len(frames) < num_frames:
        frames += crops(recordings, num_frames - len(frames), num_samples, generator).waveform
    return torch.stack(frames)[torch.randperm(num_frames, generator=generator)]


def _shares(room: Sequence[int], wanted: int) -> list[int]:
    """How many of ``wanted`` frames each part gives, of as many as it has room for: as equal as that allows."""
    shares = [0] * len(room)
    while (left := min(wanted, sum(room)) - sum(shares)) > 0:
        open_ones = [index for index, count in enumerate(room) if shares[index] < count]
        for index in open_ones[:left]:
            shares[index] += min(max(1, left // len(open_ones)), room[index] - shares[index])
    return shares
