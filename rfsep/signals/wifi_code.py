"""Convolutional code, interleaver and mapping of 802.11 OFDM, to decode an interferer and modulate it again.

IEEE Std 802.11-2020, clauses 17.3.5.6 (code, puncturing), 17.3.5.7 and 19.3.11.8.1 (interleaver), 17.3.5.8 (mapping);
19.3.11.6 adds rate 5/6. Scrambling does not matter, because only coded bits are decided.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = NDArray[np.complex128]
Integers = NDArray[np.int64]

_GENERATORS = (0o133, 0o171)
_STATES = 64
_PUNCTURE = {  # Flags tell which of the two outputs per bit are sent.
    "1/2": (1, 1),
    "2/3": (1, 1, 1, 0),
    "3/4": (1, 1, 1, 0, 0, 1),
    "5/6": (1, 1, 1, 0, 0, 1, 1, 0, 0, 1),
}
RATES = {1: ("1/2", "3/4"), 2: ("1/2", "3/4"), 4: ("1/2", "3/4"), 6: ("2/3", "3/4", "5/6")}
"""Code rates by bits per carrier."""

_MOST_SURE = 50.0
_CHUNK = 256  # steps whose gains are made at once, so that they stay in a core's cache
_SURE = 6.0  # A bit is sure from this log likelihood ratio on.


class _Trellis(NamedTuple):
    """The code, indexed by the final state of a step.

    Attributes:
        before: possible initial states of the step, int64 [64, 2].
        output: the two coded bits of each such step, int64 [64, 2, 2].
    """

    before: Integers
    output: Integers


@cache
def _trellis() -> _Trellis:
    """Builds the trellis; a state holds the last six bits, the newest first, and a step shifts one in at the top."""
    state = np.arange(_STATES)
    before = np.stack([((state << 1) & (_STATES - 1)) | lost for lost in (0, 1)], 1)
    register = ((state >> 5) << 6)[:, None] | before
    output = np.stack([np.bitwise_count(register & taps) & 1 for taps in _GENERATORS], -1).astype(np.int64)
    return _Trellis(before, output)


@cache
def interleaver(bits: int, ht: bool) -> Integers:
    """Returns the place of each coded bit in its symbol, in the order of carriers.

    >>> interleaver(1, False)[:4].tolist()
    [0, 3, 6, 9]
    """
    columns, total = (13, 52 * bits) if ht else (16, 48 * bits)
    rows, group = total // columns, max(bits // 2, 1)
    coded = np.arange(total)
    first = rows * (coded % columns) + coded // columns
    place: Integers = group * (first // group) + (first + total - columns * first // total) % group
    return place


class Axis(NamedTuple):
    """One axis of a constellation: amplitudes float64 [n] and their bits int64 [n, b], Gray-coded."""

    amplitudes: Floats
    bits: Integers


@cache
def axis(bits: int) -> Axis:
    """Returns the axis of both parts of QPSK, 16- and 64-QAM (``bits`` per carrier), or of BPSK's real part."""
    width = max(bits // 2, 1)
    levels = np.arange(1 - 2**width, 2**width, 2.0)
    power = (levels**2).mean() * (2 if bits > 1 else 1)
    gray = np.arange(2**width) ^ (np.arange(2**width) >> 1)
    return Axis(levels / math.sqrt(power), (gray[:, None] >> np.arange(width - 1, -1, -1)) & 1)


def points(bits: int) -> Values:
    """Returns a constellation complex128 [2 ** bits]."""
    real = axis(bits).amplitudes
    return real.astype(np.complex128) if bits == 1 else (real[:, None] + 1j * real).ravel()


def _axis_ratios(received: Floats, variance: Floats, bits: int) -> Floats:
    """Returns log likelihood ratios [..., b] of one axis, positive for bit 0."""
    amplitudes, labels = axis(bits)
    metric = -((received[..., None] - amplitudes) ** 2) / variance[..., None]
    parts = [
        metric[..., labels[:, bit] == 0].max(-1) - metric[..., labels[:, bit] == 1].max(-1)
        for bit in range(labels.shape[1])
    ]
    return np.stack(parts, -1)


def soft_bits(values: Values, variance: Floats, bits: int) -> Floats:
    """Log likelihood ratios float64 [J, carriers * bits] of values complex128 [J, carriers], positive for bit 0."""
    ratios = _axis_ratios(values.real, variance, bits)
    if bits > 1:
        ratios = np.concatenate((ratios, _axis_ratios(values.imag, variance, bits)), -1)
    return np.clip(ratios.reshape(len(values), -1), -_MOST_SURE, _MOST_SURE)


def map_bits(coded: Integers, bits: int) -> Values:
    """Returns carrier values complex128 [J, carriers] of bits int64 [J, carriers * bits]."""
    amplitudes, labels = axis(bits)
    width = labels.shape[1]
    weight = 2 ** np.arange(width)[::-1]
    table = np.zeros(2**width)
    table[labels @ weight] = amplitudes
    groups = coded.reshape(len(coded), -1, bits)
    real: Floats = table[groups[..., :width] @ weight]
    if bits == 1:
        return real.astype(np.complex128)
    both: Values = real + 1j * table[groups[..., width:] @ weight]
    return both


def _gained(ratios: Floats) -> Floats:
    """Returns what steps gain float64 [n, 2 ways, C, 2, 32] at log likelihood ratios float64 [C, n, 2]."""
    sign = 1.0 - 2.0 * _trellis().output  # [64, 2, 2]
    half = _STATES // 2  # States 0 and 32, 1 and 33, ... come from the same pair of neighbours.
    gained = (ratios @ sign.reshape(-1, 2).T).reshape(*ratios.shape[:2], 2, half, 2)
    return np.ascontiguousarray(gained.transpose(1, 4, 0, 2, 3))


def _traced(chosen: NDArray[np.bool_], state: int) -> Integers:
    """Returns coded bits int64 [n, 2] of the path to a state, by the ways bool [n, 64] that lead to all states."""
    before, output = _trellis()
    states, ways = np.empty((2, len(chosen)), dtype=np.int64)
    earlier = before.tolist()
    for step in range(len(chosen) - 1, -1, -1):
        way = int(chosen[step, state])
        states[step], ways[step], state = state, way, earlier[state][way]
    found: Integers = output[states, ways]
    return found


def _likeliest(ratios: list[Floats], known_start: list[bool]) -> list[Integers]:
    """Returns coded bits int64 [n, 2] of the best path of each word.

    All words take each step together, because a step costs as much for one as for a dozen.

    Args:
        ratios: log likelihood ratios float64 [n, 2] of words of any lengths, positive for bit 0.
        known_start: for each word, whether it begins in state 0.
    """
    order = sorted(range(len(ratios)), key=lambda word: len(ratios[word]))
    lengths, half = [len(ratios[word]) for word in order], _STATES // 2
    padded = np.zeros((len(order), lengths[-1], 2))
    for place, word in enumerate(order):
        padded[place, : lengths[place]] = ratios[word]
    metric = np.where(np.array(known_start)[order][:, None], -1e9, np.zeros(_STATES))
    metric[:, 0] = 0.0
    chosen = np.empty((lengths[-1], len(order), 2, half), dtype=np.bool_)
    first, found = 0, [np.zeros((0, 2), dtype=np.int64)] * len(order)
    while first < len(order):  # Words before it have ended.
        start = lengths[first - 1] if first else 0
        for low in range(start, lengths[first], _CHUNK):
            high = min(low + _CHUNK, lengths[first])
            for gain, better in zip(_gained(padded[first:, low:high]), chosen[low:high, first:], strict=True):
                pair = metric.reshape(-1, half, 2).transpose(2, 0, 1)[:, :, None] + gain  # [2 ways, C, 2, 32]
                np.greater(pair[1], pair[0], out=better)
                metric = np.maximum(pair[0], pair[1]).reshape(-1, _STATES)
        ways = chosen[: lengths[first], first].reshape(-1, _STATES)
        found[order[first]] = _traced(ways, int(metric[0].argmax()))
        metric, first = metric[1:], first + 1
    return found


class Decoded(NamedTuple):
    """Carrier values complex128 [J, carriers] of the decoded bits, and the share of sure bits they contradict."""

    values: Values
    contradicted: float


class Coding(NamedTuple):
    """The coding of symbols.

    Attributes:
        bits: bits per carrier.
        rate: see `RATES`.
        ht: whether symbols are HT, with 52 data carriers; otherwise there are 48.
        known_start: whether the encoder is at zero when the first symbol begins.
    """

    bits: int
    rate: str
    ht: bool
    known_start: bool


class Heard(NamedTuple):
    """Successive symbols and how they may be coded.

    Attributes:
        values: values of their data carriers, complex128 [J, carriers].
        variance: noise variance of the values, float64 [J, carriers].
        coding: coding of the symbols.
    """

    values: Values
    variance: Floats
    coding: Coding


def decode(heard: list[Heard], trusted: NDArray[np.bool_]) -> list[Decoded]:
    """Returns the likeliest code word of each of several hearings, at the cost of little more than the longest.

    Args:
        heard: symbols and codings, one or more.
        trusted: carriers that decide whether the code fits, bool [carriers].
    """
    ratios = [soft_bits(one.values, one.variance, one.coding.bits) for one in heard]
    words = [_depunctured(one, ratio) for one, ratio in zip(heard, ratios, strict=True)]
    found = list[Decoded]()
    likeliest = _likeliest([word[0] for word in words], [one.coding.known_start for one in heard])
    for one, ratio, (_, sent), pairs in zip(heard, ratios, words, likeliest, strict=True):
        bits = np.empty(ratio.shape, dtype=np.int64)
        bits[:, interleaver(one.coding.bits, one.coding.ht)] = pairs.ravel()[sent].reshape(len(one.values), -1)
        sure = (np.abs(ratio) > _SURE) & np.repeat(trusted, one.coding.bits)
        wrong = sure & ((bits == 1) == (ratio > 0))
        found.append(Decoded(map_bits(bits, one.coding.bits), float(wrong.sum() / max(sure.sum(), 1))))
    return found


def _depunctured(one: Heard, ratios: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns log likelihood ratios float64 [n, 2] of all coded bits, and which of them are sent, bool [2 n]."""
    pattern = np.array(_PUNCTURE[one.coding.rate], dtype=bool)
    sent = np.tile(pattern, ratios.size // pattern.sum())
    full = np.zeros(len(sent))
    full[sent] = ratios[:, interleaver(one.coding.bits, one.coding.ht)].ravel()[: sent.sum()]
    return full.reshape(-1, 2), sent
