"""Rows of tensors and of nested named tuples of tensors, all of which have the batch as their first axis."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def rows_of(batch: Any, index: Tensor) -> Any:
    """Returns rows of a tensor, or of every tensor in nested named tuples."""
    if isinstance(batch, Tensor):
        return batch[index]
    return type(batch)(*(rows_of(part, index) for part in batch))


def put_rows(batch: Any, index: Tensor, rows: Any) -> None:
    """Writes rows into a tensor, or into every tensor in nested named tuples."""
    if isinstance(batch, Tensor):
        batch[index] = rows
        return
    for part, row in zip(batch, rows, strict=True):
        put_rows(part, index, row)


def joined_rows(batches: Sequence[Any]) -> Any:
    """Returns the rows of several tensors, or of nested named tuples of tensors, one batch after another."""
    if isinstance(batches[0], Tensor):
        return torch.cat(list(batches))
    return type(batches[0])(*(joined_rows(parts) for parts in zip(*batches, strict=True)))
