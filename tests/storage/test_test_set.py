"""Our own test sets."""

import json
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rfsep.storage.atomic import sha256
from rfsep.storage.test_set import (
    list_mixtures,
    read_mixtures,
    read_truth,
    set_name,
    verify,
    write_mixtures,
)
from rfsep.types import MixtureBatch

FILES = ["manifest.json", "mixture/QPSK_OFDMQPSK.h5", "truth/QPSK_OFDMQPSK.h5", "truth/manifest.json"]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def change(path: Path, name: str, value: Any) -> None:
    """Replace a dataset or an attribute by what somebody else might have put there."""
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
            if value is not None:
                file[name] = value
        elif value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value


def test_round_trip(tmp_path: Path, kit: Any) -> None:
    folder = kit.write(tmp_path / "mini")
    assert files(folder) == FILES
    assert list_mixtures(folder) == [("QPSK", "OFDMQPSK")]
    assert set_name(folder) == "mini"
    mixtures, truth = read_mixtures(folder, "QPSK", "OFDMQPSK"), read_truth(folder, "QPSK", "OFDMQPSK")
    assert truth is not None
    assert mixtures[:5] == ("QPSK", "OFDMQPSK", folder / FILES[1], "0123456789abcdef0123456789abcdef", 25e6)
    assert truth.path == folder / FILES[2]
    for name in MixtureBatch._fields:
        read = getattr(mixtures if name in ("mixture", "sinr_db") else truth, name)
        expected = getattr(kit.all, name).numpy()
        assert read.dtype == expected.dtype
        assert np.array_equal(read, expected), name
        assert isinstance(read, np.memmap), name
        assert read.flags.aligned, name


def test_same_arguments_same_bytes(tmp_path: Path, kit: Any) -> None:
    one = kit.write(tmp_path / "one")
    two = tmp_path / "two"
    write_mixtures(two, kit.header(), (kit.batch(row, 1) for row in range(22)))
    assert [sha256(one / name) for name in FILES] == [sha256(two / name) for name in FILES]
    for name in FILES[1:3]:
        with h5py.File(one / name) as file:  # HDF5 would write the time, in seconds
            assert not any(file[slot].id.get_create_plist().get_obj_track_times() for slot in file)


def test_public_file_tells_nothing_of_the_truth(tmp_path: Path, kit: Any) -> None:
    folder = kit.write(tmp_path / "mini")
    with h5py.File(folder / FILES[1]) as file:
        assert set(file) == {"mixture", "sinr_db"}
        assert dict(file.attrs) == {
            "schema": 1,
            "soi": "QPSK",
            "interference": "OFDMQPSK",
            "sample_rate_hz": 25e6,
            "set_id": "0123456789abcdef0123456789abcdef",
        }
    with h5py.File(folder / FILES[2]) as file:
        assert file.attrs["seed"] == 20240607
        assert json.loads(file.attrs["settings"]) == {"interference": {"name": "OFDMQPSK", "secret": 8.25}}
        assert file.attrs["set_id"] == "0123456789abcdef0123456789abcdef"
    for name in FILES[:2]:
        content = (folder / name).read_bytes()
        assert (20240607).to_bytes(4, "little") not in content
        assert b"secret" not in content


def test_batches_are_not_kept(tmp_path: Path, kit: Any) -> None:
    seen: list[weakref.ref[Any]] = []

    def batches() -> Iterator[MixtureBatch]:
        for row in range(22):
            batch = kit.batch(row, 1)
            seen.append(weakref.ref(batch.mixture))
            assert sum(reference() is not None for reference in seen) <= 2
            yield batch

    write_mixtures(tmp_path, kit.header(), batches())
    assert len(seen) == 22


def test_soi_without_bits(tmp_path: Path, kit: Any) -> None:
    batch = kit.batch(0, 22)
    batch = batch._replace(bits=batch.bits[:, :0], num_bits=batch.num_bits * 0)
    write_mixtures(tmp_path, kit.header(num_bits_max=0), [batch])
    truth = read_truth(tmp_path, "QPSK", "OFDMQPSK")
    assert truth is not None
    assert truth.bits.shape == (22, 0)


def test_withheld_truth(tmp_path: Path, kit: Any) -> None:
    kit.write(tmp_path)
    for name in FILES[2:]:
        (tmp_path / name).unlink()
    assert read_truth(tmp_path, "QPSK", "OFDMQPSK") is None
    (tmp_path / "truth").rmdir()
    assert read_truth(tmp_path, "QPSK", "OFDMQPSK") is None
    verify(tmp_path)


