"""Search for wrong symbols one pair at a time, by the exact misfit of what is left without them.

Linearised detection comes to rest where a few symbols are wrong but consistent with one another. There every change of
two adjacent symbols is tried, with everything else held (iterated conditional modes; Besag, J. R. Stat. Soc. B 48,
1986).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import whitened
from rfsep.separators.envelope.layout import Layout
from rfsep.separators.envelope.linearised import Rest
from rfsep.separators.envelope.polar import Polar

_NEAREST = 4  # points per symbol that are tried
_PART = 256  # pairs whose changes are evaluated at once, which bounds the memory
_LEAST_GAIN = 1.0  # least gain of log-likelihood for which symbols change


def improved(
    layout: Layout, model: Polar, rest: Rest, symbols: Tensor, points: Tensor, doubtful: Tensor, sweeps: int
) -> Tensor:
    """Returns symbols complex64 [B, S] with changes that reduce the misfit.

    Args:
        layout: of the window.
        model: of the interference.
        rest: mixtures without these symbols.
        symbols: at the start.
        points: constellation complex64 [P].
        doubtful: bool [B, S], symbols that may change with their successors.
        sweeps: at most.
    """
    gain, change = symbols.real.new_zeros(symbols.shape), symbols.new_zeros((*symbols.shape, 2))
    span, reach = 2 * layout.reach + 1, layout.reach
    doubtful = doubtful & (torch.arange(layout.num_symbols) < layout.num_symbols - 1)
    stale = doubtful
    for _ in range(sweeps):
        rows, places = stale.nonzero(as_tuple=True)
        for part in torch.split(torch.arange(len(rows)), _PART):
            found = _best_change(layout, model, rest, symbols, points, rows[part], places[part])
            gain[rows[part], places[part]], change[rows[part], places[part]] = found
        # Of changes that overlap, the best is made.
        highest = torch.nn.functional.max_pool1d(gain[:, None], span, 1, reach)[:, 0]
        made = (gain == highest) & (gain > _LEAST_GAIN)
        if not made.any():
            break
        delta = torch.where(made, change[..., 0], 0)
        delta[:, 1:] += torch.where(made, change[..., 1], 0)[:, :-1]
        symbols = symbols + delta
        rest = rest._replace(samples=rest.samples - layout.synthesise(delta, layout.pulse))
        stale = doubtful & (torch.nn.functional.max_pool1d(made[:, None].float(), span, 1, reach)[:, 0] > 0)
    return symbols


class _Change(NamedTuple):
    """The best change of each pair: decrease of the negative log-likelihood [n], and the difference complex [n, 2]."""

    gain: Tensor
    change: Tensor


def _differences(pair: Tensor, points: Tensor) -> Tensor:
    """Returns all changes of two symbols complex [n, 2] to near points, no change first: complex [n, k, 2]."""
    near = (points - pair[..., None]).abs().topk(min(_NEAREST, len(points)), 2, largest=False).indices
    step = points[near] - pair[..., None]  # [n, 2, nearest]
    count = step.shape[2]
    early, late = step[:, 0, :, None].expand(-1, -1, count), step[:, 1, None, :].expand(-1, count, -1)
    return torch.nn.functional.pad(torch.stack((early, late), 3).flatten(1, 2), (0, 0, 1, 0))


def _best_change(
    layout: Layout, model: Polar, rest: Rest, symbols: Tensor, points: Tensor, rows: Tensor, places: Tensor
) -> _Change:
    """Evaluates all changes of the symbols at ``places`` and their successors, int64 [n] each."""
    taps, period, before = len(layout.pulse), layout.period, layout.order + 1
    size = before + taps + period + layout.order
    index = (places * period - layout.left - before)[:, None] + torch.arange(size)  # [n, size]
    inside = (index >= 0) & (index < layout.length)
    index = index.clamp(0, layout.length - 1)
    row = rows[:, None]
    busy = (rest.busy[row, index] * inside)[:, None]  # [n, 1, size]
    difference = _differences(torch.stack((symbols[rows, places], symbols[rows, places + 1]), 1), points)
    pulses = torch.zeros((2, size))
    pulses[0, before : before + taps] = layout.pulse
    pulses[1, before + period : before + period + taps] = layout.pulse
    left = rest.samples[row, index][:, None] - difference @ pulses.to(difference.dtype)  # [n, k, size]
    level = rest.level[rows][:, None]
    radial = (left.abs() / level - rest.drift[row, index][:, None] - model.envelope.mean) * busy
    steps = torch.angle(left[..., 1:] * left[..., :-1].conj()) - model.frequency.mean
    steps = steps * busy[..., 1:] * inside[:, None, :-1]
    radial, phase = (
        whitened(part.flatten(0, 1), one.taps).reshape(part.shape).square() / (one.variance * model.freedom)
        for part, one in ((radial, model.envelope), (steps, model.frequency))
    )
    misfit = (torch.log1p(radial[..., before:]) + torch.log1p(phase[..., before - 1 :])) * busy[..., before:]
    total = misfit.sum(2) * (model.freedom + 1) / 2  # [n, k]
    least, which = total.min(1)
    return _Change(total[:, 0] - least, difference[torch.arange(len(rows)), which])
