"""The ends of windows, which joint detection detects on their own."""

import torch
from torch import Tensor

from rfsep.separators.inference.expectation_propagation import State
from rfsep.separators.inference.grid import SoiGrid, Window
from rfsep.separators.inference.synchronise import Synchronised

OUTER_BLOCKS = 3  # This many blocks at an end must fit better; symbols are taken from the outer two.


def outer(window: Window, left: bool) -> Tensor:
    """The outermost blocks at one end that have samples in the window: int64 [B, n]."""
    blocks = torch.arange(OUTER_BLOCKS)
    if left:
        return blocks.expand(len(window.inside), -1)
    last = window.inside.any(2).sum(1) - 1  # Empty blocks come last.
    return last[:, None] - blocks


def shifted(at: Synchronised, start: int, step: int, period: int) -> Synchronised:
    """Timing of pieces that begin ``start`` samples into windows."""
    soi, interference = (at.soi_offset + start) % step, (at.interference_offset + start) % period
    return at._replace(soi_offset=soi, interference_offset=interference)


def splice(
    grid: SoiGrid, found: State, soi_offset: Tensor, state: State, rows: Tensor, shift: Tensor, left: bool
) -> None:
    """Copy the SOI symbols at the outer end of short windows into the windows they were cut from.

    Args:
        grid: of the short windows.
        found: symbols detected in the short windows, [n, ...].
        soi_offset: int64 [n].
        state: the target.
        rows: rows of ``state``, int64 [n].
        shift: int64 [n], SOI periods from the beginning of a window to that of its short one.
        left: whether the short window is the window's beginning, not its end.
    """
    centre = (grid.period_of_symbol + 0.5) * grid.modem.symbol_period - soi_offset[:, None]  # [n, S], in samples
    outer = centre < 2 * grid.period if left else centre >= grid.num_samples - 2 * grid.period
    row, column = outer.nonzero(as_tuple=True)
    place = column + shift[row] * grid.density
    fits = place < state.soi.mean.shape[1]
    row, column, place = row[fits], column[fits], place[fits]
    for kept, new in ((state.soi, found.soi), (state.soi_cavity, found.soi_cavity)):
        kept.mean[rows[row], place] = new.mean[row, column]
        kept.variance[rows[row], place] = new.variance[row, column]
    state.turns.soi[rows[row], place] = found.turns.soi[row, column]
