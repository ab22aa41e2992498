"""Embeds a signal of interest in a recording, to make captures with known truth."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rfsep.app.captures.soi import soi_plan
from rfsep.app.config import build_modem, console
from rfsep.app.examples import tell_doubts
from rfsep.app.soi import described_soi
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.channels.impairments import (
    Impairments,
    PhaseWalk,
    check_impairments,
    impaired_stretch,
    needed,
)
from rfsep.signals.channels.rays import parse_rays
from rfsep.signals.resampling import SAME_RATE, Conversion, converted
from rfsep.signals.resampling import needed as old_samples
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.storage.atomic import staged, write_json
from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.facts import Capture, Hints, OneSegment, check_segment, segments_told
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.growing import Grown
from rfsep.storage.sigmf import write_meta
from rfsep.types import InputError, Modem

_CAPTURE = "capture.sigmf-data"
_TRUTH = "truth_bits.npy"
_TOLD = "truth.json"
_WALK = 1  # key of the phase noise beside the seed, whose bits must not depend on it
_BLOCK = 1 << 14  # number of symbol periods written at once
# So many symbol periods are modulated on each side of a block, more than any pulse spans.
_CONTEXT = 16


class Link(NamedTuple):
    """What the embedded signal goes through, as the command line tells it; see ``rfsep embed --help``."""

    carrier_hz: float = 0.0
    phase_deg: float = 0.0
    clock_ppm: float = 0.0
    delay: float = 0.0
    rays: str = ""
    phase_noise: float = 0.0

    def impairments(self, sample_rate_hz: float) -> Impairments:
        """Returns the impairments at a sample rate; rays without a phase have phase 0.

        Raises:
            InputError: a value is out of bounds.
        """
        if not abs(self.carrier_hz) <= sample_rate_hz / 2:
            raise InputError(f"--carrier-hz {self.carrier_hz:g}: expected at most half of {sample_rate_hz:g} samples/s")
        if not 0 <= self.delay < math.inf:
            raise InputError(f"--delay {self.delay:g}: expected samples, 0 or more")
        rays = tuple((ray.delay, ray.gain()) for ray in parse_rays(self.rays))
        if any(delay < 0 for delay, _ in rays):
            raise InputError(f"--channel {self.rays}: expected delays of 0 or more")
        carrier, phase_rad = self.carrier_hz / sample_rate_hz, math.radians(self.phase_deg)
        return check_impairments(Impairments(carrier, phase_rad, self.clock_ppm, self.delay, rays, self.phase_noise))

    def told(self) -> dict[str, object]:
        """Returns the link in plain values, for the truth; a ray's phase is in degrees."""
        rays = [{**ray._asdict(), "phase_deg": ray.phase_deg or 0.0} for ray in parse_rays(self.rays)]
        return {**self._asdict(), "rays": rays}


class Embedded(NamedTuple):
    """A block of a made capture.

    Attributes:
        samples: complex64 [n].
        bits: the bits sent so far that no earlier block has, uint8 [m].
    """

    samples: npt.NDArray[np.complex64]
    bits: npt.NDArray[np.uint8]


class _Sent:
    """The sent signal, one from end to end, whose first symbol begins at sample 0; made from front to back.

    Args:
        modem: modem of the signal.
        total: number of bits.
        generator: generator of the bits.
    """

    def __init__(self, modem: Modem, total: int, generator: torch.Generator) -> None:
        self._modem, self._total, self._generator = modem, total, generator
        self._each = modem.num_bits(modem.symbol_period)
        self._periods = -(-total // self._each)
        silence = torch.zeros((1, modem.symbol_period), dtype=torch.complex64)
        self._density = modem.analyse(silence).shape[1]  # symbols per period
        self._known = silence[:, :0]  # symbols of the periods from ``_first`` on, complex64 [1, S]
        self._first, self._drawn = 0, 0

    def stretch(self, low: int, high: int) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.uint8]]:
        """Returns samples ``low`` to ``high`` complex64 [n], and the bits that had to be drawn, uint8 [m].

        Before the first symbol and behind the last there are none, only the ends of their pulses.
        """
        period, each = self._modem.symbol_period, self._each
        start, end = low // period, -(-high // period)
        begin, behind = max(min(start, 0), start - _CONTEXT), max(end, min(end + _CONTEXT, self._periods))
        sent = max(begin, 0)
        wanted = max(0, min(behind * each, self._total) - self._drawn)
        fresh = torch.randint(2, (wanted,), generator=self._generator, dtype=torch.uint8)
        last = self._known[:, -1:] if self._drawn else None
        drawn = self._modem.symbols(fresh[None], self._drawn // each, last)
        self._known = torch.cat((self._known[:, (sent - self._first) * self._density :], drawn), 1)
        self._first, self._drawn = sent, self._drawn + wanted
        silent = self._known.new_zeros((1, (sent - begin) * self._density))
        symbols = torch.cat((silent, self._known), 1)
        waveform = self._modem.synthesise(symbols, (behind - begin) * period)[0].numpy()
        return waveform[low - begin * period : high - begin * period], fresh.numpy()


class _Converted:
    """A sent signal at the sample rate of a recording."""

    def __init__(self, sent: _Sent, plan: Conversion) -> None:
        self._sent, self._plan = sent, plan

    def stretch(self, low: int, high: int) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.uint8]]:
        """Returns samples and bits as `_Sent.stretch` does, at the new rate."""
        first, end = old_samples(self._plan, low, high - low)
        piece, bits = self._sent.stretch(first, end)
        return converted(piece, first, self._plan, low, high - low), bits


