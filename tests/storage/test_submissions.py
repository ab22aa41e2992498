"""Submissions, ours and strangers'."""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.storage.submissions import (
    Entry,
    Submission,
    find_submissions,
    list_submissions,
    read_submission,
    write_submission,
)

RNG = np.random.default_rng(0)
SOI = (RNG.standard_normal((7, 40)) + 1j * RNG.standard_normal((7, 40))).astype(np.complex64)
BITS = RNG.integers(0, 2, (7, 10), np.uint8)
NAMES = ("Default_Torch_WaveNet", "TestSet1", "QPSK", "EMISignal1")
SOI_FILE = "Default_Torch_WaveNet_TestSet1_estimated_soi_QPSK_EMISignal1.npy"
BITS_FILE = "Default_Torch_WaveNet_TestSet1_estimated_bits_QPSK_EMISignal1.npy"


def chunks(soi: np.ndarray = SOI, bits: np.ndarray = BITS) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(soi[:3], bits[:3]), (soi[3:4], bits[3:4]), (soi[4:], bits[4:])]


def write(folder: Path, names: tuple[str, str, str, str] = NAMES, rows: Any = None) -> None:
    write_submission(folder, *names, chunks() if rows is None else rows, 7, 40, 10)


def entered(folder: Path, testset: str = "TestSet1") -> list[Submission]:
    (entry,) = find_submissions(folder, testset)
    return list_submissions(entry, testset)


def only(folder: Path) -> Submission:
    return entered(folder)[0]


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "new")
    assert sorted(os.listdir(tmp_path / "new")) == [BITS_FILE, SOI_FILE]
    submission = only(tmp_path / "new")
    assert submission[:3] == ("Default_Torch_WaveNet", "QPSK", "EMISignal1")
    soi, bits = read_submission(submission, 7, 40, 10)
    assert isinstance(soi, np.memmap)
    assert np.array_equal(soi, SOI)
    assert bits.dtype == np.uint8
    assert np.array_equal(bits, BITS)


def test_written_files_are_those_of_numpy(tmp_path: Path) -> None:
    write(tmp_path)
    np.save(tmp_path / "soi.npy", SOI)
    np.save(tmp_path / "bits.npy", BITS)
    assert (tmp_path / SOI_FILE).read_bytes() == (tmp_path / "soi.npy").read_bytes()
    assert (tmp_path / BITS_FILE).read_bytes() == (tmp_path / "bits.npy").read_bytes()


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<c8", "<i8", "?"])
def test_as_scripts_of_others_save_them(tmp_path: Path, dtype: str) -> None:
    """The organisers' bits are float32, of tf.cast; numpy makes complex128 of what it computes."""
    np.save(tmp_path / SOI_FILE, SOI.astype(np.complex128))
    np.save(tmp_path / BITS_FILE, BITS.astype(dtype))
    soi, bits = read_submission(only(tmp_path), 7, 40, 10)
    assert soi.dtype == np.complex64
    assert np.array_equal(soi, SOI)
    assert bits.dtype == np.uint8
    assert np.array_equal(bits, BITS)


def test_no_bits(tmp_path: Path) -> None:
    write_submission(tmp_path, *NAMES, chunks(bits=BITS[:, :0]), 7, 40, 0)
    assert read_submission(only(tmp_path), 7, 40, 0)[1].shape == (7, 0)


def test_several_mixture_types_and_other_files(tmp_path: Path) -> None:
    for interference in ("LTE20", "EMISignal1"):
        write(tmp_path, (*NAMES[:3], interference))
    write(tmp_path, ("Other", "TestSet2", "QPSK", "EMISignal1"))
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "x_TestSet1_estimated_soi_a_b_c.npy").write_bytes(b"")
    assert [s.interference for s in entered(tmp_path)] == ["EMISignal1", "LTE20"]
    assert entered(tmp_path, "TestSet2")[0].id == "Other"


def test_nothing_there(tmp_path: Path, refused: Any) -> None:
    with refused("nowhere", "no such folder"):
        entered(tmp_path / "nowhere")
    with refused(tmp_path.name, "<ID>_TestSet1_estimated_{soi,bits}_<SOI>_<INTERFERENCE>.npy"):
        entered(tmp_path)


def test_dots_in_the_test_set_are_no_pattern(tmp_path: Path, refused: Any) -> None:
    write(tmp_path, ("A", "TestSet1", "QPSK", "EMISignal1"))
    with refused(tmp_path.name, "no file", "Test.et1"):
        entered(tmp_path, "Test.et1")


