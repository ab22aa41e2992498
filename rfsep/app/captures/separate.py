"""What `rfsep separate` does: a capture of any length through a separator, chunk by chunk, in bounded memory."""

import math
import re
import resource
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor

from rfsep.app.build import completed, learns_from_examples, network_arguments, separator_parts
from rfsep.app.captures.chunks import Chunks, cut, window_of
from rfsep.app.captures.page import Stretch, write_separation_page
from rfsep.app.captures.reception import (
    Conversion,
    Found,
    Reception,
    Tuning,
    conversion,
    convert_frames,
    find_soi,
    mean_power,
)
from rfsep.app.config import build_modem, console, separator_of, soi_of
from rfsep.app.examples import read_examples
from rfsep.app.places import commit
from rfsep.app.runs import Run, open_run
from rfsep.app.settings import SeparatorOption
from rfsep.app.trust import check_targets
from rfsep.challenge.provenance import code_version, targets
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.capture import Capture, check_capture, open_capture
from rfsep.storage.growing import STATE, GrowingFiles, Grown, check_identity, check_room
from rfsep.storage.npy import count_errors, read_floats
from rfsep.storage.sigmf import write_meta
from rfsep.storage.weights import weights_digest
from rfsep.types import InputError, Modem, Separator

SOI, BITS, POWER, FACTS, PAGE = "soi.sigmf-data", "bits.npy", "power.npy", "separate.json", "report.html"
_SHOWN = 40960  # samples of which the page shows spectrum and symbols
_LOOKED_AT = 1 << 20  # samples from which DC, level and timing are estimated
_PARTS = 8  # of a chunk, whose powers are kept
_SCHEMA = 1


class Request(NamedTuple):
    """What the command line asks for; see the options of `rfsep separate`."""

    capture: Path
    out: Path
    separator: str | None
    run: str | None
    soi: str
    examples: str | None
    settings: list[str]
    datatype: str | None
    dataset: str | None
    sample_rate: float | None
    resample: float | None
    offset_hz: float
    phase_deg: float
    soi_start: int | None
    soi_power_db: float | None
    keep_dc: bool
    chunk_samples: int
    truth: Path | None


class Job(NamedTuple):
    """A separator, a tuned capture, and what identifies the run."""

    separator: Separator
    modem: Modem
    capture: Capture
    reception: Reception
    sample_rate_hz: float
    chunks: Chunks
    identity: dict[str, Any]
    sha256: str


class Cost(NamedTuple):
    """What the chunks of this process cost; those of one that was stopped before are not in it.

    Attributes:
        processor_seconds: of all threads.
        memory_mb: pairs of seconds of signal done, and the most memory so far.
    """

    processor_seconds: float
    memory_mb: list[list[float]]


