"""Kinds of capture files, made without rfsep; run as a script, this writes the tables of docs/captures.md.

Each case lays out a file and says what becomes of it: its samples, compared with numpy's, or words of the refusal.
"""

import gzip
import hashlib
import io
import itertools
import json
import lzma
import re
import struct
import sys
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import make_digital_rf
import numpy as np
import scipy.io
import scipy.io.wavfile
import sigmf
import sigmf.archive

from rfsep.app.captures.labels import MAPS, relabelling
from rfsep.signals.linear_modem import LinearModem
from rfsep.storage.captures.facts import Hints

ROOT = Path(__file__).parents[3]
MARK = re.compile(r"(<!-- capture kinds -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LABELS = re.compile(r"(<!-- label maps -->\n)(.*?)(<!-- end -->)", re.DOTALL)
RATE = 48000.0
_generator = np.random.default_rng(3)
PARTS = _generator.integers(-100, 100, (600, 2)) / 128  # I and Q, multiples of 1/128 in any format
WAVE = PARTS[:, 0] + 1j * PARTS[:, 1]
I16 = np.round(PARTS * 32768).astype("<i2")


class Case(NamedTuple):
    """A kind of file.

    Attributes:
        what: for the table.
        make: lays it out in a folder; returns the path to open.
        answer: words of the refusal; None where it is read.
        hints: of the user.
        samples: that are read.
        rate: in Hz that the file tells; None where it does not.
        segments: lengths.
    """

    what: str
    make: Callable[[Path], Path]
    answer: str | None = None
    hints: Hints = Hints()
    samples: np.ndarray = WAVE
    rate: float | None = None
    segments: tuple[int, ...] = ()


def _bytes(name: str, content: bytes | Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content())
        return path

    return make


def _fields(datatype: str, **fields: Any) -> dict[str, Any]:
    named = {f"core:{name}": value for name, value in fields.items()}
    return {"core:datatype": datatype, "core:version": "1.2.0", "core:sample_rate": RATE} | named


def _sigmf(
    datatype: str = "ci16_le",
    data: bytes = I16.tobytes(),
    captures: list[dict[str, Any]] | None = None,
    annotations: list[dict[str, Any]] | None = None,
    opened: str = "a.sigmf-meta",
    bom: bytes = b"",
    data_name: str = "a.sigmf-data",
    **fields: Any,
) -> Callable[[Path], Path]:
    """A recording of two files."""

    def make(folder: Path) -> Path:
        content = {
            "global": _fields(datatype, **fields),
            "captures": captures if captures is not None else [{"core:sample_start": 0}],
            "annotations": annotations or [],
        }
        (folder / "a.sigmf-meta").write_bytes(bom + json.dumps(content).encode())
        (folder / data_name).write_bytes(data)
        return folder / opened

    return make


def _captures(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{f"core:{name}": value for name, value in one.items()} for one in more]


def _archive(kind: str) -> Callable[[Path], Path]:
    """A SigMF archive by the sigmf package."""

    def make(folder: Path) -> Path:
        meta = _sigmf()(folder)
        recording = sigmf.fromfile(str(meta))
        path = folder / f"b.sigmf{kind}"
        recording.tofile(str(path), toarchive=True) if not kind else sigmf.archive.SigMFArchive(
            recording, name=str(path)
        )
        return path

    return make


def _two_in_an_archive(folder: Path) -> Path:
    """Two recordings, the second of other samples: the sigmf package pairs the last meta with the first data."""
    path = folder / "two.sigmf"
    with tarfile.open(path, "w") as archive:
        for name, data in (("one", I16), ("two", -I16)):
            content = {"global": _fields("ci16_le"), "captures": [], "annotations": []}
            for suffix, piece in (("meta", json.dumps(content).encode()), ("data", data.tobytes())):
                entry = tarfile.TarInfo(f"{name}/{name}.sigmf-{suffix}")
                entry.size = len(piece)
                archive.addfile(entry, io.BytesIO(piece))
    return path


def _wav(numbers: np.ndarray) -> Callable[[Path], Path]:
    """A WAV by scipy."""

    def make(folder: Path) -> Path:
        scipy.io.wavfile.write(folder / "a.wav", int(RATE), numbers)
        return folder / "a.wav"

    return make


def _wav_24(folder: Path) -> Path:
    """A WAV of 24 bits by the standard library."""
    numbers = np.round(PARTS * (1 << 23)).astype("<i4")
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(int(RATE))
        file.writeframes(numbers.view("u1").reshape(-1, 4)[:, :3].tobytes())
    return folder / "a.wav"


def _rf64() -> bytes:
    """RF64 as EBU Tech 3306 has it: 32-bit lengths of -1, the true ones in ds64."""
    data = I16.tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, int(RATE), int(RATE) * 4, 4, 16)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 36 + 24 + 8 + len(data), len(data), len(I16), 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff" + data


