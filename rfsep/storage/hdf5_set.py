"""Our test sets: DIR/mixture/<SOI>_<INTERFERENCE>.h5 is public, DIR/truth/<SOI>_<INTERFERENCE>.h5 withheld."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from rfsep.iq import forget_pages
from rfsep.storage.atomic import staged
from rfsep.storage.faults import fault, foreign, reason
from rfsep.storage.hdf5 import Slot, lay_out, open_hdf5, read_attribute, read_dataset
from rfsep.storage.locks import alone_in
from rfsep.storage.manifest import MANIFEST, is_listed, read_manifest, update_manifest
from rfsep.storage.mixture_files import NAME, MixtureFile, Pair, TruthFile, check_name, check_pair
from rfsep.storage.npy import as_bits, check_finite, check_shape
from rfsep.types import MixtureBatch

SCHEMA = 1
FILE_NAME = re.compile(rf"({NAME})_({NAME})\.h5")
# Datasets, named as the fields of a batch: dtype and the axis after the rows.
PUBLIC = {"mixture": ("<c8", "T"), "sinr_db": ("<f4", "")}
WITHHELD = {
    "soi": ("<c8", "T"),
    "interference": ("<c8", "T"),
    "bits": ("|u1", "N"),
    "num_bits": ("<i8", ""),
    "soi_offset": ("<i8", ""),
    "interference_offset": ("<i8", ""),
    "interference_origin": ("<i8", ""),
}
# Attributes of the public file that say what a signal's channel is drawn from; there are none without a channel.
CHANNELS = ("soi_channel", "interference_channel")


class TestSetHeader(NamedTuple):
    """The facts of a mixture type that are known before its first mixture is drawn.

    Attributes:
        soi: name of the signal of interest.
        interference: name of the interference.
        num_mixtures: M.
        num_samples: T.
        num_bits_max: N, the width of the bits.
        sample_rate_hz: in Hz.
        set_id: the same in both files; must not reveal the seed.
        seed: withheld.
        settings: withheld; values that JSON can hold.
        soi_channel: public text of what the SOI's channel is drawn from; empty without one.
        interference_channel: as ``soi_channel``.
        duty: public; least share of each window in which the interference is on, 0 for any window.
    """

    soi: str
    interference: str
    num_mixtures: int
    num_samples: int
    num_bits_max: int
    sample_rate_hz: float
    set_id: str
    seed: int
    settings: Mapping[str, Any]
    soi_channel: str = ""
    interference_channel: str = ""
    duty: float = 0.0


class Drawn(NamedTuple):
    """What the mixtures of a type came through, known when all have been drawn.

    Attributes:
        columns: names of the columns.
        table: gives a row for every mixture, float64 [M, columns].
    """

    columns: tuple[str, ...]
    table: Callable[[], npt.NDArray[np.float64]]


TestSetHeader.__test__ = False  # type: ignore[attr-defined]  # pytest takes a class named Test... for a test


def write_mixtures(
    folder: Path,
    header: TestSetHeader,
    batches: Iterable[MixtureBatch],
    channels: Mapping[str, Drawn] = MappingProxyType({}),
) -> None:
    """Writes one mixture type, batch after batch in bounded memory; the same batches give the same bytes.

    Both files appear together when all is written, then both manifests are brought up to date.

    Args:
        folder: folder of the test set.
        header: facts of the mixture type.
        batches: its mixtures.
        channels: what the signals came through, by the dataset's name in the truth; the attribute NAME_columns names
            its columns.

    Raises:
        InputError: a batch that does not fit the header (shape, dtype, NaN, bits), too few or too many mixtures, an
            invalid name, or files that cannot be written.
    """
    check_name(folder, "soi", header.soi)
    check_name(folder, "interference", header.interference)
    name = f"{header.soi}_{header.interference}.h5"
    public, withheld = folder / "mixture" / name, folder / "truth" / name
    tables = {one: Slot((header.num_mixtures, len(drawn.columns)), "<f8") for one, drawn in channels.items()}
    columns = {f"{one}_columns": ",".join(drawn.columns) for one, drawn in channels.items()}
    for manifest in (folder / MANIFEST, folder / "truth" / MANIFEST):
        # An unreadable manifest is better found before the work than after it.
        read_manifest(manifest)
    with staged(public, withheld) as (public_part, withheld_part):
        places = {
            **lay_out(public_part, _slots(header, PUBLIC), _attributes(header)),
            **lay_out(
                withheld_part,
                {**_slots(header, WITHHELD), **tables},
                {**_withheld_attributes(withheld, header), **columns},
            ),
        }
        with public_part.open("r+b") as public_file, withheld_part.open("r+b") as withheld_file:
            _write_batches(public, header, batches, places, (public_file, withheld_file))
            for one, drawn in channels.items():
                table = drawn.table()
                check_shape(f"{withheld}: {one}", table.shape, tables[one].shape)
                withheld_file.seek(places[one])
                withheld_file.write(table.astype("<f8").tobytes())
    # Another type may be finished at the same time.
    with alone_in(folder, wait=True):
        update_manifest(folder / MANIFEST, f"mixture/{name}")
        update_manifest(folder / "truth" / MANIFEST, name)


def is_written(folder: Path, soi: str, interference: str, settings: Mapping[str, Any], seed: int | None) -> bool:
    """Tells whether a mixture type is complete: both files, listed, with these settings and this seed.

    Args:
        folder: folder of the test set.
        soi: name of the signal of interest.
        interference: name of the interference.
        settings: as in `TestSetHeader`.
        seed: None for any.

    Raises:
        InputError: a manifest or a listed file that cannot be understood.
    """
    name = f"{soi}_{interference}.h5"
    listed = is_listed(folder / MANIFEST, f"mixture/{name}") and is_listed(folder / "truth" / MANIFEST, name)
    if not listed or read_own_truth(folder, soi, interference) is None:
        return False
    with open_hdf5(folder / "truth" / name) as file:
        kept = read_attribute(file, "settings"), read_attribute(file, "seed")
    return kept[0] == json.dumps(settings, sort_keys=True) and seed in (None, kept[1])


def list_own(folder: Path) -> list[Pair]:
    """Returns the mixture types (soi, interference) of one of our test sets, sorted.

    Raises:
        InputError: there are none.
    """
    names = [FILE_NAME.fullmatch(path.name) for path in (folder / "mixture").glob("*.h5")]
    pairs = sorted((name[1], name[2]) for name in names if name)
    if not pairs:
        raise fault(folder / "mixture", "no file <SOI>_<INTERFERENCE>.h5")
    return pairs


def read_own_mixtures(folder: Path, soi: str, interference: str) -> MixtureFile:
    """Reads the public file of one mixture type.

    Raises:
        InputError: no such type (names those there), or a damaged file.
    """
    check_pair(folder, soi, interference, list_own(folder))
    path = folder / "mixture" / f"{soi}_{interference}.h5"
    with open_hdf5(path) as file:
        set_id = _check_attributes(file, path, soi, interference)
        sample_rate_hz = read_attribute(file, "sample_rate_hz")
        channels = [_text_or_none(file, path, name) for name in CHANNELS]
        mixture, sinr_db = (_read(file, name, PUBLIC) for name in PUBLIC)
    if isinstance(sample_rate_hz, str) or not 0 < sample_rate_hz < float("inf"):
        raise fault(path, f"sample_rate_hz is {sample_rate_hz!r}, expected a positive number")
    if mixture.size == 0:
        raise fault(path, f"mixture is empty: shape {mixture.shape}")
    check_shape(f"{path}: sinr_db", sinr_db.shape, (len(mixture),))
    check_finite(f"{path}: sinr_db", sinr_db)
    return MixtureFile(soi, interference, path, set_id, float(sample_rate_hz), mixture, sinr_db, *channels)


def read_own_truth(folder: Path, soi: str, interference: str) -> TruthFile | None:
    """Reads the withheld file of one mixture type; None where it is not there.

    Raises:
        InputError: as `read_own_mixtures`; the truth of another set; bits other than 0 and 1.
    """
    mixtures = read_own_mixtures(folder, soi, interference)
    path = folder / "truth" / f"{soi}_{interference}.h5"
    if not path.exists():
        return None
    with open_hdf5(path) as file:
        set_id = _check_attributes(file, path, soi, interference)
        if set_id != mixtures.set_id:
            raise fault(path, f"is the truth of set {set_id!r}, {mixtures.path} belongs to set {mixtures.set_id!r}")
        arrays = {name: _read(file, name, WITHHELD) for name in WITHHELD}
    num_mixtures, num_samples = mixtures.mixture.shape
    axes = {"T": (num_mixtures, num_samples), "N": (num_mixtures, None), "": (num_mixtures,)}
    for name, (_, axis) in WITHHELD.items():
        check_shape(f"{path}: {name}", arrays[name].shape, axes[axis])
    truth = TruthFile(path, **arrays)
    _check_bits(path, truth.bits)
    _check_num_bits(path, truth.num_bits, truth.bits.shape[1])
    return truth


def _slots(header: TestSetHeader, datasets: Mapping[str, tuple[str, str]]) -> dict[str, Slot]:
    axes = {"T": (header.num_samples,), "N": (header.num_bits_max,), "": ()}
    return {name: Slot((header.num_mixtures, *axes[axis]), dtype) for name, (dtype, axis) in datasets.items()}


def _attributes(header: TestSetHeader) -> dict[str, str | int | float]:
    channels = {name: text for name in CHANNELS if (text := getattr(header, name))}
    return {
        "schema": SCHEMA,
        "soi": header.soi,
        "interference": header.interference,
        "sample_rate_hz": float(header.sample_rate_hz),
        "set_id": header.set_id,
        **channels,
        **({"duty": float(header.duty)} if header.duty else {}),
    }


def _withheld_attributes(path: Path, header: TestSetHeader) -> dict[str, str | int | float]:
    try:
        settings = json.dumps(header.settings, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise fault(path, f"settings cannot be written as JSON: {reason(error)}") from error
    return {**_attributes(header), "seed": header.seed, "settings": settings}


def _write_batches(
    path: Path,
    header: TestSetHeader,
    batches: Iterable[MixtureBatch],
    places: dict[str, int],
    files: tuple[BinaryIO, BinaryIO],
) -> None:
    """Writes every batch into the space laid out for it."""
    first = 0
    for batch in batches:
        end = first + len(batch.mixture)
        if end > header.num_mixtures:
            raise fault(path, f"got {end} mixtures or more, expected {header.num_mixtures}")
        _check_num_bits(path, batch.num_bits.numpy(), header.num_bits_max)
        for file, datasets in zip(files, (PUBLIC, WITHHELD), strict=True):
            for name, slot in _slots(header, datasets).items():
                rows = _rows(path, name, batch, (len(batch.mixture), *slot.shape[1:]), np.dtype(slot.dtype))
                file.seek(places[name] + first * rows[:1].nbytes)
                file.write(rows.tobytes())
        first = end
    if first != header.num_mixtures:
        raise fault(path, f"got {first} mixtures, expected {header.num_mixtures}")


def _rows(path: Path, name: str, batch: MixtureBatch, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Returns one field of a batch as numpy, checked."""
    rows: npt.NDArray[Any] = getattr(batch, name).numpy()
    if rows.dtype != dtype:
        raise fault(path, f"{name} is {rows.dtype}, expected {dtype.name}")
    check_shape(f"{path}: {name}", rows.shape, shape)
    if name == "bits":
        return as_bits(f"{path}: bits", rows)
    check_finite(f"{path}: {name}", rows)
    return rows


