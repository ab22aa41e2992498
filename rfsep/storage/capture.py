"""Captures of any length, read stretch by stretch: SigMF, raw samples, .npy and HDF5."""

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import CHUNK_BYTES
from rfsep.storage.faults import fault, foreign
from rfsep.storage.hdf5 import MAX_CHUNK_BYTES, check_unpacking, find, open_hdf5
from rfsep.storage.npy import check_finite, read_header
from rfsep.storage.sigmf import SUFFIX, read_meta
from rfsep.types import InputError

_DATATYPE = re.compile(r"([cr])(?:([iuf])(16|32|64)_([lb])e|([iu])8)")
_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_STRETCH = 1 << 20  # samples looked at in one piece
Samples = npt.NDArray[np.complex64]


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


class CaptureFacts(NamedTuple):
    """What is known of a capture before a sample is read.

    Attributes:
        path: of the file that holds the samples.
        datatype: as SigMF names it.
        num_samples: in all.
        sample_rate_hz: in Hz; None where the file does not say it.
        frequency_hz: of the carrier; None where the file does not say it.
        description: the recorder's words; may be empty.
        sha512: that the samples' file should have; None where nothing says it.
    """

    path: Path
    datatype: str
    num_samples: int
    sample_rate_hz: float | None
    frequency_hz: float | None
    description: str
    sha512: str | None


class Capture(Protocol):
    """Samples in a file, read stretch by stretch in bounded memory."""

    facts: CaptureFacts

    def read(self, start: int, count: int) -> Samples:
        """Samples complex64 [count] from ``start`` on, all of them in the file."""
        ...


def sample_format(datatype: str) -> SampleFormat:
    """How samples of a SigMF datatype are read.

    Raises:
        InputError: SigMF has no such datatype.

    >>> sample_format("ci16_le").full
    32768.0
    """
    match = _DATATYPE.fullmatch(datatype)
    kind = match and (match[2] or match[5])
    if not match or not kind or (kind == "f" and match[3] == "16") or (kind != "f" and match[3] == "64"):
        raise fault(
            f"datatype {datatype!r}",
            "unknown; choose c or r (complex, real), then f32, f64, i32, i16, u32 or u16 with _le or _be, or i8 or u8:"
            " cf32_le, ci16_le, ci8, ...",
        )
    size = int(match[3] or 8) // 8
    dtype = np.dtype(f"{'>' if match[4] == 'b' else '<'}{kind}{size}")
    full = 1.0 if kind == "f" else float(2 ** (8 * size - 1))
    return SampleFormat(dtype, 2 if match[1] == "c" else 1, full if kind == "u" else 0.0, full)


class PlainCapture:
    """Samples that lie one behind the other in a file.

    Args:
        facts: of the capture.
        sample_format: of its datatype.
        offset: bytes before the first sample.
    """

    def __init__(self, facts: CaptureFacts, sample_format: SampleFormat, offset: int) -> None:
        self.facts = facts
        self.sample_format = sample_format
        self.offset = offset

    def read(self, start: int, count: int) -> Samples:
        """Samples complex64 [count] from ``start`` on.

        Raises:
            InputError: the file became shorter, or cannot be read.
        """
        dtype, numbers, bias, full = self.sample_format
        place = self.offset + start * numbers * dtype.itemsize
        try:
            with self.facts.path.open("rb") as file:
                found = np.fromfile(file, dtype, count * numbers, offset=place)
        except OSError as error:
            raise fault(self.facts.path, f"cannot be read: {error.strerror}") from error
        if len(found) != count * numbers:
            raise fault(self.facts.path, f"ends before sample {start + count}: it became shorter")
        if dtype.kind == "f" and dtype.itemsize == 8:
            with np.errstate(over="ignore"):  # what is too large for single precision is found as Inf
                found = found.astype(np.float32)
        scaled = found.astype(np.float32, copy=False)
        if dtype.kind != "f":  # integers of 32 bits keep their low ones where they are shifted in double precision
            scaled = ((found - bias) / full if bias else found * (1 / full)).astype(np.float32)
        return scaled.view(np.complex64) if numbers == 2 else scaled.astype(np.complex64)


class Hdf5Capture:
    """Samples of a dataset with one axis.

    Args:
        facts: of the capture.
        name: of the dataset.
    """

    def __init__(self, facts: CaptureFacts, name: str) -> None:
        self.facts = facts
        self._dataset = find(open_hdf5(facts.path), name)
        check_unpacking(facts.path, self._dataset)

    def read(self, start: int, count: int) -> Samples:
        """Samples complex64 [count] from ``start`` on.

        Raises:
            InputError: they cannot be decoded.
        """
        with foreign(self.facts.path, "cannot be decoded"), np.errstate(over="ignore"):
            return np.asarray(self._dataset[start : start + count]).astype(np.complex64, copy=False)


