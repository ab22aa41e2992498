"""Finds the fields and symbols of 802.11 packets in a mixture with a narrow-band SOI.

Short pieces of the mixture are projected on the weakest eigenvectors of the SOI's covariance, which the SOI leaves
free. There the interference stands alone, and its repetitions (cyclic prefixes at lag 64, short training fields at
lag 16) show in a correlation of a dozen numbers. A Viterbi search finds the likeliest sequence of segments that packets
allow. Each segment counts by its log likelihood ratio against unstructured interference.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from rfsep.signals import wifi
from rfsep.signals.statistics import modem_autocorrelation, toeplitz
from rfsep.types import Modem

Floats = NDArray[np.float64]

# Physics: the channel smears the first four samples of a prefix (`SMEARED` in packet_symbols), so that its last 12 are
# compared with their repetition. Other pieces have the period of a short training field (17.3.3).
PREFIX_PIECE = 12
PREFIX_START = wifi.PREFIX - PREFIX_PIECE
PIECE = wifi.SHORT_PERIOD

# Physics: a window that can be searched holds at least the samples of one training field (17.3.3).
LEAST_LENGTH = wifi.LONG_FIELD

# Physics: pieces at these offsets of a field, and their repetitions 64 samples later (long) or 16 (short), lie inside
# the field of 160 samples (HT short: 80). The first 16 samples are left out, because the channel smears them.
_LONG_OFFSETS = (16, 32, 48, 64, 80)
_SHORT_OFFSETS = (16, 32, 48, 64, 80, 96, 112, 128)
_HT_SHORT_OFFSETS = (16, 32, 44)

# Tuned; split not recorded. One in this many directions of a piece is given up to the SOI.
_SOI_SHARE = 4

# Tuned; split not recorded. The share of a repetition that never repeats, from noise and drift.
_UNEQUAL = 3e-3

# Tuned; split not recorded. A gap's floor is the smaller of this share of the median energy and this multiple of the
# least energy, and at least _LEAST_FLOOR. The log likelihood ratio of a piece of gap stays within _MOST_GAP.
_FLOOR_SHARE = 10**-2.2
_FLOOR_RATIO = 1.5
_LEAST_FLOOR = 1e-4
_MOST_GAP = (-2000.0, 60.0)

# Tuned; split not recorded. The penalty, in log likelihood, for entering or leaving an unknown segment.
_NEW = 12.0


class Kind(IntEnum):
    """The kinds of segment."""

    GAP = 0
    SHORT = 1  # the field L-STF
    LONG = 2  # the field L-LTF
    SYMBOL = 3
    HT_SHORT = 4  # the field HT-STF
    UNKNOWN = 5


LENGTH = {
    Kind.SHORT: wifi.SHORT_FIELD,
    Kind.LONG: wifi.LONG_FIELD,
    Kind.SYMBOL: wifi.SYMBOL,
    Kind.HT_SHORT: wifi.HT_SHORT_FIELD,
}


class Segment(NamedTuple):
    """Samples ``start`` to ``stop`` of a window. A field that the window cuts reaches beyond it."""

    kind: Kind
    start: int
    stop: int


class Features(NamedTuple):
    """Statistics of pieces in the directions that the SOI leaves free, by the sample at which a piece begins.

    Attributes:
        energy: float64 [B, T - 15], the interference's power: energy of pieces of 16 samples, per direction.
        prefix_energy: float64 [B, T - 11], energy of pieces of 12 samples.
        prefix_correlation: complex128 [B, T - 75], correlation of a piece of 12 samples and the one 64 samples later.
        scores: log likelihood ratios of repetitions, see `_Scores`.
    """

    energy: Floats
    prefix_energy: Floats
    prefix_correlation: NDArray[np.complex128]
    scores: "_Scores"


class _Scores(NamedTuple):
    """Log likelihood ratios float64 [B, ...] of pieces of 12 and 16 at lag 64, pieces of 16 at lag 16, and gaps."""

    prefix: Tensor
    long: Tensor
    short: Tensor
    gap: Tensor


def free_directions(modem: Modem, length: int) -> Tensor:
    """Returns orthonormal directions with almost no SOI, over ``length`` samples: complex64 [length, n]."""
    _, vectors = torch.linalg.eigh(toeplitz(modem_autocorrelation(modem, length)))
    free: Tensor = vectors[:, : length - length // _SOI_SHARE]  # eigh puts the weakest first.
    return free.to(torch.complex64)


def _energy(pieces: Tensor) -> Tensor:
    energy: Tensor = torch.view_as_real(pieces.resolve_conj()).square().sum((-1, -2))
    return energy


def _correlation(pieces: Tensor, lag: int) -> Tensor:
    """Correlates pieces complex [B, N, n] with those ``lag`` samples later: complex [B, N - lag]."""
    correlation: Tensor = (pieces[:, lag:] * pieces[:, :-lag].conj()).sum(-1)
    return correlation


def _repetition(pieces: Tensor, lag: int) -> Tensor:
    """Returns the log likelihood ratio that a piece repeats after ``lag``, up to a phase: float64 [B, N - lag]."""
    energy, size = _energy(pieces).double(), pieces.shape[2]
    first, second = energy[:, :-lag], energy[:, lag:]
    likeness = _correlation(pieces, lag).abs().double().square() / (first * second + 1e-30)
    balance = 4 * first * second / (first + second + 1e-30).square()
    ratio: Tensor = -size * (1 - likeness * balance + _UNEQUAL).log() - size
    return ratio


def features(mixture: Tensor, modem: Modem) -> Features:
    """Computes the features of windows complex64 [B, T] of at least `LEAST_LENGTH` samples."""
    pieces = mixture.unfold(1, PIECE, 1) @ free_directions(modem, PIECE).conj()  # [B, T - 15, 12]
    prefixes = mixture.unfold(1, PREFIX_PIECE, 1) @ free_directions(modem, PREFIX_PIECE).conj()  # [B, T - 11, 9]
    energy, size = _energy(pieces).double(), pieces.shape[2]
    level = energy.median(1, keepdim=True).values
    floor = torch.minimum(_FLOOR_RATIO * energy.min(1, keepdim=True).values, level * _FLOOR_SHARE)
    floor = floor.clamp_min(_LEAST_FLOOR)
    gap = size * (level / floor).log().clamp_min(0) - energy / floor
    scores = _Scores(
        _repetition(prefixes, wifi.FFT_SIZE),
        _repetition(pieces, wifi.FFT_SIZE),
        _repetition(pieces, wifi.SHORT_PERIOD),
        gap.clamp(*_MOST_GAP),
    )
    return Features(
        (energy / size).numpy(),
        _energy(prefixes).double().numpy(),
        _correlation(prefixes, wifi.FFT_SIZE).to(torch.complex128).numpy(),
        scores,
    )


# Physics: no segment is longer than a training field, so that one that reaches into the window begins at most this many
# samples before it.
_BEFORE = wifi.LONG_FIELD


class _Field(NamedTuple):
    """Scores of segments by the sample -160 .. T at which they begin, float64 [B, T + 161].

    Attributes:
        inside: the score where all evidence of a segment lies in the window, -inf otherwise.
        cut: the score of the evidence that lies in the window.
    """

    inside: Tensor
    cut: Tensor


def _field(score: Tensor, offsets: tuple[int, ...], num_samples: int) -> _Field:
    """Sums ``score`` [B, N] at ``offsets`` from the begin of a field."""
    width, size = num_samples + 1 + _BEFORE, score.shape[1]
    padded = pad(score, (_BEFORE, width + max(offsets) - size - _BEFORE))
    total = torch.stack([padded[:, offset : offset + width] for offset in offsets]).sum(0)
    begin = torch.arange(width) - _BEFORE
    whole = (begin >= 0) & (begin + max(offsets) < size)
    return _Field(total.masked_fill(~whole, -torch.inf), total)


class _State(IntEnum):
    """The states before a segment."""

    GAP = 0
    DATA = 1  # inside a packet, after its long training field
    SHORT = 2
    UNKNOWN = 3
    OUTSIDE = 4  # before the window


class _Arc(NamedTuple):
    """One possible next segment of ``length`` samples, with its score by begin [B, T + 161]."""

    source: _State
    target: _State
    kind: Kind
    length: int
    score: Tensor


class _Ending(NamedTuple):
    """A segment that the window's end cuts, with its score by begin [B, T + 161]."""

    source: _State
    kind: Kind
    score: Tensor


