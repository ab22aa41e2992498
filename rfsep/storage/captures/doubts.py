"""Examines every sample of a capture once, for invalid samples and for signs of faulty recording."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.atomic import CHUNK_BYTES
from rfsep.storage.captures.facts import Capture, CaptureFacts, Samples
from rfsep.storage.faults import fault
from rfsep.storage.npy import check_finite
from rfsep.types import InputError

_STRETCH = 1 << 20  # samples examined at once
# This share of samples may be strange by chance.
_SHARE = 1e-4
# Clipping puts this many times as many samples at the largest value as just below it; a signal has fewer.
_PILED = 2.0
# Values above this share of the largest one count as just below it.
_BELOW = 0.97
# Steps between neighbours, within a range of 2: a signal makes large jumps less often than small ones.
_STEP, _JUMP = 1.0, 1.5
_LIMIT = 31 / 32  # share of full scale that counts as its limit
# Standard deviation in integer steps below which quantisation is more than weak noise.
_FEW_STEPS = 1.0
# Floating-point numbers below this have squares outside single precision.
_TINY = 1e-18


class Looked(NamedTuple):
    """The findings on a capture.

    Attributes:
        sha256: SHA-256 of the files with the samples, in order.
        mean: mean of the samples.
        power: mean of |x|^2, the mean included.
        doubts: one line each; empty where nothing is strange.
    """

    sha256: str
    mean: complex
    power: float
    doubts: tuple[str, ...]


class _Top:
    """Counts of values at the largest one so far, and just below it.

    Args:
        step: step of integers; 0 for floating-point numbers.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self.top = 0.0
        self.at, self.below = 0, 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Counts values, of which the positive ones matter."""
        if (top := float(values.max())) > self.top:
            self.top, self.at, self.below = top, 0, 0
        if self.top > 0:
            near = values[values >= min(_BELOW * self.top, self.top - 1.5 * self.step)]
            at = int((near == np.float32(self.top)).sum())
            self.at, self.below = self.at + at, self.below + len(near) - at

    def piled(self, count: int) -> float:
        """Returns the share of values at the top if they pile up there, else 0."""
        return self.at / count if self.at > max(_SHARE * count, 1, _PILED * self.below) else 0.0


class _Tally:
    """Counts over I and Q of all samples so far."""

    def __init__(self, step: float | None) -> None:
        self.samples = 0
        # The tops of I and of Q, positive and negative.
        self.tops = [[_Top(step or 0.0) for _ in range(2)] for _ in range(2)]
        # Jumps exceed _JUMP; steps lie between _STEP and _JUMP.
        self.jumps, self.steps = np.zeros(2), np.zeros(2)
        self.limit = np.zeros(2)
        self.sums, self.squares = np.zeros(2), np.zeros(2)
        self.differs = False  # True once I differs from Q
        self._last = np.zeros((0, 2), np.float32)

    def add(self, samples: Samples) -> None:
        """Counts the next stretch."""
        parts = np.ascontiguousarray(samples).view(np.float32).reshape(-1, 2)
        self.samples += len(parts)
        self.differs = self.differs or bool((parts[:, 0] != parts[:, 1]).any())
        self.sums += parts.sum(0, dtype=np.float64)
        self.squares += np.square(parts, dtype=np.float64).sum(0)
        for place, tops in enumerate(self.tops):
            tops[0].add(parts[:, place])
            tops[1].add(-parts[:, place])
        self.limit += (np.abs(parts) > _LIMIT).sum(0)
        change = np.abs(np.diff(np.concatenate((self._last, parts)), axis=0))
        jumps = (change > _JUMP).sum(0)
        self.jumps, self.steps = self.jumps + jumps, self.steps + (change > _STEP).sum(0) - jumps
        self._last = parts[-1:].copy()

    def largest(self) -> npt.NDArray[np.float64]:
        """Returns the largest magnitude of I and of Q."""
        return np.array([max(top.top for top in tops) for tops in self.tops])

    def clipped(self) -> float:
        """Returns the share of samples on a flat top of I or Q; a signal of two values counts as having none."""
        share = max(sum(top.piled(self.samples) for top in tops) for tops in self.tops)
        return share if share < 0.9 else 0.0

    def wrapped(self) -> float:
        """Returns the share of samples that wrap around full scale, if jumps outnumber smaller steps."""
        often = self.jumps > np.maximum(_SHARE / 10 * self.samples, self.steps)
        return float(np.where(often, self.jumps, 0).max()) / self.samples / 2

    def spread(self) -> float:
        """Returns the larger standard deviation of I and Q."""
        mean = self.sums / self.samples
        return float(np.sqrt(np.maximum(0, self.squares / self.samples - mean**2).max()))


def look_at(capture: Capture, advance: Callable[[int], None]) -> Looked:
    """Reads a capture once from end to end.

    Args:
        capture: capture to examine for invalid and doubtful samples.
        advance: called with the number of samples looked at, for a progress display.

    Raises:
        InputError: NaN or infinity (in single precision), or a SHA-512 that differs from the expected one.
    """
    facts, tally = capture.facts, _Tally(capture.facts.step)
    for start in range(0, facts.num_samples, _STRETCH):
        count = min(_STRETCH, facts.num_samples - start)
        samples = capture.read(start, count)
        _check_numbers(facts, samples, start)
        tally.add(samples)
        advance(count)
    if facts.sum is not None:
        digest = hashlib.sha512()
        for piece in facts.sum.pieces():
            digest.update(piece)
        if digest.hexdigest() != facts.sum.sha512:
            raise fault(facts.source, "its samples have another hash than core:sha512 says: they were changed or cut")
    mean = complex(*(tally.sums / tally.samples))
    power = float(tally.squares.sum() / tally.samples)
    return Looked(_sha256(facts.files), mean, power, _doubts(facts, tally))


def _check_numbers(facts: CaptureFacts, samples: Samples, start: int) -> None:
    if facts.step is not None:  # Integers are always finite.
        return
    try:
        check_finite("", samples)
    except InputError:
        first = int(np.isfinite(samples).argmin())
        raise fault(facts.source, f"sample {start + first} is {samples[first]}, expected finite numbers") from None


def _sha256(files: tuple[Path, ...]) -> str:
    """Returns the SHA-256 of a file; for several files, the SHA-256 of their SHA-256s."""
    digests = []
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
        digests.append(digest)
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256("".join(digest.hexdigest() for digest in digests).encode()).hexdigest()


def _doubts(facts: CaptureFacts, tally: _Tally) -> tuple[str, ...]:
    """Returns the doubts, with shares, as lines for the user."""
    found, spread, largest = [], tally.spread(), tally.largest()
    is_complex = not facts.datatype.startswith("r")
    clipped, wrapped = tally.clipped(), tally.wrapped()
    limit = float(tally.limit.max()) / tally.samples
    if clipped:
        found.append(f"{_percent(clipped)} of its samples are clipped: flat tops at {largest.max():.4g}")
    if wrapped and not clipped and largest.max() <= 1:
        found.append(f"{_percent(wrapped)} of its samples seem wrapped: they jump across full scale")
    if facts.step is not None and limit > _SHARE and not clipped and not wrapped:
        found.append(
            f"its level is at the limit of its numbers: {_percent(limit)} of its samples lie within 1/32 of full scale"
        )
    if facts.step is not None and spread < _FEW_STEPS * facts.step:
        found.append(f"its level is {spread / facts.step:.2g} steps of its numbers: they hold little but rounding")
    if facts.step is None and 0 < largest.max() < _TINY:
        found.append(f"its level, {largest.max():.3g}, is at the limit of single precision")
    if is_complex and largest.max() > 0:
        if not largest[1]:
            found.append("its Q is zero in every sample: it is a real signal, or a receiver with half its signal lost")
        elif not tally.differs:
            found.append("its Q equals its I in every sample: a receiver with half its signal lost")
    return tuple(found)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
