"""The contents of a test set's files in any format, and the names that are allowed."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.faults import fault

NAME = r"[A-Za-z0-9-]+"  # name of a SOI or an interference
LABEL = r"[A-Za-z0-9_-]+"  # name of a submission
SET = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"  # name of a test set, which is that of its folder
Pair = tuple[str, str]


class MixtureFile(NamedTuple):
    """The public part of one mixture type.

    Attributes:
        soi: name of the signal of interest.
        interference: name of the interference.
        path: the file.
        set_id: links the file to its truth; empty for official files.
        sample_rate_hz: in Hz.
        mixture: complex64 [M, T], read-only memory map.
        sinr_db: float32 [M], nominal.
        soi_channel: foreign text of what the SOI's channel is drawn from; empty without one, and for official files.
        interference_channel: as ``soi_channel``.
    """

    soi: str
    interference: str
    path: Path
    set_id: str
    sample_rate_hz: float
    mixture: npt.NDArray[np.complex64]
    sinr_db: npt.NDArray[np.float32]
    soi_channel: str = ""
    interference_channel: str = ""


class TruthFile(NamedTuple):
    """The withheld part of one mixture type, row for row.

    Attributes:
        path: the file.
        soi: complex64 [M, T].
        interference: complex64 [M, T], at the level it has in the mixture.
        bits: uint8 [M, N], zero-padded.
        num_bits: int64 [M].
        soi_offset: int64 [M], samples into a symbol at sample 0; -1 unknown.
        interference_offset: int64 [M], samples into a period at sample 0; -1 unknown.
        interference_origin: int64 [M], number of the interference's recording; -1 synthetic or unknown.
    """

    path: Path
    soi: npt.NDArray[np.complex64]
    interference: npt.NDArray[np.complex64]
    bits: npt.NDArray[np.uint8]
    num_bits: npt.NDArray[np.int64]
    soi_offset: npt.NDArray[np.int64]
    interference_offset: npt.NDArray[np.int64]
    interference_origin: npt.NDArray[np.int64]


def check_name(folder: Path, what: str, value: str, pattern: str = NAME) -> None:
    """Refuses a name that is not allowed in a file name.

    Raises:
        InputError: ``value`` does not match ``pattern`` as a whole.
    """
    if not re.fullmatch(pattern, value):
        raise fault(folder, f"{what} {value!r} cannot stand in a file name, expected {pattern}")


def check_pair(folder: Path, soi: str, interference: str, pairs: list[Pair]) -> None:
    """Refuses a mixture type that does not exist.

    Raises:
        InputError: names those that exist.
    """
    if (soi, interference) not in pairs:
        choices = ", ".join("_".join(pair) for pair in pairs)
        raise fault(folder, f"no mixtures {soi}_{interference}, choose from {choices}")
