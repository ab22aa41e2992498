"""Opens raw samples without a header. Recorders write rate, carrier and datatype into the names of such files.

Sources: the names of gqrx, SDR#, HDSDR, SDRuno, rtl_433 and inspectrum.
"""

import re
from pathlib import Path
from typing import NamedTuple

from rfsep.storage.captures.facts import Capture, Hints, facts_of, sample_format
from rfsep.storage.captures.plain import PlainCapture, file_content, whole_samples
from rfsep.storage.faults import fault

SUFFIXES = {  # suffixes that name the datatype, as in inspectrum and rtl_433
    ".cu8": "cu8",
    ".cs8": "ci8",
    ".cs16": "ci16_le",
    ".cf32": "cf32_le",
    ".cf64": "cf64_le",
    ".cfile": "cf32_le",
    ".fc32": "cf32_le",
    ".sc16": "ci16_le",
}
_GQRX = re.compile(r"gqrx_\d{8}_\d{6}_(\d+)_(\d+)_fc$")
_SDR = re.compile(r"(?:SDRSharp|HDSDR|SDRuno|SDRconnect)_\d{8}_\d{6}Z?_(\d+)(k?)Hz", re.IGNORECASE)
_INSPECTRUM = re.compile(r"(?:^|-)([fs])(\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=-|$)", re.IGNORECASE)
_RATE = re.compile(r"(?:^|[_ -])(\d+(?:\.\d+)?)\s?([kMG]?)(?:sps|S/s|SPS)(?=[_. -]|$)")
_FREQUENCY = re.compile(r"(?:^|[_ -])(\d+(?:\.\d+)?)\s?([kMG])(?:Hz)?(?=[_. -]|$)")
_RTL_433 = re.compile(r"^g\d+_(\d+(?:\.\d+)?)([kMG]?)_(\d+(?:\.\d+)?)([kMG]?)$")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


class Named(NamedTuple):
    """Facts in a file's name; None where it has none.

    Attributes:
        sample_rate_hz: in Hz.
        frequency_hz: carrier frequency in Hz.
        datatype: SigMF's name of the datatype.
    """

    sample_rate_hz: float | None
    frequency_hz: float | None
    datatype: str | None


def named(path: Path) -> Named:
    """Returns the rate, carrier and datatype in a file's name.

    >>> named(Path("gqrx_20230101_120000_137500000_2400000_fc.raw"))
    Named(sample_rate_hz=2400000.0, frequency_hz=137500000.0, datatype='cf32_le')
    >>> named(Path("HDSDR_20170207_205542Z_14043kHz_RF.wav")).frequency_hz
    14043000.0
    >>> named(Path("noise_2.4Msps_915MHz.bin"))[:2]
    (2400000.0, 915000000.0)
    """
    stem, datatype = path.name[: len(path.name) - len(path.suffix)], SUFFIXES.get(path.suffix.lower())
    if found := _GQRX.search(stem):
        return Named(float(found[2]), float(found[1]), "cf32_le")
    if found := _SDR.search(stem):
        return Named(None, float(found[1]) * _FACTORS[found[2].lower()], datatype)
    if found := _RTL_433.match(stem):
        return Named(float(found[3]) * _FACTORS[found[4]], float(found[1]) * _FACTORS[found[2]], datatype)
    told = {letter.lower(): float(number) for letter, number in _INSPECTRUM.findall(stem)}
    rate, frequency = _RATE.search(stem), _FREQUENCY.search(stem)
    return Named(
        float(rate[1]) * _FACTORS[rate[2]] if rate else told.get("s"),
        float(frequency[1]) * _FACTORS[frequency[2]] if frequency else told.get("f"),
        datatype,
    )


def open_raw(path: Path, hints: Hints) -> Capture:
    """Opens raw samples with the datatype from the user or from the file's name.

    Raises:
        InputError: no datatype, one that contradicts the name, or no samples.
    """
    told = named(path)
    datatype = hints.datatype or told.datatype
    if datatype is None:
        raise fault(path, "is taken as raw samples: say their datatype, such as --datatype cf32_le or ci16_le")
    layout, content = sample_format(datatype), file_content(path)
    if told.datatype is not None and sample_format(told.datatype) != layout:
        raise fault(path, f"its name says that its datatype is {told.datatype}, not {datatype}")
    count, notes = whole_samples(path, content, layout)
    if told.sample_rate_hz is not None:
        notes = (*notes, f"its name says {told.sample_rate_hz:.10g} samples/s")
    facts = facts_of(
        path,
        "raw",
        datatype,
        count,
        step=layout.step,
        sample_rate_hz=told.sample_rate_hz,
        frequency_hz=told.frequency_hz,
        notes=notes,
    )
    return PlainCapture(facts, content, layout)