def _auxi() -> bytes:
    """A WAV of a receiver's program, whose auxi chunk tells the frequency, with the length of a crashed recorder."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, int(RATE), int(RATE) * 4, 4, 16)
    auxi = struct.pack("<4sI32sII", b"auxi", 40, b"", 14_043_000, 0)
    return b"RIFF\0\0\0\0WAVE" + fmt + auxi + b"data\0\0\0\0" + I16.tobytes()


def _blue(order: str, number: str, dtype: str, numbers: np.ndarray) -> bytes:
    """A BLUE file of type 1000, packed by hand."""
    representation = {"<": b"EEEI", ">": b"IEEE"}[order]
    data = numbers.astype(f"{order}{dtype}").tobytes()
    head = struct.pack("4s4s4s", b"BLUE", representation, representation)
    head += struct.pack(f"{order}5i2di", 0, 0, 0, 0, 0, 512.0, float(len(data)), 1000) + b"C" + number.encode()
    head = head.ljust(256, b"\0") + struct.pack(f"{order}2di", 0.0, 1 / RATE, 1)
    return head.ljust(512, b"\0") + data


def _iq_tar(folder: Path) -> Path:
    """An .iq.tar, its XML as in R&S's description of the format."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<RS_IQ_TAR_FileFormat fileFormatVersion="1">\n<Name>x</Name>\n'
        f'<Samples>{len(WAVE)}</Samples>\n<Clock unit="Hz">{RATE:g}</Clock>\n<Format>complex</Format>\n'
        '<DataType>float32</DataType>\n<ScalingFactor unit="V">1</ScalingFactor>\n<NumberOfChannels>1'
        "</NumberOfChannels>\n<DataFilename>x.complex.1ch.float32</DataFilename>\n</RS_IQ_TAR_FileFormat>\n"
    )
    with tarfile.open(folder / "a.iq.tar", "w") as archive:
        for name, piece in (("x.xml", xml.encode()), ("x.complex.1ch.float32", PARTS.astype("<f4").tobytes())):
            entry = tarfile.TarInfo(name)
            entry.size = len(piece)
            archive.addfile(entry, io.BytesIO(piece))
    return folder / "a.iq.tar"


def _hdf5(write: Callable[[h5py.File], None], name: str = "a.h5", userblock: bytes = b"") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with h5py.File(folder / name, "w", userblock_size=512 if userblock else 0) as file:
            write(file)
        if userblock:
            with (folder / name).open("r+b") as file:
                file.write(userblock)
        return folder / name

    return make


def _dataset(data: np.ndarray, rate: bool = False, **options: Any) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        made = file.create_dataset("samples", data=data, **options)
        if rate:
            made.attrs["sample_rate"] = RATE

    return write


def _pairs(names: tuple[str, str], dtype: str, full: float) -> np.ndarray:
    pairs = np.zeros(len(WAVE), [(names[0], dtype), (names[1], dtype)])
    pairs[names[0]], pairs[names[1]] = (PARTS * full).T
    return pairs


