"""The carrier and the channel of an OFDM interference whose modem is known but for them, from example frames.

Powers of the carriers' values, in which the data are constant, give the carrier offset and the channel up to the
constellation's symmetry. Neighbouring carriers resolve it. The data decided with that give the channel once more, by
least squares in time, with any fraction of a sample and with rays beyond the prefix.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rfsep.identification.carriers import derotate, ofdm_symbols
from rfsep.identification.cyclic import lag_correlations, level, raised
from rfsep.identification.prefix import Layout, limited, log_ratios, prefix_product
from rfsep.iq import squared
from rfsep.signals.constellations import decide
from rfsep.signals.ofdm_modem import OfdmModem

_EARLY_TAPS, _LATE_TAPS = 8, 40  # taps before and after the one at delay 0
_SEARCHED = 2  # frames from which the fraction of a sample is found
_MARGIN = 256  # samples of silence that keep a delayed waveform from wrapping around
_FRAMES = 12  # frames that least squares sees
_LARGEST_DELAY = 3.0  # samples by which prefixes may misplace frames against each other
_SAME_FRACTION = 0.03  # Frames share a channel if their delays differ by whole samples within this.
_FLAT = 1e-4  # A channel is none if without it this share of the power is left, beyond noise.
_FITS = 0.1  # Decisions are right if the channel leaves at most this share of the power.
_NO_CARRIER = 1e-6  # A smaller carrier, in cycles per sample, counts as 0.
_RIDGE = 1e-9  # keeps the least squares of silent frequencies finite
_OVERSAMPLING = 16  # cells of a spectrum per carrier


class _Symbols(NamedTuple):
    """Whole OFDM symbols of frames without carrier.

    Attributes:
        values: complex128 [F, K, D], on the carriers, as if the FFT began right behind the prefix.
        carrier: float64 [F], cycles per sample.
        start: int64 [F], sample at which the first symbol's prefix begins.
    """

    values: Tensor
    carrier: Tensor
    start: Tensor


class _Decided(NamedTuple):
    """Data symbols complex128 [F, K, D], error float64 [F] relative to the power, carrier float64 [F]."""

    data: Tensor
    error: Tensor
    carrier: Tensor


def received_modem(frames: Tensor, modem: OfdmModem, carrier: float) -> OfdmModem:
    """Returns a modem with the carrier and the channel that frames complex64 [F, T] show.

    A channel that is flat to within -40 dB, or does not explain the frames, is left out.

    Args:
        frames: complex64 [F, T], at least three OFDM symbols each.
        modem: the interference's, without carrier and channel.
        carrier: of the middle of the band in cycles per sample, within a quarter of a carrier.
    """
    seen = _symbols(frames, modem, carrier)
    if seen.values.shape[1] < 2:
        return modem
    order = 2 if len(modem.constellation) == 2 else 4
    seen = _finer(seen, modem, order)
    response, delay = _response(seen, modem, order)
    whole = (delay - delay.round()).abs() < _SAME_FRACTION
    decided = _decided(seen, modem, response, delay.round(), order)
    chosen = decided.error.where(whole, torch.inf).argsort()[: min(_FRAMES, int(whole.sum()))]
    found = float(decided.carrier[chosen].median())
    found = 0.0 if abs(found) < _NO_CARRIER else found
    blocks = _blocks(frames, modem, seen, decided, delay.round().long(), chosen)
    late = _fraction(blocks)
    fit, none = _least_squares(blocks, late), _least_squares(blocks, 0.0)
    if none.left - fit.left < _FLAT / 10 * fit.power:
        late, fit = 0.0, none
    if fit.left > _FITS * fit.power:
        return modem.received(found)
    if fit.alone - fit.left < _FLAT * fit.power + 4 * fit.left * len(fit.taps) / fit.samples:
        return modem.received(found, delay=late)
    taps = fit.taps / squared(fit.taps).sum().sqrt()
    return modem.received(found, [complex(tap) for tap in taps.tolist()], _EARLY_TAPS, late)


def received_arguments(frames: Tensor, modem: OfdmModem, carrier: float) -> dict[str, Any]:
    """Returns the arguments of `OfdmModem` that `received_modem` adds, as plain numbers; empty where there are none."""
    found = received_modem(frames, modem, carrier)
    arguments: dict[str, Any] = {} if found.carrier == 0 else {"carrier": found.carrier}
    if not found.flat:
        channel = [[round(tap.real, 6), round(tap.imag, 6)] for tap in found.channel.tolist()]
        arguments |= {"channel": channel, "channel_lead": found.channel_lead, "delay": found.delay}
    return arguments


def data_symbols(frames: Tensor, modem: OfdmModem, carrier: float) -> Tensor:
    """Returns the carriers complex128 [F, K, D] of whole OFDM symbols in frames complex64 [F, T], carrier undone."""
    return _symbols(frames, modem, carrier).values


def _symbols(frames: Tensor, modem: OfdmModem, carrier: float) -> _Symbols:
    layout, size = Layout(modem.fft_size, modem.cyclic_prefix_length), modem.fft_size
    levelled = limited(level(frames))
    ratios = log_ratios(prefix_product(levelled, size), layout, 1.0)
    offset = ratios.argmax(1)  # samples into an OFDM symbol at sample 0
    correlation = lag_correlations(levelled, size + 1)[:, size]
    fraction = correlation.angle().double() / (2 * math.pi * size)
    around = fraction + ((carrier - fraction) * size).round() / size  # [F]
    values = ofdm_symbols(derotate(frames, around), layout, offset)[:, :, modem.carriers].to(torch.complex128)
    early = modem.cyclic_prefix_length // 2
    # The first FFT that lies in a frame begins `early` samples before a prefix ends.
    first = (modem.cyclic_prefix_length - early - offset) % layout.period
    turn = torch.polar(torch.ones(len(modem.carriers)).double(), 2 * math.pi / size * early * _frequency(modem))
    return _Symbols(values * turn, around, first - (modem.cyclic_prefix_length - early))


def _frequency(modem: OfdmModem) -> Tensor:
    """Signed carriers float64 [D]."""
    half = modem.fft_size // 2
    return ((modem.carriers + half) % modem.fft_size - half).double()


def _units(values: Tensor) -> Tensor:
    """Values scaled to magnitude 1."""
    return values / squared(values).sqrt().clamp_min(1e-12)


def _turned_back(seen: _Symbols, modem: OfdmModem, residual: Tensor) -> _Symbols:
    """Takes a residual carrier float64 [F], in cycles per sample, from the symbols."""
    cycles = residual[:, None] * torch.arange(seen.values.shape[1]) * modem.symbol_period
    turn = torch.polar(torch.ones_like(cycles), -2 * math.pi * cycles)
    return seen._replace(values=seen.values * turn[:, :, None], carrier=seen.carrier + residual)


def _finer(seen: _Symbols, modem: OfdmModem, order: int) -> _Symbols:
    """Takes the residual carrier from the symbols by the spectrum of their M-th power."""
    power = raised(_units(seen.values), order).mT.contiguous()  # [F, D, K]
    number = power.shape[2]
    # The carriers' spectra are summed as correlations, which are short.
    correlation = torch.fft.ifft(squared(torch.fft.fft(power, 2 * number)).sum(1))  # [F, 2 K], lag 0 first
    size = _OVERSAMPLING * number
    padded = torch.cat(
        (correlation[:, :number], correlation.new_zeros(len(power), size - 2 * number), correlation[:, number:]), 1
    )
    spectrum = torch.fft.fft(padded).real  # [F, size]
    best = spectrum.argmax(1)
    left, here, right = (spectrum.gather(1, ((best + move) % size)[:, None])[:, 0] for move in (-1, 0, 1))
    vertex = 0.5 * (left - right) / (left + right - 2 * here).clamp_max(-1e-30)
    cycles = (best + vertex) / size
    cycles = cycles - cycles.round()
    return _turned_back(seen, modem, cycles / (order * modem.symbol_period))


def _response(seen: _Symbols, modem: OfdmModem, order: int) -> tuple[Tensor, Tensor]:
    """Returns the channel complex128 [D] on the carriers, up to its symmetry, and delays float64 [F] against it."""
    power = squared(seen.values).mean(1)  # [F, D]
    moment = raised(_units(seen.values), order).mean(1)  # [F, D]
    best = squared(moment).sqrt().sum(1).argmax()
    grid = torch.arange(-_LARGEST_DELAY, _LARGEST_DELAY + 0.005, 0.01, dtype=torch.float64)
    phase = _slopes(modem, order * grid)  # [D, grid]
    match = (moment * moment[best].conj()) @ phase
    delay = grid[match.abs().argmax(1)]
    turn = match.gather(1, match.abs().argmax(1)[:, None]).conj()
    aligned = moment * _slopes(modem, order * delay).T * turn / turn.abs().clamp_min(1e-12)
    mean = aligned.mean(0) * (modem.constellation.to(torch.complex128) ** order).mean().conj()
    middle = mean.sum().angle()
    angle = _unwrapped((mean * torch.polar(torch.ones_like(middle), -middle)).angle()) + middle
    size = (power / power.mean(1, keepdim=True)).mean(0).sqrt()
    return torch.polar(size, angle / order), delay


def _slopes(modem: OfdmModem, delay: Tensor) -> Tensor:
    """Turns complex128 [D, n] that take delays float64 [n], in samples, from the carriers."""
    phase = 2 * math.pi / modem.fft_size * _frequency(modem)[:, None] * delay
    return torch.polar(torch.ones_like(phase), phase)


def _unwrapped(angle: Tensor) -> Tensor:
    """Adds whole turns to angles float64 [D], so that each is next to the line through the two before it."""
    found = angle.tolist()
    for place in range(1, len(found)):
        slope = found[place - 1] - found[place - 2] if place > 1 else 0.0
        expected = found[place - 1] + 0.5 * slope
        found[place] += 2 * math.pi * round((expected - found[place]) / (2 * math.pi))
    return torch.tensor(found, dtype=torch.float64)


def _decided(seen: _Symbols, modem: OfdmModem, response: Tensor, delay: Tensor, order: int) -> _Decided:
    """Decides the data of frames, refining the channel and every frame's phase and carrier by the decisions."""
    points = modem.constellation.to(torch.complex128)
    values = seen.values * _slopes(modem, delay).T[:, None, :]
    reference = (points**order).mean()
    data = values
    for attempt in range(3):
        level = (squared(values) * squared(response)).mean((1, 2)).sqrt() / squared(response).mean()
        equal = values / response / level[:, None, None]
        if attempt == 0:
            phase = (raised(equal, order).sum((1, 2)) * reference.conj()).angle() / order
            equal = equal * torch.polar(torch.ones_like(phase), -phase)[:, None, None]
            values = values * torch.polar(1 / level, -phase)[:, None, None]
        data = decide(equal.to(torch.complex64), modem.constellation).to(torch.complex128)
        expected = data * response
        turn = (values * expected.conj()).sum(2)  # [F, K]
        place = torch.arange(turn.shape[1]) - (turn.shape[1] - 1) / 2
        common = turn.sum(1, keepdim=True)
        error = (turn * common.conj()).angle()
        step = (error * place).sum(1) / place.square().sum()  # radians per OFDM symbol
        values = values * torch.polar(torch.ones_like(error), -step[:, None] * place)[:, :, None]
        values = values * (common.conj() / common.abs().clamp_min(1e-12))[:, :, None]
        seen = seen._replace(carrier=seen.carrier + step / (2 * math.pi * modem.symbol_period))
        good = squared(values - expected).mean((1, 2)).argsort()[:_FRAMES]
        response = (values[good] * data[good].conj()).sum((0, 1)) / squared(data[good]).sum((0, 1))
    error = squared(values - data * response).mean((1, 2)) / squared(values).mean((1, 2))
    return _Decided(data, error, seen.carrier)


