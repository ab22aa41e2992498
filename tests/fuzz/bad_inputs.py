"""What strangers may send, case by case: python tests/fuzz/bad_inputs.py writes the table of docs/trust.md.

Each case lays out files that are valid but for one thing and reads them; the test asks for the answer, one line.
"""

import io
import json
import os
import pickle
import re
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import readers
import torch
import yaml
from readers import READERS, WAVES, Place

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"(<!-- bad inputs -->\n)(.*?)(<!-- end -->)", re.DOTALL)
READ = "read as it is"


class Bad(NamedTuple):
    """A case.

    Attributes:
        what: for the table.
        reader: of `readers.READERS`, whose files it starts from.
        harm: does it, in the folder of the files, given the reader's file; returns another content for it, or None.
        answer: words of the line that comes of it; READ where it is taken for what it is.
    """

    what: str
    reader: str
    harm: Callable[[Path, bytes], bytes | None]
    answer: str


def answer(case: Bad, folder: Path) -> str:
    """The line, or READ: what the reader's first complaint is, without the folder."""
    place = Place(folder, case.reader)
    content = case.harm(folder, place.valid)
    if content is not None:
        place.path.unlink()
        place.path.write_bytes(content)
    lines: list[str] = []
    looked, readers.refused = readers.refused, lines.append
    try:
        place.reader.read(place.path)
    finally:
        readers.refused = looked
    if case.reader == "scores" and not lines:
        return READ
    return (
        lines[0].replace(f"{folder}/", "").replace(str(folder), "submission")
        if len(lines) > place.reader.refusals
        else READ
    )


def _header(**changes: Any) -> Callable[[Path, bytes], bytes]:
    """Other words in the header of a .npy."""

    def harm(folder: Path, content: bytes) -> bytes:
        fields = {"descr": "<c8", "fortran_order": False, "shape": WAVES.shape, **changes}
        written = io.BytesIO()
        np.lib.format.write_array_header_1_0(written, fields)
        return written.getvalue() + content[128:]

    return harm


def _array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, bytes], bytes]:
    """Another array in a .npy."""

    def harm(folder: Path, content: bytes) -> bytes:
        written = io.BytesIO()
        np.save(written, change(np.load(io.BytesIO(content)).copy()), allow_pickle=True)
        return written.getvalue()

    return harm


def _with(value: complex) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[2, 3] = value
        return array

    return change


def _long_header(folder: Path, content: bytes) -> None:
    path = folder / READERS["submission_soi"].name
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1))
        file.truncate(10 << 30)


def _sparse(folder: Path, content: bytes) -> None:
    with (folder / READERS["submission_soi"].name).open("r+b") as file:
        file.truncate(10 << 30)


def _link(folder: Path, content: bytes) -> None:
    path = folder / READERS["submission_soi"].name
    path.rename(folder / "elsewhere.npy")
    path.symlink_to(folder / "elsewhere.npy")


def _pipe(folder: Path, content: bytes) -> None:
    path = folder / READERS["submission_soi"].name
    path.unlink()
    os.mkfifo(path)


def _alone(folder: Path, content: bytes) -> None:
    (folder / READERS["submission_bits"].name).unlink()


def _swapped(folder: Path, content: bytes) -> None:
    soi, bits = (folder / READERS[f"submission_{kind}"].name for kind in ("soi", "bits"))
    content = bits.read_bytes()
    bits.write_bytes(soi.read_bytes())
    soi.write_bytes(content)


def _twice(folder: Path, content: bytes) -> None:
    for kind in ("soi", "bits"):
        name = READERS[f"submission_{kind}"].name
        (folder / name.replace("team", "other")).write_bytes((folder / name).read_bytes())


def _twice_alone(folder: Path, content: bytes) -> None:
    _twice(folder, content)
    _alone(folder, content)


def _renamed(name: str) -> Callable[[Path, bytes], None]:
    def harm(folder: Path, content: bytes) -> None:
        for kind in ("soi", "bits"):
            path = folder / READERS[f"submission_{kind}"].name
            path.rename(folder / path.name.replace("team", name))

    return harm


def _text(change: Callable[[Any], None], load: Any = yaml.safe_load, dump: Any = yaml.safe_dump) -> Any:
    """A change of a YAML or JSON file."""

    def harm(folder: Path, content: bytes) -> bytes:
        tree = load(content)
        change(tree)
        return bytes(dump(tree).encode())

    return harm


def _json(change: Callable[[Any], None]) -> Any:
    return _text(change, json.loads, json.dumps)


