"""Reads SigMF meta files as recorders write them, including nulls, old datatypes, seams and headers.

Source: SigMF specification 1.2.6, sections Global, Captures and Non-Conforming Datasets.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rfsep.storage.captures.facts import (
    CaptureFacts,
    Hints,
    SampleFormat,
    Segment,
    Sum,
    facts_of,
    is_rate,
    sample_format,
)
from rfsep.storage.captures.plain import Content, PlainCapture, chosen_channel, whole_samples
from rfsep.storage.faults import fault
from rfsep.types import InputError

# These global fields are copied into results.
ORIGIN = ("author", "hw", "license", "geolocation")
# Two datetimes may differ by so much from the samples between them, as recorders use the host's clock.
_CLOCK_S = 1.0
_MAX_CAPTURES = 100_000


class Meta(NamedTuple):
    """A checked meta file.

    Attributes:
        datatype: datatype as in the file.
        layout: format of its numbers.
        channels: number of interleaved channels.
        header_bytes: bytes before the first sample.
        trailing_bytes: bytes after the last sample.
        offset: number of the first sample in the file.
        fields: the global object.
        captures: the capture objects.
    """

    datatype: str
    layout: SampleFormat
    channels: int
    header_bytes: int
    trailing_bytes: int
    offset: int
    fields: Mapping[str, Any]
    captures: list[dict[str, Any]]


def parse_meta(path: Path, content: Any, data_name: str) -> Meta:
    """Checks the content of a meta file.

    Args:
        path: path of the meta file or archive, for messages.
        content: parsed JSON.
        data_name: name of the file that holds the samples.

    Raises:
        InputError: not SigMF, or an unsupported kind of it: samples in another file, headers between captures,
            meta data alone.
    """
    if not isinstance(content, dict) or not isinstance(content.get("global"), dict):
        raise fault(path, "has no object 'global'")
    fields, captures = content["global"], content.get("captures") or []
    if not isinstance(captures, list) or not all(isinstance(capture, dict) for capture in captures):
        raise fault(path, "has no list 'captures' of objects")
    if len(captures) > _MAX_CAPTURES:
        raise fault(path, f"has {len(captures)} captures, more than {_MAX_CAPTURES}")
    if fields.get("core:metadata_only"):
        raise fault(path, "is a non-conforming dataset (core:metadata_only): it has no samples")
    if (named := fields.get("core:dataset")) and named != data_name:
        raise fault(path, f"is a non-conforming dataset (core:dataset = {named!r}), expected samples in {data_name}")
    datatype = fields.get("core:datatype")
    try:
        layout = sample_format(str(datatype))
    except InputError as error:
        raise fault(path, f"core:datatype: {error}") from None
    headers = [_count(path, "core:header_bytes", capture.get("core:header_bytes")) for capture in captures]
    if any(headers[1:]):
        raise fault(path, f"core:header_bytes = {max(headers[1:])} between two captures, expected samples alone")
    return Meta(
        str(datatype),
        layout,
        _count(path, "core:num_channels", fields.get("core:num_channels"), 1),
        headers[0] if headers else 0,
        _count(path, "core:trailing_bytes", fields.get("core:trailing_bytes")),
        _count(path, "core:offset", fields.get("core:offset")),
        fields,
        captures,
    )


def sigmf_capture(path: Path, content: Any, data: Content, data_path: Path, hints: Hints, kind: str) -> PlainCapture:
    """Returns the capture that a meta file's content describes.

    Args:
        path: path of the meta file or archive.
        content: parsed JSON.
        data: content of the file that holds the samples.
        data_path: its path, or its name inside an archive.
        hints: the user's hints.
        kind: readable kind of the file.

    Raises:
        InputError: see `parse_meta`; a datatype in conflict with the user's, a missing channel, no samples, a capture
            beyond the samples.
    """
    meta = parse_meta(path, content, data_path.name)
    if hints.datatype is not None and sample_format(hints.datatype) != meta.layout:
        raise fault(path, f"says that its datatype is {meta.datatype}, not {hints.datatype}")
    channel = chosen_channel(path, meta.channels, hints)
    size = data.size - meta.header_bytes - meta.trailing_bytes
    part = data.part(meta.header_bytes, max(0, size))
    count, notes = whole_samples(data_path, part, meta.layout, meta.channels)
    facts = _facts(path, meta, count, kind)
    files = (data_path,) if kind == "SigMF" else (path,)
    digest = meta.fields.get("core:sha512")
    expected = None if digest is None else Sum(str(digest).lower(), data.pieces)
    facts = facts._replace(notes=notes + facts.notes, files=files, sum=expected)
    return PlainCapture(facts, part, meta.layout, meta.channels, channel)


def _facts(path: Path, meta: Meta, count: int, kind: str) -> CaptureFacts:
    """Returns the facts of a meta file whose data has ``count`` samples."""
    rate = meta.fields.get("core:sample_rate")
    if rate is not None and not is_rate(rate):
        raise fault(path, f"core:sample_rate is {rate!r}, expected a positive number")
    segments = _segments(path, meta, count, None if rate is None else float(rate))
    origin = {key: meta.fields[f"core:{key}"] for key in ORIGIN if meta.fields.get(f"core:{key}") is not None}
    left = segments[0].start
    return facts_of(
        path,
        kind,
        meta.datatype,
        count,
        step=meta.layout.step,
        sample_rate_hz=None if rate is None else float(rate),
        frequency_hz=segments[0].frequency_hz,
        description=str(meta.fields.get("core:description") or ""),
        segments=segments,
        origin=origin,
        notes=(f"its first {left} samples belong to no capture and are left out",) if left else (),
    )


def _segments(path: Path, meta: Meta, count: int, rate: float | None) -> tuple[Segment, ...]:
    """Returns the captures as segments, and joins those that differ only in unused fields."""
    if not meta.captures:
        return (Segment(0, count),)
    starts = [_start(path, meta, capture, count) for capture in meta.captures]
    if starts != sorted(set(starts)):
        raise fault(path, f"captures begin at samples {starts[:10]}, expected rising numbers")
    found: list[Segment] = []
    for place, (start, end) in enumerate(pairwise([*starts, count])):
        capture = meta.captures[place]
        frequency, stamp = _frequency(path, capture), str(capture.get("core:datetime") or "")
        goes_on = place > 0 and frequency == found[-1].frequency_hz
        if goes_on and not _gap(meta.captures[place - 1], capture, start - starts[place - 1], rate):
            found[-1] = found[-1]._replace(length=end - found[-1].start)
        else:
            found.append(Segment(start, end - start, frequency, stamp))
    return tuple(found)


def _start(path: Path, meta: Meta, capture: Mapping[str, Any], count: int) -> int:
    """Returns the sample of the file at which a capture begins."""
    start = _count(path, "core:sample_start", capture.get("core:sample_start")) - meta.offset
    if not 0 <= start < count:
        raise fault(
            path,
            f"core:sample_start is {start + meta.offset}, expected one of {count} samples from {meta.offset} on",
        )
    return start


def _gap(before: Mapping[str, Any], behind: Mapping[str, Any], samples: int, rate: float | None) -> bool:
    """Tells whether the distance between the beginnings of two captures differs from ``samples``."""
    first, second = (capture.get("core:global_index") for capture in (before, behind))
    if isinstance(first, int) and isinstance(second, int):
        return second - first != samples
    try:
        times = [datetime.fromisoformat(str(capture.get("core:datetime"))) for capture in (before, behind)]
        elapsed = (times[1] - times[0]).total_seconds()
    except (ValueError, TypeError):  # This is not a time, or only one of the two has a time zone.
        return False
    return rate is not None and abs(elapsed - samples / rate) > _CLOCK_S


def _frequency(path: Path, capture: Mapping[str, Any]) -> float | None:
    """Returns the carrier frequency of a capture."""
    value = capture.get("core:frequency")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise fault(path, f"core:frequency is {value!r}, expected a number of Hz")
    return float(value)


def _count(path: Path, name: str, value: Any, default: int = 0) -> int:
    """Returns a whole number that is not negative, and positive for channels."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not default <= value < 1 << 60:
        raise fault(path, f"{name} is {value!r}, expected a whole number from {default} on")
    return value