def _check_bits(path: Path, bits: npt.NDArray[np.uint8]) -> None:
    """Checks bits row by row, as they are many and stay in the file."""
    if any(row.size and row.max() > 1 for row in bits):
        # The error names the first value that is not a bit.
        as_bits(f"{path}: bits", bits)
    forget_pages(bits)


def _check_num_bits(path: Path, num_bits: npt.NDArray[np.int64], width: int) -> None:
    outside = (num_bits < 0) | (num_bits > width)
    if outside.any():
        row = int(outside.argmax())
        raise fault(path, f"num_bits of row {row} is {num_bits[row]}, expected 0 to {width}")


def _check_attributes(file: h5py.File, path: Path, soi: str, interference: str) -> str:
    """Compares the attributes with the file's name, and returns the set id."""
    for name, expected in (("schema", SCHEMA), ("soi", soi), ("interference", interference)):
        if (value := read_attribute(file, name)) != expected:
            raise fault(path, f"{name} is {value!r}, expected {expected!r}")
    set_id = read_attribute(file, "set_id")
    if not isinstance(set_id, str):
        raise fault(path, f"set_id is {set_id!r}, expected text")
    return set_id


def _text_or_none(file: h5py.File, path: Path, name: str) -> str:
    """Returns an attribute that a file may have; empty where it does not."""
    with foreign(path, f"attribute {name!r} cannot be decoded"):
        if name not in file.attrs:
            return ""
    if not isinstance(value := read_attribute(file, name), str):
        raise fault(path, f"{name} is {value!r}, expected text")
    return value


def _read(file: h5py.File, name: str, datasets: Mapping[str, tuple[str, str]]) -> npt.NDArray[Any]:
    dtype, axis = datasets[name]
    return read_dataset(file, name, (dtype,), 2 if axis else 1)