def progress() -> Progress:
    """The display of long work; nothing where output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[speed]}"))
    shown = console.is_terminal
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown)


def separate_capture(request: Request) -> None:
    """Separate a capture into ``request.out``; what is finished already is only told.

    Raises:
        InputError: anything about the request or the capture is wrong; a folder with another run.
    """
    job = prepare(request)
    facts_path = request.out / FACTS
    if facts_path.is_file():
        content = read_json(facts_path)
        check_identity(request.out, job.identity, content.get("identity") if isinstance(content, dict) else None)
        (request.out / STATE).unlink(missing_ok=True)  # of a process killed in its last moment
        console.print(f"{request.out} is finished already", markup=False, soft_wrap=True)
        _compare(request)
        return
    with GrowingFiles(request.out, job.identity, files_of(job)) as files:
        cost = _work(job, files)
        files.finish()
        _describe(request, job, files.seconds, cost)
        files.forget()
    _compare(request)


def files_of(job: Job) -> list[Grown]:
    """Samples, bits and powers of a run."""
    total = job.chunks.total
    return [
        Grown(SOI, np.dtype("<c8"), (total,), header=False),
        Grown(BITS, np.dtype("u1"), (job.modem.num_bits(total),), header=True),
        Grown(POWER, np.dtype("<f4"), (job.chunks.number(), _PARTS, 2), header=True),
    ]


def prepare(request: Request) -> Job:
    """Everything that is needed before the first chunk; whatever is wrong is found here.

    Raises:
        InputError: see `separate_capture`.
    """
    _check_numbers(request)
    config, run = _separator_option(request)
    soi = soi_of(request.soi)
    modem = build_modem(soi)
    if modem.num_bits(100 * modem.symbol_period) == 0:
        raise InputError(f"soi {request.soi} carries no bits: there is nothing to receive")
    capture = open_capture(request.capture, request.datatype, request.dataset)
    rate = request.sample_rate or capture.facts.sample_rate_hz
    if rate is None:
        raise InputError(f"{request.capture}: does not say its sample rate; give --sample-rate")
    if abs(request.offset_hz) > rate / 2:
        raise InputError(f"--offset-hz {request.offset_hz:g} lies outside a capture of {rate:g} samples/s")
    new_rate = request.resample or rate
    plan = conversion(rate, new_rate)
    examples = _examples(request, config, run, new_rate)
    arguments = network_arguments(config.method, run, modem, examples)
    separator = separator_parts(config, modem, examples, arguments).make(None)
    if not (request.out / STATE).exists() and not (request.out / FACTS).exists():  # before the whole file is read
        check_room(request.out, 8 * capture.facts.num_samples * plan.up // plan.down)
    fast = arguments.get("fast")
    digest = _checked(capture)
    reception = _receive(request, capture, rate, plan, modem)
    if reception.num_samples < modem.symbol_period:
        raise InputError(f"{request.capture}: has no whole symbol behind --soi-start")
    chunks = cut(reception.num_samples, request.chunk_samples, window_of(config.method, arguments), modem.symbol_period)
    identity = {
        "schema": _SCHEMA,
        "source": {"name": capture.facts.path.name, "sha256": digest, "datatype": capture.facts.datatype},
        "sample_rate_hz": rate,
        "separator": config.identity(),
        "network": None if run is None else weights_digest(run.model.state_dict()),
        "export": None if fast is None else fast.name,
        "soi": soi.settings,
        "examples": {"from": request.examples, "digest": weights_digest({"frames": examples})},
        "resample_hz": new_rate,
        "tuning": {**reception.tuning._asdict(), "dc": [reception.tuning.dc.real, reception.tuning.dc.imag]},
        "chunks": chunks._asdict(),
        "code": code_version(["rfsep.app.captures.separate", *targets(config.identity())]),
    }
    return Job(separator, modem, capture, reception, new_rate, chunks, identity, digest)


def _check_numbers(request: Request) -> None:
    """Refuse what is no number of a rate, a carrier or a level, and a truth that is none."""
    for name in ("sample_rate", "resample"):
        value = getattr(request, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} is {value}, expected a positive number of Hz")
    for name, most in (("offset_hz", 1e12), ("phase_deg", 1e6), ("soi_power_db", 300.0)):
        value = getattr(request, name)
        if value is not None and not abs(value) <= most:
            raise InputError(f"--{name.replace('_', '-')} is {value}, expected a number between -{most:g} and {most:g}")
    if request.truth is not None:
        count_errors(request.truth, request.truth)


def _separator_option(request: Request) -> tuple[SeparatorOption, Run | None]:
    """The separator's config with what ``--set`` changes, and its network."""
    if request.separator is None and request.run is None:
        raise InputError("give --separator NAME (an option of conf/separator), or --run FOLDER or zoo:NAME")
    config = separator_of(request.separator or "neural", request.settings)
    check_targets(config.method, Path("--set"), ("rfsep.separators.",))
    needs = config.checkpoint is not None
    if needs != (request.run is not None):
        raise InputError(f"separator {config.name} {'needs --run' if needs else 'has no network: --run is of no use'}")
    if config.method.get("sinr") == "known":
        raise InputError("sinr is 'known': nobody knows the SINR of a capture; use estimated")
    run = None if request.run is None else open_run(request.run, config.checkpoint or "best")
    return completed(config, run), run