def _at(*path: str, value: Any) -> Callable[[Any], None]:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return change


COPY = {"_target_": "shutil.copyfile", "src": "a", "dst": "b"}
COPY_TEXT = "${oc.create:'{_target_: shutil.copyfile, src: a, dst: b}'}"


def _behind(tree: Any) -> None:
    tree["x"] = COPY
    tree["model"]["network"] = "${x}"


def _aliases(folder: Path, content: bytes) -> bytes:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return b"a0: &a0 [x]\n" + "\n".join(lines).encode() + b"\n" + content


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _checkpoint(value: object) -> Callable[[Path, bytes], bytes]:
    def harm(folder: Path, content: bytes) -> bytes:
        written = io.BytesIO()
        torch.save({"state_dict": {"a": torch.ones(2)}, "x": value}, written)
        return written.getvalue()

    return harm


def _rezipped(change: Callable[[bytes], bytes], packed: int) -> Callable[[Path, bytes], bytes]:
    def harm(folder: Path, content: bytes) -> bytes:
        written = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w", packed) as new:
            for name in old.namelist():
                found = old.read(name)
                new.writestr(name, change(found) if name.endswith("data.pkl") else found)
        return written.getvalue()

    return harm


def _doubling(begin: bytes, end: bytes, times: int = 60) -> bytes:
    """Opcodes of a tuple that holds twice a tuple that holds twice a tuple..."""
    return begin + b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(times)) + end


def _npz_bomb(folder: Path, content: bytes) -> bytes:
    """A zip whose list of members tells of 2 GB."""
    entry = content.index(b"PK\x01\x02") + 24
    return content[:entry] + struct.pack("<I", 1 << 31) + content[entry + 4 :]


def _hdf5(write: Callable[[h5py.File, Path], None]) -> Callable[[Path, bytes], None]:
    """A frames file with another dataset."""

    def harm(folder: Path, content: bytes) -> None:
        with h5py.File(folder / "secret.h5", "w") as file:
            file["dataset"] = WAVES
        with h5py.File(folder / "a.h5", "w") as file:
            file["sig_type"] = "EMISignal1"
            write(file, folder)

    return harm


