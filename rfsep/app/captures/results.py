"""Writes the results of `rfsep separate` besides samples and bits: meta file, figures, page."""

import datetime as dt
import re
import resource
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rfsep.app.captures.chunks import Chunks
from rfsep.app.captures.frames import LLR, SYMBOLS, Sender
from rfsep.app.captures.labels import own_labels
from rfsep.app.captures.page import Stretch, mixture_along, write_separation_page
from rfsep.app.captures.reception import PARTS, Reception
from rfsep.app.captures.telling import doubts, receiver_summary, standing, tell
from rfsep.app.captures.tracking import TRACK, Tracked
from rfsep.app.config import console
from rfsep.app.places import commit
from rfsep.receiver.beliefs import are_means
from rfsep.storage.atomic import write_json
from rfsep.storage.captures.facts import Capture
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.npy import read_floats
from rfsep.storage.sigmf import write_meta
from rfsep.types import Modem, Separator

# The modem's own labels and turn; both files go once the results are there.
DECIDED, HEARD = "decided.npy", "heard.npy"
SOI, BITS, POWER, FACTS, PAGE = "soi.sigmf-data", "bits.npy", "power.npy", "separate.json", "report.html"
SCHEMA = 1
# The page shows spectrum and symbols of so many samples.
_SHOWN = 40960


