"""The nouns of captures: what a file says of itself, how its numbers become samples, where it has seams."""

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
    """How numbers in a file become samples: ``(number - bias) / full``.

    Attributes:
        dtype: of one number.
        numbers: of a sample: 2 of a complex one, 1 of a real one.
        bias: of unsigned numbers.
        full: of integers, so that samples lie in [-1, 1).
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
        """Bytes of a sample."""
        return self.numbers * self.dtype.itemsize


class Segment(NamedTuple):
    """A stretch of a capture without a gap, at one carrier.

    Attributes:
        start: first sample, counted in the capture.
        length: in samples.
        frequency_hz: of the carrier; None where the file does not say it.
        datetime: of the first sample, as the file says it; empty where it does not.
    """

    start: int
    length: int
    frequency_hz: float | None = None
    datetime: str = ""


class Sum(NamedTuple):
    """A SHA-512 that a file says of its samples.

    Attributes:
        sha512: 128 hexadecimal digits, lower case.
        pieces: the bytes that have it.
    """

    sha512: str
    pieces: Callable[[], Iterator[bytes]]


class CaptureFacts(NamedTuple):
    """Everything known of a capture before a sample is read.

    Attributes:
        path: that was opened.
        kind: of the file, for people: "WAV".
        datatype: as SigMF names it.
        num_samples: in all segments.
        sample_rate_hz: in Hz; None where the file does not say it.
        frequency_hz: of the carrier of the first segment; None where the file does not say it.
        description: the recorder's words; may be empty.
        segments: in order, without overlap; never empty.
        step: difference between two neighbouring numbers of the file, in samples; None for floating-point numbers.
        origin: what travels into a result: author, hw, license, geolocation (SigMF's names without ``core:``).
        notes: told to the user, a line each.
        files: that hold the samples.
        sum: SHA-512 of the samples, where the file says one.
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
        """Samples complex64 [count] from ``start`` on, all of them in the file."""
        ...


class Hints(NamedTuple):
    """What the user says of a file beside its name.

    Attributes:
        datatype: of raw samples, as SigMF names it.
        dataset: name of an array in a file that may hold several: HDF5, MATLAB, .npz.
        channel: of several, counted from 0.
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
    """Facts of a capture; one segment and one file unless others are named."""
    whole = (Segment(0, num_samples, frequency_hz),)
    return CaptureFacts(
        path, kind, datatype, num_samples, sample_rate_hz, frequency_hz, description, segments or whole, step, origin,
        notes, files or (path,), sum,
    )  # fmt: skip


def sample_format(datatype: str) -> SampleFormat:
    """How samples of a SigMF datatype are read; little-endian where it does not say.

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
    """How numbers of a dtype become samples, real or complex; integers are scaled to [-1, 1)."""
    full = 1.0 if dtype.kind == "f" else float(2 ** (8 * dtype.itemsize - 1))
    return SampleFormat(dtype, 2 if complex_samples else 1, full if dtype.kind == "u" else 0.0, full)


def datatype_of(layout: SampleFormat) -> str:
    """SigMF's name of a format.

    >>> datatype_of(sample_format("ci16"))
    'ci16_le'
    """
    bits, order = 8 * layout.dtype.itemsize, "_be" if layout.dtype.str[0] == ">" else "_le"
    return f"{'c' if layout.numbers == 2 else 'r'}{layout.dtype.kind}{bits}{order if bits > 8 else ''}"


def scaled(numbers: npt.NDArray[Any], layout: SampleFormat) -> Samples:
    """Samples complex64 [T] of numbers [T * layout.numbers] as they lie in the file."""
    if layout.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large a number for single precision is found as infinity
            values = numbers.astype(np.float32, copy=False)
    elif layout.dtype.itemsize >= 4:  # these keep their low bits where they are shifted in double precision
        values = ((numbers - layout.bias) / layout.full).astype(np.float32)
    else:
        values = (numbers.astype(np.float32) - np.float32(layout.bias)) * np.float32(1 / layout.full)
    return values.view(np.complex64) if layout.numbers == 2 else values.astype(np.complex64)


def is_rate(value: Any) -> bool:
    """Whether a value of a foreign file is a positive finite number; a truth value is none."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and 0 < float(value) < math.inf


def check_segment(path: Path | str, facts: CaptureFacts, number: int) -> Segment:
    """The segment of a number.

    Raises:
        InputError: there is none; names those there are.
    """
    if not 0 <= number < len(facts.segments):
        raise fault(path, f"has no segment {number}: {segments_told(facts)}")
    return facts.segments[number]


def segments_told(facts: CaptureFacts) -> str:
    """Segments for people, the first ten.

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
    """A segment as a capture of its own.

    Args:
        capture: that it is of.
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
        """Samples complex64 [count] from ``start`` on."""
        return self._capture.read(self._start + start, count)