def _examples(request: Request, config: SeparatorOption, run: Run | None, rate_hz: float) -> Tensor:
    """Frames of the interference, treated as the capture, at unit power; none for a separator that learns from none."""
    if not learns_from_examples(config, run):
        return torch.zeros((0, 0), dtype=torch.complex64)
    if request.examples is None:
        raise InputError(
            f"separator {config.name} learns the interference from examples: give --examples, an option of"
            " conf/interference or a recording of it"
        )
    found = read_examples(request.examples, 200, 8192, "train")
    own_rate = found.sample_rate_hz or request.sample_rate or rate_hz
    frames = convert_frames(found.frames, own_rate, conversion(own_rate, rate_hz), request.offset_hz)
    power = float(frames.abs().square().mean())
    if not power > 0:
        raise InputError(f"{request.examples}: example frames are silent")
    return frames / math.sqrt(power)


def _checked(capture: Capture) -> str:
    """SHA-256 of a capture without holes."""
    with progress() as bar:
        task = bar.add_task(f"checking {capture.facts.path.name}", total=capture.facts.num_samples, speed="")
        return check_capture(capture, lambda count: bar.advance(task, count))


def _receive(request: Request, capture: Capture, rate: float, plan: Conversion, modem: Modem) -> Reception:
    """The capture at the SOI's carrier, rate, timing and level; what the request leaves open is estimated."""
    head = capture.read(0, min(capture.facts.num_samples, _LOOKED_AT))
    dc = 0j if request.keep_dc else complex(head.mean(dtype=np.complex128))
    phase = math.radians(request.phase_deg)
    modem_power = float(modem_autocorrelation(modem, 1).real)
    raw = Tuning(request.offset_hz, dc, 0, phase, modem_power)
    found = Found(0, 10 ** ((request.soi_power_db or 0.0) / 10) / modem_power, 0.0)
    if request.soi_power_db is None or request.soi_start is None:
        untuned = Reception(capture, rate, plan, raw, modem_power)
        stretch = untuned.read(0, min(untuned.num_samples, _LOOKED_AT))
        found = find_soi(stretch, modem, request.soi_start)
    given = request.soi_power_db is not None
    power = 10 ** ((request.soi_power_db or 0.0) / 10) if given else found.power * modem_power
    start = found.start if request.soi_start is None else request.soi_start
    how = "given" if given else f"estimated, standard error {100 * found.error / found.power:.1f} %"
    console.print(
        f"SOI: {10 * math.log10(power):.2f} dB ({how}), first symbol at sample {start}"
        f" ({'given' if request.soi_start is not None else 'estimated'})",
        markup=False,
    )
    return Reception(capture, rate, plan, Tuning(request.offset_hz, dc, start, phase, power), modem_power)


def _work(job: Job, files: GrowingFiles) -> Cost:
    """Separate the chunks that are not done yet."""
    count, rate, memory = job.chunks.number(), job.sample_rate_hz, []
    marks = {max(1, round(count * tenth / 10)) for tenth in range(1, 11)}
    processor = time.process_time()
    with progress() as bar:
        task = bar.add_task("separating", total=count, completed=files.chunks, speed="")
        for index in range(files.chunks, count):
            began = time.perf_counter()
            bounds = job.chunks.bounds(index)
            arrays = _separated(job, *bounds)
            files.append(arrays, time.perf_counter() - began)
            done = bounds[2] / rate
            bar.update(task, advance=1, speed=f"{done / files.seconds:.3g} x real time")
            if index + 1 in marks:
                memory.append([round(done, 3), round(peak_memory_mb(), 1)])
    return Cost(time.process_time() - processor, memory)


def _separated(job: Job, begin: int, first: int, end: int, stop: int) -> dict[str, Any]:
    """What is kept of a chunk: samples, bits, and the power of mixture and estimate."""
    mixture = torch.from_numpy(job.reception.read(begin, stop - begin))[None]
    estimate = job.separator.separate(mixture)
    expected = (tuple(mixture.shape), (1, job.modem.num_bits(stop - begin)))
    if (given := (tuple(estimate.soi.shape), tuple(estimate.bits.shape))) != expected:
        raise InputError(f"the separator gave soi and bits of shapes {given}, expected {expected}")
    soi = estimate.soi[0, first - begin : end - begin].numpy()
    if not np.isfinite(soi).all():
        raise InputError(f"the separator gave NaN or infinity between samples {first} and {end}")
    bits = [job.modem.num_bits(place - begin) for place in (first, end)]
    kept = (mixture[0, first - begin : end - begin].numpy(), soi)
    powers = [[mean_power(part) for part in np.array_split(one, _PARTS)] for one in kept]
    return {
        SOI: soi,
        BITS: estimate.bits[0, slice(*bits)].numpy(),
        POWER: np.asarray(powers, np.float32).T[None],
    }


