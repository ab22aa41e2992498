"""Applies estimators of a fixed window length to mixtures of any length, by overlapping windows."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from rfsep.types import InputError, Modem, Separated

Part = TypeVar("Part")
Found = TypeVar("Found")
Fields = TypeVar("Fields", bound=tuple[Tensor, ...])


def overlapped(apply: Callable[[Tensor], Tensor], mixture: Tensor, block: int, margin: int, period: int) -> Tensor:
    """Applies an estimator of fixed window length to mixtures of any length.

    Windows start at multiples of ``period``, so each sees the SOI's symbols at the same place. Their middle is kept:
    ``margin`` samples at each inner edge come from the neighbour, which sees them further from its own edge. The last
    window is up to ``period - 1`` samples longer, so that it ends with the mixture. A mixture of at most ``block``
    samples is one window.

    Args:
        apply: complex64 [W, L] to complex64 [W, L]; L is ``block``, or the length of the last window.
        mixture: complex64 [B, T].
        block: samples per window.
        margin: samples dropped at an inner edge.
        period: samples between the places where a window may start.

    Returns:
        complex64 [B, T].
    """
    return overlapped_ends(lambda windows, begins, ends: apply(windows), mixture, block, margin, period)


def overlapped_ends(
    apply: Callable[[Tensor, bool, bool], Tensor], mixture: Tensor, block: int, margin: int, period: int
) -> Tensor:
    """Runs `overlapped` with an estimator that is told whether a window begins and ends with the mixture.

    Raises:
        InputError: a mixture holds NaN or infinity, or a block leaves nothing between two margins.
    """
    check_finite(mixture)
    length = mixture.shape[1]
    if length <= block:
        return apply(mixture, True, True)
    hop = (block - 2 * margin) // period * period
    if hop <= 0:
        raise InputError(f"block {block} leaves nothing between two margins of {margin} at symbol period {period}")
    last = (length - block) // period * period
    estimate = torch.empty_like(mixture)
    if last:
        estimate[:, :block] = apply(mixture[:, :block], True, False)
    starts = range(hop, last, hop)
    if starts:
        windows = torch.stack([mixture[:, start : start + block] for start in starts], 1)  # [B, W, L]
        kept = apply(windows.flatten(0, 1), False, False).reshape(windows.shape)
        for index, start in enumerate(starts):
            estimate[:, start + margin : start + block] = kept[:, index, margin:]
    left = margin if last else 0
    estimate[:, last + left :] = apply(mixture[:, last:], last == 0, True)[:, left:]
    return estimate


def check_finite(mixture: Tensor) -> None:
    """Checks mixtures complex64 [B, T].

    Raises:
        InputError: one holds NaN or infinity.
    """
    if not (finite := torch.isfinite(torch.view_as_real(mixture)).flatten(1).all(1)).all():
        raise InputError(f"mixture {int((~finite).nonzero()[0])} holds NaN or infinity")


def in_parallel(apply: Callable[[Tensor], Tensor], windows: Tensor, most: int) -> Tensor:
    """Applies an estimator that treats each row alone to parts of a batch, one per core.

    Args:
        apply: complex64 [w, L] to complex64 [w, L].
        windows: complex64 [W, L].
        most: rows per part at most.

    Returns:
        complex64 [W, L].
    """
    return torch.cat(on_every_core(apply, torch.split(windows, rows_a_core(len(windows), most))))


def fields_in_parallel(apply: Callable[[Tensor], Fields], windows: Tensor, most: int) -> Fields:
    """As `in_parallel`, for an estimator that returns a named tuple of tensors [w, ...]."""
    found = on_every_core(apply, torch.split(windows, rows_a_core(len(windows), most)))
    return type(found[0])(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def in_windows(
    apply: Callable[[Tensor], Tensor], mixture: Tensor, block: int, margin: int, modem: Modem, batch_samples: int
) -> Separated:
    """Separates mixtures of any length with an estimator of the SOI in single windows, each row by itself.

    Args:
        apply: windows complex64 [w, L] to the SOI in them complex64 [w, L].
        mixture: complex64 [B, T].
        block: see `overlapped`.
        margin: likewise.
        modem: the SOI's modem, which reads the bits from the estimate.
        batch_samples: samples per call of ``apply`` at most.
    """

    def estimate(windows: Tensor) -> Tensor:
        return in_parallel(apply, windows, max(1, batch_samples // windows.shape[1]))

    soi = overlapped(estimate, mixture, block, margin, modem.symbol_period)
    return Separated(soi, modem.decide(soi))


def rows_a_core(num_rows: int, most: int) -> int:
    """Returns the rows per part, so that every core has a part and no part exceeds ``most``."""
    return max(1, min(most, -(-num_rows // torch.get_num_threads())))


def on_every_core(apply: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """Applies a function to parts, one per core.

    Small matrices leave torch's own threads idle, so every core has one part and one thread.
    """
    cores = torch.get_num_threads()
    if cores == 1 or len(parts) == 1:
        return [apply(part) for part in parts]
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(apply, parts))
    finally:
        torch.set_num_threads(cores)
