"""Writes SigMF meta files of results; recordings are read by `rfsep.storage.captures`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sigmf

from rfsep.storage.atomic import CHUNK_BYTES, write_json

SUFFIX = ".sigmf-meta"
_EXTENSION = {"name": "rfsep", "version": "1.0.0", "optional": True}


def write_meta(
    meta_path: Path,
    sample_rate_hz: float,
    frequency_hz: float | None,
    description: str,
    annotations: list[dict[str, Any]],
    provenance: dict[str, Any],
    origin: Mapping[str, Any],
    datetime: str,
) -> None:
    """Writes the meta file of the cf32_le samples beside it.

    Args:
        meta_path: NAME.sigmf-meta; NAME.sigmf-data must exist, as its SHA-512 is included.
        sample_rate_hz: in Hz.
        frequency_hz: carrier frequency; None if unknown.
        description: description for readers.
        annotations: annotations in SigMF's form.
        provenance: origin of the samples in plain values; stored as ``rfsep:provenance``.
        origin: the source recording's author, hw, license and geolocation, without ``core:``.
        datetime: time of the first sample; empty if unknown.

    Raises:
        InputError: a file cannot be read or written.
    """
    with meta_path.with_suffix(".sigmf-data").open("rb") as file:
        digest = hashlib.sha512()
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    fields = {f"core:{name}": value for name, value in origin.items()} | {
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
    capture: dict[str, Any] = {"core:sample_start": 0}
    capture |= {} if frequency_hz is None else {"core:frequency": frequency_hz}
    capture |= {"core:datetime": datetime} if datetime else {}
    write_json(meta_path, {"global": fields, "captures": [capture], "annotations": annotations})
