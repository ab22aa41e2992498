"""Decodes packets beneath the SOI, re-modulates them and takes them away.

The code fixes the carriers beneath the SOI, which nothing else shows.
"""

import cmath
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.wifi.packet_runs import Run, Runs
from rfsep.separators.wifi.packet_segments import Kind, Segment
from rfsep.separators.wifi.packet_symbols import (
    CLEAR,
    PILOT,
    SMEARED,
    Equalised,
    Piece,
    Residual,
    carriers_of_taps,
    data_carriers,
    equalise,
    fit,
    fitted_taps,
    track_phase,
    turned,
    waves,
)
from rfsep.separators.wifi.packet_unseen import unseen_group
from rfsep.signals import wifi, wifi_code

# Physics: the HT long training field has these values on carriers -28, -27, 27 and 28 (equation 19-23).
_HT_OUTER = (1.0, 1.0, -1.0, -1.0)

# Physics: at most four symbols precede the data of a packet, namely SIGNAL, two of HT-SIG and HT-LTF (19.3.2), so the
# data begins at one of five.
_PREAMBLE = 5

# Tuned; split not recorded. An alphabet fits where the mean log likelihood per carrier reaches _LEAST_FIT. A symbol
# beyond the packet's end fits worse than the median symbol by more than _WORSE.
_LEAST_FIT = -0.7
_WORSE = 3.0

# Tuned on the validation split. A header before the data fits their alphabet worse than the median symbol by more.
_WORSE_FIRST = 1.5

# Tuned; split not recorded. These are shares of the sure bits: a wrong code contradicts some hundredths of them. A
# packet whose training field is not seen has a stricter limit. One code word beats another by _CLEARLY_FEWER.
_MOST_CONTRADICTED = 0.004
_MOST_UNSEEN = 0.001
_CLEARLY_FEWER = 0.004

# Tuned; split not recorded. A guessed channel adds this variance to carriers beneath the SOI.
_UNSEEN_DOUBT = 0.05

# Tuned; split not recorded. The prior power of a channel's taps, relative to the power that the packet's level implies.
_FITTING_PRIOR, _REFITTING_PRIOR = 2.0, 4.0

# Tuned; split not recorded. A piece is taken away if it leaves less than _MOST_LEFT, mostly the SOI of unit power, plus
# _LEFT_PER_ERROR times the power of the error vector.
_MOST_LEFT, _LEFT_PER_ERROR = 3.0, 6.0

# Tuned; split not recorded. The error in a known waveform is the error vector times the margin, and no less than the
# least share of the packet's level.
_ERROR_MARGIN = 1.3
_LEAST_ERROR = 2e-4


class Cancelled(NamedTuple):
    """Interference that is known, sample by sample.

    Attributes:
        waveform: complex128 [T].
        known: bool [T].
        power: float64 [T], power of the error in the waveform.
    """

    waveform: Tensor
    known: Tensor
    power: Tensor


class Packet(NamedTuple):
    """The samples at which the segments of one run begin.

    Attributes:
        long: the long training field, or None where it is not seen.
        symbols: one after the other, without the HT short training field.
        ht_from: how many symbols come before the HT short training field, or None where it is not seen.
    """

    long: int | None
    symbols: list[int]
    ht_from: int | None


class Group(NamedTuple):
    """Successive symbols of one coding.

    Attributes:
        starts: samples at which they begin.
        ht: whether they are HT symbols.
        taps: channel complex128 [taps].
        alphabets: possible numbers of bits per carrier.
        phase: rotation of the constellation; None where any quarter turn is possible and the data's begin is not known.
    """

    starts: list[int]
    ht: bool
    taps: Tensor
    alphabets: tuple[int, ...]
    phase: float | None


