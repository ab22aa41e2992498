"""SigMF recordings: read whole through the sigmf library; their meta files read and written."""

import hashlib
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sigmf

from rfsep.storage.atomic import CHUNK_BYTES, read_json, write_json
from rfsep.storage.faults import fault, reason
from rfsep.storage.npy import check_finite

SUFFIX = ".sigmf-meta"
NON_CONFORMING = ("core:dataset", "core:trailing_bytes", "core:metadata_only")
MAX_META_BYTES = 16 << 20
MAX_DATA_BYTES = 2 << 30
_EXTENSION = {"name": "rfsep", "version": "1.0.0", "optional": True}


class Recording(NamedTuple):
    """What was received.

    Attributes:
        samples: complex64 [T]; fixed-point numbers in [-1, 1), real ones with zero imaginary part.
        sample_rate_hz: in Hz.
        description: the recorder's words; may be empty.
    """

    samples: npt.NDArray[np.complex64]
    sample_rate_hz: float
    description: str


class Meta(NamedTuple):
    """What a meta file says of the samples beside it.

    Attributes:
        data_path: of the samples.
        datatype: as SigMF names it, unchecked.
        sample_rate_hz: in Hz.
        frequency_hz: of the carrier, of the first capture; None where it is not said.
        description: the recorder's words; may be empty.
        sha512: of the data file in hexadecimal; None where it is not said.
    """

    data_path: Path
    datatype: str
    sample_rate_hz: float
    frequency_hz: float | None
    description: str
    sha512: str | None


def read_sigmf(meta_path: Path) -> Recording:
    """Read a recording of one channel, of any datatype; its SHA-512 is verified where the meta file gives it.

    Raises:
        InputError: another suffix than .sigmf-meta, broken JSON, no data file, another SHA-512, several channels, no
            sample rate, a datatype that SigMF does not have, data in another file or beside headers, NaN or Inf.
    """
    meta = read_meta(meta_path)
    if (size := meta.data_path.stat().st_size) > MAX_DATA_BYTES:
        raise fault(meta.data_path, f"has {size} bytes, more than the {MAX_DATA_BYTES} that are read at once")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a data file of half a sample is only a warning there
            warnings.simplefilter("ignore", DeprecationWarning)
            samples = np.asarray(sigmf.fromfile(str(meta_path)).read_samples())
    except Exception as error:  # the library runs into foreign values in whatever way it happens to
        raise fault(meta_path, f"cannot be read as SigMF: {reason(error)}") from error
    check_finite(meta.data_path, samples)
    return Recording(samples.astype(np.complex64, copy=False), meta.sample_rate_hz, meta.description)


def read_meta(meta_path: Path) -> Meta:
    """What a meta file says, its data file being there.

    Raises:
        InputError: as `read_sigmf`, the samples and the datatype apart; a data file that is a link out of the folder.
    """
    if meta_path.suffix != SUFFIX:
        raise fault(meta_path, f"suffix {meta_path.suffix!r}, expected {SUFFIX}")
    content = read_json(meta_path, MAX_META_BYTES)
    rate, description = _check_meta(meta_path, content)
    data_path = meta_path.with_suffix(".sigmf-data")
    if data_path.is_symlink() and data_path.resolve().parent != meta_path.resolve().parent:
        raise fault(data_path, "is a link out of its folder, which is not followed")
    if not data_path.is_file():
        raise fault(data_path, f"no such file, but {meta_path.name} describes it")
    fields, captures = content["global"], content["captures"]
    digest = fields.get("core:sha512")
    return Meta(
        data_path=data_path,
        datatype=str(fields.get("core:datatype")),
        sample_rate_hz=rate,
        frequency_hz=_frequency(meta_path, captures),
        description=description,
        sha512=None if digest is None else str(digest),
    )


def write_meta(
    meta_path: Path,
    sample_rate_hz: float,
    frequency_hz: float | None,
    description: str,
    annotations: list[dict[str, Any]],
    provenance: dict[str, Any],
) -> None:
    """Describe the cf32_le samples that lie beside a meta file.

    Args:
        meta_path: NAME.sigmf-meta; NAME.sigmf-data is there, its SHA-512 is taken.
        sample_rate_hz: in Hz.
        frequency_hz: of the carrier; None: unknown.
        description: for people.
        annotations: as SigMF has them.
        provenance: how the samples came about, plain values; kept as ``rfsep:provenance``.

    Raises:
        InputError: a file cannot be read or written.
    """
    with meta_path.with_suffix(".sigmf-data").open("rb") as file:
        digest = hashlib.sha512()
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    fields = {
        "core:datatype": "cf32_le",
        "core:version": sigmf.__specification__,
        "core:sample_rate": sample_rate_hz,
        "core:num_channels": 1,
        "core:sha512": digest.hexdigest(),
        "core:description": description,
        "core:recorder": "rfsep",
        "core:extensions": [_EXTENSION],
        "rfsep:provenance": provenance,
    }
    capture = {"core:sample_start": 0} | ({} if frequency_hz is None else {"core:frequency": frequency_hz})
    write_json(meta_path, {"global": fields, "captures": [capture], "annotations": annotations})


def _frequency(path: Path, captures: list[dict[str, Any]]) -> float | None:
    """Carrier frequency of the first capture."""
    value = captures[0].get("core:frequency") if captures else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise fault(path, f"core:frequency is {value!r}, expected a number of Hz")
    return float(value)


def _check_meta(path: Path, meta: Any) -> tuple[float, str]:
    """Sample rate and description, after a look at what this reader does not do."""
    if not isinstance(meta, dict) or not isinstance(meta.get("global"), dict):
        raise fault(path, "has no object 'global'")
    fields = meta["global"]
    channels = fields.get("core:num_channels", 1)
    if channels != 1:
        raise fault(path, f"core:num_channels is {channels!r}, expected 1: one file a channel")
    captures = meta.get("captures")
    if not isinstance(captures, list) or not all(isinstance(capture, dict) for capture in captures):
        raise fault(path, "has no list 'captures' of objects")
    headers = [capture["core:header_bytes"] for capture in captures if capture.get("core:header_bytes")]
    other = [f"{key} = {fields[key]!r}" for key in NON_CONFORMING if fields.get(key)]
    if headers or other:
        found = ", ".join(other) or f"core:header_bytes = {headers[0]!r}"
        raise fault(path, f"is a non-conforming dataset ({found}), expected samples alone in a .sigmf-data")
    rate = fields.get("core:sample_rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise fault(path, f"core:sample_rate is {rate!r}, expected a positive number")
    return float(rate), str(fields.get("core:description", ""))