def _link(file: h5py.File) -> None:
    file.create_group("a")["b"] = h5py.ExternalLink("elsewhere.h5", "/samples")


def _nested_link(file: h5py.File) -> None:
    file["a"] = h5py.ExternalLink("elsewhere.h5", "/group")


def _matlab_73(file: h5py.File) -> None:
    """As MATLAB writes x = complex(...).' and fs: rows first, a compound of real and imag."""
    made = file.create_dataset("x", data=_pairs(("real", "imag"), "<f8", 1.0).reshape(1, -1))
    made.attrs["MATLAB_class"] = np.bytes_("double")
    file.create_dataset("fs", data=np.array([[RATE]])).attrs["MATLAB_class"] = np.bytes_("double")


def _mat(variables: dict[str, Any], **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        scipy.io.savemat(folder / "a.mat", variables, **options)
        return folder / "a.mat"

    return make


def _npy(array: np.ndarray, name: str = "a.npy") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with (folder / name).open("wb") as file:
            np.save(file, array, allow_pickle=True)
        return folder / name

    return make


def _npz(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return make


def _digital_rf(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(Path(__file__).with_name("digital_rf.zip")) as archive:
            archive.extractall(folder)
        return folder / name

    return make


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("data.bin", I16.tobytes())
    return folder / "a.zip"


def _folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _symlink(folder: Path) -> Path:
    _sigmf()(folder)
    (folder / "a.sigmf-data").unlink()
    (folder / "a.sigmf-data").symlink_to("/etc/hostname")
    return folder / "a.sigmf-meta"


SHA512 = hashlib.sha512(I16.tobytes()).hexdigest()
DRF, DRF_PAIR = make_digital_rf.reference(1)[:, 0], make_digital_rf.reference(2)
RAW16 = Hints(datatype="ci16_le")
C8, C16 = WAVE.astype("<c8"), WAVE.astype("<c16")
F4 = PARTS.astype("<f4")
U8 = np.round(PARTS * 128 + 128).astype("u1")
TWO = np.stack((I16, -I16), 1)  # [T, channels, 2]
VDIF = struct.pack("<8I", 1, 2, 3 << 24, 4, 0, 0, 0, 0)

CASES = [
    Case("SigMF, `ci16_le`", _sigmf(), rate=RATE),
    Case("SigMF, `cf32_le`", _sigmf("cf32_le", C8.tobytes()), rate=RATE),
    Case("SigMF, `cu8`", _sigmf("cu8", U8.tobytes()), rate=RATE),
    Case("SigMF, big-endian `ci16_be`", _sigmf("ci16_be", I16.astype(">i2").tobytes()), rate=RATE),
    Case("SigMF, real `ri16_le`", _sigmf("ri16_le", I16[:, 0].tobytes()), samples=PARTS[:, 0], rate=RATE),
    Case("SigMF, its `.sigmf-data` named", _sigmf(opened="a.sigmf-data"), rate=RATE),
    Case(
        "SigMF data with a `--datatype` that its meta contradicts",
        _sigmf(opened="a.sigmf-data"),
        "says that its datatype is ci16_le, not cf32_le",
        Hints(datatype="cf32_le"),
    ),
    Case("SigMF, datatype without ending, `cf32`", _sigmf("cf32", C8.tobytes()), rate=RATE),
    Case("SigMF, datatype `ci8_le`", _sigmf("ci8_le", np.round(PARTS * 128).astype("i1").tobytes()), rate=RATE),
    Case("SigMF, upper-case SHA-512", _sigmf(sha512=SHA512.upper()), rate=RATE),
    Case("SigMF, another SHA-512", _sigmf(sha512=SHA512[::-1]), "another hash than core:sha512"),
    Case("SigMF, a byte-order mark before the JSON", _sigmf(bom=b"\xef\xbb\xbf"), rate=RATE),
    Case("SigMF, `core:offset`", _sigmf(offset=5000, captures=_captures({"sample_start": 5000})), rate=RATE),
    Case(
        "SigMF, annotations past the end",
        _sigmf(annotations=_captures({"sample_start": 10**6, "sample_count": 10})),
        rate=RATE,
    ),
    Case("SigMF without `core:sample_rate`", _sigmf(sample_rate=None)),
    Case(
        "SigMF, null fields",
        _sigmf(
            description=None,
            sha512=None,
            num_channels=None,
            offset=None,
            captures=_captures({"sample_start": 0, "frequency": None, "datetime": None}),
        ),
        rate=RATE,
    ),
    Case("SigMF, `core:dataset` naming its own file", _sigmf(data_name="a.bin", dataset="a.bin"), rate=RATE),
    Case(
        "SigMF, `core:header_bytes` and `core:trailing_bytes`",
        _sigmf(
            data=b"h" * 44 + I16.tobytes() + b"end",
            data_name="a.wav",
            dataset="a.wav",
            trailing_bytes=3,
            captures=_captures({"sample_start": 0, "header_bytes": 44}),
        ),
        rate=RATE,
    ),
    Case(
        "SigMF, header bytes between two captures",
        _sigmf(captures=_captures({"sample_start": 0}, {"sample_start": 9, "header_bytes": 4})),
        "core:header_bytes",
    ),
    Case("SigMF, samples in another folder", _sigmf(dataset="../../etc/passwd"), "core:dataset"),
    Case("SigMF, samples behind a link out of the folder", _symlink, "is not followed"),
    Case("SigMF, `core:metadata_only`", _sigmf(metadata_only=True), "core:metadata_only"),
    Case(
        "SigMF, two captures that differ in nothing that is used: one segment",
        _sigmf(
            captures=_captures({"sample_start": 0, "frequency": 1e9, "x": 1}, {"sample_start": 300, "frequency": 1e9})
        ),
        rate=RATE,
        segments=(600,),
    ),
    Case(
        "SigMF, a retune: two segments",
        _sigmf(captures=_captures({"sample_start": 0, "frequency": 1e9}, {"sample_start": 300, "frequency": 2e9})),
        rate=RATE,
        segments=(300, 300),
    ),
    Case(
        "SigMF, a gap told by `core:global_index`: two segments",
        _sigmf(captures=_captures({"sample_start": 0, "global_index": 7}, {"sample_start": 200, "global_index": 999})),
        rate=RATE,
        segments=(200, 400),
    ),
    Case(
        "SigMF, a gap told by `core:datetime`: two segments",
        _sigmf(
            captures=_captures(
                {"sample_start": 0, "datetime": "2024-01-01T00:00:00Z"},
                {"sample_start": 200, "datetime": "2024-01-01T00:00:05Z"},
            )
        ),
        rate=RATE,
        segments=(200, 400),
    ),
    Case(
        "SigMF, a first capture that begins later",
        _sigmf(captures=_captures({"sample_start": 100})),
        samples=WAVE,
        rate=RATE,
        segments=(500,),
    ),
    Case("SigMF, two channels", _sigmf(data=TWO.tobytes(), num_channels=2), "2 channels: choose one with --channel"),
    Case(
        "SigMF, two channels, `--channel 1`",
        _sigmf(data=TWO.tobytes(), num_channels=2),
        hints=Hints(channel=1),
        samples=-WAVE,
        rate=RATE,
    ),
    Case("SigMF, half a sample at the end: told and cut", _sigmf(data=I16.tobytes() + b"x"), rate=RATE),
    Case("SigMF archive, `.sigmf`", _archive(""), rate=RATE),
    Case("SigMF archive, `.sigmf.gz`", _archive(".gz"), rate=RATE),
    Case("SigMF archive, `.sigmf.xz`", _archive(".xz"), rate=RATE),
    Case("SigMF archive, `.sigmf.zip`", _archive(".zip"), rate=RATE),
    Case("SigMF archive of two recordings", _two_in_an_archive, "2 recordings; name one of ['one', 'two']"),
    Case(
        "SigMF archive of two recordings, `--dataset two`",
        _two_in_an_archive,
        hints=Hints(dataset="two"),
        samples=-WAVE,
        rate=RATE,
    ),
    Case("SigMF collection", _bytes("a.sigmf-collection", b'{"collection": {}}'), "SigMF collection"),
    Case("WAV, 8 bits, I and Q", _wav(U8), rate=RATE),
    Case("WAV, 16 bits, I and Q", _wav(I16), rate=RATE),
    Case("WAV, 24 bits, I and Q", _wav_24, rate=RATE),
    Case("WAV, 32 bits, I and Q", _wav(np.round(PARTS * 2**31).astype("<i4")), rate=RATE),
    Case("WAV, float, I and Q", _wav(F4), rate=RATE),
    Case("WAV, double, I and Q", _wav(PARTS), rate=RATE),
    Case("WAV, 16 bits, one channel: real", _wav(I16[:, 0]), samples=PARTS[:, 0], rate=RATE),
    Case("WAV, 16 bits, four channels", _wav(np.concatenate((I16, I16), 1)), "4 channels: choose one with --channel"),
    Case("WAV of a receiver's program (`auxi`), its length never written", _bytes("a.wav", _auxi), rate=RATE),
    Case("WAV with `--datatype`", _wav(I16), "is a WAV file, which says its datatype itself", RAW16),
    Case("WAV under another name", _bytes("a.bin", _rf64), rate=RATE),
    Case("RF64", _bytes("a.rf64", _rf64), rate=RATE),
    Case(
        "WAV, packed (mu-law)",
        _bytes("a.wav", lambda: _rf64().replace(struct.pack("<HH", 1, 2), struct.pack("<HH", 7, 2), 1)),
        "format 7",
    ),
    Case("HDF5, complex64", _hdf5(_dataset(C8, rate=True)), rate=RATE),
    Case(
        "HDF5, complex128, big-endian, zipped", _hdf5(_dataset(WAVE.astype(">c16"), chunks=(64,), compression="gzip"))
    ),
    Case("HDF5, pairs `r`, `i` of int16", _hdf5(_dataset(_pairs(("r", "i"), "<i2", 32768)))),
    Case("HDF5, pairs `real`, `imag` of float32, big-endian", _hdf5(_dataset(_pairs(("real", "imag"), ">f4", 1.0)))),
    Case("HDF5, pairs `x`, `y` of float64", _hdf5(_dataset(_pairs(("x", "y"), "<f8", 1.0)))),
    Case("HDF5, [N, 2] of float32", _hdf5(_dataset(F4))),
    Case("HDF5, [2, N] of int16", _hdf5(_dataset(I16.T))),
    Case("HDF5, [1, N] of complex64", _hdf5(_dataset(C8[None]))),
    Case("HDF5 with `--datatype`", _hdf5(_dataset(C8), "a.H5"), "is an HDF5 file", RAW16),
    Case("HDF5, several datasets", _hdf5(lambda file: file.update({"a": C8, "b": C8})), "has 2 datasets"),
    Case(
        "HDF5, several datasets, `--dataset b`",
        _hdf5(lambda file: file.update({"a": -C8, "b": C8})),
        hints=Hints(dataset="b"),
    ),
    Case("HDF5, a dataset in a group, the only one", _hdf5(lambda file: file.update({"group/inner/x": C8}))),
    Case("HDF5, an external link", _hdf5(_link), "links are not followed", Hints(dataset="a/b")),
    Case(
        "HDF5, an external link on the way, `--dataset a/b`",
        _hdf5(_nested_link),
        "links are not followed",
        Hints(dataset="a/b"),
    ),
    Case("HDF5, frames [F, T] of complex64", _hdf5(_dataset(C8.reshape(2, -1))), "shape (2, 300)"),
    Case("netCDF-4 (HDF5), [N, 2]", _hdf5(_dataset(F4), "a.nc")),
    Case("netCDF, classic", _bytes("a.nc", b"CDF\x01" + bytes(100)), "netCDF file"),
    Case("MATLAB 7.3", _hdf5(_matlab_73, "a.mat", b"MATLAB 7.3 MAT-file"), rate=RATE),
    Case("MATLAB 5, compressed, with `fs`", _mat({"x": C16, "fs": RATE}, do_compression=True), rate=RATE),
    Case("MATLAB 5, int16 [T, 2]", _mat({"x": I16})),
    Case("MATLAB 4", _mat({"x": C16}, format="4")),
    Case("MATLAB 5, several variables", _mat({"x": C16, "y": C16}), "name one of ['x', 'y']"),
    Case("MATLAB 5, text alone", _mat({"x": "text"}), "no variable of numbers"),
    Case(
        "Digital RF, a pause that the index tells: two segments",
        _digital_rf("indexed"),
        samples=DRF,
        rate=1000.0,
        segments=(120, 130),
    ),
    Case(
        "Digital RF, a pause filled with -32768: two segments",
        _digital_rf("filled"),
        samples=DRF,
        rate=1000.0,
        segments=(120, 130),
    ),
    Case(
        "Digital RF, floats, a pause filled with NaN: two segments",
        _digital_rf("floats"),
        samples=DRF,
        rate=1000.0,
        segments=(120, 130),
    ),
    Case(
        "Digital RF, one file of it",
        _digital_rf("filled/2023-11-14T22-00-00/rf@1700000000.000.h5"),
        samples=DRF[:100],
        rate=1000.0,
    ),
    Case("Digital RF, two interleaved channels", _digital_rf("pair"), "2 channels: choose one with --channel"),
    Case(
        "Digital RF, two interleaved channels, `--channel 1`",
        _digital_rf("pair"),
        hints=Hints(channel=1),
        samples=DRF_PAIR[:, 1],
        rate=1000.0,
        segments=(120, 130),
    ),
    Case("Digital RF, a folder of four channels", _digital_rf("."), "4 Digital RF channels; name one"),
    Case("folder without a recording", _folder, "folder without a Digital RF recording"),
    Case(".npy, complex64 [T]", _npy(C8)),
    Case(".npy, complex128 [1, T]", _npy(C16[None])),
    Case(".npy, big-endian complex64", _npy(WAVE.astype(">c8"))),
    Case(".npy, float32 [T, 2]", _npy(F4)),
    Case(".npy, int16 [T, 2] in Fortran order", _npy(np.asfortranarray(I16))),
    Case(".npy, float16 [2, T]", _npy(F4.T.astype("<f2"))),
    Case(".npy, float64 [T]: real", _npy(PARTS[:, 0]), samples=PARTS[:, 0]),
    Case(".NPY, upper case", _npy(C8, "A.NPY")),
    Case(".npy of objects", _npy(np.array([{}])), "pickled objects"),
    Case(".npy of text", _npy(np.array(["a", "b"])), "expected complex numbers"),
    Case(".npz, one array", _npz(x=C8)),
    Case(".npz, several arrays", _npz(x=C8, y=C8), "name one of ['x', 'y']"),
    Case("BLUE, type 1000, `CI`", _bytes("a.blue", lambda: _blue("<", "I", "i2", I16)), rate=RATE),
    Case("BLUE, big-endian `CF`", _bytes("a.prm", lambda: _blue(">", "F", "f4", F4)), rate=RATE),
    Case("BLUE, `CP` (packed bits)", _bytes("a.blue", lambda: _blue("<", "P", "i2", I16)), "format CP"),
    Case("`.iq.tar`", _iq_tar, rate=RATE),
    Case("raw with `--datatype`", _bytes("a.bin", I16.tobytes()), hints=RAW16),
    Case("raw without `--datatype`", _bytes("a.bin", I16.tobytes()), "--datatype"),
    Case("raw, an odd byte at the end: told and cut", _bytes("a.bin", I16.tobytes() + b"x"), hints=RAW16),
    Case("raw of gqrx", _bytes("gqrx_20230101_120000_137500000_48000_fc.raw", C8.tobytes()), rate=RATE),
    Case("raw of rtl_433", _bytes("g001_433.92M_48k.cu8", U8.tobytes()), rate=RATE),
    Case("raw, `..._48ksps_...`", _bytes("noise_48ksps_915MHz.cs16", I16.tobytes()), rate=RATE),
    Case(
        "raw, a name that contradicts `--datatype`",
        _bytes("a.cs16", I16.tobytes()),
        "its name says",
        Hints(datatype="cf32_le"),
    ),
    Case("VDIF", _bytes("a.vdif", VDIF), "VDIF"),
    Case("FLAC", _bytes("a.flac", b"fLaC" + bytes(60)), "FLAC"),
    Case("raw in gzip", _bytes("a.bin.gz", lambda: gzip.compress(I16.tobytes())), "packed (gzip)"),
    Case("raw in xz", _bytes("a.bin.xz", lambda: lzma.compress(I16.tobytes())), "packed (xz)"),
    Case("zip without a recording", _zip, "packed (zip)"),
    Case("table of text", _bytes("a.txt", b"0.1,0.2\n0.3,0.4\n"), "text file"),
    Case("Python pickle", _bytes("a.pkl", b"\x80\x04]."), "pickle"),
    Case("`.wav` that is none", _bytes("a.wav", bytes(range(128, 256)) * 4), "is not a WAV file"),
    Case("empty file", _bytes("a.cf32", b""), "holds no samples"),
]


def table() -> str:
    """Markdown: kind of file, what becomes of it."""
    rows = ["| kind of file | |\n| --- | --- |\n"]
    rows += [f"| {case.what} | {'reads right' if case.answer is None else 'refused by name'} |\n" for case in CASES]
    return "".join(rows)


def label_table() -> str:
    """Markdown: the points of other transmitters' labels, and our bits in their order where that is all."""
    rows = [
        "| `--labels` | QPSK 00, 01, 10, 11 | is | 16-QAM 0000, 0001, 0010, 0011, 0100 | is |\n",
        "| --- | --- | --- | --- | --- |\n",
    ]
    for name, maps in MAPS.items():
        cells = []
        for constellation, shown in (("qpsk", 4), ("qam16", 5)):
            modem = LinearModem(constellation)
            points = maps[len(modem.constellation)]
            cells += [", ".join(f"{one.real:+.0f}{one.imag:+.0f}j" for one in points[:shown]), _spelled(name, modem)]
        rows.append(f"| `{name}` | {' | '.join(cells)} |\n")
    return "".join(rows)


def _spelled(name: str, modem: LinearModem) -> str:
    """The letters that give the same labels; nothing where none do."""
    width = (len(modem.constellation) - 1).bit_length()
    wanted = relabelling(name, modem)
    for order in itertools.permutations("abcdef"[:width]):
        for upper in itertools.product((False, True), repeat=width):
            letters = "".join(one.upper() if up else one for one, up in zip(order, upper, strict=True))
            if np.array_equal(relabelling(letters, modem), wanted):
                return f"`{letters}`"
    return ""


def rendered(text: str) -> str:
    """The page with its tables as they are now."""
    text = MARK.sub(lambda match: f"{match[1]}{table()}{match[3]}", text)
    return LABELS.sub(lambda match: f"{match[1]}{label_table()}{match[3]}", text)


if __name__ == "__main__":
    page = ROOT / "docs" / "captures.md"
    page.write_text(rendered(page.read_text()))
    sys.exit(0)