def packets_of(segments: list[Segment], runs: Runs) -> dict[int, Packet]:
    """Collects the packets among the segments, by run."""
    found: dict[int, Packet] = {}
    for one, run in zip(segments, runs.of_segment, strict=True):
        if run not in runs.known:
            continue
        packet = found.get(run, Packet(None, [], None))
        count = len(packet.symbols)
        if one.kind == Kind.SHORT and one.start < 0:
            packet = packet._replace(ht_from=0)  # With its begin outside the window, an HT field looks the same.
        elif one.kind == Kind.LONG:
            packet = packet._replace(long=one.start, ht_from=None)
        elif one.kind == Kind.HT_SHORT and packet.ht_from is None and (packet.long is None or count == 3):
            packet = packet._replace(ht_from=count)
        elif one.kind in (Kind.HT_SHORT, Kind.SYMBOL):
            packet = packet._replace(symbols=[*packet.symbols, one.start])
        found[run] = packet
    return found


def _trained(residual: Residual, start: int, length: int, prefix: int, values: Tensor, run: Run) -> Piece:
    """Returns a training field together with the channel that it shows."""
    piece = Piece(start, length, prefix, values.to(torch.complex128), torch.zeros(0))
    return piece._replace(taps=fitted_taps(residual, [piece], run, 0, _FITTING_PRIOR))


class _Plan(NamedTuple):
    """The known pieces of a packet, and the groups left to decode."""

    known: list[Piece]
    groups: list[Group]


def _plan(residual: Residual, packet: Packet, run: Run, guess: Tensor | None) -> _Plan:
    num_samples = len(residual.samples)

    def seen(starts: list[int]) -> list[int]:
        return [start for start in starts if start >= -wifi.PREFIX and start + 68 <= num_samples]

    known, groups = list[Piece](), list[Group]()
    split = len(packet.symbols) if packet.ht_from is None else packet.ht_from
    legacy, ht = packet.symbols[:split], packet.symbols[split:]
    if packet.long is not None and packet.long + 80 >= 0 and packet.long + 120 <= num_samples:
        field = _trained(residual, packet.long, wifi.LONG_FIELD, wifi.LONG_PREFIX, wifi.long_training(), run)
        known.append(field)
        groups.append(Group(legacy[:1], False, field.taps, (1,), 0.0))  # SIGNAL, 17.3.4
        if packet.ht_from is None:
            groups.append(Group(seen(legacy[1:]), False, field.taps, (1, 2, 4, 6), 0.0))
        elif len(legacy) >= 3:  # HT-SIG, turned by a quarter, 19.3.9.4.3
            groups.append(Group(legacy[1:3], False, field.taps, (1,), torch.pi / 2))
    elif packet.ht_from is None and (group := unseen_group(residual, seen(legacy), run, guess)) is not None:
        groups.append(Group(group.starts, group.ht, group.taps, (group.bits,), None))
    if ht and ht[0] + wifi.SYMBOL <= num_samples:  # HT-LTF
        field = _trained(residual, ht[0], wifi.SYMBOL, wifi.PREFIX, wifi.long_training(_HT_OUTER), run)
        known.append(field)
        groups.append(Group(seen(ht[1:]), True, field.taps, (1, 2, 4, 6), 0.0))
    return _Plan(known, [group for group in groups if group.starts])


class _Aligned(NamedTuple):
    """Symbols whose alphabet and phases are found.

    Attributes:
        starts: samples at which the symbols begin.
        bits: per carrier.
        found: values, rotated back, and variances.
        phase: float64 [J].
        fits: log likelihood per carrier, float64 [J].
    """

    starts: list[int]
    bits: int
    found: Equalised
    phase: Tensor
    fits: Tensor


