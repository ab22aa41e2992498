"""Separates a capture of any length chunk by chunk, in bounded memory: `rfsep separate`."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfsep.app.build import completed, learns_from_examples, network_arguments
from rfsep.app.captures.chunks import Chunks, cut, window_of
from rfsep.app.captures.frames import Sender
from rfsep.app.captures.labels import own_labels, relabelling
from rfsep.app.captures.reception import Reception, Tuning, convert_frames
from rfsep.app.captures.results import BITS, FACTS, SCHEMA, Job, describe
from rfsep.app.captures.soi import Heard, Wanted, heard_soi
from rfsep.app.captures.telling import tell
from rfsep.app.captures.tracking import (
    TRACKS,
    Examples,
    Separators,
    Tracked,
    can_be_tracked,
    first_separator,
    make_tracked,
    maker,
)
from rfsep.app.captures.truth import NEAR_HALF, search, told
from rfsep.app.captures.work import files_of, finished, forget, progress, work
from rfsep.app.config import console, errors, separator_of
from rfsep.app.examples import read_examples, tell_doubts
from rfsep.app.learn.folder import Learned, is_learned, open_learned
from rfsep.app.networks.runs import Run, open_run
from rfsep.app.settings import SeparatorOption
from rfsep.app.trust import check_targets
from rfsep.challenge.provenance import code_version, targets
from rfsep.receiver.differential import phase_steps
from rfsep.receiver.level import Found, find_soi
from rfsep.receiver.preamble import preamble_bits
from rfsep.signals.resampling import Conversion, conversion
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.storage.atomic import read_json
from rfsep.storage.captures.doubts import Looked, look_at
from rfsep.storage.captures.facts import Capture, Hints, OneSegment, check_segment, segments_told
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.growing import STATE, GrowingFiles, check_identity, check_room
from rfsep.storage.npy import count_errors, read_bits
from rfsep.storage.weights import weights_digest
from rfsep.types import InputError, Modem

_LIMITS = (("offset_hz", 1e12), ("phase_deg", 1e6), ("soi_power_db", 300.0))  # largest magnitudes of options
_LOOKED_AT = 1 << 20  # number of samples that DC, level and timing are estimated from


class Request(NamedTuple):
    """The request of a command line; see the options of `rfsep separate`."""

    capture: Path
    out: Path
    separator: str | None = None
    run: str | None = None
    soi: str = "qpsk"
    examples: str | None = None
    settings: Sequence[str] = ()
    datatype: str | None = None
    dataset: str | None = None
    sample_rate: float | None = None
    resample: float | None = None
    offset_hz: float = 0.0
    phase_deg: float = 0.0
    soi_start: int | None = None
    soi_power_db: float | None = None
    keep_dc: bool = False
    chunk_samples: int = 163840
    truth: Path | None = None
    channel: int | None = None
    segment: int | None = None
    labels: str | None = None
    soi_set: Sequence[str] = ()
    symbol_rate: str | None = None
    track: str = "full"
    carrier_range_hz: float | None = None
    preamble: str | None = None
    differential: str | None = None
    strict: bool = False


def separate_capture(request: Request) -> list[str]:
    """Separates a capture into ``request.out``; finished work is only reported.

    A capture with gaps or retunes is separated segment by segment, each into its own folder, unless
    ``request.segment`` names one.

    Returns:
        What is in doubt, a line each; all of it was printed as warnings.

    Raises:
        InputError: anything about the request or the capture is wrong, or the folder holds another run.
    """
    _check_numbers(request)
    capture = open_capture(request.capture, Hints(request.datatype, request.dataset, request.channel))
    segments = capture.facts.segments
    if request.segment is not None or len(segments) == 1:
        segment = check_segment(request.capture, capture.facts, request.segment or 0)
        one = OneSegment(capture, segment)
        return _separate_segment(request, one, lambda: _checked(request.capture, one))
    return _separate_segments(request, capture)


def _separate_segments(request: Request, capture: Capture) -> list[str]:
    """Separates every segment of a capture; a failing one is reported and left out, and the others finish.

    Raises:
        InputError: a segment was left out.
    """
    segments = capture.facts.segments
    told = f"{request.capture}: has {segments_told(capture.facts)}; no window crosses from one to the next"
    if request.truth is not None:
        raise InputError(f"{told}: --truth is of one of them, name it with --segment")
    errors.print(f"warning: {told}, each goes into a folder of its own (--segment N: that one alone)")
    # The check reads the file only once for all segments.
    look, faults, in_doubt = cache(lambda: _checked(request.capture, capture)), list[str](), list[str]()
    for number, segment in enumerate(segments):
        console.print(f"segment {number}", markup=False)
        one = request._replace(segment=number, out=request.out / f"segment-{number}")
        try:
            in_doubt += _separate_segment(one, OneSegment(capture, segment), look)
        except InputError as error:
            faults.append(str(error))
            # Without a separated segment so far, the error at the end says it all.
            if len(faults) <= number:
                errors.print(f"warning: segment {number} is left out: {error}")
    if faults:
        raise InputError(f"{len(faults)} of {len(segments)} segments were left out: {faults[0]}")
    return in_doubt


def _separate_segment(request: Request, capture: Capture, look: Callable[[], Looked]) -> list[str]:
    """Separates a capture without seams, after a check of its whole file, and returns what is in doubt."""
    job = prepare(request, capture, look)
    facts_path = request.out / FACTS
    if facts_path.is_file():
        content = read_json(facts_path)
        check_identity(request.out, job.identity, content.get("identity") if isinstance(content, dict) else None)
        # A process killed at the very end leaves its state behind.
        (request.out / STATE).unlink(missing_ok=True)
        forget(request.out)
        console.print(f"{request.out} is finished already", markup=False, soft_wrap=True)
        _compare(request, job)
        told = content.get("doubts", [])
        tell({}, told)
        return list(told)
    with GrowingFiles(request.out, job.identity, files_of(job)) as files:
        cost = work(job, files)
        files.finish()
        found = finished(request.out, job)
        in_doubt = describe(request.out, job, files.seconds, cost, found)
        files.forget()
    forget(request.out)
    _compare(request, job)
    return in_doubt


def prepare(request: Request, capture: Capture, look: Callable[[], Looked]) -> Job:
    """Prepares everything that the first chunk needs, and finds all faults of the input.

    Args:
        request: request of the command line.
        capture: a capture without seams.
        look: checks the whole file, once everything else is right.

    Raises:
        InputError: see `separate_capture`.
    """
    learned = _learned(request)
    config, run = _separator_option(request) if learned is None else (learned.option(), None)
    soi, modem, rate, new_rate, plan = _rates(request, capture)
    if modem.num_bits(100 * modem.symbol_period) == 0:
        raise InputError(f"soi {request.soi} carries no bits: there is nothing to receive")
    examples = _examples(request, config, run, new_rate)
    arguments = network_arguments(config.method, run, modem, examples)
    frames = Examples(examples if learned is None else learned.frames())
    make = maker(config, run, learned, frames, modem)
    separator = make(modem, 0.0)
    sender = _sender(request, modem)
    # Check the room on the disk before the whole file is read.
    if not (request.out / STATE).exists() and not (request.out / FACTS).exists():
        check_room(request.out, 8 * capture.facts.num_samples * plan.up // plan.down)
    fast = arguments.get("fast")
    looked = look()
    reception = _receive(request, capture, rate, plan, modem)
    if reception.num_samples < modem.symbol_period:
        raise InputError(f"{request.capture}: has no whole symbol behind --soi-start")
    window = window_of(config.method, arguments)
    chunks = cut(reception.num_samples, request.chunk_samples, window, modem.symbol_period)
    first, own = first_separator(config, modem, frames), config.acquire.get("use") == config.name
    tracked = _tracked(request, reception, chunks, window, Separators(modem, first, make, own))
    identity = {
        "schema": SCHEMA,
        "source": _source(request, capture, looked.sha256),
        "sample_rate_hz": rate,
        "separator": config.identity(),
        "network": None if run is None else weights_digest(run.model.state_dict()),
        "export": None if fast is None else fast.name,
        "soi": soi.settings,
        "examples": {"from": request.examples, "digest": weights_digest({"frames": examples})},
        "resample_hz": new_rate,
        "tuning": {**reception.tuning._asdict(), "dc": [reception.tuning.dc.real, reception.tuning.dc.imag]},
        "chunks": chunks._asdict(),
        "track": {"mode": "none" if tracked is None else request.track, "carrier_range_hz": request.carrier_range_hz},
        "sender": {"preamble": request.preamble, "differential": request.differential},
        "code": code_version(["rfsep.app.captures.separate", *targets(config.identity())]),
    }
    return Job(separator, modem, capture, reception, new_rate, chunks, identity, sender, tracked)


def _sender(request: Request, modem: Modem) -> Sender:
    """Returns what the request tells about the sender."""
    width = (len(modem.constellation) - 1).bit_length()
    labels = own_labels(width) if request.labels is None else relabelling(request.labels, modem)
    preamble = None if request.preamble is None else preamble_bits(request.preamble)
    ring = None if request.differential is None else phase_steps(request.differential, modem.constellation.numpy())
    return Sender(labels, preamble, ring)


def _tracked(
    request: Request, reception: Reception, chunks: Chunks, window: tuple[int, int], separators: Separators
) -> Tracked | None:
    """Returns the receiver of a capture; None where the request wants none, or the SOI's symbols tell no phase."""
    if request.track == "none":
        return None
    if not can_be_tracked(separators.modem):
        errors.print(f"warning: the carrier of soi {request.soi} cannot be tracked from its symbols: it counts as told")
        return None
    widest = None if request.carrier_range_hz is None else request.carrier_range_hz / reception.rate_hz
    return make_tracked(reception, chunks, window, separators, widest, request.track == "full")


