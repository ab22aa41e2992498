"""HDF5 of strangers, and our own layout."""

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rfsep.storage.atomic import sha256
from rfsep.storage.hdf5 import (
    Slot,
    _unpacked_length,
    lay_out,
    open_hdf5,
    read_attribute,
    read_dataset,
    read_frames,
    read_string,
    write_frames,
)
from rfsep.storage.hdf5_heap import _ends

FRAMES = (np.arange(12) * (1 + 2j)).astype(np.complex64).reshape(3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def read(path: Path, **limits: int) -> np.ndarray:
    with open_hdf5(path) as file:
        return read_dataset(file, "dataset", ("<c8",), 2, **limits)


def test_frames_round_trip(path: Path) -> None:
    write_frames(path, FRAMES[:, ::2], "EMISignal1")
    frames, sig_type = read_frames(path)
    assert sig_type == "EMISignal1"
    assert frames.dtype == np.complex64
    assert isinstance(frames, np.memmap)
    assert not frames.flags.writeable
    assert np.array_equal(frames, FRAMES[:, ::2])


def test_frames_are_read_by_the_official_lines(path: Path) -> None:
    write_frames(path, FRAMES, "EMISignal1")
    with h5py.File(path, "r") as file:
        assert np.array_equal(np.array(file.get("dataset")), FRAMES)
        assert file.get("sig_type")[()].decode("utf-8") == "EMISignal1"


def test_official_file_as_h5py_writes_it(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=FRAMES.astype(np.complex128), chunks=(1, 4), compression="gzip")
        file.create_dataset("sig_type", data="CommSignal2")
    frames, sig_type = read_frames(path)
    assert frames.dtype == np.complex64
    assert np.array_equal(frames, FRAMES)
    assert sig_type == "CommSignal2"


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("chunks", [(1, 43560), (7, 1000), True])
def test_lzf_of_h5py(path: Path, chunks: Any, sums: bool) -> None:
    """Noise, zeros and repeats: chunks that do not shrink are stored as they are."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20, 43560)) + 1j * rng.standard_normal((20, 43560))
    noise[:5], noise[5:10], noise[10] = 0, np.round(noise[5:10]), np.tile(noise[10, :40], 1089)
    for shuffle in (False, True):
        with h5py.File(path, "w") as file:
            packing = {"compression": "lzf", "shuffle": shuffle, "fletcher32": sums}
            file.create_dataset("dataset", data=noise.astype(np.complex64), chunks=chunks, **packing)
        frames, sig_type = read_frames(path)
        assert np.array_equal(frames, noise.astype(np.complex64))
        assert sig_type == "", "the file does not tell"


def test_sig_type_that_is_there_is_a_text(path: Path, refused: Any) -> None:
    with h5py.File(path, "w") as file:
        file["dataset"], file["sig_type"] = FRAMES, 3
    with refused("a.h5", "'sig_type'", "one string"):
        read_frames(path)


@pytest.mark.parametrize("sums", [0, 1])
def test_length_of_a_chunk_once_its_filters_are_undone(sums: int) -> None:
    """Packed by zlib, by hand as LZF (33 literals, then a reference of 7 bytes), or not at all."""
    packed = {
        h5py.h5z.FILTER_DEFLATE: zlib.compress(bytes(40)),
        h5py.h5z.FILTER_LZF: b"\x1f" + bytes(32) + b"\xa0\x00" + b"\x00" + bytes(1),
        h5py.h5z.FILTER_SHUFFLE: bytes(40),
    }
    for name, stored in packed.items():
        filters = [name, *[h5py.h5z.FILTER_FLETCHER32] * sums]
        assert _unpacked_length(stored + bytes(4 * sums), filters, 96) == 40, name


@pytest.mark.parametrize(("objects", "ends"), [([(1, 8), (2, 16)], True), ([(1, 8), (0, 0)], False)])
def test_a_heap_is_walked_to_its_end(tmp_path: Path, objects: list[tuple[int, int]], ends: bool) -> None:
    """Number and bytes of each object of a heap; this file is a heap alone, which no library reads."""
    content = b"".join(struct.pack("<H6xQ", index, size) + bytes(-(-size // 8) * 8) for index, size in objects)
    heap = b"GCOL\x01\x00\x00\x00" + struct.pack("<Q", 16 + len(content)) + content
    (tmp_path / "heap").write_bytes(heap)
    with (tmp_path / "heap").open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert _ends(mapped, 0) is ends


def test_fixed_length_string(path: Path, refused: Any) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.bytes_(b"CommSignal2")
        file["b"] = np.bytes_(b"\xff")
        file["c"] = ["two", "strings"]
        file["d"] = 3
    with open_hdf5(path) as file:
        assert read_string(file, "a") == "CommSignal2"
        with refused("a.h5", "'b'", "decoded"):
            read_string(file, "b")
        with refused("a.h5", "'c'", "(2,)", "one string"):
            read_string(file, "c")
        with refused("a.h5", "'d'", "int64"):
            read_string(file, "d")


def test_chunked_and_compressed_is_read_into_memory(path: Path, refused: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", (1 << 20, 1 << 10), "<c8", chunks=(64, 64), compression="gzip")  # 8 GiB of 0
    assert path.stat().st_size < 1 << 20
    with refused("a.h5", "'dataset'", str(8 << 30), str(4 << 30)):
        read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=FRAMES, chunks=(1, 4), compression="gzip")
    assert np.array_equal(read(path), FRAMES)
    assert not isinstance(read(path), np.memmap)
    assert not read(path).flags.writeable
    with refused("a.h5", "96 bytes", "limit of 95"):
        read(path, max_bytes=95)


def test_never_written_dataset_is_not_a_map_of_something_else(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", (3, 4), "<c8")
    assert not read(path).any()


def test_damaged_chunk(path: Path, refused: Any) -> None:
    data = np.random.default_rng(0).standard_normal((30, 400)).astype(np.float32).astype(np.complex64)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("dataset", data=data, chunks=(30, 400), compression="gzip", fletcher32=True)
        place = dataset.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 100] ^= 255
    path.write_bytes(content)
    with refused("a.h5", "cannot be decoded"):
        read(path)


@pytest.mark.parametrize("name", ["external", "soft", "dangling"])
def test_links_are_not_followed(tmp_path: Path, path: Path, refused: Any, name: str) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["dataset"] = FRAMES
    with h5py.File(path, "w") as file:
        file["inside"] = FRAMES
        links = {"external": h5py.ExternalLink(str(secret), "dataset"), "soft": h5py.SoftLink("/inside")}
        file["dataset"] = links.get(name, h5py.SoftLink("/nowhere"))
    with refused("a.h5", "'dataset'", "ExternalLink" if name == "external" else "SoftLink"):
        read(path)


def test_virtual_dataset(tmp_path: Path, path: Path, refused: Any) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["dataset"] = FRAMES
    layout = h5py.VirtualLayout((3, 4), "<c8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "dataset", (3, 4))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("dataset", layout)
    with refused("a.h5", "'dataset'", "virtual"):
        read(path)


def test_external_storage(tmp_path: Path, path: Path, refused: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(FRAMES.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", (3, 4), "<c8", external=[(str(secret), 0, 96)])
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["dataset"][()], FRAMES), "HDF5 itself would have read the other file"
    with refused("a.h5", "'dataset'", "external storage", "secret"):
        read(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (FRAMES.astype(np.complex128), ["<c16", "<c8"]),
        (FRAMES.real, ["<f4", "<c8"]),
        (FRAMES.astype(">c8"), [">c8", "<c8"]),
        (FRAMES[0], ["shape (4,)", "2 axes"]),
        ("text", ["|O"]),
    ],
)
def test_other_datasets(path: Path, refused: Any, value: object, words: list[str]) -> None:
    with h5py.File(path, "w") as file:
        file["dataset"] = value
    with refused("a.h5", "'dataset'", *words):
        read(path)


def test_missing_dataset_names_what_is_there(path: Path, refused: Any) -> None:
    with h5py.File(path, "w") as file:
        file["other"] = FRAMES
        file.create_group("group")
    with refused("a.h5", "no dataset 'dataset'", "['group', 'other']"):
        read(path)
    with h5py.File(path, "w") as file:
        file.create_group("dataset")
    with refused("a.h5", "'dataset' is a Group"):
        read(path)


def test_damaged_files(path: Path, refused: Any) -> None:
    with refused("a.h5", "no such file"):
        open_hdf5(path)
    path.write_bytes(b"not HDF5")
    with refused("a.h5", "HDF5"):
        open_hdf5(path)
    write_frames(path, FRAMES, "a")
    path.write_bytes(path.read_bytes()[:-1])
    with refused("a.h5", "truncated"):
        open_hdf5(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frames_with_holes(path: Path, refused: Any, value: float) -> None:
    frames = FRAMES.copy()
    frames[1, 2] = value
    write_frames(path, frames, "a")
    with refused("a.h5", "row 1, sample 2", str(value)[1:]):
        read_frames(path)


@pytest.mark.parametrize("frames", [FRAMES.astype(np.complex128), FRAMES[0], FRAMES.real])
def test_frames_of_another_kind_are_not_written(tmp_path: Path, path: Path, refused: Any, frames: np.ndarray) -> None:
    with refused("a.h5", str(frames.dtype), str(frames.shape)):
        write_frames(path, frames, "a")
    assert os.listdir(tmp_path) == []


def test_attributes(path: Path, refused: Any) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"a": "ä", "b": 3, "c": 2.5, "d": np.zeros(2)})
    with open_hdf5(path) as file:
        assert [read_attribute(file, name) for name in "abc"] == ["ä", 3, 2.5]
        with refused("a.h5", "'d'", "ndarray"):
            read_attribute(file, "d")
        with refused("a.h5", "no attribute 'e'", "['a', 'b', 'c', 'd']"):
            read_attribute(file, "e")


def test_layout_repeats_byte_for_byte(tmp_path: Path) -> None:
    slots = {"one": Slot((3, 5), "<c8"), "empty": Slot((3, 0), "|u1"), "two": Slot((3,), "<i8")}
    digests = set()
    for name in ("a.h5", "b.h5"):
        offsets = lay_out(tmp_path / name, slots, {"schema": 1, "text": "t", "rate": 2.5})
        digests.add(sha256(tmp_path / name))
        with h5py.File(tmp_path / name) as file:  # HDF5 would write the time, in seconds
            assert not any(file[slot].id.get_create_plist().get_obj_track_times() for slot in file)
    assert len(digests) == 1
    assert offsets["empty"] == 0
    with (tmp_path / "a.h5").open("r+b") as raw:
        for key, values in (("one", np.arange(15, dtype=np.complex64)), ("two", np.arange(3) + 7)):
            raw.seek(offsets[key])
            raw.write(values.tobytes())
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["one"][()].ravel(), np.arange(15))
        assert file["two"][()].tolist() == [7, 8, 9]
        assert file["empty"].shape == (3, 0)


@pytest.mark.parametrize("size", [100, 3000, 7000])
def test_system_refuses_to_write(tmp_path: Path, path: Path, refused: Any, largest_file: Any, size: int) -> None:
    with refused("a.h5", "cannot be written"), largest_file(size):
        write_frames(path, np.zeros((3, 1000), np.complex64), "a")
    assert os.listdir(tmp_path) == []


def test_layout_takes_no_room_and_is_aligned(path: Path) -> None:
    slots = {"odd": Slot((3,), "|u1"), "large": Slot((1100, 40960), "<c8"), "small": Slot((5,), "<i8")}
    offsets = lay_out(path, slots, {"schema": 1})
    assert path.stat().st_size > 1100 * 40960 * 8
    assert path.stat().st_blocks * 512 < 1 << 20
    assert not any(offset % 64 for offset in offsets.values())


def test_unaligned_dataset_is_copied(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512, meta_block_size=0) as file:
        file.attrs["a"] = "x"
        for index in range(8):  # bytes of an odd length before it move the dataset to an odd place
            file[f"pad{index}"] = np.zeros(3001, np.uint8)
            file[f"d{index}"] = FRAMES
        places = [file[f"d{index}"].id.get_offset() for index in range(8)]
    assert any(place % 4 for place in places)
    with open_hdf5(path) as file:
        for index in range(8):
            array = read_dataset(file, f"d{index}", ("<c8",), 2)
            assert array.flags.aligned
            assert np.array_equal(array, FRAMES)


def test_complex_numbers_with_gaps_are_not_mapped(path: Path) -> None:
    """h5py calls them complex64 as well, but in the file each takes 16 bytes."""
    wide = h5py.h5t.create(h5py.h5t.COMPOUND, 16)
    wide.insert(b"r", 0, h5py.h5t.IEEE_F32LE)
    wide.insert(b"i", 8, h5py.h5t.IEEE_F32LE)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((3, 4))
        h5py.h5d.create(file.id, b"dataset", wide, space).write(h5py.h5s.ALL, h5py.h5s.ALL, FRAMES)
    assert np.array_equal(read(path), FRAMES)


def test_type_that_numpy_does_not_have(path: Path, refused: Any) -> None:
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"dataset", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((3, 4)))
    with refused("a.h5", "'dataset'", "cannot be read"):
        read(path)
