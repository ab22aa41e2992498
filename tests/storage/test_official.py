"""Official challenge files, as the organisers' generator writes them."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.storage.official import convert
from rfsep.storage.test_set import list_mixtures, read_mixtures, read_truth, set_name

TESTSET = "TestSet1_Mixture"
STEM = f"{TESTSET}_testmixture_QPSK_EMISignal1"
TRUTH = f"GroundTruth_{TESTSET}_Dataset_QPSK_EMISignal1.pkl"
LEVELS = np.arange(-30, 0.1, 3)
ROWS = 2  # a level


@pytest.fixture
def arrays(kit: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return kit.all.mixture.numpy(), kit.all.soi.numpy(), kit.all.bits.numpy().astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Path:
    """The last lines of sampletest_testmixture_generator.py, level after level."""
    mixture, soi, bits = arrays
    metadata = []
    for index, sinr in enumerate(LEVELS):
        part = slice(index * ROWS, (index + 1) * ROWS)
        ratio = np.mean(np.abs(soi[part]) ** 2, -1) / np.mean(np.abs(mixture[part] - soi[part]) ** 2, -1)
        gain = np.sqrt(10 ** (-sinr / 10)).astype(np.float32)
        columns = [gain] * ROWS, [sinr] * ROWS, 10 * np.log10(ratio), ["QPSK"] * ROWS, ["EMISignal1"] * ROWS
        metadata.append(np.vstack(columns))
    place = tmp_path / "dataset"
    place.mkdir()
    with (place / TRUTH).open("wb") as file:
        pickle.dump((mixture, soi, bits), file, protocol=4)
    np.save(place / STEM, mixture)
    np.save(place / f"{STEM}_metadata", np.concatenate(metadata, axis=1).T)
    return place


def dump(folder: Path, *content: object) -> None:
    (folder / TRUTH).write_bytes(pickle.dumps(content, 4))


def test_read(folder: Path, kit: Any) -> None:
    assert list_mixtures(folder) == [("QPSK", "EMISignal1")]
    assert set_name(folder) == TESTSET
    mixtures, truth = read_mixtures(folder, "QPSK", "EMISignal1"), read_truth(folder, "QPSK", "EMISignal1")
    assert truth is not None
    assert mixtures[:5] == ("QPSK", "EMISignal1", folder / f"{STEM}.npy", "", 25e6)
    assert isinstance(mixtures.mixture, np.memmap)
    assert np.array_equal(mixtures.mixture, kit.all.mixture)
    assert mixtures.sinr_db.dtype == np.float32
    assert np.array_equal(mixtures.sinr_db, np.repeat(LEVELS, ROWS))
    assert np.array_equal(truth.soi, kit.all.soi)
    assert np.array_equal(truth.interference, kit.all.mixture.numpy() - kit.all.soi.numpy())
    assert truth.bits.dtype == np.uint8
    assert np.array_equal(truth.bits, kit.all.bits)
    assert truth.num_bits.tolist() == [20] * 22
    assert truth.soi_offset.tolist() == [0] * 22
    assert truth.interference_offset.tolist() == [-1] * 22
    assert truth.interference_origin.tolist() == [-1] * 22


@pytest.mark.parametrize("dtype", ["?", "u1", "<i4", "<i8", "<f2", "<f8", "<c8"])
def test_bits_of_any_dtype(folder: Path, arrays: Any, dtype: str) -> None:
    mixture, soi, bits = arrays
    dump(folder, mixture.astype(np.complex128), soi.astype(np.complex128), bits.astype(dtype))
    truth = read_truth(folder, "QPSK", "EMISignal1")
    assert truth is not None
    assert truth.soi.dtype == truth.interference.dtype == np.complex64
    assert np.array_equal(truth.bits, bits)


def test_without_truth_and_metadata(folder: Path, arrays: Any, refused: Any) -> None:
    (folder / TRUTH).unlink()
    (folder / f"{STEM}_metadata.npy").unlink()
    assert read_truth(folder, "QPSK", "EMISignal1") is None
    assert read_mixtures(folder, "QPSK", "EMISignal1").sinr_db.tolist() == np.repeat(LEVELS, ROWS).tolist()
    np.save(folder / STEM, arrays[0][:21])
    with refused(f"{STEM}.npy", "metadata.npy is missing", "21 rows", "11"):
        read_mixtures(folder, "QPSK", "EMISignal1")
    np.save(folder / STEM, arrays[0][:0])
    with refused(f"{STEM}.npy", "empty"):
        read_mixtures(folder, "QPSK", "EMISignal1")


def test_choices(folder: Path, refused: Any) -> None:
    with refused("dataset", "QPSK_CommSignal2", "choose from QPSK_EMISignal1"):
        read_mixtures(folder, "QPSK", "CommSignal2")
    os.rename(folder / f"{STEM}.npy", folder / "nothing.npy")
    with refused("dataset", "is no test set", "<TestSet>_testmixture_"):
        list_mixtures(folder)
    (folder / "A_testmixture_QPSK_B_C.npy").write_bytes(b"")
    with refused("dataset", "is no test set", "<TestSet>_testmixture_"):
        list_mixtures(folder)


def test_sets_side_by_side_as_in_the_dataset_of_the_organisers(folder: Path, arrays: Any, refused: Any) -> None:
    """TestSet1Mixture_* comes unpacked into dataset/, where the generator writes TestSet1Example_*."""
    other = np.ones((11, 160), np.complex64)
    np.save(folder / "TestSet2_testmixture_QPSK_EMISignal1", other)
    np.save(folder / "TestSet2_testmixture_OFDMQPSK_CommSignal2", other)
    (folder / "interferenceset_frame").mkdir()
    with refused("dataset", "more than one test set", "set=NAME", f"{TESTSET}, TestSet2"):
        list_mixtures(folder)
    assert list_mixtures(folder / TESTSET) == [("QPSK", "EMISignal1")]
    assert list_mixtures(folder / "TestSet2") == [("OFDMQPSK", "CommSignal2"), ("QPSK", "EMISignal1")]
    assert [set_name(folder / name) for name in (TESTSET, "TestSet2")] == [TESTSET, "TestSet2"]
    assert np.array_equal(read_mixtures(folder / TESTSET, "QPSK", "EMISignal1").mixture, arrays[0])
    assert np.array_equal(read_mixtures(folder / "TestSet2", "QPSK", "EMISignal1").mixture, other)
    truth = read_truth(folder / TESTSET, "QPSK", "EMISignal1")
    assert truth is not None
    assert np.array_equal(truth.bits, arrays[2])
    assert read_truth(folder / "TestSet2", "QPSK", "EMISignal1") is None
    with refused("dataset/TestSet3", "no such test set", "dataset are of", f"{TESTSET}, TestSet2"):
        list_mixtures(folder / "TestSet3")
    (folder / "TestSet2").mkdir()  # an empty folder beside the flat files
    assert set_name(folder / "TestSet2") == "TestSet2"
    os.rename(folder / f"{STEM}.npy", folder / "TestSet2" / f"{STEM}.npy")
    assert set_name(folder / "TestSet2") == TESTSET, "a folder's own files come first"


@pytest.mark.parametrize(
    ("row", "column", "value", "words"),
    [
        (3, 1, "loud", ["row 3", "SINR 'loud'"]),
        (3, 1, "nan", ["row 3", "SINR 'nan'"]),
        (5, 1, "-3.5", ["row 5 disagrees with itself", "SINR '-3.5' dB"]),
        (4, 3, "BPSK", ["row 4", "'BPSK'", "QPSK_EMISignal1"]),
        (4, 4, "EMI\n", ["row 4", "'EMI\\n'"]),
    ],
)
def test_wrong_metadata(folder: Path, refused: Any, row: int, column: int, value: str, words: list[str]) -> None:
    metadata = np.load(folder / f"{STEM}_metadata.npy")
    metadata[row, column] = value
    np.save(folder / f"{STEM}_metadata", metadata)
    with refused(f"{STEM}_metadata.npy", *words):
        read_mixtures(folder, "QPSK", "EMISignal1")


def test_metadata_of_another_shape_or_kind(folder: Path, refused: Any) -> None:
    path = folder / f"{STEM}_metadata.npy"
    metadata = np.load(path)
    np.save(path, metadata[:, :4])
    with refused(path.name, "(22, 4)", "(22, 5)"):
        read_mixtures(folder, "QPSK", "EMISignal1")
    np.save(path, metadata.astype(object), allow_pickle=True)
    with refused(path.name, "object"):
        read_mixtures(folder, "QPSK", "EMISignal1")


def test_mixtures_of_numpy(folder: Path, arrays: Any, refused: Any) -> None:
    np.save(folder / STEM, arrays[0].astype(np.complex128))
    mixtures = read_mixtures(folder, "QPSK", "EMISignal1").mixture
    assert mixtures.dtype == np.complex64
    assert np.array_equal(mixtures, arrays[0])
    assert read_truth(folder, "QPSK", "EMISignal1") is not None
    np.save(folder / STEM, arrays[0].real)
    with refused(f"{STEM}.npy", "float32", "complex64"):
        read_mixtures(folder, "QPSK", "EMISignal1")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m, s, b: (m, s), ["2 arrays"]),
        (lambda m, s, b: (m, s[:, 1:], b), ["soi", "(22, 159)", "(22, 160)"]),
        (lambda m, s, b: (m, s[1:], b), ["soi", "(21, 160)"]),
        (lambda m, s, b: (m, s.real, b), ["soi is float32"]),
        (lambda m, s, b: (m, s * np.nan, b), ["soi", "row 0, sample 0 is NaN"]),
        (lambda m, s, b: (m, s, b[:, 0]), ["bits", "(22,)"]),
        (lambda m, s, b: (m, s, b[1:]), ["bits", "(21, 20)"]),
        (lambda m, s, b: (m, s, b + 1), ["bits", "row 0, bit", "is 2"]),
        (lambda m, s, b: (m, s, b * 0.5), ["bits", "is 0.5"]),
        (lambda m, s, b: (m, s, b * np.nan), ["bits", "row 0, bit 0 is nan, expected 0 or 1"]),
        (lambda m, s, b: (m, s.astype(np.complex128) * 1e40, b), ["soi", "row 0, sample 0 is", "too large"]),
        (lambda m, s, b: (np.roll(m, 1, 0), s, b), ["other mixtures", "row 0", STEM]),
        (lambda m, s, b: (m, s, b.astype(object)), ["dtype 'O8'"]),
    ],
)
def test_wrong_truth(folder: Path, arrays: Any, refused: Any, make: Any, words: list[str]) -> None:
    dump(folder, *make(*arrays))
    with refused(TRUTH, *words):
        read_truth(folder, "QPSK", "EMISignal1")


def test_hostile_truth_does_not_run(tmp_path: Path, folder: Path, arrays: Any, refused: Any) -> None:
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    dump(folder, *arrays[:2], Evil())
    with refused(TRUTH, "system"):
        read_truth(folder, "QPSK", "EMISignal1")
    assert not marker.exists()


def test_convert(tmp_path: Path, kit: Any) -> None:
    """Our set as official files: read by the official lines, and by us as the same numbers."""
    ours, out = kit.write(tmp_path / "my set"), tmp_path / "official"
    convert(ours, out, "QPSK", "OFDMQPSK")
    stem = "my-set_testmixture_QPSK_OFDMQPSK"
    truth_name = "GroundTruth_my-set_Dataset_QPSK_OFDMQPSK.pkl"
    assert sorted(os.listdir(out)) == sorted([f"{stem}.npy", f"{stem}_metadata.npy", truth_name])
    with (out / truth_name).open("rb") as file:
        mixture, soi, bits = pickle.load(file)
    assert np.array_equal(np.load(out / f"{stem}.npy"), mixture)
    assert np.array_equal(soi, kit.all.soi)
    assert np.array_equal(bits, kit.all.bits)
    metadata = np.load(out / f"{stem}_metadata.npy")
    assert metadata.shape == (22, 5)
    assert metadata[:, 1].astype(float).tolist() == kit.all.sinr_db.tolist()
    assert metadata[:, 0].astype(float) == pytest.approx(10 ** (-kit.all.sinr_db.numpy() / 20), rel=1e-6)
    power = [np.mean(np.abs(part.numpy()) ** 2, -1) for part in (kit.all.soi, kit.all.interference)]
    assert metadata[:, 2].astype(float) == pytest.approx(10 * np.log10(power[0] / power[1]), abs=1e-4)
    assert {tuple(row) for row in metadata[:, 3:]} == {("QPSK", "OFDMQPSK")}
    first, second = read_mixtures(ours, "QPSK", "OFDMQPSK"), read_mixtures(out, "QPSK", "OFDMQPSK")
    assert np.array_equal(first.mixture, second.mixture)
    assert np.array_equal(first.sinr_db, second.sinr_db)
    truth, again = read_truth(ours, "QPSK", "OFDMQPSK"), read_truth(out, "QPSK", "OFDMQPSK")
    assert truth is not None
    assert again is not None
    assert np.array_equal(truth.soi, again.soi)
    assert np.abs(truth.interference - again.interference).max() < 1e-6


def test_convert_what_the_format_cannot_hold(tmp_path: Path, kit: Any, refused: Any) -> None:
    ours, out = kit.write(tmp_path / "ours"), tmp_path / "official"
    (ours / "truth" / "QPSK_OFDMQPSK.h5").unlink()
    with refused("ours/truth", "no truth of QPSK_OFDMQPSK"):
        convert(ours, out, "QPSK", "OFDMQPSK")
    from rfsep.storage.test_set import write_mixtures

    batch = kit.all._replace(num_bits=kit.all.num_bits.clone())
    batch.num_bits[3] = 19
    write_mixtures(ours, kit.header(), [batch])
    with refused("GroundTruth_ours_Dataset_QPSK_OFDMQPSK.pkl", "different numbers of bits"):
        convert(ours, out, "QPSK", "OFDMQPSK")
    assert not out.exists()


def test_full_disk(tmp_path: Path, kit: Any, refused: Any, request: pytest.FixtureRequest) -> None:
    ours, out = kit.write(tmp_path / "ours"), tmp_path / "official"
    request.getfixturevalue("full_at_sync")
    with refused("ours_testmixture_QPSK_OFDMQPSK.npy", "No space left"):
        convert(ours, out, "QPSK", "OFDMQPSK")
    assert os.listdir(out) == []