def _source(request: Request, capture: Capture, sha256: str) -> dict[str, Any]:
    """Returns plain values that identify the capture."""
    facts = capture.facts
    told = {"name": facts.source.name, "sha256": sha256, "datatype": facts.datatype}
    asked = {name: getattr(request, name) for name in ("dataset", "channel", "segment", "labels")}
    return told | {name: value for name, value in asked.items() if value is not None}


def _rates(request: Request, capture: Capture) -> Heard:
    """Returns the SOI with the capture's rate and its own.

    Raises:
        InputError: see `heard_soi`.
    """
    settings, symbol_rate, resample = request.soi_set, request.symbol_rate, request.resample
    return heard_soi(
        Wanted(request.soi, settings, symbol_rate, resample, request.offset_hz, request.sample_rate), capture
    )


def _check_numbers(request: Request) -> None:
    """Refuses invalid values of rates, carriers and levels, and invalid truth files."""
    for name in ("sample_rate", "resample", "carrier_range_hz"):
        value = getattr(request, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} is {value}, expected a positive number of Hz")
    for name, most in _LIMITS:
        value = getattr(request, name)
        if value is not None and not abs(value) <= most:
            raise InputError(f"--{name.replace('_', '-')} is {value}, expected a number between -{most:g} and {most:g}")
    if request.track not in TRACKS:
        raise InputError(f"--track is {request.track}, expected one of {', '.join(TRACKS)}")
    if request.truth is not None:
        count_errors(request.truth, request.truth)