def test_several_mixture_types_and_their_manifests(tmp_path: Path, kit: Any, refused: Any) -> None:
    kit.write(tmp_path)
    kit.write(tmp_path, interference="EMI-1")
    assert list_mixtures(tmp_path) == [("QPSK", "EMI-1"), ("QPSK", "OFDMQPSK")]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    path = tmp_path / "mixture" / "QPSK_EMI-1.h5"
    assert manifest["schema"] == 1
    assert list(manifest["files"]) == ["mixture/QPSK_EMI-1.h5", "mixture/QPSK_OFDMQPSK.h5"]
    assert manifest["files"]["mixture/QPSK_EMI-1.h5"] == {"sha256": sha256(path), "bytes": path.stat().st_size}
    assert list(json.loads((tmp_path / "truth" / "manifest.json").read_text())["files"]) == [
        "QPSK_EMI-1.h5",
        "QPSK_OFDMQPSK.h5",
    ]
    verify(tmp_path)
    with refused(tmp_path.name, "QPSK_LTE20", "choose from QPSK_EMI-1, QPSK_OFDMQPSK"):
        read_mixtures(tmp_path, "QPSK", "LTE20")
    path.unlink()
    kit.write(tmp_path)
    assert list(json.loads((tmp_path / "manifest.json").read_text())["files"]) == ["mixture/QPSK_OFDMQPSK.h5"]


@pytest.mark.parametrize("name", FILES[1:3])
def test_verify_names_the_file_that_differs(tmp_path: Path, kit: Any, refused: Any, name: str) -> None:
    kit.write(tmp_path)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with refused(name, "SHA-256", sha256(path), "its manifest says"):
        verify(tmp_path)
    path.write_bytes(content[:-1])
    with refused(name, f"{len(content) - 1} bytes", len(content)):
        verify(tmp_path)
    path.unlink()
    with refused(name, "missing"):
        verify(tmp_path)
    kit.write(tmp_path)
    path.with_name("A_B.h5").write_bytes(b"")
    with refused("A_B.h5", "not listed"):
        verify(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"schema": 2, "files": {}}', '{"schema": 1, "files": {"../x_y.h5": {"sha256": "", "bytes": 1}}}'],
)
def test_hostile_manifest(tmp_path: Path, kit: Any, refused: Any, text: str) -> None:
    kit.write(tmp_path)
    before = sha256(tmp_path / FILES[1])
    (tmp_path / "manifest.json").write_text(text)
    with refused("manifest.json"):
        verify(tmp_path)
    with refused("manifest.json"):
        kit.write(tmp_path, set_id="other")
    assert sha256(tmp_path / FILES[1]) == before
    (tmp_path / "manifest.json").unlink()
    with refused("manifest.json", "no such file"):
        verify(tmp_path)


def test_truth_of_another_set(tmp_path: Path, kit: Any, refused: Any) -> None:
    one, two = kit.write(tmp_path / "one"), kit.write(tmp_path / "two", set_id="f" * 32)
    os.replace(two / FILES[2], one / FILES[2])
    with refused("one/truth/QPSK_OFDMQPSK.h5", "f" * 32, "0123456789abcdef", "one/mixture/QPSK_OFDMQPSK.h5"):
        read_truth(one, "QPSK", "OFDMQPSK")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mixture", np.zeros((22, 160), np.complex128), ["'mixture'", "<c16", "<c8"]),
        ("mixture", np.zeros(22, np.complex64), ["'mixture'", "(22,)"]),
        ("mixture", np.zeros((0, 160), np.complex64), ["empty", "(0, 160)"]),
        ("mixture", None, ["no dataset 'mixture'", "['sinr_db']"]),
        ("mixture", h5py.ExternalLink("other.h5", "mixture"), ["ExternalLink"]),
        ("sinr_db", np.zeros(21, np.float32), ["sinr_db", "(21,)", "(22)"]),
        ("sinr_db", np.full(22, np.nan, np.float32), ["sinr_db", "entry 0 is NaN"]),
        ("schema", 2, ["schema is 2", "expected 1"]),
        ("soi", "BPSK", ["soi is 'BPSK'", "'QPSK'"]),
        ("interference", "EMI\n1", ["'EMI\\n1'"]),
        ("sample_rate_hz", -1.0, ["sample_rate_hz is -1.0"]),
        ("sample_rate_hz", "fast", ["sample_rate_hz is 'fast'"]),
        ("set_id", 3, ["set_id is 3"]),
        ("set_id", None, ["no attribute 'set_id'"]),
    ],
)
def test_foreign_mixtures(tmp_path: Path, kit: Any, refused: Any, name: str, value: Any, words: list[str]) -> None:
    kit.write(tmp_path)
    change(tmp_path / FILES[1], name, value)
    with refused("mixture/QPSK_OFDMQPSK.h5", *words):
        read_mixtures(tmp_path, "QPSK", "OFDMQPSK")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("soi", np.zeros((22, 159), np.complex64), ["soi", "(22, 159)", "(22, 160)"]),
        ("interference", np.zeros((21, 160), np.complex64), ["interference", "(21, 160)", "(22, 160)"]),
        ("bits", np.full((22, 20), 2, np.uint8), ["bits", "row 0, bit 0 is 2"]),
        ("bits", np.zeros((22, 20), np.float32), ["'bits'", "<f4", "|u1"]),
        ("num_bits", np.full(22, 21), ["num_bits of row 0 is 21", "0 to 20"]),
        ("num_bits", np.full(22, -1), ["num_bits of row 0 is -1"]),
        ("soi_offset", np.zeros(23, np.int64), ["soi_offset", "(23,)"]),
        ("interference_origin", np.zeros(22, np.int32), ["interference_origin", "<i4"]),
    ],
)
def test_damaged_truth(tmp_path: Path, kit: Any, refused: Any, name: str, value: Any, words: list[str]) -> None:
    kit.write(tmp_path)
    change(tmp_path / FILES[2], name, value)
    with refused("truth/QPSK_OFDMQPSK.h5", *words):
        read_truth(tmp_path, "QPSK", "OFDMQPSK")