def peak_memory_mb() -> float:
    """Most memory that this program had so far; not that of the one that started it, which getrusage counts too."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / (1 << 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _describe(request: Request, job: Job, seconds: float, cost: Cost) -> None:
    """Write everything that is said about the samples; separate.json is the last, and means that all is there."""
    facts, tuning = job.capture.facts, job.reception.tuning
    duration = job.chunks.total / job.sample_rate_hz
    name = str(job.identity["separator"]["name"])
    provenance = {"command": shlex.join(["rfsep", *sys.argv[1:]]), "commit": commit(), **job.identity}
    frequency = None if facts.frequency_hz is None else facts.frequency_hz + tuning.offset_hz
    label = str(job.identity["soi"]["name"])
    annotation = {
        "core:sample_start": 0,
        "core:sample_count": job.chunks.total,
        "core:label": label,
        "core:comment": f"estimated by {name}; bits in {BITS}, a symbol begins at sample 0",
        "core:generator": "rfsep separate",
    }
    description = f"{label} separated from {facts.path.name} by rfsep ({name}), at the modem's own power"
    meta = (request.out / SOI).with_suffix(".sigmf-meta")
    write_meta(meta, job.sample_rate_hz, frequency, description, [annotation], provenance)
    figures = {
        "schema": _SCHEMA,
        "separator": name,
        "num_samples": job.chunks.total,
        "num_bits": job.modem.num_bits(job.chunks.total),
        "sample_rate_hz": job.sample_rate_hz,
        "signal_seconds": duration,
        "seconds": seconds,
        "real_time_factor": duration / max(seconds, 1e-9),
        **cost._asdict(),
        **{key: provenance[key] for key in ("command", "commit")},
        "identity": job.identity,
    }
    ends_s = np.array([job.chunks.bounds(index)[2] for index in range(job.chunks.number())]) / job.sample_rate_hz
    powers = read_floats(request.out / POWER, (None, _PARTS, 2))
    write_separation_page(request.out / PAGE, figures, _stretch(request, job), powers, ends_s)
    write_json(request.out / FACTS, figures)
    console.print(
        f"{duration:.4g} s of signal in {seconds:.4g} s: {figures['real_time_factor']:.3g} x real time, memory up to"
        f" {peak_memory_mb():.0f} MB",
        markup=False,
    )
    names = ", ".join((meta.name, SOI, BITS, POWER, PAGE, FACTS))
    console.print(f"written into {request.out}: {names}", markup=False, soft_wrap=True)


def _stretch(request: Request, job: Job) -> Stretch:
    """Samples from the middle, before and after, for the page."""
    count = min(job.chunks.total, _SHOWN)
    period = job.modem.symbol_period
    start = (job.chunks.total - count) // 2 // period * period
    mixture = job.reception.read(start, count)
    estimate = open_capture(request.out / SOI, "cf32_le").read(start, count)
    symbols = [job.modem.analyse(torch.from_numpy(one)[None])[0].numpy() for one in (mixture, estimate)]
    ideal = job.modem.constellation.numpy()
    return Stretch(start, job.sample_rate_hz, ideal, mixture, estimate, symbols[0], symbols[1])


def _compare(request: Request) -> None:
    """Tell the bit error rate where the truth is known."""
    if request.truth is None:
        return
    errors, compared = count_errors(request.out / BITS, request.truth)
    if compared == 0:
        raise InputError(f"{request.truth}: has no bits to compare")
    console.print(f"BER {errors / compared:.4g} ({errors} of {compared} bits)", markup=False)
