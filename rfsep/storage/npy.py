"""Arrays in .npy files: mapped, checked, never unpickled."""

import io
import math
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.iq import forget_pages
from rfsep.storage.atomic import ordinary_size
from rfsep.storage.faults import fault, reason

Shape = tuple[int | None, ...]
CHUNK_ENTRIES = 1 << 20
MAX_HEADER_BYTES = 1 << 16
MAX_CODE_POINT = 0x10FFFF
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
AXES = {1: ("entry {}",), 2: ("row {}", "sample {}"), 3: ("row {}", "channel {}", "sample {}")}


_MAGIC = b"\x93NUMPY"


class Header(NamedTuple):
    """The header of a .npy file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    offset: int


def read_complex(path: Path, shape: Shape) -> npt.NDArray[np.complex64]:
    """Returns a read-only memory map of a .npy of little-endian complex64 in C order; None in ``shape`` is any length.

    Complex128 is read too, and comes as a converted array in memory.

    Raises:
        InputError: missing, not a .npy, truncated, of another dtype or shape; as `as_complex64`.
    """
    header = read_header(path)
    if header.dtype not in (np.dtype("<c8"), np.dtype("<c16")):
        raise fault(path, f"dtype {_name(header.dtype)}, expected complex64 (<c8) or complex128, little-endian")
    if header.fortran_order and len(header.shape) > 1:
        raise fault(path, "is in Fortran order, expected C order")
    check_shape(path, header.shape, shape)
    return as_complex64(path, _map(path, header))


def read_floats(path: Path, shape: Shape) -> npt.NDArray[np.float32]:
    """Returns a read-only memory map of a .npy of little-endian float32 in C order; None in ``shape`` is any length.

    Raises:
        InputError: as `read_complex`.
    """
    header = read_header(path)
    if header.dtype != np.dtype("<f4") or (header.fortran_order and len(header.shape) > 1):
        raise fault(path, f"dtype {_name(header.dtype)}, expected float32 (<f4) in C order")
    check_shape(path, header.shape, shape)
    return _map(path, header)


def read_bits(path: Path, shape: Shape) -> npt.NDArray[np.uint8]:
    """Reads bits uint8 from a .npy of bool or any numeric dtype that only holds 0 and 1, in either order.

    The organisers' scripts save float32.

    Raises:
        InputError: as `read_complex`; not numbers; a value other than 0 and 1 (names the first).
    """
    header = read_header(path)
    if header.dtype.kind not in "biufc":
        raise fault(path, f"dtype {_name(header.dtype)}, expected bits 0 and 1 as numbers, best uint8")
    check_shape(path, header.shape, shape)
    return as_bits(path, _map(path, header))


def count_errors(path: Path, truth: Path) -> tuple[int, int]:
    """Returns the number of differing bits of two .npy files, and the number compared, the shorter length.

    Both files are read in bounded memory.

    Raises:
        InputError: as `read_bits`, of uint8 with one axis.
    """
    arrays = []
    for one in (path, truth):
        header = read_header(one)
        if header.dtype != np.uint8:
            raise fault(one, f"dtype {_name(header.dtype)}, expected bits as uint8")
        check_shape(one, header.shape, (None,))
        arrays.append(_map(one, header))
    compared, errors = min(len(array) for array in arrays), 0
    for start in range(0, compared, CHUNK_ENTRIES):
        end = min(start + CHUNK_ENTRIES, compared)
        pieces = [as_bits(one, array[start:end]) for one, array in zip((path, truth), arrays, strict=True)]
        errors += int(np.count_nonzero(pieces[0] != pieces[1]))
        for array in arrays:
            forget_pages(array)
    return errors, compared


def read_text(path: Path, shape: Shape) -> npt.NDArray[np.str_]:
    """Reads Unicode strings from a .npy of dtype <U, in either order (the official ones are transposed), in memory.

    Raises:
        InputError: as `read_complex`; another dtype; invalid characters.
    """
    header = read_header(path)
    if header.dtype.kind != "U" or header.dtype.str[0] != "<":
        raise fault(path, f"dtype {_name(header.dtype)}, expected unicode text (<U)")
    check_shape(path, header.shape, shape)
    codes = map_file(path, np.dtype("<u4"), header.offset, (math.prod(header.shape) * header.dtype.itemsize // 4,))
    if codes.size and int(codes.max()) > MAX_CODE_POINT:
        raise fault(path, f"character number {int(codes.max())} does not exist")
    return np.array(_map(path, header), order="C")


def check_shape(path: Path | str, got: tuple[int, ...], expected: Shape) -> None:
    """Compares shapes; None is any length.

    Raises:
        InputError: they differ; names both.
    """
    same = len(got) == len(expected) and all(e in (None, g) for g, e in zip(got, expected, strict=True))
    if not same:
        wanted = ", ".join("any" if length is None else str(length) for length in expected)
        raise fault(path, f"shape {got}, expected ({wanted})")


def check_finite(path: Path | str, array: npt.NDArray[Any]) -> None:
    """Checks that a float or complex array of one to three axes in C order is finite, piece by piece.

    Raises:
        InputError: names the first NaN or Inf by row and sample.
    """
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK_ENTRIES):
        piece = flat[start : start + CHUNK_ENTRIES]
        finite = np.isfinite(piece)
        forget_pages(array)
        if not finite.all():
            first = int(finite.argmin())
            kind = "NaN" if np.isnan(piece[first]) else "Inf"
            raise fault(path, f"{place(start + first, array.shape)} is {kind}")


def as_bits(path: Path | str, array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Returns numbers as uint8 bits of the same shape in C order, after a check piece by piece that all are 0 or 1.

    Raises:
        InputError: names the first other value in memory order, by row and position.
    """
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"
    bits = np.empty(array.shape, np.uint8, order)
    flat, target = array.reshape(-1, order=order), bits.reshape(-1, order=order)
    for start in range(0, flat.size, CHUNK_ENTRIES):
        piece = flat[start : start + CHUNK_ENTRIES]
        # A float in a file may be a signalling NaN.
        with np.errstate(invalid="ignore"):
            known = (piece == 0) | (piece == 1)
        if not known.all():
            first = int(known.argmin())
            where = place(start + first, array.shape, order).replace("sample", "bit")
            raise fault(path, f"{where} is {piece[first]}, expected 0 or 1")
        target[start : start + len(piece)] = piece != 0  # A bool in a file may be any byte.
        forget_pages(array)
    return np.ascontiguousarray(bits)


