"""Separates a SOI from 802.11 packets: every segment of the interference has a covariance of its own."""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.symbol_posterior import (
    Detected,
    Information,
    Response,
    detected_symbols,
    gaussian_posterior,
    linear_symbols,
    make_response,
    stacked,
)
from rfsep.separators.wifi.packet_decoding import Cancelled, cancelled
from rfsep.separators.wifi.packet_runs import Run, Runs, power_between, power_of_gap, runs_of
from rfsep.separators.wifi.packet_segments import LEAST_LENGTH, LENGTH, Features, Kind, Segment, features, segment
from rfsep.separators.wifi.packet_symbols import SMEARED, TAPS, Residual, carriers_of_taps, offset_turn
from rfsep.separators.windows import overlapped
from rfsep.signals import wifi
from rfsep.signals.statistics import inverse_positive
from rfsep.types import InputError, Modem, Separated

# Limits of time and memory: the SOI's symbols that are solved together, and the windows per batch.
_MOST_SYMBOLS = 480
_BATCH = 32

# Tuned; split not recorded. A SOI of more symbols per sample leaves no room to decode packets.
_MOST_DENSE = 0.25

# Tuned on the training split. The power of the carriers beyond those of 802.11a, which not every packet uses.
_OUTER_POWER = 0.3

# Tuned on the training split. Packets ring on at both ends of a gap: a share of the median power, for some samples at
# its begin and at its end.
_RINGING, _RINGS_ON, _RINGS_BEFORE = 0.03, 3, 2


@cache
def _repeated(kind: Kind) -> Tensor:
    """Returns the covariance of what repeats of a field or symbol at offset 0 and unit power: complex128 [n, n]."""
    length, number = LENGTH[kind], wifi.carriers().double()
    time = torch.arange(length, dtype=torch.float64)[:, None]
    if kind == Kind.LONG:
        values, turn = wifi.long_training(), number * (time - wifi.LONG_PREFIX)
        sent = torch.polar(values.expand_as(turn), 2 * torch.pi * turn / wifi.FFT_SIZE)
        waves: Tensor = sent @ carriers_of_taps() / (2 * wifi.LAST_LEGACY * len(TAPS)) ** 0.5
    else:
        power = torch.where(number.abs() <= wifi.LAST_LEGACY, 1.0, _OUTER_POWER).double()
        if kind in (Kind.SHORT, Kind.HT_SHORT):
            power = power * ((number % wifi.SHORT_SPACING == 0) & (number.abs() <= wifi.LAST_SHORT))
        turn = 2 * torch.pi * number / wifi.FFT_SIZE * time
        waves = torch.polar((power / power.sum()).sqrt().expand_as(turn), turn)
    covariance: Tensor = waves @ waves.mH
    return covariance


def field_covariance(kind: Kind, offset: float, error: float) -> Tensor:
    """Returns the covariance of a whole field or symbol at unit power: complex128 [n, n].

    Carriers have independent values, each a wave over prefix and body; white noise stands for the part that does not
    repeat. The long training field is known up to the taps of its channel.

    Args:
        kind: SHORT, LONG, SYMBOL or HT_SHORT.
        offset: carrier offset in carrier spacings.
        error: share of the power that does not repeat.
    """
    white = torch.full((LENGTH[kind],), error, dtype=torch.float64)
    white[: len(SMEARED)] += torch.tensor(SMEARED, dtype=torch.float64)
    turn = offset_turn(offset, torch.arange(LENGTH[kind]))
    covariance = _repeated(kind) * (turn * turn.mH)
    covariance.diagonal().add_(white)
    return covariance


class WindowModel(NamedTuple):
    """The model of the interference in one window.

    Attributes:
        segments: they cover the window.
        runs: packets among the segments.
        found: features of the batch.
        row: of the window in the batch.
    """

    segments: list[Segment]
    runs: Runs
    found: Features
    row: int


def _gap_power(model: WindowModel, low: int, high: int) -> Tensor:
    """Returns the power of each sample of a gap: float64 [n]."""
    power = torch.full((high - low,), power_of_gap(model.found, model.row, low, high), dtype=torch.float64)
    ringing = _RINGING * float(np.median(model.found.energy[model.row]))
    power[:_RINGS_ON] += ringing
    power[-_RINGS_BEFORE:] += ringing
    return power


def segment_precision(model: WindowModel, index: int, num_samples: int, cache: dict[tuple[int, ...], Tensor]) -> Tensor:
    """Inverts the covariance of a segment inside the window: complex128 [n, n], or its diagonal float64 [n]."""
    one, run = model.segments[index], model.runs.of_segment[index]
    low, high = max(one.start, 0), min(one.stop, num_samples)
    if one.kind == Kind.GAP:
        return 1 / _gap_power(model, low, high)
    if one.kind == Kind.UNKNOWN or run not in model.runs.known:
        power = power_between(model.found, model.row, low, high)
        return torch.full((high - low,), 1 / power, dtype=torch.float64)
    packet: Run = model.runs.known[run]
    key = (int(one.kind), run, low - one.start, high - one.start)
    if key not in cache:
        whole = field_covariance(one.kind, packet.offset, packet.error)
        part = slice(low - one.start, high - one.start)
        cache[key] = inverse_positive(whole[part, part])
    return cache[key] / packet.level


