"""Follows the SOI of a capture chunk by chunk: makes the receiver, and keeps what it finds."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.app.build import network_arguments, separator_parts
from rfsep.app.captures.chunks import Chunks
from rfsep.app.captures.reception import PARTS, Reception
from rfsep.app.config import instantiate, separator_of
from rfsep.app.learn.folder import Learned
from rfsep.app.networks.runs import Run
from rfsep.app.settings import SeparatorOption
from rfsep.receiver.channel import REACH, plain_channel
from rfsep.receiver.course import Layout, Samples
from rfsep.receiver.follow import Follower
from rfsep.receiver.phase import symmetry_of
from rfsep.receiver.state import Heard, State
from rfsep.receiver.symbols import soft_symbols
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.resampling import interpolated
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separator

TRACKS = ("none", "carrier", "full")
TRACK = "track.npy"
# Columns of track.npy, per part of a chunk; behind them the channel's taps, real and imaginary.
COLUMNS = ("phase_rad", "delay_samples", "lock", "esn0_db", "evm", "carrier", "pace_error")
NUM_COLUMNS = len(COLUMNS) + 2 * (2 * REACH + 1)
_NUMBERS = ("carrier", "origin", "pace", "phase", "rate", "pace_error")  # fields of a state that are numbers
_LOOKED_AT = 40960  # samples in which carrier, clock and channel are found
_LEAST_WINDOWS = 4  # windows that those samples hold at least
_BLUR = 6e-3  # energy that a shift within half a sample may cost, relative to the SOI's
_TRIED, _LEAST_PERIODS = 20480, 256  # samples and symbol periods, at least, by which a modem is tried
_TRIED_CARRIER, _TRIED_NOISE = 0.01, 0.3  # cycles per symbol period, and amplitude of the noise, of that try
_TRIED_DELAY, _TRIED_CLOCK = 0.4, 2e-5  # samples, and deviation of the clock, of that try
_RIGHT = 0.05  # turns over it by which the carrier found may be wrong


class Tracked(NamedTuple):
    """A receiver at work.

    Attributes:
        follower: of the capture.
        widest: largest carrier searched for, in cycles per sample.
        looked_at: samples in which carrier, clock and channel are found.
    """

    follower: Follower
    widest: float
    looked_at: int


class Separators(NamedTuple):
    """What makes a capture's separators.

    Attributes:
        modem: the SOI's.
        first: makes the linear separator of a receiver, for a carrier in cycles per sample.
        last: makes the separator asked for, for the modem as received and a carrier.
        linear: the separator asked for is a linear one itself.
    """

    modem: Modem
    first: Callable[[float], Separator]
    last: Callable[[Modem, float], Separator]
    linear: bool


def one_by_one(modem: Modem) -> bool:
    """Tells whether every symbol of a modem carries its own bits, in order: there are no pilots."""
    length = 100 * modem.symbol_period
    symbols = modem.analyse(torch.zeros((1, length), dtype=torch.complex64)).shape[1]
    return symbols * (len(modem.constellation) - 1).bit_length() == modem.num_bits(length)


def can_be_tracked(modem: Modem) -> bool:
    """Tells whether symbols tell their carrier: random ones are turned and delayed, and a receiver has to find it."""
    if not one_by_one(modem):
        return False
    length = max(_TRIED, _LEAST_PERIODS * modem.symbol_period) // modem.symbol_period * modem.symbol_period
    generator = torch.Generator().manual_seed(0)
    sent = modem.sample(1, length, generator).waveform[0].numpy()
    waveform = torch.from_numpy(
        interpolated(sent, np.arange(length, dtype=np.float64) * (1 + _TRIED_CLOCK) - _TRIED_DELAY)
    )
    noise = (
        torch.randn(length, dtype=torch.complex64, generator=generator) * float(waveform.abs().square().mean()) ** 0.5
    )
    carrier = _TRIED_CARRIER / modem.symbol_period
    turn = torch.polar(torch.ones(length), 2 * math.pi * (carrier * torch.arange(length) % 1.0))
    heard = (waveform * turn + _TRIED_NOISE * noise).numpy()
    linear = MatchedFilter(modem, torch.zeros((0, 0), dtype=torch.complex64), remodulation="none")
    try:
        symmetry = symmetry_of(modem.constellation.numpy())
    except InputError:
        return False

    def raw(begin: int, count: int) -> Samples:
        low, high = min(max(begin, 0), length), min(max(begin + count, 0), length)
        return _padded(heard[low:high], low - begin, count)

    layout = Layout(length, 0, True)
    follower = Follower(raw, modem, symmetry, layout, lambda turn: linear, lambda received, turn: linear, full=False)
    state = follower.acquire(follower.nominal(0.0), 0, length, 0.5 / symmetry.order / modem.symbol_period)
    return state.locked and abs(state.carrier + state.rate / (2 * math.pi) - carrier) * length < _RIGHT


def is_whole(modem: Modem) -> bool:
    """Tells whether a SOI is so narrow that shifts by whole samples do for it: the rest is at most half a sample."""
    lags = modem_autocorrelation(modem, 64)
    spectrum = torch.fft.fft(torch.cat((lags, lags[1:].flip(0).conj()))).real.clamp_min(0)
    frequency = torch.fft.fftfreq(len(spectrum), dtype=torch.float64)
    spread = float((spectrum * frequency.square()).sum() / spectrum.sum())
    return (2 * math.pi) ** 2 * spread / 12 < _BLUR


class Examples:
    """Example frames of the interference complex64 [F, T], turned back by carriers; each turn is kept."""

    def __init__(self, frames: Tensor) -> None:
        self.frames = frames
        self._turned: dict[float, Tensor] = {0.0: frames}

    def turned(self, carrier: float) -> Tensor:
        """Returns the frames without a carrier in cycles per sample."""
        if carrier not in self._turned:
            cycles = torch.arange(self.frames.shape[1], dtype=torch.float64) * carrier
            turn = torch.polar(torch.ones_like(cycles), -2 * math.pi * (cycles % 1.0)).to(torch.complex64)
            self._turned = {0.0: self.frames, carrier: self.frames * turn}
        return self._turned[carrier]


def maker(
    config: SeparatorOption, run: Run | None, learned: Learned | None, frames: Examples, plain_modem: Modem
) -> Callable[[Modem, float], Separator]:
    """Returns what makes the separator for a modem as received and a carrier in cycles per sample.

    Its examples are turned back by that carrier; but a separator that does not ask for it is made once, for the modem
    as it sends.
    """

    made_once = cache(lambda: make_for(plain_modem, 0.0))

    def make(modem: Modem, carrier: float) -> Separator:
        return make_for(modem, carrier) if config.as_received else made_once()

    def make_for(modem: Modem, carrier: float) -> Separator:
        turned = frames.turned(carrier)
        if learned is not None:
            return learned.separator(modem, turned)
        arguments = network_arguments(config.method, run, modem, turned)
        made: Separator = separator_parts(config, modem, turned, arguments).make(None)
        return made

    return make


def first_separator(option: SeparatorOption, modem: Modem, examples: Examples) -> Callable[[float], Separator]:
    """Returns what makes the linear separator of a receiver: ``acquire`` of the separator's YAML."""

    def make(carrier: float) -> Separator:
        frames = examples.turned(carrier)
        if len(frames) == 0:
            return MatchedFilter(modem, frames, remodulation="none")
        if "_target_" in option.acquire:
            return cast(Separator, instantiate(option.acquire, modem=modem, examples=frames))
        named, changes = option.acquire["use"], {key: value for key, value in option.acquire.items() if key != "use"}
        settings = [f"method.{key}={value}" for key, value in changes.items()]
        made: Separator = separator_parts(separator_of(named, settings), modem, frames, {}).make(None)
        return made

    return make