def embedded(
    capture: Capture,
    modem: Modem,
    gain: float,
    num_samples: int,
    impairments: Impairments,
    seed: int,
    plan: Conversion = SAME_RATE,
) -> Iterator[Embedded]:
    """Yields blocks of a recording plus ``gain`` times a SOI of random bits whose first symbol is sent at sample 0.

    The recording is repeated where it is shorter than ``num_samples``; the SOI is one signal from end to end.

    Args:
        capture: the recording.
        modem: modem of the SOI.
        gain: amplitude of the SOI.
        num_samples: total number of samples.
        impairments: what the SOI goes through.
        seed: seed of bits and phase noise.
        plan: conversion of the SOI's samples to the recording's rate.
    """
    total = modem.num_bits(sent_samples(impairments, num_samples) * plan.down // plan.up)
    sent = _Converted(_Sent(modem, total, batch_generator(Purpose.TEST, seed)), plan)
    walk = PhaseWalk(impairments.phase_noise, batch_generator(Purpose.TEST, seed, _WALK))
    size = _BLOCK * modem.symbol_period
    for start in range(0, num_samples, size):
        count = min(size, num_samples - start)
        if impairments == Impairments():
            soi, bits = sent.stretch(start, start + count)
        else:
            low, high = needed(impairments, start, count)
            piece, bits = sent.stretch(low, high)
            received = impaired_stretch(piece[None].astype(np.complex128), low, impairments, start, count, walk)
            soi = received[0].numpy()
        yield Embedded(_repeated(capture, start, count, capture.facts.num_samples) + np.float32(gain) * soi, bits)


def sent_samples(impairments: Impairments, num_samples: int) -> int:
    """Returns how many samples of the sent signal arrive within ``num_samples``, by a path without delay."""
    return max(0, math.floor(num_samples * (1 + impairments.clock_ppm * 1e-6) - impairments.delay))


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
    link: Link,
    soi_set: Sequence[str] = (),
    symbol_rate: str | None = None,
) -> None:
    """Embeds a signal of random bits in a recording and writes both with the truth; see ``rfsep embed --help``.

    Raises:
        InputError: the recording cannot be read, has no power or no rate, or holds no symbol.
    """
    config, opened = described_soi(soi, soi_set), _one_segment(capture, hints, segment)
    modem, rate = build_modem(config), sample_rate or opened.facts.sample_rate_hz
    if rate is None or not 0 < rate < math.inf:
        raise InputError(f"{capture}: sample rate {rate}; give a positive --sample-rate")
    if not abs(sinr_db) < 200 or not (seconds is None or 0 < seconds < math.inf):
        raise InputError(f"--sinr-db {sinr_db} and --seconds {seconds}: expected finite numbers")
    impairments, plan = link.impairments(rate), soi_plan(config, symbol_rate, rate)
    count = opened.facts.num_samples if seconds is None else round(seconds * rate)
    num_bits = modem.num_bits(heard := sent_samples(impairments, count) * plan.down // plan.up)
    if heard < modem.symbol_period or num_bits == 0:
        raise InputError(f"{count} samples have room for no symbol of {soi}")
    looked = look_at(opened, lambda count: None)
    tell_doubts(capture, opened, looked)
    if not 0 < (power := looked.power - abs(looked.mean) ** 2) < math.inf:
        raise InputError(f"{capture}: its power is {power}: silent, or with NaN or infinity in it")
    gain = soi_gain(modem, power, sinr_db)
    source = opened.facts.source.name
    provenance: dict[str, object] = {
        "sinr_db": sinr_db,
        "seed": seed,
        "soi": soi,
        "recording": source,
        "soi_gain": gain,
    }
    provenance |= {"soi_set": list(soi_set)} if soi_set else {}
    provenance |= {"symbol_rate": symbol_rate} if symbol_rate is not None else {}
    told = {**link.told(), "carrier": impairments.carrier}
    truth = {"sample_rate_hz": float(rate), **provenance, "link": told}
    _write(out, num_bits, embedded(opened, modem, gain, count, impairments, seed, plan), truth)
    name, meta = f"{config.name} at {sinr_db:g} dB SINR in {source}", (out / _CAPTURE).with_suffix(".sigmf-meta")
    if link != Link():
        provenance |= {"link": told}
    facts = opened.facts
    write_meta(meta, float(rate), facts.frequency_hz, name, [], provenance, facts.origin, facts.segments[0].datetime)
    console.print(f"{name}: {count / rate:.4g} s in {meta}, bits in {out / _TRUTH}", markup=False, soft_wrap=True)
    console.print(f"amplitude of the SOI: {20 * np.log10(gain):.2f} dB", markup=False)


def _write(out: Path, num_bits: int, blocks: Iterator[Embedded], told: dict[str, object]) -> None:
    """Writes the samples, the bits and what is true about them; all appear together."""
    truth = Grown(_TRUTH, np.dtype("u1"), (num_bits,), header=True)
    with (
        staged(out / _CAPTURE, out / _TRUTH, out / _TOLD) as (data, bits, values),
        data.open("xb") as samples,
        bits.open("xb") as sent,
    ):
        sent.write(truth.beginning())
        for block in blocks:
            samples.write(block.samples.data)
            sent.write(block.bits.data)
        write_json(values, {"schema": 1, **told, "num_bits": num_bits})