def information(samples: Tensor, response: Response, model: WindowModel, known: Cancelled | None = None) -> Information:
    """Collects the information on the SOI's symbols in one window, segment by segment.

    Args:
        samples: complex128 [T].
        response: of the window.
        model: of its interference.
        known: interference that is taken away; a segment is known if all of its samples are.
    """
    num_samples, num_symbols = response.waveforms.shape
    gram = torch.zeros((num_symbols, num_symbols), dtype=torch.complex128)
    moment = torch.zeros(num_symbols, dtype=torch.complex128)
    cache: dict[tuple[int, ...], Tensor] = {}
    for index, one in enumerate(model.segments):
        low, high = max(one.start, 0), min(one.stop, num_samples)
        columns = slice(response.first[low], max(response.last[low:high]))
        waveforms, rest = response.waveforms[low:high, columns], samples[low:high]
        if known is not None and bool(known.known[low:high].all()):
            weight, rest = 1 / known.power[low:high], rest - known.waveform[low:high]
        else:
            weight = segment_precision(model, index, num_samples, cache)
        weighted = weight[:, None] * waveforms if weight.ndim == 1 else weight @ waveforms
        gram[columns, columns] += waveforms.mH @ weighted
        moment[columns] += weighted.mH @ rest
    return Information(gram, moment)


class PacketLmmse:
    """Estimates a narrow-band SOI in 802.11 packets, blind in their timing, level, carrier offset and kind.

    The packets are cut into fields and symbols (`rfsep.separators.wifi.packet_segments`). Their covariances follow from
    the standard and a few figures of each packet. The SOI's symbols are estimated linearly over the whole window, or as
    the posterior mean over their constellation. Where the interference is something else, or the SOI fills the band,
    segments are unknown and every sample is weighted by the local power of the interference. Windows whose bits
    contradict sure linear ones are left to linear estimators (`rfsep.separators.inference.evidence.Fallback`).

    Args:
        modem: the SOI's modem; a symbol starts at sample 0 and the signal begins and ends with the mixture.
        examples: frames of the interference, complex64 [F, T], for those linear estimators; none is needed.
        detect: estimate the symbols as points of the modem's constellation.
        cancel: then decode packets, take them away and detect again; skipped where the SOI fills the band.
        block: samples per window of a longer mixture; fewer where they hold very many symbols.
        margin: samples at a window's inner edge that its neighbour estimates instead.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        detect: bool = False,
        cancel: bool = False,
        block: int = 2560,
        margin: int = 160,
    ) -> None:
        if cancel and not detect:
            raise InputError(
                "packets: cancel is true but detect is false; packets are decoded beneath detected symbols"
            )
        step = modem.symbol_period
        density = modem.analyse(torch.zeros((1, step), dtype=torch.complex64)).shape[1]
        self.modem = modem
        self.detect = detect
        self.cancel = cancel and density <= _MOST_DENSE * step
        self.margin = margin
        self.block = min(block, max(4 * margin, _MOST_SYMBOLS // density * step))
        self.points = modem.constellation.to(torch.complex128)
        self._fallback = Fallback(modem, examples)
        self._response = lru_cache(maxsize=4)(self._make_response)

    def _make_response(self, num_samples: int, whole: bool) -> Response:
        return make_response(self.modem, num_samples, whole)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        whole = mixture.shape[1] <= self.block

        def estimate(windows: Tensor) -> Tensor:
            return torch.cat([self._estimate(part, whole) for part in torch.split(windows, _BATCH)])

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _estimate(self, windows: Tensor, whole: bool) -> Tensor:
        length = windows.shape[1]
        if length < LEAST_LENGTH:  # Repetitions of a packet do not show in so short a window.
            return self.modem.synthesise(self.modem.analyse(windows), length)
        response = self._response(length, whole)
        found = features(windows, self.modem)
        models = [WindowModel(one, runs_of(one, found, row), found, row) for row, one in enumerate(segment(found))]
        samples = windows.to(torch.complex128)
        said = stacked([information(samples[model.row], response, model) for model in models])
        if not self.detect:
            symbols = linear_symbols(said)
        else:
            detected = detected_symbols(said, self.points)
            if self.cancel:
                detected = self._again(samples, response, models, said, detected)
            symbols = detected.symbols.mean
        return self._fallback.honest(windows, (symbols @ response.waveforms.T).to(torch.complex64))

    def _again(
        self, samples: Tensor, response: Response, models: list[WindowModel], said: Information, first: Detected
    ) -> Detected:
        """Detects symbols again in windows complex128 [B, T], without the packets decoded beneath ``first``."""
        mean, covariance = gaussian_posterior(said, first.sites)
        rest = samples - mean @ response.waveforms.T
        rows = []
        for model in models:
            residual = Residual(rest[model.row], response, covariance[model.row])
            known = cancelled(samples[model.row], model.segments, model.runs, residual)
            rows.append(information(samples[model.row], response, model, known))
        return detected_symbols(stacked(rows), self.points)