@pytest.mark.parametrize("name", [SOI_FILE, BITS_FILE])
def test_missing_partner(tmp_path: Path, refused: Any, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with refused(name, "missing"):
        entered(tmp_path)
    (tmp_path / name).mkdir()
    with refused(name, "missing"):
        entered(tmp_path)


def test_methods_side_by_side_as_in_the_outputs_of_the_organisers(tmp_path: Path) -> None:
    """Their scripts save every method, test set and type into one folder, with a pickle of scores."""
    for id in ("Default_TF_UNet", "Default_Torch_WaveNet", "Mine"):
        for testset in ("TestSet1Example", "TestSet1Mixture"):
            for kind, array in (("soi", SOI), ("bits", BITS.astype(np.float32))):
                np.save(tmp_path / f"{id}_{testset}_estimated_{kind}_QPSK_EMISignal1", array)
    (tmp_path / "Mine_TestSet1Example_estimated_bits_QPSK_EMISignal1.npy").unlink()
    (tmp_path / "Mine_TestSet1Example_estimated_soi_QPSK_EMISignal1.npy").unlink()
    (tmp_path / "Default_TF_UNet_TestSet1Example_exports_summary_QPSK_EMISignal1.pkl").write_bytes(b"")
    ids = ["Default_TF_UNet", "Default_Torch_WaveNet"]
    assert find_submissions(tmp_path, "TestSet1Example") == [Entry(tmp_path, id) for id in ids]
    assert find_submissions(tmp_path, "TestSet1Mixture") == [Entry(tmp_path, id) for id in (*ids, "Mine")]
    (submission,) = list_submissions(Entry(tmp_path, "Mine"), "TestSet1Mixture")
    assert submission.soi_path.name == "Mine_TestSet1Mixture_estimated_soi_QPSK_EMISignal1.npy"
    assert np.array_equal(read_submission(submission, 7, 40, 10)[1], BITS)


def test_folders_of_submissions(tmp_path: Path) -> None:
    write(tmp_path / "place" / "a")
    write(tmp_path / "place" / "a", ("Mine", *NAMES[1:]))
    (tmp_path / "place" / "b").mkdir()
    (tmp_path / "place" / ".hidden").mkdir()
    (tmp_path / "place" / "link").symlink_to(tmp_path / "place" / "a")
    expected = [("a", "Default_Torch_WaveNet"), ("a", "Mine"), ("b", None), ("link", None)]
    found = find_submissions(tmp_path / "place", "TestSet1")
    assert [(entry.folder.name, entry.id) for entry in found] == expected


@pytest.mark.parametrize("name", [SOI_FILE, BITS_FILE])
def test_links(tmp_path: Path, refused: Any, name: str) -> None:
    write(tmp_path / "a")
    path = tmp_path / "a" / name
    path.rename(tmp_path / "elsewhere.npy")
    path.symlink_to(tmp_path / "elsewhere.npy")
    with refused(name, "symbolic link"):
        entered(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (SOI_FILE, SOI[:, 1:], ["(7, 39)", "(7, 40)"]),
        (SOI_FILE, SOI[1:], ["(6, 40)", "(7, 40)"]),
        (SOI_FILE, SOI.astype(np.complex128) * 1e40, ["row 0, sample 0 is ", "too large for complex64"]),
        (SOI_FILE, SOI.astype(np.complex128) * np.nan, ["row 0, sample 0 is NaN"]),
        (SOI_FILE, SOI.real, ["float32", "complex64"]),
        (SOI_FILE, SOI * np.where(np.arange(40) == 9, np.nan, 1).astype(np.float32), ["row 0, sample 9 is NaN"]),
        (SOI_FILE, SOI + np.where(np.arange(40) == 9, np.inf, 0).astype(np.float32), ["row 0, sample 9 is Inf"]),
        (BITS_FILE, BITS[:, 1:], ["(7, 9)", "(7, 10)"]),
        (BITS_FILE, BITS + np.uint8(2), ["row 0, bit 0 is ", "expected 0 or 1"]),
        (BITS_FILE, BITS * np.uint8(255), ["is 255, expected 0 or 1"]),
        (BITS_FILE, BITS.astype(np.float32) + 0.5, ["row 0, bit 0 is ", ".5, expected 0 or 1"]),
        (BITS_FILE, BITS * np.float32(np.nan), ["row 0, bit 0 is nan, expected 0 or 1"]),
        (BITS_FILE, BITS.astype("<U1"), ["<U1", "numbers"]),
    ],
)
def test_wrong_arrays(tmp_path: Path, refused: Any, name: str, array: np.ndarray, words: list[str]) -> None:
    write(tmp_path)
    np.save(tmp_path / name, array)
    with refused(name, *words):
        read_submission(only(tmp_path), 7, 40, 10)


