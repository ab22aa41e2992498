"""Midas BLUE files of type 1000: a header of 512 bytes, then real or complex numbers.

Source: Midas BLUE file format, version 1.1, sections 2 and 3.
"""

import math
import struct
from pathlib import Path

import numpy as np

from rfsep.storage.captures.facts import Capture, facts_of, number_format
from rfsep.storage.captures.plain import PlainCapture, file_content, whole_samples
from rfsep.storage.faults import fault

_ORDERS = {b"EEEI": "<", b"IEEE": ">"}
_TYPES = {"B": "i1", "I": "i2", "L": "i4", "F": "f4", "D": "f8", "U": "u2", "V": "u4"}
_HEADER = 512  # bytes before the first sample
_SECONDS = 1  # code of the abscissa's unit


def open_blue(path: Path) -> Capture:
    """Opens a BLUE file of type 1000 whose samples follow its header.

    Raises:
        InputError: another type, samples in another file, packed bits, lengths beyond the file.
    """
    content = file_content(path)
    head = content.fetch(0, _HEADER)
    order = _ORDERS.get(head[4:8])
    if len(head) < _HEADER or order is None or head[8:12] not in _ORDERS:
        raise fault(path, "is a BLUE file with a header that is cut or of an unknown byte order")
    detached, kind = struct.unpack_from(f"{order}i", head, 12)[0], struct.unpack_from(f"{order}i", head, 48)[0]
    start, size = struct.unpack_from(f"{order}2d", head, 32)
    delta, unit = struct.unpack_from(f"{order}di", head, 264)
    mode, number = head[52:53].decode("latin1"), head[53:54].decode("latin1")
    if kind // 1000 != 1 or detached or mode not in ("S", "C") or number not in _TYPES:
        raise fault(
            path,
            f"is a BLUE file of type {kind}, format {mode + number}{', detached' if detached else ''}: type 1000 is"
            f" read, format S or C with {', '.join(_TYPES)}",
        )
    if not (start >= _HEADER and size >= 0 and start + size <= content.size and math.isfinite(size)):
        raise fault(path, f"its header tells of {size:.17g} bytes from byte {start:.17g} on, of {content.size}")
    layout = number_format(np.dtype(_ORDERS[head[8:12]] + _TYPES[number]), mode == "C")
    data = content.part(int(start), int(size))
    count, notes = whole_samples(path, data, layout)
    rate = 1 / delta if unit == _SECONDS and 0 < delta < math.inf and 1 / delta < math.inf else None
    facts = facts_of(path, "BLUE", mode + number, count, step=layout.step, sample_rate_hz=rate, notes=notes)
    return PlainCapture(facts, data, layout)
