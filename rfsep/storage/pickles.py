"""Reads pickles of official ground truth without running them, and writes them without holding them in memory.

Reading replaces every callable that a pickled numpy array names by a stand-in of this module, so that no callable of
the pickle's is ever called. The numbers are then taken from the pickled bytes.
"""

import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import ordinary_size
from rfsep.storage.faults import fault, reason

NUMERIC = re.compile(r"[biufc]\d{1,2}")


class _Type:
    """Stand-in for numpy.dtype."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not NUMERIC.fullmatch(code):
            # A tuple of tuples may be endless when printed.
            shown = f" {code!r}" if isinstance(code, str) else ""
            raise pickle.UnpicklingError(f"dtype{shown}, expected numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.dtype = self.dtype.newbyteorder("<" if state[1] == "|" else _order(state[1]))


class _Array:
    """Stand-in for an array: holds the pickled bytes until they are known to be numbers of that shape."""

    def __init__(self, *_: object) -> None:
        self.array: npt.NDArray[Any] | None = None

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _, shape, kind, fortran_order, content = state
        self.array = _array(content, kind, shape, "F" if fortran_order else "C")


def _from_buffer(content: object, kind: object, shape: object, order: object, axes: object = None) -> _Array:
    """Replaces numpy._core.numeric._frombuffer, which protocol 5 names."""
    if axes is not None or order not in ("C", "F"):
        raise pickle.UnpicklingError("array order is not 'C' or 'F'")
    result = _Array()
    result.array = _array(content, kind, shape, str(order))
    return result


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Replaces _codecs.encode, which protocol 2 uses for bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("text encoding is not 'latin1'")
    return text.encode("latin1")


def _no_bytes(*arguments: object) -> bytes:
    """Replaces bytes, which protocol 2 uses for the content of an empty array."""
    if arguments:
        raise pickle.UnpicklingError("calls bytes")
    return b""


STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
UNUSED = {
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    # Keys have to be hashed, which takes for ever where tuples are nested in each other a few dozen times.
    *(pickle.DICT, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
}
MAX_BYTES = 4 << 30
MAX_AXES = 8


# The interpreter written in Python, not the one in C: its memo is a dict, so that no opcode of a few bytes makes
# it reserve gigabytes; and its opcodes can be overridden. It is as fast here: the bytes of an array are one opcode.
class _Reader(pickle._Unpickler):
    """An unpickler that only knows the stand-ins."""

    stack: list[Any]
    read: Callable[[int], bytes]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if bytes([code]) not in UNUSED
    }

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file)
        self.size = self.budget = size

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a name.

        Raises:
            pickle.UnpicklingError: any other name.
        """
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"names {module}.{name}, expected numpy arrays of numbers and nothing else")
        return STAND_INS[module, name]

    def load_build(self) -> None:
        """Sets the state of a stand-in, and of nothing else: the original would set attributes of anything."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Type | _Array) or not isinstance(state, tuple):
            raise pickle.UnpicklingError(f"gives a state to {type(target).__name__}")
        target.__setstate__(state)

    def load_reduce(self) -> None:
        """Calls a stand-in; text turned into bytes must not exceed the size of the file in total."""
        arguments = self.stack.pop()
        called = self.stack[-1]
        if called not in STAND_INS.values():
            raise pickle.UnpicklingError(f"calls {type(called).__name__}")
        self.stack[-1] = called(*arguments)
        if isinstance(self.stack[-1], bytes):
            self.budget -= len(self.stack[-1])
            if self.budget < 0:
                raise pickle.UnpicklingError("unpacks to more bytes than it has")

    def load_bytearray8(self) -> None:
        """Reads bytes that the file holds: the original allocates zeros before it checks."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self.size:
            raise pickle.UnpicklingError(f"says to hold {length} bytes")
        self.stack.append(self.read(length))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.REDUCE[0]] = load_reduce