def _linked(link: Any) -> Callable[[h5py.File, Path], None]:
    return lambda file, folder: file.__setitem__("dataset", link)


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout(WAVES.shape, "<c8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "dataset", WAVES.shape)
    file.create_virtual_dataset("dataset", layout)


def _external(file: h5py.File, folder: Path) -> None:
    file.create_dataset("dataset", WAVES.shape, "<c8", external=[(str(folder / "secret.h5"), 2048, WAVES.nbytes)])


def _large(file: h5py.File, folder: Path) -> None:
    file.create_dataset("dataset", (1 << 20, 1 << 10), "<c8", chunks=(64, 64), compression="gzip")


def _chunk_shape(file: h5py.File, folder: Path) -> None:
    shapes = {"shape": (1, 1), "chunks": (1 << 14, (1 << 15) - 1), "maxshape": (None, None)}
    file.create_dataset("dataset", dtype="<c8", compression="gzip", **shapes)


def _chunk(packing: str, stored: bytes) -> Callable[[h5py.File, Path], None]:
    """One chunk of 128 bytes, stored as the file's maker likes."""

    def write(file: h5py.File, folder: Path) -> None:
        dataset = file.create_dataset("dataset", (4, 4), "<c8", chunks=(4, 4), compression=packing)
        dataset.id.write_direct_chunk((0, 0), stored)

    return write


def _packed(*filters: int) -> Callable[[h5py.File, Path], None]:
    def write(file: h5py.File, folder: Path) -> None:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((4, 4))
        for name in filters:
            made.set_filter(name, h5py.h5z.FLAG_OPTIONAL, (1,))
        file.create_dataset("dataset", (4, 4), "<c8", dcpl=made)

    return write


def _changed_byte(folder: Path, content: bytes) -> None:
    path = folder / READERS["mixtures"].name
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def _other_truth(folder: Path, content: bytes) -> None:
    with h5py.File(folder / READERS["truth"].name, "r+") as file:
        file.attrs["set_id"] = "1" * 32


def _metadata(column: int, value: str) -> Any:
    def change(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype("<U40")
        rows[3, column] = value
        return rows

    return _array(change)


def _data_link(folder: Path, content: bytes) -> None:
    (folder / "a.sigmf-data").unlink()
    (folder / "a.sigmf-data").symlink_to("/etc/passwd")


def _linked_group(folder: Path, content: bytes) -> None:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["group/b"] = WAVES[0]
    with h5py.File(folder / "a.h5", "w") as file:
        file["a"] = h5py.ExternalLink("secret.h5", "/group")


def _long_safetensors(folder: Path, content: bytes) -> bytes:
    return struct.pack("<Q", 2**63 - 1) + content[8:]


def _signalling(folder: Path, content: bytes) -> bytes:
    """The first float32 is a NaN at which a processor may raise a flag."""
    return content[:128] + b"\x01\x00\x80\x7f" + content[132:]


def _bits_in_two_rows(array: np.ndarray) -> np.ndarray:
    return _with(255)(array)


def _bool_bytes(folder: Path, content: bytes) -> bytes:
    return content.replace(b"|u1", b"|b1")[:-3] + b"\xff\x00\x02"


def _denormal(array: np.ndarray) -> np.ndarray:
    return _with(1e-42j)(array)


ARRAY = b"\x80\x02(cnumpy._core.numeric\n_frombuffer\n(C\x01acnumpy\ndtype\nU\x02u1\x89\x88\x87R"  # up to its shape
NETWORK = ("model", "network")
TARGET = (*NETWORK, "_target_")
CASES = [
    Bad("run folder: `_target_: os.system`", "run", _text(_at(*TARGET, value="os.system")), "no class of rfsep.models"),
    Bad(
        "run folder: a class that a module of ours imports",
        "run",
        _text(_at(*TARGET, value="rfsep.models.unet.nn.Identity")),
        "no class of rfsep.models",
    ),
    Bad("run folder: `_target_` behind `${x}`", "run", _text(_behind), "'shutil.copyfile' is no class of rfsep.models"),
    Bad(
        "run folder: `_target_` made by `${oc.create:...}`",
        "run",
        _text(_at(*NETWORK, "stride", value=COPY_TEXT)),
        "'shutil.copyfile' is no class of rfsep.models",
    ),
    Bad(
        "run folder: a reference to a reference",
        "run",
        _text(_at(*NETWORK, "stride", value="\\" + COPY_TEXT)),
        "leads to what cannot be looked at",
    ),
    Bad("run folder: YAML aliases that unfold to 9^11 values", "run", _aliases, "has an alias"),
    Bad("run folder: YAML nested without end", "run", lambda folder, content: b"[" * 100_000, "levels deep"),
    Bad(
        "run folder: an argument that the network does not take",
        "run",
        _text(_at(*NETWORK, "stride", value="x")),
        "model.network cannot be made",
    ),
    Bad(
        "interference.yaml: a class made by `${oc.create:...}`",
        "interference",
        _text(_at("modem", "fft_size", value=COPY_TEXT)),
        "leads to what cannot be looked at",
    ),
    Bad("checkpoint: calls os.system", "checkpoint", _checkpoint(_Call(os.system, "true")), "was not run"),
    Bad(
        "checkpoint: `bytearray` of a terabyte",
        "checkpoint",
        _checkpoint(_Call(bytearray, 10**12)),
        "which was not run",
    ),
    Bad(
        "checkpoint: packed, a zip bomb",
        "checkpoint",
        _rezipped(lambda found: found, zipfile.ZIP_DEFLATED),
        "is packed",
    ),
    Bad(
        "checkpoint: keys that take for ever to hash",
        "checkpoint",
        _rezipped(lambda found: _doubling(b"\x80\x02}", b"K\x01s."), zipfile.ZIP_STORED),
        "a key is a tuple",
    ),
    Bad("safetensors: a header of 2^63 bytes", "safetensors", _long_safetensors, "cannot be read as safetensors"),
    Bad("estimate: object array", "submission_soi", _array(lambda a: a.astype(object)), "pickled objects"),
    Bad("estimate: complex128", "submission_soi", _array(lambda a: a.astype("<c16")), READ),
    Bad("estimate: complex128 beyond complex64", "submission_soi_128", _array(_with(1e39)), "too large for complex64"),
    Bad("estimate: complex128 with a NaN", "submission_soi_128", _array(_with(np.nan)), "row 2, sample 3 is NaN"),
    Bad("estimate: big-endian", "submission_soi", _array(lambda a: a.astype(">c8")), "little-endian"),
    Bad("estimate: Fortran order", "submission_soi", _array(np.asfortranarray), "Fortran order"),
    Bad("estimate: real numbers", "submission_soi", _array(lambda a: a.real), "expected complex64"),
    Bad("estimate: a row too few", "submission_soi", _array(lambda a: a[1:]), "shape (10, 32)"),
    Bad("estimate: shape of 2^62 rows", "submission_soi", _header(shape=(2**62, 32)), "a length that no array has"),
    Bad("estimate: negative length", "submission_soi", _header(shape=(-1, 32)), "a length that no array has"),
    Bad("estimate: truncated", "submission_soi", lambda folder, content: content[:-5], "truncated"),
    Bad("estimate: header of 4 GB in a sparse file", "submission_soi", _long_header, "not a .npy file"),
    Bad("estimate: sparse file of 10 GB", "submission_soi", _sparse, "too long"),
    Bad("estimate: NaN", "submission_soi", _array(_with(np.nan)), "row 2, sample 3 is NaN"),
    Bad("estimate: infinity", "submission_soi", _array(_with(np.inf)), "row 2, sample 3 is Inf"),
    Bad("estimate: denormal numbers", "submission_soi", _array(_denormal), READ),
    Bad("estimate: symbolic link", "submission_soi", _link, "is a symbolic link"),
    Bad("estimate: named pipe", "submission_soi", _pipe, "is missing"),
    Bad("bits: 255", "submission_bits", _array(_bits_in_two_rows), "row 2, bit 3 is 255"),
    Bad("bits: 0 and 1 as floating-point numbers", "submission_bits", _array(lambda a: a.astype("<f4")), READ),
    Bad("bits: .5", "submission_bits_float", _array(_with(0.5)), "row 2, bit 3 is 0.5"),
    Bad("bits: NaN", "submission_bits_float", _array(_with(np.nan)), "row 2, bit 3 is nan"),
    Bad("bits: a NaN that signals", "submission_bits_float", _signalling, "row 0, bit 0 is nan"),
    Bad("bits: text", "submission_bits", _array(lambda a: a.astype("<U1")), "expected bits 0 and 1 as numbers"),
    Bad("bits: bool whose bytes are 255 and 2", "submission_bits", _bool_bytes, READ),
    Bad("submission: estimate without its bits", "submission_soi", _alone, "soi and bits come together"),
    Bad("submission: estimate and bits swapped", "submission_soi", _swapped, "expected complex64"),
    Bad("submission: two ids in a folder, each scored", "submission_soi", _twice, READ),
    Bad(
        "submission: two ids in a folder, one without its bits",
        "submission_soi",
        _twice_alone,
        "soi and bits come together",
    ),
    Bad("submission: unicode in the id", "submission_soi", _renamed("téam"), "cannot be that of a submission"),
    Bad(
        "submission: `..` and a control character in the id",
        "submission_soi",
        _renamed("..\x1b[2J"),
        "cannot be that of a submission",
    ),
    Bad("card.json: infinity", "card", _json(_at("seconds_per_mixture", value=float("inf"))), "not valid JSON"),
    Bad("card.json: an integer of 400 digits", "card", _json(_at("parameters", value=10**399)), "not valid JSON"),
    Bad("card.json: half a character", "card", _json(_at("commit", value="\ud800")), "not valid JSON"),
    Bad("card.json: a script as the commit, read as words", "card", _json(_at("commit", value="<script>")), READ),
    Bad("card.json: nested without end", "card", lambda folder, content: b"[" * 60_000, "not valid JSON"),
    Bad("card.json: 100 kB", "card", lambda folder, content: content + b" " * 100_000, "more than 65536 bytes"),
    Bad(
        "scores.json: not sealed by this host", "scores", _json(_at("id", value="b")), "does not bear this host's seal"
    ),
    Bad(
        "frames: external link",
        "hdf5",
        _hdf5(_linked(h5py.ExternalLink("secret.h5", "dataset"))),
        "links are not followed",
    ),
    Bad("frames: soft link", "hdf5", _hdf5(_linked(h5py.SoftLink("/sig_type"))), "links are not followed"),
    Bad("frames: virtual dataset", "hdf5", _hdf5(_virtual), "is virtual"),
    Bad("frames: storage in another file", "hdf5", _hdf5(_external), "external storage"),
    Bad("frames: 8 GiB in a file of 1 MB", "hdf5", _hdf5(_large), "more than the limit"),
    Bad(
        "frames: a zipped chunk of 128 bytes that unpacks to 64 MB",
        "hdf5",
        _hdf5(_chunk("gzip", zlib.compress(bytes(1 << 26), 9))),
        "unpacks to more than its 128",
    ),
    Bad("frames: a chunk of 4 GB for one number", "hdf5", _hdf5(_chunk_shape), "has chunks of"),
    Bad(
        "frames: an LZF chunk of 128 bytes that unpacks to 26 MB",
        "hdf5",
        _hdf5(_chunk("lzf", b"\0\0" + b"\xe0\xff\0" * 100_000)),
        "unpacks to more than its 128",
    ),
    Bad("frames: an LZF stream cut short", "hdf5", _hdf5(_chunk("lzf", b"\x1f" * 4)), "ends too early"),
    Bad("frames: packed twice", "hdf5", _hdf5(_packed(1, 1)), "is packed twice"),
    Bad("frames: packing that needs a plugin", "hdf5", _hdf5(_packed(32015)), "is packed by filter"),
    Bad("test set: truth of another set", "truth", _other_truth, "is the truth of set"),
    Bad(
        "test set: manifest with `../`",
        "manifest",
        _json(_at("files", "../x_y.h5", value={"sha256": "", "bytes": 1})),
        "is not a file name",
    ),
    Bad("test set: a byte changed", "manifest", _changed_byte, "has SHA-256"),
    Bad(
        "official metadata: SINR and gain disagree", "official_metadata", _metadata(1, "-12.5"), "disagrees with itself"
    ),
    Bad("official metadata: SINR is NaN", "official_metadata", _metadata(1, "nan"), "expected a number of dB"),
    Bad("official metadata: another interference", "official_metadata", _metadata(4, "EMISignal1"), "row 3 is of"),
    Bad(
        "official truth: calls os.system",
        "official_truth",
        lambda f, c: pickle.dumps((_Call(os.system, "true"),) * 3, 4),
        "names posix.system",
    ),
    Bad(
        "official truth: tuples of tuples as a shape",
        "official_truth",
        lambda f, c: _doubling(ARRAY, b"U\x01CtRt."),
        "shape is no tuple of lengths",
    ),
    Bad(
        "official truth: keys that take for ever to hash",
        "official_truth",
        lambda f, c: _doubling(b"\x80\x02}", b"K\x01s."),
        "not a pickle of numeric arrays",
    ),
    Bad("npz: a member that unpacks to 2 GB", "npz", _npz_bomb, "more than the limit"),
    Bad(
        "SigMF: samples in another file",
        "sigmf",
        _json(_at("global", "core:dataset", value="../../etc/passwd")),
        "core:dataset",
    ),
    Bad("SigMF: samples behind a link out of the folder", "sigmf", _data_link, "not followed"),
    Bad(
        "SigMF: a sample rate of 400 digits",
        "sigmf",
        _json(_at("global", "core:sample_rate", value=10**399)),
        "not valid JSON",
    ),
    Bad(
        "capture: a MATLAB element longer than its file",
        "matlab",
        lambda folder, content: content[:132] + struct.pack("<I", 2**31) + content[136:],
        "is truncated: an element of 2147483648 bytes",
    ),
    Bad(
        "capture: a BLUE header that tells of 2^60 bytes",
        "blue",
        lambda folder, content: content[:40] + struct.pack("<d", 2.0**60) + content[48:],
        "of 768",
    ),
    Bad(
        "capture: an external link on the way, `--dataset a/b`", "hdf5_linked", _linked_group, "links are not followed"
    ),
    Bad("SigMF: another SHA-512", "sigmf", _json(_at("global", "core:sha512", value="0" * 128)), "hash"),
    Bad("metrics.csv: other columns", "metrics", lambda folder, content: b"a,b\n1,2\n", "is no file of metrics"),
    Bad("state.json of rfsep separate: a count below 0", "state", _json(_at("chunks", value=-1)), "is damaged"),
]


def table() -> str:
    """Markdown: what was given, what was answered."""
    rows = ["| given | answered |\n| --- | --- |\n"]
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            line = answer(case, Path(folder)).replace(folder, "FOLDER")
        shown = re.sub(r"[0-9a-f]{64}", "...", line).replace("|", "\\|").replace("<", "\\<").replace("$", "\\$")
        rows.append(f"| {case.what} | {shown if len(shown) <= 220 else shown[:220] + '...'} |\n")
    return "".join(rows)


def rendered(text: str) -> str:
    """The page with the table as it is now."""
    return MARK.sub(lambda match: f"{match[1]}{table()}{match[3]}", text)


if __name__ == "__main__":
    page = ROOT / "docs" / "trust.md"
    page.write_text(rendered(page.read_text()))
    sys.exit(0)
