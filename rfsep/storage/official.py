"""Reads and writes files of the ICASSP 2024 SP Grand Challenge on RF signal separation.

Source: RFChallenge/icassp2024rfchallenge, sampletest_testmixture_generator.py.
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import staged
from rfsep.storage.faults import fault
from rfsep.storage.hdf5_set import read_own_mixtures, read_own_truth
from rfsep.storage.mixture_files import LABEL, NAME, MixtureFile, Pair, TruthFile, check_name, check_pair
from rfsep.storage.npy import as_bits, as_complex64, check_finite, check_shape, read_complex, read_text
from rfsep.storage.pickles import read_arrays, write_arrays

SAMPLE_RATE_HZ = 25e6
MAX_SINR_DB = 1000.0
GAIN_TOLERANCE_DB = 0.1
LEVELS_DB = np.arange(-30, 1, 3, dtype=np.float32)
MIXTURE_NAME = re.compile(rf"({LABEL}?)_testmixture_({NAME})_({NAME})\.npy")
ROWS = 64  # mixtures per piece: 20 MB at the official length


class Found(NamedTuple):
    """The place of one official test set's files.

    Attributes:
        folder: folder that holds them, possibly beside others.
        testset: their test set's name, such as TestSet1Mixture.
    """

    folder: Path
    testset: str


def find_official(folder: Path) -> Found:
    """Finds the official test set of a folder, or for FOLDER/NAME the one of that name among the files of FOLDER.

    The organisers' ``dataset/`` holds the files of several side by side.

    Raises:
        InputError: no such folder, no official file, or files of more than one test set; names those there.
    """
    if testsets := _testsets(folder):
        if len(testsets) > 1:
            raise fault(folder, f"holds more than one test set; choose with set=NAME, one of {', '.join(testsets)}")
        return Found(folder, testsets[0])
    beside = _testsets(folder.parent)
    if folder.name in beside:
        return Found(folder.parent, folder.name)
    if beside:
        raise fault(folder, f"no such test set; the files in {folder.parent} are of {', '.join(beside)}")
    if not folder.is_dir():
        raise fault(folder, "no such folder")
    raise fault(folder, "is no test set: neither mixture/*.h5 nor <TestSet>_testmixture_<SOI>_<INTERFERENCE>.npy in it")


def list_official(folder: Path) -> list[Pair]:
    """Returns the mixture types (soi, interference) of an official test set, sorted.

    Raises:
        InputError: as `find_official`.
    """
    place, testset = find_official(folder)
    return sorted((name[2], name[3]) for name in _names(place) if name[1] == testset)


def read_official_mixtures(folder: Path, soi: str, interference: str) -> MixtureFile:
    """Reads mixtures, with the nominal SINR of their metadata or, without metadata, of the official order of rows.

    Raises:
        InputError: no such type (names those there); damaged files; metadata of another type; without metadata,
            a number of rows that is not a multiple of 11.
    """
    check_pair(folder, soi, interference, list_official(folder))
    place, testset = find_official(folder)
    path = place / f"{testset}_testmixture_{soi}_{interference}.npy"
    mixture = read_complex(path, (None, None))
    if mixture.size == 0:
        raise fault(path, f"is empty: shape {mixture.shape}")
    metadata = path.with_name(f"{path.stem}_metadata.npy")
    if metadata.exists():
        sinr_db = _nominal_sinr_db(metadata, len(mixture), soi, interference)
    elif len(mixture) % len(LEVELS_DB):
        raise fault(path, f"{metadata.name} is missing and {len(mixture)} rows are no multiple of {len(LEVELS_DB)}")
    else:
        sinr_db = np.repeat(LEVELS_DB, len(mixture) // len(LEVELS_DB))
    return MixtureFile(soi, interference, path, "", SAMPLE_RATE_HZ, mixture, sinr_db)


def read_official_truth(folder: Path, soi: str, interference: str) -> TruthFile | None:
    """Reads the ground truth, None where it is withheld; it takes the memory of the pickle and of the interference.

    All bits count, the SOI starts with a symbol (offset 0), the rest is unknown (-1).

    Raises:
        InputError: as `read_official_mixtures`; a hostile or damaged pickle; the truth of other mixtures.
    """
    mixtures = read_official_mixtures(folder, soi, interference)
    place, testset = find_official(folder)
    path = place / f"GroundTruth_{testset}_Dataset_{soi}_{interference}.pkl"
    if not path.exists():
        return None
    arrays = read_arrays(path)
    if len(arrays) != 3:
        raise fault(path, f"holds {len(arrays)} arrays, expected mixture, soi and bits")
    mixture, waveform = (_complex(path, name, a, mixtures) for name, a in zip(("mixture", "soi"), arrays, strict=False))
    check_shape(f"{path}: bits", arrays[2].shape, (len(mixture), None))
    bits = as_bits(f"{path}: bits", arrays[2])
    for first in range(0, len(mixture), ROWS):
        same = (mixture[first : first + ROWS] == mixtures.mixture[first : first + ROWS]).all(axis=1)
        if not same.all():
            raise fault(path, f"is the truth of other mixtures: row {first + int(same.argmin())} of {mixtures.path}")
    zeros = np.zeros(len(bits), np.int64)
    num_bits, unknown = zeros + bits.shape[1], zeros - 1
    return TruthFile(path, waveform, mixtures.mixture - waveform, bits, num_bits, zeros, unknown, unknown)


def write_official(folder: Path, testset: str, mixtures: MixtureFile, truth: TruthFile) -> None:
    """Writes mixtures, metadata and ground truth as the official generator does, rows in their order.

    Raises:
        InputError: an invalid name, rows with different numbers of bits, or files that cannot be written.
    """
    for what, name, pattern in (("test set", testset, LABEL), ("soi", mixtures.soi, NAME)):
        check_name(folder, what, name, pattern)
    check_name(folder, "interference", mixtures.interference)
    pair = f"{mixtures.soi}_{mixtures.interference}"
    paths = (
        folder / f"{testset}_testmixture_{pair}.npy",
        folder / f"{testset}_testmixture_{pair}_metadata.npy",
        folder / f"GroundTruth_{testset}_Dataset_{pair}.pkl",
    )
    if (truth.num_bits != truth.bits.shape[1]).any():
        raise fault(paths[2], "rows have different numbers of bits, which the official format cannot hold")
    with staged(*paths) as (mixture_part, metadata_part, truth_part):
        with mixture_part.open("xb") as file:
            np.lib.format.write_array(file, np.asarray(mixtures.mixture), allow_pickle=False)
        with metadata_part.open("xb") as file:
            np.lib.format.write_array(file, _metadata(mixtures, truth), allow_pickle=False)
        with truth_part.open("xb") as file:
            write_arrays(file, (mixtures.mixture, truth.soi, truth.bits))


def convert(folder: Path, out: Path, soi: str, interference: str) -> None:
    """Writes one mixture type of our test set ``folder`` as official files into ``out``, under the folder's name.

    Raises:
        InputError: as `read_own_truth` and `write_official`; no truth.
    """
    mixtures, truth = read_own_mixtures(folder, soi, interference), read_own_truth(folder, soi, interference)
    if truth is None:
        raise fault(folder / "truth", f"no truth of {soi}_{interference}, which official files are made with")
    write_official(out, re.sub(r"[^A-Za-z0-9_-]", "-", folder.resolve().name), mixtures, truth)


def _names(folder: Path) -> list[re.Match[str]]:
    """Returns the parsed names of all mixture files in a folder, sorted; none if there is no folder."""
    found = [MIXTURE_NAME.fullmatch(path.name) for path in sorted(folder.glob("*_testmixture_*.npy"))]
    return [name for name in found if name]


def _testsets(folder: Path) -> list[str]:
    """Returns the names of the test sets in a folder, sorted."""
    return sorted({name[1] for name in _names(folder)})


def _nominal_sinr_db(path: Path, num_mixtures: int, soi: str, interference: str) -> npt.NDArray[np.float32]:
    """Returns the metadata's second column, after a check of the gain and of the names in the last two columns."""
    rows = read_text(path, (num_mixtures, 5))
    sinr_db = np.empty(num_mixtures, np.float32)
    for index, (gain, target, _, soi_name, interference_name) in enumerate(rows.tolist()):
        if (soi_name, interference_name) != (soi, interference):
            raise fault(path, f"row {index} is of {soi_name!r} and {interference_name!r}, not {soi}_{interference}")
        try:
            nominal, amplitude = float(target), float(gain)
        except ValueError:
            nominal, amplitude = math.nan, 1.0
        if not abs(nominal) <= MAX_SINR_DB:
            raise fault(path, f"row {index} has SINR {target!r}, expected a number of dB")
        if not amplitude > 0 or abs(20 * math.log10(amplitude) + nominal) > GAIN_TOLERANCE_DB:
            raise fault(path, f"row {index} disagrees with itself: SINR {target!r} dB and gain {gain!r}")
        sinr_db[index] = nominal
    return sinr_db


