"""Run a separator over a mixture file in bounded memory."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rfsep.iq import forget_pages
from rfsep.storage.npy import check_finite
from rfsep.storage.test_set import MixtureFile
from rfsep.types import InputError, Separator

_CHUNK_SAMPLES = 2**19  # mixtures separated at once: 4 MB

SeparatorFactory = Callable[[float | None], Separator]
"""Makes a separator; the argument is the SINR in dB, which only an oracle looks at."""


class SeparatedRows(NamedTuple):
    """Some rows of a mixture file, separated.

    Attributes:
        soi: complex64 [m, T].
        bits: uint8 [m, N].
    """

    soi: NDArray[np.complex64]
    bits: NDArray[np.uint8]


def _runs(sinr_db: NDArray[np.float32], oracle: bool) -> Iterator[tuple[int, int, float | None]]:
    """First row, end and SINR of stretches that one separator serves: all rows, or the rows of a level."""
    if not oracle:
        yield 0, len(sinr_db), None
        return
    edges = [0, *(np.flatnonzero(np.diff(sinr_db)) + 1).tolist(), len(sinr_db)]
    for start, end in pairwise(edges):
        yield start, end, float(sinr_db[start])


def separate_file(
    make: SeparatorFactory,
    mixtures: MixtureFile,
    num_bits: int,
    oracle: bool,
    advance: Callable[[int], None],
) -> Iterator[SeparatedRows]:
    """Separate every row of a mixture file.

    Args:
        make: makes the separator; for an oracle once a level.
        mixtures: the file.
        num_bits: bits that a row must give.
        oracle: the separator is told the SINR.
        advance: called with the number of rows done, for a progress display.

    Raises:
        InputError: NaN in the mixtures; the separator gives NaN, or other shapes than it was given.
    """
    check_finite(mixtures.path, mixtures.mixture)
    length = mixtures.mixture.shape[1]
    chunk = max(1, _CHUNK_SAMPLES // length)
    for first, end, level in _runs(mixtures.sinr_db, oracle):
        separator = make(level)
        for start in range(first, end, chunk):
            part = torch.from_numpy(np.array(mixtures.mixture[start : min(start + chunk, end)]))
            estimate = separator.separate(part)
            expected = (tuple(part.shape), (len(part), num_bits))
            given = (tuple(estimate.soi.shape), tuple(estimate.bits.shape))
            if given != expected:
                raise InputError(f"the separator gave soi and bits of shapes {given}, expected {expected}")
            if not torch.isfinite(torch.view_as_real(estimate.soi)).all():
                raise InputError(f"the separator gave NaN or infinity in rows {start} to {start + len(part) - 1}")
            forget_pages(mixtures.mixture)
            advance(len(part))
            yield SeparatedRows(estimate.soi.numpy(), estimate.bits.numpy())