class Job(NamedTuple):
    """A separator, a tuned capture, and the identity of the run."""

    separator: Separator
    modem: Modem
    capture: Capture
    reception: Reception
    sample_rate_hz: float
    chunks: Chunks
    identity: dict[str, Any]
    sender: Sender
    tracked: Tracked | None

    @property
    def width(self) -> int:
        """Returns the bits of a symbol."""
        return (len(self.modem.constellation) - 1).bit_length()

    @property
    def decides_later(self) -> bool:
        """Tells whether bits are turned or decoded once all are there."""
        return self.tracked is not None or self.sender.preamble is not None or self.sender.ring is not None

    def relabelled(self, bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Returns bits uint8 [N] in the sender's labels, where those differ from ours."""
        if self.decides_later or np.array_equal(self.sender.labels, own_labels(self.width)):
            return bits
        weights = 1 << np.arange(self.width)[::-1]
        return self.sender.labels[bits.reshape(-1, self.width) @ weights].reshape(-1)


class Cost(NamedTuple):
    """The cost of this process's chunks; those of an earlier, stopped process are not included.

    Attributes:
        processor_seconds: processor time of all threads.
        memory_mb: pairs of the seconds of signal done and the peak memory so far.
    """

    processor_seconds: float
    memory_mb: list[list[float]]


def peak_memory_mb() -> float:
    """Returns this program's peak memory so far, without that of its parent, which getrusage counts too."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / (1 << 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def describe(out: Path, job: Job, seconds: float, cost: Cost, found: Mapping[str, Any]) -> list[str]:
    """Writes every description of the samples; separate.json comes last, and means that all is there.

    Args:
        out: folder of the results.
        job: what was done.
        seconds: of work.
        cost: of it.
        found: what its end told, see `rfsep.app.captures.work.finished`.

    Returns:
        What is in doubt, a line each.
    """
    provenance = {"command": shlex.join(["rfsep", *sys.argv[1:]]), "commit": commit(), **job.identity}
    meta = _write_meta(out, job, provenance)
    duration = job.chunks.total / job.sample_rate_hz
    figures = {
        "schema": SCHEMA,
        "separator": job.identity["separator"]["name"],
        "num_samples": job.chunks.total,
        "num_bits": job.modem.num_bits(job.chunks.total),
        "sample_rate_hz": job.sample_rate_hz,
        "signal_seconds": duration,
        "seconds": seconds,
        "real_time_factor": duration / max(seconds, 1e-9),
        **cost._asdict(),
        **{key: provenance[key] for key in ("command", "commit")},
        "receiver": (summary := _summary(out, job, found)),
        "doubts": (in_doubt := doubts(summary, job.sender.preamble is not None)),
        "identity": job.identity,
    }
    tell(summary, in_doubt)
    _write_page(out, job, figures)
    write_json(out / FACTS, figures)
    console.print(
        f"{duration:.4g} s of signal in {seconds:.4g} s: {figures['real_time_factor']:.3g} x real time, memory up to"
        f" {peak_memory_mb():.0f} MB",
        markup=False,
    )
    further = [name for name in (TRACK, SYMBOLS, LLR) if (out / name).is_file()]
    names = ", ".join((meta.name, SOI, BITS, POWER, *further, PAGE, FACTS))
    console.print(f"written into {out}: {names}", markup=False, soft_wrap=True)
    return in_doubt


def _write_meta(out: Path, job: Job, provenance: dict[str, Any]) -> Path:
    """Writes the metadata of the estimate, and returns their file."""
    facts, tuning = job.capture.facts, job.reception.tuning
    name = str(job.identity["separator"]["name"])
    frequency = None if facts.frequency_hz is None else facts.frequency_hz + tuning.offset_hz
    label = str(job.identity["soi"]["name"])
    annotation = {
        "core:sample_start": 0,
        "core:sample_count": job.chunks.total,
        "core:label": label,
        "core:comment": f"estimated by {name}; bits in {BITS}, a symbol begins at sample 0",
        "core:generator": "rfsep separate",
    }
    description = f"{label} separated from {facts.source.name} by rfsep ({name}), at the modem's own power"
    meta = (out / SOI).with_suffix(".sigmf-meta")
    begins = later(facts.segments[0].datetime, tuning.start / job.sample_rate_hz)
    write_meta(meta, job.sample_rate_hz, frequency, description, [annotation], provenance, facts.origin, begins)
    return meta


def _ends_s(job: Job) -> npt.NDArray[np.float64]:
    """Returns the end of each chunk's kept part in seconds, float64 [chunks]."""
    return np.array([job.chunks.bounds(index)[2] for index in range(job.chunks.number())]) / job.sample_rate_hz


def _summary(out: Path, job: Job, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how the SOI was received."""
    if job.tracked is None:
        stretch = _stretch(out, job)
        # What a detector or a modulator gives stands where the constellation is, whatever it heard.
        own = are_means(stretch.estimate_symbols, stretch.ideal)
        told = stretch.mixture_symbols if own else stretch.estimate_symbols
        return {"standing": standing(told, stretch.ideal), **found}
    track = np.load(out / TRACK)
    ends = _ends_s(job)
    edges = np.linspace(np.concatenate(([0.0], ends[:-1])), ends, PARTS + 1, axis=1)  # [chunks, parts + 1]
    times = (edges[:, :-1] + edges[:, 1:]).ravel() / 2
    spacing = job.tracked.follower.spacing
    return receiver_summary(track.reshape(-1, track.shape[2]), times, job.sample_rate_hz, spacing, found)


def _write_page(out: Path, job: Job, figures: dict[str, Any]) -> None:
    powers = read_floats(out / POWER, (None, PARTS, 2))
    track = None if job.tracked is None else np.load(out / TRACK)
    write_separation_page(out / PAGE, figures, _stretch(out, job), powers, _ends_s(job), track)


def later(datetime: str, seconds: float) -> str:
    """Returns a SigMF datetime shifted by ``seconds``; empty where it cannot be read.

    >>> later("2024-05-06T07:08:09.5Z", 0.25), later("", 1.0)
    ('2024-05-06T07:08:09.750000Z', '')
    """
    try:
        begin = dt.datetime.fromisoformat(datetime)
        shifted = begin.astimezone(dt.UTC) if begin.tzinfo else begin.replace(tzinfo=dt.UTC)
        return (shifted + dt.timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""


def _stretch(out: Path, job: Job) -> Stretch:
    """Returns samples from the middle, before and after separation, for the page."""
    count = min(job.chunks.total, _SHOWN)
    period = job.modem.symbol_period
    start = (job.chunks.total - count) // 2 // period * period
    estimate = open_capture(out / SOI).read(start, count)
    if job.tracked is None:
        mixture = job.reception.read(start, count)
    else:  # Where the SOI moves, the capture's symbols stand only along its course.
        spans = np.array([job.chunks.bounds(index)[1:3] for index in range(job.chunks.number())])
        origin = job.reception.tuning.start
        mixture = mixture_along(job.reception.read, np.load(out / TRACK), spans, origin, start, count)
    symbols = [job.modem.analyse(torch.from_numpy(one)[None])[0].numpy() for one in (mixture, estimate)]
    if (out / SYMBOLS).is_file():
        begin, end = (job.modem.num_bits(place) // job.width for place in (start, start + count))
        symbols[1] = np.array(np.load(out / SYMBOLS, mmap_mode="r")[begin:end])
    ideal = job.modem.constellation.numpy()
    return Stretch(start, job.sample_rate_hz, ideal, mixture, estimate, symbols[0], symbols[1])