def _complex(path: Path, name: str, array: npt.NDArray[Any], mixtures: MixtureFile) -> npt.NDArray[np.complex64]:
    """Returns a waveform of the pickle as complex64 [M, T]."""
    if array.dtype not in (np.complex64, np.complex128):
        raise fault(path, f"{name} is {array.dtype}, expected complex64")
    check_shape(f"{path}: {name}", array.shape, mixtures.mixture.shape)
    check_finite(f"{path}: {name}", array)
    return as_complex64(f"{path}: {name}", np.ascontiguousarray(array))


def _metadata(mixtures: MixtureFile, truth: TruthFile) -> npt.NDArray[np.str_]:
    """Returns the rows of text [M, 5]: gain k, target SINR, actual SINR (dB), SOI type, interference type."""
    target = mixtures.sinr_db.astype(np.float64)
    gain = (10 ** (-target / 20)).astype(np.float32)
    energies = np.array([[np.vdot(x, x).real for x in waveforms] for waveforms in (truth.soi, truth.interference)])
    with np.errstate(divide="ignore", invalid="ignore"):
        actual = 10 * np.log10(energies[0] / energies[1])
    names = [mixtures.soi, mixtures.interference]
    return np.array([[str(k), str(t), str(a), *names] for k, t, a in zip(gain, target, actual, strict=True)])