def bad(batch: MixtureBatch, name: str) -> MixtureBatch:
    fields = {name: getattr(batch, name).clone()}
    if name in ("mixture", "soi", "interference"):
        fields[name][1, 7] = float("nan")
    elif name == "sinr_db":
        fields[name][1] = float("inf")
    elif name == "bits":
        fields[name][1, 7] = 255
    else:
        fields[name][1] = 21
    return batch._replace(**fields)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda b: bad(b, "mixture"), ["mixture", "row 1, sample 7 is NaN"]),
        (lambda b: bad(b, "soi"), ["soi", "row 1, sample 7 is NaN"]),
        (lambda b: bad(b, "sinr_db"), ["sinr_db", "entry 1 is Inf"]),
        (lambda b: bad(b, "bits"), ["bits", "row 1, bit 7 is 255"]),
        (lambda b: bad(b, "num_bits"), ["num_bits of row 1 is 21"]),
        (lambda b: b._replace(soi=b.soi[:, 1:]), ["soi", "(22, 159)", "(22, 160)"]),
        (lambda b: b._replace(soi=b.soi[1:]), ["soi", "(21, 160)"]),
        (lambda b: b._replace(soi=b.soi.to(dtype=b.soi.real.double().dtype)), ["soi is float64", "complex64"]),
        (lambda b: b._replace(bits=b.bits.float()), ["bits is float32", "uint8"]),
        (lambda b: b._replace(bits=b.bits[:, :19]), ["bits", "(22, 19)", "(22, 20)"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_batches_that_do_not_fit(tmp_path: Path, kit: Any, refused: Any, make: Any, words: list[str]) -> None:
    with refused("QPSK_OFDMQPSK.h5", *words):
        write_mixtures(tmp_path, kit.header(), [make(kit.all)])
    assert files(tmp_path) == []


@pytest.mark.parametrize("rows", [[21], [22, 1], []])
def test_wrong_number_of_mixtures(tmp_path: Path, kit: Any, refused: Any, rows: list[int]) -> None:
    with refused("QPSK_OFDMQPSK.h5", f"got {sum(rows)} mixtures", "expected 22"):
        write_mixtures(tmp_path, kit.header(), [kit.batch(0, count) for count in rows])
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"soi": "Q_PSK"}, ["soi", "'Q_PSK'", "[A-Za-z0-9-]+"]),
        ({"interference": "../x"}, ["interference", "'../x'"]),
        ({"interference": "a\nb"}, ["'a\\nb'"]),
        ({"settings": {"x": float("nan")}}, ["settings", "JSON"]),
    ],
)
def test_headers_that_cannot_be_written(
    tmp_path: Path, kit: Any, refused: Any, changes: dict[str, Any], words: list[str]
) -> None:
    with refused(tmp_path.name, *words):
        kit.write(tmp_path, **changes)
    assert files(tmp_path) == []


def test_failing_source_keeps_the_old_set(tmp_path: Path, kit: Any) -> None:
    kit.write(tmp_path)
    before = [sha256(tmp_path / name) for name in FILES]

    def batches() -> Iterator[MixtureBatch]:
        yield kit.batch(5, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mixtures(tmp_path, kit.header(set_id="other"), batches())
    assert [sha256(tmp_path / name) for name in FILES] == before
    assert files(tmp_path) == FILES


@pytest.mark.usefixtures("full_at_sync")
def test_full_disk(tmp_path: Path, kit: Any, refused: Any) -> None:
    with refused("mixture/QPSK_OFDMQPSK.h5", "truth/QPSK_OFDMQPSK.h5", "No space left"):
        kit.write(tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("size", [100, 5000, 40_000])
def test_system_refuses_to_write(tmp_path: Path, kit: Any, refused: Any, largest_file: Any, size: int) -> None:
    with refused("QPSK_OFDMQPSK.h5", "cannot be written"), largest_file(size):
        kit.write(tmp_path)
    assert files(tmp_path) == []


def test_folders_that_are_no_test_sets(tmp_path: Path, refused: Any) -> None:
    with refused("nowhere", "no such folder"):
        list_mixtures(tmp_path / "nowhere")
    with refused(tmp_path.name, "is no test set"):
        read_mixtures(tmp_path, "QPSK", "OFDMQPSK")
    (tmp_path / "mixture").mkdir()
    with refused("mixture", "no file <SOI>_<INTERFERENCE>.h5"):
        list_mixtures(tmp_path)
