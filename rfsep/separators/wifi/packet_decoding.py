"""Packets decoded beneath the SOI, to be sent again and taken away: what the code fixes needs no SOI-free carrier."""

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

_HT_OUTER = (1.0, 1.0, -1.0, -1.0)
_LEAST_FIT = -0.7  # mean log likelihood of a carrier, below which no alphabet fits
_WORSE = 3.0  # by so much a symbol behind the packet's end fits worse
_MOST_CONTRADICTED = 0.004  # share of sure bits; a code that does not fit contradicts hundredths
_MOST_UNSEEN = 0.001  # of a packet whose training field is not seen
_CLEARLY_FEWER = 0.004
_UNSEEN_DOUBT = 0.05  # variance on carriers beneath the SOI where the channel is guessed
_PREAMBLE = 5  # symbols that may be in front of the data
_FITTING_PRIOR, _REFITTING_PRIOR = 2.0, 4.0
_MOST_LEFT, _LEFT_PER_ERROR = 3.0, 6.0  # power that a taken piece may leave: the SOI's and the error vector's
_ERROR_MARGIN = 1.3
_LEAST_ERROR = 2e-4


class Cancelled(NamedTuple):
    """Interference that is known by sample.

    Attributes:
        waveform: complex128 [T].
        known: bool [T].
        power: float64 [T], of the error in it.
    """

    waveform: Tensor
    known: Tensor
    power: Tensor


class Packet(NamedTuple):
    """Segments of one run: samples at which they begin; none where a field is not seen.

    Attributes:
        long: the long training field.
        symbols: one after the other, without the HT short training field.
        ht_from: how many symbols come before the HT short training field.
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
        alphabets: bits a carrier that are possible.
        phase: by which the constellation is turned; None: any quarter turn, and where the data begins is not known.
    """

    starts: list[int]
    ht: bool
    taps: Tensor
    alphabets: tuple[int, ...]
    phase: float | None


def packets_of(segments: list[Segment], runs: Runs) -> dict[int, Packet]:
    """Packets by run."""
    found: dict[int, Packet] = {}
    for one, run in zip(segments, runs.of_segment, strict=True):
        if run not in runs.known:
            continue
        packet = found.get(run, Packet(None, [], None))
        count = len(packet.symbols)
        if one.kind == Kind.LONG:
            packet = packet._replace(long=one.start)
        elif one.kind == Kind.HT_SHORT and packet.ht_from is None and (packet.long is None or count == 3):
            packet = packet._replace(ht_from=count)
        elif one.kind in (Kind.HT_SHORT, Kind.SYMBOL):
            packet = packet._replace(symbols=[*packet.symbols, one.start])
        found[run] = packet
    return found


def _trained(residual: Residual, start: int, length: int, prefix: int, values: Tensor, run: Run) -> Piece:
    """A training field with the channel that it shows."""
    piece = Piece(start, length, prefix, values.to(torch.complex128), torch.zeros(0))
    return piece._replace(taps=fitted_taps(residual, [piece], run, 0, _FITTING_PRIOR))


class _Plan(NamedTuple):
    """What of a packet is known already, and what there is to decode."""

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
        starts: of the symbols.
        bits: a carrier.
        found: values, turned back, and variances.
        phase: float64 [J].
    """

    starts: list[int]
    bits: int
    found: Equalised
    phase: Tensor


def _aligned(group: Group, found: Equalised, run: Run) -> _Aligned | None:
    """The alphabet that fits best, and the symbols that it fits; None where none does."""
    judged = data_carriers(group.ht) & CLEAR
    found = found._replace(values=found.values * torch.exp(torch.tensor(-1j * (group.phase or 0.0))))
    best: tuple[float, int, Tensor, Tensor, Tensor] | None = None
    for bits in group.alphabets:
        phase = track_phase(found, bits, judged)
        values = turned(found.values, phase)
        likelihood = fit(values, found.variance, bits, 1.5 * run.error + 1e-3).log_likelihood
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
    return _Aligned(group.starts[:end], bits, Equalised(values[:end], found.variance[:end]), phase[:end])


class _Word(NamedTuple):
    """A code word: first symbol of it, points complex128 [J, carriers], share of sure bits that it contradicts."""

    skip: int
    points: Tensor
    contradicted: float


def _code_word(group: Group, aligned: _Aligned, run: Run) -> _Word:
    """The code word that contradicts least, over rates, quarter turns and first symbols that are possible."""
    unseen, data = group.phase is None, data_carriers(group.ht)
    trusted, bits = CLEAR[data].numpy(), aligned.bits
    turns = {1: (0,), 2: (0, 1)}.get(bits, (0, 1, 2, 3)) if unseen else (0,)
    some = len(group.alphabets) > 1  # not a header, whose rate is 1/2
    skips = range(min(_PREAMBLE, len(aligned.starts))) if unseen or (some and not group.ht) else range(1)
    rates = wifi_code.RATES[bits] if some or unseen else ("1/2",)
    doubt = 1.5 * run.error + 5e-4 + (_UNSEEN_DOUBT * ~CLEAR[data] if unseen else 0.0)
    best: _Word | None = None
    for skip in skips:
        values, variance = aligned.found.values[skip:, data], (aligned.found.variance[skip:, data] + doubt).numpy()
        words = []
        for turn in turns:
            for rate in rates:
                coding = wifi_code.Coding(bits, rate, group.ht, not unseen and not some)
                word = wifi_code.decode((values * 1j**turn).numpy(), variance, coding, trusted)
                words.append(_Word(skip, torch.from_numpy(word.values) * (-1j) ** turn, word.contradicted))
        word_here = min(words, key=lambda one: one.contradicted)
        if best is None or word_here.contradicted < best.contradicted - _CLEARLY_FEWER:
            best = word_here
        if best.contradicted < _CLEARLY_FEWER:
            break
    assert best is not None  # there is at least one symbol
    return best


def _decoded(residual: Residual, group: Group, run: Run) -> list[Piece]:
    """Symbols of a group whose code word fits."""
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
        values[PILOT] = aligned.found.values[place, PILOT].real.sign().to(values.dtype)
        turn = torch.exp(1j * (aligned.phase[place] + (group.phase or 0.0)))
        pieces.append(Piece(start, wifi.SYMBOL, wifi.PREFIX, values * turn, group.taps))
    return pieces


def _refitted(residual: Residual, pieces: list[Piece], run: Run) -> list[Piece]:
    """Pieces with channels from all that was decoded."""
    found = []
    for taps in {id(piece.taps): piece.taps for piece in pieces}.values():
        same = [piece for piece in pieces if piece.taps is taps]
        again = fitted_taps(residual, same, run, len(SMEARED), _REFITTING_PRIOR)
        found += [piece._replace(taps=again) for piece in same]
    return found


def _take(samples: Tensor, pieces: list[Piece], run: Run, into: Cancelled) -> None:
    """Write pieces into what is known where they fit the mixture complex128 [T]."""
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
    """Every packet of a window complex128 [T] that can be decoded; those with a training field help the others."""
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
