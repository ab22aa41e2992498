"""Follows a SOI through a capture: carrier, phase, clock and a short channel, beneath interference.

A linear separator comes first. It leaves the SOI turned, and its symbols tell the carrier and the phase
(`rfsep.receiver.phase`). What was sent, as far as the symbols tell it, then tells clock and channel
(`rfsep.receiver.channel`). It assumes more noise than there is, so that a SOI that is not yet where it is thought to be
passes nearly as well. The SOI's modem takes the channel in, and the separator that was asked for works along the course
found (`rfsep.receiver.course`).
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from rfsep.receiver.channel import (
    Left,
    beyond_doubt,
    echoes,
    fit_channel,
    fit_clock,
    left_of,
    plain_channel,
    sampled_taps,
    slope_of,
)
from rfsep.receiver.clock import Sent, clock_at_ends
from rfsep.receiver.course import Course, Layout, Raw, Samples, missed, put_in_time, read_along
from rfsep.receiver.phase import (
    LOCKED,
    Followed,
    Line,
    Symmetry,
    find_carrier,
    follow_phase,
    straight,
    turning_back,
    turning_score,
)
from rfsep.receiver.state import Heard, State, same_course
from rfsep.receiver.symbols import Soft, soft_symbols
from rfsep.signals.modems.received import ReceivedModem
from rfsep.types import Modem, Separator

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]
_ROUNDS = 7  # most rounds of acquisition
_SURE = 4.0  # standard errors from which a carrier, or at first a clock, counts
_LIKELY = 2.0  # standard errors from which a clock counts later
_OVER = 0.6  # most that a step is lengthened by: decisions in doubt lean towards what was believed
_CLOSE = 0.5  # samples of delay or drift below which a channel is fitted
_LARGE_ECHO, _SMALL_ECHO = 2e-2, 1e-3  # relative energy of echoes that count at first, and at last
_STRAIGHT = 0.2  # samples of drift over a stretch that count
_POLISHED = 4  # rounds of the separator asked for
_STEADY = 0.25  # rad by which the phase may differ from what was foretold before a stretch is read again
_WIDEST_CLOCK = 200e-6  # deviation of the clock that is searched for
_LOOP = 0.3  # share of a delay that is taken for a drift since the last stretch: it keeps coming back
_ONE_MAGNITUDE = 1e-3  # spread of the points' magnitudes below which only their angles matter
_TURN = 0.01  # rad per window that is turned along the whole capture rather than window by window


class Follower:
    """Follows one SOI through one capture.

    Args:
        raw: reads the capture at the SOI's nominal rate and its modem's level.
        modem: the SOI's modem as it sends.
        symmetry: of its constellation.
        layout: segments.
        first: makes the linear separator for a carrier in cycles per sample.
        last: makes the separator asked for, for the modem as received and a carrier.
        full: clock and channel are followed too, not the carrier alone.
        linear: the separator asked for is linear, so a SOI that was found needs no other to be followed.
    """

    def __init__(
        self,
        raw: Raw,
        modem: Modem,
        symmetry: Symmetry,
        layout: Layout,
        first: Callable[[float], Separator],
        last: Callable[[Modem, float], Separator],
        full: bool = True,
        linear: bool = False,
    ) -> None:
        self.raw = raw
        self.modem = modem
        self.symmetry = symmetry
        self.layout = layout
        self._make_first = first
        self._make_last = last
        self.full = full
        self.linear = linear
        self.points = modem.constellation.numpy().astype(np.complex128)
        self.spacing = max(1, modem.symbol_period // 2)
        self._first: tuple[float, Separator] | None = None
        self._last: tuple[tuple[complex, ...], Modem, Separator] | None = None
        silence = torch.zeros((1, 4 * modem.symbol_period), dtype=torch.complex64)
        self.density = modem.analyse(silence).shape[1] // 4  # symbols per symbol period

    def nominal(self, origin: float) -> State:
        """Returns the state before anything is known but the place of the first symbol."""
        return State(0.0, 0, origin, 1.0, 0.0, 0.0, plain_channel(), False, 1.0)

    def first(self, state: State) -> Separator:
        """Returns the linear separator of a state; it is made anew only where the carrier changed."""
        if self._first is None or self._first[0] != state.carrier:
            self._first = state.carrier, self._make_first(state.carrier)
        return self._first[1]

    def last(self, state: State) -> tuple[Modem, Separator]:
        """Returns the modem as received, and the separator asked for."""
        key = (state.carrier, *state.taps.tolist())
        if self._last is None or self._last[0] != key:
            modem = self.received(state)
            self._last = key, modem, self._make_last(modem, state.carrier)
        return self._last[1:]

    def received(self, state: State) -> Modem:
        """Returns the modem as it is received."""
        if np.array_equal(state.taps, plain_channel()):
            return self.modem
        return ReceivedModem(self.modem, torch.from_numpy(sampled_taps(state.taps, self.spacing)))

    def course_of(self, state: State, begin: int, count: int) -> Course:
        """Returns the course that a state foretells for a stretch."""
        first, last = self.layout.segment_of(np.array([begin, begin + count - 1]))
        middles = np.arange(first, last + 1) * self.layout.hop + self.layout.lead + self.layout.hop / 2
        phase = state.phase + state.rate * (middles - state.place)
        origin = state.origin + (begin - state.place) * state.pace
        return Course(state.carrier, begin, origin, state.pace, int(first), phase)

    def acquire(self, state: State, begin: int, count: int, widest: float) -> State:
        """Finds carrier, phase, clock and channel in a stretch.

        Args:
            state: what is known before.
            begin: first sample.
            count: samples.
            widest: largest carrier searched for, in cycles per sample.

        Returns:
            The state at its first sample; that which was told, and not locked, where nothing is received.
        """
        state = state._replace(place=begin, origin=state.origin + (begin - state.place) * state.pace, locked=False)
        told = state
        tried = self._tried(state, count)
        lines = [self._line(one, count, widest) for one in tried]
        best = max(range(len(tried)), key=lambda one: lines[one].score)
        state, line = tried[best], lines[best]
        if abs(line.carrier) > _SURE * line.error:
            state = state._replace(carrier=state.carrier + line.carrier / self.modem.symbol_period)
        for number in range(_ROUNDS):
            refined = self._refined(state, count, number)
            settled = number > 0 and same_course(refined, state)
            state = refined
            if settled or not state.locked:
                break
        return self._polished(state, count) if state.locked and self._on_time(state, count) else told

    def _on_time(self, state: State, count: int) -> bool:
        """Tells whether symbols tell their phase at their own time, not also half a symbol later as OFDM's carriers.

        Real points have a square with a mean at any time, and those carriers have none.
        """
        if self.density != 1 or self.symmetry.order == 2:
            return True
        course = self.course_of(state, state.place, count)
        received = read_along(self.raw, course, self.layout, state.place, count)
        estimate = self.first(state).separate(torch.from_numpy(received)[None]).soi
        late = self.modem.symbol_period // 2
        on_time, later = (
            turning_score(self.modem.analyse(part)[0].numpy().astype(np.complex128), self.symmetry)
            for part in (estimate, estimate[:, late:])
        )
        return on_time - 2 * max(later, 0.0) > LOCKED / 2

    def _polished(self, state: State, count: int) -> State:
        """Returns a state whose clock and channel agree with the decisions of the separator asked for."""
        for _ in range(_POLISHED):
            heard, state = self.follow(state, state.place, count, timed=False)
            soft = soft_symbols(heard.symbols, self.points)
            phase = heard.phase - heard.course.phase[self._segments(heard.course, self._times(len(heard.phase)))]
            refined = self._fitted(state, heard.mixture, soft, phase, _SMALL_ECHO, _LIKELY)
            if same_course(refined, state):
                break
            state = refined
        return state

    def _tried(self, state: State, count: int) -> list[State]:
        """Returns states at delays and clocks a quarter of a symbol apart, at most, at the ends of a stretch."""
        quarter = self.modem.symbol_period / 4
        reach = math.ceil(_WIDEST_CLOCK / (2 * quarter / count))
        paces = [state.pace + 2 * quarter / count * move for move in range(-reach, reach + 1)]
        tried = [
            state._replace(pace=pace, origin=state.origin + delay - (pace - state.pace) * count / 2)
            for delay in (0.0, -quarter, quarter)
            for pace in paces
        ]
        return [state, *(one for one in tried if one != state)] if self.density == 1 and self.full else [state]

    def _line(self, state: State, count: int, widest: float) -> Line:
        """Returns the carrier that the linear separator leaves in a stretch."""
        received = read_along(self.raw, self.course_of(state, state.place, count), self.layout, state.place, count)
        reach = min(widest * self.modem.symbol_period, 0.5 / self.symmetry.order)
        return find_carrier(self._analysed(self.first(state), received), self.symmetry, reach, self.density)

    def _refined(self, state: State, count: int, number: int) -> State:
        """Runs one round of acquisition: phase, clock, then the channel."""
        course = self.course_of(state, state.place, count)
        received = read_along(self.raw, course, self.layout, state.place, count)
        symbols = self._analysed(self.first(state), received)
        followed = follow_phase(symbols, self.symmetry)
        if followed.score < LOCKED:
            return state._replace(locked=False)
        state = self._turned(state._replace(locked=True), followed, course)
        soft = soft_symbols(symbols * np.exp(-1j * followed.phase), self.points)
        return self._fitted(state, received, soft, followed.phase, _LARGE_ECHO, _SURE if number == 0 else _LIKELY)

    def _fitted(
        self, state: State, received: Samples, soft: Soft, phase: Floats, least: float, certainty: float
    ) -> State:
        """Returns a state with the clock, or else the channel, that agree with what symbols tell."""
        if not self.full:
            return state
        count = len(received)
        sent = echoes(self._sent(soft, phase, count), self.spacing)
        left = left_of(self.first(state), received, np.concatenate((sent, slope_of(state.taps @ sent)[None])))
        whole = Left(left.estimate, np.stack((state.taps @ left.responses[:-1], left.responses[-1])))
        known = missed(self.course_of(state, state.place, count), self.layout, state.place, count)
        clock = fit_clock(whole, certainty, known - known.mean())
        state = state._replace(pace_error=clock.drift_error)
        if abs(clock.drift) * count > _STRAIGHT or abs(clock.delay) > _CLOSE:
            over = 1 + min(_OVER, 2 * soft.variance)
            drift = over * clock.drift
            origin = state.origin - known.mean() + over * clock.delay - drift * count / 2
            return state._replace(origin=float(origin), pace=float(state.pace + drift))
        if self.density != 1:
            return state
        channel = fit_channel(Left(left.estimate, left.responses[:-1]))
        # Decisions in doubt agree with the noise that they were taken from, which looks like echoes.
        least = max(least, soft.variance**2)
        taps = beyond_doubt(channel, least)
        return state._replace(taps=taps) if channel.difference(state.taps) > least / 2 else state

    def _turned(self, state: State, followed: Followed, course: Course) -> State:
        """Returns a state whose phase and carrier are those of a line through the phases of symbols."""
        times = self._times(len(followed.phase))
        phase = followed.phase + course.phase[self._segments(course, times)]
        slope, offset = straight(times, phase)
        if abs(slope) * self.layout.hop < _TURN:
            return state._replace(phase=float(offset), rate=float(slope))
        turn = slope / state.pace
        offset -= turn * state.origin
        return state._replace(carrier=state.carrier + turn / (2 * math.pi), phase=float(offset), rate=0.0)

    def follow(self, state: State, begin: int, count: int, timed: bool = True) -> tuple[Heard, State]:
        """Separates a stretch along its course, and returns it with its state; ``timed``: its clock is followed."""
        course = self.course_of(state, begin, count)
        mixture = read_along(self.raw, course, self.layout, begin, count)
        modem, last = self.last(state)
        first = last if self.linear and state.locked else self.first(state)
        estimate = first.separate(torch.from_numpy(mixture)[None]).soi
        symbols = (modem if first is last else self.modem).analyse(estimate)[0].numpy().astype(np.complex128)
        seen = follow_phase(symbols, self.symmetry)
        again = first is not last
        if state.locked and seen.score > LOCKED:
            state = self._moved(state, first, course, mixture, symbols, seen, timed)
            bent = self._bent(state, course, seen, begin, count)
            if again or np.abs(seen.phase).max() > _STEADY:
                course, again = bent, True
                mixture = read_along(self.raw, course, self.layout, begin, count)
        elif state.locked:  # It is searched for again.
            state = state._replace(locked=False)
        found, phase = symbols, seen.phase
        if again:
            estimate = last.separate(torch.from_numpy(mixture)[None]).soi
            found = modem.analyse(estimate)[0].numpy().astype(np.complex128)
            phase = follow_phase(found, self.symmetry).phase if state.locked else np.zeros(len(found))
        soi = estimate[0].numpy() * turning_back(phase, self.density, self.modem.symbol_period, count)
        whole = phase + course.phase[self._segments(course, self._times(len(found)))]
        bits = modem.decide(torch.from_numpy(soi)[None], self._gain(found * np.exp(-1j * phase)))[0].numpy()
        heard = Heard(
            put_in_time(soi, course, self.layout, begin),
            bits,
            found * np.exp(-1j * phase),
            whole,
            seen,
            symbols * np.exp(-1j * seen.phase),
            course,
            mixture,
        )
        return heard, state

    def _gain(self, symbols: Complexes) -> float:
        """Returns the amplitude that a separator left of points of several magnitudes; 1 where it does not matter."""
        if np.ptp(np.abs(self.points)) < _ONE_MAGNITUDE:
            return 1.0
        return min(1.0, soft_symbols(symbols, self.points).gain)

    def _moved(
        self,
        state: State,
        first: Separator,
        course: Course,
        mixture: Samples,
        symbols: Complexes,
        seen: Followed,
        timed: bool,
    ) -> State:
        """Returns the state at the begin of a stretch, by what a linear separator has seen in it."""
        times = self._times(len(symbols))
        phase = seen.phase + course.phase[self._segments(course, times)]
        slope, _ = straight(times, phase)
        before, begin = state.place, course.begin
        origin = state.origin + (begin - before) * state.pace
        state = state._replace(place=begin, origin=origin, phase=float(phase[0]), rate=slope)
        if not (self.full and timed):
            return state
        soft = soft_symbols(symbols * np.exp(-1j * seen.phase), self.points)
        sent = Sent(self.modem, soft.mean * np.exp(1j * seen.phase), sampled_taps(state.taps, self.spacing))
        known = missed(course, self.layout, begin, len(mixture))
        clock = clock_at_ends(first, mixture, sent, known - known.mean(), self.layout.hop, _SURE)
        drift = clock.drift or _LOOP * clock.delay / max(begin - before, len(mixture))
        # The delay is against what was read, which misses the origin by what is known.
        origin = state.origin - known.mean() + clock.delay - clock.drift * len(mixture) / 2
        return state._replace(
            origin=float(origin), pace=float(state.pace + drift), pace_error=min(state.pace_error, clock.drift_error)
        )

    def _bent(self, state: State, course: Course, seen: Followed, begin: int, count: int) -> Course:
        """Returns a course that follows the phases seen, segment by segment."""
        segments = self._segments(course, self._times(len(seen.phase)))
        size = np.bincount(segments, minlength=len(course.phase))
        mean = np.bincount(segments, seen.phase, minlength=len(course.phase)) / np.maximum(size, 1)
        return self.course_of(state, begin, count)._replace(phase=course.phase + mean)

    def _times(self, count: int) -> Floats:
        """Returns the middles of symbols in samples, float64 [count]."""
        times: Floats = (np.arange(count, dtype=np.float64) // self.density + 0.5) * self.modem.symbol_period
        return times

    def _segments(self, course: Course, times: Floats) -> npt.NDArray[np.int64]:
        """Returns the place in the course's phases of each time."""
        found = self.layout.segment_of((times + course.begin).astype(np.int64)) - course.first
        return np.minimum(found, len(course.phase) - 1)

    def _sent(self, soft: Soft, phase: Floats, count: int) -> Complexes:
        turned = torch.from_numpy((soft.mean * np.exp(1j * phase)).astype(np.complex64))[None]
        return self.modem.synthesise(turned, count)[0].numpy().astype(np.complex128)

    def _analysed(self, separator: Separator, received: Samples) -> Complexes:
        estimate = separator.separate(torch.from_numpy(received)[None]).soi
        return self.modem.analyse(estimate)[0].numpy().astype(np.complex128)