class _Blocks(NamedTuple):
    """Decided waveforms and the frames that hold them, both without carrier.

    Attributes:
        sent: complex128 [n, T], one unit of silence on each side.
        heard: n of complex128 [t], at the phase of what was sent.
        first: n places in ``sent``, without the silence, of the sample that is heard first.
    """

    sent: Tensor
    heard: list[Tensor]
    first: list[int]


class _Fit(NamedTuple):
    """Taps complex128 [L], power of so many samples, and what all taps leave of it, and the best one alone."""

    taps: Tensor
    power: float
    samples: int
    left: float
    alone: float


def _blocks(
    frames: Tensor, modem: OfdmModem, seen: _Symbols, decided: _Decided, delay: Tensor, chosen: Tensor
) -> _Blocks:
    data = decided.data[chosen].to(torch.complex64).flatten(1)
    sent = modem.synthesise(data, decided.data.shape[1] * modem.symbol_period).to(torch.complex128)
    waves = derotate(frames[chosen], decided.carrier[chosen]).to(torch.complex128)
    heard, places = list[Tensor](), list[int]()
    for row, (wave, start) in enumerate(zip(waves, (seen.start + delay)[chosen].tolist(), strict=True)):
        first = max(_LATE_TAPS, -start)
        last = min(sent.shape[1] - _EARLY_TAPS, len(wave) - start)
        match = (wave[start + first : start + last] * sent[row, first:last].conj()).sum()
        heard.append(wave[start + first : start + last] * torch.polar(torch.ones_like(match.real), -match.angle()))
        places.append(first)
    return _Blocks(torch.nn.functional.pad(sent, (_MARGIN, _MARGIN)), heard, places)