def as_complex64(path: Path | str, array: npt.NDArray[Any]) -> npt.NDArray[np.complex64]:
    """Returns a complex64 array as it is, and complex128 in C order as a read-only copy, converted piece by piece.

    NaN and Inf are kept.

    Raises:
        InputError: names the first number that complex64 cannot hold.
    """
    if array.dtype == np.complex64:
        return array
    narrow = np.empty(array.shape, np.complex64)
    flat, target = array.reshape(-1), narrow.reshape(-1)
    for start in range(0, flat.size, CHUNK_ENTRIES):
        piece, part = flat[start : start + CHUNK_ENTRIES], target[start : start + CHUNK_ENTRIES]
        with np.errstate(over="ignore", invalid="ignore"):
            part[:] = piece
        lost = np.isfinite(piece) & ~np.isfinite(part)
        if lost.any():
            first = int(lost.argmax())
            raise fault(path, f"{place(start + first, array.shape)} is {piece[first]}, too large for complex64")
        forget_pages(array)
    narrow.flags.writeable = False
    return narrow


def place(index: int, shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> str:
    """Describes a flat index.

    >>> place(7, (3, 5))
    'row 1, sample 2'
    """
    names = AXES[len(shape)]
    found = np.unravel_index(index, shape, order)
    return ", ".join(name.format(int(i)) for name, i in zip(names, found, strict=True))


def map_file(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Returns a read-only memory map of ``shape`` numbers at byte ``offset``; an ordinary array if there are none.

    Raises:
        InputError: the file is shorter than that, or cannot be read.
    """
    try:
        if 0 in shape:
            empty: npt.NDArray[Any] = np.empty(shape, dtype)
            empty.flags.writeable = False
            return empty
        return np.memmap(path, dtype, "r", offset, shape)
    except (OSError, ValueError, OverflowError) as error:
        raise fault(path, f"cannot be mapped: {reason(error)}") from error


def _name(dtype: np.dtype[Any]) -> str:
    return f"{dtype.name} ({dtype.str})"


def read_header(path: Path) -> Header:
    """Parses and checks the header, including the length of the file."""
    ordinary_size(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings(action="error"):
            beginning = io.BytesIO(file.read(MAX_HEADER_BYTES))
            version = np.lib.format.read_magic(beginning)
            if version not in HEADER_READERS:
                raise ValueError(f"format version {version}, expected 1.0 or 2.0")
            shape, fortran_order, dtype = HEADER_READERS[version](beginning)
            offset = beginning.tell()
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error
    except Exception as error:  # Numpy parses the header as Python source, which can fail in many ways.
        raise fault(path, f"is not a .npy file: {reason(error)}") from error
    if dtype.hasobject:
        raise fault(path, f"dtype {_name(dtype)} holds pickled objects, which are never loaded")
    header = Header(dtype, shape, fortran_order, offset)
    _check_length(path, header)
    return header


def holds_frames(path: Path) -> bool:
    """Tells whether a file is a .npy of several frames of complex numbers, and no recording."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return False
    header = read_header(path)
    return len(header.shape) == 2 and header.dtype.kind == "c" and header.shape[0] != 1


def _map(path: Path, header: Header) -> npt.NDArray[Any]:
    """Returns the array in the order of the file."""
    if header.fortran_order:
        return map_file(path, header.dtype, header.offset, header.shape[::-1]).T
    return map_file(path, header.dtype, header.offset, header.shape)


def _check_length(path: Path, header: Header) -> None:
    if not all(0 <= length < 1 << 60 for length in header.shape):
        raise fault(path, f"shape {header.shape} has a length that no array has")
    expected = math.prod(header.shape) * header.dtype.itemsize
    got = path.stat().st_size - header.offset
    if got != expected:
        state = "truncated" if got < expected else "too long"
        raise fault(path, f"is {state}: {got} bytes of data, its header says {expected}")