def make_tracked(
    reception: Reception,
    chunks: Chunks,
    window: tuple[int, int],
    separators: Separators,
    widest: float | None,
    full: bool,
) -> Tracked:
    """Returns the receiver of a capture.

    Args:
        reception: the tuned capture.
        chunks: how the capture is cut.
        window: samples per window of the separator, and its margin.
        separators: what makes them.
        widest: largest carrier searched for, in cycles per sample; None: as far as symbols can tell it.
        full: clock and channel are followed too.
    """
    modem = separators.modem
    untimed = Reception(
        reception.capture, reception.sample_rate_hz, reception.plan, reception.tuning._replace(start=0),
        reception.modem_power,
    )  # fmt: skip

    def raw(begin: int, count: int) -> Samples:
        low = min(max(begin, 0), untimed.num_samples)
        high = min(max(begin + count, low), untimed.num_samples)
        return _padded(untimed.read(low, high - low) if high > low else np.zeros(0, np.complex64), low - begin, count)

    symmetry = symmetry_of(modem.constellation.numpy())
    layout = Layout(chunks.hop, (window[0] - chunks.hop) // 2, is_whole(modem))
    follower = Follower(raw, modem, symmetry, layout, separators.first, separators.last, full, separators.linear)
    limit = 0.5 / symmetry.order / modem.symbol_period
    looked_at = min(chunks.total, max(_LOOKED_AT, _LEAST_WINDOWS * window[0]))
    return Tracked(follower, min(widest or limit, limit), looked_at // modem.symbol_period * modem.symbol_period)


def _padded(samples: Samples, before: int, count: int) -> Samples:
    """Returns samples complex64 [count], ``before`` zeros first; what they do not reach is zero."""
    whole = np.zeros(count, np.complex64)
    begin = min(max(before, 0), count)
    kept = samples[: count - begin]
    whole[begin : begin + len(kept)] = kept
    return whole


def begin(tracked: Tracked, start: int, kept: Mapping[str, Any]) -> State:
    """Returns the state at the beginning of a capture, or the one that an interrupted run kept.

    Raises:
        InputError: what was kept is no state.
    """
    if kept:
        try:
            carrier, origin, pace, phase, rate, pace_error = (float(kept[name]) for name in _NUMBERS)
            taps = np.array(kept["taps"], np.float64).view(np.complex128)
            place, locked = int(kept["place"]), bool(kept["locked"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"what the interrupted run kept is damaged ({error}); give another --out") from None
        state = State(carrier, place, origin, pace, phase, rate, taps, locked, pace_error)
        if taps.shape != plain_channel().shape or not np.isfinite([carrier, origin, pace, phase, rate, *taps]).all():
            raise InputError("what the interrupted run kept is damaged; give another --out")
        return state
    return tracked.follower.acquire(tracked.follower.nominal(float(start)), 0, tracked.looked_at, tracked.widest)


def kept(state: State) -> dict[str, Any]:
    """Returns a state in plain values."""
    return {**state._asdict(), "taps": state.taps.view(np.float64).tolist()}


def rows(heard: Heard, state: State, follower: Follower, first: int, end: int, start: int) -> npt.NDArray[np.float64]:
    """Returns a chunk's rows of track.npy, float64 [1, PARTS, columns].

    Args:
        heard: the chunk.
        state: at its begin, as the chunk told it.
        follower: of the capture.
        first: first kept sample of the chunk's own.
        end: one beyond the last.
        start: sample of the capture's where the first symbol begins.
    """
    period, density = follower.modem.symbol_period, follower.density
    edges = np.linspace(first / period, end / period, PARTS + 1).astype(np.int64) * density
    found = np.zeros((1, PARTS, NUM_COLUMNS))
    found[0, :, len(COLUMNS) :] = state.taps.view(np.float64)
    for number in range(PARTS):
        part = slice(edges[number], max(edges[number + 1], edges[number] + 1))
        middle = heard.course.begin + (edges[number] + edges[number + 1]) / 2 / density * period
        place = heard.course.origin + (middle - heard.course.begin) * heard.course.pace
        soft = soft_symbols(heard.linear[part], follower.points)
        agreement = heard.seen.agreement[part]
        signal = soft.gain**2 * float(np.mean(np.square(np.abs(follower.points))))
        ratio = signal / max(soft.noise, 1e-12)
        found[0, number, : len(COLUMNS)] = (
            float(np.mean(heard.phase[part])),
            place - middle - start,
            float(agreement.sum() / math.sqrt(max(len(agreement), 1))) if state.locked else 0.0,
            10 * math.log10(max(ratio, 1e-6)),
            1 / math.sqrt(max(ratio, 1e-12)),
            heard.course.carrier,
            state.pace_error,
        )
    return found