class _Graph(NamedTuple):
    arcs: list[_Arc]
    endings: list[_Ending]


def _graph(scores: _Scores, num_samples: int) -> _Graph:
    """Lists all ways in which segments may follow each other, with penalties in units of log likelihood.

    The penalties are tuned; split not recorded.
    """
    long = _field(scores.long, _LONG_OFFSETS, num_samples)
    short = _field(scores.short, _SHORT_OFFSETS, num_samples)
    ht_short = _field(scores.short, _HT_SHORT_OFFSETS, num_samples).inside - 40
    symbol = _field(scores.prefix, (PREFIX_START,), num_samples).inside
    gap = _field(scores.gap, (0,), num_samples).inside
    step = _field(pad(scores.gap, (PIECE - 1, 0), mode="replicate") / PIECE, (0,), num_samples).inside
    nothing = torch.zeros_like(step)
    begin = torch.arange(nothing.shape[1]) - _BEFORE
    before = torch.where(begin < 0, 0.0, -torch.inf)
    late = torch.where(begin > -70, 7.0, 14.0)  # Little is seen of an earlier field.
    data, unknown, outside = _State.DATA, _State.UNKNOWN, _State.OUTSIDE
    arcs = [
        _Arc(_State.GAP, _State.GAP, Kind.GAP, 1, step),
        *(_Arc(source, _State.GAP, Kind.GAP, PIECE, gap - 6) for source in (data, unknown)),
        _Arc(_State.GAP, _State.SHORT, Kind.SHORT, wifi.SHORT_FIELD, short.inside - 4),
        _Arc(unknown, _State.SHORT, Kind.SHORT, wifi.SHORT_FIELD, short.inside - _NEW),
        _Arc(outside, _State.SHORT, Kind.SHORT, wifi.SHORT_FIELD, short.cut + before - 7),
        _Arc(_State.SHORT, data, Kind.LONG, wifi.LONG_FIELD, long.inside),
        _Arc(unknown, data, Kind.LONG, wifi.LONG_FIELD, long.inside - _NEW),
        _Arc(outside, data, Kind.LONG, wifi.LONG_FIELD, long.cut + before - late),
        _Arc(data, data, Kind.SYMBOL, wifi.SYMBOL, symbol),
        _Arc(unknown, data, Kind.SYMBOL, wifi.SYMBOL, symbol - _NEW),
        _Arc(outside, data, Kind.SYMBOL, wifi.SYMBOL, nothing + before - 7),
        _Arc(data, data, Kind.HT_SHORT, wifi.HT_SHORT_FIELD, ht_short),
        _Arc(unknown, unknown, Kind.UNKNOWN, 1, nothing),
        *(_Arc(source, unknown, Kind.UNKNOWN, 1, nothing - _NEW) for source in (_State.GAP, data, _State.SHORT)),
    ]
    endings = [
        _Ending(data, Kind.SYMBOL, nothing - 1),
        _Ending(_State.SHORT, Kind.LONG, long.cut - 1),
        _Ending(_State.GAP, Kind.SHORT, short.cut - 5),
    ]
    return _Graph(arcs, endings)


