"""Checks the heaps of HDF5 files, which hold text, before the library walks a damaged one for ever.

An object of a heap states its length, and the next one follows it. The library (HDF5 2.0) does not stop at a length
of 0, which it meets after an object with too large a length: one changed byte is enough.

Source: HDF5 file format specification 3.0, section III.E, Global Heap.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from rfsep.storage.faults import fault

_BEGIN = b"GCOL\x01\x00\x00\x00"
_HEADER = 16  # bytes of the header of a heap, and of an object in it


def check_heaps(path: Path, file: h5py.File) -> None:
    """Walks every heap of a file.

    Raises:
        InputError: the library would not reach the end of a heap.
    """
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, end in _gaps(file, len(content)):
            place = content.find(_BEGIN, start, end)
            while place >= 0:
                if not _ends(content, place):
                    raise fault(path, f"cannot be read as HDF5: its heap at byte {place} has an object of no length")
                place = content.find(_BEGIN, place + 1, end)


def _gaps(file: h5py.File, size: int) -> Iterator[tuple[int, int]]:
    """Yields the parts of the file outside the numbers of contiguous datasets."""
    begin = 0
    for start, end in sorted(_pieces(file)):
        if begin < start:
            yield begin, min(start + len(_BEGIN), size)
        begin = max(begin, end)
    if begin < size:
        yield begin, size


def _pieces(file: h5py.File) -> Iterator[tuple[int, int]]:
    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and file.get(name, getclass=True) is h5py.Dataset:
            dataset = h5py.h5d.open(file.id, name.encode())
            start = dataset.get_offset()
            if start is not None and dataset.get_type().get_class() in (
                h5py.h5t.INTEGER,
                h5py.h5t.FLOAT,
                h5py.h5t.COMPOUND,
            ):
                yield start, start + dataset.get_storage_size()


def _ends(content: mmap.mmap, place: int) -> bool:
    """Tells whether the walk through a heap reaches its end."""
    if place + _HEADER > len(content):
        return True
    (length,) = struct.unpack_from("<Q", content, place + 8)
    end, here = min(place + length, len(content)), place + _HEADER
    while here + _HEADER <= end:
        index, size = struct.unpack_from("<H6xQ", content, here)
        if size > length or (index == 0 and size == 0):
            return False
        here += size if index == 0 else _HEADER + (size + 7) // 8 * 8
    return True
