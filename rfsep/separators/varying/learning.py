"""Learns from examples how the line of an interference turns, and its states."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d, one_hot, pad

from rfsep.separators.varying.chains import Smoothed
from rfsep.separators.varying.line import Evidence, Line, Turning, track
from rfsep.separators.varying.states import Seen, States, posterior, reestimated, spread_of
from rfsep.types import InputError

_SEGMENT = 64  # samples of a short-time spectrum
_FINE = 1024  # its bins
_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of the offsets
_DRIFT, _RESTART = 0.08, 0.03  # tuned on val of adsb: flat between half and twice
_FIRST_ACROSS = 0.02  # variance across the line over the local power, before it is known
_ONE_SIDED = 0.8  # share of the mean in the mean magnitude along the line, above which a carrier is never reversed
_LINED = 0.25  # power across over power along the line, above which there is no line; 1 without any structure
LEVELS, _CHIPS = 12, 4  # local levels, and amplitudes within each, of the first states
_LOCAL = 25  # samples around one that share its level
_ROUNDS = 8  # rounds of Baum and Welch
_TRACKED = (2, 5)  # rounds after which the line is tracked again
_MOST_SAMPLES, _PIECE = 200_000, 8192
_SAMPLES_PER_STATE = 50
_FLOOR = 1e-5  # least variance, in units of the average power


class Model(NamedTuple):
    """All that is learned of an interference.

    Attributes:
        turning: how its line turns; None: it has no line.
        states: its states.
        power: its average power.
    """

    turning: Turning | None
    states: States
    power: float


def turned(waveform: Tensor, offset: float) -> Tensor:
    """Moves waveforms complex [B, T] down by a carrier offset in radians per sample."""
    time = torch.arange(waveform.shape[1], dtype=torch.float64)
    return waveform * torch.polar(torch.ones_like(time), -offset * time).to(waveform.dtype)


def learn(examples: Tensor, levels: int = LEVELS) -> Model:
    """Learns the states of an interference, and its line if it has one, from frames complex64 [F, T].

    Args:
        examples: the frames.
        levels: of local power, each with four states; fewer where the examples are few.

    Raises:
        InputError: the frames are too few, all zero, or hold NaN or infinity.
    """
    frames = pieces_of(examples)
    turning = _find_turning(frames)
    waveform = turned(frames, turning.offset)
    local = _averaged(waveform.abs().square(), _LOCAL)
    across = _FIRST_ACROSS * local + _FLOOR
    first = waveform / local.clamp_min(_FLOOR).sqrt() if turning.one_sided else torch.zeros_like(waveform)
    second = waveform.square() / (4 * across)
    # A line through every other sample is a line only if the samples between lie on it, too.
    told = torch.arange(waveform.shape[1]) % 2 == 0
    between = _seen(waveform, track(Evidence(first * told, second * told), turning))
    share = (between.across.square() @ (~told).float()).sum() / (
        between.along.square() @ (~told).float()
    ).sum().clamp_min(_FLOOR)
    if share > _LINED:
        model = _baum_welch(frames, without_line(frames), None, levels)
    else:
        line = track(Evidence(first, second), turning)
        seen = _seen(waveform, line)
        signed = _averaged(seen.along, 8).abs().mean() / seen.along.abs().mean()
        model = _baum_welch(waveform, line, turning._replace(one_sided=bool(signed > _ONE_SIDED)), levels)
    return model


def learn_without_line(examples: Tensor, levels: int, floor: float) -> Model:
    """Learns states of equal variance along and across from frames complex64 [F, T].

    Args:
        examples: as in `learn`, which says what is raised.
        levels: likewise.
        floor: least variance.
    """
    frames = pieces_of(examples)
    return _baum_welch(frames, without_line(frames), None, levels, floor)


def pieces_of(examples: Tensor) -> Tensor:
    """Cuts examples complex64 [F, T] into frames of equal length, as many as are learned from."""
    if examples.numel() < _SAMPLES_PER_STATE * _CHIPS or examples.shape[1] < _SEGMENT:
        shape = " x ".join(map(str, examples.shape))
        raise InputError(f"{shape} samples of example frames are too few to learn states of the interference")
    if not torch.isfinite(torch.view_as_real(examples)).all():
        raise InputError("the example frames hold NaN or infinity")
    if not examples.any():
        raise InputError("the example frames hold nothing but zeros")
    length = min(examples.shape[1], _PIECE)
    pieces = examples[:, : examples.shape[1] // length * length].reshape(-1, length)
    count = max(1, _MOST_SAMPLES // length)
    return pieces[torch.linspace(0, len(pieces) - 1, min(count, len(pieces))).long()]


def _find_turning(frames: Tensor) -> Turning:
    """Returns the carrier offsets of bursts, from the peaks of the short-time spectra of the squared signal.

    Squaring takes the sign of a reversed carrier away, and doubles its offset. Samples count by their amplitude rather
    than by their power, so that no burst decides alone.
    """
    count = frames.shape[1] // _SEGMENT
    pieces = frames[:, : count * _SEGMENT].reshape(-1, _SEGMENT)
    power = pieces.abs().square().mean(1)
    pieces = pieces[power >= 0.05 * power.mean()]
    squares = pieces.square() / pieces.abs().clamp_min(1e-9)
    window = torch.hann_window(_SEGMENT, periodic=False)
    peak = torch.fft.fft(squares * window, _FINE).abs().max(1)
    sharpness = peak.values / (squares.abs() * window).sum(1).clamp_min(1e-9)
    weight = (squares.abs().sum(1) * sharpness.square()).double()
    histogram = torch.zeros(_FINE, dtype=torch.float64).index_add_(0, peak.indices, weight)
    wide = sum(histogram.roll(shift) for shift in range(-4, 5))
    centre = float(torch.as_tensor(wide).argmax()) * math.pi / _FINE
    apart = torch.remainder(peak.indices * (math.pi / _FINE) - centre + math.pi / 2, math.pi) - math.pi / 2
    order = apart.argsort()
    share = weight[order].cumsum(0) / weight.sum()
    at = torch.searchsorted(share, torch.tensor(_SHARES, dtype=torch.float64)).clamp_max(len(order) - 1)
    quantiles = apart[order][at].double()
    offset = centre + float(quantiles[2])
    turns = [_one_sided(pieces, offset + half + apart - quantiles[2]) for half in (0.0, math.pi)]
    if turns[1] > turns[0]:
        offset += math.pi
    offset = math.remainder(offset, 2 * math.pi)
    return Turning(offset, quantiles - quantiles[2], _DRIFT, _RESTART, max(turns) > _ONE_SIDED)


def _one_sided(pieces: Tensor, offset: Tensor) -> float:
    """Returns the share of the mean in the mean magnitude of pieces [N, n] at their own offsets [N]."""
    time = torch.arange(pieces.shape[1])
    phase = -offset[:, None] * time
    total = (pieces * torch.polar(torch.ones_like(phase), phase)).sum(1).abs().sum()
    return float(total / pieces.abs().sum())


def _averaged(values: Tensor, length: int) -> Tensor:
    """Moving average of real values [B, T]."""
    padded = pad(values[:, None], (length // 2, length - 1 - length // 2), mode="replicate")
    return avg_pool1d(padded, length, 1)[:, 0]


def _seen(waveform: Tensor, line: Line) -> Seen:
    """Examples along and across their line; nothing else is in them."""
    along = waveform * torch.polar(torch.ones_like(line.angle), -line.angle)
    nothing = torch.zeros_like(line.angle)
    return Seen(along.real, along.imag, nothing, nothing)


def without_line(waveform: Tensor) -> Line:
    """The line of a signal that has none."""
    nothing = torch.zeros(waveform.shape)
    return Line(nothing, nothing, nothing, nothing[:, 0])


def _first_states(seen: Seen, most_levels: int) -> Smoothed:
    """Sorts samples into local levels, and by amplitude within each."""
    magnitude = (seen.along.square() + seen.across.square()).sqrt()
    local = max_pool1d(_averaged(magnitude, 3)[:, None], _LOCAL, 1, _LOCAL // 2)[:, 0]
    levels = max(1, min(most_levels, magnitude.numel() // (_SAMPLES_PER_STATE * _CHIPS)))
    level = (local.square() + _FLOOR).log()
    ordered = level.flatten().sort().values
    low, high = ordered[len(ordered) // 1000], ordered[-1 - len(ordered) // 5000]
    # Levels are spaced half by how often they occur and half evenly in dB, so that rare strong bursts have their own.
    rank = torch.searchsorted(ordered, level) / len(ordered)
    place = (rank + ((level - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)) / 2
    label = (place * levels).long().clamp(0, levels - 1) * _CHIPS
    ratio = seen.along.abs() / local.clamp_min(1e-9)
    for index in range(levels):
        here = label == index * _CHIPS
        if here.any():
            order = ratio[here].argsort().argsort()
            label[here] += (order * _CHIPS) // len(order)
    count = levels * _CHIPS
    steps = label[:, :-1] * count + label[:, 1:]
    pairs = torch.bincount(steps.flatten(), minlength=count * count).view(count, count).float()
    return Smoothed(one_hot(label, count).float(), pairs, torch.zeros(len(label)))


def line_evidence(residual: Tensor, variance: Tensor, weights: Tensor, states: States, gain: Tensor) -> Evidence:
    """Expected log-likelihood of the line's angle over the states.

    Args:
        residual: the interference, complex [B, T], with an error of ``variance`` real [B, T] in either part.
        weights: posterior probabilities of the states, [B, T, M].
        states: of the interference.
        gain: power of the interference, [B].
    """
    along = gain[:, None, None] * states.along + variance[..., None]
    across = gain[:, None, None] * states.across + variance[..., None]
    first = (weights * states.mean / along).sum(2) * gain.sqrt()[:, None]
    second = (weights * (1 / across - 1 / along)).sum(2) / 4
    return Evidence(residual * first, residual.square() * second)


def _baum_welch(waveform: Tensor, line: Line, turning: Turning | None, levels: int, floor: float = _FLOOR) -> Model:
    """Learns the states of frames [F, T] (Rabiner, Proc. IEEE 77(2), 1989, section III C), tracking the line anew."""
    one_sided = turning is not None and turning.one_sided
    lined = turning is not None
    seen = _seen(waveform, line)
    found = _first_states(seen, levels)
    states = reestimated(found, seen, floor, one_sided, lined)
    gain = torch.ones(len(waveform))
    for index in range(_ROUNDS):
        sure = torch.full_like(line.angle, float(lined))
        found = posterior(seen, states, spread_of(states, gain, Line(line.angle, sure, sure, gain)))
        if turning is not None and index in _TRACKED:
            nothing = torch.zeros_like(line.angle)
            line = track(line_evidence(waveform, nothing, found.posterior, states, gain), turning)
            seen = _seen(waveform, line)
        states = reestimated(found, seen, floor, one_sided, lined)
    second = states.mean.square() + states.along + states.across
    return Model(turning, states, float(states.stationary @ second))
