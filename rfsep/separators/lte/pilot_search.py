"""Finds the likeliest pilots of an LTE cell in a window, of all cells, slots, symbols and whole carrier offsets.

The channel hardly turns from one pilot to the next, so products of neighbours are compared with those of every cell.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rfsep.iq import squared
from rfsep.separators.lte.cell_symbols import Pilots
from rfsep.separators.lte.resource_blocks import FFT_SIZE
from rfsep.signals.lte.pilots import NUM_PILOTS, SPACING, pilot_carriers, pilot_values

# Physics: a cell has this many resource blocks (TS 36.101 clause 5.6; the two narrowest are left out). Cells below 100
# blocks were added after one had been seen in a test recording.
_BLOCKS = (25, 50, 75, 100)

# Tuned; split not recorded. Whole carriers by which receiver and base station may differ.
_SHIFTS = tuple(range(-4, 5))

# Tuned; split not recorded. A body is cut this many samples inside the prefix.
_EARLY = 8

# A guard against division by zero.
_SILENCE = 1e-12


class _Ring(NamedTuple):
    """Pairs of neighbouring pilots that a band has and the next narrower one lacks.

    Attributes:
        pairs: their numbers, int64 [n].
        values: for each remainder modulo 3, the conjugated products of its cells: complex64 [n, 168 * 20 * 2].
    """

    pairs: Tensor
    values: list[Tensor]


@cache
def _rings() -> list[_Ring]:
    """Returns the rings of `_BLOCKS`, the narrowest band first."""
    values = pilot_values()
    steps = (values[..., 1:] * values[..., :-1].conj()).conj().resolve_conj()  # [504, 20, 2, 199]
    middle, rings = NUM_PILOTS // 2, list[_Ring]()
    pair, before = torch.arange(NUM_PILOTS - 1), torch.zeros(NUM_PILOTS - 1, dtype=torch.bool)
    for blocks in _BLOCKS:
        inside = (pair >= middle - blocks) & (pair + 1 < middle + blocks)
        pairs = pair[inside & ~before]
        every = [steps[comb::3].flatten(0, 2)[:, pairs].T.contiguous() for comb in range(3)]
        rings.append(_Ring(pairs, every))
        before = inside
    return rings


@cache
def _pilot_places() -> Tensor:
    """Returns the carriers of pilots, int64 [9, 6, 200], by whole offset and first carrier."""
    carriers = torch.stack([pilot_carriers(first) for first in range(SPACING)])
    return carriers + torch.tensor(_SHIFTS)[:, None, None]


def _bodies(window: Tensor, starts: list[int], fraction: float) -> Tensor:
    """Returns spectra complex64 [P, FFT_SIZE] of the parts of bodies inside a window complex64 [T]."""
    rows = []
    for start in starts:
        low, high = max(start - _EARLY, 0), min(start - _EARLY + FFT_SIZE, len(window))
        time = torch.arange(low, high)
        turned = window[low:high] * torch.polar(torch.ones(()), -2 * torch.pi / FFT_SIZE * fraction * (time - start))
        rows.append(pad(turned, (low - start + _EARLY, FFT_SIZE - (high - start + _EARLY))))
    spectra: Tensor = torch.fft.fft(torch.stack(rows))
    return spectra


def _steps(window: Tensor, starts: list[int], fraction: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Sums the weighted turns from pilot to pilot over two ports: complex64, and variance float32 [P, 9, 3, 199]."""
    places = _pilot_places() % FFT_SIZE
    heard = _bodies(window, starts, fraction)[:, places]  # [P, 9, 6, 200]
    step = heard[..., 1:] * heard[..., :-1].conj()
    trust = weight[places[..., 1:]] * weight[places[..., :-1]]  # [9, 6, 199]
    step = step / squared(step).sqrt().clamp_min(_SILENCE) * trust
    return step[:, :, :3] + step[:, :, 3:], (trust.square()[:, :3] + trust.square()[:, 3:]).expand(
        len(starts), -1, -1, -1
    )


def likeliest(window: Tensor, starts: list[int], fraction: float, weight: Tensor) -> Pilots:
    """Returns the likeliest pilots of a window, in bodies that begin at one of ``starts``.

    Args:
        window: complex64 [T].
        starts: samples at which bodies begin.
        fraction: fractional carrier offset.
        weight: trust in each carrier, float32 [FFT_SIZE], at most 1 and less where the SOI is.
    """
    step, trust = _steps(window, starts, fraction, weight)
    best = Pilots(0, 0, 0, 0, fraction, 0, 0, -1.0)
    for comb in range(3):
        total, noise = torch.zeros((), dtype=torch.complex64), torch.zeros(())
        for blocks, ring in zip(_BLOCKS, _rings(), strict=True):
            total = total + step[:, :, comb, ring.pairs].flatten(0, 1) @ ring.values[comb]  # [P * 9, 6720]
            noise = noise + trust[:, :, comb, ring.pairs].flatten(0, 1).sum(1)  # [P * 9], variance of noise alone
            value, place = squared(total).max(1)
            value = value.sqrt() / noise.clamp_min(_SILENCE).sqrt()
            row = int(value.argmax())
            if float(value[row]) > best.score:
                number = int(place[row])
                cell, slot, symbol = comb + 3 * (number // 40), number // 2 % 20, number % 2
                start, shift = starts[row // len(_SHIFTS)], _SHIFTS[row % len(_SHIFTS)]
                best = Pilots(cell, slot, symbol, shift, fraction, start, blocks, float(value[row]))
    return best
