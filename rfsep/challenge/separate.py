"""Runs a separator over a mixture file in bounded memory."""

from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rfsep.iq import forget_pages
from rfsep.storage.npy import check_finite
from rfsep.storage.test_set import MixtureFile
from rfsep.types import InputError, Separator

_CHUNK_SAMPLES = 2**19  # samples per chunk: 4 MB

SeparatorFactory = Callable[[float | None], Separator]
"""Makes a separator; the argument is the SINR in dB, which only an oracle looks at."""


class SeparatedRows(NamedTuple):
    """Separated rows of a mixture file.

    Attributes:
        soi: complex64 [m, T].
        bits: uint8 [m, N].
    """

    soi: NDArray[np.complex64]
    bits: NDArray[np.uint8]


class Chunk(NamedTuple):
    """Rows of a mixture file that are separated together.

    Attributes:
        first: first row.
        end: row after the last one.
        sinr_db: their SINR if the separator is given it, else None.
    """

    first: int
    end: int
    sinr_db: float | None


def _runs(sinr_db: NDArray[np.float32], oracle: bool) -> Iterator[Chunk]:
    """Yields the rows that one separator serves: all rows, or those of a level."""
    if not oracle:
        yield Chunk(0, len(sinr_db), None)
        return
    edges = [0, *(np.flatnonzero(np.diff(sinr_db)) + 1).tolist(), len(sinr_db)]
    for start, end in pairwise(edges):
        yield Chunk(start, end, float(sinr_db[start]))


def file_chunks(mixtures: MixtureFile, oracle: bool) -> list[Chunk]:
    """Splits a mixture file into chunks of bounded memory, the same for every separator.

    Args:
        mixtures: the file.
        oracle: whether the separator is given the SINR.
    """
    step = max(1, _CHUNK_SAMPLES // mixtures.mixture.shape[1])
    return [
        Chunk(start, min(start + step, run.end), run.sinr_db)
        for run in _runs(mixtures.sinr_db, oracle)
        for start in range(run.first, run.end, step)
    ]


def separate_chunk(separator: Separator, mixtures: MixtureFile, chunk: Chunk, num_bits: int) -> SeparatedRows:
    """Separates some rows of a mixture file.

    Args:
        separator: the separator, made for the chunk's SINR if there is one.
        mixtures: the file.
        chunk: a chunk from `file_chunks`.
        num_bits: required bits per row.

    Raises:
        InputError: the separator returns NaN, or wrong shapes.
    """
    part = torch.from_numpy(np.array(mixtures.mixture[chunk.first : chunk.end]))
    estimate = separator.separate(part)
    expected = (tuple(part.shape), (len(part), num_bits))
    given = (tuple(estimate.soi.shape), tuple(estimate.bits.shape))
    if given != expected:
        raise InputError(f"the separator gave soi and bits of shapes {given}, expected {expected}")
    if not torch.isfinite(torch.view_as_real(estimate.soi)).all():
        raise InputError(f"the separator gave NaN or infinity in rows {chunk.first} to {chunk.end - 1}")
    forget_pages(mixtures.mixture)
    return SeparatedRows(estimate.soi.numpy(), estimate.bits.numpy())


def separate_file(
    make: SeparatorFactory,
    mixtures: MixtureFile,
    num_bits: int,
    oracle: bool,
    advance: Callable[[int], None],
) -> Iterator[SeparatedRows]:
    """Separates every row of a mixture file.

    Args:
        make: makes the separator; for an oracle once per level.
        mixtures: the file.
        num_bits: required bits per row.
        oracle: whether the separator is given the SINR.
        advance: called with the number of rows done, for a progress display.

    Raises:
        InputError: the mixtures hold NaN; also as `separate_chunk`.
    """
    check_finite(mixtures.path, mixtures.mixture)
    for level, run in groupby(file_chunks(mixtures, oracle), key=attrgetter("sinr_db")):
        separator = make(level)
        for chunk in run:
            rows = separate_chunk(separator, mixtures, chunk, num_bits)
            advance(len(rows.soi))
            yield rows