class _Paths(NamedTuple):
    """The best ways to every place.

    Attributes:
        value: float64 [T + 161, 5, B], by place -160 .. T and state.
        arc: int64 [T + 1, 4, B], the arc that leads there.
    """

    value: Floats
    arc: NDArray[np.int64]


def _search(arcs: list[_Arc], num_samples: int) -> _Paths:
    """Runs the Viterbi search: the best sequence of segments that ends at each sample in each state."""
    into = [[index for index, arc in enumerate(arcs) if arc.target == state] for state in range(4)]
    most = max(len(group) for group in into)
    index = np.array([group + group[-1:] * (most - len(group)) for group in into])  # [4, K], padded with the last arc
    length = np.array([arc.length for arc in arcs])[index]
    source = np.array([int(arc.source) for arc in arcs])[index]
    by_end = [arc.score[:, _BEFORE + 1 - arc.length :][:, :num_samples].T.double().numpy() for arc in arcs]
    gained = np.stack(by_end, 1)[:, index]  # [T, 4, K, B]
    batch_size = gained.shape[3]
    value = np.full((_BEFORE + num_samples + 1, 5, batch_size), -np.inf)
    value[:, _State.OUTSIDE] = 0
    value[_BEFORE, _State.UNKNOWN], value[_BEFORE, _State.GAP] = 0, -3
    chosen = np.zeros((num_samples + 1, 4, batch_size), dtype=np.int64)
    for end in range(1, num_samples + 1):
        candidates = value[_BEFORE + end - length, source] + gained[end - 1]  # [4, K, B]
        best = candidates.argmax(1)
        chosen[end] = best
        value[_BEFORE + end, :4] = candidates.max(1)
    which = np.arange(4)[:, None]
    return _Paths(value, index[which, chosen])


def _last(graph: _Graph, value: Floats, row: int, num_samples: int) -> tuple[int, int, list[Segment]]:
    """Returns where the best way ends: place, state, and the segment that the window's end cuts."""
    final = value[-1, :4, row]
    best, found = final.max(), (num_samples, int(final.argmax()), list[Segment]())
    for ending in graph.endings:
        first = max(num_samples - LENGTH[ending.kind] + 1, 0)
        reached = value[_BEFORE + first : -1, ending.source, row] + ending.score[row, _BEFORE + first : -1].numpy()
        place = int(reached.argmax())
        if reached[place] > best:
            start = first + place
            cut = Segment(ending.kind, start, start + LENGTH[ending.kind])
            best, found = reached[place], (start, int(ending.source), [cut])
    return found


def _traced(graph: _Graph, paths: _Paths, row: int, num_samples: int) -> list[Segment]:
    """Traces the segments of one row, from the first sample to the last."""
    place, state, backwards = _last(graph, paths.value, row, num_samples)
    while place > 0:
        arc = graph.arcs[paths.arc[place, state, row]]
        segment = Segment(arc.kind, place - arc.length, place)
        later = backwards[-1] if backwards else None
        if later is not None and later.kind == segment.kind and segment.kind in (Kind.GAP, Kind.UNKNOWN):
            backwards[-1] = later._replace(start=segment.start)
        else:
            backwards.append(segment)
        place, state = segment.start, int(arc.source)
    return backwards[::-1]


def segment(found: Features) -> list[list[Segment]]:
    """Returns the likeliest segments of every window, which cover it completely."""
    num_samples = found.energy.shape[1] + PIECE - 1
    graph = _graph(found.scores, num_samples)
    paths = _search(graph.arcs, num_samples)
    return [_traced(graph, paths, row, num_samples) for row in range(len(found.energy))]
