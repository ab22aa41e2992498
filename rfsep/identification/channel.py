"""The carrier and the channel of an OFDM interference whose modem is known but for them, from example frames.

Powers of the carriers' values, in which the data are constant, give the carrier offset and the channel up to the
constellation's symmetry. Neighbouring carriers resolve it. The data decided with that give the channel once more, by
least squares in time, with any fraction of a sample and with rays beyond the prefix.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.identification.carriers import derotate, ofdm_symbols
from rfsep.identification.cyclic import lag_correlations, level
from rfsep.identification.prefix import Layout, limited, log_ratios, prefix_product
from rfsep.iq import squared
from rfsep.signals.constellations import decide
from rfsep.signals.ofdm_modem import OfdmModem

_EARLY_TAPS, _LATE_TAPS = 40, 72  # taps before and after the one at delay 0
_FRAMES = 12  # frames that least squares sees
_LARGEST_DELAY = 3.0  # samples by which prefixes may misplace frames against each other
_SAME_FRACTION = 0.03  # Frames share a channel if their delays differ by whole samples within this.
_FLAT = 1e-4  # A channel is none if without it this share of the power is left, beyond noise.
_FITS = 0.1  # Decisions are right if the channel leaves at most this share of the power.
_NO_CARRIER = 1e-6  # A smaller carrier, in cycles per sample, counts as 0.
_OVERSAMPLING = 16  # of spectra over OFDM symbols


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
    taps = _least_squares(frames, modem, seen, decided, delay.round().long(), chosen)
    found = 0.0 if abs(found) < _NO_CARRIER else found
    if taps is None:
        return modem.received(found)
    return modem.received(found, [complex(tap) for tap in taps.tolist()], _EARLY_TAPS)


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


def _turned_back(seen: _Symbols, modem: OfdmModem, residual: Tensor) -> _Symbols:
    """Takes a residual carrier float64 [F], in cycles per sample, from the symbols."""
    cycles = residual[:, None] * torch.arange(seen.values.shape[1]) * modem.symbol_period
    turn = torch.polar(torch.ones_like(cycles), -2 * math.pi * cycles)
    return seen._replace(values=seen.values * turn[:, :, None], carrier=seen.carrier + residual)


def _finer(seen: _Symbols, modem: OfdmModem, order: int) -> _Symbols:
    """Takes the residual carrier from the symbols by the spectrum of their M-th power."""
    power = seen.values / seen.values.abs().clamp_min(1e-12)
    size = _OVERSAMPLING * seen.values.shape[1]
    spectrum = squared(torch.fft.fft(power**order, size, dim=1)).sum(2)  # [F, size]
    best = spectrum.argmax(1)
    left, here, right = (spectrum.gather(1, ((best + move) % size)[:, None])[:, 0] for move in (-1, 0, 1))
    vertex = 0.5 * (left - right) / (left + right - 2 * here).clamp_max(-1e-30)
    cycles = (best + vertex) / size
    cycles = cycles - cycles.round()
    return _turned_back(seen, modem, cycles / (order * modem.symbol_period))


def _response(seen: _Symbols, modem: OfdmModem, order: int) -> tuple[Tensor, Tensor]:
    """Returns the channel complex128 [D] on the carriers, up to its symmetry, and delays float64 [F] against it."""
    power = seen.values.abs().square().mean(1)  # [F, D]
    unit = seen.values / seen.values.abs().clamp_min(1e-12)
    moment = (unit**order).mean(1)  # [F, D]
    best = moment.abs().sum(1).argmax()
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
    for _ in range(3):
        level = (values * response.conj()).abs().square().mean((1, 2)).sqrt() / squared(response).mean()
        equal = values / response / level[:, None, None]
        if _ == 0:
            phase = ((equal**order).sum((1, 2)) * reference.conj()).angle() / order
            equal = equal * torch.polar(torch.ones_like(phase), -phase)[:, None, None]
            values = values * torch.polar(1 / level, -phase)[:, None, None]
        data = decide(equal, points)
        expected = data * response
        turn = (values * expected.conj()).sum(2)  # [F, K]
        place = torch.arange(turn.shape[1]) - (turn.shape[1] - 1) / 2
        common = turn.sum(1, keepdim=True)
        error = (turn * common.conj()).angle()
        step = (error * place).sum(1) / place.square().sum()  # radians per OFDM symbol
        values = values * torch.polar(torch.ones_like(error), -step[:, None] * place)[:, :, None]
        values = values * (common.conj() / common.abs().clamp_min(1e-12))[:, :, None]
        seen = seen._replace(carrier=seen.carrier + step / (2 * math.pi * modem.symbol_period))
        good = ((values - expected).abs().square().mean((1, 2))).argsort()[:_FRAMES]
        response = (values[good] * data[good].conj()).sum((0, 1)) / squared(data[good]).sum((0, 1))
    error = (values - data * response).abs().square().mean((1, 2)) / values.abs().square().mean((1, 2))
    return _Decided(data, error, seen.carrier)


def _least_squares(
    frames: Tensor, modem: OfdmModem, seen: _Symbols, decided: _Decided, delay: Tensor, chosen: Tensor
) -> Tensor | None:
    """Returns taps complex128 [L] of unit energy, or None where a channel is flat or none explains the frames."""
    size = _EARLY_TAPS + _LATE_TAPS + 1
    gram, moment, power, count = (
        torch.zeros((size, size), dtype=torch.complex128),
        torch.zeros(size, dtype=torch.complex128),
        0.0,
        0,
    )
    data = decided.data[chosen].to(torch.complex64).flatten(1)
    sent = modem.synthesise(data, decided.data.shape[1] * modem.symbol_period).to(torch.complex128)
    for row, frame in enumerate(chosen.tolist()):
        start = int(seen.start[frame] + delay[frame])
        wave = derotate(frames[frame : frame + 1], decided.carrier[frame : frame + 1])[0].to(torch.complex128)
        first = max(0, -(start + _LATE_TAPS))  # windows of the sent waveform whose sample lies in the frame
        windows = sent[row].unfold(0, size, 1)[first:]
        place = start + _LATE_TAPS + first
        heard = wave[place : place + len(windows)]
        windows = windows[: len(heard)]
        response = windows.mH @ heard
        middle = response[_LATE_TAPS - 3 : _LATE_TAPS + 4]
        heard = heard * (middle[middle.abs().argmax()].conj() / middle.abs().max().clamp_min(1e-12))
        gram += windows.mH @ windows
        moment += windows.mH @ heard
        power, count = power + float(squared(heard).sum()), count + len(heard)
    if count < 4 * size:
        return None
    taps = torch.linalg.solve(gram + 1e-9 * count * torch.eye(size), moment)
    left = power - float((moment.conj() @ taps).real)
    best = (squared(moment) / gram.diagonal().real).argmax()
    alone = power - float(squared(moment[best]) / gram[best, best].real)
    if left > _FITS * power or alone - left < _FLAT * power + 4 * left * size / count:
        return None
    taps = taps.flip(0)  # windows hold later samples last
    unit: Tensor = taps / squared(taps).sum().sqrt()
    return unit
