"""Computes the waveforms of a 5G NR uplink's carriers in the SOI's band."""

import torch
from torch import Tensor

from rfsep.separators.inference.superposed import Waves
from rfsep.separators.nr.nr_channel import FIRST_LAG, NUM_TAPS
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS

# Tuned; split not recorded. This many carriers on each side of the middle are modelled one by one. The low-pass of
# `band` attenuates those beyond by more than 6 dB.
NEAR = 60


def _spaced() -> tuple[Tensor, Tensor]:
    """Returns sparse carriers beyond `NEAR` that stand for all, int64 [N], and the power of each, float64 [N]."""
    number, weight, place = list[int](), list[int](), NEAR + 1
    while place < NUM_SUBCARRIERS // 2:
        step = 1 + (place - NEAR) // 24
        number += [place, -place]
        weight += [step, step]
        place += step
    return torch.tensor(number), torch.tensor(weight, dtype=torch.float64)


FAR_CARRIERS, FAR_POWERS = _spaced()


def carrier_waves(decimator: Tensor, symbol: Symbol, taps: Tensor, carriers: Tensor) -> Waves:
    """Returns the waveforms of a symbol's unit-power carriers after a channel.

    Args:
        decimator: float64 [Q, T].
        symbol: it may lie partly outside the window.
        taps: of the channel, complex128 [L], from `FIRST_LAG` on.
        carriers: numbers, int64 [N].
    """
    begin = symbol.body - symbol.prefix + FIRST_LAG
    length = FFT_SIZE + symbol.prefix + NUM_TAPS - 1
    low, high = max(begin, 0), min(begin + length, decimator.shape[1])
    lags = torch.arange(FIRST_LAG, FIRST_LAG + NUM_TAPS)
    turn = -2 * torch.pi / FFT_SIZE * (carriers[:, None] * lags).double()
    partial = (taps * torch.polar(torch.ones_like(turn), turn)).cumsum(1)  # [N, L], responses of the first 1 .. L taps
    rising = torch.cat((partial, partial[:, -1:].expand(-1, length - NUM_TAPS)), 1)
    gain = rising.clone()
    gain[:, FFT_SIZE + symbol.prefix :] -= partial[:, : NUM_TAPS - 1]
    time = torch.arange(low, high) - symbol.body
    phase = 2 * torch.pi / FFT_SIZE * (carriers[:, None] * time % FFT_SIZE).double()
    sent = torch.polar(torch.full_like(phase, NUM_SUBCARRIERS**-0.5), phase) * gain[:, low - begin : high - begin]
    return _decimated(decimator, sent, low, high)


def _decimated(decimator: Tensor, sent: Tensor, low: int, high: int) -> Waves:
    """Decimates waveforms complex128 [N, high - low]."""
    part = decimator[:, low:high]
    reached = (part != 0).any(1).nonzero()[:, 0]
    if not len(reached):
        return Waves(slice(0, 0), torch.zeros((0, len(sent)), dtype=sent.dtype))
    rows = slice(int(reached[0]), int(reached[-1]) + 1)
    values = part[rows] @ torch.view_as_real(sent).movedim(0, 1).flatten(1)  # [rows, 2 N]
    return Waves(rows, torch.view_as_complex(values.view(len(values), -1, 2)))


def sent_waveform(symbol: Symbol, grids: Tensor, taps: Tensor, num_samples: int) -> Tensor:
    """Returns symbols of carriers complex128 [..., 612] after a channel, inside a window: complex128 [..., T]."""
    spectrum = grids.new_zeros((*grids.shape[:-1], FFT_SIZE))
    spectrum[..., (torch.arange(NUM_SUBCARRIERS) - NUM_SUBCARRIERS // 2) % FFT_SIZE] = grids
    body = torch.fft.ifft(spectrum) * FFT_SIZE * NUM_SUBCARRIERS**-0.5
    sent = torch.cat((body[..., FFT_SIZE - symbol.prefix :], body), -1)
    size = 1280  # The longest symbol and a channel fit into this size.
    received = torch.fft.ifft(torch.fft.fft(sent, size) * torch.fft.fft(taps, size))
    begin = symbol.body - symbol.prefix + FIRST_LAG
    length = sent.shape[-1] + NUM_TAPS - 1
    low, high = max(begin, 0), min(begin + length, num_samples)
    waveform = grids.new_zeros((*grids.shape[:-1], num_samples))
    if high > low:
        waveform[..., low:high] = received[..., low - begin : high - begin]
    return waveform
