"""Opens every kind of capture by one function, which recognises the kind by the first bytes, not the name."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from rfsep.storage.atomic import ordinary_size, parse_json, read_small
from rfsep.storage.captures.archives import (
    COLLECTION,
    DATA,
    META,
    iq_tar,
    packed_members,
    sigmf_archive,
    tar_members,
)
from rfsep.storage.captures.arrays import open_npy, open_npz
from rfsep.storage.captures.blue import open_blue
from rfsep.storage.captures.digital_rf import find_digital_rf, open_digital_rf
from rfsep.storage.captures.facts import NO_HINTS, Capture, Hints
from rfsep.storage.captures.hdf5 import open_hdf5_capture
from rfsep.storage.captures.matlab import open_matlab
from rfsep.storage.captures.plain import file_content
from rfsep.storage.captures.raw import named, open_raw
from rfsep.storage.captures.sigmf_meta import sigmf_capture
from rfsep.storage.captures.wav import open_wav
from rfsep.storage.faults import fault, foreign
from rfsep.storage.hdf5 import open_hdf5

_LOOKED_AT = 1024  # bytes read from a file's start to recognise its kind
_MAX_META_BYTES = 16 << 20
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512, 1024, 2048, 4096)
_REFUSED = {  # first bytes of files that are not captures, or not supported
    b"CDF\x01": "a netCDF file (classic); write it as netCDF-4, which is HDF5",
    b"CDF\x02": "a netCDF file (classic); write it as netCDF-4, which is HDF5",
    b"CDF\x05": "a netCDF file (classic); write it as netCDF-4, which is HDF5",
    b"fLaC": "a FLAC file; unpack it to WAV",
    b"OggS": "an Ogg file, whose packing loses samples",
    b"ID3": "an MP3 file, whose packing loses samples",
    b".snd": "an AU file; write it as WAV",
    b"FORM": "an AIFF file; write it as WAV",
    b"caff": "a CAF file; write it as WAV",
    b"riff\x2e\x91\xcf\x11": "a Sony Wave64 file; write it as WAV or RF64",
    b"RIFX": "a big-endian WAV (RIFX); write it as WAV",
    b"SIMPLE  =": "a FITS file",
    b"PAR1": "a Parquet file",
    b"\xd4\xc3\xb2\xa1": "a capture of network packets (pcap)",
    b"\xa1\xb2\xc3\xd4": "a capture of network packets (pcap)",
    b"\x0a\x0d\x0d\x0a": "a capture of network packets (pcapng)",
    b"BZh": "packed by bzip2; unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"7z\xbc\xaf\x27\x1c": "packed by 7-Zip; unpack it",
    b"Rar!": "packed by RAR; unpack it",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"<?xml": "an XML file",
}
_NAMED = {  # kinds without characteristic first bytes
    ".vdif": "a VDIF file: its frames have headers between the samples",
    ".m5a": "a Mark 5A file: its frames have headers between the samples",
    ".m5b": "a Mark 5B file: its frames have headers between the samples",
    ".pkl": "a Python pickle, which is never opened",
    ".pickle": "a Python pickle, which is never opened",
    ".mp3": "an MP3 file, whose packing loses samples",
    ".csv": "a table of text",
    COLLECTION: "a SigMF collection: name one of its recordings",
}


def open_capture(path: Path, hints: Hints = NO_HINTS) -> Capture:
    """Opens a capture of any kind; only its header is read, except in files that have to be unpacked.

    Args:
        path: a file, either half of a SigMF recording, or a Digital RF folder.
        hints: the user's hints: the datatype of raw samples, the name of an array, a channel.

    Raises:
        InputError: missing, damaged, of an unsupported kind (names it), with samples in another file, ambiguous, or
            in conflict with the hints.
    """
    if path.is_dir():
        return _folder(path, hints)
    if not path.exists():
        raise fault(path, "no such file")
    ordinary_size(path)
    if path.name.endswith(META) or path.name.endswith(DATA):
        return _sigmf(path, hints)
    kind, opener = _kind(path)
    if opener is None:
        return _raw(path, hints)
    if hints.datatype is not None:
        raise fault(path, f"is {kind}, which says its datatype itself; {hints.datatype} is for raw samples")
    capture = opener(path, hints)
    told = named(path)
    facts = capture.facts
    capture.facts = facts._replace(frequency_hz=told.frequency_hz if facts.frequency_hz is None else facts.frequency_hz)
    return capture


def open_among_others(path: Path, hints: Hints) -> Capture:
    """Opens one of several files; the hint at a datatype only applies to raw ones.

    Raises:
        InputError: see `open_capture`.
    """
    says_itself = path.is_dir() or path.name.endswith((META, DATA)) or (path.is_file() and _kind(path)[1] is not None)
    return open_capture(path, hints._replace(datatype=None) if says_itself else hints)


def _folder(path: Path, hints: Hints) -> Capture:
    if not find_digital_rf(path):
        raise fault(path, "is a folder without a Digital RF recording: name one file")
    return open_digital_rf(path, hints)


def _raw(path: Path, hints: Hints) -> Capture:
    for what, value in (("datasets", hints.dataset), ("channels", hints.channel)):
        if value is not None:
            raise fault(path, f"is taken as raw samples, which have no {what}; {value!r} is of no use")
    return open_raw(path, hints)


Opener = Callable[[Path, Hints], Capture]
_PACKED = {  # first bytes: readable name, packing
    b"PK\x03\x04": ("a zip archive", "zip"),
    b"\x1f\x8b": ("a file packed by gzip", "gzip"),
    b"\xfd7zXZ\x00": ("a file packed by xz", "xz"),
}
_PROMISED = {  # kinds with characteristic first bytes, by the suffix that promises them
    ".wav": "a WAV file",
    ".npy": "a .npy file",
    ".npz": "an .npz file",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".hdf": "an HDF5 file",
    ".mat": "a MATLAB file",
    ".sigmf": "a SigMF archive",
    ".tar": "a tar archive",
    ".nc": "a netCDF file",
}
_TEXT = frozenset(b"\t\n\r" + bytes(range(32, 127)))


def _kind(path: Path) -> tuple[str, Opener | None]:
    """Returns the readable kind of a file and the function that opens it, None for raw samples.

    Raises:
        InputError: an unsupported kind, or a name that promises another.
    """
    content = file_content(path)
    head, suffix = content.fetch(0, _LOOKED_AT), path.suffix.lower()
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "a WAV file", open_wav
    if head.startswith(b"\x93NUMPY"):
        return "a .npy file", lambda path, hints: open_npy(path)
    if any(content.fetch(place, len(_HDF5)) == _HDF5 for place in _HDF5_PLACES):
        return "an HDF5 file", _hdf5
    if head.startswith(b"MATLAB 5.0 MAT-file") or (suffix == ".mat" and _is_level_4(head)):
        return "a MATLAB file", open_matlab
    if head.startswith(b"BLUE"):
        return "a BLUE file", lambda path, hints: open_blue(path)
    if head[257:].startswith(b"ustar"):
        return "a tar archive", lambda path, hints: _archive(path, "tar", hints)
    if (packed := next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)) is not None:
        return packed[0], lambda path, hints: _archive(path, packed[1], hints)
    refused = next((name for magic, name in _REFUSED.items() if head.startswith(magic)), None)
    refused = refused or _NAMED.get(suffix) or ("a text file" if _is_text(head) and suffix not in _PROMISED else None)
    if refused is not None:
        raise fault(path, f"is {refused}; it is not read as samples")
    if suffix in _PROMISED:
        raise fault(path, f"is not {_PROMISED[suffix]}, as its name says: its first bytes are {head[:8]!r}")
    return "raw samples", None


def _sigmf(path: Path, hints: Hints) -> Capture:
    """Opens a recording of two files, of which either may be named."""
    meta_path = path.with_name(path.name[: -len(META)] + META)  # both suffixes have the same length
    content = parse_json(meta_path, read_small(meta_path, _MAX_META_BYTES))
    fields = content.get("global") if isinstance(content, dict) else None
    own = fields.get("core:dataset") if isinstance(fields, dict) else None
    data_path = meta_path.with_name(meta_path.name[: -len(META)] + DATA)
    if isinstance(own, str) and own and not data_path.exists() and own == Path(own).name not in (".", ".."):
        data_path = meta_path.with_name(own)
    if data_path.is_symlink() and data_path.resolve().parent != meta_path.resolve().parent:
        raise fault(data_path, "is a link out of its folder, which is not followed")
    if not data_path.exists():
        raise fault(data_path, f"no such file, but {meta_path.name} describes it")
    ordinary_size(data_path)
    return sigmf_capture(meta_path, content, file_content(data_path), data_path, hints, "SigMF")


def _hdf5(path: Path, hints: Hints) -> Capture:
    with open_hdf5(path) as file:
        is_digital_rf = {"rf_data", "rf_data_index"} <= set(file)
    if is_digital_rf and hints.dataset is None:
        return open_digital_rf(path, hints)
    return open_hdf5_capture(path, hints)


def _archive(path: Path, packing: str, hints: Hints) -> Capture:
    """Opens the content of an archive: a SigMF recording, arrays, or an .iq.tar."""
    if packing == "zip":
        with foreign(path, "cannot be read as a zip archive"), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith(".npy") for name in names):
            return open_npz(path, hints)
    members = tar_members(path) if packing == "tar" else packed_members(path, packing)
    if any(member.name.endswith(META) for member in members):
        return sigmf_archive(path, members, hints)
    if packing == "tar":
        return iq_tar(path, members)
    raise fault(path, f"is packed ({packing}) and holds no SigMF recording: unpack it")


def _is_level_4(head: bytes) -> bool:
    """Tells whether a file begins like a MATLAB 4 matrix: a type below 5,000, small lengths in one byte order."""
    if len(head) < 20:
        return False
    for order in ("<", ">"):
        kind, rows, columns, is_complex, length = struct.unpack(f"{order}5i", head[:20])
        if 0 <= kind < 5000 and rows >= 0 and columns >= 0 and is_complex in (0, 1) and 0 < length < 100:
            return True
    return False


def _is_text(head: bytes) -> bool:
    """Tells whether a file begins with lines of ASCII."""
    return len(head) > 0 and b"\n" in head and all(byte in _TEXT for byte in head)
