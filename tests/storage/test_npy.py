"""Arrays of strangers."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.storage.npy import as_bits, check_finite, read_bits, read_complex, read_text


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npy"


def test_complex_is_a_read_only_map(path: Path) -> None:
    array = (np.arange(12) * (1 + 2j)).astype(np.complex64).reshape(3, 4)
    np.save(path, array)
    for shape in ((3, 4), (None, 4), (None, None)):
        read = read_complex(path, shape)
        assert isinstance(read, np.memmap)
        assert not read.flags.writeable
        assert read.dtype == np.complex64
        assert np.array_equal(read, array)


def test_complex128_is_converted(path: Path, refused: Any) -> None:
    array = np.full((3, 700_000), 1 / 3 - 1j)  # more than one piece
    array[2, 5] = np.nan
    np.save(path, array)
    read = read_complex(path, (3, None))
    assert read.dtype == np.complex64
    assert not read.flags.writeable
    assert np.array_equal(read, array.astype(np.complex64), equal_nan=True)
    array[2, 7] = 1e39j
    np.save(path, array)
    with refused("a.npy", "row 2, sample 7 is 1e+39j, too large for complex64"):
        read_complex(path, (3, None))
    np.save(path, np.asfortranarray(array))
    with refused("a.npy", "Fortran"):
        read_complex(path, (3, None))


def test_empty_arrays(path: Path) -> None:
    np.save(path, np.zeros((3, 0), np.uint8))
    assert read_bits(path, (3, 0)).shape == (3, 0)
    np.save(path, np.zeros((0, 4), np.complex64))
    assert read_complex(path, (None, 4)).shape == (0, 4)


def test_format_version_2(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ones((2, 2), np.complex64), version=(2, 0))
    assert read_complex(path, (2, 2)).sum() == 4


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 5), np.complex64), ["shape (3, 5)", "(3, 4)"]),
        (np.zeros((3, 4, 1), np.complex64), ["shape (3, 4, 1)", "(3, 4)"]),
        (np.zeros(12, np.complex64), ["shape (12,)", "(3, 4)"]),
        (np.zeros((3, 4), np.float32), ["float32", "complex64"]),
        (np.zeros((3, 4), ">c8"), [">c8", "little-endian"]),
        (np.asfortranarray(np.zeros((3, 4), np.complex64)), ["Fortran"]),
        (np.zeros((3, 4), [("a", "<f4"), ("b", "<f4")]), ["complex64"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else f"{value.dtype}{value.shape}",
)
def test_other_arrays_are_refused(path: Path, refused: Any, array: np.ndarray, words: list[str]) -> None:
    np.save(path, array)
    with refused("a.npy", *words):
        read_complex(path, (3, 4))


@pytest.mark.parametrize("read", [read_complex, read_bits, read_text])
def test_objects_are_never_unpickled(tmp_path: Path, path: Path, refused: Any, read: Any) -> None:
    marker = tmp_path / "marker"
    np.save(path, np.array([[Evil(marker)]], dtype=object), allow_pickle=True)
    with refused("a.npy", "object"):
        read(path, (1, 1))
    path.write_bytes(pickle.dumps(Evil(marker)))
    with refused("a.npy", "not a .npy file"):
        read(path, (1, 1))
    assert not marker.exists()


def test_truncated_and_overlong(path: Path, refused: Any) -> None:
    np.save(path, np.zeros((3, 4), np.complex64))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with refused("a.npy", "truncated", "95 bytes", "96"):
        read_complex(path, (3, 4))
    path.write_bytes(whole + b"xx")
    with refused("a.npy", "too long", "98 bytes", "96"):
        read_complex(path, (3, 4))
    for length in (0, 5, 9, 40):
        path.write_bytes(whole[:length])
        with refused("a.npy", "not a .npy file"):
            read_complex(path, (3, 4))


@pytest.mark.parametrize(
    "header",
    ["{'descr': '<c8', 'fortran_order': False, 'shape': (-1, 4)}", "{", "[1]", "{'descr': 'x'}", "(" * 5000,
     "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 99999999999999999999)}"],
)  # fmt: skip
def test_hostile_headers(path: Path, refused: Any, header: str) -> None:
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with refused("a.npy"):
        read_complex(path, (None, None))


def test_missing_and_folder(tmp_path: Path, refused: Any) -> None:
    with refused("a.npy", "No such file"):
        read_complex(tmp_path / "a.npy", (3, 4))
    with refused(tmp_path.name, "directory"):
        read_complex(tmp_path, (3, 4))


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i4", ">i8", "<u8", "<f2", "<f4", ">f8", "g", "<c8", "<c16"])
def test_bits_of_any_numeric_dtype(path: Path, dtype: str) -> None:
    bits = np.array([[0, 1, 1], [1, 0, 0]])
    np.save(path, bits.astype(dtype))
    read = read_bits(path, (2, 3))
    assert read.dtype == np.uint8
    assert np.array_equal(read, bits)


def test_bits_and_text_in_fortran_order(path: Path, refused: Any) -> None:
    bits = np.array([[0, 1, 1], [1, 0, 0]])
    np.save(path, np.asfortranarray(bits))
    read = read_bits(path, (2, 3))
    assert np.array_equal(read, bits)
    assert read.flags.c_contiguous
    np.save(path, np.asfortranarray(bits * 3))
    with refused("a.npy", "row 1, bit 0 is 3"):  # the first in the file
        read_bits(path, (2, 3))
    text = np.array([["a", "bc"], ["d", "e"], ["f", "g"]])
    np.save(path, np.asfortranarray(text))
    assert read_text(path, (3, 2)).tolist() == text.tolist()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *[("u1", 2), ("u1", 255), ("i8", -1), ("i4", 256), ("f4", 0.5), ("f4", 2.0), ("f8", 1 + 2**-52)],
        *[("f8", np.nan), ("f4", np.inf), ("f2", -1.0), ("c8", 1j), ("c16", 1 + 1j)],
    ],
)
def test_other_values_are_refused(path: Path, refused: Any, dtype: str, value: complex) -> None:
    bits = np.zeros((600, 2000), dtype)  # more than one piece
    bits[590, 7] = value
    np.save(path, bits)
    with refused("a.npy", "row 590, bit 7", f"is {value},"):
        read_bits(path, (600, 2000))


@pytest.mark.parametrize("dtype", ["<U1", "<m8[s]", "V4"])
def test_bits_of_other_dtypes_are_refused(path: Path, refused: Any, dtype: str) -> None:
    np.save(path, np.zeros((2, 3), dtype))
    with refused("a.npy", np.dtype(dtype).name, "bits 0 and 1 as numbers"):
        read_bits(path, (2, 3))


def test_bits_of_slices_keep_their_places() -> None:
    bits = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    for part in (bits[:, ::2], bits[::2], bits.T[1:3], bits[:1].T, bits[0], np.asfortranarray(bits)[:, 1:]):
        assert np.array_equal(as_bits("x", part), part)
        assert as_bits("x", part).flags.c_contiguous


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf"), (1j * np.nan, "NaN")])
def test_first_number_that_is_none(refused: Any, value: complex, kind: str) -> None:
    array = np.zeros((3, 700_000), np.complex64)
    check_finite("x", array)
    array[2, 5] = array[2, 8] = value
    with refused("x: row 2, sample 5 is " + kind):
        check_finite("x", array)
    with refused("x: entry 5 is " + kind):
        check_finite("x", array[2])


def test_text(path: Path, refused: Any) -> None:
    text = np.array([["1.0", "QPSK"], ["-3", "ä"]])
    np.save(path, text)
    assert read_text(path, (None, 2)).tolist() == text.tolist()
    with refused("a.npy", "shape (2, 2)", "(2, 5)"):
        read_text(path, (2, 5))
    np.save(path, np.array([[b"1"]]))
    with refused("a.npy", "bytes8", "unicode"):
        read_text(path, (1, 1))


def test_text_of_characters_that_do_not_exist(path: Path, refused: Any) -> None:
    np.save(path, np.array([["a"]]))
    path.write_bytes(path.read_bytes()[:-4] + (0x110000).to_bytes(4, "little"))
    with refused("a.npy", 0x110000):
        read_text(path, (1, 1))