def _separator_option(request: Request) -> tuple[SeparatorOption, Run | None]:
    """Returns the separator's config with what ``--set`` changes, and its network."""
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


def _learned(request: Request) -> Learned | None:
    """Returns the learned separator that ``--run`` names; None where it names something else."""
    if request.run is None or not is_learned(request.run):
        return None
    if request.separator not in (None, "learned") or request.examples is not None or request.settings:
        raise InputError(
            f"--run {request.run} is a folder of rfsep learn: it takes no --separator, --examples or --set"
        )
    if request.soi_set:
        raise InputError(f"--run {request.run} was learned for a SOI as it is: it takes no --soi-set")
    return open_learned(request.run, request.soi)


def _examples(request: Request, config: SeparatorOption, run: Run | None, rate_hz: float) -> Tensor:
    """Returns frames of the interference, tuned like the capture, at unit power; none for a separator without need."""
    if not learns_from_examples(config, run):
        return torch.zeros((0, 0), dtype=torch.complex64)
    if request.examples is None:
        raise InputError(
            f"separator {config.name} learns the interference from examples: give --examples, an option of"
            " conf/interference or a recording of it"
        )
    found = read_examples(request.examples, 200, 8192, "train", Hints(datatype=request.datatype))
    own_rate = found.sample_rate_hz or request.sample_rate or rate_hz
    if found.sample_rate_hz is None:
        errors.print(f"warning: {request.examples}: does not say its sample rate; {own_rate:.12g} Hz is believed")
    frames = convert_frames(found.frames, own_rate, conversion(own_rate, rate_hz), request.offset_hz)
    power = float(frames.abs().square().mean())
    if not power > 0:
        raise InputError(f"{request.examples}: example frames are silent")
    return frames / math.sqrt(power)


def _checked(path: Path, capture: Capture) -> Looked:
    """Checks a capture, warns of doubts about it, and returns the findings."""
    with progress() as bar:
        task = bar.add_task(f"checking {path.name}", total=capture.facts.num_samples, speed="")
        looked = look_at(capture, lambda count: bar.advance(task, count))
    tell_doubts(path, capture, looked)
    return looked


def _receive(request: Request, capture: Capture, rate: float, plan: Conversion, modem: Modem) -> Reception:
    """Returns the capture at the SOI's carrier, rate, timing and level; unspecified ones are estimated."""
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
    if not 0 < power < math.inf:
        raise InputError(f"{request.capture}: the SOI's level comes out as {power}: are these samples of its datatype?")
    start = found.start if request.soi_start is None else request.soi_start
    how = "given" if given else f"estimated, standard error {100 * found.error / found.power:.1f} %"
    console.print(
        f"SOI: {10 * math.log10(power):.2f} dB ({how}), first symbol at sample {start}"
        f" ({'given' if request.soi_start is not None else 'estimated'})",
        markup=False,
    )
    return Reception(capture, rate, plan, Tuning(request.offset_hz, dc, start, phase, power), modem_power)


def _compare(request: Request, job: Job) -> None:
    """Reports the bit error rate where the truth is known."""
    if request.truth is None:
        return
    errors_found, compared = count_errors(request.out / BITS, request.truth)
    if compared == 0:
        raise InputError(f"{request.truth}: has no bits to compare")
    console.print(f"BER {errors_found / compared:.4g} ({errors_found} of {compared} bits)", markup=False)
    if errors_found < NEAR_HALF * compared:
        return
    width = (len(job.modem.constellation) - 1).bit_length()
    symbols = job.modem.num_bits(100 * job.modem.symbol_period) // 100 // width  # symbols per period
    received, sent = (read_bits(path, (None,)) for path in (request.out / BITS, request.truth))
    find = search(received, sent, width, symbols)
    if find is not None:
        start = job.reception.tuning.start
        console.print(f"{request.truth}: {told(find, job.modem, start, request.labels)}", markup=False, soft_wrap=True)