def open_capture(path: Path, datatype: str | None = None, dataset: str | None = None) -> Capture:
    """Open a capture; nothing but its header is read.

    Args:
        path: a .sigmf-meta, a .npy of complex64 or complex128 [T], an .h5 or .hdf5, or any other file of raw samples.
        datatype: of raw samples, as SigMF names it; of no other file.
        dataset: of an HDF5 file; needed where it has several of complex samples.

    Raises:
        InputError: missing, truncated, another dtype or shape, a datatype missing or not wanted.
    """
    raw = path.suffix not in (SUFFIX, ".npy", *_HDF5_SUFFIXES)
    if not path.is_file():
        raise fault(path, "no such file")
    if datatype is not None and not raw:
        raise fault(path, f"says its datatype itself; {datatype} is for raw samples")
    if dataset is not None and path.suffix not in _HDF5_SUFFIXES:
        raise fault(path, f"has no datasets; {dataset!r} is of no use")
    if path.suffix == SUFFIX:
        meta = read_meta(path)
        try:
            kind = sample_format(meta.datatype)
        except InputError as error:
            raise fault(path, f"core:datatype: {error}") from None
        facts = CaptureFacts(meta.data_path, meta.datatype, 0, *meta[2:])
        return _plain(facts, kind, 0)
    if path.suffix == ".npy":
        return _npy(path)
    if path.suffix in _HDF5_SUFFIXES:
        return _hdf5(path, dataset)
    if datatype is None:
        raise fault(path, "is taken as raw samples: say their datatype, such as cf32_le or ci16_le")
    return _plain(CaptureFacts(path, datatype, 0, None, None, "", None), sample_format(datatype), 0)


def check_capture(capture: Capture, advance: Callable[[int], None]) -> str:
    """Read a capture once from end to end; returns the SHA-256 of the file that holds the samples.

    Args:
        capture: is looked at for what cannot be a sample.
        advance: called with the number of samples looked at, for a progress display.

    Raises:
        InputError: NaN or infinity (or numbers that are so in single precision), another SHA-512 than should be.
    """
    facts = capture.facts
    for start in range(0, facts.num_samples, _STRETCH):
        count = min(_STRETCH, facts.num_samples - start)
        if "f" in facts.datatype:
            samples = capture.read(start, count)
            try:
                check_finite("", samples)
            except InputError:
                first = start + int(np.isfinite(samples).argmin())
                raise fault(
                    facts.path, f"sample {first} is {samples[first - start]}, expected finite numbers"
                ) from None
        advance(count)
    digests = [hashlib.sha256(), *([hashlib.sha512()] if facts.sha512 is not None else [])]
    with facts.path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            for digest in digests:
                digest.update(piece)
    if facts.sha512 is not None and digests[1].hexdigest() != facts.sha512.lower():
        raise fault(facts.path, "has another hash than core:sha512 of its meta file: it was changed or cut")
    return digests[0].hexdigest()


def _plain(facts: CaptureFacts, kind: SampleFormat, offset: int) -> PlainCapture:
    """A capture whose length is the file's."""
    size, each = facts.path.stat().st_size - offset, kind.numbers * kind.dtype.itemsize
    if size == 0:
        raise fault(facts.path, "holds no samples")
    if size % each:
        raise fault(
            facts.path, f"is truncated or of another datatype: {size} bytes are no whole number of {facts.datatype}"
        )
    return PlainCapture(facts._replace(num_samples=size // each), kind, offset)


def _npy(path: Path) -> PlainCapture:
    header = read_header(path)
    datatypes = {np.dtype("<c8"): "cf32_le", np.dtype("<c16"): "cf64_le"}
    if header.dtype not in datatypes:
        raise fault(path, f"dtype {header.dtype.str}, expected complex64 (<c8) or complex128 (<c16), little-endian")
    if len(header.shape) != 1:
        raise fault(path, f"shape {header.shape}, expected one axis: the samples of one capture")
    datatype = datatypes[header.dtype]
    return _plain(CaptureFacts(path, datatype, 0, None, None, "", None), sample_format(datatype), header.offset)


def _hdf5(path: Path, name: str | None) -> Hdf5Capture:
    """A dataset complex [T], the only one unless it is named."""
    with open_hdf5(path) as file, foreign(path, "cannot be read as HDF5"):
        if name is None:
            name = _only_dataset(path, file)
        dataset = find(file, name)
        if dataset.dtype.str not in ("<c8", "<c16") or dataset.ndim != 1:
            raise fault(
                path, f"dataset {name!r} is {dataset.dtype.str} {dataset.shape}, expected complex samples of one axis"
            )
        if dataset.chunks is not None and dataset.chunks[0] * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
            raise fault(path, f"dataset {name!r} unpacks in pieces of more than {MAX_CHUNK_BYTES} bytes")
        if len(dataset) == 0:
            raise fault(path, f"dataset {name!r} holds no samples")
        datatype = "cf32_le" if dataset.dtype.itemsize == 8 else "cf64_le"
        facts = CaptureFacts(path, datatype, len(dataset), _rate(dataset, file), None, "", None)
    return Hdf5Capture(facts, name)


def _only_dataset(path: Path, file: h5py.File) -> str:
    """Name of the one dataset of complex numbers with one axis."""
    names = sorted(file)
    if len(names) == 1:
        return str(names[0])
    fitting = []
    for name in names:
        try:
            found = find(file, name)
        except InputError:  # a group, a link: not what is looked for
            continue
        if found.dtype.kind == "c" and found.ndim == 1:
            fitting.append(name)
    if len(fitting) != 1:
        raise fault(path, f"has {len(fitting)} datasets of complex samples with one axis; name one of {names[:20]}")
    return str(fitting[0])


def _rate(dataset: h5py.Dataset, file: h5py.File) -> float | None:
    """Attribute ``sample_rate_hz`` of the dataset or the file."""
    for attributes in (dataset.attrs, file.attrs):
        value = attributes.get("sample_rate_hz")
        if isinstance(value, np.integer | np.floating | int | float) and 0 < float(value) < sys.float_info.max:
            return float(value)
    return None