@pytest.mark.parametrize("name", [SOI_FILE, BITS_FILE])
def test_objects_and_truncated_files(tmp_path: Path, refused: Any, name: str) -> None:
    write(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-3])
    with refused(name, "truncated"):
        read_submission(only(tmp_path), 7, 40, 10)
    np.save(path, np.array([[None]]), allow_pickle=True)
    with refused(name, "object"):
        read_submission(only(tmp_path), 7, 40, 10)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "a\n", "ä"])
def test_names_that_cannot_stand_in_a_file_name(tmp_path: Path, refused: Any, place: int, name: str) -> None:
    names = [*NAMES]
    names[place] = name
    with refused(tmp_path.name, repr(name)):
        write(tmp_path, tuple(names))  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", [2, 3])
def test_underscore_parts_names(tmp_path: Path, refused: Any, place: int) -> None:
    names = [*NAMES]
    names[place] = "EMI_1"
    with refused("'EMI_1'"):
        write(tmp_path, tuple(names))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (chunks()[:2], [SOI_FILE, "got 4 rows", "7"]),
        ([*chunks(), *chunks()[:1]], [SOI_FILE, "got 10 rows", "7"]),
        ([(SOI[:3], BITS[:2])], [SOI_FILE, "(3, 40)", "(2, 40)"]),
        (chunks(soi=SOI[:, 1:]), [SOI_FILE, "(3, 39)", "(3, 40)"]),
        (chunks(soi=SOI.astype(np.complex128)), [SOI_FILE, "complex128", "complex64"]),
        (chunks(soi=SOI * np.float32(np.nan)), [SOI_FILE, "row 0, sample 0 is NaN"]),
        (chunks(bits=BITS[:, 1:]), [BITS_FILE, "(3, 9)", "(3, 10)"]),
        (chunks(bits=BITS.astype(np.float32)), [BITS_FILE, "float32", "uint8"]),
        (chunks(bits=BITS + np.uint8(1)), [BITS_FILE, "is 2"]),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, refused: Any, rows: Any, words: list[str]) -> None:
    with refused(*words):
        write(tmp_path, rows=rows)
    assert os.listdir(tmp_path) == []


def test_rows_are_not_kept(tmp_path: Path) -> None:
    seen: list[weakref.ref[Any]] = []

    def rows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for row in range(7):
            soi = SOI[row : row + 1].copy()
            seen.append(weakref.ref(soi))
            assert sum(reference() is not None for reference in seen) <= 2
            yield soi, BITS[row : row + 1]

    write(tmp_path, rows=rows())
    assert np.array_equal(np.load(tmp_path / SOI_FILE), SOI)


@pytest.mark.usefixtures("full_at_sync")
def test_full_disk(tmp_path: Path, refused: Any) -> None:
    with refused(SOI_FILE, BITS_FILE, "No space left"):
        write(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [50, 300, 1000])
def test_system_refuses_to_write(tmp_path: Path, refused: Any, largest_file: Any, size: int) -> None:
    with refused(SOI_FILE, "cannot be written"), largest_file(size):
        write(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("id", ["my team", "team.v2"])
def test_an_id_that_no_file_may_bear_is_named(tmp_path: Path, refused: Any, id: str) -> None:
    for kind in ("soi", "bits"):
        (tmp_path / f"{id}_set_estimated_{kind}_QPSK_OFDMQPSK.npy").touch()
    (entry,) = find_submissions(tmp_path, "set")
    with refused(tmp_path.name, repr(id), "cannot be that of a submission"):
        list_submissions(entry, "set")


def test_a_set_may_have_a_version_in_its_name(tmp_path: Path, refused: Any) -> None:
    rows = [(np.zeros((1, 4), np.complex64), np.zeros((1, 2), np.uint8))]
    write_submission(tmp_path, "team", "set.v2", "QPSK", "OFDMQPSK", rows, 1, 4, 2)
    (entry,) = find_submissions(tmp_path, "set.v2")
    assert entry.id == "team"
    with refused("test set 'my set'", "cannot stand in a file name"):
        write_submission(tmp_path, "team", "my set", "QPSK", "OFDMQPSK", rows, 1, 4, 2)
