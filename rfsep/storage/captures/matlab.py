"""Reads MATLAB files of versions 4, 5, 6 and 7 by scipy, after a check of their lengths; version 7.3 is HDF5.

Source: MATLAB MAT-File Format, section Level 5.
"""

import math
import zlib
from pathlib import Path

import numpy as np

from rfsep.storage.captures.arrays import candidates, chosen_array
from rfsep.storage.captures.facts import Capture, Hints, is_rate
from rfsep.storage.captures.plain import file_content
from rfsep.storage.faults import fault, foreign

MAX_BYTES = 1 << 30  # most bytes that a file may unpack to
_HEADER = 128  # bytes before the first variable
_PIECE = 1 << 20
_COMPRESSED = 15
_RATES = ("fs", "sample_rate", "samplerate", "sample_rate_hz", "samp_rate", "sampling_rate")


def open_matlab(path: Path, hints: Hints) -> Capture:
    """Opens a variable of a MATLAB file: the named one, or the only one of complex numbers.

    Raises:
        InputError: damaged, too large, several variables and none named, or no numeric variable.
    """
    import scipy.io  # Few files are MATLAB's, and this import takes a third of a second.

    _check_lengths(path)
    with foreign(path, "cannot be read as a MATLAB file"):
        listed = scipy.io.whosmat(path)
        size = sum(16 * math.prod(shape) for _, shape, _ in listed)
        if size > 2 * MAX_BYTES:
            raise fault(path, f"holds {size} bytes of numbers, more than the limit of {2 * MAX_BYTES}")
        numeric = {"double", "single", "int8", "int16", "int32", "uint8", "uint16", "uint32"}
        names = [name for name, _, kind in listed if kind in numeric]
        found = scipy.io.loadmat(path, variable_names=names)
    arrays = {name: np.asarray(found[name]) for name in names if name in found}
    rates = {name.lower(): array for name, array in arrays.items() if array.size == 1}
    rate = next((rates[name].item() for name in _RATES if name in rates), None)
    if not arrays or not candidates(arrays):
        raise fault(path, f"holds no variable of numbers that could be a capture: {[one[0] for one in listed][:20]}")
    capture = chosen_array(path, "MATLAB", arrays, hints)
    if rate is not None and is_rate(rate):
        capture.facts = capture.facts._replace(sample_rate_hz=float(rate))
    return capture


def _check_lengths(path: Path) -> None:
    """Checks the elements of a level 5 file: each lies within it, and packed ones do not unpack to too much."""
    content = file_content(path)
    order = "little" if content.fetch(126, 2) == b"IM" else "big"
    place, total = _HEADER, 0
    while content.fetch(0, 6) == b"MATLAB" and place + 8 <= content.size:
        tag = content.fetch(place, 8)
        kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)  # type: ignore[arg-type]
        if place + 8 + size > content.size:
            raise fault(path, f"is truncated: an element of {size} bytes at byte {place} of {content.size}")
        total += _unpacked(path, content.fetch(place + 8, size)) if kind == _COMPRESSED else size
        if total > MAX_BYTES:
            raise fault(path, f"unpacks to more than the limit of {MAX_BYTES} bytes")
        place += 8 + size


def _unpacked(path: Path, packed: bytes) -> int:
    """Returns the unpacked size of an element in bytes, in bounded memory."""
    unpacking, total, rest = zlib.decompressobj(), 0, packed
    with foreign(path, "cannot be unpacked"):
        while rest and not unpacking.eof and total <= MAX_BYTES:
            total += len(unpacking.decompress(rest, _PIECE))
            rest = unpacking.unconsumed_tail
    return total
