"""Separates a capture chunk by chunk, along the SOI's course where it is tracked."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from rfsep.app.captures.frames import write_bits, write_frames, write_soft
from rfsep.app.captures.reception import PARTS, mean_power
from rfsep.app.captures.results import BITS, DECIDED, HEARD, POWER, SOI, Cost, Job, peak_memory_mb
from rfsep.app.captures.tracking import NUM_COLUMNS, TRACK, Tracked, begin, kept, rows
from rfsep.app.config import console
from rfsep.receiver.course import Samples
from rfsep.receiver.state import State
from rfsep.storage.growing import GrowingFiles, Grown
from rfsep.types import InputError


def progress() -> Progress:
    """Returns the progress display of long work, which shows nothing where the output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[speed]}"))
    shown = console.is_terminal
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown)


def files_of(job: Job) -> list[Grown]:
    """Returns the files of a run that grow: samples, bits and powers; of a tracked one its course and symbols too."""
    total, chunks = job.chunks.total, job.chunks.number()
    grown = [
        Grown(SOI, np.dtype("<c8"), (total,), header=False),
        Grown(DECIDED if job.decides_later else BITS, np.dtype("u1"), (job.modem.num_bits(total),), header=True),
        Grown(POWER, np.dtype("<f4"), (chunks, PARTS, 2), header=True),
    ]
    if job.tracked is None:
        return grown
    grown.append(Grown(TRACK, np.dtype("<f8"), (chunks, PARTS, NUM_COLUMNS), header=True))
    grown.append(Grown(HEARD, np.dtype("<c8"), (job.modem.num_bits(total) // job.width,), header=True))
    return grown


def work(job: Job, files: GrowingFiles) -> Cost:
    """Separates the remaining chunks."""
    count, rate, memory = job.chunks.number(), job.sample_rate_hz, []
    marks = {max(1, round(count * tenth / 10)) for tenth in range(1, 11)}
    processor = time.process_time()
    with progress() as bar:
        task = bar.add_task("separating", total=count, completed=files.chunks, speed="")
        state: State | None = None
        for index in range(files.chunks, count):
            began = time.perf_counter()
            bounds = job.chunks.bounds(index)
            if job.tracked is None:
                arrays = _separated(job, *bounds)
            else:
                state = state or begin(job.tracked, job.reception.tuning.start, files.kept)
                arrays, state = _followed(job, job.tracked, state, *bounds)
            files.append(arrays, time.perf_counter() - began, {} if state is None else kept(state))
            done = bounds[2] / rate
            bar.update(task, advance=1, speed=f"{done / files.seconds:.3g} x real time")
            if index + 1 in marks:
                memory.append([round(done, 3), round(peak_memory_mb(), 1)])
    return Cost(time.process_time() - processor, memory)


def _separated(job: Job, start: int, first: int, end: int, stop: int) -> dict[str, Any]:
    """Separates a chunk, and returns the kept samples, bits, and powers of mixture and estimate."""
    mixture = torch.from_numpy(job.reception.read(start, stop - start))[None]
    estimate = job.separator.separate(mixture)
    expected = (tuple(mixture.shape), (1, job.modem.num_bits(stop - start)))
    if (given := (tuple(estimate.soi.shape), tuple(estimate.bits.shape))) != expected:
        raise InputError(f"the separator gave soi and bits of shapes {given}, expected {expected}")
    soi = estimate.soi[0, first - start : end - start].numpy()
    bits = [job.modem.num_bits(place - start) for place in (first, end)]
    decided = job.relabelled(estimate.bits[0, slice(*bits)].numpy())
    return {
        SOI: _finite(soi, first, end),
        DECIDED if job.decides_later else BITS: decided,
        POWER: _powers(mixture[0, first - start : end - start].numpy(), soi),
    }


def _finite(soi: Samples, first: int, end: int) -> Samples:
    if not np.isfinite(soi).all():
        raise InputError(f"the separator gave NaN or infinity between samples {first} and {end}")
    return soi


def _powers(mixture: Samples, soi: Samples) -> npt.NDArray[np.float32]:
    """Returns powers of mixture and estimate in the parts of a chunk, float32 [1, PARTS, 2]."""
    powers = [[mean_power(part) for part in np.array_split(one, PARTS)] for one in (mixture, soi)]
    return np.asarray(powers, np.float32).T[None]


def _followed(
    job: Job, tracked: Tracked, state: State, start: int, first: int, end: int, stop: int
) -> tuple[dict[str, Any], State]:
    """Separates a chunk along the SOI's course, and returns what is kept of it and the state for the next one."""
    follower = tracked.follower
    if not state.locked and start > 0:
        looked_at = min(tracked.looked_at, stop - start)
        state = follower.acquire(state, start, looked_at, tracked.widest)
    heard, state = follower.follow(state, start, stop - start)
    bits = slice(*(job.modem.num_bits(place - start) for place in (first, end)))
    symbols = slice(bits.start // job.width, bits.stop // job.width)
    kept_part = slice(first - start, end - start)
    soi = heard.soi[kept_part]
    arrays = {
        SOI: _finite(soi, first, end),
        DECIDED: heard.bits[bits],
        POWER: _powers(heard.mixture[kept_part], soi),
        TRACK: rows(heard, state, follower, first - start, end - start, job.reception.tuning.start),
        HEARD: heard.symbols[symbols].astype(np.complex64),
    }
    return arrays, state


def finished(out: Path, job: Job) -> dict[str, Any]:
    """Writes what follows the last chunk, and returns what it tells: bits at their turn, frames, symbols, soft bits."""
    if not job.decides_later:
        return {}
    received = np.load(out / DECIDED, mmap_mode="r")
    symbols = np.load(out / HEARD, mmap_mode="r") if (out / HEARD).is_file() else None
    turned = write_bits(out / BITS, received, symbols, job.modem, job.sender)
    found = write_frames(out, turned)
    if symbols is not None:
        found |= write_soft(out, symbols, job.modem, job.sender, turned)
    return found


def forget(out: Path) -> None:
    """Removes what was needed only until the results were there."""
    for name in (DECIDED, HEARD):
        (out / name).unlink(missing_ok=True)
