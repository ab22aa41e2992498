"""WAV, RF64 and BW64: samples as integers of 8 to 32 bits or floating-point numbers, I and Q as two channels.

The file is read in place, and its lengths are checked before a sample is read. The frequency of the receiver comes from
the ``auxi`` chunk that receivers' programs write.

Sources: Microsoft RIFF and WAVEFORMATEXTENSIBLE; EBU Tech 3306 (RF64).
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.captures.facts import (
    Capture,
    CaptureFacts,
    Hints,
    SampleFormat,
    Samples,
    facts_of,
    number_format,
    scaled,
)
from rfsep.storage.captures.plain import Content, PlainCapture, chosen_channel, file_content, whole_samples
from rfsep.storage.faults import fault

_INTEGERS, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE
# The length is stored elsewhere, or the recorder did not get to write it.
_UNKNOWN = 0xFFFFFFFF
_MAX_CHUNKS = 1000
_MAX_CHANNELS = 1024
_THREE = 3  # bytes of a number that numpy has no dtype for


class _Form(NamedTuple):
    """The content of the fmt chunk."""

    code: int
    channels: int
    rate: int
    bits: int


def open_wav(path: Path, hints: Hints) -> Capture:
    """Opens a WAV file: two channels are I and Q, one is real; of more, ``hints.channel`` names a real one.

    Raises:
        InputError: packed numbers, unsupported widths, or a file cut off before its samples.
    """
    content = file_content(path)
    form, data, frequency, notes = _chunks(path, content)
    size = form.bits // 8
    kind = {_INTEGERS: "i", _FLOATS: "f"}.get(form.code)
    if kind is None or form.bits not in ((8, 16, 24, 32) if kind == "i" else (32, 64)):
        raise fault(path, f"is a WAV of format {form.code} with {form.bits} bits: integers or floats alone are read")
    quadrature = form.channels == 2 and hints.channel is None
    channel = 0 if quadrature else chosen_channel(path, form.channels, hints)
    lanes = 1 if quadrature else form.channels
    if size == _THREE:
        layout = SampleFormat(np.dtype("<i4"), 2 if quadrature else 1, 0.0, float(1 << 23))
        # Numbers of three bytes have no dtype: bytes are counted, and read four at a time.
        each = _THREE * layout.numbers * lanes
        count = data.size // each
        if count == 0:
            raise fault(path, f"holds no samples: {data.size} bytes")
        facts = _facts(path, form, layout, count, frequency, notes)
        return _Packed(facts, data, layout, lanes, channel)
    # In WAV, integers of 8 bits are unsigned, wider ones signed.
    dtype = np.dtype("u1") if size == 1 else np.dtype(f"<{kind}{size}")
    layout = number_format(dtype, quadrature)
    count, cut = whole_samples(path, data, layout, lanes)
    return PlainCapture(_facts(path, form, layout, count, frequency, notes + cut), data, layout, lanes, channel)


def _facts(
    path: Path, form: _Form, layout: SampleFormat, count: int, frequency: float | None, notes: tuple[str, ...]
) -> CaptureFacts:
    kind = f"WAV, {form.bits} bits{' float' if form.code == _FLOATS else ''}, {form.channels} channels"
    datatype = f"{'c' if layout.numbers == 2 else 'r'}{'f' if form.code == _FLOATS else 'i'}{form.bits}"
    rate = float(form.rate) if form.rate else None
    return facts_of(
        path, kind, datatype, count, step=layout.step, sample_rate_hz=rate, frequency_hz=frequency, notes=notes
    )


class _Packed:
    """A capture of numbers of three bytes.

    Args:
        facts: facts of the capture.
        content: bytes of its samples.
        layout: format of the numbers after widening to four bytes.
        channels: number of interleaved channels.
        channel: number of the channel to read.
    """

    def __init__(
        self, facts: CaptureFacts, content: Content, layout: SampleFormat, channels: int, channel: int
    ) -> None:
        self.facts, self.content, self.layout = facts, content, layout
        self.channels, self.channel = channels, channel

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on.

        Raises:
            InputError: the file became shorter.
        """
        each = _THREE * self.layout.numbers * self.channels
        found = self.content.fetch(start * each, count * each)
        if len(found) != count * each:
            raise fault(self.facts.path, f"ends before sample {start + count}: it became shorter")
        wide = np.zeros((count * each // _THREE, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(found, np.uint8).reshape(-1, _THREE)
        numbers: npt.NDArray[np.int32] = wide.view("<i4")[:, 0] >> 8
        frames = numbers.reshape(count, self.channels, self.layout.numbers)[:, self.channel]
        return scaled(np.ascontiguousarray(frames).reshape(-1), self.layout)


def _chunks(path: Path, content: Content) -> tuple[_Form, Content, float | None, tuple[str, ...]]:
    """Returns the format, the samples' content, the receiver's frequency, and notes."""
    form, data, frequency, notes = None, None, None, tuple[str, ...]()
    long_size: int | None = None  # size of the samples, where 32 bits do not hold it
    place = 12
    for _ in range(_MAX_CHUNKS):
        head = content.fetch(place, 8)
        if len(head) < 8:
            break
        name, size = head[:4], int.from_bytes(head[4:], "little")
        begin = place + 8
        body = content.fetch(begin, min(size, 64)) if name in (b"fmt ", b"ds64", b"auxi") else b""
        if name == b"ds64" and len(body) >= 16:
            long_size = int.from_bytes(body[8:16], "little")
        elif name == b"fmt ":
            form = _form(path, body)
        elif name == b"auxi" and len(body) >= 36:
            frequency = float(int.from_bytes(body[32:36], "little")) or None
        elif name == b"data" and data is None:
            if size == _UNKNOWN and long_size is not None:
                size = long_size
            left = content.size - begin
            if size > left or size in (0, _UNKNOWN):
                notes = (f"its header tells of {size} bytes of samples; the {left} that are there are read",)
                size = left
            data = content.part(begin, size)
        place = begin + size + size % 2
    if form is None or data is None:
        raise fault(path, f"is a WAV without a {'fmt' if form is None else 'data'} chunk")
    return form, data, frequency, notes


def _form(path: Path, body: bytes) -> _Form:
    if len(body) < 16:
        raise fault(path, f"its fmt chunk has {len(body)} bytes, expected 16 or more")
    code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", body)
    if code == _EXTENSIBLE and len(body) >= 26:
        code = int.from_bytes(body[24:26], "little")
    if not 0 < channels <= _MAX_CHANNELS or align != channels * bits // 8:
        raise fault(path, f"its fmt chunk tells of {channels} channels of {bits} bits in {align} bytes")
    return _Form(code, channels, rate, bits)
