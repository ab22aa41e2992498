"""SigMF recordings, synthetic and real."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.opening import open_capture

COMPLEX = np.array([1 + 2j, -3 + 4j, 0.5 - 1j])


class Read(NamedTuple):
    """A recording, looked at and read whole."""

    samples: np.ndarray
    sample_rate_hz: float | None
    description: str


def read_sigmf(path: Path) -> Read:
    capture = open_capture(path)
    look_at(capture, lambda count: None)
    facts = capture.facts
    return Read(capture.read(0, facts.num_samples), facts.sample_rate_hz, facts.description)


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
        ({"core:num_channels": 2}, ["2 channels", "--channel"]),
        ({"core:num_channels": "x"}, ["num_channels is 'x'"]),
        ({"core:sample_rate": 0}, ["sample_rate is 0"]),
        ({"core:sample_rate": "fast"}, ["sample_rate is 'fast'"]),
        ({"core:sample_rate": True}, ["sample_rate is True"]),
        ({"core:datatype": "ci9"}, ["ci9"]),
        ({"core:datatype": None}, ["datatype 'None'"]),
        ({"core:datatype": 3}, ["datatype '3'"]),
        ({"core:dataset": "../../etc/passwd"}, ["core:dataset = '../../etc/passwd'"]),
        ({"core:trailing_bytes": -4}, ["core:trailing_bytes is -4"]),
        ({"core:offset": 1.5}, ["core:offset is 1.5"]),
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
    with refused("a.sigmf-data", "hash"):
        read_sigmf(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"global": 3}', '{"global": {"core:sample_rate": NaN}}'])
def test_broken_meta(tmp_path: Path, refused: Any, text: str) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20")
    path.write_text(text)
    with refused("a.sigmf-meta"):
        read_sigmf(path)


@pytest.mark.parametrize("captures", ["3", '["x"]', '[{"core:sample_start": 9}]', '[{"core:sample_start": -1}]'])
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
    with refused("a.sigmf-data", "sample 1", str(value)[1:]):
        read_sigmf(write(tmp_path, "cf32_le", samples.tobytes()))


def test_missing_and_empty_data(tmp_path: Path, refused: Any) -> None:
    path = write(tmp_path, "ci8", b"")
    with refused("a.sigmf-data", "no samples"):
        read_sigmf(path)
    path.with_suffix(".sigmf-data").unlink()
    with refused("a.sigmf-data", "no such file"):
        read_sigmf(path)
    path.unlink()
    with refused("a.sigmf-meta", "no such file"):
        read_sigmf(path)


def test_ten_gigabytes_are_opened_and_read_at_their_end(tmp_path: Path) -> None:
    path = write(tmp_path, "ci8", b"\x40\x20", **{"core:sha512": None})
    with path.with_suffix(".sigmf-data").open("r+b") as file:
        file.truncate(10 << 30)
        file.seek(-2, 2)
        file.write(b"\x40\x20")
    capture = open_capture(path)
    assert capture.facts.num_samples == 5 << 30
    assert capture.read((5 << 30) - 2, 2).tolist() == [0, 0.5 + 0.25j]


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