def read_arrays(path: Path) -> tuple[npt.NDArray[Any], ...]:
    """Returns the read-only numeric arrays of a pickled tuple or list of numpy arrays (numpy 1 or 2, protocols 2 to 5).

    Raises:
        InputError: missing, truncated, or anything other than numeric arrays: objects, other classes, calls.
    """
    if (size := ordinary_size(path)) > MAX_BYTES:
        raise fault(path, f"has {size} bytes, more than the limit of {MAX_BYTES}")
    try:
        with path.open("rb") as file:
            content = _Reader(file, size).load()
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise fault(
            path, f"is not a pickle of numeric arrays: has an opcode or a memo {error} of no use to one"
        ) from error
    except Exception as error:  # A foreign pickle can fail in any way, which is the file's fault.
        raise fault(path, f"is not a pickle of numeric arrays: {reason(error)}") from error
    if not isinstance(content, tuple | list):
        raise fault(path, f"holds a {type(content).__name__}, expected a tuple of numeric arrays")
    arrays = []
    for item in content:
        if not isinstance(item, _Array) or item.array is None:
            raise fault(path, f"holds a {type(item).__name__.lstrip('_')}, expected numeric arrays alone")
        arrays.append(item.array)
    return tuple(arrays)


def write_arrays(file: BinaryIO, arrays: tuple[npt.NDArray[Any], ...]) -> None:
    """Pickles a tuple of numeric arrays by protocol 4, row after row, under names that numpy 1 and 2 both know.

    ``pickle.dump`` under numpy 2 writes names that the official scorer's numpy 1.21 does not have.
    """
    file.write(pickle.PROTO + b"\x04" + pickle.MARK)
    for array in arrays:
        code = array.dtype.str
        file.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n" + pickle.MARK)
        file.write(pickle.GLOBAL + b"numpy\nndarray\n" + _integer(0) + pickle.TUPLE1 + _bytes(b"b"))
        file.write(pickle.TUPLE + pickle.REDUCE + pickle.MARK + _integer(1) + pickle.MARK)
        file.write(b"".join(_integer(length) for length in array.shape) + pickle.TUPLE)
        file.write(pickle.GLOBAL + b"numpy\ndtype\n" + _text(code[1:]) + pickle.NEWFALSE + pickle.NEWTRUE)
        file.write(pickle.TUPLE3 + pickle.REDUCE + pickle.MARK + _integer(3) + _text(code[0]) + 3 * pickle.NONE)
        file.write(_integer(-1) + _integer(-1) + _integer(0) + pickle.TUPLE + pickle.BUILD)
        file.write(pickle.NEWFALSE + pickle.BINBYTES8 + struct.pack("<Q", array.nbytes))
        for row in range(len(array)):
            file.write(array[row : row + 1].tobytes())
        file.write(pickle.TUPLE + pickle.BUILD)
    file.write(pickle.TUPLE + pickle.STOP)


def _array(content: object, kind: object, shape: object, order: str) -> npt.NDArray[Any]:
    """Views pickled bytes as numbers, without allocating more than the bytes of the file."""
    if not isinstance(content, bytes) or not isinstance(kind, _Type):
        raise pickle.UnpicklingError(f"array of {type(content).__name__}, expected the bytes of numbers")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and 0 <= n < 1 << 60 for n in shape[:MAX_AXES]):
        raise pickle.UnpicklingError("array shape is no tuple of lengths")
    if len(shape) > MAX_AXES:
        raise pickle.UnpicklingError(f"array shape has {len(shape)} axes")
    if math.prod(shape) * kind.dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"array of shape {shape} {kind.dtype} has {len(content)} bytes")
    array = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def _order(order: object) -> Any:
    if order not in ("<", ">", "="):
        raise pickle.UnpicklingError("byte order is not '<', '>' or '='")
    return order


def _integer(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def _bytes(value: bytes) -> bytes:
    return pickle.SHORT_BINBYTES + bytes([len(value)]) + value
