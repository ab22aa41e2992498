"""Reads archives that hold a recording: SigMF's own, and the .iq.tar of spectrum analysers.

The bytes of a plain tar are read in place. A packed archive is unpacked into a temporary file of bounded size.
"""

import gzip
import lzma
import re
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np

from rfsep.storage.atomic import parse_json
from rfsep.storage.captures.facts import Capture, Hints, facts_of, is_rate, number_format
from rfsep.storage.captures.plain import Content, PlainCapture, file_content, unpacked_content, whole_samples
from rfsep.storage.captures.sigmf_meta import sigmf_capture
from rfsep.storage.faults import fault, foreign

META, DATA, COLLECTION = ".sigmf-meta", ".sigmf-data", ".sigmf-collection"
_MAX_META_BYTES = 16 << 20
_MAX_MEMBERS = 10_000
_IQ_TYPES = {"int8": "<i1", "int16": "<i2", "int32": "<i4", "float32": "<f4", "float64": "<f8"}


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: name with its folders.
        content: its bytes.
    """

    name: str
    content: Content


def tar_members(path: Path) -> list[Member]:
    """Returns the files of a plain tar, read in place; links and devices are ignored.

    Raises:
        InputError: it cannot be read, or has too many files.
    """
    whole = file_content(path)
    members: list[Member] = []
    with foreign(path, "cannot be read as a tar archive"), tarfile.open(path, "r:") as archive:
        for one in archive:
            if one.isreg() and not one.issparse():
                if one.offset_data + one.size > whole.size:
                    raise fault(path, f"is truncated: {one.name} ends behind the archive")
                members.append(Member(one.name, whole.part(one.offset_data, one.size)))
            if len(members) > _MAX_MEMBERS:
                raise fault(path, f"holds more than {_MAX_MEMBERS} files")
    return members


def packed_members(path: Path, packing: str) -> list[Member]:
    """Returns the unpacked files of a zip, or of a tar packed by gzip or xz.

    Raises:
        InputError: it cannot be read or unpacks to too much.
    """
    with foreign(path, f"cannot be unpacked ({packing})"):
        if packing == "zip":
            with zipfile.ZipFile(path) as archive:
                wanted = [one for one in archive.infolist() if PurePosixPath(one.filename).suffix in (META, DATA)]
                return [Member(one.filename, _unzipped(path, archive, one)) for one in wanted[:100]]
        with gzip.GzipFile(path) if packing == "gzip" else lzma.LZMAFile(path) as stream:
            unpacked = unpacked_content(path, cast(Any, stream))
        return _tar_of(unpacked) if unpacked.fetch(257, 5) == b"ustar" else []


def _unzipped(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Content:
    with archive.open(member) as stream:
        return unpacked_content(path, cast(Any, stream))


class _Bytes:
    """Presents a content as a readable file, which is all that tarfile needs."""

    def __init__(self, content: Content) -> None:
        self.content, self.place = content, 0

    def read(self, count: int) -> bytes:
        """Returns the next bytes."""
        found = self.content.fetch(self.place, min(count, max(0, self.content.size - self.place)))
        self.place += len(found)
        return found

    def seek(self, place: int) -> int:
        """Moves to a position."""
        self.place = place
        return place

    def tell(self) -> int:
        """Returns the position."""
        return self.place


def _tar_of(content: Content) -> list[Member]:
    """Returns the files of an unpacked tar."""
    with tarfile.open(fileobj=cast(Any, _Bytes(content)), mode="r:") as archive:
        return [
            Member(one.name, content.part(one.offset_data, one.size))
            for one in archive
            if one.isreg() and not one.issparse() and one.offset_data + one.size <= content.size
        ]


def sigmf_archive(path: Path, members: list[Member], hints: Hints) -> Capture:
    """Opens the recording of a SigMF archive; ``--dataset`` names it where there are several.

    Raises:
        InputError: several recordings and none named, no recording, or a faulty one.
    """
    metas = {PurePosixPath(one.name).name[: -len(META)]: one for one in members if one.name.endswith(META)}
    if hints.dataset is not None and hints.dataset not in metas:
        raise fault(path, f"holds no recording {hints.dataset!r}, only {sorted(metas)[:20]}")
    if len(metas) != 1 and hints.dataset is None:
        raise fault(path, f"holds {len(metas)} recordings; name one of {sorted(metas)[:20]} with --dataset")
    name = hints.dataset if hints.dataset is not None else next(iter(metas))
    meta = metas[name]
    if meta.content.size > _MAX_META_BYTES:
        raise fault(path, f"{meta.name} has {meta.content.size} bytes, more than {_MAX_META_BYTES}")
    content = parse_json(path, meta.content.fetch(0, meta.content.size))
    folder = PurePosixPath(meta.name).parent
    fields = content.get("global") if isinstance(content, dict) else None
    own = fields.get("core:dataset") if isinstance(fields, dict) else None
    wanted = str(folder / (own if isinstance(own, str) and own else name + DATA))
    found = [one for one in members if one.name == wanted]
    if not found:
        raise fault(path, f"holds no {wanted}, which {meta.name} describes")
    return sigmf_capture(path, content, found[0].content, Path(wanted), hints, "SigMF archive")


def iq_tar(path: Path, members: list[Member]) -> Capture:
    """Opens a Rohde & Schwarz .iq.tar: an XML of parameters and a file of numbers, one complex channel.

    Source: R&S iq-tar file format specification, version 1.

    Raises:
        InputError: missing or unsupported parameters: polar numbers, several channels.
    """
    xml = next((one for one in members if one.name.endswith(".xml")), None)
    if xml is None or xml.content.size > _MAX_META_BYTES:
        raise fault(path, "is a tar archive without the .xml of an .iq.tar and without a SigMF recording")
    text = xml.content.fetch(0, xml.content.size).decode("utf-8", "replace")
    told = dict(re.findall(r"<(\w+)(?: [^<>]*)?>\s*([^<>]*?)\s*</", text))
    kind, number, channels = told.get("Format"), told.get("DataType"), told.get("NumberOfChannels", "1")
    if kind not in ("complex", "real") or number not in _IQ_TYPES or channels != "1":
        raise fault(path, f"is an .iq.tar of {channels} channels, {kind} {number}: one, complex or real, is read")
    data = next((one for one in members if one.name == told.get("DataFilename")), None)
    if data is None:
        raise fault(path, f"holds no {told.get('DataFilename')!r}, which its .xml names")
    rate = _number(told.get("Clock"))
    if rate is None or not is_rate(rate):
        raise fault(path, f"its Clock is {told.get('Clock')!r}, expected a rate in Hz")
    layout = number_format(np.dtype(_IQ_TYPES[number]), kind == "complex")
    count, notes = whole_samples(path, data.content, layout)
    facts = facts_of(
        path,
        "iq.tar",
        f"{kind} {number}",
        count,
        step=layout.step,
        sample_rate_hz=rate,
        frequency_hz=_number(told.get("CenterFrequency")),
        description=told.get("Comment", ""),
        notes=notes,
    )
    return PlainCapture(facts, data.content, layout)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
