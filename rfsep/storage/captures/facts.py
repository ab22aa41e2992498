"""The types of captures: a file's facts, the format of its numbers, and its segments."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rfsep.storage.faults import fault

Samples = npt.NDArray[np.complex64]
_DATATYPE = re.compile(r"([cr])(?:([iuf])(16|32|64)(?:_([lb])e)?|([iu])8(?:_[lb]e)?)")


class SampleFormat(NamedTuple):
    """The format of a file's numbers, which become samples ``(number - bias) / full``.

    Attributes:
        dtype: dtype of one number.
        numbers: numbers per sample: 2 if complex, 1 if real.
        bias: bias of unsigned numbers.
        full: full scale of integers, so that samples lie in [-1, 1).
    """

    dtype: np.dtype[Any]
    numbers: int
    bias: float
    full: float

    @property
    def step(self) -> float | None:
        """Difference between two neighbouring numbers, in samples; None for floating-point numbers."""
        return None if self.dtype.kind == "f" else 1 / self.full

    @property
    def num_bytes(self) -> int:
        """Bytes per sample."""
        return self.numbers * self.dtype.itemsize


class Segment(NamedTuple):
    """A stretch of a capture without a gap, at one carrier.

    Attributes:
        start: first sample, counted in the capture.
        length: length in samples.
        frequency_hz: carrier frequency; None where the file does not state it.
        datetime: time of the first sample as in the file; empty where the file does not state it.
    """

    start: int
    length: int
    frequency_hz: float | None = None
    datetime: str = ""


class Sum(NamedTuple):
    """A file's own SHA-512 of its samples.

    Attributes:
        sha512: 128 hexadecimal digits, lower case.
        pieces: the bytes with this SHA-512.
    """

    sha512: str
    pieces: Callable[[], Iterator[bytes]]


class CaptureFacts(NamedTuple):
    """The facts of a capture that are known before a sample is read.

    Attributes:
        path: the opened path.
        kind: readable kind of the file, such as "WAV".
        datatype: SigMF's name of the datatype.
        num_samples: number of samples in all segments.
        sample_rate_hz: in Hz; None where the file does not state it.
        frequency_hz: carrier frequency of the first segment; None where the file does not state it.
        description: the recorder's words; may be empty.
        segments: segments in order, without overlap; never empty.
        step: difference between two neighbouring numbers of the file, in samples; None for floating-point numbers.
        origin: fields copied into results: author, hw, license, geolocation (SigMF's names without ``core:``).
        notes: notes to the user, one line each.
        files: files that hold the samples.
        sum: SHA-512 of the samples, where the file states one.
    """

    path: Path
    kind: str
    datatype: str
    num_samples: int
    sample_rate_hz: float | None
    frequency_hz: float | None
    description: str
    segments: tuple[Segment, ...]
    step: float | None
    origin: Mapping[str, Any]
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    sum: Sum | None

    @property
    def source(self) -> Path:
        """The file that holds the samples; the folder of several."""
        return self.files[0] if len(self.files) == 1 else self.path


class Capture(Protocol):
    """Samples in a file, read stretch by stretch in bounded memory."""

    facts: CaptureFacts

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on, which must all be in the file."""
        ...


class Hints(NamedTuple):
    """The user's hints about a file.

    Attributes:
        datatype: SigMF's name of the datatype of raw samples.
        dataset: name of an array in a file that may hold several: HDF5, MATLAB, .npz.
        channel: number of the channel, counted from 0.
    """

    datatype: str | None = None
    dataset: str | None = None
    channel: int | None = None


NO_HINTS = Hints()
NOTHING: Mapping[str, Any] = MappingProxyType({})


def facts_of(
    path: Path,
    kind: str,
    datatype: str,
    num_samples: int,
    *,
    step: float | None = None,
    sample_rate_hz: float | None = None,
    frequency_hz: float | None = None,
    description: str = "",
    segments: tuple[Segment, ...] = (),
    origin: Mapping[str, Any] = NOTHING,
    notes: tuple[str, ...] = (),
    files: tuple[Path, ...] = (),
    sum: Sum | None = None,
) -> CaptureFacts:
    """Returns the facts of a capture, by default with one segment and one file."""
    whole = (Segment(0, num_samples, frequency_hz),)
    return CaptureFacts(
        path, kind, datatype, num_samples, sample_rate_hz, frequency_hz, description, segments or whole, step, origin,
        notes, files or (path,), sum,
    )  # fmt: skip


def sample_format(datatype: str) -> SampleFormat:
    """Returns the format of a SigMF datatype; little-endian by default.

    Raises:
        InputError: SigMF has no such datatype.

    >>> sample_format("ci16_le").full, sample_format("cf32").dtype
    (32768.0, dtype('float32'))
    """
    match = _DATATYPE.fullmatch(datatype)
    kind = match and (match[2] or match[5])
    if not match or not kind or (kind == "f" and match[3] == "16") or (kind != "f" and match[3] == "64"):
        raise fault(
            f"datatype {datatype!r}",
            "unknown; choose c or r (complex, real), then f32, f64, i32, i16, u32 or u16 with _le or _be, or i8 or u8:"
            " cf32_le, ci16_le, ci8, ...",
        )
    return number_format(np.dtype(f"{'>' if match[4] == 'b' else '<'}{kind}{int(match[3] or 8) // 8}"), match[1] == "c")


def number_format(dtype: np.dtype[Any], complex_samples: bool) -> SampleFormat:
    """Returns the format of real or complex samples of a dtype; integers are scaled to [-1, 1)."""
    full = 1.0 if dtype.kind == "f" else float(2 ** (8 * dtype.itemsize - 1))
    return SampleFormat(dtype, 2 if complex_samples else 1, full if dtype.kind == "u" else 0.0, full)


def datatype_of(layout: SampleFormat) -> str:
    """Returns SigMF's name of a format.

    >>> datatype_of(sample_format("ci16"))
    'ci16_le'
    """
    bits, order = 8 * layout.dtype.itemsize, "_be" if layout.dtype.str[0] == ">" else "_le"
    return f"{'c' if layout.numbers == 2 else 'r'}{layout.dtype.kind}{bits}{order if bits > 8 else ''}"


def scaled(numbers: npt.NDArray[Any], layout: SampleFormat) -> Samples:
    """Returns samples complex64 [T] of a file's numbers [T * layout.numbers]."""
    if layout.dtype.kind == "f":
        # A number too large for single precision becomes infinity, which is found later.
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32, copy=False)
    elif layout.dtype.itemsize >= 4:
        # In double precision, these keep their low bits when shifted.
        values = ((numbers - layout.bias) / layout.full).astype(np.float32)
    else:
        values = (numbers.astype(np.float32) - np.float32(layout.bias)) * np.float32(1 / layout.full)
    return values.view(np.complex64) if layout.numbers == 2 else values.astype(np.complex64)


