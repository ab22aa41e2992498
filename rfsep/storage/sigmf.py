"""SigMF recordings, through the sigmf library."""

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sigmf

from rfsep.storage.atomic import read_json
from rfsep.storage.faults import fault, reason
from rfsep.storage.npy import check_finite

SUFFIX = ".sigmf-meta"
NON_CONFORMING = ("core:dataset", "core:trailing_bytes", "core:metadata_only")


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


def read_sigmf(meta_path: Path) -> Recording:
    """Read a recording of one channel, of any datatype; its SHA-512 is verified where the meta file gives it.

    Raises:
        InputError: another suffix than .sigmf-meta, broken JSON, no data file, another SHA-512, several channels, no
            sample rate, a datatype that SigMF does not have, data in another file or beside headers, NaN or Inf.
    """
    if meta_path.suffix != SUFFIX:
        raise fault(meta_path, f"suffix {meta_path.suffix!r}, expected {SUFFIX}")
    rate, description = _check_meta(meta_path, read_json(meta_path))
    data_path = meta_path.with_suffix(".sigmf-data")
    if not data_path.is_file():
        raise fault(data_path, f"no such file, but {meta_path.name} describes it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a data file of half a sample is only a warning there
            warnings.simplefilter("ignore", DeprecationWarning)
            samples = np.asarray(sigmf.fromfile(str(meta_path)).read_samples())
    except Exception as error:  # the library runs into foreign values in whatever way it happens to
        raise fault(meta_path, f"cannot be read as SigMF: {reason(error)}") from error
    check_finite(data_path, samples)
    return Recording(samples.astype(np.complex64, copy=False), rate, description)


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
