"""One look at every sample of a capture: what cannot be a sample, and what may have gone wrong when it was recorded."""

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

_STRETCH = 1 << 20  # samples looked at in one piece
_SHARE = 1e-4  # of samples that may be strange by chance
_PILED = 2.0  # times as many samples at the largest value as just below it: a signal has fewer the louder
_BELOW = 0.97  # of the largest value
_STEP, _JUMP = 1.0, 1.5  # between neighbours, of a range of 2: a signal jumps less often the farther
_LIMIT = 31 / 32  # of full scale
_FEW_STEPS = 1.0  # of integers, as a standard deviation: quantisation is then no weak noise any more
_TINY = 1e-18  # of floating-point numbers: their squares leave single precision


class Looked(NamedTuple):
    """What a look at a capture gave.

    Attributes:
        sha256: of the files that hold the samples, in order.
        mean: of the samples.
        power: mean of |x|^2, the mean included.
        doubts: a line each; empty where nothing is strange.
    """

    sha256: str
    mean: complex
    power: float
    doubts: tuple[str, ...]


class _Top:
    """How many values lie at the largest one so far, and how many just below it.

    Args:
        step: of integers; 0 for floating-point numbers.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self.top = 0.0
        self.at, self.below = 0, 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values, the largest being positive."""
        if (top := float(values.max())) > self.top:
            self.top, self.at, self.below = top, 0, 0
        if self.top > 0:
            near = values[values >= min(_BELOW * self.top, self.top - 1.5 * self.step)]
            at = int((near == np.float32(self.top)).sum())
            self.at, self.below = self.at + at, self.below + len(near) - at

    def piled(self, count: int) -> float:
        """Share of the values that lie at the top, where they pile up there; else 0."""
        return self.at / count if self.at > max(_SHARE * count, 1, _PILED * self.below) else 0.0


class _Tally:
    """Counts over the components of all samples so far, I and Q."""

    def __init__(self, step: float | None) -> None:
        self.samples = 0
        self.tops = [[_Top(step or 0.0) for _ in range(2)] for _ in range(2)]  # of I and Q, positive and negative
        self.jumps, self.steps = np.zeros(2), np.zeros(2)  # across full scale, across half of it
        self.limit = np.zeros(2)
        self.sums, self.squares = np.zeros(2), np.zeros(2)
        self.differs = False  # I from Q
        self._last = np.zeros((0, 2), np.float32)

    def add(self, samples: Samples) -> None:
        """Count a stretch that follows the one before."""
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
        """Largest magnitude of I and of Q."""
        return np.array([max(top.top for top in tops) for tops in self.tops])

    def clipped(self) -> float:
        """Share of samples on a flat top of I or Q; a signal of two values has no tops."""
        share = max(sum(top.piled(self.samples) for top in tops) for tops in self.tops)
        return share if share < 0.9 else 0.0

    def wrapped(self) -> float:
        """Share of samples that jump across full scale and back, where jumps are more than smaller steps are."""
        often = self.jumps > np.maximum(_SHARE / 10 * self.samples, self.steps)
        return float(np.where(often, self.jumps, 0).max()) / self.samples / 2

    def spread(self) -> float:
        """Standard deviation of the louder of I and Q."""
        mean = self.sums / self.samples
        return float(np.sqrt(np.maximum(0, self.squares / self.samples - mean**2).max()))


def look_at(capture: Capture, advance: Callable[[int], None]) -> Looked:
    """Read a capture once from end to end.

    Args:
        capture: is looked at for what cannot be a sample, and for what is doubtful.
        advance: called with the number of samples looked at, for a progress display.

    Raises:
        InputError: NaN or infinity (or numbers that are so in single precision), another SHA-512 than should be.
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
    if facts.step is not None:  # integers are finite
        return
    try:
        check_finite("", samples)
    except InputError:
        first = int(np.isfinite(samples).argmin())
        raise fault(facts.source, f"sample {start + first} is {samples[first]}, expected finite numbers") from None


def _sha256(files: tuple[Path, ...]) -> str:
    """SHA-256 of a file; of several, of their SHA-256s."""
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
    """Lines for the user, with shares."""
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
