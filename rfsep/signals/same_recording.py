"""Finds recordings that are one recording: cut elsewhere, at another level, with a DC offset or in other numbers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.iq import forget_pages

Waveform = NDArray[np.complex64]
_REACH = 64  # An anchor is the loudest sample of so many before and after it, at least.
_BITS = 30  # of an anchor's hash
_SPAN = 48  # largest distance in samples of what the hash compares
_FEWEST_VOTES = 3  # equal hashes at one lag that make it worth a look
_MOST_ALIKE = 16  # A hash that a recording has more often tells of a signal that repeats.
_MOST_LAGS = 4  # looked at for a pair of recordings
_JITTER = 1  # samples that an anchor may be off by
_BLOCK = 1024  # samples per block that is compared
_MOST_BLOCKS = 32
_LEAST_SHARE = 0.125  # of the shorter recording that two have to share
_ALIKE = 0.9  # share of a block's power that the other explains from which the two are one
_ORDER = 16  # of the prediction
_FLOOR = 1e-3  # of the power: noise that predictions allow for, as of coarse numbers
_AGREEING = 0.5  # share of the blocks


class Anchors(NamedTuple):
    """Places in a recording that its content alone decides, wherever it is cut.

    Attributes:
        places: int64 [A], in samples.
        hashes: int64 [A], of the samples around each, whatever their gain and phase.
    """

    places: NDArray[np.int64]
    hashes: NDArray[np.int64]


def anchors_of(recording: Waveform) -> Anchors:
    """Returns the anchors of a recording complex64 [T]: loudest samples of their surroundings, with a hash.

    The hash holds signs of products of samples near the anchor. Quantisation changes a few of them, and leaves most
    hashes as they are.
    """
    samples = recording - recording.mean(dtype=np.complex128).astype(np.complex64)
    # A sum of samples with phases of no meaning makes ties rare where a receiver clips.
    taps = np.exp(1j * np.arange(8) ** 2).astype(np.complex64)
    loud = np.abs(np.convolve(samples, taps, "same")) if len(samples) >= len(taps) else np.zeros(0)
    blocks = loud[: len(loud) // _REACH * _REACH].reshape(-1, _REACH)
    if len(blocks) < 3:
        return Anchors(np.zeros(0, np.int64), np.zeros(0, np.int64))
    most = blocks.max(1)
    kept = np.flatnonzero((most[1:-1] > most[:-2]) & (most[1:-1] > most[2:])) + 1
    places = kept * _REACH + blocks[kept].argmax(1)
    places = places[(places >= _SPAN) & (places < len(samples) - _SPAN)]
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-_SPAN, _SPAN, _BITS) for _ in range(2))
    products = samples[places[:, None] + left] * samples[places[:, None] + right].conj()  # [A, bits]
    signs = np.where(np.arange(_BITS) % 2 == 0, products.real, products.imag) > 0
    hashes = signs @ (1 << np.arange(_BITS, dtype=np.int64))
    _, where, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    rare = counts[where] <= _MOST_ALIKE
    return Anchors(places[rare], hashes[rare])


class Known(NamedTuple):
    """The anchors of several recordings, by hash.

    Attributes:
        hashes: int64 [A], rising.
        places: int64 [A].
        owners: int64 [A], number of the recording.
    """

    hashes: NDArray[np.int64]
    places: NDArray[np.int64]
    owners: NDArray[np.int64]


def known(recordings: Iterable[Waveform]) -> Known:
    """Collects the anchors of recordings, one at a time in memory."""
    found = []
    for recording in recordings:
        found.append(anchors_of(np.asarray(recording)))
        forget_pages(recording)
    hashes, places = (np.concatenate([one[i] for one in found]) for i in (1, 0))
    owners = np.repeat(np.arange(len(found)), [len(one.places) for one in found])
    order = hashes.argsort(kind="stable")
    return Known(hashes[order], places[order], owners[order])


def same_as(recording: Waveform, others: Sequence[Waveform], index: Known) -> int | None:
    """Returns the number of the first of ``others`` that is the same recording, None where there is none.

    They are the same where half of the blocks that they have in common at one lag are equal but for one gain and
    phase, noise included, and they share an eighth of the shorter one. Signals that repeat, such as preambles,
    synchronisation signals and packets that are sent again, come with other noise. A recording without noise that
    repeats as a whole proves nothing, and is passed over.

    Args:
        recording: complex64 [T].
        others: complex64 [T_i] each.
        index: their anchors, see `known`.
    """
    own = np.asarray(recording)
    for owner, lags in _candidates(anchors_of(own), index):
        other = others[owner]
        fits = any(_fits(own, other, lag) for lag in lags) and not (_repeats(own) or _repeats(other))
        forget_pages(other)
        if fits:
            return owner
    return None


def _repeats(recording: Waveform) -> bool:
    """Tells whether a recording is the same as itself at another lag."""
    anchors = anchors_of(recording)
    found = _candidates(anchors, known([recording]), 0)
    return any(_fits(recording, recording, lag) for _, lags in found for lag in lags)


def _candidates(anchors: Anchors, index: Known, above: int | None = None) -> Iterator[tuple[int, list[int]]]:
    """Yields recordings with lags at which several anchors agree, those of most anchors first.

    Args:
        anchors: of one recording.
        index: of the others.
        above: take larger lags alone.
    """
    first, end = (np.searchsorted(index.hashes, anchors.hashes, side=side) for side in ("left", "right"))
    counts = end - first
    total = int(counts.sum())
    if total == 0:
        return
    begins = np.repeat(first - np.concatenate(([0], counts.cumsum()[:-1])), counts)
    rows = begins + np.arange(total)
    lags = index.places[rows] - np.repeat(anchors.places, counts)
    far = slice(None) if above is None else lags > above + _SPAN
    votes = np.stack([index.owners[rows], lags], 1)[far]
    pairs, number = np.unique(votes, axis=0, return_counts=True)
    for owner in np.unique(pairs[number >= _FEWEST_VOTES, 0]).tolist():
        mine = np.flatnonzero((pairs[:, 0] == owner) & (number >= _FEWEST_VOTES))
        best = mine[number[mine].argsort(kind="stable")[::-1][:_MOST_LAGS]]
        yield owner, pairs[best, 1].tolist()


def _fits(one: Waveform, other: Waveform, lag: int) -> bool:
    """Tells whether sample n of one recording is sample n + lag of the other, or near it."""
    return any(_equal_share(one, other, near) >= _AGREEING for near in range(lag - _JITTER, lag + _JITTER + 1))


def _equal_share(one: Waveform, other: Waveform, lag: int) -> float:
    """Returns the share of the blocks in common at a lag that are equal but for one gain and phase of them all.

    What can be predicted from the samples before is taken away first: a tone is equal to any other of its frequency,
    and a packet to the same one sent again, but their noise is not.
    """
    begin, end = max(0, -lag), min(len(one), len(other) - lag)
    block = min(_BLOCK, min(len(one), len(other)) // 4)
    if end - begin < max(block, _LEAST_SHARE * min(len(one), len(other))):
        return 0.0
    starts = np.linspace(begin, end - block, min(_MOST_BLOCKS, (end - begin) // block)).astype(np.int64)
    rows = starts[:, None] + np.arange(block)
    left, right = _unpredicted(one[rows], other[rows + lag])
    powers = [np.square(np.abs(part)).sum(1) for part in (left, right)]  # [blocks]
    heard = (powers[0] > 0) & (powers[1] > 0)
    if not heard.any():
        return 0.0
    gains = np.einsum("bn,bn->b", left[heard], right[heard].conj()) / powers[1][heard]
    gain = np.median(gains.real) + 1j * np.median(gains.imag)
    rest = np.square(np.abs(left - np.complex64(gain) * right)).sum(1)
    equal = heard & (rest <= (1 - _ALIKE) * powers[0])
    return float(equal.sum() / ((powers[0] > 0) | (powers[1] > 0)).sum())


def _unpredicted(left: Waveform, right: Waveform) -> tuple[Waveform, Waveform]:
    """Returns blocks complex64 [blocks, n] without what the samples before predict, linearly, in those of ``left``."""
    left, right = left - left.mean(1, keepdims=True), right - right.mean(1, keepdims=True)
    spectrum = np.square(np.abs(np.fft.fft(left, 2 * left.shape[1]))).mean(0)
    lags = np.fft.ifft(spectrum)[: _ORDER + 1]
    if not lags[0].real > 0:
        return left, right
    lags[0] *= 1 + _FLOOR
    from scipy.linalg import solve_toeplitz
    from scipy.signal import lfilter  # This import takes a second.

    taps = np.concatenate(([1.0], -solve_toeplitz(lags[:-1], lags[1:]))).astype(np.complex64)
    one, two = (lfilter(taps, [1.0], part)[:, _ORDER:] for part in (left, right))
    return one, two
