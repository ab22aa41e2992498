"""Search for wrong symbols one pair at a time, by the exact misfit of what is left without them.

Linearised detection comes to rest where a few symbols are wrong but consistent with one another. There every change of
two adjacent symbols is tried (iterated conditional modes; Besag, J. R. Stat. Soc. B 48, 1986), with everything else held.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import whitened
from rfsep.separators.envelope.linearised import Layout
from rfsep.separators.envelope.polar import Polar

_NEAREST = 4  # points per symbol that are tried
_PART = 256  # symbols whose changes are evaluated at once, which bounds the memory


class Rest(NamedTuple):
    """Windows without the SOI: samples complex64 [B, T], and the level and its drift float32 [B, T]."""

    samples: Tensor
    level: Tensor
    drift: Tensor


def improved(
    layout: Layout,
    model: Polar,
    rest: Rest,
    symbols: Tensor,
    points: Tensor,
    doubtful: Tensor,
    freedom: float,
    sweeps: int,
) -> Tensor:
    """Returns symbols complex64 [B, S] with changes that reduce the misfit.

    Args:
        layout: of the window.
        model: of the interference.
        rest: mixtures without these symbols.
        symbols: at the start.
        points: constellation complex64 [P].
        doubtful: bool [B, S], symbols to begin with.
        freedom: degrees of freedom of the errors.
        sweeps: at most.
    """
    symbols = symbols.clone()
    for _ in range(sweeps):
        rows, places = doubtful[:, :-1].nonzero(as_tuple=True)
        if not len(rows):
            break
        gains, changes = [], []
        for part in torch.split(torch.arange(len(rows)), _PART):
            gain, change = _best_change(layout, model, rest, symbols, points, rows[part], places[part], freedom)
            gains.append(gain)
            changes.append(change)
        gain = symbols.real.new_zeros(symbols.shape)
        gain[rows, places] = torch.cat(gains)
        # Of changes that overlap, the best is made.
        span = 2 * layout.reach + 1
        highest = torch.nn.functional.max_pool1d(gain[:, None], span, 1, layout.reach)[:, 0]
        made = ((gain == highest) & (gain > _LEAST_GAIN))[rows, places]
        if not made.any():
            break
        rows, places, change = rows[made], places[made], torch.cat(changes)[made]
        delta = torch.zeros_like(symbols)
        delta.index_put_((rows, places), change[:, 0], accumulate=True)
        delta.index_put_((rows, places + 1), change[:, 1], accumulate=True)
        symbols = symbols + delta
        rest = rest._replace(samples=rest.samples - layout.synthesise(delta, layout.pulse))
    return symbols


_LEAST_GAIN = 1.0


def _best_change(
    layout: Layout,
    model: Polar,
    rest: Rest,
    symbols: Tensor,
    points: Tensor,
    rows: Tensor,
    places: Tensor,
    freedom: float,
) -> tuple[Tensor, Tensor]:
    """Returns the largest decrease of the misfit [n], and the change of the two symbols complex64 [n, 2]."""
    order, period, taps = layout.order, layout.period, len(layout.pulse)
    before = order + 1
    size = before + taps + period + order
    first = layout.left - before  # samples of padding before the first segment
    start = places * period - layout.left - before
    index = start[:, None] + torch.arange(size)  # [n, size]
    inside = (index >= 0) & (index < layout.length)
    index = index.clamp(0, layout.length - 1)
    del first
    samples, level, drift = (part[rows[:, None], index] for part in rest)
    pair = torch.stack((symbols[rows, places], symbols[rows, places + 1]), 1)  # [n, 2]
    near = (points - pair[..., None]).abs().topk(min(_NEAREST, len(points)), 2, largest=False).indices
    step = points[near] - pair[..., None]  # [n, 2, k]
    step = torch.cat((torch.zeros_like(step[..., :1]), step), 2)
    count = step.shape[2]
    early = step[:, 0, :, None].expand(-1, count, count).flatten(1)
    late = step[:, 1, None, :].expand(-1, count, count).flatten(1)  # [n, k^2]
    pulses = layout.pulse.new_zeros((2, size))
    pulses[0, before : before + taps] = layout.pulse
    pulses[1, before + period : before + period + taps] = layout.pulse
    left = samples[:, None] - early[..., None] * pulses[0] - late[..., None] * pulses[1]  # [n, k^2, size]
    flat = left.flatten(0, 1)
    radial = flat.abs() / level.repeat_interleave(count**2, 0) - drift.repeat_interleave(count**2, 0)
    radial = whitened((radial - model.envelope.mean) * inside.repeat_interleave(count**2, 0), model.envelope.taps)
    steps = torch.angle(flat[:, 1:] * flat[:, :-1].conj()) - model.frequency.mean
    steps = whitened(steps * inside[:, :-1].repeat_interleave(count**2, 0), model.frequency.taps)
    misfit = torch.log1p(radial[:, before:].square() / (model.envelope.variance * freedom))
    misfit = misfit + torch.log1p(steps[:, before - 1 :].square() / (model.frequency.variance * freedom))
    total = (misfit * inside[:, before:].repeat_interleave(count**2, 0)).sum(1).reshape(-1, count**2)
    total = total * (freedom + 1) / 2
    least, which = total.min(1)
    change = torch.stack((early, late), 2)[torch.arange(len(rows)), which]
    return total[:, 0] - least, change
