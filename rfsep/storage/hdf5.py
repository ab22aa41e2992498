"""HDF5: plain datasets only, memory-mapped where contiguous, and laid out reproducibly byte by byte."""

import io
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import staged
from rfsep.storage.faults import fault, foreign
from rfsep.storage.hdf5_heap import check_heaps
from rfsep.storage.npy import as_complex64, check_finite, map_file

MAX_BYTES = 4 << 30
# The largest chunk of a dataset that is read piece by piece: a whole chunk is unpacked for a single number.
MAX_CHUNK_BYTES = 64 << 20
PACKERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
FILTERS = {*PACKERS, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
SUM_BYTES = 4  # bytes that a Fletcher checksum adds to a chunk
LAYOUT = {
    # Every h5py of the last ten years reads this version; as it is fixed, the bytes stay the same.
    "libver": ("v108", "v108"),
    "alignment_threshold": 1,
    "alignment_interval": 64,  # bytes; .npy aligns its data likewise
}


class _Pieces(io.RawIOBase):
    """Keeps the HDF5 library's output piece by piece; the space for numbers in between costs no memory."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.position = 0
        self.length = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position relative to the start, the current position or the end."""
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        return self.position

    def write(self, content: Any) -> int:
        """Keeps a piece."""
        self.pieces.append((self.position, bytes(content)))
        self.length = max(self.length, self.seek(len(content), io.SEEK_CUR))
        return len(content)

    def readinto(self, buffer: Any) -> int:
        """Reads zeros, overlaid by the pieces."""
        view, here = memoryview(buffer).cast("B"), self.position
        view[:] = bytes(len(view))
        for start, piece in self.pieces:
            low, high = max(start, here), min(start + len(piece), here + len(view))
            if low < high:
                view[low - here : high - here] = piece[low - start : high - start]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Sets the length; the library calls this last."""
        self.length = self.position if size is None else size
        return self.length


class Slot(NamedTuple):
    """A dataset to lay out: its shape and dtype."""

    shape: tuple[int, ...]
    dtype: str


class Frames(NamedTuple):
    """Recorded frames of one kind of signal.

    Attributes:
        frames: complex64 [frames, samples].
        sig_type: name of the signal; empty where the file does not state it.
    """

    frames: npt.NDArray[np.complex64]
    sig_type: str


def open_hdf5(path: Path) -> h5py.File:
    """Opens a file for reading; the caller closes it.

    Raises:
        InputError: missing, not HDF5, truncated.
    """
    if not path.is_file():
        raise fault(path, "no such file")
    with foreign(path, "cannot be read as HDF5"):
        file = h5py.File(path, "r")
        try:
            check_heaps(path, file)
        except BaseException:
            file.close()
            raise
        return file


def read_dataset(
    file: h5py.File, name: str, dtypes: tuple[str, ...], ndim: int, max_bytes: int = MAX_BYTES
) -> npt.NDArray[Any]:
    """Reads a dataset of one of ``dtypes`` (as in ``np.dtype(...).str``, '<c8') with ``ndim`` axes.

    A contiguous, unfiltered dataset comes as a read-only memory map that outlives ``file``, any other as an array in
    memory of at most ``max_bytes``.

    Raises:
        InputError: missing; a link, a virtual dataset or one whose bytes lie in another file; another dtype or number
            of axes; larger than ``max_bytes``; cannot be decoded.
    """
    path = Path(file.filename)
    dataset = find(file, name)
    if dataset.dtype.str not in dtypes:
        raise fault(path, f"dataset {name!r} has dtype {dataset.dtype.str}, expected {' or '.join(dtypes)}")
    if dataset.ndim != ndim:
        raise fault(path, f"dataset {name!r} has shape {dataset.shape}, expected {ndim} axes")
    with foreign(path, f"dataset {name!r} cannot be decoded"):
        offset = dataset.id.get_offset()
        plain = dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)
        if offset is not None and plain and offset % dataset.dtype.alignment == 0:
            return map_file(path, dataset.dtype, offset, dataset.shape)
        unpacked, chunk = (math.prod(one) * dataset.dtype.itemsize for one in (dataset.shape, dataset.chunks or (0,)))
        if unpacked > max_bytes:
            raise fault(path, f"dataset {name!r} unpacks to {unpacked} bytes, more than the limit of {max_bytes}")
        if chunk > max(unpacked, MAX_CHUNK_BYTES):
            raise fault(path, f"dataset {name!r} of {unpacked} bytes has chunks of {chunk}")
        check_unpacking(path, dataset)
        array: npt.NDArray[Any] = np.asarray(dataset[()])
    array.flags.writeable = False
    return array


def read_string(file: h5py.File, name: str) -> str:
    """Reads a scalar string dataset.

    Raises:
        InputError: missing, a link, not one string, not UTF-8.
    """
    path = Path(file.filename)
    dataset = find(file, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.shape != ():
        raise fault(path, f"dataset {name!r} is {dataset.dtype} {dataset.shape}, expected one string")
    with foreign(path, f"dataset {name!r} cannot be decoded"):
        value = dataset[()]
        return value.decode() if isinstance(value, bytes) else str(value)


def read_attribute(file: h5py.File, name: str) -> str | int | float:
    """Reads a scalar attribute of the file: text, an integer or a floating-point number.

    Raises:
        InputError: missing (names those there) or neither text nor a number.
    """
    path = Path(file.filename)
    with foreign(path, f"attribute {name!r} cannot be decoded"):
        if name not in file.attrs:
            raise fault(path, f"no attribute {name!r}, only {sorted(file.attrs)[:20]}")
        value = file.attrs[name]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    if not isinstance(value, str):
        raise fault(path, f"attribute {name!r} is {type(value).__name__}, expected text or a number")
    return value


def lay_out(
    path: Path,
    slots: Mapping[str, Slot],
    attributes: Mapping[str, str | int | float],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, int]:
    """Creates an HDF5 file with room for every slot, and returns the byte offset of each (0 for an empty one).

    The numbers are then written by ordinary file writes, in bounded memory. The HDF5 library itself never touches the
    disk: when that is full, closing a file there ends in a segmentation fault. The bytes depend on the arguments alone.

    Args:
        path: must not exist.
        slots: datasets by name.
        attributes: attributes of the file.
        texts: scalar string datasets by name.
    """
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    offsets, content = {}, _Pieces()
    with h5py.File(content, "w", **LAYOUT) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, text in texts.items():
            file.create_dataset(name, data=text, track_times=False)
        for name, slot in slots.items():
            dataset = file.create_dataset(name, slot.shape, slot.dtype, dcpl=early.copy(), track_times=False)
            offsets[name] = dataset.id.get_offset() or 0
    with path.open("xb") as raw:
        for start, piece in content.pieces:
            raw.seek(start)
            raw.write(piece)
        raw.truncate(content.length)
    return offsets


def read_frames(path: Path) -> Frames:
    """Returns frames in the official InterferenceSet and TestSet1 format; complex128 is converted.

    Raises:
        InputError: as `read_dataset` and `read_string`, for ``dataset`` and, where it is there, ``sig_type``; NaN, Inf
            or numbers that complex64 cannot hold.
    """
    with open_hdf5(path) as file:
        frames = read_dataset(file, "dataset", ("<c8", "<c16"), 2)
        sig_type = read_string(file, "sig_type") if file.get("sig_type", getlink=True) else ""
    check_finite(path, frames)
    return Frames(as_complex64(path, frames), sig_type)


def write_frames(path: Path, frames: npt.NDArray[np.complex64], sig_type: str) -> None:
    """Writes frames complex64 [frames, samples] in the official format.

    Raises:
        InputError: another dtype or shape, or the file cannot be written.
    """
    if frames.dtype != np.complex64 or frames.ndim != 2:
        raise fault(path, f"frames are {frames.dtype} {frames.shape}, expected complex64 [frames, samples]")
    with staged(path) as (temporary,):
        offsets = lay_out(temporary, {"dataset": Slot(frames.shape, "<c8")}, {}, {"sig_type": sig_type})
        with temporary.open("r+b") as raw:
            raw.seek(offsets["dataset"])
            for frame in frames:
                raw.write(np.ascontiguousarray(frame).data)


def find(file: h5py.File, name: str) -> h5py.Dataset:
    """Returns a dataset; it must be hard-linked and have its bytes in this very file."""
    path = Path(file.filename)
    with foreign(path, f"dataset {name!r} cannot be read"):
        parts = [part for part in name.split("/") if part]
        # A link anywhere on the path may lead out of the file.
        for place in range(1, len(parts) + 1):
            step = "/".join(parts[:place])
            link = file.get(step, getlink=True)
            if link is None:
                raise fault(path, f"no dataset {name!r}, only {sorted(file)[:20]}")
            if not isinstance(link, h5py.HardLink):
                raise fault(path, f"dataset {step!r} is a {type(link).__name__}, links are not followed")
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            raise fault(path, f"{name!r} is a {type(found).__name__}, expected a dataset")
        # This fails for a dtype that numpy does not have.
        _ = found.dtype
        if found.is_virtual:
            raise fault(path, f"dataset {name!r} is virtual, its bytes lie in other files")
        if found.external:
            raise fault(path, f"dataset {name!r} has external storage in {found.external[0][0]!r}")
        _check_filters(path, found)
    return found


def _check_filters(path: Path, dataset: h5py.Dataset) -> None:
    """Refuses filters that need plugins, which are code that the library would load, and rarely used filters."""
    names = _filters(dataset)
    if strange := sorted(set(names) - FILTERS):
        raise fault(
            path, f"dataset {dataset.name!r} is packed by filter {strange[0]}, expected gzip, LZF, shuffle or a sum"
        )
    if sum(name in PACKERS for name in names) > 1:
        raise fault(path, f"dataset {dataset.name!r} is packed twice")


def check_unpacking(path: Path, dataset: h5py.Dataset) -> None:
    """Refuses chunks that do not unpack to exactly the declared number of bytes.

    The library would allocate memory for any longer one, and read the bytes after a shorter one as numbers.

    Raises:
        InputError: names the size of the first such chunk.
    """
    names = _filters(dataset)
    if not names:
        return
    with foreign(path, f"dataset {dataset.name!r} cannot be decoded"):
        size = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
        for index in range(dataset.id.get_num_chunks()):
            skipped, stored = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(index).chunk_offset)
            used = [name for place, name in enumerate(names) if not skipped >> place & 1]
            if (length := _unpacked_length(stored, used, size)) != size:
                state = "more" if length > size else "fewer"
                raise fault(path, f"dataset {dataset.name!r} has a chunk that unpacks to {state} than its {size} bytes")


def _unpacked_length(stored: bytes, filters: list[int], size: int) -> int:
    """Returns the unpacked size of a chunk, with the last filter undone first; sizes above ``size`` may be inexact."""
    length, limit = len(stored), size + SUM_BYTES * len(filters) + 1
    for name in reversed(filters):
        if name == h5py.h5z.FILTER_FLETCHER32:
            length -= SUM_BYTES
        elif name == h5py.h5z.FILTER_DEFLATE:
            length = len(zlib.decompressobj().decompress(stored[:length], limit))
        elif name == h5py.h5z.FILTER_LZF:
            length = _lzf_length(stored[:length])
    return length


def _lzf_length(packed: bytes) -> int:
    """Returns the unpacked size of an LZF stream without unpacking it: runs of literals and references of 3 to 264.

    Source: the format of Marc Lehmann's LibLZF, which h5py has built in.
    """
    length = start = 0
    while start < len(packed):
        control = packed[start]
        if control < 32:  # control + 1 literals follow
            length += control + 1
            start += control + 2
        elif control < 224:  # three bits of length, thirteen of distance
            length += (control >> 5) + 2
            start += 2
        else:  # the length continues in the next byte
            length += packed[start + 1] + 9
            start += 3
    if start > len(packed):
        raise ValueError("an LZF stream ends too early")
    return length


def _filters(dataset: h5py.Dataset) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