def is_rate(value: Any) -> bool:
    """Tells whether a foreign value is a positive finite number; a bool is not."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and 0 < float(value) < math.inf


def check_segment(path: Path | str, facts: CaptureFacts, number: int) -> Segment:
    """Returns the segment with a number.

    Raises:
        InputError: there is none; names the existing ones.
    """
    if not 0 <= number < len(facts.segments):
        raise fault(path, f"has no segment {number}: {segments_told(facts)}")
    return facts.segments[number]


def segments_told(facts: CaptureFacts) -> str:
    """Describes segments, at most the first ten.

    >>> segments_told(facts_of(Path("a"), "raw", "ci8", 5))
    '1 segment: 0 (5 samples)'
    """
    many = len(facts.segments)
    words = [
        f"{place} ({one.length} samples{'' if one.frequency_hz is None else f' at {one.frequency_hz:.10g} Hz'})"
        for place, one in enumerate(facts.segments[:10])
    ]
    return f"{many} segment{'s' if many > 1 else ''}: {', '.join(words)}{', ...' if many > 10 else ''}"


class OneSegment:
    """A segment presented as a capture.

    Args:
        capture: the whole capture.
        segment: one of its segments.
    """

    def __init__(self, capture: Capture, segment: Segment) -> None:
        self._capture = capture
        self._start = segment.start
        self.facts = capture.facts._replace(
            num_samples=segment.length,
            frequency_hz=segment.frequency_hz,
            segments=(segment._replace(start=0),),
        )

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on."""
        return self._capture.read(self._start + start, count)