def _correlation(piece: Tensor, heard: Tensor, size: int) -> Tensor:
    """The products of ``heard``, complex128 [t], with ``size`` windows of a piece, each a sample later."""
    return (piece.unfold(0, len(heard), 1)[:size] @ heard.conj()).conj()


def _gram(piece: Tensor, size: int) -> Tensor:
    """The products of ``size`` windows of a piece with each other, complex128 [size, size], each a sample later.

    From one diagonal place to the next, a sample leaves the windows and another one enters.
    """
    count = len(piece) - size + 1
    first, last = piece[: size - 1], piece[count:]
    change = last.conj()[:, None] * last - first.conj()[:, None] * first
    gram = torch.zeros((size, size), dtype=piece.dtype)
    gram[0] = _correlation(piece, piece[:count], size).conj()
    for place in range(1, size):
        gram[place, place:] = gram[place - 1, place - 1 : -1] + change[place - 1, place - 1 :]
    return gram + gram.triu(1).mH


def _least_squares(blocks: _Blocks, late: float) -> _Fit:
    """Fits taps to waveforms that are ``late`` samples late."""
    turn = -2 * math.pi * late * torch.fft.fftfreq(blocks.sent.shape[1], dtype=torch.float64)
    sent = torch.fft.ifft(torch.fft.fft(blocks.sent) * torch.polar(torch.ones_like(turn), turn))
    size, power, count = _EARLY_TAPS + _LATE_TAPS + 1, 0.0, 0
    gram, moment = torch.zeros((size, size), dtype=sent.dtype), torch.zeros(size, dtype=sent.dtype)
    for wave, heard, first in zip(sent, blocks.heard, blocks.first, strict=True):
        start = _MARGIN + first - _LATE_TAPS
        piece = wave[start : start + len(heard) + size - 1]
        gram += _gram(piece, size)
        moment += _correlation(piece, heard, size)
        power, count = power + float(squared(heard).sum()), count + len(heard)
    taps = torch.linalg.solve(gram + _RIDGE * count * torch.eye(size), moment)
    left = power - float((moment.conj() @ taps).real)
    alone = power - float((squared(moment) / gram.diagonal().real.clamp_min(1e-12)).max())
    return _Fit(taps.flip(0), power, count, left, alone)  # windows hold later samples last


def _fraction(blocks: _Blocks) -> float:
    """Returns the fraction of a sample that leaves least: taps one sample apart cannot bend the edge of the band."""
    few = _Blocks(blocks.sent[:_SEARCHED], blocks.heard[:_SEARCHED], blocks.first[:_SEARCHED])
    best = min((_least_squares(few, step / 10 - 0.5).left, step / 10 - 0.5) for step in range(10))[1]
    for step in (0.05, 0.01, 0.002):
        left, here, right = (_least_squares(few, best + move * step).left for move in (-1, 0, 1))
        bend = left + right - 2 * here
        best += step * (max(-1.0, min(1.0, 0.5 * (left - right) / bend)) if bend > 0 else 0.0)
    return best
