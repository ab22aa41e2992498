"""SigMF recordings, synthetic and real."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfsep.storage.sigmf import read_sigmf

COMPLEX = np.array([1 + 2j, -3 + 4j, 0.5 - 1j])
DTYPES = {"8": "i1", "16_le": "<i2", "16_be": ">i2", "32_le": "<i4", "32_be": ">i4"}


def write(folder: Path, datatype: str, data: bytes, **fields: object) -> Path:
    """A recording whose SHA-512 is right unless given."""
    meta = {
        "global": {
            "core:datatype": datatype,
            "core:version": "1.2.0",
            "core:sample_rate": 2e6,
            "core:sha512": hashlib.sha512(data).hexdigest(),
            "core:description": "a test",
            **fields,
        },
        "captures": [{"core:sample_start": 0}],
        "annotations": [],
    }
    (folder / "a.sigmf-data").write_bytes(data)
    (folder / "a.sigmf-meta").write_text(json.dumps(meta))
    return folder / "a.sigmf-meta"


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("sign", ["i", "u"])
@pytest.mark.parametrize("real", [True, False])
def test_fixed_point_lies_in_minus_one_to_one(tmp_path: Path, kind: str, sign: str, real: bool) -> None:
    dtype = np.dtype(DTYPES[kind].replace("i", sign))
    full = float(2 ** (8 * dtype.itemsize - 1))
    parts = np.array([-full, full / 2, 0, -full / 4])
    data = (parts + (full if sign == "u" else 0)).astype(dtype).tobytes()
    recording = read_sigmf(write(tmp_path, f"{'r' if real else 'c'}{sign}{kind}", data))
    expected = parts / full if real else (parts[::2] + 1j * parts[1::2]) / full
    assert recording.samples.dtype == np.complex64
    assert np.array_equal(recording.samples, expected)
    assert (recording.sample_rate_hz, recording.description) == (2e6, "a test")


@pytest.mark.parametrize(
    ("datatype", "dtype"), [("cf32_le", "<c8"), ("cf32_be", ">c8"), ("cf64_le", "<c16"), ("cf64_be", ">c16")]
)
def test_floating_point(tmp_path: Path, datatype: str, dtype: str) -> None:
    assert np.array_equal(read_sigmf(write(tmp_path, datatype, COMPLEX.astype(dtype).tobytes())).samples, COMPLEX)


@pytest.mark.parametrize(("datatype", "dtype"), [("rf32_le", "<f4"), ("rf64_be", ">f8")])
def test_real_floating_point(tmp_path: Path, datatype: str, dtype: str) -> None:
    samples = read_sigmf(write(tmp_path, datatype, COMPLEX.real.astype(dtype).tobytes())).samples
    assert samples.dtype == np.complex64
    assert np.array_equal(samples, COMPLEX.real)


def test_without_checksum_and_description(tmp_path: Path) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    meta = json.loads(path.read_text())
    del meta["global"]["core:sha512"], meta["global"]["core:description"]
    path.write_text(json.dumps(meta))
    assert read_sigmf(path) == (np.array([0.5 + 0.25j]), 2e6, "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"core:sha512": "0" * 128}, ["hash"]),
        ({"core:num_channels": 2}, ["num_channels is 2", "expected 1"]),
        ({"core:num_channels": "x"}, ["num_channels is 'x'"]),
        ({"core:sample_rate": None}, ["sample_rate is None"]),
        ({"core:sample_rate": 0}, ["sample_rate is 0"]),
        ({"core:sample_rate": "fast"}, ["sample_rate is 'fast'"]),
        ({"core:sample_rate": True}, ["sample_rate is True"]),
        ({"core:datatype": "ci9"}, ["ci9"]),
        ({"core:datatype": None}, ["cannot be read as SigMF"]),
        ({"core:datatype": 3}, ["cannot be read as SigMF"]),
        ({"core:datatype": "cf64_le"}, ["integer number of samples"]),
        ({"core:dataset": "../../etc/passwd"}, ["core:dataset = '../../etc/passwd'"]),
        ({"core:trailing_bytes": 4}, ["core:trailing_bytes = 4"]),
        ({"core:metadata_only": True}, ["core:metadata_only"]),
    ],
)
def test_wrong_fields(tmp_path: Path, refused: Any, fields: dict[str, object], words: list[str]) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20\x10\x00", **fields)
    with refused("a.sigmf-meta", *words):
        read_sigmf(path)


def test_changed_sample(tmp_path: Path, refused: Any) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    path.with_suffix(".sigmf-data").write_bytes(b"\x40\x21")
    with refused("a.sigmf-meta", "hash"):
        read_sigmf(path)


def test_header_bytes(tmp_path: Path, refused: Any) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    meta = json.loads(path.read_text())
    meta["captures"][0]["core:header_bytes"] = 2
    path.write_text(json.dumps(meta))
    with refused("a.sigmf-meta", "core:header_bytes = 2"):
        read_sigmf(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"global": 3}', '{"global": {"core:sample_rate": NaN}}'])
def test_broken_meta(tmp_path: Path, refused: Any, text: str) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    path.write_text(text)
    with refused("a.sigmf-meta"):
        read_sigmf(path)


@pytest.mark.parametrize("captures", ["null", "3", '["x"]'])
def test_broken_captures(tmp_path: Path, refused: Any, captures: str) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    meta = path.read_text()
    path.write_text(meta[: meta.index('"captures"')] + f'"captures": {captures}, "annotations": []}}')
    with refused("a.sigmf-meta"):
        read_sigmf(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_holes(tmp_path: Path, refused: Any, value: float) -> None:
    samples = COMPLEX.astype("<c8")
    samples[1] = value
    with refused("a.sigmf-data", "entry 1", str(value)[1:]):
        read_sigmf(write(tmp_path, "cf32_le", samples.tobytes()))


def test_missing_and_empty_data(tmp_path: Path, refused: Any) -> None:
    path = write(tmp_path, "ci8", b"")
    with refused("a.sigmf-meta"):
        read_sigmf(path)
    path.with_suffix(".sigmf-data").unlink()
    with refused("a.sigmf-data", "no such file"):
        read_sigmf(path)
    path.unlink()
    with refused("a.sigmf-meta", "No such file"):
        read_sigmf(path)
    with refused("a.wav", "'.wav'", ".sigmf-meta"):
        read_sigmf(tmp_path / "a.wav")


def test_more_than_fits_into_memory(tmp_path: Path, refused: Any) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    with path.with_suffix(".sigmf-data").open("r+b") as file:
        file.truncate(10 << 30)
    with refused("a.sigmf-data", f"{10 << 30} bytes", "read at once"):
        read_sigmf(path)


def test_numbers_beyond_floats(tmp_path: Path, refused: Any) -> None:
    for field in ("core:sample_rate", "core:frequency"):
        path = write(tmp_path, "ci8", b"\x40\x20", **{field: 10**400})
        with refused("a.sigmf-meta", "beyond all numbers"):
            read_sigmf(path)


@pytest.mark.skipif("RFSEP_RECORDINGS" not in os.environ, reason="RFSEP_RECORDINGS is not set: no recordings to read")
@pytest.mark.parametrize(
    ("kind", "rate", "scale", "dtype"), [("lte20", 19.2e6, 128, "i1"), ("wifi20", 20e6, 2**15, "<i2")]
)
def test_real_recordings(kind: str, rate: float, scale: int, dtype: str) -> None:
    paths = sorted((Path(os.environ["RFSEP_RECORDINGS"]) / kind).glob("*.sigmf-meta"))
    assert paths
    for path in paths:
        recording = read_sigmf(path)
        parts = np.fromfile(path.with_suffix(".sigmf-data"), dtype).reshape(-1, 2) / scale
        assert recording.sample_rate_hz == rate
        assert recording.description
        assert np.array_equal(recording.samples, (parts[:, 0] + 1j * parts[:, 1]).astype(np.complex64))
