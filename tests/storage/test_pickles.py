"""Pickles are read, never run."""

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.storage.pickles import read_arrays, write_arrays

ARRAYS = (
    (np.arange(6) * (1 - 1j)).astype(np.complex64).reshape(2, 3),
    np.arange(6.0).reshape(2, 3).T,
    np.array([[1, 0]], np.uint8),
    np.zeros((3, 0), bool),
    np.arange(3, dtype=">i4"),
    np.array(2.5, np.float16),
)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.pkl"


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("container", [tuple, list])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(path: Path, protocol: int, container: type) -> None:
    path.write_bytes(pickle.dumps(container(ARRAYS), protocol))
    read = read_arrays(path)
    assert same(read, ARRAYS)
    assert not any(array.flags.writeable for array in read)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_names_of_numpy_1(path: Path, protocol: int) -> None:
    """In numpy 1 the private modules have no underscore; the text's length is in the pickle as well."""
    content = pickle.dumps(ARRAYS[:3], protocol)
    for module in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        old = module.replace(b"_core", b"core")
        content = content.replace(b"c" + module, b"c" + old)
        content = content.replace(bytes([len(module)]) + module, bytes([len(old)]) + old)
    content = b"".join((content[:2], content[11:])) if protocol >= 4 else content  # the first frame's length is off
    path.write_bytes(content)
    assert b"_core" not in content
    assert same(read_arrays(path), ARRAYS[:3])


def test_written_pickle_is_numpys_own(path: Path) -> None:
    """numpy reads it, whatever its version: the names are those of numpy 1, which numpy 2 keeps for pickles."""
    arrays = (ARRAYS[0], ARRAYS[2], ARRAYS[3], np.arange(8, dtype=np.int64).reshape(2, 4))
    with path.open("wb") as file:
        write_arrays(file, arrays)
    content = path.read_bytes()
    assert content[:2] == b"\x80\x04"
    assert b"_core" not in content
    assert same(pickle.loads(content), arrays)
    assert same(read_arrays(path), arrays)


def test_writing_reads_a_slice_at_a_time() -> None:
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))[:, ::2]
    file = io.BytesIO()
    write_arrays(file, (array,))
    assert same(pickle.loads(file.getvalue()), (array,))


def test_hostile_calls_do_not_run(tmp_path: Path, path: Path, refused: Any) -> None:
    marker = tmp_path / "marker"
    command = f"touch {marker}"
    calls = [Call(os.system, command), Call(eval, f"__import__('os').system({command!r})"), Call(open, marker, "w")]
    for call in calls:
        for protocol in (0, 2, 4, 5):
            for content in (call, (ARRAYS[0], call), [call]):
                path.write_bytes(pickle.dumps(content, protocol))
                with refused("a.pkl", "names", "expected numpy arrays"):
                    read_arrays(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.array([None]), ["dtype 'O8'"]),
        (np.array(["a"]), ["dtype 'U1'"]),
        (np.zeros(1, [("a", "f4")]), ["dtype 'V4'"]),
        (np.array(["2020"], "M8[D]"), ["dtype 'M8'"]),
        (Path("x"), ["Path"]),
        (Call(np.frombuffer, b"12"), ["frombuffer"]),
        (Call(bytes, 10**12), ["bytes"]),
        (Call(bytearray, 10**12), ["bytearray"]),
        ("text", ["holds a str"]),
        (1.5, ["holds a float"]),
        ((np.zeros(2), 3), ["holds a int"]),
        ((np.zeros(2), (np.zeros(2),)), ["holds a tuple"]),
        ((np.ndarray,), ["holds a type"]),
        ({"a": np.zeros(2)}, ["not a pickle of numeric arrays"]),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_anything_else_is_refused(path: Path, refused: Any, content: object, words: list[str], protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol))
    with refused("a.pkl", *words):
        read_arrays(path)


def test_damaged_files(path: Path, refused: Any) -> None:
    whole = pickle.dumps(ARRAYS, 4)
    for length in (0, 1, 10, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with refused("a.pkl"):
            read_arrays(path)
    path.write_bytes(b"not a pickle\n")
    with refused("a.pkl"):
        read_arrays(path)
    path.unlink()
    with refused("a.pkl", "No such file"):
        read_arrays(path)


def array_opcodes(shape: bytes, content: bytes, code: bytes = b"u1") -> bytes:
    """An array spelt by hand: shape and content as opcodes."""
    return (
        b"\x80\x05(cnumpy._core.numeric\n_frombuffer\n("
        + content
        + b"cnumpy\ndtype\n\x8c" + bytes([len(code)]) + code + b"\x89\x88\x87R"
        + shape
        + b"\x8c\x01CtRt."
    )  # fmt: skip


def test_memory_bombs(path: Path, refused: Any) -> None:
    """A few bytes that would reserve gigabytes: an array larger than the file, a huge memo, text doubled on and on."""
    path.write_bytes(array_opcodes(b"J\x03\x00\x00\x00\x85", b"C\x03abc"))
    assert np.array_equal(read_arrays(path)[0], [97, 98, 99])  # the spelling itself is right
    length = 1 << 31
    bomb = array_opcodes(b"\x8a\x05" + length.to_bytes(5, "little") + b"\x85", b"\x96" + struct.pack("<Q", length))
    path.write_bytes(bomb)
    with refused("a.pkl", f"says to hold {length} bytes"):
        read_arrays(path)
    path.write_bytes(array_opcodes(b"J\x00\x00\x00\x7f\x85", b"C\x03abc"))
    with refused("a.pkl", "3 bytes"):
        read_arrays(path)
    path.write_bytes(b"\x80\x04Nr\xff\xff\xff\xff.")  # LONG_BINPUT: the C unpickler would make room for 2**32 entries
    with refused("a.pkl", "NoneType"):
        read_arrays(path)
    text = b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x00X\x06\x00\x00\x00latin1q\x010"
    again = b"c_codecs\nencode\nh\x00h\x01\x86R"
    path.write_bytes(b"\x80\x02(" + text + again * 100 + b"l.")
    with refused("a.pkl", "more bytes than it has"):
        read_arrays(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cnumpy\nndarray\n}X\x0c\x00\x00\x00__setstate__Nsb.",  # BUILD upon the stand-in itself
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1o.",  # OBJ
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"(X\x01\x00\x00\x00aicodecs\nencode\n.",  # INST
        b"Pid\n.",  # PERSID
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x02X\x01\x00\x00\x00a)R.",  # REDUCE upon text
    ],
)
def test_opcodes_that_arrays_do_not_need(path: Path, refused: Any, content: bytes) -> None:
    path.write_bytes(content)
    with refused("a.pkl", "not a pickle of numeric arrays"):
        read_arrays(path)
    path.write_bytes(pickle.dumps((ARRAYS[0],)))
    assert same(read_arrays(path), ARRAYS[:1])  # the reader has not been changed by it
