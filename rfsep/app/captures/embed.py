"""Embeds a signal of interest in a recording, to make captures with known truth."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rfsep.app.config import build_modem, console
from rfsep.app.examples import tell_doubts
from rfsep.app.soi import described_soi
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.constellations import map_bits
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.storage.atomic import staged
from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.facts import Capture, Hints, OneSegment, check_segment, segments_told
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.growing import Grown
from rfsep.storage.sigmf import write_meta
from rfsep.types import InputError, Modem

_CAPTURE = "capture.sigmf-data"
_TRUTH = "truth_bits.npy"
_BLOCK = 1 << 14  # number of symbol periods written at once
# So many symbol periods are modulated on each side of a block, more than any pulse spans.
_CONTEXT = 16


class Embedded(NamedTuple):
    """A block of a made capture.

    Attributes:
        samples: complex64 [n].
        bits: bits of the symbols that begin in the block, uint8 [m].
    """

    samples: npt.NDArray[np.complex64]
    bits: npt.NDArray[np.uint8]


def embedded(
    capture: Capture, modem: Modem, gain: float, num_samples: int, generator: torch.Generator
) -> Iterator[Embedded]:
    """Yields blocks of a recording plus ``gain`` times a SOI of random bits whose first symbol begins at sample 0.

    The recording is repeated where it is shorter than ``num_samples``; the SOI is one signal from end to end.

    Args:
        capture: the recording.
        modem: modem of the SOI.
        gain: amplitude of the SOI.
        num_samples: total number of samples.
        generator: generator of the bits.
    """
    period, length = modem.symbol_period, capture.facts.num_samples
    each = modem.num_bits(period)
    periods = -(-num_samples // period)
    total = modem.num_bits(num_samples)
    known = torch.zeros(0, dtype=torch.uint8)  # bits of the periods from ``first`` on
    first, drawn = 0, 0
    for start in range(0, periods, _BLOCK):
        end = min(start + _BLOCK, periods)
        begin, behind = max(0, start - _CONTEXT), min(end + _CONTEXT, periods)
        wanted = min(behind * each, total) - drawn
        fresh = torch.randint(2, (wanted,), generator=generator, dtype=torch.uint8)
        known, first, drawn = torch.cat((known[(begin - first) * each :], fresh)), begin, drawn + wanted
        soi = modem.synthesise(map_bits(known[None], modem.constellation), (behind - begin) * period)[0].numpy()
        low, high = start * period, min(end * period, num_samples)
        cut = soi[low - begin * period : high - begin * period]
        bits = known[(start - begin) * each : min(end * each, total) - begin * each]
        yield Embedded(_repeated(capture, low, high - low, length) + np.float32(gain) * cut, bits.numpy())


def soi_gain(modem: Modem, recording_power: float, sinr_db: float) -> float:
    """Returns the amplitude that puts a SOI ``sinr_db`` above a recording of the given power."""
    return math.sqrt(recording_power * 10 ** (sinr_db / 10) / float(modem_autocorrelation(modem, 1).real))


def _repeated(capture: Capture, start: int, count: int, length: int) -> npt.NDArray[np.complex64]:
    """Returns samples complex64 [count] of an endlessly repeated recording."""
    pieces = []
    while count:
        place = start % length
        piece = capture.read(place, min(count, length - place))
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    return np.concatenate(pieces)


def _one_segment(path: Path, hints: Hints, number: int | None) -> Capture:
    """Returns a capture, or its segment of the given number.

    Raises:
        InputError: it has several segments and no number is given, and a SOI must not cross their boundaries.
    """
    capture = open_capture(path, hints)
    if number is None and len(capture.facts.segments) > 1:
        raise InputError(f"{path}: has {segments_told(capture.facts)}: choose one with --segment")
    return OneSegment(capture, check_segment(path, capture.facts, number or 0))


def embed_capture(
    capture: Path,
    out: Path,
    sinr_db: float,
    soi: str,
    seconds: float | None,
    seed: int,
    hints: Hints,
    sample_rate: float | None,
    segment: int | None,
) -> None:
    """Embeds a signal of random bits in a recording and writes both with the truth; see ``rfsep embed --help``.

    Raises:
        InputError: the recording cannot be read, has no power or no rate, or holds no symbol.
    """
    config, opened = described_soi(soi), _one_segment(capture, hints, segment)
    modem, rate = build_modem(config), sample_rate or opened.facts.sample_rate_hz
    if rate is None or not 0 < rate < math.inf:
        raise InputError(f"{capture}: sample rate {rate}; give a positive --sample-rate")
    if not abs(sinr_db) < 200 or not (seconds is None or 0 < seconds < math.inf):
        raise InputError(f"--sinr-db {sinr_db} and --seconds {seconds}: expected finite numbers")
    count = opened.facts.num_samples if seconds is None else round(seconds * rate)
    if count < modem.symbol_period or modem.num_bits(count) == 0:
        raise InputError(f"{count} samples have room for no symbol of {soi}")
    looked = look_at(opened, lambda count: None)
    tell_doubts(capture, opened, looked)
    if not 0 < (power := looked.power - abs(looked.mean) ** 2) < math.inf:
        raise InputError(f"{capture}: its power is {power}: silent, or with NaN or infinity in it")
    gain = soi_gain(modem, power, sinr_db)
    truth = Grown(_TRUTH, np.dtype("u1"), (modem.num_bits(count),), header=True)
    with staged(out / _CAPTURE, out / _TRUTH) as (data, bits), data.open("xb") as samples, bits.open("xb") as sent:
        sent.write(truth.beginning())
        for block in embedded(opened, modem, gain, count, batch_generator(Purpose.TEST, seed)):
            samples.write(block.samples.data)
            sent.write(block.bits.data)
    name = f"{config.name} at {sinr_db:g} dB SINR in {opened.facts.source.name}"
    provenance = {"sinr_db": sinr_db, "seed": seed, "soi": soi, "recording": opened.facts.source.name, "soi_gain": gain}
    meta = (out / _CAPTURE).with_suffix(".sigmf-meta")
    facts = opened.facts
    write_meta(meta, float(rate), facts.frequency_hz, name, [], provenance, facts.origin, facts.segments[0].datetime)
    level = 20 * np.log10(gain)
    console.print(f"{name}: {count / rate:.4g} s in {meta}, bits in {out / _TRUTH}", markup=False, soft_wrap=True)
    console.print(f"amplitude of the SOI: {level:.2f} dB", markup=False)