def _aligned(group: Group, found: Equalised, run: Run) -> _Aligned | None:
    """Returns the alphabet that fits best and the symbols that it fits, or None where none fits."""
    judged = data_carriers(group.ht) & CLEAR
    found = found._replace(values=found.values * torch.exp(torch.tensor(-1j * (group.phase or 0.0))))
    best: tuple[float, int, Tensor, Tensor, Tensor] | None = None
    for bits in group.alphabets:
        phase = track_phase(found, bits, judged)
        values = turned(found.values, phase)
        likelihood = fit(values, found.variance, bits, 1.5 * run.error + 1e-3)
        each = (likelihood * judged).sum(1) / judged.sum()
        middle = each.median().item()
        if best is None or middle > best[0]:
            best = middle, bits, phase, values, each
    if best is None or not best[0] >= _LEAST_FIT:
        return None
    middle, bits, phase, values, each = best
    worse = [index for index in range(1, len(each)) if each[index] < middle - _WORSE]
    end = len(each)
    if worse and (group.phase is not None or worse[0] > len(each) // 2):
        end = worse[0]  # the packet ends here
    return _Aligned(group.starts[:end], bits, Equalised(values[:end], found.variance[:end]), phase[:end], each[:end])


class _Word(NamedTuple):
    """A code word.

    Attributes:
        skip: its first symbol.
        points: in the frame of the aligned values, complex128 [J, carriers].
        contradicted: share of the sure bits that it contradicts.
        pilot: unit of the pilots in that frame: they are plus or minus this.
    """

    skip: int
    points: Tensor
    contradicted: float
    pilot: complex


def _words(group: Group, aligned: _Aligned, run: Run, skips: range) -> list[_Word]:
    """Returns for each first symbol the code word that contradicts least, over all possible rates and quarter turns."""
    unseen, data, bits = group.phase is None, data_carriers(group.ht), aligned.bits
    some = len(group.alphabets) > 1  # A header has one alphabet, and rate 1/2.
    turns = {1: (0,), 2: (0, 1)}.get(bits, (0, 1, 2, 3)) if unseen else (0,)
    rates = wifi_code.RATES[bits] if some or unseen else ("1/2",)
    doubt = 1.5 * run.error + 5e-4 + (_UNSEEN_DOUBT * ~CLEAR[data] if unseen else 0.0)
    values, variance = aligned.found.values[:, data], (aligned.found.variance[:, data] + doubt).numpy()
    codings = [wifi_code.Coding(bits, rate, group.ht, not unseen and not some) for rate in rates]
    tried = [(skip, turn, coding) for skip in skips for turn in turns for coding in codings]
    heard = [
        wifi_code.Heard((values[skip:] * 1j**turn).numpy(), variance[skip:], coding) for skip, turn, coding in tried
    ]
    words = list[_Word]()
    for (skip, turn, _), word in zip(tried, wifi_code.decode(heard, CLEAR[data].numpy()), strict=True):
        # Pilots turn with the data of a symbol, but not with those of HT-SIG (19.3.9.4.3).
        pilot = (-1j) ** turn * cmath.rect(1.0, -(group.phase or 0.0))
        words.append(_Word(skip, torch.from_numpy(word.values) * (-1j) ** turn, word.contradicted, pilot))
    of_skip = [[word for word in words if word.skip == skip] for skip in skips]
    return [min(some, key=lambda one: one.contradicted) for some in of_skip]


def _code_word(group: Group, aligned: _Aligned, run: Run) -> _Word:
    """Returns the code word that contradicts least, over all possible rates, quarter turns and first symbols."""
    unseen, some = group.phase is None, len(group.alphabets) > 1
    skips = range(min(_PREAMBLE, len(aligned.starts))) if unseen or (some and not group.ht) else range(1)
    tried = _words(group, aligned, run, skips[:1])
    best = tried[0]
    if best.contradicted >= _CLEARLY_FEWER and len(skips) > 1:
        for word in _words(group, aligned, run, skips[1:]):
            tried.append(word)
            if word.contradicted < best.contradicted - _CLEARLY_FEWER:
                best = word
            if best.contradicted < _CLEARLY_FEWER:
                break
    return best if aligned.bits == 1 else _lengthened(best, tried, aligned.fits)


def _lengthened(best: _Word, tried: list[_Word], fits: Tensor) -> _Word:
    """Returns a word with the symbols before it that fit its alphabet, of which headers have another.

    Wrong symbols of the SOI contradict such a symbol, but `_take` still sees whether it is there.

    Args:
        best: the word.
        tried: words by their first symbol.
        fits: of the symbols, float64 [J].
    """
    first = best.skip
    while first > 0 and fits[first - 1] >= fits[best.skip :].median() - _WORSE_FIRST:
        first -= 1
    return tried[first]._replace(contradicted=best.contradicted)


def _decoded(residual: Residual, group: Group, run: Run) -> list[Piece]:
    """Returns the symbols of a group whose code word fits."""
    channel = carriers_of_taps() @ group.taps
    aligned = _aligned(group, equalise(residual, group.starts, channel, run), run)
    if aligned is None:
        return []
    word = _code_word(group, aligned, run)
    if word.contradicted > (_MOST_UNSEEN if group.phase is None else _MOST_CONTRADICTED):
        return []
    pieces, data = [], data_carriers(group.ht)
    for index, start in enumerate(aligned.starts[word.skip :]):
        place = index + word.skip
        values = torch.zeros(len(data), dtype=torch.complex128)
        values[data] = word.points[index]
        values[PILOT] = (aligned.found.values[place, PILOT] / word.pilot).real.sign() * word.pilot
        turn = torch.exp(1j * (aligned.phase[place] + (group.phase or 0.0)))
        pieces.append(Piece(start, wifi.SYMBOL, wifi.PREFIX, values * turn, group.taps))
    return pieces


def _refitted(residual: Residual, pieces: list[Piece], run: Run) -> list[Piece]:
    """Returns the pieces with channels fitted to everything that was decoded."""
    found = []
    for taps in {id(piece.taps): piece.taps for piece in pieces}.values():
        same = [piece for piece in pieces if piece.taps is taps]
        again = fitted_taps(residual, same, run, len(SMEARED), _REFITTING_PRIOR)
        found += [piece._replace(taps=again) for piece in same]
    return found


def _take(samples: Tensor, pieces: list[Piece], run: Run, into: Cancelled) -> None:
    """Writes those pieces into ``into`` that fit the mixture complex128 [T]."""
    for piece in pieces:
        low, high = max(piece.start, 0), min(piece.start + piece.length, len(samples))
        channel = piece.values * (carriers_of_taps() @ piece.taps)
        waveform = waves(piece.start, low, high, run.offset, piece.prefix) @ channel
        left = (samples[low:high] - waveform)[len(SMEARED) :].abs().square().mean().item()
        if not left <= _MOST_LEFT + _LEFT_PER_ERROR * run.error * run.level:
            continue
        into.waveform[low:high], into.known[low:high] = waveform, True
        into.power[low:high] = run.level * max(run.error, _LEAST_ERROR) * _ERROR_MARGIN
        for sample, share in enumerate(SMEARED[:3]):
            if low <= piece.start + sample < high:
                into.power[piece.start + sample] += share * run.level


def cancelled(samples: Tensor, segments: list[Segment], runs: Runs, residual: Residual) -> Cancelled:
    """Decodes every packet it can in a window complex128 [T]; packets with a training field help the others."""
    size = len(samples)
    found = Cancelled(
        torch.zeros(size, dtype=torch.complex128), torch.zeros(size, dtype=torch.bool), torch.ones(size).double()
    )
    packets, channels = packets_of(segments, runs), list[tuple[Run, Tensor]]()
    for index, packet in sorted(packets.items(), key=lambda item: item[1].long is None):
        run = runs.known[index]
        alike = (
            taps
            for other, taps in channels
            if abs(other.offset - run.offset) < 0.02 and 0.6 < other.level / run.level < 1.6
        )
        plan = _plan(residual, packet, run, next(alike, None))
        pieces = plan.known + [piece for group in plan.groups for piece in _decoded(residual, group, run)]
        if pieces:
            pieces = _refitted(residual, pieces, run)
            channels.append((run, pieces[-1].taps))
            _take(samples, pieces, run, found)
    return found
