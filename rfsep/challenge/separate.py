"""Run a separator over a mixture file in bounded memory."""

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


class Chunk(NamedTuple):
    """Rows of a mixture file that are separated at once.

    Attributes:
        first: row.
        end: row behind the last one.
        sinr_db: their SINR, where the separator is told; else None.
    """

    first: int
    end: int
    sinr_db: float | None


def _runs(sinr_db: NDArray[np.float32], oracle: bool) -> Iterator[Chunk]:
    """Stretches that one separator serves: all rows, or the rows of a level."""
    if not oracle:
        yield Chunk(0, len(sinr_db), None)
        return
    edges = [0, *(np.flatnonzero(np.diff(sinr_db)) + 1).tolist(), len(sinr_db)]
    for start, end in pairwise(edges):
        yield Chunk(start, end, float(sinr_db[start]))


def file_chunks(mixtures: MixtureFile, oracle: bool) -> list[Chunk]:
    """The rows of a mixture file in chunks of bounded memory, the same whoever separates them.

    Args:
        mixtures: the file.
        oracle: the separator is told the SINR.
    """
    step = max(1, _CHUNK_SAMPLES // mixtures.mixture.shape[1])
    return [
        Chunk(start, min(start + step, run.end), run.sinr_db)
        for run in _runs(mixtures.sinr_db, oracle)
        for start in range(run.first, run.end, step)
    ]


def separate_chunk(separator: Separator, mixtures: MixtureFile, chunk: Chunk, num_bits: int) -> SeparatedRows:
    """Separate some rows of a mixture file.

    Args:
        separator: of the SINR that the chunk names, where it names one.
        mixtures: the file.
        chunk: of `file_chunks`.
        num_bits: bits that a row must give.

    Raises:
        InputError: the separator gives NaN, or other shapes than it was given.
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
    """Separate every row of a mixture file.

    Args:
        make: makes the separator; for an oracle once a level.
        mixtures: the file.
        num_bits: bits that a row must give.
        oracle: the separator is told the SINR.
        advance: called with the number of rows done, for a progress display.

    Raises:
        InputError: NaN in the mixtures; as `separate_chunk`.
    """
    check_finite(mixtures.path, mixtures.mixture)
    for level, run in groupby(file_chunks(mixtures, oracle), key=attrgetter("sinr_db")):
        separator = make(level)
        for chunk in run:
            rows = separate_chunk(separator, mixtures, chunk, num_bits)
            advance(len(rows.soi))
            yield rows
